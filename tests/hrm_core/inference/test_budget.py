"""ACT steps that the puzzles of a batch share, on a backend whose every answer is known."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hrm_core.backend import Batch, Replica
from hrm_core.config import ModelConfig
from hrm_core.data.store import Split, load_split
from hrm_core.errors import ConfigError
from hrm_core.inference.evaluation import InferenceOptions, check_budget, evaluate, full_batch
from hrm_core.inference.slots import Noise, Questions, think
from hrm_tasks.sudoku.task import Sudoku

CONFIG = ModelConfig(
    vocab_size=5,
    seq_len=16,
    num_puzzle_identifiers=1,
    puzzle_emb_ndim=0,
    H_layers=1,
    L_layers=1,
    hidden_size=4,
    num_heads=2,
    halt_max_steps=2,
)
NEVER = 1000


class Said:
    """Answers of one step, as of a backend."""

    def __init__(self, tokens: np.ndarray, margins: np.ndarray) -> None:
        self.tokens, self.q_halt_logits = tokens, margins.astype(np.float32)
        self.q_continue_logits = np.zeros(len(margins), np.float32)

    def label_losses(self, labels: np.ndarray) -> np.ndarray:
        return np.zeros(labels.shape, np.float32)


class Scripted:
    """A puzzle prefers to halt from its step on, and is nearer to it with every step.

    Its answer has the number of the step in every cell, at most 4, and its noise does not count.
    """

    config = CONFIG

    def __init__(self, inputs: np.ndarray, halts: Sequence[int], is_compiled: bool = False) -> None:
        self.halt_of = {
            row.astype(np.int32).tobytes(): halt for row, halt in zip(inputs, halts, strict=True)
        }
        self.is_compiled, self.replica = is_compiled, Replica()

    def begin(self, batch: Batch) -> np.ndarray:
        halts = [self.halt_of[row.tobytes()] for row in batch.inputs]
        return np.stack([np.zeros(len(halts), int), halts], axis=1)

    def step(self, carry: np.ndarray) -> tuple[np.ndarray, Said]:
        carry = carry + np.array([1, 0])
        steps = np.minimum(carry[:, :1], 4).astype(np.int32)
        return carry, Said(np.repeat(steps, 16, axis=1), carry[:, 0] - carry[:, 1] + 0.5)

    def take(self, carry: np.ndarray, slots: np.ndarray) -> np.ndarray:
        return carry[slots]

    def join(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.concatenate([first, second])

    def perturb(self, carry: np.ndarray, noise_H: np.ndarray, noise_L: np.ndarray) -> np.ndarray:
        return carry


def steps_of(
    halts: Sequence[int], budget: int, max_steps: int = 100, is_compiled: bool = False
) -> list[int]:
    """Return the steps that puzzles take, all of which halt once."""
    inputs = np.arange(len(halts))[:, None] + np.zeros(16, np.int32)
    backend: Any = Scripted(inputs, halts, is_compiled)
    found: dict[int, int] = {}
    waiting = iter([Questions.unlabelled(inputs, np.zeros(len(halts), np.int32))])
    for result in think(backend, waiting, len(halts), "q", None, max_steps, budget):
        for slot in np.flatnonzero(result.halts).tolist():
            number = int(result.questions.number[slot])
            assert number not in found
            found[number] = int(result.steps[slot])
    return [found[number] for number in range(len(halts))]


@pytest.mark.parametrize("is_compiled", [False, True])
@pytest.mark.parametrize(
    ("halts", "budget", "steps"),
    [
        ([1, 1, NEVER, NEVER], 12, [1, 1, 5, 5]),  # what two leave goes to the others
        ([1, 3, 2, NEVER], 100, [1, 3, 2, 94]),
        ([1, 3, 2, 4], 100, [1, 3, 2, 4]),  # nobody needs the rest
        ([NEVER, 7, 9, 8], 10, [2, 3, 2, 3]),  # two steps for four: the nearest to halting
        ([NEVER, NEVER, NEVER], 7, [3, 2, 2]),  # of equals the first
        ([NEVER, NEVER, NEVER], 3, [1, 1, 1]),
    ],
)
def test_steps_that_some_leave_go_to_the_others(
    halts: list[int], budget: int, steps: list[int], is_compiled: bool
) -> None:
    assert steps_of(halts, budget, is_compiled=is_compiled) == steps
    assert sum(steps) <= budget


def test_no_puzzle_takes_more_than_its_own_limit() -> None:
    assert steps_of([1, NEVER, 2, NEVER], 100, max_steps=6) == [1, 6, 2, 6]


@pytest.fixture
def puzzles(tiny_data: Path) -> Split:
    return load_split(tiny_data, "test")  # 20 puzzles


def evaluated(
    split: Split,
    halts: Sequence[int],
    batch_size: int,
    options: InferenceOptions,
    replica: Replica | None = None,
) -> tuple[list[int], list[int], list[float]]:
    """Steps, step of the answer that counts, and progress."""
    backend: Any = Scripted(split.sets["all"].inputs, halts)
    backend.replica = replica or Replica()
    told: list[float] = []
    task = Sudoku(4)
    predictions, answers = evaluate(
        backend, split, task, batch_size, advance=told.append, options=options
    )
    assert (answers == answers[:, :1]).all()
    return predictions.steps.tolist(), answers[:, 0].tolist(), told


def test_each_batch_has_a_budget_and_a_smaller_one_its_part(puzzles: Split) -> None:
    halts = [1, NEVER, NEVER, NEVER] * 5
    steps, _, told = evaluated(puzzles, halts, 8, InferenceOptions("q", budget=20))
    assert [sum(steps[start : start + 8]) for start in (0, 8, 16)] == [20, 20, 10]
    assert steps[:8] == [1, 3, 3, 3, 1, 3, 3, 3]
    assert sum(told) == pytest.approx(20)
    steps, *_ = evaluated(puzzles, halts, 256, InferenceOptions("q", budget=50))
    assert sum(steps) == 50
    assert full_batch(puzzles, 256) == 20


def test_a_puzzle_takes_at_most_twice_the_trained_steps(puzzles: Split) -> None:
    """Who says how many steps means those."""
    halts = [1, 3, NEVER, 4] * 5
    steps, said, told = evaluated(puzzles, halts, 4, InferenceOptions("q", budget=100))
    assert steps == said == [1, 3, 4, 4] * 5
    assert sum(told) == pytest.approx(20)
    options = InferenceOptions("q", budget=100, max_steps=6)
    steps, *_ = evaluated(puzzles, halts, 4, options)
    assert steps == [1, 3, 6, 4] * 5


def test_replicas_share_the_budget_of_a_batch(puzzles: Split) -> None:
    halts = [1, NEVER] * 10
    for rank in range(2):
        options = InferenceOptions("q", noise=Noise(0.1), budget=14)
        steps, *_ = evaluated(puzzles, halts, 10, options, Replica(rank, 2))
        assert [sum(steps[:5]), sum(steps[5:])] == [7, 7]


def test_budget_that_cannot_be_shared_is_refused() -> None:
    check_budget(20, CONFIG, 20)
    with pytest.raises(ConfigError, match=r"^19 ACT steps are too few for 20 .* --budget 20 at"):
        check_budget(19, CONFIG, 20)
    chunks = CONFIG.model_copy(update={"num_chunks": 2, "halt_max_steps": 4})
    with pytest.raises(ConfigError, match="--budget 40 at least"):
        check_budget(39, chunks, 20)
    fixed = CONFIG.model_copy(update={"halting": "fixed"})
    with pytest.raises(ConfigError, match=r"^--budget is for a model that learned when to halt"):
        check_budget(100, fixed, 20)
