"""Predictions: the scored answers of a model to the examples of an evaluation.

Shapes: N examples. Every array is (N,).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

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
        return Predictions(**{name: getattr(self, name)[chosen] for name in FIELDS})


FIELDS = tuple(field.name for field in fields(Predictions))
NO_PREDICTIONS = Predictions(**{name: np.empty(0, np.int64) for name in FIELDS})  # type: ignore[arg-type]


def joined(parts: Sequence[Predictions]) -> Predictions:
    """Join the predictions of several batches."""
    arrays = {}
    for name in FIELDS:
        arrays[name] = np.concatenate([getattr(part, name) for part in parts])
    return Predictions(**arrays)


def picked(each: Sequence[Predictions], choice: IntArray) -> Predictions:
    """Pick one of K predictions for each of the same N examples. Shapes: (N,) in [0, K)."""
    rows = np.arange(len(choice))
    arrays = {}
    for name in FIELDS:
        stacked = np.stack([getattr(one, name) for one in each])  # (K, N)
        arrays[name] = stacked[choice, rows]
    return Predictions(**arrays)
