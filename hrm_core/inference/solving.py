"""From puzzles as people write them to answers they can read.

A model of several puzzle identifiers is asked under that of the puzzle. An ARC task is asked under those of all its
augmentations, and its answers are pooled as `arc_protocol.py` does. Other puzzles may be asked under symmetries, and an answer
is chosen as `voting.py` does.

Shapes: A ACT steps, N puzzles, K answers to one puzzle, S cells.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from hrm_core.backend import Backend
from hrm_core.config import ModelConfig
from hrm_core.errors import PuzzleError
from hrm_core.inference.evaluation import Thoughts, thoughts
from hrm_core.inference.pages import cell_size
from hrm_core.inference.slots import Halt
from hrm_core.inference.voting import Candidates, Symmetries
from hrm_core.pictures.animations import thinking_frames
from hrm_core.runs.checkpoint import find_model, load_model
from hrm_core.runs.identifiers import BLANK, ONLY_BLANK, Identifiers, load_identifiers
from hrm_core.tasks.contract import IntArray, Task, TokenArray
from hrm_core.tasks.registry import require_task
from hrm_tasks.arc import pooling as arc_protocol
from hrm_tasks.arc.augment import parse_names, undone
from hrm_tasks.arc.canvas import decode, encode, side_of
from hrm_tasks.arc.task import Arc
from hrm_tasks.arc.text import read_tests
from hrm_tasks.grids.canvas import OUTSIDE
from hrm_tasks.grids.task import Grids

FRAME_ROOM = 720  # pixels that the longer side of a board may take
ARC_VOTES = (
    100  # identifiers that an ARC task is asked under, if it has so many and nobody says how many
)


class Puzzle(NamedTuple):
    """A question, and what its file tells besides."""

    question: TokenArray  # (S,)
    name: str = ""  # of the ARC task that asks it
    solution: TokenArray | None = None  # of ARC: a grid (height, width), where the task has it


@dataclass(frozen=True, eq=False)
class Solution:
    """One puzzle, and what a model made of it."""

    task: Task
    question: TokenArray  # (S,)
    answers: TokenArray  # (A, S) after each ACT step taken
    q_halt_logits: npt.NDArray[np.float32]  # (A,)
    settled_step: int  # ACT step after which the answer no longer changed
    identifier: str = BLANK  # the puzzle that it was asked as
    num_identifiers: int = 1  # asked: of an ARC task its augmentations, too
    num_answers: int = 1  # that it was chosen from
    num_agreeing: int = 1  # of them that are the same
    attempts: Sequence[
        arc_protocol.Candidate
    ] = ()  # ARC: the best answers, two at most; the fields above are of the first
    solution: TokenArray | None = None  # ARC: the right grid (height, width), where it is known

    @property
    def answer(self) -> TokenArray:
        """(S,) the answer after the last step."""
        answer: TokenArray = self.answers[-1]
        return answer

    @property
    def proposals(self) -> list[TokenArray]:
        """The attempts (S,) of an ARC task; of any other puzzle, or where no answer has a grid, the answer."""
        if not self.attempts:
            return [self.answer]
        return list(encode([attempt.grid for attempt in self.attempts], side_of(self.question)))

    @property
    def accepted(self) -> bool | None:
        """Whether the rules accept the answer, or an attempt is the solution where that is known; None where nothing can tell."""
        return (
            self.task.accepts(self.question, self.answer)
            if self.solution is None
            else self._right_attempt > 0
        )

    @property
    def verdict(self) -> str:
        """What the rules, or the solution, say of the answer, in one line."""
        if self.solution is None:
            return self.task.verdict(self.question, self.answer)
        return (
            f"attempt {self._right_attempt} is right"
            if self._right_attempt
            else "no attempt is right"
        )

    @property
    def _right_attempt(self) -> int:
        """The number of the attempt that is the solution; 0 if none is."""
        assert self.solution is not None
        return next(
            (
                i
                for i, attempt in enumerate(self.attempts, start=1)
                if np.array_equal(attempt.grid, self.solution)
            ),
            0,
        )

    def frames(self) -> list[Image.Image]:
        """Pictures of the board from ACT step to ACT step."""
        cell = cell_size(self.task, [self.question, *self.answers], FRAME_ROOM)

        def picture(tokens: IntArray, marks: IntArray) -> Image.Image:
            return self.task.picture(tokens.astype(np.uint8), marks, cell)

        return thinking_frames(
            picture, self.task.given(self.question), self.question, self.answers, self.task.legend
        )

    def __str__(self) -> str:
        return self.task.format(self.answer)


class _Asked(NamedTuple):
    """One puzzle in the ways it is asked."""

    puzzle: Puzzle
    name: str  # of the puzzle that it is asked as
    identifiers: IntArray  # (K,)
    inputs: TokenArray  # (K, S)
    undo: Callable[
        [int, TokenArray], TokenArray
    ]  # turns answers (N, S) to question k back to the puzzle as it is


@dataclass(frozen=True, eq=False)
class Solver:
    """A trained model with the task it was trained on, and the puzzles it knows by name."""

    backend: Backend
    task: Task
    identifiers: Identifiers = ONLY_BLANK

    def solve(
        self, text: str, halt: Halt = "q", identifier: str = "", votes: int | None = None
    ) -> list[Solution]:
        """Solve every puzzle in a text. A model that knows several by name asks them as the one that `identifier` names, or "blank".

        `votes` is how many answers to choose from: of ARC to augmentations, 100 if not set, else to symmetries, 1 if not set.

        Raises: PuzzleError naming the puzzle and the place in it, if none of that name was trained, or if there are no symmetries.
        """
        return self.solve_puzzles(read_text(self.task, text), halt, identifier, votes)

    def solve_tokens(
        self, questions: IntArray, halt: Halt = "q", identifier: str = "", votes: int | None = None
    ) -> list[Solution]:
        """Solve puzzles (N, S) given as tokens, until the model wants to halt or for all ACT steps."""
        return self.solve_puzzles(
            list(map(Puzzle, questions.astype(np.uint8))), halt, identifier, votes
        )

    def solve_puzzles(
        self,
        puzzles: Sequence[Puzzle],
        halt: Halt = "q",
        identifier: str = "",
        votes: int | None = None,
    ) -> list[Solution]:
        """Solve puzzles, each under its own name or all of them as the one that `identifier` names.

        Raises: PuzzleError if the model was trained on none of that name, or if there are no symmetries to vote with.
        """
        names = [identifier or puzzle.name for puzzle in puzzles]
        found = {name: self.identifiers.find(name, self.task) for name in dict.fromkeys(names)}
        asked = [
            self._asked(i, puzzle, name, found[name], votes)
            for i, (puzzle, name) in enumerate(zip(puzzles, names, strict=True))
        ]
        inputs, identifiers = (
            np.concatenate(parts)
            for parts in ([a.inputs for a in asked], [a.identifiers for a in asked])
        )
        paths = thoughts(self.backend, inputs, identifiers, halt=halt)
        starts = np.cumsum([0, *(len(one.inputs) for one in asked)]).tolist()
        return [
            self._solution(one, paths, slice(*rows))
            for one, rows in zip(asked, pairwise(starts), strict=True)
        ]

    def _asked(
        self, number: int, puzzle: Puzzle, name: str, identifiers: IntArray, votes: int | None
    ) -> _Asked:
        """A puzzle as it is asked under the identifiers of a name, or of one of them under symmetries."""
        name = name if identifiers[0] else BLANK
        if isinstance(self.task, Arc) and identifiers[0]:
            chosen = identifiers[: votes or ARC_VOTES]
            names = [self.identifiers.names[number] for number in chosen.tolist()]
            questions = arc_protocol.asked_as(decode(puzzle.question), names, self.task.side)
            return _Asked(
                puzzle,
                name,
                chosen,
                questions,
                lambda k, answers: undone(answers, parse_names([names[k]] * len(answers))[1]),
            )
        if isinstance(self.task, Arc) or not votes:
            return _Asked(
                puzzle, name, identifiers[:1], puzzle.question[None], lambda k, answers: answers
            )
        if isinstance(self.task, Grids) and (puzzle.question == OUTSIDE).any():
            raise PuzzleError(
                "a grid that does not fill the canvas has no symmetries to vote with; leave out votes"
            )
        symmetries = [
            Symmetries(self.task, vote)(np.array([number])) for vote in range(1, votes)
        ]  # vote 0 is the puzzle as it is

        def undo(k: int, answers: TokenArray) -> TokenArray:
            return (
                np.concatenate(
                    [symmetries[k - 1].inverse().apply(answer[None]) for answer in answers]
                )
                if k
                else answers
            )

        questions = np.concatenate(
            [
                puzzle.question[None],
                *(symmetry.apply(puzzle.question[None]) for symmetry in symmetries),
            ]
        )
        return _Asked(puzzle, name, np.repeat(identifiers[:1], votes), questions, undo)

    def _solution(self, asked: _Asked, paths: Thoughts, rows: slice) -> Solution:
        """What came of one puzzle, whose K answers are these rows."""
        final, q_halt_logits = paths.final[rows], paths.q_halt_logits[-1, rows]
        originals = np.concatenate([asked.undo(k, answer[None]) for k, answer in enumerate(final)])
        attempts: list[arc_protocol.Candidate] = []
        if isinstance(self.task, Arc):
            attempts = arc_protocol.attempts(originals, q_halt_logits)
            best = _surest(originals, q_halt_logits, attempts)
        else:
            candidates = Candidates(
                asked.puzzle.question[None], originals[:, None], q_halt_logits[:, None]
            )
            best = int(candidates.choose("rules", self.task)[0])
        row = rows.start + best
        steps = int(paths.steps[row])
        return Solution(
            self.task,
            asked.puzzle.question,
            asked.undo(best, paths.answers[:steps, row].astype(np.uint8)),
            paths.q_halt_logits[:steps, row],
            int(paths.settled_step[row]),
            asked.name,
            len(np.unique(asked.identifiers)),
            len(originals),
            int((originals == originals[best]).all(axis=1).sum()),
            attempts,
            asked.puzzle.solution,
        )


def _surest(
    originals: TokenArray,
    q_halt_logits: npt.NDArray[np.float32],
    attempts: Sequence[arc_protocol.Candidate],
) -> int:
    """Which of K answers (K, S) is the first attempt, and of several the one of highest q_halt (K,); the first if there is no attempt."""
    given = [
        k
        for k, canvas in enumerate(originals)
        if attempts and np.array_equal(decode(canvas), attempts[0].grid)
    ]
    return max(given, key=lambda k: float(q_halt_logits[k]), default=0)


def load_solver(
    path: Path, make_backend: Callable[[ModelConfig], Backend], data: Path | None = None
) -> Solver:
    """Load a trained model: a run, a checkpoint folder or a .safetensors file. A damaged checkpoint that is passed over is warned of.

    `data` is the data set it was trained on, where a model of several puzzle identifiers does not know their names by itself.

    Raises: CheckpointError if there is no whole model; PuzzleError if its task is not known; DataError if `data` is another one.
    """
    model = load_model(find_model(path, warnings.warn))
    identifiers = load_identifiers(path, model.config.num_puzzle_identifiers, data)
    backend = make_backend(model.config)
    backend.load_weights(model.weights)
    return Solver(
        backend,
        require_task(model.config.vocab_size, model.config.seq_len, model.task, str(model.source)),
        identifiers,
    )


def read_puzzles(
    task: Task, arguments: Sequence[str], read_stdin: Callable[[], str]
) -> list[Puzzle]:
    """Read what a user means by each argument: "-" for stdin, a file of puzzles, or a puzzle itself.

    Raises: PuzzleError naming the argument.
    """
    return [
        puzzle for argument in arguments for puzzle in _read_argument(task, argument, read_stdin)
    ]


def read_text(task: Task, text: str, name: str = "") -> list[Puzzle]:
    """Read every puzzle in a text; `name` is that of the ARC task whose JSON it may be.

    Raises: PuzzleError naming the puzzle and the place in it.
    """
    questions = task.parse(text)
    if isinstance(task, Arc) and (tests := read_tests(text)):
        return [
            Puzzle(question, name, pair.output)
            for question, pair in zip(questions, tests, strict=True)
        ]
    return list(map(Puzzle, questions))


def _read_argument(task: Task, argument: str, read_stdin: Callable[[], str]) -> list[Puzzle]:
    is_file = _is_file(argument)
    try:
        if is_file and not isinstance(task, Arc):
            return list(map(Puzzle, task.read_file(Path(argument))))
        if is_file:
            return read_text(task, Path(argument).read_text(encoding="utf-8"), Path(argument).stem)
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
        place = (
            "stdin"
            if argument == "-"
            else argument
            if is_file
            else f"{argument[:40]!r} is no file, so it was read as a puzzle"
        )
        raise PuzzleError(
            str(error) if str(error).startswith(place) else f"{place}: {error}"
        ) from error  # pictures name themselves


def _is_file(argument: str) -> bool:
    try:
        return Path(argument).is_file()
    except (OSError, ValueError):  # a puzzle can be longer than a file name may be
        return False
