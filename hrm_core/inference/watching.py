"""Tell of every ACT step while puzzles are being solved.

A puzzle is asked in K forms; the first is the puzzle as it is, or the best known one. Shapes: S cells.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from hrm_core.inference.slots import StepResult
from hrm_core.tasks.capabilities import Asked
from hrm_core.tasks.contract import TokenArray


class Thought(NamedTuple):
    """Answer to the first form of a puzzle after one ACT step."""

    puzzle: int  # its place among the questions, from 0
    step: int  # ACT steps taken
    answer: TokenArray  # (S,)
    q_halt_logit: float
    q_continue_logit: float


class Moment(NamedTuple):
    """All that was thought in one ACT step."""

    thoughts: Sequence[Thought]  # of the puzzles whose first form has not halted before
    num_thinking: int  # forms of all puzzles that took this step
    form: int = 0  # the first of them, from 0: above it where forms are asked one after the other


Watch = Callable[[Moment], None]


def unwatched(moment: Moment) -> None:
    """Ignore the steps."""


def told(
    watch: Watch, first_forms: Mapping[int, tuple[int, Asked]], form: int = 0
) -> Callable[[StepResult], None]:
    """Return a function that tells `watch` of the first form of each puzzle.

    `first_forms` are the puzzles, by their place among the questions, and their forms, under the
    number of the first one; `form` is the first form that is asked now.
    """

    def tell(result: StepResult) -> None:
        thoughts = []
        for slot in np.flatnonzero(result.busy).tolist():
            number = int(result.questions.number[slot])
            if number in first_forms:
                thoughts.append(_thought(*first_forms[number], result, slot))
        watch(Moment(thoughts, int(result.busy.sum()), form))

    return tell


def _thought(puzzle: int, asked: Asked, result: StepResult, slot: int) -> Thought:
    """Return the thought of the slot that works on the first form of a puzzle."""
    (answer,) = asked.undo(0, result.tokens[slot][None])
    return Thought(
        puzzle,
        int(result.steps[slot]),
        answer,
        float(result.answers.q_halt_logits[slot]),
        float(result.answers.q_continue_logits[slot]),
    )
