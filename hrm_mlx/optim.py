"""The two optimizers and the average of the weights, as functions from arrays to arrays.

Shapes: B slots, E puzzle_emb_ndim.
"""

from typing import NamedTuple

import mlx.core as mx

from hrm_core.config import OptimConfig
from hrm_core.schedule import Rates


class Scalars(NamedTuple):
    """Factors of one update, computed in double precision and rounded once."""

    keep: mx.array  # 1 - lr * weight_decay
    step: mx.array  # lr / (1 - beta1^t)
    second_scale: mx.array  # 1 / sqrt(1 - beta2^t)
    puzzle_keep: mx.array
    puzzle_step: mx.array
    average_step: mx.array  # 1 - decay of the average of the weights; of no use where there is none


def scalars(rates: Rates, optim: OptimConfig) -> Scalars:
    """The scalars of one update as float32 arrays, so that a compiled update takes them as arguments."""
    return Scalars(
        mx.array(1 - rates.lr * optim.weight_decay),
        mx.array(rates.lr / rates.bias_correction1),
        mx.array(rates.bias_correction2**-0.5),
        mx.array(1 - rates.puzzle_emb_lr * optim.puzzle_emb_weight_decay),
        mx.array(rates.puzzle_emb_lr),
        mx.array(1 - (rates.average_decay or 0.0)),
    )


def adam_atan2(
    weight: mx.array,
    m: mx.array,
    v: mx.array,
    gradient: mx.array,
    optim: OptimConfig,
    rates: Scalars,
) -> tuple[mx.array, mx.array, mx.array]:
    """One update of a weight and its moments: decay first, then a step that no epsilon and no scale limits.

    Source: Everett et al. 2024, arXiv 2407.05872; m is not divided by its bias correction inside atan2, as published.
    """
    m = m + (1 - optim.beta1) * (gradient - m)
    v = optim.beta2 * v + (1 - optim.beta2) * mx.square(gradient)
    weight = weight * rates.keep - rates.step * mx.arctan2(m, mx.sqrt(v) * rates.second_scale)
    return weight, m, v


def averaged(average: mx.array, weight: mx.array, rates: Scalars) -> mx.array:
    """The exponential moving average after an update: decay * average + (1 - decay) * weight."""
    return average + rates.average_step * (weight - average)


def sign_sgd(rows: mx.array, ids: mx.array, gradients: mx.array, rates: Scalars) -> mx.array:
    """Move and decay rows of the puzzle table, those of equal ids alike, by the sign of their summed gradients.

    Shapes: (B, E), (B,), (B, E) -> (B, E). The cost depends on B, not on the size of the table.
    """
    first = mx.argmax(ids[:, None] == ids, axis=1)  # the first slot that has the same id
    summed = mx.zeros_like(gradients).at[first].add(gradients)[first]
    return rows * rates.puzzle_keep - rates.puzzle_step * mx.sign(summed)
