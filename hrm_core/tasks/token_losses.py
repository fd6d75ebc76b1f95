"""Loss of tasks that predict token after token. Every token weighs alike, whatever its window holds."""

import math
from typing import NamedTuple

import numpy as np

from hrm_core.tasks.predictions import Predictions

NORMAL_95 = 1.959963984540054  # standard errors
LARGEST_EXPONENT = 700.0  # of a float64


class TokenLoss(NamedTuple):
    """Mean loss of the tokens of an evaluation."""

    nats: float
    error: float  # its standard error
    num_tokens: int
    accuracy: float  # share of tokens that were the likeliest

    @property
    def interval(self) -> tuple[float, float]:
        """Return the ends of its 95 % confidence interval."""
        margin = NORMAL_95 * self.error
        return self.nats - margin, self.nats + margin


def token_loss(predictions: Predictions) -> TokenLoss:
    """Compute the mean loss of all labelled tokens; zeros if there are none.

    Its standard error is that of a ratio over examples: the tokens of one are not independent.
    Source: Cochran 1977, Sampling Techniques, 6.4.
    """
    counted = predictions.select(predictions.is_counted)
    num_tokens = counted.num_labelled.astype(np.float64)
    total = max(float(num_tokens.sum()), 1.0)
    sums = counted.lm_loss * num_tokens
    nats = float(sums.sum()) / total
    spread = float(np.square(sums - nats * num_tokens).sum())
    scale = len(counted) / max(len(counted) - 1, 1)
    error = math.sqrt(scale * spread) / total
    accuracy = float(counted.num_right.sum()) / total
    return TokenLoss(nats, error, int(num_tokens.sum()), accuracy)


def perplexity(nats: float) -> float:
    """Return the perplexity of a loss in nats a token."""
    return math.exp(min(nats, LARGEST_EXPONENT))
