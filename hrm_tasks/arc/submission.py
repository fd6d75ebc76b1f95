"""Score a submission in the Kaggle ARC Prize format against solutions.

A submission is `{"TASK": [{"attempt_1": grid, "attempt_2": grid}, ...], ...}` with one entry a test
input, solutions are `{"TASK": [grid, ...], ...}` in the same order. An attempt that is missing or no
grid is wrong, as it is for Kaggle, and counted.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from hrm_core.data.sources import read_json
from hrm_core.errors import DataError
from hrm_core.tasks.capabilities import Score
from hrm_tasks.arc.canvas import checked_grid
from hrm_tasks.arc.pooling import Grid

Attempts = dict[str, Grid | None]  # by the key of the attempt; None is no grid

ATTEMPTS = ("attempt_1", "attempt_2")
MAX_BYTES = 1 << 25  # two attempts of 30x30 at each of 6,000 test inputs
MAX_SHOWN = 40  # characters of a task's name


def score(
    submission: Mapping[str, Sequence[Mapping[str, Grid | None]]], solutions: dict[str, list[Grid]]
) -> Score:
    """Count the solved test outputs; both must hold the same tasks with as many test inputs.

    The score is Kaggle's: the share of test outputs that one of the two attempts gets right. An
    attempt that is None or missing is not right.
    """
    num_tasks = len(solutions)
    num_outputs = num_solved = num_tasks_solved = 0
    for task, outputs in solutions.items():
        right = [
            solution in attempts.values()
            for attempts, solution in zip(submission[task], outputs, strict=True)
        ]
        num_outputs += len(right)
        num_solved += sum(right)
        num_tasks_solved += all(right)
    share = num_solved / num_outputs
    attempts = list(chain.from_iterable(submission.values()))
    num_missing = sum(len(ATTEMPTS) - len(each) for each in attempts)
    num_no_grids = sum(grid is None for each in attempts for grid in each.values())
    record = {
        "score": share,
        "outputs_solved": num_solved,
        "outputs": num_outputs,
        "tasks_solved": num_tasks_solved,
        "tasks": num_tasks,
        "attempts_missing": num_missing,
        "attempts_no_grids": num_no_grids,
    }
    text = (
        f"{share:.2%}: {num_solved:,} of {num_outputs:,} test outputs; "
        f"{num_tasks_solved:,} of {num_tasks:,} tasks have all of theirs"
        f"{_counted(num_missing, 'is missing', 'are missing')}"
        f"{_counted(num_no_grids, 'is no grid', 'are no grids')}"
    )
    return Score(share, record, text)


def score_files(submission: Path, solutions: Path) -> Score:
    """Score one file against another.

    Raises: DataError naming the file and the task, if a file is not of the format or the tasks differ.
    """
    given = read_submission(submission)
    expected = read_solutions(solutions)
    for task in sorted(expected.keys() - given.keys()):
        raise DataError(
            f"{submission} has no task {_readable(task)}; "
            f"expected every task of {solutions}, two attempts for each test input"
        )
    for task in sorted(given.keys() - expected.keys()):
        raise DataError(
            f"{solutions} has no task {_readable(task)}, which {submission} has; "
            "give the solutions of the same tasks"
        )
    for task, inputs in given.items():
        num_inputs = len(expected[task])
        if len(inputs) != num_inputs:
            raise DataError(
                f"{submission}, task {_readable(task)} has {len(inputs)} test inputs, "
                f"expected {num_inputs} as in {solutions}"
            )
    return score(given, expected)


def read_submission(path: Path) -> dict[str, list[Attempts]]:
    """Read a submission. Raises: DataError naming the file and the task."""
    return _read(path, "submission", _attempts)


def read_solutions(path: Path) -> dict[str, list[Grid]]:
    """Read solutions. Raises: DataError naming the file and the task."""
    return _read(path, "solutions", _solution)


def _counted(count: int, one: str, several: str) -> str:
    """Write the end of a sentence about attempts; "" if there are none."""
    if not count:
        return ""
    return f"; 1 attempt {one}" if count == 1 else f"; {count:,} attempts {several}"


def _attempts(value: object, place: str) -> Attempts:
    """Check the attempts at one test input; one that is missing is left out, no grid is None."""
    if not isinstance(value, dict):
        raise DataError(f"{place} has no JSON object, expected {' and '.join(ATTEMPTS)}")
    unknown = [name for name in value if name not in ATTEMPTS]
    if unknown:
        keys = ", ".join(map(_readable, value))
        raise DataError(f"{place} has the keys {keys[:80]}, expected {' and '.join(ATTEMPTS)}")
    return {name: _grid_or_none(attempt) for name, attempt in value.items()}


def _grid_or_none(value: object) -> Grid | None:
    try:
        grid: Grid = checked_grid(value, "").tolist()
    except DataError:
        return None
    return grid


def _solution(value: object, place: str) -> Grid:
    """Check the solution of one test input."""
    grid: Grid = checked_grid(value, place, "leave the task out of both files").tolist()
    return grid


def _read(path: Path, kind: str, entry: Callable[[object, str], Any]) -> dict[str, list[Any]]:
    """Read a JSON object of one list a task; `entry` checks a value of a list and names its place."""
    content = _content(path, kind)
    if not isinstance(content, dict) or not content:
        raise DataError(f"{path} holds no task; expected {kind}: a JSON object of one list a task")
    for task, values in content.items():
        place = f"{path}, task {_readable(task)}"
        if not isinstance(values, list) or not values:
            raise DataError(f"{place}: expected a list, one entry a test input")
        content[task] = [
            entry(value, f"{place}, test input {number}")
            for number, value in enumerate(values, start=1)
        ]
    return content


def _content(path: Path, kind: str) -> object:
    """Read the JSON of a file."""
    expected = f"{kind} in the Kaggle ARC Prize format"
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path} is larger than {MAX_BYTES:,} bytes; expected {expected}")
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); expected {expected}") from error
    return read_json(data, str(path), expected)


def _readable(name: str) -> str:
    """Return a name from a file as a message can show it."""
    if name.isprintable() and len(name) <= MAX_SHOWN:
        return name
    return f"{ascii(name)[:MAX_SHOWN]}…"
