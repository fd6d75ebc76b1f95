"""Slots, queues and early halting, on a backend whose every number is known."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from hrm_core.backend import Batch, Replica
from hrm_core.config import ModelConfig
from hrm_core.errors import ConfigError
from hrm_core.inference.evaluation import answer_step_by_step
from hrm_core.inference.slots import (
    MAX_STEPS,
    Noise,
    Questions,
    StepResult,
    check_steps,
    no_images,
    think,
)

CONFIG = ModelConfig(
    vocab_size=9,
    seq_len=3,
    num_puzzle_identifiers=1,
    puzzle_emb_ndim=0,
    H_layers=1,
    L_layers=1,
    hidden_size=4,
    num_heads=2,
    halt_max_steps=4,
)


@dataclass
class Said:
    tokens: np.ndarray
    q_halt_logits: np.ndarray
    q_continue_logits: np.ndarray


class Counting:
    """A puzzle [h, n, 0] wants to halt after step h; its answer is [step it is at, n, its noise so far]."""

    config = CONFIG
    replica = Replica()

    def __init__(self, is_compiled: bool = False) -> None:
        self.is_compiled = is_compiled
        self.sizes: list[int] = []

    def begin(self, batch: Batch) -> np.ndarray:
        return np.concatenate(
            [np.zeros((len(batch.inputs), 2)), batch.inputs], axis=1
        )  # steps, noise, inputs

    def step(self, carry: np.ndarray) -> tuple[np.ndarray, Said]:
        self.sizes.append(len(carry))
        carry = carry + np.array([1, 0, 0, 0, 0])
        wants = np.where(carry[:, 0] >= carry[:, 2], 1.0, -1.0)
        return carry, Said(
            np.stack([carry[:, 0], carry[:, 3], 1000 * carry[:, 1]], axis=1).astype(int),
            wants,
            np.zeros(len(carry)),
        )

    def take(self, carry: np.ndarray, slots: np.ndarray) -> np.ndarray:
        return carry[slots]

    def join(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.concatenate([first, second])

    def perturb(self, carry: np.ndarray, noise_H: np.ndarray, noise_L: np.ndarray) -> np.ndarray:
        return carry + np.stack(
            [0 * noise_H[:, 0, 0], noise_H[:, 0, 0], *3 * [0 * noise_H[:, 0, 0]]], axis=1
        )


def puzzles(halts: list[int], start: int = 0) -> Questions:
    count = len(halts)
    inputs = np.stack(
        [np.array(halts), np.arange(start, start + count), np.zeros(count, int)], axis=1
    )
    return Questions(
        np.arange(start, start + count),
        inputs,
        np.zeros(count, int),
        inputs,
        np.full(count, -1),
        np.zeros(count, int),
        no_images(count),
    )


def in_batches(halts: list[int], size: int) -> Iterator[Questions]:
    for i in range(0, len(halts), size):
        yield puzzles(halts[i : i + size], i)


def answers(results: Iterator[StepResult]) -> dict[int, tuple[Any, ...]]:
    """Number of each puzzle -> steps it took, and what was said then; each halts once."""
    found: dict[int, tuple[Any, ...]] = {}
    for result in results:
        for slot in np.flatnonzero(result.halts):
            number = int(result.questions.number[slot])
            assert number not in found
            found[number] = (int(result.steps[slot]), *result.answers.tokens[slot].tolist())
    return found


HALTS = [1, 4, 2, 9, 1, 1, 3, 2, 4, 1, 2]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 11, 50])
@pytest.mark.parametrize("read", [1, 3, 11])
def test_each_puzzle_halts_when_it_wants_whatever_slot_it_has(batch_size: int, read: int) -> None:
    found = answers(think(Counting(), in_batches(HALTS, read), batch_size, "q"))
    assert found == {n: (min(h, 4), min(h, 4), n, 0) for n, h in enumerate(HALTS)}


def test_fixed_halting_takes_all_steps() -> None:
    found = answers(think(Counting(), in_batches(HALTS, 4), 4))
    assert found == {n: (4, 4, n, 0) for n in range(len(HALTS))}


@pytest.mark.parametrize("max_steps", [1, 3, 7, 40])
def test_asked_number_of_steps_takes_the_place_of_the_models(max_steps: int) -> None:
    fixed = answers(think(Counting(), in_batches(HALTS, 3), 4, max_steps=max_steps))
    assert fixed == {n: (max_steps, max_steps, n, 0) for n in range(len(HALTS))}
    early = answers(think(Counting(), in_batches(HALTS, 3), 4, "q", max_steps=max_steps))
    assert early == {n: (min(h, max_steps),) * 2 + (n, 0) for n, h in enumerate(HALTS)}


def test_noise_of_more_steps_begins_as_that_of_few() -> None:
    noise = Noise(0.5, seed=3)
    for max_steps in (2, 6):
        halting = think(Counting(), in_batches([2, 9], 2), 2, "q", noise, max_steps)
        assert (
            answers(halting)[0] == answers(think(Counting(), in_batches([2], 1), 1, "q", noise))[0]
        )


def test_number_of_steps_is_refused_where_a_model_cannot_take_it() -> None:
    check_steps(None, CONFIG)
    check_steps(1, CONFIG)
    check_steps(100, CONFIG)  # a model that halts by q may think on
    for max_steps in (0, MAX_STEPS + 1):
        with pytest.raises(ConfigError, match=f"^{max_steps} ACT steps are asked for; .* 1 to"):
            check_steps(max_steps, CONFIG)


FIXED_CHUNKS = CONFIG.model_copy(
    update={"halting": "fixed", "halt_max_steps": 8, "num_chunks": 3, "steps_per_chunk": 2}
)


def test_more_steps_than_a_fixed_model_was_trained_for_are_warned_of() -> None:
    check_steps(8, FIXED_CHUNKS)
    with pytest.warns(UserWarning, match="was trained to take exactly 8: its answers get worse"):
        check_steps(9, FIXED_CHUNKS)


def test_steps_must_reach_the_last_chunk() -> None:
    check_steps(6, FIXED_CHUNKS)
    with pytest.raises(ConfigError, match=r"^5 ACT steps are asked for; this model takes 6 to"):
        check_steps(5, FIXED_CHUNKS)


def test_the_cost_is_that_of_the_steps_really_taken() -> None:
    halts = [1, 2, 1, 1] * 50
    early, fixed = Counting(), Counting()
    answers(think(early, in_batches(halts, 16), 16, "q"))
    answers(think(fixed, in_batches(halts, 16), 16))
    assert sum(fixed.sizes) == 4 * len(halts)
    assert sum(early.sizes) == sum(halts)  # no slot idles


@pytest.mark.parametrize("batch_size", [16, 11])
def test_a_compiled_model_meets_few_batch_sizes(batch_size: int) -> None:
    halts = [1, 2, 1, 4, 3] * 40
    compiled, free = Counting(is_compiled=True), Counting()
    found = answers(think(compiled, in_batches(halts, 16), batch_size, "q"))
    assert found == answers(think(free, in_batches(halts, 16), batch_size, "q"))
    assert set(compiled.sizes) <= {batch_size, 8, 4, 2, 1}
    assert sum(halts) < sum(compiled.sizes) <= sum(halts) + batch_size  # some idle at the end


def test_batches_without_a_puzzle_are_passed_over() -> None:
    waiting = iter([puzzles([]), puzzles([]), puzzles([1, 2]), puzzles([]), puzzles([3], 2)])
    assert answers(think(Counting(), waiting, 2, "q")) == {
        0: (1, 1, 0, 0),
        1: (2, 2, 1, 0),
        2: (3, 3, 2, 0),
    }


def test_nothing_to_do_calls_no_model() -> None:
    backend = Counting()
    assert list(think(backend, iter([]), 4)) == []
    assert backend.sizes == []


def test_noise_belongs_to_the_puzzle_not_to_the_slot() -> None:
    noise = Noise(0.5, seed=3)
    found = [
        answers(think(Counting(), in_batches(HALTS, read), size, "q", noise))
        for read, size in ((1, 1), (4, 3), (11, 11))
    ]
    assert found[0] == found[1] == found[2]
    assert len({said[-1] for said in found[0].values()}) == len(HALTS)
    assert found[0] != answers(
        think(Counting(), in_batches(HALTS, 4), 3, "q", Noise(0.5, seed=3, rollout=1))
    )


def test_thoughts_keep_the_answer_of_a_puzzle_that_has_halted() -> None:
    inputs = puzzles([2, 4, 1]).inputs
    path = answer_step_by_step(Counting(), inputs, np.zeros(3, int), batch_size=3, halt="q")
    assert path.steps.tolist() == [2, 4, 1]
    assert path.answers[:, :, 0].T.tolist() == [[1, 2, 2, 2], [1, 2, 3, 4], [1, 1, 1, 1]]
    assert path.settled_step.tolist() == [2, 4, 1]


def test_thoughts_go_on_as_long_as_they_are_asked_to() -> None:
    inputs = puzzles([2, 9, 1]).inputs
    ids = np.zeros(3, int)
    path = answer_step_by_step(Counting(), inputs, ids, batch_size=2, halt="q", max_steps=6)
    assert path.steps.tolist() == [2, 6, 1]
    assert path.answers[:, :, 0].T.tolist() == [
        [1, 2, 2, 2, 2, 2],
        [1, 2, 3, 4, 5, 6],
        [1, 1, 1, 1, 1, 1],
    ]
    assert path.settled_step.tolist() == [2, 6, 1]
