"""What answers are worth: exact and cell accuracy per example, and tables of them.

Shapes: N examples, S cells, V vocabulary.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from hrm_core.data.summary import band_names

IntArray = npt.NDArray[np.integer]
BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Scores:
    """How each of N examples was answered. Every array is (N,)."""

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

    def __len__(self) -> int:
        return len(self.num_right)

    def select(self, chosen: BoolArray | IntArray) -> "Scores":
        """The scores of some examples, chosen by a mask or by their places."""
        return Scores(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})


NO_SCORES = Scores(**{field.name: np.empty(0, np.int64) for field in fields(Scores)})  # type: ignore[arg-type]


def joined(parts: Sequence[Scores]) -> Scores:
    """The scores of several batches as one."""
    return Scores(
        **{
            field.name: np.concatenate([getattr(part, field.name) for part in parts])
            for field in fields(Scores)
        }
    )


def picked(each: Sequence[Scores], choice: IntArray) -> Scores:
    """Of K scores of the same N examples the chosen one for each. Shapes: (N,) in [0, K)."""
    rows = np.arange(len(choice))
    return Scores(
        **{
            field.name: np.stack([getattr(scores, field.name) for scores in each])[choice, rows]
            for field in fields(Scores)
        }
    )


def sigmoid(logits: FloatArray) -> FloatArray:
    """In float64, of logits of any size."""
    half: FloatArray = 0.5 + 0.5 * np.tanh(logits.astype(np.float64) / 2)
    return half


def wilson_interval(successes: float, count: float) -> tuple[float, float]:
    """The 95 % confidence interval of a share. Source: Wilson 1927."""
    if not count:
        return 0.0, 1.0
    z, share = 1.959963984540054, successes / count
    centre, spread = (
        share + z * z / (2 * count),
        z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)),
    )
    scale = 1 + z * z / count
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def calibration(scores: Scores, num_bins: int = 10) -> list[dict[str, float]]:
    """Whether sigmoid(q_halt) is the share of exact answers: for each bin of it that has examples, both and their number."""
    counted = scores.select(scores.num_labelled > 0)
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


def step_counts(scores: Scores) -> dict[int, int]:
    """How many puzzles took how many ACT steps."""
    steps, counts = np.unique(scores.steps[scores.num_labelled > 0], return_counts=True)
    return dict(zip(steps.tolist(), counts.tolist(), strict=True))


def score(
    tokens: IntArray, labels: IntArray, given: BoolArray, logits: FloatArray, loss_type: str
) -> dict[str, npt.NDArray[np.generic]]:
    """Compare answers with labels; a label below zero is not scored. Shapes: (N, S), (N, S), (N, S), (N, S, V) -> (N,) each."""
    labelled = labels >= 0
    right = (tokens == labels) & labelled
    blank = labelled & ~given
    return {
        "num_right": right.sum(axis=1),
        "num_labelled": labelled.sum(axis=1),
        "num_right_blank": (right & blank).sum(axis=1),
        "num_blank": blank.sum(axis=1),
        "lm_loss": _token_losses(logits, labels, loss_type).sum(axis=1)
        / np.maximum(labelled.sum(axis=1), 1),
    }


def summary(scores: Scores) -> dict[str, float]:
    """The numbers of a report, the exact accuracy first. Examples without any label do not count."""
    counted = scores.select(scores.num_labelled > 0)
    count = len(counted)
    low, high = wilson_interval(float(counted.exact.sum()), count)
    return {
        "exact_accuracy": _share(counted.exact.sum(), count),
        "exact_low": low,
        "exact_high": high,
        "accuracy": _share(counted.num_right.sum(), counted.num_labelled.sum()),
        "blank_accuracy": _share(counted.num_right_blank.sum(), counted.num_blank.sum()),
        "lm_loss": _share(counted.lm_loss.sum(), count),
        "q_halt_accuracy": _share(((counted.q_halt_logits >= 0) == counted.exact).sum(), count),
        "steps": _share(counted.steps.sum(), count),
        "settled_step": _share(counted.settled_step.sum(), count),
        "count": count,
    }


def by_band(scores: Scores, bounds: Sequence[int]) -> dict[str, dict[str, float]]:
    """A summary for each band of ratings that has examples; none without ratings."""
    rated = scores.ratings >= 0
    bands = np.searchsorted(np.asarray(bounds), scores.ratings, side="right") - 1
    chosen = {name: rated & (bands == i) for i, name in enumerate(band_names(bounds))}
    return {name: summary(scores.select(mask)) for name, mask in chosen.items() if mask.any()}


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


def _share(part: float, whole: float) -> float:
    return float(part) / max(float(whole), 1.0)


def _token_losses(logits: FloatArray, labels: IntArray, loss_type: str) -> FloatArray:
    """Cross entropy of each labelled cell, in float64. Shapes: (N, S, V), (N, S) -> (N, S). Source: sapientinc/HRM models/losses.py."""
    exact = logits.astype(np.float64)
    is_softmax = loss_type == "softmax_cross_entropy"
    # the log of exp(a), or of stablemax's a + 1, which is 1 / (1 - a) below zero
    with np.errstate(invalid="ignore"):  # the caller looks whether the loss is finite
        logs = (
            exact - exact.max(axis=-1, keepdims=True)
            if is_softmax
            else np.sign(exact) * np.log1p(np.abs(exact))
        )
    chosen = np.take_along_axis(logs, np.maximum(labels, 0)[..., None], axis=-1)[..., 0]
    return np.where(labels >= 0, np.log(np.exp(logs).sum(axis=-1)) - chosen, 0.0)
