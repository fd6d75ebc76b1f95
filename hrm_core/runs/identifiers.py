"""Find the puzzle identifiers of a model by name, and grow its table for new ones.

A run of several identifiers keeps their names beside its config. For a model without a run, only
its data set has them.

Shapes: K identifiers of one puzzle.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hrm_core.backend import AnyArray
from hrm_core.config import ModelConfig
from hrm_core.data.store import BLANK_IDENTIFIER, IDENTIFIERS_FILE, Dataset, read_identifiers
from hrm_core.errors import ConfigError, DataError, PuzzleError
from hrm_core.messages import first_few, warn
from hrm_core.parameters import PUZZLE_TABLE
from hrm_core.runs.checkpoint import Model
from hrm_core.runs.run import run_of, trained_on
from hrm_core.tasks.capabilities import Named
from hrm_core.tasks.contract import Task

BLANK = "blank"  # how a user asks for identifier 0

ON_REQUEST = "ask under the blank one with --identifier blank"

IntArray = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Identifiers:
    """The puzzle identifiers of a model."""

    model: str = "this model"  # as the user named it
    count: int = 1
    names: Sequence[str] = (BLANK_IDENTIFIER,)  # empty if they are not known
    taken_from: Path | None = None  # data set that is only taken to number them as the model does

    def find(self, name: str, task: Task) -> IntArray:
        """Find the identifiers (K,) of a puzzle: its own first, then those of its augmentations.

        Raises: PuzzleError if no name is given and there are several, or it was never trained.
        """
        if not name and self.count > 1:
            raise PuzzleError(
                f"{self.model} was trained on {self._described(task)}, and which of them is asked "
                f"is not said; name it with --identifier, or {ON_REQUEST}"
            )
        if not name:
            return np.zeros(1, np.int32)
        own = self._own(name, task)
        if len(own):
            return own
        if name in (BLANK, BLANK_IDENTIFIER):
            return np.zeros(1, np.int32)
        raise PuzzleError(self._unknown(name, task))

    def warn_if_taken(self) -> None:
        """Warn, before a puzzle is asked by its number, where the numbering is only taken over."""
        if self.taken_from is not None:
            _warn_of_numbering(self.model, self.count, self.taken_from)

    def _own(self, name: str, task: Task) -> IntArray:
        """Find the identifiers of a name; empty if there are none."""
        if isinstance(task, Named):
            own = task.identifiers_of(self.names, name)
            if len(own):
                return own
        is_own = [known == name for known in self.names]
        return np.flatnonzero(is_own).astype(np.int32)

    def _described(self, task: Task) -> str:
        names = [name for name in self.names if name != BLANK_IDENTIFIER]
        if isinstance(task, Named):
            names = [name for name in names if task.puzzle_of(name) == name]
        shown = f" ({first_few(names)})" if names else ""
        return f"{len(names) or self.count - 1:,} puzzles{shown}"

    def _unknown(self, name: str, task: Task) -> str:
        """Explain that a name is not found, and the way out."""
        if not self.names:
            return (
                f"{self.model} does not say what its {self.count:,} puzzle identifiers are called, "
                f"and its data set is not at hand; name that with --data, or {ON_REQUEST}"
            )
        if self.count == 1:
            return (
                f"{self.model} has one puzzle identifier for all puzzles, none is called {name}; "
                "leave out --identifier"
            )
        return (
            f"{name} was never trained by {self.model}, so it has no puzzle identifier; "
            f"{ON_REQUEST}, or train it: {self._way_to_train(name, task)}"
        )

    def _way_to_train(self, name: str, task: Task) -> str:
        train = f"hrm train CONFIG --init {self.model}"
        if isinstance(task, Named):
            return f"{task.how_to_add(name)}, then {train} --data DATA --run NEW"
        return f"{train} with data that has it; known are {self._described(task)}"


ONLY_BLANK = Identifiers()  # of models that know no puzzle by name


def load_identifiers(path: Path, count: int, data: Path | None = None) -> Identifiers:
    """Load the `count` identifiers of a model: a run, a checkpoint folder or a file.

    `data` names the data set it was trained on; `taken_from` is set where the model has no record
    of it.

    Raises: DataError if `data` is another one.
    """
    run, recorded = run_of(path), trained_on(path)
    if data is not None:
        if recorded is not None:
            _check_same(Dataset(data), path, recorded.sha256, (run / IDENTIFIERS_FILE).is_file())
        file = data / IDENTIFIERS_FILE
    elif count == 1:
        return Identifiers(str(path))
    elif (run / IDENTIFIERS_FILE).is_file():
        file = run / IDENTIFIERS_FILE
    elif recorded is not None and _is_as_it_was(Path(recorded.path), recorded.sha256):
        file = Path(recorded.path) / IDENTIFIERS_FILE
    else:
        return Identifiers(str(path), count, ())
    names = read_identifiers(file)
    if len(names) != count:
        raise DataError(
            f"{file} names {len(names):,} puzzle identifiers, {path} has {count:,}; "
            "name the data set it was trained on with --data"
        )
    taken_from = data if recorded is None and count > 1 else None
    return Identifiers(str(path), count, names, taken_from)


def grown(init: Model, model: ModelConfig, data: Dataset) -> dict[str, AnyArray]:
    """Return the weights of a model for a data set that begins with the model's identifiers.

    New identifiers start with rows of zeros, as in a new run.

    Raises: ConfigError if the data set numbers them differently or this is not known; DataError if
    the names of identifiers cannot be read.
    """
    weights = dict(init.weights)
    before, after = init.config.num_puzzle_identifiers, model.num_puzzle_identifiers
    if after > 1:
        _check_numbering(init, before, data, after)
    if after > before and PUZZLE_TABLE in weights:
        new_rows = (0, after - before)
        weights[PUZZLE_TABLE] = np.pad(weights[PUZZLE_TABLE], (new_rows, (0, 0)))
    return weights


def check_identifiers(path: Path, count: int, data: Dataset) -> None:
    """Refuse data in which the `count` identifiers of a model belong to other puzzles.

    Raises: DataError naming the first that differs, where both lists are known.
    """
    if count == 1 or not data.has_names:
        return
    own, other = load_identifiers(path, count).names, data.names
    changed = _first_changed(own, other)
    if changed is not None:
        raise DataError(
            f"puzzle identifier {changed} is {own[changed]} to {path} and {other[changed]} in "
            f"{data.directory}; use the data the model was trained for"
        )


def warn_of_numbering(path: Path, count: int, data: Dataset) -> None:
    """Warn where nobody knows whether the `count` identifiers of a model are those of its data."""
    if count == 1 or load_identifiers(path, count).names or _was_trained_on(path, data):
        return
    _warn_of_numbering(str(path), count, data.directory)


def _was_trained_on(path: Path, data: Dataset) -> bool:
    """Return True if the run of a model recorded this data set."""
    recorded = trained_on(path)
    return recorded is not None and recorded.sha256 == data.sha256


def _warn_of_numbering(model: str, count: int, data: Path) -> None:
    warn(
        f"{model} does not know its {count:,} puzzle identifiers by name; they are taken to be "
        f"numbered as in {data}, and with another numbering each puzzle is asked as another one"
    )


def _check_numbering(init: Model, before: int, data: Dataset, after: int) -> None:
    """Refuse a data set in which the identifiers of a model belong to other puzzles."""
    by_name = f"hrm convert {init.source} DEST --to checkpoint --data {data.directory}"
    old = load_identifiers(init.source, before).names
    new = data.names if data.has_names else ()
    if not old or not new:
        if before == after:
            return
        raise ConfigError(
            f"nobody says whether the {before:,} puzzle identifiers of {init.source} are the first "
            f"of the {after:,} of {data.directory}; {by_name} --source-identifiers FILE matches "
            "them by name"
        )
    changed = _first_changed(old, new)
    if changed is not None:
        raise ConfigError(
            f"puzzle identifier {changed} is {old[changed]} in {init.source} and {new[changed]} in "
            f"{data.directory}; {by_name} matches them by name, then --init DEST"
        )


def _check_same(data: Dataset, path: Path, sha256: str, run_has_names: bool) -> None:
    """Refuse a data set that a model was not trained on."""
    if data.sha256 == sha256:
        return
    way_out = "leave out --data, the run has the names" if run_has_names else "name that one"
    raise DataError(
        f"{data.directory} is not the data set {path} was trained on "
        f"(sha256 {data.sha256[:12]}, expected {sha256[:12]}); {way_out}"
    )


def _first_changed(old: Sequence[str], new: Sequence[str]) -> int | None:
    for number, (own, other) in enumerate(zip(old, new, strict=False)):
        if own != other:
            return number
    return None


def _is_as_it_was(data: Path, sha256: str) -> bool:
    """Return True if a data set is still the one that was recorded."""
    try:
        return Dataset(data).sha256 == sha256
    except DataError:
        return False
