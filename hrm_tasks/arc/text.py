"""Read ARC grids from text and draw them as text: rows of digits, or JSON.

A grid is drawn with one row a line and ends at a blank line, or it is a JSON list of rows. If a text is
the JSON of a whole task, or of all tasks in one file, their test inputs are the grids.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from hrm_core.data.drawings import (
    BYTE_ORDER_MARK,
    Line,
    number_lines,
    paragraphs,
    split_at_feeds,
)
from hrm_core.data.sources import read_json
from hrm_core.errors import DataError, PuzzleError
from hrm_core.messages import reason
from hrm_core.tasks.contract import TokenArray
from hrm_tasks.arc.canvas import checked_grid
from hrm_tasks.arc.contents import EXPECTED, Pair, parse_tasks, refuse_stray

WAY_OUT = "expected rows of digits 0 to 9, a JSON list of rows, or the JSON of a task"
PLACE = "the task"
LISTED = re.compile(r"\[\s*\{")  # begins a list of tasks
NO_SOLUTIONS: Mapping[str, Any] = {}
OTHER_GRID = "give another grid"


class NamedPair(NamedTuple):
    """A test pair and the name of its task, "" if the text does not say it."""

    task: str
    pair: Pair


def read_grids(text: str) -> list[TokenArray]:
    """Read every grid (height, width) in a text.

    Raises: PuzzleError naming the grid and the place in it, or if there is none.
    """
    tests = read_tests(text)
    if tests:
        return [test.pair.input for test in tests]
    text = _stripped(text)
    try:
        if text.startswith("["):
            return _json_grids(text)
        return _drawn_grids(text)
    except DataError as error:
        raise PuzzleError(str(error)) from error


def read_tests(text: str, solutions: str | None = None) -> list[NamedPair]:
    """Read the test pairs of a text that is the JSON of tasks; any other text has none.

    `solutions` is the text of the file beside a challenges file.

    Raises: PuzzleError naming the task, the pair and the place in it.
    """
    text = _stripped(text)
    if not text.startswith("{") and not LISTED.match(text):
        return []
    try:
        content = read_json(text, PLACE, EXPECTED)
        found = list(parse_tasks(content, PLACE, _read_solutions(solutions)))
        if not found:
            refuse_stray(content, PLACE)
    except DataError as error:
        raise PuzzleError(str(error)) from error
    return [NamedPair(task.name, pair) for task in found for pair in task.tests]


def draw_grid(grid: TokenArray) -> str:
    """Draw one grid (height, width), one row a line; `read_grids` reads it back."""
    return "\n".join(" ".join(map(str, row)) for row in grid.tolist())


def grid_word(grid: TokenArray) -> str:
    """Write one grid (height, width) as JSON without spaces."""
    return json.dumps(grid.tolist(), separators=(",", ":"))


def _read_solutions(text: str | None) -> Mapping[str, Any]:
    """Read the text of a file of solutions. Raises: DataError if it is anything else."""
    if text is None:
        return NO_SOLUTIONS
    place, expected = "the file of solutions", "a JSON object of a list of grids for each task"
    content = read_json(_stripped(text), place, expected)
    if not isinstance(content, dict):
        raise DataError(f"{place} holds none; expected {expected}")
    return content


def _stripped(text: str) -> str:
    """Remove a byte order mark and the space around a text."""
    return text.removeprefix(BYTE_ORDER_MARK).strip()


def _json_grids(text: str) -> list[TokenArray]:
    """Read JSON grids that follow each other, with any space between them."""
    decoder = json.JSONDecoder()
    start = 0
    grids: list[TokenArray] = []
    while start < len(text):
        place = f"grid {len(grids) + 1}"
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError) as error:
            raise PuzzleError(f"{place} is not JSON ({reason(error, 80)}); {WAY_OUT}") from error
        grids.append(checked_grid(value, place, OTHER_GRID))
        start = re.compile(r"\s*").match(text, end).end()  # type: ignore[union-attr]  # matches anything
    return grids


def _drawn_grids(text: str) -> list[TokenArray]:
    """Read grids that are drawn as rows of digits."""
    grids: list[TokenArray] = []
    lines = number_lines(text, split_at_feeds)
    drawings = paragraphs(lines, lambda line, num_rows: bool(line.strip()))
    for drawing in drawings:
        rows = _rows(drawing)
        place = f"grid {len(grids) + 1}"
        for number, row in enumerate(rows, start=1):
            wrong = re.search(r"[^0-9]", row)
            if wrong:
                raise PuzzleError(f"{place}, row {number} holds {wrong[0]!r}; {WAY_OUT}")
        cells = [list(map(int, row)) for row in rows]
        grids.append(checked_grid(cells, place, OTHER_GRID))
    if not grids:
        raise PuzzleError(f"no grid found in {len(text)} characters of text; {WAY_OUT}")
    return grids


def _rows(lines: list[Line]) -> list[str]:
    """Return the rows of a grid without blanks; any line end ends a row."""
    rows = "\n".join(line.text for line in lines).splitlines()
    return ["".join(row.split()) for row in rows if row.strip()]
