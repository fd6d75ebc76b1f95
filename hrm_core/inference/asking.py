"""Ask puzzles, each in one form or in several: all forms at once, or one after the other.

Where the rules of a task can tell a right answer, a puzzle is asked in its next form only if they
refuse the answer to the one before. Shapes: K forms, A ACT steps, S cells.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hrm_core.backend import Backend
from hrm_core.config import ModelConfig
from hrm_core.inference.evaluation import answer_step_by_step
from hrm_core.inference.slots import Halt
from hrm_core.inference.watching import Watch, told
from hrm_core.tasks.capabilities import Asked, Judged, Polled, Polling, Question
from hrm_core.tasks.contract import IntArray, Task, TokenArray


class AskedPuzzle(NamedTuple):
    """One puzzle in the K forms in which it may be asked."""

    question: Question
    name: str  # name of the puzzle that it is asked as
    identifiers: IntArray  # (K,)
    asked: Asked
    polling: Polling


class Trajectory(NamedTuple):
    """What a model said of one form, from ACT step to ACT step."""

    answers: TokenArray  # (A, S)
    q_halt_logits: npt.NDArray[np.float32]  # (A,)
    settled_step: int


class _Form(NamedTuple):
    """Form `k` of the puzzle at this place among the questions."""

    place: int
    k: int


def asks_in_turn(task: Task | None) -> bool:
    """Return True if the rules say after each answer whether another is needed."""
    return isinstance(task, Judged) and not isinstance(task, Polled)


def ask(
    backend: Backend,
    task: Task,
    puzzles: Sequence[AskedPuzzle],
    halt: Halt,
    max_steps: int,
    watch: Watch,
) -> list[list[Trajectory]]:
    """Ask each puzzle until an answer is accepted, or in all its forms.

    Returns: what was said of the forms of each puzzle that were asked, at least the first.
    """
    paths: list[list[Trajectory]] = [[] for _ in puzzles]
    waiting = list(range(len(puzzles)))
    while waiting:
        forms = []
        for place in waiting:
            first, all_forms = len(paths[place]), len(puzzles[place].identifiers)
            stop = first + 1 if asks_in_turn(task) else all_forms
            forms += [_Form(place, k) for k in range(first, stop)]
        for form, path in zip(
            forms, _trajectories(backend, puzzles, forms, halt, max_steps, watch), strict=True
        ):
            paths[form.place].append(path)
        waiting = [place for place in waiting if _is_open(task, puzzles[place], paths[place])]
    return paths


def _is_open(task: Task, puzzle: AskedPuzzle, paths: Sequence[Trajectory]) -> bool:
    """Return True if a puzzle has forms left and no answer that the rules accept."""
    if len(paths) == len(puzzle.identifiers):
        return False
    assert isinstance(task, Judged), "only tasks with rules are asked in turn"
    (answer,) = puzzle.asked.undo(len(paths) - 1, paths[-1].answers[-1:])
    return not task.accepts(puzzle.question.tokens, answer)


def _trajectories(
    backend: Backend,
    puzzles: Sequence[AskedPuzzle],
    forms: Sequence[_Form],
    halt: Halt,
    max_steps: int,
    watch: Watch,
) -> list[Trajectory]:
    """Ask some forms at once."""
    first_forms = {
        number: (form.place, puzzles[form.place].asked)
        for number, form in enumerate(forms)
        if form.k == 0
    }
    found = answer_step_by_step(
        backend,
        np.stack([puzzles[place].asked.inputs[k] for place, k in forms]),
        np.array([puzzles[place].identifiers[k] for place, k in forms]),
        halt=halt,
        prefix_len=np.array([puzzles[place].question.prefix_len for place, _ in forms], np.int32),
        images=_images(puzzles, forms, backend.config),
        max_steps=max_steps,
        on_step=told(watch, first_forms, forms[0].k),
    )
    paths = []
    for row, (steps, settled) in enumerate(zip(found.steps, found.settled_step, strict=True)):
        answers, values = found.answers[:steps, row], found.q_halt_logits[:steps, row]
        paths.append(Trajectory(answers, values, int(settled)))
    return paths


def _images(
    puzzles: Sequence[AskedPuzzle], forms: Sequence[_Form], config: ModelConfig
) -> npt.NDArray[np.uint8] | None:
    """Return the image of each form, None for a model that sees none."""
    if config.image_size is None:
        return None
    return np.array([puzzles[place].question.image for place, _ in forms], np.uint8)
