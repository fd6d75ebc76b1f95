"""Read the puzzles that people write and programs hold, for any task."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

from hrm_core.data.encodings import read_text as read_text_file
from hrm_core.errors import PuzzleError
from hrm_core.files import Refusal, check_exists
from hrm_core.inference.boards import board_text, texts_in
from hrm_core.inference.solution import require_readable
from hrm_core.tasks.capabilities import Accompanied, Named, Question
from hrm_core.tasks.contract import Task


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
        with _placed(str(path), str(path)):
            return _read_file(task, path)
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
    with _placed(argument, _place(argument, is_file)):
        if is_file:
            return _read_file(task, Path(argument))
        text = read_stdin() if argument == "-" else argument
        return read_text(task, text)


@contextmanager
def _placed(source: str, place: str) -> Iterator[None]:
    """Name what is read, and the place of a puzzle in it, in every error. Raises: PuzzleError."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise PuzzleError(
            f"{source} is no text; expected a puzzle as text, or a maze as a file that ends in .png"
        ) from error
    except OSError as error:
        raise PuzzleError(
            f"{source} cannot be read ({error.strerror or error}); expected a file of puzzles"
        ) from error
    except PuzzleError as error:
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
