"""Several answers to each puzzle, and which of them to give.

A puzzle is asked under symmetries of its task, unless the task has a way of its own (`Polled`).
A choice never sees a label. Shapes: K answers a puzzle, N puzzles, S cells.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from hrm_core.data.symmetry import Symmetry
from hrm_core.draws import Purpose, stream
from hrm_core.errors import PuzzleError
from hrm_core.tasks.capabilities import Asked, Judged, PartlySymmetric, Symmetric
from hrm_core.tasks.confidence import sigmoid
from hrm_core.tasks.contract import Task, TokenArray

IntArray = npt.NDArray[np.integer]
BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.floating]

Choice = Literal["rules", "majority", "q"]

BLOCK = 1024  # puzzles whose symmetries are drawn together, whatever the batch size


@dataclass(frozen=True)
class Symmetries:
    """The symmetry under which each puzzle is asked for one vote; vote 0 asks it as it is."""

    task: Symmetric
    vote: int
    seed: int = 0

    def __call__(self, number: IntArray) -> Symmetry:
        """Those of puzzles by their number (N,)."""
        cells = np.empty((len(number), self.task.seq_len), np.intp)
        tokens = np.empty((len(number), self.task.vocab_size), np.intp)
        for block in np.unique(number // BLOCK):
            rng = stream(self.seed, Purpose.VOTES, self.vote, int(block))
            drawn = self.task.draw_symmetries(rng, BLOCK)
            rows = number // BLOCK == block
            cells[rows] = drawn.cells[number[rows] % BLOCK]
            tokens[rows] = drawn.tokens[number[rows] % BLOCK]
        return Symmetry(cells, tokens)


def asked_under_symmetries(task: Task, question: TokenArray, number: int, votes: int) -> Asked:
    """Return a question (S,) under so many symmetries, the first as it is.

    `number` is that of the puzzle: its symmetries are drawn by it.

    Raises: PuzzleError if the task or the question has no symmetries.
    """
    if votes > 1 and not isinstance(task, Symmetric):
        raise PuzzleError(f"{task.name} has no symmetries to vote with; leave out votes")
    if votes > 1 and isinstance(task, PartlySymmetric):
        task.check_symmetric(question)
    symmetries = [_symmetry(task, vote, number) for vote in range(1, votes)]
    moved = [symmetry.apply(question[None]) for symmetry in symmetries]

    def undo(k: int, answers: TokenArray) -> TokenArray:
        if k == 0:
            return answers
        inverse = symmetries[k - 1].inverse()
        return np.concatenate([inverse.apply(answer[None]) for answer in answers])

    return Asked(np.concatenate([question[None], *moved]), undo)


@dataclass(frozen=True, eq=False)
class Candidates:
    """K answers to each of N puzzles."""

    inputs: IntArray  # (N, S)
    answers: IntArray  # (K, N, S)
    q_halt_logits: FloatArray  # (K, N)

    def choose(self, how: Choice, task: Task | None) -> IntArray:
        """Choose which answer to give to each puzzle. Returns: (N,) in [0, K).

        q: the one of highest q_halt.
        majority: the one given most often, of equals the one of highest mean sigmoid(q_halt).
        rules: one that the rules of the task accept where they can tell and there is one, else as
            majority.
        """
        if how == "q":
            return np.asarray(self.q_halt_logits.argmax(axis=0))
        rank = _agreement(self.answers, sigmoid(self.q_halt_logits))
        if how == "rules" and isinstance(task, Judged):
            above_all = 2 * len(self.answers)  # that are not accepted
            for k, answers in enumerate(self.answers):
                rank[k] += above_all * task.accepts_all(self.inputs, answers)
        return np.asarray(rank.argmax(axis=0))


def _symmetry(task: Task, vote: int, number: int) -> Symmetry:
    assert isinstance(task, Symmetric), "the caller has seen to that"
    return Symmetries(task, vote)(np.array([number]))


def _agreement(answers: IntArray, confidence: FloatArray) -> FloatArray:
    """Count how many of the K answers to a puzzle are the same as each.

    Less than one is added for their mean confidence. Shapes: (K, N, S), (K, N) -> (K, N).
    """
    same = np.stack([(answers == answer).all(axis=2) for answer in answers])  # (K, K, N)
    votes = same.sum(axis=1)
    rank: FloatArray = votes + 0.5 * (same * confidence).sum(axis=1) / votes
    return rank
