"""Scores of what a model says of pictures: AUROC, average precision, accuracy and calibration.

A score of ranks counts each picture as often as its weight says, so that a bootstrap is one call
with a weight a picture and resample.

Shapes: N pictures, F labels, R resamples, T distinct scores, M answers.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hrm_core.tasks.contract import BoolArray, IntArray

FloatArray = npt.NDArray[np.floating]

UNDEFINED_AUROC = 0.5  # in logs, where no label has both classes: a number that plots and ranks
NUM_BINS = 15  # of the expected calibration error
NUM_RESAMPLES = 1000
BLOCK = 1 << 22  # weights that a bootstrap holds at once
FLOOR = 1e-45  # of a probability in a logarithm: the smallest of float32


SCORES = ("auroc", "average_precision")  # of ranks


class Judgement(NamedTuple):
    """What a model says of each label of N pictures, and what is true."""

    chances: FloatArray  # (N, F) probability that the label is present
    truth: IntArray  # (N, F) 1 present, 0 absent, -1 not known
    odds: FloatArray  # (N, F) logarithm of the odds: ranks where chances round to 1
    exclusive: bool  # each picture has one of the labels

    def select(self, rows: IntArray | BoolArray) -> "Judgement":
        """Return what is said of some of the pictures."""
        return self._replace(
            chances=self.chances[rows], truth=self.truth[rows], odds=self.odds[rows]
        )


class Answers(NamedTuple):
    """Answers whose truth is known: one for each label, or one for each picture of exclusive ones."""

    confidence: FloatArray  # (M,) probability of the answer that was given
    right: BoolArray  # (M,)
    balance: FloatArray  # (M,) weights under which all classes are equally frequent


class LabelScores(NamedTuple):
    """Scores of one label; NaN where they are not defined."""

    auroc: float
    average_precision: float
    num_present: int
    num_absent: int

    @property
    def is_defined(self) -> bool:
        """Return True if there are pictures with the label and without it."""
        return self.num_present > 0 and self.num_absent > 0


def log_odds(present: npt.NDArray[np.floating], absent: npt.NDArray[np.floating]) -> FloatArray:
    """Return log(p / q), precise where one of them is nearly 1. Shapes: any, the same."""
    logs = [np.log(np.maximum(each.astype(np.float64), FLOOR)) for each in (present, absent)]
    odds: FloatArray = logs[0] - logs[1]
    return odds


class RankScores(NamedTuple):
    """Scores of the order in which a model puts pictures, NaN where a class has no weight."""

    auroc: FloatArray  # (R,) area under the ROC curve; ties count half
    average_precision: FloatArray  # (R,) precision at each step of recall


def rank_scores(scores: FloatArray, present: BoolArray, weights: FloatArray) -> RankScores:
    """Score an order for each weighting of the pictures. Shapes: (N,), (N,), (N, R)."""
    hits, seen = _curves(scores, present, weights)
    num_present, num_absent = hits[-1], seen[-1] - hits[-1]
    nothing = np.zeros_like(hits[:1])
    new_hits = np.diff(hits, axis=0, prepend=nothing)
    precision = np.divide(hits, seen, out=np.zeros_like(hits), where=seen > 0)
    precisions = np.einsum("tr,tr->r", new_hits, precision)
    new_alarms = np.diff(seen - hits, axis=0, prepend=nothing)
    areas = np.einsum("tr,tr->r", new_alarms, hits - new_hits / 2)
    found = _ratio(precisions, num_present)
    return RankScores(
        _ratio(areas, num_present * num_absent), np.where(num_absent > 0, found, np.nan)
    )


def roc_curve(scores: FloatArray, present: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Return false and true positive rates of a label with both classes, (T + 1,) each from (0, 0)."""
    hits, seen = _curves(scores, present, np.ones((len(scores), 1)))
    alarms = seen - hits
    rates = [np.concatenate([[0.0], each[:, 0] / each[-1, 0]]) for each in (alarms, hits)]
    return rates[0], rates[1]


def label_scores(judged: Judgement) -> list[LabelScores]:
    """Score each label on the pictures where it is known."""
    present = (judged.truth == 1).sum(axis=0)
    absent = (judged.truth == 0).sum(axis=0)
    columns = [each.tolist() for each in (*on_all(judged).values(), present, absent)]
    return [LabelScores(*values) for values in zip(*columns, strict=True)]


def answers_of(judged: Judgement) -> Answers:
    """Return the answers that a model gives, the likeliest ones, where the truth is known."""
    known = judged.truth >= 0
    if judged.exclusive:
        rows = known.any(axis=1)
        chances, truth = judged.chances[rows], judged.truth[rows].argmax(axis=1)
        return Answers(
            chances.max(axis=1), chances.argmax(axis=1) == truth, _of_equal_weight(truth)
        )
    is_said = judged.chances >= 0.5
    confidence = np.where(is_said, judged.chances, 1 - judged.chances)
    right = is_said == (judged.truth == 1)
    balance = np.zeros_like(judged.chances)
    for label in range(judged.truth.shape[1]):
        column = known[:, label]
        classes = judged.truth[column, label]
        if len(np.unique(classes)) == 2:  # else nothing can be balanced
            balance[column, label] = _of_equal_weight(classes)
    return Answers(confidence[known], right[known], balance[known])


def accuracy(answers: Answers, weights: FloatArray | None = None) -> float:
    """Compute the share of right answers; 0 without any. Shapes: `weights` (M,)."""
    shares = _shares(answers, weights)
    return float((shares * answers.right).sum())


def calibration_error(answers: Answers, weights: FloatArray | None = None) -> float:
    """Compute the expected calibration error: |confidence - accuracy| over 15 bins of equal width.

    Source: Guo and others 2017, On Calibration of Modern Neural Networks.
    """
    bins = np.minimum((answers.confidence * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    gaps = _shares(answers, weights) * (answers.confidence - answers.right)
    return float(np.abs(np.bincount(bins, gaps, NUM_BINS)).sum())


def base_rate(judged: Judgement) -> float:
    """Return the accuracy of always giving the most frequent answer; 0 without any."""
    known = judged.truth >= 0
    counts = (judged.truth == 1).sum(axis=0)
    if judged.exclusive:
        return float(counts.max() / max(int(known.any(axis=1).sum()), 1))
    most = np.maximum(counts, known.sum(axis=0) - counts)
    return float(most.sum() / max(int(known.sum()), 1))


def measure(judged: Judgement) -> dict[str, float]:
    """Compute all scores of N pictures, means over the labels where they are defined."""
    labels = [scores for scores in label_scores(judged) if scores.is_defined]
    answers = answers_of(judged)
    return {
        "auroc": _mean([scores.auroc for scores in labels], UNDEFINED_AUROC),
        "average_precision": _mean([scores.average_precision for scores in labels], 0.0),
        "accuracy": accuracy(answers),
        "ece": calibration_error(answers),
        "balanced_accuracy": accuracy(answers, answers.balance),
        "balanced_ece": calibration_error(answers, answers.balance),
        "base_rate": base_rate(judged),
        "defined_labels": len(labels),
    }


def on_all(judged: Judgement) -> dict[str, FloatArray]:
    """Score each label on all pictures. Returns: (F,) by score, NaN where it is not defined."""
    found = _scored(judged, np.ones((len(judged.truth), 1)))
    return {key: values[0] for key, values in found.items()}


def resampled(judged: Judgement, patients: IntArray, seed: int = 0) -> dict[str, FloatArray]:
    """Score each label on resamples of patients. Shapes: (N,) number of the patient -> (R, F).

    Equal seeds and patients draw equal resamples, so differences of two models are paired.
    """
    _, numbers = np.unique(patients, return_inverse=True)
    count = int(numbers.max(initial=-1)) + 1
    rng = np.random.default_rng(seed)
    size = max(1, BLOCK // max(len(patients), 1))
    parts = []
    for start in range(0, NUM_RESAMPLES, size):
        num_drawn = min(size, NUM_RESAMPLES - start)
        drawn = rng.multinomial(count, np.full(count, 1 / count), num_drawn)
        counts = np.ascontiguousarray(drawn.T, np.float32)  # exact, and faster than float64
        parts.append(_scored(judged, counts[numbers]))
    return {key: np.concatenate([part[key] for part in parts]) for key in SCORES}


def interval(values: FloatArray) -> tuple[float, float]:
    """Return the ends of the 95 % interval of resampled values (R,); those not defined have no say."""
    known = values[~np.isnan(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)


def macro(values: FloatArray) -> FloatArray:
    """Average over the labels that are defined. Shapes: (R, F) -> (R,), NaN where none is."""
    known = ~np.isnan(values)
    return _ratio(np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1).astype(np.float64))


def _scored(judged: Judgement, weights: FloatArray) -> dict[str, FloatArray]:
    """Score each label for each weighting (N, R). Returns: (R, F) by score."""
    shape = weights.shape[1], judged.truth.shape[1]
    found = {key: np.full(shape, np.nan) for key in SCORES}
    for label, truth in enumerate(judged.truth.T):
        known = truth >= 0
        if not known.any():
            continue
        own = weights if known.all() else weights[known]
        ranks = rank_scores(judged.odds[known, label], truth[known] == 1, own)
        for key, values in ranks._asdict().items():
            found[key][:, label] = values
    return found


def _curves(
    scores: FloatArray, present: BoolArray, weights: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the weight of present and of all pictures at each score or above, (T, R) each.

    Scores fall from top to bottom. Without pictures T is 1.
    """
    if not len(scores):
        return np.zeros((1, weights.shape[1])), np.zeros((1, weights.shape[1]))
    order = np.argsort(-scores, kind="stable")
    sorted_weights = weights[order]
    seen = np.cumsum(sorted_weights, axis=0)
    sorted_weights *= present[order, None]
    hits = np.cumsum(sorted_weights, axis=0)
    is_last = np.append(np.diff(scores[order]) != 0, True)  # of equal scores
    return (hits, seen) if is_last.all() else (hits[is_last], seen[is_last])


def _of_equal_weight(classes: IntArray) -> FloatArray:
    """Return weights (N,) under which the classes (N,) that occur are equally frequent."""
    _, numbers, counts = np.unique(classes, return_inverse=True, return_counts=True)
    weights: FloatArray = 1.0 / counts[numbers]
    return weights


def _shares(answers: Answers, weights: FloatArray | None) -> FloatArray:
    """Return weights (M,) that add up to 1; zeros where nothing can be weighed."""
    given = np.ones(len(answers.right)) if weights is None else weights
    shares: FloatArray = given / max(float(given.sum()), FLOOR)
    return shares


def _ratio(part: FloatArray, whole: FloatArray) -> FloatArray:
    """Divide, NaN where the whole is 0."""
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)


def _mean(values: list[float], default: float) -> float:
    return float(np.mean(values)) if values else default
