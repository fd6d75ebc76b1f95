"""Several answers to each puzzle, and which of them to give.

A choice never sees a label. Shapes: K answers a puzzle, N puzzles, S cells.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from hrm_core.data.symmetry import Symmetry
from hrm_core.draws import Purpose, stream
from hrm_core.inference.metrics import sigmoid
from hrm_core.tasks.contract import Task

IntArray = npt.NDArray[np.integer]
BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.floating]

Choice = Literal["rules", "majority", "q"]

BLOCK = 1024  # puzzles whose symmetries are drawn together, whatever the batch size


@dataclass(frozen=True)
class Symmetries:
    """The symmetry under which each puzzle is asked for one vote; vote 0 asks it as it is."""

    task: Task
    vote: int
    seed: int = 0

    def __call__(self, number: IntArray) -> Symmetry:
        """Those of puzzles by their number (N,)."""
        cells, tokens = (
            np.empty((len(number), self.task.seq_len), np.intp),
            np.empty((len(number), self.task.vocab_size), np.intp),
        )
        for block in np.unique(number // BLOCK):
            drawn = self.task.draw_symmetries(
                stream(self.seed, Purpose.VOTES, self.vote, int(block)), BLOCK
            )
            rows = number // BLOCK == block
            cells[rows], tokens[rows] = (
                drawn.cells[number[rows] % BLOCK],
                drawn.tokens[number[rows] % BLOCK],
            )
        return Symmetry(cells, tokens)


@dataclass(frozen=True, eq=False)
class Candidates:
    """K answers to each of N puzzles."""

    inputs: IntArray  # (N, S)
    answers: IntArray  # (K, N, S)
    q_halt_logits: FloatArray  # (K, N)

    def choose(self, how: Choice, task: Task | None) -> IntArray:
        """Which answer to give to each puzzle. Returns: (N,) in [0, K).

        q: the one of highest q_halt. majority: the one given most often, of equals the one of highest mean sigmoid(q_halt).
        rules: one that the rules of the task accept where they can tell and there is one, else as majority.
        """
        if how == "q":
            return np.asarray(self.q_halt_logits.argmax(axis=0))
        rank = _agreement(self.answers, sigmoid(self.q_halt_logits))
        if how == "rules" and task is not None:
            for k, answers in enumerate(self.answers):
                accepted = task.accepts_all(self.inputs, answers)
                if accepted is not None:
                    rank[k] += 2 * len(self.answers) * accepted  # above all that are not accepted
        return np.asarray(rank.argmax(axis=0))


def _agreement(answers: IntArray, confidence: FloatArray) -> FloatArray:
    """How many of the K answers to a puzzle are the same as each, and less than one more for their mean confidence. (K, N, S) -> (K, N)."""
    same = np.stack([(answers == answer).all(axis=2) for answer in answers])  # (K, K, N)
    votes = same.sum(axis=1)
    rank: FloatArray = votes + 0.5 * (same * confidence).sum(axis=1) / votes
    return rank
