"""Learning rates, bias corrections and the decay of the average, of each update, in double precision."""

import math
from typing import NamedTuple

from hrm_core.config import OptimConfig, TrainConfig


class Rates(NamedTuple):
    """Scalars of one update."""

    lr: float
    puzzle_emb_lr: float
    bias_correction1: float  # 1 - beta1^t
    bias_correction2: float  # 1 - beta2^t
    average_decay: float | None = None  # of the average of the weights; None: there is none


def total_updates(train: TrainConfig, total_groups: int, mean_puzzle_examples: float) -> int:
    """Count the updates of a whole run. Source: published pretrain script."""
    return int(train.epochs * total_groups * mean_puzzle_examples / train.global_batch_size)


def learning_rate(base: float, update: int, total: int, warmup: int, min_ratio: float) -> float:
    """Compute a learning rate: linear warm-up, then a half cosine down to `min_ratio * base`.

    The lowest rate is reached at update `total` exactly. Updates count from 1.
    """
    if update < warmup:
        return base * update / warmup  # in this order: equal to the published rates to the last bit
    progress = (update - warmup) / max(1, total - warmup)
    return base * (min_ratio + (1 - min_ratio) * 0.5 * (1 + math.cos(math.pi * progress)))


def average_decay(ema: float, update: int) -> float:
    """Compute the decay of the average after an update (from 1).

    It is short at first, so that the initial values are soon forgotten.
    """
    return min(ema, (1 + update) / (10 + update))


def rates(update: int, total: int, optim: OptimConfig, ema: float | None = None) -> Rates:
    """Compute the scalars of update `update` (from 1) of `total`; `ema` as in `TrainConfig`."""
    schedule = update, total, optim.lr_warmup_steps, optim.lr_min_ratio
    return Rates(
        lr=learning_rate(optim.lr, *schedule),
        puzzle_emb_lr=learning_rate(optim.puzzle_emb_lr, *schedule),
        bias_correction1=1 - optim.beta1**update,
        bias_correction2=1 - optim.beta2**update,
        average_decay=None if ema is None else average_decay(ema, update),
    )
