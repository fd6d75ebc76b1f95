"""The tasks: one interface, `task.py`, and what is known of each size and name."""

from pathlib import Path

from hrm_core.data.store import task_name
from hrm_core.errors import PuzzleError
from hrm_core.tasks.arc import Arc
from hrm_core.tasks.maze import Maze
from hrm_core.tasks.sudoku import Sudoku
from hrm_core.tasks.task import Task

TASKS: dict[str, type[Sudoku] | type[Maze] | type[Arc]] = {"sudoku": Sudoku, "maze": Maze, "arc": Arc}


def task_of_shape(vocab_size: int, seq_len: int, name: str = "") -> Task | None:
    """The task of a data set or model: by its name, or where it has none by its shape. None if no task fits."""
    for known_name, kind in TASKS.items():
        if name in ("", known_name) and (task := kind.for_shape(vocab_size, seq_len)):
            return task
    return None


def find_task(data: Path, vocab_size: int, seq_len: int) -> Task | None:
    """The task a data set was built for; published ones do not say and are recognised by their shape."""
    return task_of_shape(vocab_size, seq_len, task_name(data) or "")


def require_task(vocab_size: int, seq_len: int, name: str, source: str) -> Task:
    """The task of a model that is to solve puzzles.

    Raises: PuzzleError if no task fits.
    """
    task = task_of_shape(vocab_size, seq_len, name)
    if task is None:
        raise PuzzleError(
            f"{source} was trained on {name or 'an unnamed task'} with vocab_size={vocab_size}, seq_len={seq_len}; "
            f"known tasks: {', '.join(TASKS)}"
        )
    return task
