"""What answers are worth: exact and cell accuracy per example, and tables of them.

Shapes: N examples, S cells.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from hrm_core.data.summary import band_names
from hrm_core.tasks.confidence import sigmoid
from hrm_core.tasks.contract import Measures
from hrm_core.tasks.predictions import Predictions

IntArray = npt.NDArray[np.integer]
BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.floating]


def calibration(predictions: Predictions, num_bins: int = 10) -> list[dict[str, float]]:
    """Whether sigmoid(q_halt) is the share of exact answers: for each bin of it that has examples, both and their number."""
    counted = predictions.select(predictions.is_counted)
    confidence = sigmoid(counted.q_halt_logits)
    bins = np.minimum((confidence * num_bins).astype(int), num_bins - 1)
    return [
        {
            "from": b / num_bins,
            "confidence": float(confidence[bins == b].mean()),
            "exact": float(counted.exact[bins == b].mean()),
            "count": int(n),
        }
        for b, n in enumerate(np.bincount(bins, minlength=num_bins))
        if n
    ]


def step_counts(predictions: Predictions) -> dict[int, int]:
    """How many puzzles took how many ACT steps."""
    steps, counts = np.unique(predictions.steps[predictions.is_counted], return_counts=True)
    return dict(zip(steps.tolist(), counts.tolist(), strict=True))


def score(
    tokens: IntArray, labels: IntArray, given: BoolArray, losses: FloatArray
) -> dict[str, npt.NDArray[np.generic]]:
    """Compare answers with labels; a label below zero is not scored, and its loss is 0. Shapes: (N, S) each -> (N,) each."""
    labelled = labels >= 0
    loss_sums = losses.sum(axis=1, dtype=np.float64)
    right = (tokens == labels) & labelled
    blank = labelled & ~given
    return {
        "num_right": right.sum(axis=1),
        "num_labelled": labelled.sum(axis=1),
        "num_right_blank": (right & blank).sum(axis=1),
        "num_blank": blank.sum(axis=1),
        "lm_loss": loss_sums / np.maximum(labelled.sum(axis=1), 1),
    }


def by_band(
    predictions: Predictions, bounds: Sequence[int], measures: Measures
) -> dict[str, Mapping[str, float]]:
    """Measure each band of ratings that has examples; none without ratings."""
    rated = predictions.ratings >= 0
    bands = np.searchsorted(np.asarray(bounds), predictions.ratings, side="right") - 1
    chosen = {name: rated & (bands == i) for i, name in enumerate(band_names(bounds))}
    return {
        name: measures.measure(predictions.select(mask))
        for name, mask in chosen.items()
        if mask.any()
    }


def reduced(sums: Mapping[str, float], num_slots: int) -> dict[str, float]:
    """Training metrics from sums over `num_slots` = slots times updates: losses per slot, all others per halted slot."""
    count = max(sums["count"], 1.0)
    means = {
        name: value / (num_slots if name.endswith("loss") else count)
        for name, value in sums.items()
    }
    return {**means, "count": sums["count"]}


def all_finite(metrics: Mapping[str, float]) -> bool:
    """Whether no metric is NaN or infinite."""
    return all(math.isfinite(value) for value in metrics.values())


def is_finite(array: FloatArray) -> bool:
    """Whether no value of an array of any size is NaN or infinite, without a copy of it."""
    with np.errstate(invalid="ignore"):
        return math.isfinite(array.sum(dtype=np.float64))
