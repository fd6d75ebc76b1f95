"""Sudoku as people write it: read puzzles from text and draw a grid as text.

One line can hold a whole puzzle (81 characters for 9x9), or a puzzle is drawn with one row a line and ends at a
blank line. Digits stand for themselves, `.`, `0` and `_` for a blank; spaces and frames are passed over.

Shapes: N puzzles, S cells. Grids hold digits, 0 for a blank.
"""

from collections.abc import Iterator

import numpy as np

from hrm_core.data.drawings import Drawing, Line, cut_puzzles, number_lines, paragraphs
from hrm_core.errors import PuzzleError
from hrm_tasks.sudoku.board import BOARDS, Board, ByteArray, IntArray

BLANKS = ".0_"
CELLS = frozenset("123456789" + BLANKS)
FRAME = (
    "|+-=:" + "".join(map(chr, range(0x2500, 0x2580))) + "\ufeff"
)  # ASCII and markdown, box drawing, byte order mark
WITHOUT_FRAME = dict.fromkeys(map(ord, FRAME))


def read_puzzles(text: str, board: Board) -> ByteArray:
    """Read every puzzle in a text. Returns: (N, S) digits.

    Raises: PuzzleError naming the puzzle and what is wrong with it, where a character, a row or the number of cells
        is not this board's, where two givens clash, or where there is no puzzle.
    """
    grids = [_read(drawing, board) for drawing in _drawings(text, board)]
    if not grids:
        raise PuzzleError(
            f"no puzzle found in {len(text)} characters of text; expected {board.num_cells} cells, blanks as . 0 or _"
        )
    return np.array(grids, dtype=np.uint8)


def detect_size(text: str) -> int:
    """Tell the board from the first line with cells: a whole puzzle, or its first row.

    Raises: PuzzleError where it is neither.
    """
    line = next((line for line in number_lines(text) if _cells(line.text)), Line(1, ""))
    num_cells = len(_cells(line.text))
    for size, board in BOARDS.items():
        if num_cells in (size, board.num_cells):
            return size
    raise PuzzleError(
        f"{num_cells} cells in line {line.number}; expected a row of 4, 6 or 9 or a puzzle of 16, 36 or 81"
    )


def _cells(text: str) -> str:
    """A line without spaces and frames."""
    return "".join(text.translate(WITHOUT_FRAME).split())


def _drawings(text: str, board: Board) -> Iterator[Drawing]:
    """Cut a text into puzzles. A line much longer than a row is meant to be a puzzle of its own, and so are those beside it."""

    def are_puzzles(lines: list[Line]) -> bool:
        return max(len(_cells(line.text)) for line in lines) > 2 * board.size

    lines = (line for line in number_lines(text) if not _is_frame(line.text))
    found = paragraphs(lines, lambda line, num_rows: bool(line.strip()))
    return cut_puzzles("puzzle", found, are_puzzles)


def _is_frame(line: str) -> bool:
    """Return True if a line holds nothing but a frame."""
    return bool(line.strip()) and not _cells(line)


def _read(drawing: Drawing, board: Board) -> list[int]:
    """The digits (S,) of one puzzle, checked."""
    rows = [_cells(line.text) for line in drawing.lines]
    _check_characters(drawing, rows)
    _check_shape(drawing, rows, board)
    digits = [0 if cell in BLANKS else int(cell) for cell in "".join(rows)]
    for cell, digit in enumerate(digits):
        if digit > board.size:
            place = board.cell_name(cell)
            raise PuzzleError(
                f"{drawing.name}: digit {digit} at {place}; expected 1 to {board.size} on a {board.size}x{board.size} board"
            )
    _check_clashes(drawing, digits, board)
    return digits


def _check_characters(drawing: Drawing, rows: list[str]) -> None:
    for line, row in zip(drawing.lines, rows, strict=True):
        if unknown := [character for character in row if character not in CELLS]:
            place = f"line {line.number}, column {line.text.index(unknown[0]) + 1}"
            raise PuzzleError(
                f"{drawing.name}: unknown character {unknown[0]!r} at {place}; expected digits, blanks as . 0 or _, or a frame"
            )


def _check_shape(drawing: Drawing, rows: list[str], board: Board) -> None:
    size = board.size
    if len(rows) == 1:
        if (found := len(rows[0])) != board.num_cells:
            raise PuzzleError(
                f"{drawing.name}: {found} cells; expected {board.num_cells} in a line, or {size} lines of {size}"
            )
        return
    for number, (line, row) in enumerate(zip(drawing.lines, rows[:size], strict=False), start=1):
        if len(row) != size:
            raise PuzzleError(
                f"{drawing.name}: row {number} (line {line.number}) has {len(row)} cells; expected {size}"
            )
    if len(rows) != size:
        raise PuzzleError(
            f"{drawing.name}: {len(rows)} rows; expected {size}, then a blank line before the next puzzle"
        )


def _check_clashes(drawing: Drawing, digits: list[int], board: Board) -> None:
    for unit, cells in enumerate(board.units.tolist()):
        first: dict[int, int] = {}
        for cell in cells:
            if digits[cell] and digits[cell] in first:
                places = f"{board.cell_name(first[digits[cell]])} and {board.cell_name(cell)}"
                raise PuzzleError(
                    f"{drawing.name}: {digits[cell]} is given twice in {board.unit_name(unit)}, at {places}; expected once"
                )
            first[digits[cell]] = cell


def draw_grid(digits: IntArray, board: Board) -> str:
    """Draw one grid (S,) with box lines; a blank is a dot."""
    border = "+".join(["", *["-" * (2 * board.box_width + 1)] * board.box_height, ""])
    lines = []
    for number, row in enumerate(digits.reshape(board.size, board.size)):
        if number % board.box_height == 0:
            lines.append(border)
        boxes = row.reshape(board.box_height, board.box_width)
        lines.append(
            "| "
            + " | ".join(" ".join(str(digit) if digit else "." for digit in box) for box in boxes)
            + " |"
        )
    return "\n".join([*lines, border])
