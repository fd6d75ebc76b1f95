"""The two optimizers, and the average of the weights. They write in place: the weights and moments that they are given, or the rows.

Shapes: B slots, E puzzle_emb_ndim.
"""

from typing import NamedTuple

import torch

from hrm_core.config import OptimConfig
from hrm_core.schedule import Rates


class Scalars(NamedTuple):
    """Factors of one update, computed in double precision."""

    keep: torch.Tensor  # 1 - lr * weight_decay
    step: torch.Tensor  # lr / (1 - beta1^t)
    second_scale: torch.Tensor  # 1 / sqrt(1 - beta2^t)
    puzzle_keep: torch.Tensor
    puzzle_step: torch.Tensor
    average_step: (
        torch.Tensor
    )  # 1 - decay of the average of the weights; of no use where there is none


def scalars(rates: Rates, optim: OptimConfig, dtype: torch.dtype, device: torch.device) -> Scalars:
    """The scalars of one update as tensors () in the dtype of the weights, so that a compiled update takes them as arguments."""
    values = (
        1 - rates.lr * optim.weight_decay,
        rates.lr / rates.bias_correction1,
        rates.bias_correction2**-0.5,
        1 - rates.puzzle_emb_lr * optim.puzzle_emb_weight_decay,
        rates.puzzle_emb_lr,
        1 - (rates.average_decay or 0.0),
    )
    return Scalars(
        *torch.tensor(values, dtype=torch.float64).to(dtype).to(device, non_blocking=True).unbind()
    )


def adam_atan2(
    weight: torch.Tensor,
    m: torch.Tensor,
    v: torch.Tensor,
    gradient: torch.Tensor,
    optim: OptimConfig,
    rates: Scalars,
) -> None:
    """One update of a weight and its moments: decay first, then a step that no epsilon and no scale limits.

    Source: Everett et al. 2024, arXiv 2407.05872; m is not divided by its bias correction inside atan2, as published.
    """
    m.lerp_(gradient, 1 - optim.beta1)
    v.mul_(optim.beta2).addcmul_(gradient, gradient, value=1 - optim.beta2)
    weight.mul_(rates.keep).sub_(torch.atan2(m, v.sqrt().mul_(rates.second_scale)).mul_(rates.step))


def averaged(average: torch.Tensor, weight: torch.Tensor, rates: Scalars) -> None:
    """The exponential moving average after an update: decay * average + (1 - decay) * weight."""
    average.add_((weight - average).mul_(rates.average_step))


def sign_sgd(
    rows: torch.Tensor, ids: torch.Tensor, gradients: torch.Tensor, rates: Scalars
) -> torch.Tensor:
    """Move and decay rows of the puzzle table, those of equal ids alike, by the sign of their summed gradients.

    Shapes: (B, E), (B,), (B, E) -> (B, E). The cost depends on B, not on the size of the table.
    """
    first = (ids[:, None] == ids).int().argmax(dim=1)  # the first slot that has the same id
    summed = torch.zeros_like(gradients).index_add_(0, first, gradients)[first]
    return rows * rates.puzzle_keep - rates.puzzle_step * summed.sign()
