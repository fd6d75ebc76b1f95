"""How a model answered the examples of an evaluation.

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
    """How each of N examples was answered."""

    num_right: IntArray  # labelled cells answered rightly
    num_labelled: IntArray
    num_right_blank: IntArray  # the same for cells that the question leaves open
    num_blank: IntArray
    lm_loss: FloatArray  # per example: mean over its labelled cells
    q_halt_logits: FloatArray
    steps: IntArray  # ACT steps taken
    settled_step: IntArray  # ACT step after which the answer no longer changed
    ratings: IntArray  # difficulty; -1 where the data set has none

    @property
    def exact(self) -> BoolArray:
        """Examples in which every labelled cell is right."""
        exact: BoolArray = self.num_right == self.num_labelled
        return exact

    @property
    def is_counted(self) -> BoolArray:
        """Examples that have a label at all."""
        counted: BoolArray = self.num_labelled > 0
        return counted

    def __len__(self) -> int:
        return len(self.num_right)

    def select(self, chosen: BoolArray | IntArray) -> "Predictions":
        """Select some examples, by a mask or by their places."""
        return Predictions(**{name: getattr(self, name)[chosen] for name in FIELDS})


FIELDS = tuple(field.name for field in fields(Predictions))
NO_PREDICTIONS = Predictions(**{name: np.empty(0, np.int64) for name in FIELDS})  # type: ignore[arg-type]


def joined(parts: Sequence[Predictions]) -> Predictions:
    """Join the predictions of several batches."""
    return Predictions(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in FIELDS}
    )


def picked(each: Sequence[Predictions], choice: IntArray) -> Predictions:
    """Pick one of K predictions for each of the same N examples. Shapes: (N,) in [0, K)."""
    rows = np.arange(len(choice))
    stacked = {name: np.stack([getattr(one, name) for one in each]) for name in FIELDS}
    return Predictions(**{name: arrays[choice, rows] for name, arrays in stacked.items()})
