"""Draw an ARC grid in the usual colours, with rings around changed and wrong cells.

The numbers of the colours are shown on request.

Shapes: S = side · side cells of the canvas.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from hrm_core.pictures.grids import (
    INK,
    PAINTS,
    PAPER,
    Colour,
    Mark,
    Paint,
    cell_box,
    draw_symbol,
    faded,
    line_width,
)
from hrm_core.tasks.contract import BoolArray, IntArray
from hrm_tasks.arc.canvas import COLOUR, NUM_COLOURS, has_colour, side_of, window

PALETTE: Sequence[Colour] = (
    (0, 0, 0),
    (0, 116, 217),
    (255, 65, 54),
    (46, 204, 64),
    (255, 220, 0),
    (170, 170, 170),
    (240, 18, 190),
    (255, 133, 27),
    (127, 219, 255),
    (135, 12, 37),
)  # Source: fchollet/ARC-AGI apps/css/common.css
COLOUR_NAMES = (
    "black",
    "blue",
    "red",
    "green",
    "yellow",
    "grey",
    "magenta",
    "orange",
    "light blue",
    "maroon",
)
LINE: Colour = (85, 85, 85)
LIGHT = 128  # brightness from which digits are dark
RING_SHARE = 0.25  # of a cell
# a ring of this many pixels has paper inside, since the colour of the cell may be like its own
MIN_PARTED_RING = 3
MIN_DIGIT_CELL = 16  # pixels; a number in a smaller cell cannot be read


def draw_grid(tokens: IntArray, marks: IntArray, cell: int, digits: bool) -> Image.Image:
    """Draw the grid on one canvas (S,) and wrong cells beside it, with a mark for each cell (S,).

    `cell` is the pixels of a cell's side; with `digits` it is at least `MIN_DIGIT_CELL`.
    """
    if digits:
        cell = max(cell, MIN_DIGIT_CELL)
    side = side_of(tokens)
    board = tokens.reshape(side, side)
    marked = marks.reshape(side, side)
    shown = (marked == Mark.WRONG) | ((marked == Mark.RIGHT) & has_colour(board))
    shown[window(tokens)] = True
    rows = _bounds(shown, axis=1)
    columns = _bounds(shown, axis=0)
    height = max(rows.stop - rows.start, 1)
    width = max(columns.stop - columns.start, 1)
    line = line_width(cell)
    page = Image.new(
        "RGB",
        (width * cell + line, height * cell + line),
        PAPER,
    )
    draw = ImageDraw.Draw(page)
    for row, column in np.argwhere(shown).tolist():
        box = cell_box(row - rows.start, column - columns.start, cell)
        colour = int(board[row, column]) - COLOUR
        mark = Mark(int(marked[row, column]))
        _draw_cell(draw, box, colour, mark, digits)
    return page


def _bounds(shown: BoolArray, axis: int) -> slice:
    """Return the smallest range of rows or columns with all shown cells; empty if there are none."""
    places = np.flatnonzero(shown.any(axis=axis))
    if not places.size:
        return slice(0, 0)
    return slice(int(places[0]), int(places[-1]) + 1)


def _draw_cell(
    draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], colour: int, mark: Mark, digits: bool
) -> None:
    """Draw one cell with the line around it; a cell without a colour is paper inside its ring."""
    left, top, right, bottom = box
    inner = left, top, right - 1, bottom - 1
    outer = left - 1, top - 1, right, bottom
    is_colour = 0 <= colour < NUM_COLOURS
    paint = _paint(PALETTE[colour] if is_colour else PAPER)
    line = LINE
    if mark == Mark.RIGHT:
        paint = paint.faded
        line = faded(line)
    draw.rectangle(outer, fill=line)
    draw.rectangle(inner, fill=paint.fill)
    if mark in (Mark.CHANGED, Mark.WRONG):
        width = max(1, round((right - left) * RING_SHARE))
        draw.rectangle(inner, outline=PAINTS[mark].fill, width=width)
        if width >= MIN_PARTED_RING:
            edge = left + width - 1, top + width - 1, right - width, bottom - width
            draw.rectangle(edge, outline=PAPER)
    if digits and is_colour:
        draw_symbol(
            draw,
            inner,
            str(colour),
            paint.ink,
        )


def _paint(colour: Colour) -> Paint:
    """Return a colour with an ink that can be read on it."""
    red, green, blue = colour
    brightness = 0.299 * red + 0.587 * green + 0.114 * blue  # Source: ITU-R BT.601
    return Paint(colour, INK if brightness >= LIGHT else PAPER)


assert len(PALETTE) == NUM_COLOURS
