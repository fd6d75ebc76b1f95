"""Read mazes from text and draw them as text.

A maze is drawn with one row a line and ends at an empty line, or one line holds all its cells, row by
row. `#` is a wall, a blank or `.` an open cell, `S` the start and `G` the goal; `dialect.py` has other
characters. Blanks are cells, also at the end of a line. A smaller maze is padded with walls.

Shapes: N mazes, S = size · size cells.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from hrm_core.data.drawings import Drawing, Line, cut_puzzles, number_lines, paragraphs
from hrm_core.errors import PuzzleError
from hrm_core.messages import cell_name, warn
from hrm_tasks.maze.board import (
    CHARACTERS,
    GOAL,
    MAX_SIZE,
    MIN_SIZE,
    OPEN,
    PATH,
    START,
    WALL,
    BoolArray,
    ByteArray,
    ends_fault,
    has_ends,
    size_of,
)
from hrm_tasks.maze.dialect import described, dialect_of, without_separators
from hrm_tasks.maze.search import UNREACHED, shortest_paths

TOKEN_OF = {"#": WALL, " ": OPEN, "S": START, "G": GOAL}
DRAWN = "?" + CHARACTERS  # a model may answer with a pad
ONE_WORD = DRAWN.replace(" ", ".")
EXPECTED = "# for a wall, a blank or . for an open cell, S and G"


def read_mazes(text: str, size: int) -> ByteArray:
    """Read every maze in a text. Returns: (N, S) question tokens.

    Warns of other characters than ours, and of mazes that are padded.

    Raises: PuzzleError naming the maze and what is wrong with it: a character, a row, the number of
        cells, S or G, or that no path leads from S to G.
    """
    drawings = list(_drawings(without_separators(text), size))
    if not drawings:
        raise PuzzleError(
            f"no maze found in {len(text)} characters of text; "
            f"expected {size} lines of {size} cells: {EXPECTED}"
        )
    mazes = np.stack([_read(drawing, size) for drawing in drawings])
    for index in np.flatnonzero(~can_be_asked(mazes))[:1]:
        fault = question_fault(mazes[index], size)
        raise PuzzleError(f"{drawings[index].name}: {fault}")
    _warn_of_readings(drawings, size)
    return mazes


def detect_size(text: str) -> int:
    """Detect the number of rows of the first maze of a text, drawn or in one line.

    Raises: PuzzleError if it is no square.
    """
    lines = next(_paragraphs(without_separators(text)), [Line(1, "")])
    length = len(lines[0].text)
    size = size_of(length)
    if size is not None and len(lines) != length:
        return size
    if MIN_SIZE <= length <= MAX_SIZE:
        return length
    raise PuzzleError(
        f"{length} cells in line {lines[0].number}; "
        f"expected a row of {MIN_SIZE} to {MAX_SIZE}, or a square number of them"
    )


def draw_maze(tokens: ByteArray, size: int) -> str:
    """Draw one maze (S,), blanks for open cells; a pad is a question mark."""
    drawn = "".join(DRAWN[token] for token in tokens.tolist())
    rows = [drawn[start : start + size] for start in range(0, len(drawn), size)]
    return "\n".join(rows)


def write_line(tokens: ByteArray) -> str:
    """Write one maze (S,) as one word, dots for open cells."""
    return "".join(ONE_WORD[token] for token in tokens.tolist())


def can_be_asked(mazes: ByteArray) -> BoolArray:
    """Return True where a maze has one S, one G and a path between them. Shapes: (N, S) -> (N,)."""
    reached: BoolArray = shortest_paths(mazes).moves != UNREACHED
    return has_ends(mazes) & reached


def question_fault(maze: ByteArray, size: int) -> str:
    """Say why one maze (S,) cannot be asked; "" if it can."""
    fault = ends_fault(maze, size)
    if fault or can_be_asked(maze[None])[0]:
        return fault
    start = cell_name((maze == START).argmax(), size)
    goal = cell_name((maze == GOAL).argmax(), size)
    return f"no way from S at {start} to G at {goal}; open a wall between them"


def _paragraphs(text: str, size: int = 0) -> Iterator[list[Line]]:
    """Group the lines between empty ones.

    A line of blanks alone separates too, unless it can be a row of `size` cells.
    """

    def is_row(line: str, num_rows: int) -> bool:
        may_be_row = len(line) == size and num_rows < size
        return bool(line.strip(" ")) or may_be_row

    for lines in paragraphs(number_lines(text), is_row):
        if any(line.text.strip(" ") for line in lines):
            yield lines


def _drawings(text: str, size: int) -> Iterator[Drawing]:
    """Cut a text into mazes.

    If a line of a paragraph is as long as a maze or much longer than a row, each of its lines is a maze.
    """

    def are_mazes(lines: list[Line]) -> bool:
        longest = max(len(line.text) for line in lines)
        return longest == size * size or longest > 2 * size

    return cut_puzzles("maze", _paragraphs(text, size), are_mazes)


def _read(drawing: Drawing, size: int) -> ByteArray:
    """Read the tokens (S,) of one maze; check its characters and its shape."""
    cells = _cells(drawing)
    dialect = dialect_of(cells)
    _check_characters(drawing, dialect)
    _check_shape(drawing, size)
    tokens = np.array([TOKEN_OF[dialect[cell]] for cell in cells], np.uint8)
    if len(drawing.lines) == 1:
        return tokens
    padded = np.full((size, size), WALL, np.uint8)
    grid = tokens.reshape(len(drawing.lines), -1)
    padded[: grid.shape[0], : grid.shape[1]] = grid
    return padded.reshape(-1)


def _cells(drawing: Drawing) -> str:
    return "".join(line.text for line in drawing.lines)


def _warn_of_readings(drawings: Sequence[Drawing], size: int) -> None:
    """Say once what was taken for granted, with the first maze of each kind."""
    first: dict[str, str] = {}
    for drawing in drawings:
        cells = _cells(drawing)
        if meanings := described(dialect_of(cells), cells):
            first.setdefault(meanings, drawing.name)
        if len(cells) < size * size:
            rows = len(drawing.lines)
            shape = f"{rows} rows of {len(cells) // rows} cells"
            first.setdefault(f"{shape}, padded with walls to {size}x{size}", drawing.name)
    for reading, name in first.items():
        warn(f"{name}: {reading}")


def _check_characters(drawing: Drawing, dialect: Mapping[str, str]) -> None:
    """Refuse a character that is no cell of a question."""
    for line in drawing.lines:
        unknown = set(line.text) - dialect.keys()
        if not unknown:
            continue
        column = min(map(line.text.index, unknown))
        character = line.text[column]
        hint = "; a question shows no path" if character == CHARACTERS[PATH - 1] else ""
        raise PuzzleError(
            f"{drawing.name}: unknown character {character!r} "
            f"at line {line.number}, column {column + 1}; expected {EXPECTED}{hint}"
        )


def _check_shape(drawing: Drawing, size: int) -> None:
    """Refuse a maze whose lines are neither all its cells nor its rows."""
    lines = drawing.lines
    if len(lines) == 1:
        found = len(lines[0].text)
        if found != size * size:
            raise PuzzleError(
                f"{drawing.name}: {found} cells; "
                f"expected {size * size} in a line, or {size} lines of {size}"
            )
        return
    width = min(len(lines[0].text), size)
    for row, line in enumerate(lines[:size], start=1):
        found = len(line.text)
        if found == width:
            continue
        is_short = found < width
        hint = "; blanks at its end may be lost, so write open cells as ." if is_short else ""
        raise PuzzleError(
            f"{drawing.name}: row {row} (line {line.number}) has {found} cells; "
            f"expected {width}{hint}"
        )
    if len(lines) > size:
        raise PuzzleError(
            f"{drawing.name}: {len(lines)} rows; "
            f"expected {size}, then an empty line before the next maze"
        )
