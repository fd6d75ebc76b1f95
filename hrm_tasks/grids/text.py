"""Grids as people write them: one row a line and an empty line behind each grid, or one word whose rows a sign parts.

Shapes: S cells of the canvas.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from hrm_core.errors import PuzzleError
from hrm_core.tasks.contract import IntArray
from hrm_tasks.grids.canvas import FIRST, MAX_CHARACTERS, Canvas, is_cell, quoted_alphabet, size_of

ROW_SIGNS = "/|;,:\\"  # the first that is not in the alphabet parts the rows of a word
NO_CHARACTER = (
    "?\ufffd\u00bf"  # of a cell inside the grid that a model answered with "outside" or a pad
)
NO_GRID = "(no grid)"
BYTE_ORDER_MARK = "\ufeff"


class Drawing(NamedTuple):
    """The rows of one grid."""

    name: str  # "grid 2 (line 12)"
    rows: list[str]


def read_grids(text: str, canvas: Canvas) -> list[str]:
    """Read every grid in a text. Returns: rows parted by line feeds.

    Raises: PuzzleError naming the grid and what is wrong with it: a character, a row, its size.
    """
    return [_checked(drawing, canvas) for drawing in _drawings(text, canvas)]


def draw_grid(tokens: IntArray, canvas: Canvas) -> str:
    """Draw the grid on one canvas (S,), one row a line; `read_grids` reads it back."""
    return "\n".join(_rows(tokens, canvas)) or NO_GRID


def write_word(tokens: IntArray, canvas: Canvas) -> str:
    """The grid on one canvas (S,) as one word, which `read_grids` reads back; "" if there is none."""
    rows, sign = _rows(tokens, canvas), row_sign(canvas.alphabet)
    return rows[0] + sign if len(rows) == 1 else sign.join(rows)


def row_sign(alphabet: str) -> str:
    """The sign that parts the rows of a word: / if it is not in the alphabet."""
    others = map(chr, range(ord("!"), ord("!") + MAX_CHARACTERS + 1000))
    signs: Iterator[str] = (
        sign for sign in (*ROW_SIGNS, *others) if sign not in alphabet and is_cell(sign)
    )
    return next(signs)


def symbols_of(canvas: Canvas) -> list[str]:
    """What each token of the vocabulary looks like."""
    unknown = next((sign for sign in NO_CHARACTER if sign not in canvas.alphabet), NO_CHARACTER[0])
    return [unknown] * FIRST + list(canvas.alphabet)


def grid_fault(rows: Sequence[str]) -> str:
    """Why rows of text are no grid, without a full stop; "" if they are one."""
    if not rows or not rows[0]:
        return "there is no first row; expected rows of characters"
    for number, row in enumerate(rows, start=1):
        if len(row) != len(rows[0]):
            hint = "; blanks at its end may be lost" if len(row) < len(rows[0]) else ""
            return f"row {number} has {len(row):,} characters, row 1 has {len(rows[0]):,}; expected rows of one length{hint}"
        if not row.isprintable():
            column = next(i for i, character in enumerate(row) if not is_cell(character))
            return f"{row[column]!r} at row {number}, column {column + 1}; expected visible characters or blanks"
    return ""


def split_rows(text: str) -> list[str]:
    """The rows of one grid, whatever its line ends; empty lines before and behind it are passed over."""
    return text.replace("\r\n", "\n").strip("\n").split("\n")


def _drawings(text: str, canvas: Canvas) -> Iterator[Drawing]:
    """Cut a text into grids; a line with the sign of words is a grid of its own, and so are those beside it."""
    sign, number = row_sign(canvas.alphabet), 0
    for first_line, lines in _paragraphs(text, " " in canvas.alphabet):
        has_words = any(sign in line for line in lines)
        for offset, rows in enumerate(
            [_cut(line, sign) for line in lines] if has_words else [lines]
        ):
            number += 1
            yield Drawing(f"grid {number} (line {first_line + offset})", rows)
    if not number:
        raise PuzzleError(
            f"no grid found in {len(text)} characters of text; expected rows of {quoted_alphabet(canvas.alphabet)}"
        )


def _cut(word: str, sign: str) -> list[str]:
    """The rows of a word; a sign at its end closes the last one."""
    return word.removesuffix(sign).split(sign)


def _paragraphs(text: str, has_blank: bool) -> Iterator[tuple[int, list[str]]]:
    """Lines between empty ones, with the number of the first; lines of blanks alone are empty unless a blank is a character."""
    lines: list[str] = []
    for number, line in enumerate(
        [*text.removeprefix(BYTE_ORDER_MARK).replace("\r\n", "\n").split("\n"), ""]
    ):
        if line if has_blank else line.strip(" "):
            lines.append(line)
        elif lines:
            yield number - len(lines) + 1, lines
            lines = []


def _checked(drawing: Drawing, canvas: Canvas) -> str:
    """The grid of a drawing whose characters and size the canvas has."""
    known = set(canvas.alphabet)
    for number, row in enumerate(drawing.rows, start=1):
        if not known.issuperset(row):
            column = next(i for i, character in enumerate(row) if character not in known)
            place = f"row {number}, column {column + 1}"
            raise PuzzleError(
                f"{drawing.name}: unknown character {row[column]!r} at {place}; expected one of {quoted_alphabet(canvas.alphabet)}"
            )
    if fault := grid_fault(drawing.rows):
        raise PuzzleError(f"{drawing.name}: {fault}")
    grid = "\n".join(drawing.rows)
    height, width = size_of(grid)
    if not canvas.holds((height, width)):
        raise PuzzleError(
            f"{drawing.name}: {height:,} rows of {width:,} characters; expected at most {canvas.height} of {canvas.width}"
        )
    return grid


def _rows(tokens: IntArray, canvas: Canvas) -> list[str]:
    symbols = np.array(symbols_of(canvas))
    return ["".join(row) for row in symbols[canvas.grid(tokens)].tolist() if row]
