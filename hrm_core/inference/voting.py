"""Answer each puzzle several times and choose which answer to give.

A puzzle is asked under symmetries (`BySymmetries`), unless its task says how (`Polled`).
A choice never sees a label. Shapes: K answers a puzzle, N puzzles, S cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from hrm_core.data.symmetry import Symmetry
from hrm_core.draws import Purpose, stream
from hrm_core.errors import PuzzleError
from hrm_core.tasks.capabilities import (
    Asked,
    Candidate,
    Judged,
    PartlySymmetric,
    Polled,
    Polling,
    Symmetric,
)
from hrm_core.tasks.confidence import sigmoid
from hrm_core.tasks.contract import Task, TokenArray

IntArray = npt.NDArray[np.integer]
BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.floating]

Choice = Literal["first", "rules", "majority", "q"]

BLOCK = 1024  # puzzles whose symmetries are drawn together, whatever the batch size


@dataclass(frozen=True)
class Symmetries:
    """The symmetry under which each puzzle is asked for one vote; vote 0 asks it as it is."""

    task: Symmetric
    vote: int
    seed: int = 0

    def __call__(self, number: IntArray) -> Symmetry:
        """Draw the symmetries of puzzles given by their numbers (N,)."""
        cells = np.empty((len(number), self.task.seq_len), np.intp)
        tokens = np.empty((len(number), self.task.vocab_size), np.intp)
        blocks = number // BLOCK
        places = number % BLOCK
        for block in np.unique(blocks).tolist():
            rng = stream(self.seed, Purpose.VOTES, self.vote, block)
            drawn = self.task.draw_symmetries(rng, BLOCK)
            rows = blocks == block
            cells[rows] = drawn.cells[places[rows]]
            tokens[rows] = drawn.tokens[places[rows]]
        return Symmetry(cells, tokens)


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
        rules: one that the rules of the task accept, if it has rules and there is one; else as
            majority.
        first: as rules; whoever asks stops at the first answer that they accept.
        """
        if how == "q":
            return np.asarray(self.q_halt_logits.argmax(axis=0))
        rank = _agreement(self.answers, sigmoid(self.q_halt_logits))
        if how in ("first", "rules") and isinstance(task, Judged):
            bonus = 2 * len(self.answers)  # more than any refused answer can have
            for k, answers in enumerate(self.answers):
                accepted = task.accepts_all(self.inputs, answers)
                rank[k] += bonus * accepted
        return np.asarray(rank.argmax(axis=0))


@dataclass(frozen=True)
class BySymmetries:
    """The default of `Polling`: asks a puzzle under symmetries, and its rules choose the answer."""

    task: Task
    number: int  # of the puzzle; its symmetries are drawn from it
    votes: int = 1

    def ask(self, question: TokenArray, names: Sequence[str]) -> Asked:
        """Return a question (S,) under one symmetry a name, the first of which changes nothing.

        Raises: PuzzleError if the task or the question has no symmetries.
        """
        symmetries = self._drawn(question, len(names) - 1)
        moved = [symmetry.apply(question[None]) for symmetry in symmetries]

        def undo(k: int, answers: TokenArray) -> TokenArray:
            if k == 0:
                return answers
            inverse = symmetries[k - 1].inverse()
            rows = [inverse.apply(answer[None]) for answer in answers]
            return np.concatenate(rows)

        return Asked(np.concatenate([question[None], *moved]), undo)

    def attempts(
        self, question: TokenArray, answers: TokenArray, q_halt_logits: FloatArray
    ) -> list[Candidate]:
        """Return the answer that is chosen among K. Shapes: (S,), (K, S), (K,)."""
        candidates = Candidates(question[None], answers[:, None], q_halt_logits[:, None])
        row = int(candidates.choose("rules", self.task)[0])
        same = (answers == answers[row]).all(axis=1)
        confidence = float(sigmoid(q_halt_logits[same]).mean())
        return [Candidate(answers[row], int(same.sum()), confidence, row)]

    def _drawn(self, question: TokenArray, count: int) -> list[Symmetry]:
        """Draw symmetries of the puzzle. Raises: PuzzleError as `ask` does."""
        if count == 0:
            return []
        if not isinstance(self.task, Symmetric):
            raise PuzzleError(f"{self.task.name} has no symmetries to vote with; leave out votes")
        if isinstance(self.task, PartlySymmetric):
            self.task.check_symmetric(question)
        numbers = np.array([self.number])
        return [Symmetries(self.task, vote)(numbers) for vote in range(1, count + 1)]


def polling_of(task: Task, number: int) -> Polling:
    """Return how the puzzle of this number is asked several times and its answer chosen."""
    return task if isinstance(task, Polled) else BySymmetries(task, number)


def _agreement(answers: IntArray, confidence: FloatArray) -> FloatArray:
    """Count how many of the K answers to a puzzle equal each of them.

    Half of their mean confidence is added to break ties. Shapes: (K, N, S), (K, N) -> (K, N).
    """
    pairs = [(answers == answer).all(axis=2) for answer in answers]
    same = np.stack(pairs)  # (K, K, N)
    votes = same.sum(axis=1)
    mean_confidence = (same * confidence).sum(axis=1) / votes
    rank: FloatArray = votes + 0.5 * mean_confidence
    return rank
