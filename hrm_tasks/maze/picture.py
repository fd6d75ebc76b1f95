"""A maze as a picture: dark walls, a light floor, the path in colour, S and G in colours of their own with their letter.

Only what a cell's mark says of the path is shown: that a wall is given, or a floor agrees, everybody sees. Each cell is
exactly `cell` pixels wide and high and no line lies between cells, so `maze_image` reads a picture of a question back.

Shapes: S = size · size cells.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from hrm_core.pictures.grids import INK, PAINTS, PAPER, Mark, Paint, draw_symbol
from hrm_tasks.maze.board import GOAL, OPEN, PAD, PATH, START, WALL, ByteArray, IntArray

OWN_PAINTS = {
    PAD: Paint(fill=(240, 241, 244), ink=(70, 74, 84)),
    WALL: Paint(fill=INK, ink=INK),
    OPEN: Paint(fill=(240, 241, 244), ink=PAPER),
    START: Paint(fill=(0, 140, 100), ink=PAPER),
    GOAL: Paint(fill=(197, 27, 125), ink=PAPER),
    PATH: Paint(fill=(86, 164, 242), ink=(10, 52, 122)),
}
UNASKED_WALL = Paint(fill=(108, 112, 122), ink=INK)  # where the question has none
LETTERS = {PAD: "?", START: "S", GOAL: "G"}
DOT_SHARE, BLOCK_SHARE = 0.36, 0.5  # of a cell: the dot on a path, a wall on a mark's colour
MIN_DOT_CELL = 10  # pixels; the path is its colour alone on smaller cells


def draw_maze(tokens: ByteArray, marks: IntArray, size: int, cell: int) -> Image.Image:
    """Draw one maze (S,) with a mark for each cell (S,). Returns: (size * cell, size * cell) pixels."""
    paints = [
        _paint(token, Mark(mark))
        for token, mark in zip(tokens.tolist(), marks.tolist(), strict=True)
    ]
    fills = np.array([paint.fill for paint in paints], dtype=np.uint8).reshape(size, size, 3)
    picture = Image.fromarray(fills.repeat(cell, axis=0).repeat(cell, axis=1))
    draw = ImageDraw.Draw(picture)
    for place, (token, paint) in enumerate(zip(tokens.tolist(), paints, strict=True)):
        row, column = divmod(place, size)
        _draw_sign(draw, (column * cell, row * cell), cell, token, paint)
    return picture


def _paint(token: int, mark: Mark) -> Paint:
    """The colours of a cell: the mark's where it says that something is wrong or new, or of a path that it will stay."""
    if mark in (Mark.CHANGED, Mark.WRONG) or (token, mark) == (PATH, Mark.AGREES):
        return PAINTS[mark]
    if mark == Mark.RIGHT:
        return OWN_PAINTS[token].faded
    return UNASKED_WALL if token == WALL and mark != Mark.GIVEN else OWN_PAINTS[token]


def _draw_sign(
    draw: ImageDraw.ImageDraw, corner: tuple[int, int], cell: int, token: int, paint: Paint
) -> None:
    """Draw what a cell shows besides its colour: a letter, the dot of a path, a wall on the colour of a mark."""
    middle = np.array(corner) + (cell - 1) / 2
    if token in LETTERS:
        left, top = corner
        draw_symbol(draw, (left, top, left + cell - 1, top + cell - 1), LETTERS[token], paint.ink)
    elif token == PATH and cell >= MIN_DOT_CELL:
        draw.ellipse(_box(middle, cell * DOT_SHARE), fill=paint.ink)
    elif token == WALL and paint in (PAINTS[Mark.CHANGED], PAINTS[Mark.WRONG]):
        draw.rectangle(_box(middle, cell * BLOCK_SHARE), fill=INK)


def _box(middle: npt.NDArray[np.floating], width: float) -> tuple[float, float, float, float]:
    left, top = (middle - width / 2).tolist()
    return left, top, left + width, top + width
