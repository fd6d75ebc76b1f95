"""The answer of a model to one puzzle, and what can be said of it.

Shapes: A ACT steps, S cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from hrm_core.errors import PuzzleError
from hrm_core.inference.notebook import gallery_html, solution_html
from hrm_core.messages import shortened
from hrm_core.pictures.animations import thinking_frames
from hrm_core.pictures.sheets import cell_size
from hrm_core.runs.identifiers import BLANK
from hrm_core.tasks.capabilities import (
    ONLY_THE_SOLUTION,
    Candidate,
    Checked,
    Drawable,
    Examined,
    Judged,
    Readable,
    given_cells,
)
from hrm_core.tasks.contract import BoolArray, IntArray, Task, TokenArray
from hrm_core.tasks.editing import Editable, grid_of

REPR_LENGTH = 96  # characters of an answer: a Sudoku is shown whole
FRAME_ROOM = 720  # pixels that the longer side of a board may take


@dataclass(frozen=True, eq=False, repr=False)
class Solution:
    """One puzzle and the answer of a model to it."""

    task: Task
    question: TokenArray  # (S,)
    answers: TokenArray  # (A, S) after each ACT step taken
    q_halt_logits: npt.NDArray[np.float32]  # (A,)
    settled_step: int  # ACT step after which the answer stopped changing
    identifier: str = BLANK  # name of the puzzle that it was asked as
    num_identifiers: int = 1  # that it was asked under
    num_answers: int = 1  # that the answer was chosen from
    num_agreeing: int = 1  # answers equal to the chosen one
    attempts: Sequence[Candidate] = ()  # of a polled task: the best answers, the first is `answer`
    solution: TokenArray | None = None  # (S,) the right answer, where it is known

    @property
    def answer(self) -> TokenArray:
        """Return the answer (S,) after the last step."""
        answer: TokenArray = self.answers[-1]
        return answer

    @property
    def grid(self) -> npt.NDArray[Any]:
        """Return the answer as a person sees it (H, W): numbers for digits, else characters.

        Raises: PuzzleError if the task has no board.
        """
        if not isinstance(self.task, Editable):
            raise PuzzleError(f"{self.task.name} has no board; use answer, which are tokens")
        return grid_of(self.task.editor(), self.answer)

    @property
    def proposals(self) -> list[TokenArray]:
        """Return the attempts (S,) where there are any, else the answer."""
        return [attempt.answer for attempt in self.attempts] or [self.answer]

    @property
    def accepted(self) -> bool | None:
        """Return True if the rules accept the answer, or an attempt equals the known solution.

        None if the task has no rules and no solution is known.
        """
        if self.solution is not None:
            return self._right_attempt > 0
        if isinstance(self.task, Judged):
            return self.task.accepts(self.question, self.answer)
        return None

    @property
    def verdict(self) -> str:
        """Describe in one line how the rules, or the known solution, judge the answer."""
        if self.solution is not None:
            right = self._right_attempt
            return f"attempt {right} is right" if right else "no attempt is right"
        if isinstance(self.task, Judged):
            return self.task.verdict(self.question, self.answer)
        return ONLY_THE_SOLUTION

    @cached_property
    def flaw(self) -> str:
        """Say what is wrong with the question itself; "" if nothing is known to be."""
        return self.task.flaw(self.question) if isinstance(self.task, Examined) else ""

    @property
    def judgement(self) -> str:
        """Return the verdict, and what is wrong with the question, in one line."""
        return "; ".join(filter(None, [self.verdict, self.flaw]))

    @property
    def settled(self) -> str:
        """Say after which ACT step the answer no longer changed, and how many were taken."""
        return f"settled after ACT step {self.settled_step} of {len(self.answers)}"

    @property
    def _right_attempt(self) -> int:
        """Return the number of the attempt that equals the solution, 0 if none does."""
        assert self.solution is not None, "callers check this"
        for number, attempt in enumerate(self.attempts, start=1):
            if np.array_equal(attempt.answer, self.solution):
                return number
        return 0

    @property
    def conflicts(self) -> BoolArray:
        """Mark the cells (S,) of an answer that the rules refuse for which they do; else none."""
        if self.accepted is False and isinstance(self.task, Checked):
            marked: BoolArray = self.task.conflicts(self.question[None], self.answer[None])[0]
            return marked
        return np.zeros(len(self.answer), bool)

    def frames(self) -> list[Image.Image]:
        """Draw the board from ACT step to ACT step; the last frame says how the rules judge it."""
        task = require_drawable(self.task)
        cell = cell_size(task.picture, [self.question, *self.answers], FRAME_ROOM)

        def picture(tokens: IntArray, marks: IntArray) -> Image.Image:
            return task.picture(tokens, marks, cell)

        given = given_cells(self.task, self.question)
        verdict = self.verdict if isinstance(self.task, Judged) else ""
        return thinking_frames(
            picture, given, self.question, self.answers, task.legend, self.conflicts, verdict
        )

    def text_of(self, tokens: TokenArray) -> str:
        """Format one grid (S,) of this task as text."""
        return require_readable(self.task).format(tokens)

    def __str__(self) -> str:
        return self.text_of(self.answer)

    def __repr__(self) -> str:
        about = f"<Solution of {self.task.name}: {self.judgement}, {self.settled}"
        if not isinstance(self.task, Readable):
            return f"{about}>"
        return f"{about}\n {shortened(self.task.line(self.answer), REPR_LENGTH)}>"

    def _repr_html_(self) -> str:
        """Draw the board in a notebook: given cells bold, those that were filled in coloured."""
        return solution_html(self)


class Solutions(list[Solution]):
    """Solutions in the order of their puzzles; a notebook shows them side by side."""

    def _repr_html_(self) -> str:
        return gallery_html(self)


def require_readable(task: Task) -> Readable:
    """Return a task that reads and writes puzzles as text.

    Raises: PuzzleError if it does not.
    """
    if not isinstance(task, Readable):
        raise PuzzleError(f"{task.name} has no questions that are written as text")
    return task


def require_drawable(task: Task) -> Drawable:
    """Return a task that draws its grids. Raises: PuzzleError if it does not."""
    if not isinstance(task, Drawable):
        raise PuzzleError(f"{task.name} has no pictures; leave them out")
    return task
