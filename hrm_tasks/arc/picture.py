"""An ARC grid as a picture: the usual colours, changed and wrong cells ringed, the numbers of the colours on request.

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
from hrm_tasks.arc.canvas import COLOUR, NUM_COLOURS, side_of, window

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
LINE: Colour = (85, 85, 85)
LIGHT = 128  # the brightness from which digits are dark
RING_SHARE = 0.25  # of a cell
MIN_PARTED_RING = (
    3  # pixels of a ring whose innermost one is paper: the colour inside may be like its own
)
MIN_DIGIT_CELL = 16  # pixels: in smaller cells nobody can read a number


def draw_grid(tokens: IntArray, marks: IntArray, cell: int, digits: bool) -> Image.Image:
    """Draw the grid on one canvas (S,), and what is wrong beside it, with a mark for each cell (S,).

    `cell` pixels a cell; with `digits` as many more as a number takes to be read.
    """
    cell = max(cell, MIN_DIGIT_CELL) if digits else cell
    board, marked = (cells.reshape(side_of(tokens), -1) for cells in (tokens, marks))
    in_grid = np.zeros(board.shape, bool)
    in_grid[window(tokens)] = True
    is_colour = (board >= COLOUR) & (board < COLOUR + NUM_COLOURS)
    shown = in_grid | (marked == Mark.WRONG) | ((marked == Mark.RIGHT) & is_colour)
    rows, columns = _around(shown)
    height, width = max(rows.stop - rows.start, 1), max(columns.stop - columns.start, 1)
    page = Image.new(
        "RGB", (width * cell + line_width(cell), height * cell + line_width(cell)), PAPER
    )
    draw = ImageDraw.Draw(page)
    for (row, column), mark in np.ndenumerate(marked[rows, columns]):
        here = rows.start + row, columns.start + column
        if shown[here]:
            _draw_cell(
                draw,
                cell_box(row, column, cell),
                int(board[here]) - COLOUR,
                Mark(int(mark)),
                digits,
            )
    return page


def _around(shown: BoolArray) -> tuple[slice, slice]:
    """The smallest window around what is shown: rows and columns, empty if there is nothing."""
    found = (np.flatnonzero(shown.any(axis=axis)) for axis in (1, 0))
    rows, columns = (
        slice(int(places[0]), int(places[-1]) + 1) if places.size else slice(0, 0)
        for places in found
    )
    return rows, columns


def _draw_cell(
    draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], colour: int, mark: Mark, digits: bool
) -> None:
    """Draw one cell with the line around it; one that holds no colour is paper inside its ring."""
    left, top, right, bottom = box
    inner = left, top, right - 1, bottom - 1
    is_colour = 0 <= colour < NUM_COLOURS
    paint = _paint(PALETTE[colour] if is_colour else PAPER)
    paint = paint.faded if mark == Mark.RIGHT else paint
    draw.rectangle(
        (left - 1, top - 1, right, bottom), fill=faded(LINE) if mark == Mark.RIGHT else LINE
    )
    draw.rectangle(inner, fill=paint.fill)
    if mark in (Mark.CHANGED, Mark.WRONG):
        width = max(1, round((right - left) * RING_SHARE))
        draw.rectangle(inner, outline=PAINTS[mark].fill, width=width)
        if width >= MIN_PARTED_RING:
            draw.rectangle(
                (left + width - 1, top + width - 1, right - width, bottom - width), outline=PAPER
            )
    if digits and is_colour:
        draw_symbol(draw, inner, str(colour), paint.ink)


def _paint(colour: Colour) -> Paint:
    """A colour with the ink that can be read on it."""
    red, green, blue = colour
    brightness = 0.299 * red + 0.587 * green + 0.114 * blue  # Source: ITU-R BT.601
    return Paint(colour, INK if brightness >= LIGHT else PAPER)


assert len(PALETTE) == NUM_COLOURS
