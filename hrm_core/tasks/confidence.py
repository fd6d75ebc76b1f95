"""The confidence of a model in its answers."""

import numpy as np
import numpy.typing as npt


def sigmoid(logits: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Compute the sigmoid in float64; no logit overflows."""
    halves = logits.astype(np.float64) / 2
    confidence: npt.NDArray[np.float64] = 0.5 + 0.5 * np.tanh(halves)
    return confidence
