"""The contract of a task: the few members that training and evaluation need.

Everything else is an optional capability, see `capabilities.py`. A task object is bound to one
size: `Sudoku(9)`, not "Sudoku". The `task.py` of a package names its class as `TASK`;
`cells.CellMeasures` is a base for tasks that are measured cell by cell.

Shapes: N examples, S = `seq_len` cells of one chunk, V = `vocab_size` tokens.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

from hrm_core.tasks.predictions import Predictions

TokenArray = npt.NDArray[np.integer]  # of any size: a vocabulary may have 50,265 tokens
IntArray = npt.NDArray[np.integer]
BoolArray = npt.NDArray[np.bool_]

NO_SETTINGS: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Metric:
    """A number that measures a model, and its names and format."""

    key: str  # in the result of `measure`, in logs and in --json
    title: str  # of its curve: "exact accuracy"
    heading: str  # of its column in a table: "exact"
    format: str = ".2%"
    higher_is_better: bool = True
    interval: tuple[str, str] | None = None  # keys of the ends of its 95 % confidence interval
    short: str = ""  # its name in a line of text, if not the heading
    needs: str = ""  # key of a count; where it is 0, the number is not defined

    @property
    def is_share(self) -> bool:
        """Return True for a number between 0 and 1 that is written in per cent."""
        return self.format.endswith("%")

    def text(self, value: float) -> str:
        """Format a value for a person."""
        return format(value, self.format)

    def shown(self, values: Mapping[str, float]) -> str:
        """Format its value among others, "undefined" where they do not define it."""
        if self.needs and not values.get(self.needs, 1):
            return "undefined"
        return self.text(values[self.key])

    def rank(self, values: Mapping[str, float]) -> float:
        """Return a number that is larger for the better of two models."""
        return values[self.key] if self.higher_is_better else -values[self.key]


class Measures(Protocol):
    """Measures of a task, as reports, curves and the choice of the best checkpoint use them.

    The class itself has headline and metrics, too: curves are drawn without the settings of a task.
    """

    @property
    def headline(self) -> Metric:
        """Return the metric that decides which of two models is better."""
        ...

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Return the metrics shown beside it; the first decides between equal headlines."""
        ...

    @property
    def things(self) -> str:
        """Return the word for examples in reports: "puzzles", "windows", "innings"."""
        ...

    def measure(self, predictions: Predictions) -> Mapping[str, float]:
        """Compute all numbers of a report by their keys, and `count`, the examples measured."""
        ...


@runtime_checkable
class Task(Measures, Protocol):
    """One kind of puzzle at one size."""

    name: str  # in data sets and model files: "sudoku"
    settings: Mapping[str, Any]  # JSON-serialisable; what name and shape do not determine
    vocab_size: int
    seq_len: int
    num_chunks: int  # 1 for grids

    @classmethod
    def for_shape(cls, vocab_size: int, seq_len: int, settings: Mapping[str, Any]) -> Self | None:
        """Return the task that data or a model is of. None if the shape or the settings are not its own."""
        ...
