"""The tasks: one interface, `task.py`, and what is known of each shape and label."""

import json
from pathlib import Path
from typing import Any

from hrm_core.data.store import task_label
from hrm_core.errors import PuzzleError
from hrm_core.tasks.contract import Task
from hrm_tasks.arc.task import Arc
from hrm_tasks.grids.task import Grids
from hrm_tasks.maze.task import Maze
from hrm_tasks.sudoku.task import Sudoku

TASKS: dict[str, Any] = {
    "sudoku": Sudoku,
    "maze": Maze,
    "arc": Arc,
    "grids": Grids,
}  # name: class with `for_shape`


def label_of(task: Task | None) -> str:
    """How a data set or model says which task it is of: the name, then the settings as JSON if there are any."""
    if task is None:
        return ""
    return (
        f"{task.name} {json.dumps(dict(task.settings), sort_keys=True)}"
        if task.settings
        else task.name
    )


def task_of_shape(vocab_size: int, seq_len: int, label: str = "") -> Task | None:
    """The task of a data set or model: by its label, or where it has none by its shape. None if no task fits."""
    name, _, settings = label.partition(" ")
    try:
        known = json.loads(settings) if settings else {}
    except (ValueError, RecursionError):
        return None
    if not isinstance(known, dict):
        return None
    for known_name, kind in TASKS.items():
        task: Task | None = (
            kind.for_shape(vocab_size, seq_len, known) if name in ("", known_name) else None
        )
        if task is not None:
            return task
    return None


def find_task(data: Path, vocab_size: int, seq_len: int) -> Task | None:
    """The task a data set was built for; published ones do not say and are recognised by their shape.

    Raises: DataError as `task_label` does.
    """
    return task_of_shape(vocab_size, seq_len, task_label(data) or "")


def require_task(vocab_size: int, seq_len: int, label: str, source: str) -> Task:
    """The task of a model that is to solve puzzles.

    Raises: PuzzleError if no task fits.
    """
    task = task_of_shape(vocab_size, seq_len, label)
    if task is None:
        raise PuzzleError(
            f"{source} was trained on {label or 'an unnamed task'} with vocab_size={vocab_size}, seq_len={seq_len}; "
            f"known tasks: {', '.join(TASKS)}"
        )
    return task
