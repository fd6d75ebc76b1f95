"""Read grids from text and draw a grid as text.

A grid has one row a line and an empty line behind it, or it is one word with a sign between rows.

Shapes: S cells of the canvas.
"""

from collections.abc import Sequence

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

ROW_SIGNS = "/|;,:\\"  # the first that is not in the alphabet stands between the rows of a word
NO_CHARACTER = "?\ufffd\u00bf"  # for "outside" or a pad inside a grid that a model answered
NO_GRID = "(no grid)"


def read_grids(text: str, canvas: Canvas) -> list[str]:
    """Read every grid in a text. Returns: the rows of each grid, separated by line feeds.

    Raises: PuzzleError naming the grid and what is wrong with it: a character, a row, its size.
    """
    sign = row_sign(canvas.alphabet)
    has_blank = " " in canvas.alphabet

    def is_row(line: str, num_rows: int) -> bool:
        return bool(line if has_blank else line.strip(" "))

    def are_words(lines: list[Line]) -> bool:
        return any(sign in line.text for line in lines)

    found = paragraphs(number_lines(text, split_at_feeds), is_row)
    grids = [_checked(drawing, sign, canvas) for drawing in cut_puzzles("grid", found, are_words)]
    if not grids:
        raise PuzzleError(
            f"no grid found in {len(text)} characters of text; "
            f"expected rows of {quoted_alphabet(canvas.alphabet)}"
        )
    return grids


def draw_grid(tokens: IntArray, canvas: Canvas) -> str:
    """Draw the grid on one canvas (S,), one row a line; `read_grids` reads it back."""
    return "\n".join(_rows(tokens, canvas)) or NO_GRID


def write_word(tokens: IntArray, canvas: Canvas) -> str:
    """Write the grid on one canvas (S,) as one word; `read_grids` reads it back. Returns "" for none."""
    rows = _rows(tokens, canvas)
    sign = row_sign(canvas.alphabet)
    if len(rows) == 1:
        return rows[0] + sign
    return sign.join(rows)


def row_sign(alphabet: str) -> str:
    """Return the sign between the rows of a word: / if it is not in the alphabet."""
    first = ord("!")
    others = map(chr, range(first, first + MAX_CHARACTERS + 1000))
    signs: tuple[str, ...] = (*ROW_SIGNS, *others)
    return next(sign for sign in signs if sign not in alphabet and is_cell(sign))


def symbols_of(canvas: Canvas) -> list[str]:
    """Return the symbol of each token of the vocabulary."""
    free = (sign for sign in NO_CHARACTER if sign not in canvas.alphabet)
    unknown = next(free, NO_CHARACTER[0])
    return [unknown] * FIRST + list(canvas.alphabet)


def grid_fault(rows: Sequence[str]) -> str:
    """Say why rows of text are no grid, without a full stop; "" if they are one."""
    if not rows or not rows[0]:
        return "there is no first row; expected rows of characters"
    width = len(rows[0])
    for number, row in enumerate(rows, start=1):
        if len(row) != width:
            hint = "; blanks at its end may be lost" if len(row) < width else ""
            return (
                f"row {number} has {len(row):,} characters, row 1 has {width:,}; "
                f"expected rows of one length{hint}"
            )
        if not row.isprintable():
            wrong = next(character for character in row if not is_cell(character))
            return (
                f"{wrong!r} at row {number}, column {row.index(wrong) + 1}; "
                "expected visible characters or blanks"
            )
    return ""


def split_rows(text: str) -> list[str]:
    """Split one grid into its rows, with any line ends; empty lines before and behind it are dropped."""
    return text.replace("\r\n", "\n").strip("\n").split("\n")


def _cut(word: str, sign: str) -> list[str]:
    """Cut a word into its rows; a sign at its end closes the last one."""
    return word.removesuffix(sign).split(sign)


def _checked(drawing: Drawing, sign: str, canvas: Canvas) -> str:
    """Read the grid of a drawing and check its characters and its size; only words hold the sign."""
    rows: list[str] = []
    for line in drawing.lines:
        rows += _cut(line.text, sign)
    _check_characters(drawing, rows, canvas.alphabet)
    fault = grid_fault(rows)
    if fault:
        raise PuzzleError(f"{drawing.name}: {fault}")
    grid = "\n".join(rows)
    height, width = size_of(grid)
    if not canvas.holds((height, width)):
        raise PuzzleError(
            f"{drawing.name}: {height:,} rows of {width:,} characters; "
            f"expected at most {canvas.height} of {canvas.width}"
        )
    return grid


def _check_characters(drawing: Drawing, rows: Sequence[str], alphabet: str) -> None:
    """Refuse a character that is not in the alphabet."""
    known = set(alphabet)
    for number, row in enumerate(rows, start=1):
        if known.issuperset(row):
            continue
        unknown = next(character for character in row if character not in known)
        raise PuzzleError(
            f"{drawing.name}: unknown character {unknown!r} "
            f"at row {number}, column {row.index(unknown) + 1}; "
            f"expected one of {quoted_alphabet(alphabet)}"
        )


def _rows(tokens: IntArray, canvas: Canvas) -> list[str]:
    """Return the rows of the grid on one canvas (S,)."""
    symbols = np.array(symbols_of(canvas))
    grid = symbols[canvas.grid(tokens)]
    return ["".join(row) for row in grid.tolist() if row]
