"""Read Sudoku puzzles from text and draw a grid as text.

A line holds a whole puzzle (81 characters for 9x9), or a puzzle is drawn with one row a line. Frames,
separators, titles, comments and what else stands beside a puzzle are left out; `lines.py` tells them.
A text is read in every style of blanks; exactly one board must fit it.

Shapes: N puzzles, S cells. Grids hold digits, 0 for a blank.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import groupby, takewhile
from typing import NamedTuple

import numpy as np

from hrm_core.data.drawings import Line, number_lines
from hrm_core.errors import PuzzleError
from hrm_core.messages import warn
from hrm_tasks.sudoku.board import BOARDS, Board, ByteArray, IntArray
from hrm_tasks.sudoku.lines import (
    BLANK,
    PLAIN,
    STYLES,
    Kind,
    Read,
    Style,
    bare_cells,
    candidates_of,
    read_line,
    read_whole,
    unknown_cell,
)

SECTION = re.compile(r"\s*\[\s*([^\W\d][\w ]*)\]\s*")  # [Puzzle], [State]
PUZZLE_SECTION = "puzzle"
# what a line of numbers in a list may hold, behind the one with the opening bracket
LIST_PART = re.compile(r"(?:[\d\s.,;\])]|None|null|nan|NaN|NA|dtype=\w+)*")
LONGEST_LIST = 4096  # characters that are joined


class Drawing(NamedTuple):
    """The lines of one puzzle: one for all its cells, or one for each row."""

    name: str  # "puzzle 2 (line 5)"
    reads: list[Read]
    next_text: int = 0  # number of the line of text that ends it; 0 if none does


class MisfitError(PuzzleError):
    """A text that cannot be read in one style."""

    def __init__(self, message: str, read: Read, board: Board) -> None:
        super().__init__(message)
        # how far a style can read: the style that is meant reads farther than the others
        self.progress = (read.line.number, len(read.cells) // board.size)


def read_puzzles(text: str, board: Board) -> ByteArray:
    """Read every puzzle in a text. Returns: (N, S) digits.

    Raises: PuzzleError naming the puzzle and what is wrong with it, if a character, a row or the
        number of cells does not fit this board, if two givens clash, if two readings fit, or if
        there is no puzzle.
    """
    lines = list(_puzzle_lines(text))
    try:
        return _read_lines(text, lines, board)
    except PuzzleError:
        joined = _joined_lists(lines)
        if len(joined) < len(lines):
            with suppress(PuzzleError):
                return _read_lines(text, joined, board)
        raise


def _read_lines(text: str, lines: Sequence[Line], board: Board) -> ByteArray:
    """Read every puzzle in the lines of a text, in the only style that fits. Returns: (N, S)."""
    whole = [read_whole(line, board) for line in lines]
    fitting: dict[bytes, tuple[Style, ByteArray]] = {}
    misfits = []
    for style in STYLES if None in whole else [PLAIN]:
        if style is not PLAIN and not any(blank in text for blank in style.signs):
            continue
        try:
            reads = [
                read or read_line(line, board, style)
                for read, line in zip(whole, lines, strict=True)
            ]
            grids = _read_in(style, reads, board)
        except MisfitError as misfit:
            misfits.append(misfit)
            continue
        if len(grids):
            fitting.setdefault(grids.tobytes(), (style, grids))
    if not fitting:
        raise _refusal(text, lines, misfits, board)
    (style, grids), *others = fitting.values()
    for other_style, other in others:
        raise _two_readings((style, grids), (other_style, other))
    return _without_solutions(grids)


def detect_size(text: str) -> int:
    """Detect the size of the board from the first line with cells: a whole puzzle or its first row.

    Raises: PuzzleError if the line is neither.
    """
    lines = (line for line in number_lines(text) if bare_cells(line.text))
    line = next(lines, Line(1, ""))
    num_cells = len(bare_cells(line.text))
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


def _puzzle_lines(text: str) -> Iterator[Line]:
    """Number the lines of a text; of one with sections only those of the puzzle."""
    lines = list(number_lines(text))
    section_of = {line.number: _section(line.text) for line in lines}
    if PUZZLE_SECTION not in section_of.values():
        yield from lines
        return
    is_puzzle = False
    for line in lines:
        section = section_of[line.number]
        if section:
            is_puzzle = section == PUZZLE_SECTION
        if section or is_puzzle:
            yield line


def _joined_lists(lines: Iterable[Line]) -> list[Line]:
    """Join the lines of each list of numbers that goes on over several, as programs print long ones."""
    joined: list[Line] = []
    for line in lines:
        begun = joined[-1].text if joined else ""
        is_open = begun.rfind("[") > begun.rfind("]")
        if is_open and len(begun) < LONGEST_LIST and LIST_PART.fullmatch(line.text):
            joined[-1] = joined[-1]._replace(text=f"{begun} {line.text}")
        else:
            joined.append(line)
    return joined


def _section(text: str) -> str:
    """Return the name of the section that a line begins; "" if it begins none."""
    found = SECTION.fullmatch(text)
    return found[1].strip().lower() if found else ""


def _read_in(style: Style, reads: Iterable[Read], board: Board) -> ByteArray:
    """Read every puzzle of lines read in one style. Returns: (N, S). Raises: MisfitError."""
    grids = [_read(drawing, board, style) for drawing in _drawings(reads, board)]
    return np.array(grids, dtype=np.uint8)


def _without_solutions(grids: ByteArray) -> ByteArray:
    """Leave out each grid (N, S) that solves the one before it, with a warning."""
    is_full = np.all(grids > 0, axis=1)
    fills = (grids[1:] == grids[:-1]) | (grids[:-1] == 0)
    solves = fills.all(axis=1) & is_full[1:] & ~is_full[:-1]
    for index in np.flatnonzero(solves)[:1]:
        more = f", and {solves.sum() - 1} more like it" if solves.sum() > 1 else ""
        warn(
            f"grid {index + 2} of the text solves grid {index + 1}: "
            f"it is left out as its solution{more}"
        )
    kept: ByteArray = grids[np.append(True, ~solves)]
    return kept


def _drawings(reads: Iterable[Read], board: Board) -> list[Drawing]:
    """Cut lines into puzzles.

    If a line of a paragraph is much longer than a row, each of its lines is a puzzle. Rows may stand
    in several paragraphs of the same height: in bands, or with an empty line after each.
    """
    drawings: list[Drawing] = []
    follows_rows = False
    height = 0  # rows of each paragraph of the last puzzle that may go on; 0: it may not
    for kind, group in groupby(_without_frames(reads, board), key=lambda read: read.kind):
        paragraph = list(group)
        if kind is Kind.TEXT:
            if drawings and follows_rows:
                next_text = paragraph[0].line.number
                drawings[-1] = drawings[-1]._replace(next_text=next_text)
            height = 0
        follows_rows = kind is Kind.CELLS
        if kind is not Kind.CELLS:
            continue
        is_whole = max(len(read.cells) for read in paragraph) > 2 * board.size
        goes_on = not is_whole and len(paragraph) == height
        if goes_on and len(drawings[-1].reads) < board.size:
            drawings[-1].reads.extend(paragraph)
            continue
        for puzzle in _listed(paragraph) if is_whole else [paragraph]:
            name = f"puzzle {len(drawings) + 1} (line {puzzle[0].line.number})"
            drawings.append(Drawing(name, puzzle))
        height = 0 if is_whole or board.size % len(paragraph) else len(paragraph)
    return drawings


def _without_frames(reads: Iterable[Read], board: Board) -> Iterator[Read]:
    """Leave out frames; one below all rows of a board ends a puzzle as an empty line does."""
    num_rows = 0
    for read in reads:
        if read.kind is Kind.TEXT:
            num_rows = 0
        if read.kind is not Kind.FRAME:
            num_rows += read.kind is Kind.CELLS
            yield read
        elif num_rows == board.size:
            num_rows = 0
            yield read._replace(kind=Kind.EMPTY)


def _listed(paragraph: Iterable[Read]) -> Iterator[list[Read]]:
    """Yield each puzzle of a paragraph whose lines are whole puzzles, or lists of them."""
    for read in paragraph:
        yield [read]
        for cells in read.listed:
            yield [Read(read.line, Kind.CELLS, cells)]


def _read(drawing: Drawing, board: Board, style: Style) -> list[int]:
    """Read and check the digits (S,) of one puzzle. Raises: MisfitError."""
    _check_characters(drawing, board, style)
    _check_shape(drawing, board, style)
    _check_single(drawing, board)
    cells = "".join(read.cells for read in drawing.reads)
    digits = _digits(cells)
    fault = _fault(digits, board)
    if fault:
        raise MisfitError(f"{drawing.name}: {fault}", drawing.reads[-1], board)
    return digits


def _digits(cells: str) -> list[int]:
    return list(map(int, cells.replace(BLANK, "0")))


def _check_characters(drawing: Drawing, board: Board, style: Style) -> None:
    """Refuse a character that is no cell."""
    for read in drawing.reads:
        unknown = unknown_cell(read.cells)
        if unknown:
            line = read.line
            place = f"line {line.number}, column {line.text.find(unknown) + 1}"
            raise MisfitError(
                f"{drawing.name}: unknown character {unknown!r} at {place}; "
                f"expected digits, blanks as {style.name}, or a frame",
                read._replace(cells=""),
                board,
            )


def _check_shape(drawing: Drawing, board: Board, style: Style) -> None:
    """Refuse a puzzle whose lines are neither one puzzle nor the rows of one."""
    size = board.size
    reads = drawing.reads
    if len(reads) == 1:
        found = len(reads[0].cells)
        if found != board.num_cells:
            raise MisfitError(
                f"{drawing.name}: {found} cells; "
                f"expected {board.num_cells} in a line, or {size} lines of {size}",
                reads[0],
                board,
            )
        return
    for number, read in enumerate(reads[:size], start=1):
        if len(read.cells) != size:
            count = f"{len(read.cells)} cells" if read.cells else "cells at other places"
            raise MisfitError(
                f"{drawing.name}: row {number} (line {read.line.number}) has {count}; "
                f"expected {size}" + ("" if read.cells else f" with blanks as {style.name}"),
                read,
                board,
            )
    if len(reads) != size:
        rows = f"{len(reads)} rows"
        if len(reads) < size and drawing.next_text:
            rows += f", then line {drawing.next_text} has letters"
        raise MisfitError(
            f"{drawing.name}: {rows}; expected {size}, then a blank line before the next puzzle",
            reads[-1],
            board,
        )


def _check_single(drawing: Drawing, board: Board) -> None:
    """Refuse a line with several puzzles, which may be a question and a wrong answer."""
    read = drawing.reads[0]
    for other in read.others:
        one, another = (cells.replace(BLANK, ".") for cells in (read.cells, other))
        raise MisfitError(
            f"{drawing.name}: the line reads as {one} and as {another}; expected one puzzle a line",
            read,
            board,
        )


def _fault(digits: list[int], board: Board) -> str:
    """Name a digit that this board does not have, or a given that stands twice in a unit."""
    size = board.size
    for cell, digit in enumerate(digits):
        if digit > size:
            place = board.cell_name(cell)
            return f"digit {digit} at {place}; expected 1 to {size} on a {size}x{size} board"
    for unit, cells in enumerate(board.units.tolist()):
        first: dict[int, int] = {}
        for cell in cells:
            digit = digits[cell]
            if digit and digit in first:
                places = f"{board.cell_name(first[digit])} and {board.cell_name(cell)}"
                unit_name = board.unit_name(unit)
                return f"{digit} is given twice in {unit_name}, at {places}; expected once"
            first[digit] = cell
    return ""


def _refusal(
    text: str, lines: Sequence[Line], misfits: Sequence[MisfitError], board: Board
) -> PuzzleError:
    """Return the error of the style that reads farthest, or of a text that is no puzzle."""
    fault = _candidate_fault(lines, board)
    if fault:
        return PuzzleError(fault)
    if misfits:
        return max(misfits, key=lambda misfit: misfit.progress)  # the first of several
    return PuzzleError(
        f"no puzzle found in {len(text)} characters of text; "
        f"expected {board.num_cells} cells, blanks as . 0 or _"
    )


def _candidate_fault(lines: Sequence[Line], board: Board) -> str:
    """Say that a text is a grid of candidates, and where; "" if it is none."""
    way_out = "give the puzzle without candidates"
    most = board.num_cells * board.size
    for line in lines:
        if len(line.text) >= most and len(bare_cells(line.text)) == most:
            found = f"{most} cells in line {line.number}, {board.size} for each cell"
            return f"a candidate grid: {found}; {way_out}"
    rows = [candidates_of(line, board) for line in lines]
    first_grid = [row for row in rows if row][: board.size]
    cells = [cell for row in first_grid for cell in row]
    several = [number for number, cell in enumerate(cells) if len(cell) > 1]
    if len(cells) != board.num_cells or not several:
        return ""
    first = f"{board.cell_name(several[0])} with {cells[several[0]]}"
    found = f"{len(several)} cells hold several candidates, the first is {first}"
    return f"a candidate grid: {found}; {way_out}"


def _two_readings(one: tuple[Style, ByteArray], another: tuple[Style, ByteArray]) -> PuzzleError:
    """Return the error of a text that reads in two ways, with the first puzzle that differs."""
    pairs = zip(one[1], another[1], strict=False)
    same = takewhile(lambda pair: np.array_equal(*pair), pairs)
    number = sum(1 for _ in same)
    shown = []
    for style, grids in (one, another):
        puzzle = write_line(grids[number]) if number < len(grids) else "none"
        shown.append(f"{puzzle} with blanks as {style.name}")
    return PuzzleError(
        f"two readings fit; puzzle {number + 1} is {' and '.join(shown)}; "
        "write every blank as . and leave out the frame"
    )
