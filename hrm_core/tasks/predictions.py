"""Predictions: the scored answers of a model to the examples of an evaluation.

Shapes: N examples, Q places of an outcome, K outcomes, A ACT steps. Every array is (N, ...).
"""

from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.integer]
BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Predictions:
    """Scored answers to N examples."""

    num_right: IntArray  # labelled cells answered correctly
    num_labelled: IntArray
    num_right_blank: IntArray  # the same for cells that the question leaves open
    num_blank: IntArray
    lm_loss: FloatArray  # per example: mean over its labelled cells
    q_halt_logits: FloatArray
    steps: IntArray  # ACT steps taken
    settled_step: IntArray  # ACT step after which the answer stopped changing
    ratings: IntArray  # difficulty; -1 where the data set has none
    # Of a model that learned when to halt: ACT steps until it would, however many are taken
    q_steps: IntArray | None = None
    # Of a task with outcomes: (N, Q, K) softmax over its outcomes alone, after the last step on each
    # chunk, and (N, Q) the outcome that the label names, -1 where there is none
    probabilities: FloatArray | None = None
    targets: IntArray | None = None
    # Of fixed halting and one chunk: (N, A) sum of the losses of all labels after each ACT step
    step_losses: FloatArray | None = None

    @property
    def exact(self) -> BoolArray:
        """Mark examples in which every labelled cell is right."""
        exact: BoolArray = self.num_right == self.num_labelled
        return exact

    @property
    def is_counted(self) -> BoolArray:
        """Mark examples that have at least one label."""
        counted: BoolArray = self.num_labelled > 0
        return counted

    def __len__(self) -> int:
        return len(self.num_right)

    def select(self, chosen: BoolArray | IntArray) -> "Predictions":
        """Select examples by a mask or by their indices."""
        return Predictions(**{name: array[chosen] for name, array in self.arrays.items()})

    @property
    def arrays(self) -> dict[str, Any]:
        """Return the arrays that are there, by name."""
        return {name: array for name, array in vars(self).items() if array is not None}


REQUIRED = tuple(field.name for field in fields(Predictions) if field.default is MISSING)
NO_PREDICTIONS = Predictions(**{name: np.empty(0, np.int64) for name in REQUIRED})  # type: ignore[arg-type]


def joined(parts: Sequence[Predictions]) -> Predictions:
    """Join the predictions of several batches; those without examples have no say."""
    parts = [part for part in parts if len(part)] or list(parts[:1])
    arrays = {}
    for name in parts[0].arrays:
        arrays[name] = np.concatenate([part.arrays[name] for part in parts])
    return Predictions(**arrays)


def picked(each: Sequence[Predictions], choice: IntArray) -> Predictions:
    """Pick one of K predictions for each of the same N examples. Shapes: (N,) in [0, K)."""
    rows = np.arange(len(choice))
    arrays = {}
    for name in each[0].arrays:
        stacked = np.stack([one.arrays[name] for one in each])  # (K, N, ...)
        arrays[name] = stacked[choice, rows]
    return Predictions(**arrays)


def replaced(old: Predictions, rows: BoolArray, new: Predictions) -> Predictions:
    """Return `old` (N) with the predictions of `new` in these rows (N,)."""
    arrays = {}
    for name, array in old.arrays.items():
        arrays[name] = array.copy()
        arrays[name][rows] = new.arrays[name]
    return Predictions(**arrays)
