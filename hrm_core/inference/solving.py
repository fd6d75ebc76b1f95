"""Solve puzzles as people write them and describe the answers.

A model of several puzzle identifiers is asked under that of the puzzle. A task that is `Polled` is
asked under all identifiers of its puzzle; other puzzles may be asked under symmetries, and an
answer is chosen as in `voting.py`.

Shapes: A ACT steps, N puzzles, K answers to one puzzle, S cells.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from hrm_core.backend import Backend
from hrm_core.config import ModelConfig, validated
from hrm_core.data.encodings import read_text as read_text_file
from hrm_core.errors import PuzzleError
from hrm_core.files import Refusal, check_exists
from hrm_core.inference.asking import AskedPuzzle, Trajectory, ask, groups
from hrm_core.inference.boards import board_text, texts_in
from hrm_core.inference.generating import Sampling, continue_tokens, require_generative
from hrm_core.inference.notebook import gallery_html, solution_html
from hrm_core.inference.predicting import ModelAsk
from hrm_core.inference.slots import Halt, check_steps, most_steps
from hrm_core.inference.voting import polling_of
from hrm_core.inference.watching import Watch, unwatched
from hrm_core.messages import shortened
from hrm_core.pictures.animations import thinking_frames
from hrm_core.pictures.sheets import cell_size
from hrm_core.runs.identifiers import BLANK, ONLY_BLANK, Identifiers
from hrm_core.tasks.capabilities import (
    ONLY_THE_SOLUTION,
    Accompanied,
    Asked,
    Candidate,
    Checked,
    Drawable,
    Examined,
    Judged,
    Named,
    Outcomes,
    Polled,
    Question,
    Readable,
    Report,
    given_cells,
)
from hrm_core.tasks.contract import BoolArray, IntArray, Task, TokenArray
from hrm_core.tasks.editing import Editable, grid_of
from hrm_core.tasks.registry import predictor

GREEDY = Sampling()
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
        steps = f"settled after ACT step {self.settled_step} of {len(self.answers)}"
        about = f"<Solution of {self.task.name}: {self.judgement}, {steps}"
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


@dataclass(frozen=True, eq=False)
class Solver:
    """A trained model with the task it was trained on, and the puzzles it knows by name."""

    backend: Backend
    task: Task
    identifiers: Identifiers = ONLY_BLANK

    def solve(
        self,
        text: Any,
        halt: Halt | None = None,
        identifier: str = "",
        votes: int | None = None,
        steps: int | None = None,
    ) -> Solutions:
        """Solve every puzzle in a text, in the file of a Path, or in arrays or lists of cells.

        Cells are (S,), (H, W) or (N, H, W), with 0 or None for blanks.
        `identifier` is the name of a puzzle that the model was trained on, or "blank"; it is
        needed if there are several. `votes` is the number of answers to choose from: answers to
        augmentations for ARC, 100 if not set; else answers to symmetries, 1 if not set. `steps` is
        the number of ACT steps that an answer takes at most, `halt_max_steps` if not set.

        Raises: PuzzleError naming the puzzle and the place in it, or what is expected; or if no
        puzzle of that name was trained, or there are no symmetries. ConfigError if the model cannot take so many steps.
        """
        return self.solve_puzzles(read_given(self.task, text), halt, identifier, votes, steps)

    def generate(
        self, prompt: str, max_tokens: int = 100, sampling: Sampling = GREEDY
    ) -> Iterator[str]:
        """Continue a text and yield it piece by piece, as it grows.

        Raises: PuzzleError if the task has no text, or naming a character that was not trained;
        ConfigError if positions of the model see later ones.
        """
        task = require_generative(self.task, self.backend.config)
        tokens = task.encode(prompt)
        for generated in continue_tokens(self.backend, task, tokens, max_tokens, sampling):
            yield generated.text

    def predict(self, *things: Any, **options: Any) -> Report:
        """Predict the outcomes of the task: what `hrm predict` prints, with the same options.

        `things` are paths; for a model of pictures also arrays or pictures of Pillow. The report
        prints as text and has `record()`.

        Raises: PuzzleError if the task predicts nothing; ConfigError if an option is not its own;
        DataError naming what cannot be read.
        """
        found = predictor(self.task.name)
        if found is None or not isinstance(self.task, Outcomes):
            raise PuzzleError(f"{self.task.name} has no outcomes to predict")
        paths = [Path(thing) if isinstance(thing, str) else thing for thing in things]
        for path in paths:
            if not isinstance(path, found.Options.takes):
                kind = type(path).__name__
                raise PuzzleError(
                    f"{self.task.name} predicts from files, not from {kind}; give paths"
                )
        if not paths:
            raise PuzzleError("nothing to predict from; give at least one path or picture")
        given = validated(found.Options, options, f"predict of {self.task.name}")
        report: Report = found.predict(self.task, paths, given, ModelAsk(self.backend, self.task))
        return report

    def solve_tokens(
        self,
        questions: IntArray,
        halt: Halt | None = None,
        identifier: str = "",
        votes: int | None = None,
        steps: int | None = None,
    ) -> Solutions:
        """Solve puzzles (N, S) given as tokens.

        With halt "q" a puzzle ends when q_halt > q_continue, with "fixed" after all ACT steps.
        If it is not set, it is "q", or "fixed" for a model that did not learn when to halt.
        """
        asked = list(map(Question, questions))
        return self.solve_puzzles(asked, halt, identifier, votes, steps)

    def solve_puzzles(
        self,
        questions: Sequence[Question],
        halt: Halt | None = None,
        identifier: str = "",
        votes: int | None = None,
        steps: int | None = None,
        watch: Watch = unwatched,
    ) -> Solutions:
        """Solve puzzles, each under its own name or all of them as the one that `identifier` names.

        `watch` is told of every ACT step as it comes; an exception from it ends the thinking.

        Raises: PuzzleError if the model was trained on none of that name, if there are no
        symmetries to vote with, or if a question lacks what the model wants beside tokens;
        ConfigError if it cannot take so many steps.
        """
        check_steps(steps, self.backend.config)
        for number, question in enumerate(questions, start=1):
            _check_serves(question, number, self.backend.config)
        names = [identifier or question.name for question in questions]
        found = {name: self.identifiers.find(name, self.task) for name in dict.fromkeys(names)}
        if any(numbers.any() for numbers in found.values()):
            self.identifiers.warn_if_taken()
        asked = []
        for number, (question, name) in enumerate(zip(questions, names, strict=True)):
            asked.append(self._asked(number, question, name, found[name], votes))
        chosen = halt or self.backend.config.halting
        most = steps or most_steps(chosen, self.backend.config)
        solutions = Solutions()
        for group in groups(asked, most * self.backend.config.num_cells):
            first = len(solutions)
            paths = ask(self.backend, self.task, group, chosen, most, watch, first)
            solutions += map(self._solution, group, paths)
        return solutions

    def _asked(
        self, number: int, question: Question, name: str, identifiers: IntArray, votes: int | None
    ) -> AskedPuzzle:
        """Ask a puzzle under the identifiers of a name, or under one of them and symmetries."""
        polling = polling_of(self.task, number)
        count = votes or polling.votes
        is_known = bool(identifiers[0])
        name = name if is_known else BLANK
        if not isinstance(self.task, Polled):
            own = np.repeat(identifiers[:1], count)
            asked = polling.ask(question.tokens, [name] * count)
            return AskedPuzzle(question, name, own, asked, polling)
        if not is_known:  # the model has no augmentations of it
            asked = Asked(question.tokens[None], lambda k, answers: answers)
            return AskedPuzzle(question, name, identifiers[:1], asked, polling)
        chosen = identifiers[:count]
        names = [self.identifiers.names[number] for number in chosen.tolist()]
        asked = polling.ask(question.tokens, names)
        return AskedPuzzle(question, name, chosen, asked, polling)

    def _solution(self, puzzle: AskedPuzzle, paths: Sequence[Trajectory]) -> Solution:
        """Choose the answer to one puzzle among those to the forms in which it was asked."""
        question, undo = puzzle.question, puzzle.asked.undo
        answers = np.concatenate([undo(k, path.answers[-1:]) for k, path in enumerate(paths)])
        q_halt_logits = np.array([path.q_halt_logits[-1] for path in paths])
        attempts = puzzle.polling.attempts(question.tokens, answers, q_halt_logits)
        best = attempts[0].row if attempts else 0
        agreeing = (answers == answers[best]).all(axis=1)
        return Solution(
            task=self.task,
            question=question.tokens,
            answers=undo(best, paths[best].answers),
            q_halt_logits=paths[best].q_halt_logits,
            settled_step=paths[best].settled_step,
            identifier=puzzle.name,
            num_identifiers=len(np.unique(puzzle.identifiers)),
            num_answers=len(answers),
            num_agreeing=int(agreeing.sum()),
            attempts=attempts if isinstance(self.task, Polled) else (),
            solution=question.solution,
        )


def _check_serves(question: Question, number: int, config: ModelConfig) -> None:
    """Refuse a question without the prefix or the image that a model wants.

    Raises: PuzzleError naming the question.
    """
    where = f"puzzle {number}"
    if config.attention == "prefix" and not 0 <= question.prefix_len <= config.seq_len:
        raise PuzzleError(
            f"{where} has prefix_len={question.prefix_len}, expected 0 to {config.seq_len}"
        )
    if config.image_size is None:
        return
    wanted = f"uint8 {config.image_size}"
    image = question.image
    if image is None:
        raise PuzzleError(
            f"{where} has no image, which model.patch_size needs: {wanted}; "
            "measure such a model with hrm eval"
        )
    if image.shape != config.image_size or image.dtype != np.uint8:
        raise PuzzleError(f"{where} has an image of {image.dtype} {image.shape}, expected {wanted}")


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
    """Read each argument of a user: "-" for stdin, the name of a file of puzzles, or a puzzle.

    Raises: PuzzleError naming the argument.
    """
    questions: list[Question] = []
    try:
        for argument in arguments:
            questions += _read(task, argument, read_stdin)
    except PuzzleError as error:
        if len(arguments) > 1 and _is_puzzle(task, " ".join(arguments)):
            raise PuzzleError(
                "these words are one puzzle together; put quotes around it"
            ) from error
        raise
    return questions


def _is_puzzle(task: Task, text: str) -> bool:
    try:
        return len(read_text(task, text)) == 1
    except PuzzleError:
        return False


def read_text(task: Task, text: str, name: str = "") -> list[Question]:
    """Read every puzzle in a text; `name` is that of its file.

    Raises: PuzzleError naming the puzzle and the place in it.
    """
    if isinstance(task, Named):
        return task.questions(text, name)
    grids = require_readable(task).parse(text)
    return list(map(Question, grids))


def read_given(task: Task, given: Any) -> list[Question]:
    """Read the puzzles that a Python program gives: text, a Path, arrays, or lists of any of them.

    Raises: PuzzleError naming the puzzle and the place in it, or saying what is expected.
    """
    if isinstance(given, str):
        return read_text(task, given)
    if isinstance(given, PathLike):
        path = Path(given)
        check_exists(path, Refusal(PuzzleError, "expected a file of puzzles"))
        if path.is_dir():
            raise PuzzleError(f"{path} is a folder; expected a file of puzzles")
        return _read(task, str(path), str)
    if isinstance(given, list | tuple) and any(isinstance(part, PathLike) for part in given):
        return [question for part in given for question in read_given(task, part)]
    texts = texts_in(given)
    if texts is None:
        return read_text(task, board_text(task, given))
    if isinstance(task, Named):  # each is JSON
        return [question for text in texts for question in read_text(task, text)]
    return read_text(task, "\n".join(texts))


def _read(task: Task, argument: str, read_stdin: Callable[[], str]) -> list[Question]:
    is_file = _is_there(argument, Path.is_file)
    if not is_file and _is_there(argument, Path.is_dir):
        raise PuzzleError(f"{argument} is a folder; expected a puzzle, or a file of puzzles")
    try:
        if is_file:
            return _read_file(task, Path(argument))
        text = read_stdin() if argument == "-" else argument
        return read_text(task, text)
    except UnicodeDecodeError as error:
        raise PuzzleError(
            f"{argument} is no text; expected a puzzle as text, "
            "or a maze as a file that ends in .png"
        ) from error
    except OSError as error:
        raise PuzzleError(
            f"{argument} cannot be read ({error.strerror or error}); expected a file of puzzles"
        ) from error
    except PuzzleError as error:
        place = _place(argument, is_file)
        if str(error).startswith(place):  # messages about pictures do
            raise
        raise PuzzleError(f"{place}: {error}") from error


def _read_file(task: Task, path: Path) -> list[Question]:
    if isinstance(task, Accompanied):
        return task.questions_in(path)
    if isinstance(task, Named):
        return task.questions(read_text_file(path), path.stem)
    grids = require_readable(task).read_file(path)
    return list(map(Question, grids))


def _place(argument: str, is_file: bool) -> str:
    """Name the place of a puzzle that cannot be read."""
    if argument == "-":
        return "stdin"
    if is_file:
        return argument
    return f"{argument[:40]!r} is no file, so it was read as a puzzle"


def _is_there(argument: str, is_kind: Callable[[Path], bool]) -> bool:
    """Return True if an argument names a file, or a folder, that is there."""
    try:
        return bool(argument) and is_kind(Path(argument))
    except (OSError, ValueError):  # a puzzle can be longer than a file name may be
        return False
