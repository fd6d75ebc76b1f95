"""Score answers: exact and cell accuracy of each example, and tables of them.

Shapes: N examples, S cells.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from hrm_core.data.summary import band_names
from hrm_core.tasks.cells import measure_cells
from hrm_core.tasks.confidence import sigmoid
from hrm_core.tasks.contract import Measures
from hrm_core.tasks.predictions import Predictions

OF_EXAMPLES = {"steps": "halts", "q_halt_accuracy": "judged_halts"}  # metric -> its own divisor
IntArray = npt.NDArray[np.integer]
BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.floating]

OF_ANY_TASK = ("q_halt_accuracy", "steps", "q_steps", "settled_step", "count")


def calibration(predictions: Predictions, num_bins: int = 10) -> list[dict[str, float]]:
    """Compare sigmoid(q_halt), the confidence, with the share of exact answers.

    Returns: one row for each bin of the confidence that has examples: where the bin begins, the
    mean confidence, the share of exact answers and the number of examples.
    """
    counted = predictions.select(predictions.is_counted)
    confidence = sigmoid(counted.q_halt_logits)
    bins = np.minimum((confidence * num_bins).astype(int), num_bins - 1)
    rows = []
    for b in np.unique(bins).tolist():
        is_inside = bins == b
        row = {
            "from": b / num_bins,
            "confidence": float(confidence[is_inside].mean()),
            "exact": float(counted.exact[is_inside].mean()),
            "count": int(is_inside.sum()),
        }
        rows.append(row)
    return rows


def step_counts(predictions: Predictions) -> dict[int, int]:
    """Count the puzzles that took each number of ACT steps."""
    steps, counts = np.unique(predictions.steps[predictions.is_counted], return_counts=True)
    return dict(zip(steps.tolist(), counts.tolist(), strict=True))


def score(
    tokens: IntArray, labels: IntArray, given: BoolArray, losses: FloatArray
) -> dict[str, npt.NDArray[np.generic]]:
    """Compare answers with labels. Shapes: (N, S) each -> (N,) each.

    A label below zero is not scored, and its loss is 0.
    """
    labelled = labels >= 0
    num_labelled = labelled.sum(axis=1)
    loss_sums = losses.sum(axis=1, dtype=np.float64)
    right = (tokens == labels) & labelled
    blank = labelled & ~given
    return {
        "num_right": right.sum(axis=1),
        "num_labelled": num_labelled,
        "num_right_blank": (right & blank).sum(axis=1),
        "num_blank": blank.sum(axis=1),
        "lm_loss": loss_sums / np.maximum(num_labelled, 1),
    }


def measured(predictions: Predictions, measures: Measures) -> dict[str, float]:
    """Compute the numbers of a task, and those of halting where the task leaves them out."""
    values = dict(measures.measure(predictions))
    cells = measure_cells(predictions)
    for name in OF_ANY_TASK:
        if name in cells:
            values.setdefault(name, cells[name])
    return values


def by_band(
    predictions: Predictions, bounds: Sequence[int], measures: Measures
) -> dict[str, dict[str, float]]:
    """Measure each band of ratings that has examples; none without ratings."""
    rated = predictions.ratings >= 0
    bands = np.searchsorted(np.asarray(bounds), predictions.ratings, side="right") - 1
    found = {}
    for i, name in enumerate(band_names(bounds)):
        is_inside = rated & (bands == i)
        if is_inside.any():
            found[name] = measured(predictions.select(is_inside), measures)
    return found


def reduced(sums: Mapping[str, float], num_slots: int) -> dict[str, float]:
    """Divide sums of training metrics: losses by `num_slots`, all others by the halted slots.

    `num_slots` is slots times updates. `count`, the number of halted slots, stays a sum. Of examples
    with several chunks it counts labelled chunks; steps and Q are then divided by examples.
    """
    means = {}
    for name, total in sums.items():
        if name in OF_EXAMPLES.values():
            continue
        counted = sums.get(OF_EXAMPLES.get(name, "count"), sums["count"])
        is_loss = name.endswith("loss")
        means[name] = total / (num_slots if is_loss else max(counted, 1.0))
    return {**means, "count": sums["count"]}


def is_finite(array: FloatArray) -> bool:
    """Return True if no value of an array is NaN or infinite; an array of any size is not copied."""
    with np.errstate(invalid="ignore"):
        return math.isfinite(array.sum(dtype=np.float64))
