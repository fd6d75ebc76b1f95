"""The contract of a builder, and the options that builders share.

The `build.py` of a task is its builder. It has two names: `Options`, the settings a user may give,
and `build`, which makes a data set from them and whose docstring is the help of `hrm data NAME`.
The command line makes a flag of each field: types, ranges and choices are pydantic's
(`Field(ge=1)`, `Literal`), `Flag` and `Argument` say the rest.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Protocol, Self

from pydantic import BeforeValidator, Field, NonNegativeInt, model_validator

from hrm_core.config import MAX_SEED, Settings
from hrm_core.data.dihedral import NUM_VIEWS
from hrm_core.data.puzzles import CsvFiles, fetch_csv

Watch = Callable[[str], None]  # receives the name of each thing that is being written


def unwatched(name: str) -> None:
    """Ignore the progress of a build."""


@dataclass(frozen=True)
class Flag:
    """Mark an option that is typed as a flag, and describe how the command line shows it."""

    help: str  # {things} stands for the word of the task, see `Options.things`
    metavar: str | None = None
    show_default: bool = False
    is_file: bool = False  # a path that cannot be a folder
    serves: str = ""  # the option that it is of no use without


@dataclass(frozen=True)
class Argument:
    """Mark an option that is typed without a flag, by its place."""

    metavar: str | None = None


class Options(Settings):
    """Base of the options of a builder. A validator raises ValueError if two options clash."""

    things: ClassVar[str] = "puzzles"  # the word for examples in help and progress
    takes: ClassVar[tuple[type, ...]] = (Path,)  # what a `predict` reads from in Python

    def given(self, *names: str) -> bool:
        """Return True if the user set one of these options, even to its default."""
        set_by_user = self.model_fields_set.intersection(names)
        return any(getattr(self, name) is not None for name in set_by_user)


@dataclass(frozen=True)
class Built:
    """Result of building a data set."""

    record: Mapping[str, Any]  # for scripts: build.json, with counts instead of long lists
    summary: str  # for people, one line
    warnings: tuple[str, ...] = ()  # reasons to doubt results


class Builder(Protocol):
    """The module `build.py` of a task."""

    Options: type[Any]  # a subclass of Options

    @staticmethod
    def build(out: Path, options: Any, watch: Watch = unwatched) -> Built:
        """Build a data set in a folder that is empty or not there.

        Raises: HRMError; nothing half-written is left then.
        """


class Predictor(Protocol):
    """The module `predict.py` of a task: what `hrm predict` does for it.

    Its docstring is the help of the command, `Options` become flags as for a builder.
    """

    Options: type[Any]  # a subclass of Options

    @staticmethod
    def predict(task: Any, files: Sequence[Any], options: Any, ask: Any) -> Any:
        """Predict what the files ask about with `ask`, a `capabilities.Ask`; return a `Report`.

        They are paths of files or folders, or what `Options.takes` names besides.

        Raises: HRMError; files that were asked for are written whole or not at all.
        """


def _is_share(share: float) -> float:
    if math.isnan(share):
        raise ValueError("--test-share nan is no share; try 0.1")
    return share


Count = Annotated[int, Field(ge=1)]
Seed = Annotated[
    int, Field(ge=0, le=MAX_SEED), Flag("Seed of all random draws.", show_default=True)
]
TestShare = Annotated[float, BeforeValidator(_is_share), Field(ge=0, lt=1)]
Subsample = Annotated[Count | None, Flag("Choose N training {things} at random.", metavar="N")]
Views = Annotated[
    int,
    Field(ge=0, le=NUM_VIEWS - 1),
    Flag("Rotated or reflected copies of each.", metavar="N", show_default=True),
]
NumTest = Annotated[NonNegativeInt, Flag("Generate N test {things}; 1000 if not set.", metavar="N")]


class SourceOptions(Options):
    """Options for the source of puzzles: the Hub, files in the published format, or a generator."""

    source: Annotated[
        str | None,
        Flag(
            "Fetch train.csv and test.csv from there on the Hugging Face Hub; "
            "@REVISION may follow.",
            metavar="hf://OWNER/NAME",
        ),
    ] = None
    train_csv: Annotated[
        Path | None,
        Flag(
            "Training {things} in the published format: source,question,answer,rating.",
            is_file=True,
        ),
    ] = None
    test_csv: Annotated[Path | None, Flag("Test {things} in the same format.", is_file=True)] = None
    generate: Annotated[
        Count | None, Flag("Generate N training {things} instead.", metavar="N")
    ] = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if [self.source, self.train_csv, self.generate].count(None) != 2:
            raise ValueError(
                "give one of --source hf://OWNER/NAME, --train-csv FILE and --generate N"
            )
        self.check_fit()
        if self.source is not None and self.test_csv is not None:
            raise ValueError(
                "--test-csv goes with --train-csv; --source has test puzzles of its own"
            )
        return self

    def check_fit(self) -> None:
        """Check that the options of the task fit the source. Raises: ValueError."""

    def files(self) -> CsvFiles:
        """Return the files to read; those of `source` are fetched.

        Raises: HubError, BackendError.
        """
        if self.source is not None:
            return fetch_csv(self.source)
        assert self.train_csv is not None, "_one_source checks this; nothing is generated"
        return CsvFiles(self.train_csv, self.test_csv)
