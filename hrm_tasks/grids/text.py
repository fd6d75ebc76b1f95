"""Grids as people write them: one row a line and an empty line behind each grid, or one word whose rows a sign parts.

Shapes: S cells of the canvas.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from hrm_core.data.drawings import (
    Drawing,
    Line,
    cut_puzzles,
    number_lines,
    paragraphs,
    split_at_feeds,
)
from hrm_core.errors import PuzzleError
from hrm_core.tasks.contract import IntArray
from hrm_tasks.grids.canvas import FIRST, MAX_CHARACTERS, Canvas, is_cell, quoted_alphabet, size_of

ROW_SIGNS = "/|;,:\\"  # the first that is not in the alphabet parts the rows of a word
NO_CHARACTER = (
    "?\ufffd\u00bf"  # of a cell inside the grid that a model answered with "outside" or a pad
)
NO_GRID = "(no grid)"


def read_grids(text: str, canvas: Canvas) -> list[str]:
    """Read every grid in a text. Returns: rows parted by line feeds.

    Raises: PuzzleError naming the grid and what is wrong with it: a character, a row, its size.
    """
    sign, has_blank = row_sign(canvas.alphabet), " " in canvas.alphabet

    def is_row(line: str, num_rows: int) -> bool:
        return bool(line if has_blank else line.strip(" "))

    def are_words(lines: list[Line]) -> bool:
        return any(sign in line.text for line in lines)

    found = paragraphs(number_lines(text, split_at_feeds), is_row)
    grids = [_checked(drawing, sign, canvas) for drawing in cut_puzzles("grid", found, are_words)]
    if not grids:
        raise PuzzleError(
            f"no grid found in {len(text)} characters of text; expected rows of {quoted_alphabet(canvas.alphabet)}"
        )
    return grids


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


def _cut(word: str, sign: str) -> list[str]:
    """The rows of a word; a sign at its end closes the last one."""
    return word.removesuffix(sign).split(sign)


def _checked(drawing: Drawing, sign: str, canvas: Canvas) -> str:
    """The grid of a drawing whose characters and size the canvas has; only words hold the sign."""
    known = set(canvas.alphabet)
    rows = [row for line in drawing.lines for row in _cut(line.text, sign)]
    for number, row in enumerate(rows, start=1):
        if not known.issuperset(row):
            column = next(i for i, character in enumerate(row) if character not in known)
            place = f"row {number}, column {column + 1}"
            raise PuzzleError(
                f"{drawing.name}: unknown character {row[column]!r} at {place}; expected one of {quoted_alphabet(canvas.alphabet)}"
            )
    if fault := grid_fault(rows):
        raise PuzzleError(f"{drawing.name}: {fault}")
    grid = "\n".join(rows)
    height, width = size_of(grid)
    if not canvas.holds((height, width)):
        raise PuzzleError(
            f"{drawing.name}: {height:,} rows of {width:,} characters; expected at most {canvas.height} of {canvas.width}"
        )
    return grid


def _rows(tokens: IntArray, canvas: Canvas) -> list[str]:
    symbols = np.array(symbols_of(canvas))
    return ["".join(row) for row in symbols[canvas.grid(tokens)].tolist() if row]
