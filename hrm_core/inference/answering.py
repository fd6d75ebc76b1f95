"""A whole evaluation: every puzzle answered in one or several ways, one answer chosen, and what the choice was worth.

Shapes: K answers a puzzle, N puzzles, S cells.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from hrm_core.backend import Backend
from hrm_core.data.store import Split
from hrm_core.errors import NotFiniteError
from hrm_core.inference.evaluation import Way, evaluate
from hrm_core.inference.metrics import Scores, is_finite, picked
from hrm_core.inference.slots import Halt, Noise
from hrm_core.inference.voting import Candidates, Choice, Symmetries
from hrm_core.tasks.contract import Task

IntArray = npt.NDArray[np.integer]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of it."""

    scores: Scores  # of the chosen answers; steps are those of all answers to a puzzle together
    answers: IntArray  # (N, S) chosen
    each: list[Scores]  # of each answer, K of them
    each_answers: IntArray  # (K, N, S)
    module_calls: IntArray  # (N,) of levels H and L, for all answers to a puzzle together
    seconds: float  # wall time

    @property
    def oracle(self) -> float:
        """Share of puzzles that any of the K answers solves: what a choice that knew the solution would reach."""
        counted = self.scores.num_labelled > 0
        return (
            float(np.mean(np.any([scores.exact for scores in self.each], axis=0)[counted]))
            if counted.any()
            else 0.0
        )


def ways(
    task: Task | None,
    halt: Halt,
    votes: int = 1,
    sigma: float = 0.0,
    rollouts: int = 1,
    seed: int = 0,
) -> list[Way]:
    """Every combination of a symmetry and a rollout, K = votes · rollouts; the first is the puzzle as it is."""
    assert votes == 1 or task is not None, "symmetries belong to a task"
    return [
        Way(
            halt,
            Noise(sigma, seed, rollout=vote * rollouts + rollout) if sigma else None,
            Symmetries(task, vote, seed) if vote and task else None,
        )
        for vote in range(votes)
        for rollout in range(rollouts)
    ]


def answer(
    backends: Sequence[Backend],
    split: Split,
    task: Task | None,
    ways: Sequence[Way],
    choice: Choice = "rules",
    batch_size: int = 256,
    limit: int | None = None,
    on_batch: Callable[[int], None] = lambda num_puzzles: None,
) -> Outcome:
    """Let each model answer in each way, and choose. Labels score answers; they take no part in the choice.

    Raises: NotFiniteError if a model says NaN.
    """
    started = time.perf_counter()
    given = task.given if task else None
    results = [
        evaluate(backend, split, given, batch_size, limit, on_batch, way)
        for backend in backends
        for way in ways
    ]
    each, answers = [scores for scores, _ in results], np.stack([tokens for _, tokens in results])
    if not all(is_finite(scores.q_halt_logits) for scores in each):
        raise NotFiniteError(
            "the model's Q values are not finite; choose another checkpoint, less --noise or --dtype float32"
        )
    inputs = np.concatenate(
        [examples.inputs[: limit or len(examples)] for examples in split.sets.values()]
    )
    q_halt_logits = np.stack([scores.q_halt_logits for scores in each])
    chosen = (
        Candidates(inputs, answers, q_halt_logits).choose(choice, task)
        if len(results) > 1
        else np.zeros(len(inputs), np.intp)
    )
    scores = replace(picked(each, chosen), steps=np.sum([scores.steps for scores in each], axis=0))
    asked = [backend for backend in backends for _ in ways]
    calls = np.sum(
        [one.steps * _calls_a_step(backend) for backend, one in zip(asked, each, strict=True)],
        axis=0,
    )
    return Outcome(
        scores,
        answers[chosen, np.arange(len(inputs))],
        each,
        answers,
        calls,
        time.perf_counter() - started,
    )


def _calls_a_step(backend: Backend) -> int:
    """Calls of levels H and L in one ACT step."""
    return backend.config.H_cycles * (backend.config.L_cycles + 1)
