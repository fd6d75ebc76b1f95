"""Options of `hrm data maze`."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeInt

from hrm_core.tasks.building import Count, Flag, NumTest, Seed, SourceOptions, Subsample, Views


class Options(SourceOptions):
    """Source, generation and number of the mazes of a data set."""

    things: ClassVar[str] = "mazes"

    size: Annotated[
        int,
        Field(ge=4, le=128),
        Flag("Rows of the generated mazes; 30 if not set.", metavar="N"),
    ] = 30
    kind: Annotated[
        Literal["perfect", "loops", "obstacles", "mixed"],
        Flag("What is generated; mixed if not set."),
    ] = "mixed"
    test: NumTest = 1000
    min_path: Annotated[
        Count | None,
        Flag("Least moves of a generated path; by size and kind if not set.", metavar="MOVES"),
    ] = None
    subsample: Subsample = None
    augment: Views = 0
    min_rating: Annotated[NonNegativeInt, Flag("Leave out easier mazes of a CSV file.")] = 0
    seed: Seed = 0

    def check_fit(self) -> None:
        """Check that the options go with the source. Raises: ValueError."""
        if self.generate is not None and self.given("test_csv", "subsample", "min_rating"):
            raise ValueError(
                "--subsample and --min-rating go with --source or --train-csv, "
                "--test-csv with --train-csv; generated mazes take --test and --min-path"
            )
        if self.generate is None and self.given("size", "kind", "min_path", "test"):
            raise ValueError(
                "--size, --kind, --test and --min-path go with --generate; "
                "test mazes come with --source or from --test-csv"
            )
