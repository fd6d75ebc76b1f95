"""Draw a text grid as a picture, each character in a cell of its own colour.

Changed cells are framed, wrong ones have the colour of their mark.

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
# most grids use these characters for an empty and a full cell
OWN_PAINTS: Mapping[str, Paint] = {" ": PLAIN, ".": PLAIN, "_": PLAIN, "0": PLAIN, "#": FULL}
GOLDEN_TURN = 0.61803398875  # of the colour circle: hues that follow each other lie far apart
LIGHTNESS = (0.82, 0.68)  # alternates, so that similar hues differ


def draw_canvas(tokens: IntArray, marks: IntArray, canvas: Canvas, cell: int) -> Image.Image:
    """Draw one canvas (S,) with a mark for each cell (S,), up to the last character or wrong cell."""
    board = tokens.reshape(canvas.height, canvas.width)
    marked = marks.reshape(board.shape)
    is_shown = (board > OUTSIDE) | (marked == Mark.WRONG)
    rows, columns = np.nonzero(is_shown)
    height = int(rows.max(initial=0)) + 1
    width = int(columns.max(initial=0)) + 1
    line = line_width(cell)
    page = Image.new(
        "RGB",
        (width * cell + line, height * cell + line),
        THIN_LINE,
    )
    draw = ImageDraw.Draw(page)
    symbols = symbols_of(canvas)
    symbols[OUTSIDE] = ""
    paints = paints_of(canvas.alphabet)
    for (row, column), token in np.ndenumerate(board[:height, :width]):
        box = cell_box(row, column, cell)
        mark = Mark(int(marked[row, column]))
        _draw_cell(
            draw,
            box,
            symbols[token],
            paints[token],
            mark,
        )
    border = (0, 0, page.width - 1, page.height - 1)
    draw.rectangle(border, outline=INK, width=max(1, line // 2))
    return page


@lru_cache
def paints_of(alphabet: str) -> list[Paint]:
    """Return the colours of each token of a vocabulary."""
    paints = [NOTHING] * FIRST
    num_others = 0
    for character in alphabet:
        paint = OWN_PAINTS.get(character)
        if paint is None:
            paint = _paint(num_others)
            num_others += 1
        paints.append(paint)
    return paints


def _paint(number: int) -> Paint:
    """Return a colour for a character that has none, light enough for dark ink."""
    hue = 0.58 + number * GOLDEN_TURN
    red, green, blue = colorsys.hls_to_rgb(hue, LIGHTNESS[number % 2], 0.75)
    return Paint(
        fill=(round(255 * red), round(255 * green), round(255 * blue)),
        ink=INK,
    )


def _draw_cell(
    draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], symbol: str, paint: Paint, mark: Mark
) -> None:
    """Fill one cell except for a thin line at its right and bottom, and draw its character.

    A changed cell gets a frame.
    """
    left, top, right, bottom = box
    inner = left, top, max(left, right - 1), max(top, bottom - 1)
    if mark == Mark.WRONG:
        paint = PAINTS[mark]
    elif mark == Mark.RIGHT:
        paint = paint.faded
    draw.rectangle(inner, fill=paint.fill)
    if mark == Mark.CHANGED:
        frame = round((right - left + 1) * FRAME_SHARE)
        draw.rectangle(
            inner,
            outline=PAINTS[mark].fill,
            width=max(1, frame),
        )
    draw_symbol(draw, inner, symbol, paint.ink)
