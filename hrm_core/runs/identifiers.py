"""The puzzle identifiers of a model by name: where their names are found, under which a puzzle is asked, and how a table grows.

A run of several identifiers keeps their names beside its config. Of a model without a run only its data set knows them.

Shapes: K identifiers of one puzzle.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hrm_core.backend import AnyArray
from hrm_core.config import ModelConfig
from hrm_core.data.store import IDENTIFIERS_FILE, dataset_hash, read_identifiers
from hrm_core.errors import ConfigError, DataError, PuzzleError
from hrm_core.parameters import PUZZLE_TABLE
from hrm_tasks.arc.task import Arc
from hrm_tasks.arc.augment import task_of
from hrm_tasks.arc.pooling import identifiers_of
from hrm_core.tasks.contract import Task
from hrm_core.runs.checkpoint import Model
from hrm_core.runs.run import CONFIG_FILE, run_config, run_of

BLANK = "blank"  # how a user asks for identifier 0
BLANK_NAMES = ("<blank>",)
SHOWN = 3  # names in a message
ON_REQUEST = "ask under the blank one with --identifier blank"

IntArray = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Identifiers:
    """The puzzle identifiers of a model."""

    model: str = "this model"  # what a user calls it
    count: int = 1
    names: Sequence[str] = BLANK_NAMES  # none: nobody says

    def find(self, name: str, task: Task) -> IntArray:
        """The identifiers (K,) of a puzzle: one, or those of an ARC task and its augmentations, itself first.

        Raises: PuzzleError if no name is given and there are several, or the name was never trained.
        """
        if not name and self.count > 1:
            raise PuzzleError(
                f"{self.model} was trained on {self._described()}, and which of them is asked is not said; "
                f"name it with --identifier, or {ON_REQUEST}"
            )
        if not name:
            return np.zeros(1, np.int32)
        own = identifiers_of(self.names, name) if isinstance(task, Arc) else np.empty(0, np.int32)
        if not len(own):
            own = np.flatnonzero([known == name for known in self.names]).astype(np.int32)
        if len(own):
            return own
        if name in (BLANK, *BLANK_NAMES):
            return np.zeros(1, np.int32)
        raise PuzzleError(self._unknown(name, task))

    def _described(self) -> str:
        names = [name for name in self.names if task_of(name) == name and name not in BLANK_NAMES]
        shown = (
            f" ({', '.join(names[:SHOWN])}{', …' if len(names) > SHOWN else ''})" if names else ""
        )
        return f"{len(names) or self.count - 1:,} puzzles{shown}"

    def _unknown(self, name: str, task: Task) -> str:
        """What to say of a name that is not found."""
        if not self.names:
            return (
                f"{self.model} does not say what its {self.count:,} puzzle identifiers are called, and its data set is not at hand; "
                f"name that with --data, or {ON_REQUEST}"
            )
        if self.count == 1:
            return f"{self.model} has one puzzle identifier for all puzzles, none is called {name}; leave out --identifier"
        trained = (
            f"hrm data arc DATA --add evaluation/{name}.json, then hrm train CONFIG --init {self.model} --data DATA --run NEW"
            if isinstance(task, Arc)
            else f"hrm train CONFIG --init {self.model} with data that has it; known are {self._described()}"
        )
        return f"{name} was never trained by {self.model}, so it has no puzzle identifier; {ON_REQUEST}, or train it: {trained}"


ONLY_BLANK = Identifiers()  # of models without puzzles of their own names


def load_identifiers(path: Path, count: int, data: Path | None = None) -> Identifiers:
    """The `count` identifiers of a model: a run, a checkpoint folder or a file. `data` names the data set it was trained on.

    Raises: DataError if `data` is another one.
    """
    run = run_of(path)
    recorded = run_config(run).data if (run / CONFIG_FILE).is_file() else None
    if data is not None:
        if recorded is not None and (found := dataset_hash(data)) != recorded.sha256:
            expected = f"sha256 {found[:12]}, expected {recorded.sha256[:12]}"
            way_out = (
                "leave out --data, the run has the names"
                if (run / IDENTIFIERS_FILE).is_file()
                else "name that one"
            )
            raise DataError(
                f"{data} is not the data set {path} was trained on ({expected}); {way_out}"
            )
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
            f"{file} names {len(names):,} puzzle identifiers, {path} has {count:,}; name the data set it was trained on with --data"
        )
    return Identifiers(str(path), count, names)


def grown(init: Model, model: ModelConfig, data: Path) -> dict[str, AnyArray]:
    """The weights of a model for a data set that begins with its identifiers; the rows of new ones are zero, as runs start.

    Raises: ConfigError if the data set does not, or nobody knows; DataError if the names of identifiers cannot be read.
    """
    weights, before, after = (
        dict(init.weights),
        init.config.num_puzzle_identifiers,
        model.num_puzzle_identifiers,
    )
    if after > 1:
        _check_numbering(init, before, data, after)
    if after > before and PUZZLE_TABLE in weights:
        weights[PUZZLE_TABLE] = np.pad(weights[PUZZLE_TABLE], ((0, after - before), (0, 0)))
    return weights


def _check_numbering(init: Model, before: int, data: Path, after: int) -> None:
    """Refuse a data set in which the identifiers of a model are those of other puzzles."""
    by_name = f"hrm convert {init.source} DEST --to checkpoint --data {data}"
    file = data / IDENTIFIERS_FILE
    old, new = (
        load_identifiers(init.source, before).names,
        read_identifiers(file) if file.is_file() else (),
    )
    if not old or not new:
        if before == after:
            return
        raise ConfigError(
            f"nobody says whether the {before:,} puzzle identifiers of {init.source} are the first of the {after:,} of {data}; "
            f"{by_name} --source-identifiers FILE matches them by name"
        )
    changed = _first_changed(old, new)
    if changed is not None:
        raise ConfigError(
            f"puzzle identifier {changed} is {old[changed]} in {init.source} and {new[changed]} in {data}; "
            f"{by_name} matches them by name, then --init DEST"
        )


def check_identifiers(path: Path, count: int, data: Path) -> None:
    """Refuse to ask the model at `path` by data in which its `count` identifiers are those of other puzzles, where both are known.

    Raises: DataError naming the first that differs.
    """
    file = data / IDENTIFIERS_FILE
    if count == 1 or not file.is_file():
        return
    own, other = load_identifiers(path, count).names, read_identifiers(file)
    changed = _first_changed(own, other)
    if changed is not None:
        named = f"puzzle identifier {changed} is {own[changed]} to {path} and {other[changed]} in {data}"
        raise DataError(f"{named}; use the data the model was trained for")


def _first_changed(old: Sequence[str], new: Sequence[str]) -> int | None:
    return next(
        (number for number, (own, other) in enumerate(zip(old, new, strict=False)) if own != other),
        None,
    )


def _is_as_it_was(data: Path, sha256: str) -> bool:
    """Whether a data set is still the one that was recorded."""
    try:
        return dataset_hash(data) == sha256
    except DataError:
        return False
