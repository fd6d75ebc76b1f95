"""Scores of predicted outcomes: log loss, Brier score, calibration, and paired intervals.

Shapes: N balls, K outcomes, M matches.
"""

import numpy as np
import numpy.typing as npt

from hrm_tasks.cricket.read import OUTCOMES

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.integer]

WICKET = [OUTCOMES.index("W")]
BOUNDARY = [OUTCOMES.index("4"), OUTCOMES.index("6")]
NUM_BINS = 10
NUM_RESAMPLES = 2000
FLOOR = 1e-12  # of a probability in a logarithm


def ball_losses(probabilities: FloatArray, targets: IntArray) -> FloatArray:
    """Compute the log loss of each ball in nats. Shapes: (N, K), (N,) -> (N,)."""
    chosen = np.take_along_axis(probabilities, targets[:, None], axis=1)[:, 0]
    losses: FloatArray = -np.log(np.maximum(chosen.astype(np.float64), FLOOR))
    return losses


def event_losses(probabilities: FloatArray, targets: IntArray, event: list[int]) -> FloatArray:
    """Compute the log loss of each ball of whether some outcomes come. Shapes: (N, K), (N,) -> (N,)."""
    chance = probabilities[:, event].astype(np.float64).sum(axis=1)
    happened = np.isin(targets, event)
    chosen = np.where(happened, chance, 1 - chance)
    losses: FloatArray = -np.log(np.maximum(chosen, FLOOR))
    return losses


def brier(probabilities: FloatArray, targets: IntArray) -> float:
    """Compute the Brier score over K outcomes: mean squared distance from what happened."""
    happened = np.eye(len(OUTCOMES))[targets]
    return float(np.square(probabilities - happened).sum(axis=1).mean())


def calibration_error(probabilities: FloatArray, targets: IntArray) -> float:
    """Compute the expected calibration error of all K probabilities, in bins of equal width."""
    chances = probabilities.astype(np.float64).ravel()
    happened = np.eye(len(OUTCOMES))[targets].ravel()
    bins = np.minimum((chances * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    gaps = np.bincount(bins, chances - happened, NUM_BINS)
    return float(np.abs(gaps).sum() / len(chances))


def measure(probabilities: FloatArray, targets: IntArray) -> dict[str, float]:
    """Compute all scores of N balls. Shapes: (N, K), (N,)."""
    if not len(targets):
        names = ("log_loss", "brier", "ece", "wicket_loss", "boundary_loss")
        return {**dict.fromkeys(names, 0.0), "balls": 0}
    return {
        "log_loss": float(ball_losses(probabilities, targets).mean()),
        "brier": brier(probabilities, targets),
        "ece": calibration_error(probabilities, targets),
        "wicket_loss": float(event_losses(probabilities, targets, WICKET).mean()),
        "boundary_loss": float(event_losses(probabilities, targets, BOUNDARY).mean()),
        "balls": len(targets),
    }


def paired_interval(
    differences: FloatArray, match: IntArray, seed: int = 0
) -> tuple[float, float, float]:
    """Return the mean difference a ball and its 95 % interval, by a bootstrap over matches.

    Shapes: (N,), (N,) number of the match that a ball belongs to.
    """
    _, number = np.unique(match, return_inverse=True)
    sums = np.bincount(number, differences)
    counts = np.bincount(number)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(sums), size=(NUM_RESAMPLES, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(differences.mean()), float(low), float(high)
