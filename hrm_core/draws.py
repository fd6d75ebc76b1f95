"""Seeded random streams: one for each purpose and index, so a resumed run needs no saved generator.

Shapes: B slots.
"""

from enum import IntEnum

import numpy as np
import numpy.typing as npt

from hrm_core.config import ModelConfig

IntArray = npt.NDArray[np.int32]


class Purpose(IntEnum):
    """Purpose of a random stream. The numbers are part of every recorded seed and never change."""

    INITIAL_WEIGHTS = 0  # index: position in the weight table
    EXPLORATION = 1  # index: update
    NOISE = 2  # index: rollout, puzzle, ACT step
    PUZZLES = 3  # index: chosen by the task's generator
    AUGMENTATION = 4  # index: block of examples
    VOTES = 5  # index: vote, puzzle
    HINTS = 6  # index: update
    ANALYSIS = 7  # index: chosen by what is drawn for `hrm analyze`


def stream(seed: int, purpose: Purpose, *index: int) -> np.random.Generator:
    """The generator of one purpose and index; 0 if there is none."""
    return np.random.Generator(
        np.random.Philox(np.random.SeedSequence((seed, purpose, *(index or (0,)))))
    )


def draw_min_steps(rng: np.random.Generator, batch_size: int, config: ModelConfig) -> IntArray:
    """Draw how many ACT steps each slot must take before it may halt.

    Returns: (B,) int32, 0 where the slot may halt freely, else in [2, halt_max_steps].
    Source: arXiv 2506.21734, section 2, "Adaptive computational time".
    """
    if config.halt_max_steps < 2:
        return np.zeros(batch_size, np.int32)
    explores = rng.random(batch_size) < config.halt_exploration_prob
    floor = rng.integers(2, config.halt_max_steps + 1, size=batch_size, dtype=np.int32)
    return np.where(explores, floor, np.int32(0))
