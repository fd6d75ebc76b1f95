"""Puzzles on offer: of the test set of a model, or made by its task.

Shapes: N puzzles, S cells.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from hrm_core.data.store import BLANK_IDENTIFIER, Dataset, ExampleSet
from hrm_core.data.summary import band_names
from hrm_core.errors import DataError, PuzzleError
from hrm_core.inference.answering import recorded_data
from hrm_core.inference.evaluation import check_fits, check_task
from hrm_core.runs.checkpoint import Model
from hrm_core.runs.run import run_of
from hrm_core.tasks.capabilities import Named, bands_of
from hrm_core.tasks.contract import BoolArray, IntArray, Task, TokenArray
from hrm_core.tasks.editing import Inventive

BATCH = 8  # puzzles made at once
PATIENCE = 5.0  # seconds for a puzzle of a difficulty
UNRATED = -1


class Sample(NamedTuple):
    """One puzzle."""

    tokens: TokenArray  # (S,)
    rating: int | None = None
    name: str = ""  # that it is asked under
    solution: TokenArray | None = None  # (S,)


class Samples(Protocol):
    """Puzzles on offer."""

    source: str  # where they come from, for people
    bands: Sequence[str]  # of difficulty; empty if there are none

    def draw(self, rng: np.random.Generator, band: int | None) -> Sample:
        """Draw a puzzle of one band, or of any. Raises: PuzzleError if there is none."""
        ...


class Tested:
    """Puzzles of a test set."""

    def __init__(self, dataset: Dataset, task: Task) -> None:
        """Raises: DataError if there is no test set."""
        split = dataset.split("test")
        self.source = f"the test set of {dataset.directory.name}"
        self._task = task
        self._names = dataset.names if dataset.has_names else [BLANK_IDENTIFIER]
        self._sets = [(each, self._asked(each)) for each in split.sets.values()]
        self._bounds = bands_of(task)
        is_rated = all(each.ratings is not None for each, _ in self._sets)
        self.bands: Sequence[str] = []
        if is_rated and len(self._bounds) > 1:
            self.bands = band_names(self._bounds)

    def draw(self, rng: np.random.Generator, band: int | None) -> Sample:
        """Draw a puzzle of one band, or of any. Raises: PuzzleError if there is none."""
        fitting = [
            (examples, np.flatnonzero(asked & _is_in(band, self._bounds, examples.ratings)))
            for examples, asked in self._sets
        ]
        counts = np.array([len(rows) for _, rows in fitting])
        if not counts.sum():
            raise PuzzleError(f"{self.source} has no such puzzle; choose another difficulty")
        examples, rows = fitting[rng.choice(len(fitting), p=counts / counts.sum())]
        row = int(rng.choice(rows))
        rating = None if examples.ratings is None else int(examples.ratings[row])
        name = self._name(examples, row)
        labels = np.array(examples.labels[row])
        solution = np.where(labels < 0, 0, labels)  # pads have no label
        return Sample(np.array(examples.inputs[row]), rating, name, solution)

    def _asked(self, examples: ExampleSet) -> BoolArray:
        """Mark the examples (N,) that are a puzzle as it is, not an augmentation of a named one."""
        if not isinstance(self._task, Named):
            return np.ones(len(examples), bool)
        is_own = [self._task.puzzle_of(name) == name for name in self._names]
        numbers = examples.puzzle_identifiers[examples.puzzle_of(np.arange(len(examples)))]
        own: BoolArray = np.array(is_own)[numbers]
        return own

    def _name(self, examples: ExampleSet, row: int) -> str:
        (puzzle,) = examples.puzzle_of(np.array([row]))
        number = int(examples.puzzle_identifiers[puzzle])
        name = self._names[number] if number < len(self._names) else BLANK_IDENTIFIER
        return "" if name == BLANK_IDENTIFIER else name


class Invented:
    """Puzzles that a task makes."""

    def __init__(self, task: Inventive) -> None:
        self.source = f"the generator of {getattr(task, 'name', 'the task')}"
        self._task = task
        self._bounds = bands_of(task)
        self.bands: Sequence[str] = []
        if len(self._bounds) > 1:
            self.bands = band_names(self._bounds)

    def draw(self, rng: np.random.Generator, band: int | None) -> Sample:
        """Make puzzles until one is in a band. Raises: PuzzleError if that takes too long."""
        began = time.monotonic()
        num_made = 0
        while time.monotonic() - began < PATIENCE:
            inputs, ratings = self._task.invent(rng, BATCH)
            num_made += len(inputs)
            rows = np.flatnonzero(_is_in(band, self._bounds, ratings))
            if len(rows):
                return Sample(inputs[rows[0]], int(ratings[rows[0]]))
        raise PuzzleError(f"none of {num_made:,} new puzzles is so; choose another difficulty")


def _is_in(band: int | None, bounds: Sequence[int], ratings: IntArray | None) -> BoolArray:
    """Mark the ratings (N,) of a band; all if there is no band, or there are no ratings."""
    if band is None or ratings is None:
        return np.ones(1 if ratings is None else len(ratings), bool)
    if not 0 <= band < len(bounds):
        raise PuzzleError(f"difficulty {band}; expected 0 to {len(bounds) - 1}")
    is_in: BoolArray = np.digitize(ratings, bounds) - 1 == band
    return is_in


def samples_of(path: Path, model: Model, task: Task, data: Path | None) -> Samples | None:
    """Find puzzles to offer: of `data`, of the data set that a run recorded, or the task's own.

    None if there are none. Raises: DataError if `data` does not serve the model.
    """
    if data is not None:
        return _tested(Dataset(data), model, task)
    try:
        return _tested(recorded_data([run_of(path)], lambda message: None), model, task)
    except DataError:  # it is not at hand, or has no test set
        return Invented(task) if isinstance(task, Inventive) else None


def _tested(dataset: Dataset, model: Model, task: Task) -> Tested:
    split = dataset.split("test")
    check_fits(split, model.config, model.source)
    check_task(dataset, model)
    return Tested(dataset, task)
