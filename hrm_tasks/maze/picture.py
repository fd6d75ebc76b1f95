"""Draw a maze as a picture: dark walls, a light floor, the path in colour, S and G with their letter.

A mark is shown only if it is about the path: a given wall or a floor that agrees needs no mark. Each
cell is exactly `cell` pixels wide and high and no line lies between cells, so `image.read_png` reads a
picture of a question back.

Shapes: S = size · size cells.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from hrm_core.pictures.grids import INK, PAINTS, PAPER, Mark, Paint, Swatch, draw_symbol
from hrm_tasks.maze.board import GOAL, OPEN, PAD, PATH, START, WALL, ByteArray, IntArray

OWN_PAINTS = {
    PAD: Paint(fill=(240, 241, 244), ink=(70, 74, 84)),
    WALL: Paint(fill=INK, ink=INK),
    OPEN: Paint(fill=(240, 241, 244), ink=PAPER),
    START: Paint(fill=(0, 140, 100), ink=PAPER),
    GOAL: Paint(fill=(197, 27, 125), ink=PAPER),
    PATH: Paint(fill=(86, 164, 242), ink=(10, 52, 122)),
}
SWATCHES = (
    Swatch(OWN_PAINTS[START].fill, "start, S"),
    Swatch(OWN_PAINTS[GOAL].fill, "goal, G"),
    Swatch(OWN_PAINTS[PATH].fill, "path of the answer"),
)
UNASKED_WALL = Paint(fill=(108, 112, 122), ink=INK)  # a wall of the answer alone
LETTERS = {PAD: "?", START: "S", GOAL: "G"}
DOT_SHARE, BLOCK_SHARE = 0.36, 0.5  # of a cell: the dot on a path, a wall on a mark's colour
MIN_DOT_CELL = 10  # pixels; the path is its colour alone on smaller cells


def draw_maze(tokens: ByteArray, marks: IntArray, size: int, cell: int) -> Image.Image:
    """Draw one maze (S,) with a mark for each cell (S,). Returns: (size * cell, size * cell) pixels."""
    cells = list(zip(tokens.tolist(), map(Mark, marks.tolist()), strict=True))
    paints = [_paint(token, mark) for token, mark in cells]
    fills = np.array([paint.fill for paint in paints], dtype=np.uint8)
    fills = fills.reshape(size, size, 3)
    fills = fills.repeat(cell, axis=0).repeat(cell, axis=1)
    picture = Image.fromarray(fills)
    draw = ImageDraw.Draw(picture)
    for place, (token, _) in enumerate(cells):
        row, column = divmod(place, size)
        corner = column * cell, row * cell
        paint = paints[place]
        _draw_sign(draw, corner, cell, token, paint)
    return picture


def _paint(token: int, mark: Mark) -> Paint:
    """Return the colours of a cell: those of its mark if it is wrong or new, or a path that agrees."""
    is_settled_path = token == PATH and mark == Mark.AGREES
    if mark in (Mark.CHANGED, Mark.WRONG) or is_settled_path:
        return PAINTS[mark]
    if mark == Mark.RIGHT:
        return OWN_PAINTS[token].faded
    if token == WALL and mark != Mark.GIVEN:
        return UNASKED_WALL
    return OWN_PAINTS[token]


def _draw_sign(
    draw: ImageDraw.ImageDraw, corner: tuple[int, int], cell: int, token: int, paint: Paint
) -> None:
    """Draw the sign of a cell: a letter, the dot of a path, or a wall on the colour of a mark."""
    left, top = corner
    right = left + cell - 1
    bottom = top + cell - 1
    middle = np.array(corner) + (cell - 1) / 2
    if token in LETTERS:
        draw_symbol(
            draw,
            (left, top, right, bottom),
            LETTERS[token],
            paint.ink,
        )
    elif token == PATH and cell >= MIN_DOT_CELL:
        dot = _box(middle, cell * DOT_SHARE)
        draw.ellipse(dot, fill=paint.ink)
    elif token == WALL and paint in (PAINTS[Mark.CHANGED], PAINTS[Mark.WRONG]):
        block = _box(middle, cell * BLOCK_SHARE)
        draw.rectangle(block, fill=INK)


def _box(middle: npt.NDArray[np.floating], width: float) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of a square around a point."""
    left, top = (middle - width / 2).tolist()
    return left, top, left + width, top + width
