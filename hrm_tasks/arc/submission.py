"""Scores a submission in the Kaggle ARC Prize format against solutions, and nothing else.

A submission is `{"TASK": [{"attempt_1": grid, "attempt_2": grid}, ...], ...}` with one entry a test input, solutions are
`{"TASK": [grid, ...], ...}` in the same order.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hrm_core.data.sources import read_json
from hrm_core.errors import DataError
from hrm_core.tasks.capabilities import Score
from hrm_tasks.arc.canvas import checked_grid
from hrm_tasks.arc.pooling import Grid, Submission

ATTEMPTS = ("attempt_1", "attempt_2")
MAX_BYTES = 1 << 28
MAX_SHOWN = 40  # characters of a task's name


def score(submission: Submission, solutions: dict[str, list[Grid]]) -> Score:
    """Count what is solved; both must hold the same tasks with as many test inputs.

    The score is Kaggle's: the share of test outputs that one of the two attempts gets right.
    """
    right = {
        task: [
            solution in attempts.values()
            for attempts, solution in zip(submission[task], wanted, strict=True)
        ]
        for task, wanted in solutions.items()
    }
    num_outputs, num_solved = sum(map(len, right.values())), sum(map(sum, right.values()))
    num_tasks_solved = sum(map(all, right.values()))  # with every output right
    share = num_solved / num_outputs
    record = {
        "score": share,
        "outputs_solved": num_solved,
        "outputs": num_outputs,
        "tasks_solved": num_tasks_solved,
        "tasks": len(right),
    }
    text = (
        f"{share:.2%}: {num_solved:,} of {num_outputs:,} test outputs; "
        f"{num_tasks_solved:,} of {len(right):,} tasks have all of theirs"
    )
    return Score(share, record, text)


def score_files(submission: Path, solutions: Path) -> Score:
    """Score one file against another.

    Raises: DataError naming the file and the task: not of the format, or not for the same tasks.
    """
    given, wanted = read_submission(submission), read_solutions(solutions)
    for task in sorted(wanted.keys() - given.keys()):
        raise DataError(
            f"{submission} has no task {_readable(task)}; expected every task of {solutions}, two attempts for each test input"
        )
    for task in sorted(given.keys() - wanted.keys()):
        raise DataError(
            f"{solutions} has no task {_readable(task)}, which {submission} has; give the solutions of the same tasks"
        )
    for task, found in given.items():
        if len(found) != len(wanted[task]):
            raise DataError(
                f"{submission}, task {_readable(task)} has {len(found)} test inputs, expected {len(wanted[task])} as in {solutions}"
            )
    return score(given, wanted)


def read_submission(path: Path) -> Submission:
    """Read a submission. Raises: DataError naming the file and the task."""

    def entry(value: object, place: str) -> dict[str, Grid]:
        if not isinstance(value, dict) or set(value) != set(ATTEMPTS):
            found = (
                f"the keys {', '.join(map(_readable, value)) or 'of nothing'}"
                if isinstance(value, dict)
                else "no JSON object"
            )
            raise DataError(f"{place} has {found[:80]}, expected {' and '.join(ATTEMPTS)}")
        return {
            name: checked_grid(value[name], f"{place}, {name}", "attempt another grid").tolist()
            for name in ATTEMPTS
        }

    return _read(path, "submission", entry)


def read_solutions(path: Path) -> dict[str, list[Grid]]:
    """Read solutions. Raises: DataError naming the file and the task."""
    return _read(
        path,
        "solutions",
        lambda value, place: checked_grid(
            value, place, "leave the task out of both files"
        ).tolist(),
    )


def _read(path: Path, kind: str, entry: Callable[[object, str], Any]) -> dict[str, list[Any]]:
    """Read a JSON object of one list a task."""
    content = _content(path, kind)
    if not isinstance(content, dict) or not content:
        raise DataError(f"{path} holds no task; expected {kind}: a JSON object of one list a task")
    for task, values in content.items():
        if not isinstance(values, list) or not values:
            raise DataError(
                f"{path}, task {_readable(task)}: expected a list, one entry a test input"
            )
        content[task] = [
            entry(value, f"{path}, task {_readable(task)}, test input {number}")
            for number, value in enumerate(values, start=1)
        ]
    return content


def _content(path: Path, kind: str) -> object:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(
                f"{path} is larger than {MAX_BYTES:,} bytes; expected {kind} in the Kaggle ARC Prize format"
            )
        data = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}); expected {kind} in the Kaggle ARC Prize format"
        ) from error
    return read_json(data, str(path), f"{kind} in the Kaggle ARC Prize format")


def _readable(name: str) -> str:
    """A name from a file as a message can hold it."""
    return name if name.isprintable() and len(name) <= MAX_SHOWN else f"{ascii(name)[:MAX_SHOWN]}…"
