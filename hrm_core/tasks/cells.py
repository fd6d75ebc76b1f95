"""Measures of tasks whose answers are compared with the solution cell by cell."""

import math

from hrm_core.tasks.contract import Metric
from hrm_core.tasks.predictions import Predictions

EXACT = Metric("exact_accuracy", "exact accuracy", "exact", interval=("exact_low", "exact_high"))
CELLS = Metric("accuracy", "cell accuracy", "all cells", short="cells")
BLANK_CELLS = Metric("blank_accuracy", "accuracy of blank cells", "blank cells")


class CellMeasures:
    """Base of tasks that are measured by exact answers, then by cells."""

    num_chunks = 1
    things = "puzzles"
    headline = EXACT
    metrics = (CELLS, BLANK_CELLS)

    def measure(self, predictions: Predictions) -> dict[str, float]:
        """Compute all numbers of a report; examples without a label do not count."""
        return measure_cells(predictions)


UNKNOWN = CellMeasures()  # measures of data whose task is not known


def measure_cells(predictions: Predictions) -> dict[str, float]:
    """Measure answers cell by cell, the exact accuracy first.

    Examples without a label do not count.
    """
    counted = predictions.select(predictions.is_counted)
    count = len(counted)
    num_exact = counted.exact.sum()
    low, high = wilson_interval(float(num_exact), count)
    is_confident = counted.q_halt_logits >= 0
    num_halts_right = (is_confident == counted.exact).sum()
    num_labelled, num_blank = counted.num_labelled.sum(), counted.num_blank.sum()
    by_q: dict[str, float] = {}
    if counted.q_steps is not None:
        by_q = {"q_steps": share(counted.q_steps.sum(), count)}
    return {
        "exact_accuracy": share(num_exact, count),
        "exact_low": low,
        "exact_high": high,
        "accuracy": share(counted.num_right.sum(), num_labelled),
        "blank_accuracy": share(counted.num_right_blank.sum(), num_blank),
        "lm_loss": share(counted.lm_loss.sum(), count),
        "q_halt_accuracy": share(num_halts_right, count),
        "steps": share(counted.steps.sum(), count),
        **by_q,
        "settled_step": share(counted.settled_step.sum(), count),
        "count": count,
    }


def wilson_interval(successes: float, count: float) -> tuple[float, float]:
    """Compute the 95 % confidence interval of a share. Source: Wilson 1927."""
    if not count:
        return 0.0, 1.0
    z = 1.959963984540054
    part = successes / count
    centre = part + z * z / (2 * count)
    variance = part * (1 - part) / count
    spread = z * math.sqrt(variance + z * z / (4 * count * count))
    scale = 1 + z * z / count
    low = max(0.0, (centre - spread) / scale)
    high = min(1.0, (centre + spread) / scale)
    return low, high


def share(part: float, whole: float) -> float:
    """Divide a part by a whole; 0 if both are 0."""
    return float(part) / max(float(whole), 1.0)
