"""Read the JSON of ARC: one task, an object of tasks by name, or a list of pairs.

    {"train": [pair, ...], "test": [pair, ...]}      one task; a test pair may lack its output
    {"NAME": task, ...}                              tasks of a challenges file
    [{"id": "NAME", "train": ..., "test": ...}, ...] the same as a list
    {"NAME": [grid, ...], ...}                       outputs of their test pairs, in another file
    [pair, ...]                                      training pairs alone, as RE-ARC has them

A pair is {"input": grid, "output": grid}, a grid a list of rows of colours.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple, TypeGuard

from hrm_core.errors import DataError
from hrm_core.messages import quoted
from hrm_core.tasks.contract import TokenArray
from hrm_tasks.arc.canvas import checked_grid

MAX_PAIRS = 100  # of a task; the published ones have at most 12
MAX_LISTED = 10_000  # pairs of a list; those of RE-ARC have 1,000
EXPECTED = "a task with train and test"
PARTS = ("train", "test")
NAME_KEYS = ("id", "task_id", "name", "task")  # of a task in a list


class Pair(NamedTuple):
    """A question and its answer, as grids of colours."""

    input: TokenArray  # (height, width)
    output: TokenArray | None  # (height, width); None if it is not published


class TaskPairs(NamedTuple):
    """The pairs of one task."""

    name: str  # "" if the JSON does not say it
    demonstrations: tuple[Pair, ...]
    tests: tuple[Pair, ...]


def parse_tasks(content: object, place: str, solutions: Mapping[str, Any]) -> Iterator[TaskPairs]:
    """Yield the tasks of JSON that is read; none if it is of another kind.

    `solutions` are those of a challenges file, by task.

    Raises: DataError beginning with `place`, if a task is not well formed.
    """
    if is_task(content):
        yield TaskPairs("", *checked_task(content, place))
    elif lists_tasks(content):
        yield from parse_tasks(_by_name(content, place), place, solutions)
    elif holds_pairs(content):
        yield TaskPairs("", _checked_pairs(content, "pair", place, MAX_LISTED), ())
    elif holds_tasks(content):
        for name, task in content.items():
            where = f"{place}, task {quoted(name)}"
            demonstrations, tests = checked_task(task, where)
            if name in solutions:
                tests = _solved(tests, solutions[name], where)
            yield TaskPairs(name, demonstrations, tests)


def checked_task(content: object, place: str) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """Check one task. Returns: its demonstrations and its test pairs, at least one of each.

    Raises: DataError beginning with `place`.
    """
    if not isinstance(content, dict):
        raise DataError(f"{place} is no task: expected a JSON object with train and test")
    demonstrations, tests = (_part(content, part, place) for part in PARTS)
    return demonstrations, tests


def refuse_stray(content: object, place: str) -> None:
    """Refuse JSON that holds no task. Raises: DataError beginning with `place`, by what it holds."""
    entries: Sequence[object] = ()
    if isinstance(content, dict) and content.keys().isdisjoint(PARTS):
        entries = list(content.values())
    if entries and all(isinstance(entry, list) for entry in entries):
        raise DataError(
            f"{place} holds a list for each task, as solutions and submissions do; "
            "name the file of the tasks themselves"
        )
    checked_task(content, place)


def is_task(content: object) -> TypeGuard[dict[str, Any]]:
    """Return True for an object with a list of objects that is called train or test."""
    if not isinstance(content, dict):
        return False
    found = [content.get(part) for part in PARTS]
    pairs = chain.from_iterable(part for part in found if isinstance(part, list))
    return any(isinstance(pair, dict) for pair in pairs)


def holds_pairs(content: object) -> TypeGuard[list[Any]]:
    """Return True for a list with a pair in it."""
    if not isinstance(content, list):
        return False
    return any(isinstance(pair, dict) and "input" in pair for pair in content)


def lists_tasks(content: object) -> TypeGuard[list[Any]]:
    """Return True for a list with a task in it."""
    return isinstance(content, list) and any(map(is_task, content))


def holds_tasks(content: object) -> TypeGuard[dict[str, Any]]:
    """Return True for an object with a task in it."""
    return isinstance(content, dict) and any(map(is_task, content.values()))


def _by_name(tasks: Sequence[Any], place: str) -> dict[str, Any]:
    """Return the tasks of a list by their names."""
    named: dict[str, Any] = {}
    for number, task in enumerate(tasks, start=1):
        names = [task[key] for key in NAME_KEYS if key in task] if isinstance(task, dict) else []
        if not names or not isinstance(names[0], str) or not names[0]:
            raise DataError(
                f"{place}: task {number} of the list has no name; "
                f"expected it under {', '.join(NAME_KEYS[:-1])} or {NAME_KEYS[-1]}"
            )
        if names[0] in named:
            raise DataError(
                f"{place}: the list has two tasks {quoted(names[0])}; take one of them out"
            )
        named[names[0]] = task
    return named


def _part(content: Mapping[str, object], part: str, place: str) -> tuple[Pair, ...]:
    """Check the demonstrations or the test pairs of a task."""
    pairs = content.get(part)
    if not isinstance(pairs, list):
        raise DataError(
            f"{place} has no list of {part} pairs, "
            f"expected 1 to {MAX_PAIRS}, each an input and an output"
        )
    return _checked_pairs(pairs, f"{part} pair", place, MAX_PAIRS)


def _checked_pairs(pairs: Sequence[object], kind: str, place: str, most: int) -> tuple[Pair, ...]:
    """Check pairs; those of a test may lack their output."""
    if not 0 < len(pairs) <= most:
        raise DataError(
            f"{place} has {len(pairs)} {kind}s, expected 1 to {most}, each an input and an output"
        )
    return tuple(
        _pair(pair, f"{place}: {kind} {number}", may_be_open=kind == "test pair")
        for number, pair in enumerate(pairs, start=1)
    )


def _pair(pair: object, place: str, may_be_open: bool) -> Pair:
    """Check one pair; one that may be open needs no output."""
    if not isinstance(pair, dict) or "input" not in pair:
        raise DataError(f"{place} has no input; expected an object with input and output")
    output = pair.get("output")
    if output is None and not may_be_open:
        raise DataError(f"{place} has no output; expected an object with input and output")
    question = checked_grid(pair["input"], f"{place}, input")
    if output is None:
        return Pair(question, None)
    return Pair(question, checked_grid(output, f"{place}, output"))


def _solved(tests: Sequence[Pair], solutions: object, place: str) -> tuple[Pair, ...]:
    """Give the test pairs of a task their outputs from the file of solutions."""
    if not isinstance(solutions, list) or len(solutions) != len(tests):
        found = len(solutions) if isinstance(solutions, list) else "no list of"
        raise DataError(
            f"{place} has {len(tests)} test inputs and {found} solutions in the file beside it; "
            "expected one for each"
        )
    solved = []
    for number, (pair, grid) in enumerate(zip(tests, solutions, strict=True), start=1):
        output = checked_grid(grid, f"{place}: solution {number}")
        if pair.output is not None and pair.output.tolist() != grid:
            raise DataError(
                f"{place}: solution {number} is another grid than the output of test pair {number}; "
                "take one of them out"
            )
        solved.append(Pair(pair.input, output))
    return tuple(solved)
