"""Options of `hrm data sudoku`."""

from typing import Annotated, Literal

from pydantic import NonNegativeInt

from hrm_core.tasks.building import Flag, NumTest, Seed, SourceOptions, Subsample


class Options(SourceOptions):
    """Source, generation and number of the puzzles of a data set."""

    size: Annotated[Literal[4, 6, 9], Flag("Board of the generated puzzles; 9 if not set.")] = 9
    test: NumTest = 1000
    givens: Annotated[
        tuple[NonNegativeInt, NonNegativeInt] | None,
        Flag("Givens of the generated puzzles; as few as can be if not set.", metavar="LEAST MOST"),
    ] = None
    subsample: Subsample = None
    augment: Annotated[
        NonNegativeInt,
        Flag("Extra copies of each training puzzle.", metavar="N", show_default=True),
    ] = 0
    min_rating: Annotated[NonNegativeInt, Flag("Leave out easier puzzles.", show_default=True)] = 0
    seed: Seed = 0

    def check_fit(self) -> None:
        """Check that the options go with the source. Raises: ValueError."""
        if self.generate is not None and self.given("test_csv", "subsample"):
            raise ValueError(
                "--subsample goes with --source or --train-csv, --test-csv with --train-csv; "
                "generated puzzles take --test N"
            )
        if self.generate is None and self.given("givens", "size", "test"):
            raise ValueError(
                "--givens, --size and --test go with --generate; "
                "test puzzles come with --source or from --test-csv"
            )
