"""Read Sudoku puzzles from text and draw a grid as text.

A line holds a whole puzzle (81 characters for 9x9), or a puzzle is drawn with one row a line and ends
at a blank line. Digits stand for themselves, `.`, `0` and `_` for a blank; spaces and frames are
ignored.

Shapes: N puzzles, S cells. Grids hold digits, 0 for a blank.
"""

from collections.abc import Iterator

import numpy as np

from hrm_core.data.drawings import (
    BYTE_ORDER_MARK,
    Drawing,
    Line,
    cut_puzzles,
    number_lines,
    paragraphs,
)
from hrm_core.errors import PuzzleError
from hrm_tasks.sudoku.board import BOARDS, Board, ByteArray, IntArray

BLANKS = ".0_"
CELLS = frozenset("123456789" + BLANKS)
BOX_DRAWING = "".join(map(chr, range(0x2500, 0x2580)))
FRAME = "|+-=:" + BOX_DRAWING + BYTE_ORDER_MARK  # ASCII and markdown first
WITHOUT_FRAME = dict.fromkeys(map(ord, FRAME))


def read_puzzles(text: str, board: Board) -> ByteArray:
    """Read every puzzle in a text. Returns: (N, S) digits.

    Raises: PuzzleError naming the puzzle and what is wrong with it, if a character, a row or the
        number of cells does not fit this board, if two givens clash, or if there is no puzzle.
    """
    grids = [_read(drawing, board) for drawing in _drawings(text, board)]
    if not grids:
        raise PuzzleError(
            f"no puzzle found in {len(text)} characters of text; "
            f"expected {board.num_cells} cells, blanks as . 0 or _"
        )
    return np.array(grids, dtype=np.uint8)


def detect_size(text: str) -> int:
    """Detect the size of the board from the first line with cells: a whole puzzle or its first row.

    Raises: PuzzleError if the line is neither.
    """
    lines = (line for line in number_lines(text) if _cells(line.text))
    line = next(lines, Line(1, ""))
    num_cells = len(_cells(line.text))
    for size, board in BOARDS.items():
        if num_cells in (size, board.num_cells):
            return size
    raise PuzzleError(
        f"{num_cells} cells in line {line.number}; "
        "expected a row of 4, 6 or 9 or a puzzle of 16, 36 or 81"
    )


def draw_grid(digits: IntArray, board: Board) -> str:
    """Draw one grid (S,) with box lines; a blank is a dot."""
    size = board.size
    box_height = board.box_height
    edge = "-" * (2 * board.box_width + 1)
    border = f"+{'+'.join([edge] * box_height)}+"
    lines = []
    for number, row in enumerate(digits.reshape(size, size)):
        if number % box_height == 0:
            lines.append(border)
        boxes = row.reshape(box_height, board.box_width)
        words = [" ".join(write_line(box)) for box in boxes]
        lines.append(f"| {' | '.join(words)} |")
    lines.append(border)
    return "\n".join(lines)


def write_line(digits: IntArray) -> str:
    """Write digits as one word; a blank is a dot."""
    return "".join(map(str, digits.tolist())).replace("0", ".")


def _cells(text: str) -> str:
    """Remove spaces and frames from a line."""
    return "".join(text.translate(WITHOUT_FRAME).split())


def _drawings(text: str, board: Board) -> Iterator[Drawing]:
    """Cut a text into puzzles.

    If a line of a paragraph is much longer than a row, each of its lines is a puzzle.
    """

    def are_puzzles(lines: list[Line]) -> bool:
        longest = max(len(_cells(line.text)) for line in lines)
        return longest > 2 * board.size

    lines = (line for line in number_lines(text) if not _is_frame(line.text))
    found = paragraphs(lines, lambda line, num_rows: bool(line.strip()))
    return cut_puzzles("puzzle", found, are_puzzles)


def _is_frame(line: str) -> bool:
    """Return True if a line holds nothing but a frame."""
    return bool(line.strip()) and not _cells(line)


def _read(drawing: Drawing, board: Board) -> list[int]:
    """Read and check the digits (S,) of one puzzle."""
    rows = [_cells(line.text) for line in drawing.lines]
    _check_characters(drawing, rows)
    _check_shape(drawing, rows, board)
    digits = [0 if cell in BLANKS else int(cell) for cell in "".join(rows)]
    _check_digits(drawing, digits, board)
    _check_clashes(drawing, digits, board)
    return digits


def _check_characters(drawing: Drawing, rows: list[str]) -> None:
    """Refuse a character that is no cell."""
    for line, row in zip(drawing.lines, rows, strict=True):
        unknown = [character for character in row if character not in CELLS]
        if unknown:
            place = f"line {line.number}, column {line.text.index(unknown[0]) + 1}"
            raise PuzzleError(
                f"{drawing.name}: unknown character {unknown[0]!r} at {place}; "
                "expected digits, blanks as . 0 or _, or a frame"
            )


def _check_shape(drawing: Drawing, rows: list[str], board: Board) -> None:
    """Refuse a puzzle whose lines are neither one puzzle nor the rows of one."""
    size = board.size
    if len(rows) == 1:
        found = len(rows[0])
        if found != board.num_cells:
            raise PuzzleError(
                f"{drawing.name}: {found} cells; "
                f"expected {board.num_cells} in a line, or {size} lines of {size}"
            )
        return
    numbered = zip(drawing.lines, rows[:size], strict=False)
    for number, (line, row) in enumerate(numbered, start=1):
        if len(row) != size:
            raise PuzzleError(
                f"{drawing.name}: row {number} (line {line.number}) has {len(row)} cells; "
                f"expected {size}"
            )
    if len(rows) != size:
        raise PuzzleError(
            f"{drawing.name}: {len(rows)} rows; "
            f"expected {size}, then a blank line before the next puzzle"
        )


def _check_digits(drawing: Drawing, digits: list[int], board: Board) -> None:
    """Refuse a digit that this board does not have."""
    size = board.size
    for cell, digit in enumerate(digits):
        if digit > size:
            raise PuzzleError(
                f"{drawing.name}: digit {digit} at {board.cell_name(cell)}; "
                f"expected 1 to {size} on a {size}x{size} board"
            )


def _check_clashes(drawing: Drawing, digits: list[int], board: Board) -> None:
    """Refuse a given that stands twice in a row, a column or a box."""
    for unit, cells in enumerate(board.units.tolist()):
        first: dict[int, int] = {}
        for cell in cells:
            digit = digits[cell]
            if digit and digit in first:
                places = f"{board.cell_name(first[digit])} and {board.cell_name(cell)}"
                raise PuzzleError(
                    f"{drawing.name}: {digit} is given twice in {board.unit_name(unit)}, "
                    f"at {places}; expected once"
                )
            first[digit] = cell
