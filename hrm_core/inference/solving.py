"""From puzzles as people write them to answers they can read.

A model of several puzzle identifiers is asked under that of the puzzle. A task that is `Polled` is
asked under all identifiers of its puzzle; other puzzles may be asked under symmetries, and an
answer is chosen as `voting.py` does.

Shapes: A ACT steps, N puzzles, K answers to one puzzle, S cells.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from hrm_core.backend import Backend
from hrm_core.errors import PuzzleError
from hrm_core.inference.evaluation import StepAnswers, answer_step_by_step
from hrm_core.inference.slots import Halt
from hrm_core.inference.voting import Candidates, asked_under_symmetries
from hrm_core.pictures.animations import thinking_frames
from hrm_core.pictures.sheets import cell_size
from hrm_core.runs.identifiers import BLANK, ONLY_BLANK, Identifiers
from hrm_core.tasks.capabilities import (
    ONLY_THE_SOLUTION,
    Asked,
    Candidate,
    Drawable,
    Judged,
    Named,
    Polled,
    Question,
    Readable,
    given_cells,
)
from hrm_core.tasks.contract import IntArray, Task, TokenArray

FRAME_ROOM = 720  # pixels that the longer side of a board may take


@dataclass(frozen=True, eq=False)
class Solution:
    """One puzzle and the answer of a model to it."""

    task: Task
    question: TokenArray  # (S,)
    answers: TokenArray  # (A, S) after each ACT step taken
    q_halt_logits: npt.NDArray[np.float32]  # (A,)
    settled_step: int  # ACT step after which the answer no longer changed
    identifier: str = BLANK  # the puzzle that it was asked as
    num_identifiers: int = 1  # asked under
    num_answers: int = 1  # that it was chosen from
    num_agreeing: int = 1  # of them that are the same
    attempts: Sequence[Candidate] = ()  # of a polled task: the best answers, the first is `answer`
    solution: TokenArray | None = None  # the right answer, where it is known

    @property
    def answer(self) -> TokenArray:
        """(S,) the answer after the last step."""
        answer: TokenArray = self.answers[-1]
        return answer

    @property
    def proposals(self) -> list[TokenArray]:
        """The attempts (S,) where there are any, else the answer."""
        return [attempt.answer for attempt in self.attempts] or [self.answer]

    @property
    def accepted(self) -> bool | None:
        """True if the rules accept the answer, or an attempt is the solution where that is known.

        None where nothing can tell.
        """
        if self.solution is not None:
            return self._right_attempt > 0
        if isinstance(self.task, Judged):
            return self.task.accepts(self.question, self.answer)
        return None

    @property
    def verdict(self) -> str:
        """What the rules, or the solution, say of the answer, in one line."""
        if self.solution is not None:
            right = self._right_attempt
            return f"attempt {right} is right" if right else "no attempt is right"
        if isinstance(self.task, Judged):
            return self.task.verdict(self.question, self.answer)
        return ONLY_THE_SOLUTION

    @property
    def _right_attempt(self) -> int:
        """The number of the attempt that is the solution; 0 if none is."""
        assert self.solution is not None, "the caller has seen to that"
        for number, attempt in enumerate(self.attempts, start=1):
            if np.array_equal(attempt.answer, self.solution):
                return number
        return 0

    def frames(self) -> list[Image.Image]:
        """Draw the board from ACT step to ACT step."""
        task = require_drawable(self.task)
        cell = cell_size(task.picture, [self.question, *self.answers], FRAME_ROOM)

        def picture(tokens: IntArray, marks: IntArray) -> Image.Image:
            return task.picture(tokens, marks, cell)

        given = given_cells(self.task, self.question)
        return thinking_frames(picture, given, self.question, self.answers, task.legend)

    def text_of(self, tokens: TokenArray) -> str:
        """Draw one grid (S,) of its task as text."""
        return require_readable(self.task).format(tokens)

    def __str__(self) -> str:
        return self.text_of(self.answer)


class _AskedPuzzle(NamedTuple):
    """One puzzle in the ways it is asked."""

    question: Question
    name: str  # of the puzzle that it is asked as
    identifiers: IntArray  # (K,)
    asked: Asked


@dataclass(frozen=True, eq=False)
class Solver:
    """A trained model with the task it was trained on, and the puzzles it knows by name."""

    backend: Backend
    task: Task
    identifiers: Identifiers = ONLY_BLANK

    def solve(
        self, text: str, halt: Halt = "q", identifier: str = "", votes: int | None = None
    ) -> list[Solution]:
        """Solve every puzzle in a text.

        A model that knows several puzzles by name is asked as the one that `identifier` names, or
        "blank". `votes` is how many answers to choose from: of ARC to augmentations, 100 if not
        set, else to symmetries, 1 if not set.

        Raises: PuzzleError naming the puzzle and the place in it, if none of that name was trained,
        or if there are no symmetries.
        """
        return self.solve_puzzles(read_text(self.task, text), halt, identifier, votes)

    def solve_tokens(
        self, questions: IntArray, halt: Halt = "q", identifier: str = "", votes: int | None = None
    ) -> list[Solution]:
        """Solve puzzles (N, S) given as tokens, until the model wants to halt or for all ACT steps."""
        return self.solve_puzzles(list(map(Question, questions)), halt, identifier, votes)

    def solve_puzzles(
        self,
        questions: Sequence[Question],
        halt: Halt = "q",
        identifier: str = "",
        votes: int | None = None,
    ) -> list[Solution]:
        """Solve puzzles, each under its own name or all of them as the one that `identifier` names.

        Raises: PuzzleError if the model was trained on none of that name, or if there are no
        symmetries to vote with.
        """
        names = [identifier or question.name for question in questions]
        found = {name: self.identifiers.find(name, self.task) for name in dict.fromkeys(names)}
        asked = [
            self._asked(number, question, name, found[name], votes)
            for number, (question, name) in enumerate(zip(questions, names, strict=True))
        ]
        inputs = np.concatenate([puzzle.asked.inputs for puzzle in asked])
        identifiers = np.concatenate([puzzle.identifiers for puzzle in asked])
        steps = answer_step_by_step(self.backend, inputs, identifiers, halt=halt)
        ends = np.cumsum([0, *(len(puzzle.asked.inputs) for puzzle in asked)]).tolist()
        return [
            self._solution(puzzle, steps, slice(*rows))
            for puzzle, rows in zip(asked, pairwise(ends), strict=True)
        ]

    def _asked(
        self, number: int, question: Question, name: str, identifiers: IntArray, votes: int | None
    ) -> _AskedPuzzle:
        """Ask a puzzle under the identifiers of a name, or under one of them and symmetries."""
        is_known = bool(identifiers[0])
        name = name if is_known else BLANK
        if not isinstance(self.task, Polled):
            asked = asked_under_symmetries(self.task, question.tokens, number, votes or 1)
            own = np.repeat(identifiers[:1], len(asked.inputs))
            return _AskedPuzzle(question, name, own, asked)
        if not is_known:  # nothing is known of its augmentations
            asked = Asked(question.tokens[None], lambda k, answers: answers)
            return _AskedPuzzle(question, name, identifiers[:1], asked)
        chosen = identifiers[: votes or self.task.votes]
        names = [self.identifiers.names[number] for number in chosen.tolist()]
        return _AskedPuzzle(question, name, chosen, self.task.ask(question.tokens, names))

    def _solution(self, puzzle: _AskedPuzzle, steps: StepAnswers, rows: slice) -> Solution:
        """Choose the answer to one puzzle, whose K answers are these rows."""
        undo = puzzle.asked.undo
        final, q_halt_logits = steps.final[rows], steps.q_halt_logits[-1, rows]
        originals = np.concatenate([undo(k, answer[None]) for k, answer in enumerate(final)])
        attempts: list[Candidate] = []
        if isinstance(self.task, Polled):
            attempts = self.task.attempts(originals, q_halt_logits)
            best = attempts[0].row if attempts else 0
        else:
            best = self._accepted_row(puzzle.question.tokens, originals, q_halt_logits)
        row = rows.start + best
        num_steps = int(steps.steps[row])
        return Solution(
            task=self.task,
            question=puzzle.question.tokens,
            answers=undo(best, steps.answers[:num_steps, row]),
            q_halt_logits=steps.q_halt_logits[:num_steps, row],
            settled_step=int(steps.settled_step[row]),
            identifier=puzzle.name,
            num_identifiers=len(np.unique(puzzle.identifiers)),
            num_answers=len(originals),
            num_agreeing=int((originals == originals[best]).all(axis=1).sum()),
            attempts=attempts,
            solution=puzzle.question.solution,
        )

    def _accepted_row(
        self, question: TokenArray, answers: TokenArray, q_halt_logits: npt.NDArray[np.float32]
    ) -> int:
        """Return which of K answers (K, S) to give, as the rules of the task choose."""
        candidates = Candidates(question[None], answers[:, None], q_halt_logits[:, None])
        return int(candidates.choose("rules", self.task)[0])


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


def read_puzzles(
    task: Task, arguments: Sequence[str], read_stdin: Callable[[], str]
) -> list[Question]:
    """Read what a user means by each argument: "-" for stdin, a file of puzzles, or a puzzle.

    Raises: PuzzleError naming the argument.
    """
    return [question for argument in arguments for question in _read(task, argument, read_stdin)]


def read_text(task: Task, text: str, name: str = "") -> list[Question]:
    """Read every puzzle in a text; `name` is that of its file.

    Raises: PuzzleError naming the puzzle and the place in it.
    """
    if isinstance(task, Named):
        return task.questions(text, name)
    return list(map(Question, require_readable(task).parse(text)))


def _read(task: Task, argument: str, read_stdin: Callable[[], str]) -> list[Question]:
    is_file = _is_file(argument)
    try:
        if is_file:
            return _read_file(task, Path(argument))
        return read_text(task, read_stdin() if argument == "-" else argument)
    except UnicodeDecodeError as error:
        raise PuzzleError(
            f"{argument} is no text; expected a puzzle as text, or a maze as a file that ends in .png"
        ) from error
    except OSError as error:
        raise PuzzleError(
            f"{argument} cannot be read ({error.strerror or error}); expected a file of puzzles"
        ) from error
    except PuzzleError as error:
        place = _place(argument, is_file)
        message = str(error)  # pictures name themselves
        raise PuzzleError(message if message.startswith(place) else f"{place}: {error}") from error


def _read_file(task: Task, path: Path) -> list[Question]:
    if isinstance(task, Named):
        return task.questions(path.read_text(encoding="utf-8"), path.stem)
    return list(map(Question, require_readable(task).read_file(path)))


def _place(argument: str, is_file: bool) -> str:
    """Say where a puzzle stands that cannot be read."""
    if argument == "-":
        return "stdin"
    return argument if is_file else f"{argument[:40]!r} is no file, so it was read as a puzzle"


def _is_file(argument: str) -> bool:
    try:
        return Path(argument).is_file()
    except (OSError, ValueError):  # a puzzle can be longer than a file name may be
        return False
