"""Two strips of an image that are compared through the state (SPEC.md, section 13.4)."""

from typing import Any

import numpy as np
from beyond import (
    Make,
    config_with,
    moved_from_start,
)

from hrm_core.backend import Backend, Batch
from hrm_core.config import ModelConfig, OptimConfig
from hrm_core.parameters import initial_values
from hrm_core.schedule import rates

BRIGHT_SLOTS, BRIGHT_UPDATES = 64, 400
BRIGHT_OPTIM = OptimConfig(lr=3e-3, lr_warmup_steps=20, weight_decay=0.1, puzzle_emb_lr=0.0)


def bright_config(num_chunks: int) -> ModelConfig:
    """Strips of 8 x 8 pixels in patches of 4 x 4, one token behind them."""
    looks = {"seq_len": 5, "image_size": [8, 8 * num_chunks], "patch_size": 4}
    small = {"H_cycles": 1, "L_cycles": 1, "puzzle_emb_ndim": 0, "pos_encodings": "learned"}
    halts = {"halting": "fixed", "halt_max_steps": num_chunks, "num_chunks": num_chunks}
    return config_with(**looks, **small, **halts, loss_type="softmax_cross_entropy")


def bright_batch(rng: np.random.Generator, count: int, num_chunks: int) -> Batch:
    """Is the right half brighter than the left one? The last token says so; of one strip the right one is shown."""
    halves = rng.uniform(60, 196, (count, 2))
    noise = rng.normal(0, 10, (count, 8, 16))
    images = (np.repeat(halves, 8, axis=1)[:, None] + noise).clip(0, 255).astype(np.uint8)
    labels = np.full((count, 5 * num_chunks), -100, np.int32)
    labels[:, -1] = 2 + (halves[:, 1] > halves[:, 0])
    shown = np.ascontiguousarray(images[..., -8 * num_chunks :])
    return Batch(np.ones_like(labels), labels, np.zeros(count, np.int32), images=shown)


def auroc(scores: Any, truth: Any) -> float:
    """Share of pairs of a true and a false one that the scores order rightly."""
    ranks = np.argsort(np.argsort(scores))
    num_true = truth.sum()
    wins = ranks[truth].sum() - num_true * (num_true - 1) / 2
    return float(wins / (num_true * (len(truth) - num_true)))


def trained_to_compare(make: Make, num_chunks: int) -> Backend:
    backend = make(bright_config(num_chunks))
    backend.load_weights(initial_values(backend.config, seed=0))
    backend.begin_training(BRIGHT_OPTIM, BRIGHT_SLOTS)
    rng, floors = np.random.default_rng(0), np.zeros(BRIGHT_SLOTS, np.int32)
    for update in range(1, BRIGHT_UPDATES + 1):
        batch = bright_batch(rng, BRIGHT_SLOTS, num_chunks)
        backend.update(batch, floors, rates(update, BRIGHT_UPDATES, BRIGHT_OPTIM))
    return backend


def measured_auroc(backend: Backend, forgets: bool = False) -> float:
    """AUROC after the last chunk; `forgets` gives each chunk a fresh state."""
    num_chunks = backend.config.num_chunks
    batch = bright_batch(np.random.default_rng(1), 1000, num_chunks)
    carry = backend.begin(batch)
    for _ in range(num_chunks):
        if forgets:
            state = backend.carry_arrays(carry)
            noise_H, noise_L = moved_from_start(backend, batch, state)
            carry = backend.perturb(carry, -noise_H, -noise_L)
        carry, answers = backend.step(carry)
    chances = answers.probabilities(np.array([4], np.int32), np.array([2, 3], np.int32))
    return auroc(chances[:, 0, 1], batch.labels[:, -1] == 3)


def test_two_strips_are_compared_through_the_state(make: Make) -> None:
    """Of one strip alone no more than 5/6 can be told."""
    both = trained_to_compare(make, 2)
    assert measured_auroc(both) > 0.97  # 0.986
    assert measured_auroc(both, forgets=True) < 0.87  # 0.78
    assert measured_auroc(trained_to_compare(make, 1)) < 0.87
