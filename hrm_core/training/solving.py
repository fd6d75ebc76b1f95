"""From puzzles as people write them to answers they can read.

Shapes: A ACT steps, S cells.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from hrm_core.backend import Backend
from hrm_core.config import ModelConfig
from hrm_core.errors import PuzzleError
from hrm_core.pictures.animations import thinking_frames
from hrm_core.pictures.grids import Mark
from hrm_core.tasks import require_task
from hrm_core.tasks.task import IntArray, Task, TokenArray
from hrm_core.training.checkpoint import find_model, load_model
from hrm_core.training.evaluation import thoughts
from hrm_core.training.thinking import Halt

LARGEST_BOARD, LARGEST_CELL = 720, 48  # pixels
BLANK_IDENTIFIER = 0  # of a puzzle that no training example shares an identifier with


@dataclass(frozen=True, eq=False)
class Solution:
    """One puzzle, and what a model made of it."""

    task: Task
    question: TokenArray  # (S,)
    answers: TokenArray  # (A, S) after each ACT step taken
    q_halt_logits: npt.NDArray[np.float32]  # (A,)
    settled_step: int  # ACT step after which the answer no longer changed

    @property
    def answer(self) -> TokenArray:
        """(S,) the answer after the last step."""
        answer: TokenArray = self.answers[-1]
        return answer

    @property
    def accepted(self) -> bool | None:
        """Whether the rules accept the answer; None where they cannot tell."""
        return self.task.accepts(self.question, self.answer)

    @property
    def verdict(self) -> str:
        """What the rules say of the answer, in one line."""
        return self.task.verdict(self.question, self.answer)

    def frames(self) -> list[Image.Image]:
        """Pictures of the board from ACT step to ACT step."""
        marks = np.full(self.question.shape, Mark.PLAIN)
        cell = max(1, min(LARGEST_CELL, LARGEST_BOARD * 10 // max(self.task.picture(self.question, marks, cell=10).size)))

        def picture(tokens: IntArray, marks: IntArray) -> Image.Image:
            return self.task.picture(tokens.astype(np.uint8), marks, cell)

        return thinking_frames(picture, self.task.given(self.question), self.question, self.answers, self.task.legend)

    def __str__(self) -> str:
        return self.task.format(self.answer)


@dataclass(frozen=True, eq=False)
class Solver:
    """A trained model with the task it was trained on."""

    backend: Backend
    task: Task

    def solve(self, text: str, halt: Halt = "q") -> list[Solution]:
        """Solve every puzzle in a text.

        Raises: PuzzleError naming the puzzle and the place in it.
        """
        return self.solve_tokens(self.task.parse(text), halt)

    def solve_tokens(self, questions: IntArray, halt: Halt = "q") -> list[Solution]:
        """Solve puzzles (N, S) given as tokens, until the model wants to halt or for all ACT steps."""
        paths = thoughts(self.backend, questions, np.full(len(questions), BLANK_IDENTIFIER), halt=halt)
        questions, answers = questions.astype(np.uint8), paths.answers.astype(np.uint8)
        return [
            Solution(self.task, question, answers[:steps, i], paths.q_halt_logits[:steps, i], int(paths.settled_step[i]))
            for i, (question, steps) in enumerate(zip(questions, paths.steps.tolist(), strict=True))
        ]


def load_solver(path: Path, make_backend: Callable[[ModelConfig], Backend]) -> Solver:
    """Load a trained model: a run, a checkpoint folder or a .safetensors file. A damaged checkpoint that is passed over is warned of.

    Raises: CheckpointError if there is no whole model; PuzzleError if its task is not known.
    """
    model = load_model(find_model(path, warnings.warn))
    backend = make_backend(model.config)
    backend.load_weights(model.weights)
    return Solver(backend, require_task(model.config.vocab_size, model.config.seq_len, model.task, str(model.source)))


def read_puzzles(task: Task, arguments: Sequence[str], read_stdin: Callable[[], str]) -> TokenArray:
    """Read what a user means by each argument: "-" for stdin, a file of puzzles, or a puzzle itself. Returns: (N, S).

    Raises: PuzzleError naming the argument.
    """
    return np.concatenate([_read_argument(task, argument, read_stdin) for argument in arguments])


def _read_argument(task: Task, argument: str, read_stdin: Callable[[], str]) -> TokenArray:
    is_file = _is_file(argument)
    try:
        return task.read_file(Path(argument)) if is_file else task.parse(read_stdin() if argument == "-" else argument)
    except (OSError, UnicodeDecodeError) as error:
        raise PuzzleError(f"{argument} cannot be read as text: {error}") from error
    except PuzzleError as error:
        place = "stdin" if argument == "-" else argument if is_file else f"{argument[:40]!r} is no file, so it was read as a puzzle"
        raise PuzzleError(f"{place}: {error}") from error


def _is_file(argument: str) -> bool:
    try:
        return Path(argument).is_file()
    except (OSError, ValueError):  # a puzzle can be longer than a file name may be
        return False
