"""Ask puzzles, each in one form or in several: all forms at once, or one after the other.

Where the rules of a task can tell a right answer, a puzzle is asked in its next form only if they
refuse the answer to the one before. Shapes: K forms, A ACT steps, S cells.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hrm_core.backend import Backend
from hrm_core.config import ModelConfig
from hrm_core.inference.evaluation import StepAnswers, answer_step_by_step
from hrm_core.inference.slots import Halt, StepResult
from hrm_core.inference.watching import Watch, told
from hrm_core.tasks.capabilities import Asked, Judged, Polled, Polling, Question
from hrm_core.tasks.contract import IntArray, Task, TokenArray

KEPT_TOKENS = 1 << 26  # of the answers after all ACT steps: 256 MB


class AskedPuzzle(NamedTuple):
    """One puzzle in the K forms in which it may be asked."""

    question: Question
    name: str  # name of the puzzle that it is asked as
    identifiers: IntArray  # (K,)
    asked: Asked
    polling: Polling


class Trajectory(NamedTuple):
    """Answers and Q values of a model for one form, from ACT step to ACT step."""

    answers: TokenArray  # (A, S)
    q_halt_logits: npt.NDArray[np.float32]  # (A,)
    settled_step: int


class Patience(NamedTuple):
    """How long a form may be thought about."""

    halt: Halt
    max_steps: int
    kept_steps: int  # a form that has not halted before the last step keeps the answer after these


class _Form(NamedTuple):
    """Form `k` of the puzzle at this place among the questions."""

    place: int
    k: int


def groups(puzzles: Sequence[AskedPuzzle], tokens_of_form: int) -> Iterator[list[AskedPuzzle]]:
    """Yield puzzles, in order, in groups whose answers after all ACT steps are kept at once."""
    group: list[AskedPuzzle] = []
    num_tokens = 0
    for puzzle in puzzles:
        more = len(puzzle.identifiers) * tokens_of_form
        if group and num_tokens + more > KEPT_TOKENS:
            yield group
            group, num_tokens = [], 0
        group.append(puzzle)
        num_tokens += more
    yield group


def asks_in_turn(task: Task | None) -> bool:
    """Return True if the rules say after each answer whether another is needed."""
    return isinstance(task, Judged) and not isinstance(task, Polled)


def ask(
    backend: Backend,
    task: Task,
    puzzles: Sequence[AskedPuzzle],
    patience: Patience,
    watch: Watch,
    first: int = 0,
) -> list[list[Trajectory]]:
    """Ask each puzzle until an answer is accepted, or in all its forms.

    `watch` is told of the puzzles by their numbers, counted from `first`.

    Returns: what was said of the forms of each puzzle that were asked, at least the first.
    """
    paths: list[list[Trajectory]] = [[] for _ in puzzles]
    waiting = list(range(len(puzzles)))
    while waiting:
        forms = []
        for place in waiting:
            next_form, all_forms = len(paths[place]), len(puzzles[place].identifiers)
            stop = next_form + 1 if asks_in_turn(task) else all_forms
            forms += [_Form(place, k) for k in range(next_form, stop)]
        first_forms = {
            number: (first + place, puzzles[place].asked)
            for number, (place, k) in enumerate(forms)
            if k == 0
        }
        tell = told(watch, first_forms, forms[0].k)
        found = _trajectories(backend, puzzles, forms, patience, tell)
        for form, path in zip(forms, found, strict=True):
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
    patience: Patience,
    tell: Callable[[StepResult], None],
) -> list[Trajectory]:
    """Ask some forms at once."""
    found = answer_step_by_step(
        backend,
        np.stack([puzzles[place].asked.inputs[k] for place, k in forms]),
        np.array([puzzles[place].identifiers[k] for place, k in forms]),
        halt=patience.halt,
        prefix_len=np.array([puzzles[place].question.prefix_len for place, _ in forms], np.int32),
        images=_images(puzzles, forms, backend.config),
        max_steps=patience.max_steps,
        on_step=tell,
    )
    kept = found.cut(patience.kept_steps)
    return [
        _trajectory(found if steps < patience.max_steps else kept, row)
        for row, steps in enumerate(found.steps.tolist())
    ]


def _trajectory(found: StepAnswers, row: int) -> Trajectory:
    steps = found.steps[row]
    answers, values = found.answers[:steps, row], found.q_halt_logits[:steps, row]
    return Trajectory(answers, values, int(found.settled_step[row]))


def _images(
    puzzles: Sequence[AskedPuzzle], forms: Sequence[_Form], config: ModelConfig
) -> npt.NDArray[np.uint8] | None:
    """Return the image of each form, None for a model that sees none."""
    if config.image_size is None:
        return None
    return np.array([puzzles[place].question.image for place, _ in forms], np.uint8)
