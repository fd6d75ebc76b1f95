"""A text grid as a picture: each character in a cell of its own colour, changed cells framed, wrong ones in the colour of their mark.

Shapes: S cells of the canvas.
"""

import colorsys
from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from hrm_core.pictures.grids import (
    INK,
    PAINTS,
    PAPER,
    THIN_LINE,
    Mark,
    Paint,
    cell_box,
    draw_symbol,
    line_width,
)
from hrm_core.tasks.contract import IntArray
from hrm_tasks.grids.canvas import FIRST, OUTSIDE, Canvas
from hrm_tasks.grids.text import symbols_of

FRAME_SHARE = 0.14  # of a cell
NOTHING = Paint(fill=(232, 234, 238), ink=(120, 124, 134))  # outside of the grid, or a pad
PLAIN = Paint(fill=PAPER, ink=INK)
FULL = Paint(fill=(60, 64, 74), ink=PAPER)
OWN_PAINTS: Mapping[str, Paint] = {
    " ": PLAIN,
    ".": PLAIN,
    "_": PLAIN,
    "0": PLAIN,
    "#": FULL,
}  # what these mean in most grids
GOLDEN_TURN = 0.61803398875  # of the colour circle: hues that follow each other lie far apart
LIGHTNESS = (0.82, 0.68)  # alternating, so that hues that come close are told apart


def draw_canvas(tokens: IntArray, marks: IntArray, canvas: Canvas, cell: int) -> Image.Image:
    """Draw one canvas (S,) as far as there are characters or wrong cells on it, with a mark for each cell (S,)."""
    board = tokens.reshape(canvas.height, canvas.width)
    marked = marks.reshape(board.shape)
    rows, columns = np.nonzero((board > OUTSIDE) | (marked == Mark.WRONG))
    height, width = (int(places.max(initial=0)) + 1 for places in (rows, columns))
    page = Image.new(
        "RGB", (width * cell + line_width(cell), height * cell + line_width(cell)), THIN_LINE
    )
    draw = ImageDraw.Draw(page)
    symbols, paints = symbols_of(canvas), paints_of(canvas.alphabet)
    for (row, column), token in np.ndenumerate(board[:height, :width]):
        symbol = "" if token == OUTSIDE else symbols[token]
        _draw_cell(
            draw, cell_box(row, column, cell), symbol, paints[token], Mark(int(marked[row, column]))
        )
    draw.rectangle(
        (0, 0, page.width - 1, page.height - 1), outline=INK, width=max(1, line_width(cell) // 2)
    )
    return page


@lru_cache
def paints_of(alphabet: str) -> list[Paint]:
    """The colours of each token of a vocabulary."""
    others = iter(range(len(alphabet)))
    return [NOTHING] * FIRST + [
        OWN_PAINTS.get(character) or _paint(next(others)) for character in alphabet
    ]


def _paint(number: int) -> Paint:
    """A colour for the next character that has none, light enough for dark ink."""
    red, green, blue = colorsys.hls_to_rgb(0.58 + number * GOLDEN_TURN, LIGHTNESS[number % 2], 0.75)
    return Paint(fill=(round(255 * red), round(255 * green), round(255 * blue)), ink=INK)


def _draw_cell(
    draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], symbol: str, paint: Paint, mark: Mark
) -> None:
    """Fill one cell but for a thin line at its right and bottom, frame it if it has changed, and set its character in the middle."""
    left, top, right, bottom = box
    inner = left, top, max(left, right - 1), max(top, bottom - 1)
    paint = PAINTS[mark] if mark == Mark.WRONG else paint.faded if mark == Mark.RIGHT else paint
    draw.rectangle(inner, fill=paint.fill)
    if mark == Mark.CHANGED:
        draw.rectangle(
            inner, outline=PAINTS[mark].fill, width=max(1, round((right - left + 1) * FRAME_SHARE))
        )
    draw_symbol(draw, inner, symbol, paint.ink)
