"""Put ARC grids on the canvas that a model sees, a square of tokens.

The grid is in the top-left corner, with end markers beside and below it. The published canvas is 30x30
and holds every grid; smaller ones hold smaller grids and train faster.

Shapes: N canvases, S = side · side cells in row-major order. Tokens: pad 0, end marker 1, colour c is
c + 2. A grid is an array of colours 0 to 9, (height, width), both from 1 to 30.
Source: sapientinc/HRM dataset/build_arc_dataset.py.
"""

from collections.abc import Sequence
from itertools import chain
from math import isqrt

import numpy as np

from hrm_core.errors import DataError
from hrm_core.messages import cut
from hrm_core.tasks.contract import BoolArray, IntArray, TokenArray

PAD, END, COLOUR = 0, 1, 2  # COLOUR: the token of colour 0
NUM_COLOURS = 10
SIDE = 30  # of the published canvas, and of the largest grid
SMALLEST = 2  # side of a canvas
VOCAB_SIZE = COLOUR + NUM_COLOURS


def checked_grid(value: object, place: str, way_out: str = "leave the task out") -> TokenArray:
    """Check a grid from JSON: a list of rows of colours. Returns: (height, width).

    Raises: DataError beginning with `place`, with this way out if the grid is too large.
    """
    if type(value) is not list or not value or any(type(row) is not list for row in value):
        raise DataError(f"{place} is {_described(value)}, expected a list of rows of colours")
    height = len(value)
    width = len(value[0])
    for number, row in enumerate(value, start=1):
        if len(row) != width:
            raise DataError(
                f"{place}: row {number} has {len(row)} cells, row 1 has {width}; make them alike"
            )
    if not 0 < width <= SIDE or height > SIDE:
        raise DataError(f"{place} is {height}x{width}, expected 1x1 to {SIDE}x{SIDE}; {way_out}")
    cells = list(chain.from_iterable(value))
    types = set(map(type, cells))
    if types != {int} or min(cells) < 0 or max(cells) >= NUM_COLOURS:
        wrong = next(number for number, cell in enumerate(cells) if not _is_colour(cell))
        row = wrong // width + 1
        raise DataError(
            f"{place}: row {row} holds {_described(cells[wrong])}, "
            f"expected colours 0 to {NUM_COLOURS - 1}"
        )
    colours = np.frombuffer(bytes(cells), np.uint8)
    return colours.reshape(height, width)


def side_of(canvases: IntArray) -> int:
    """Return the side of canvases (..., S)."""
    return isqrt(canvases.shape[-1])


def encode(grids: Sequence[TokenArray], side: int = SIDE) -> TokenArray:
    """Put each grid into the corner of a canvas that has room for it. Returns: (N, S)."""
    # an end marker without room lies in the last row or column, which is cut off
    room = np.zeros(
        (len(grids), side + 1, side + 1),
        np.uint8,
    )
    for canvas, grid in zip(room, grids, strict=True):
        height, width = grid.shape
        canvas[:height, :width] = grid + np.uint8(COLOUR)
        canvas[height, :width] = END
        canvas[:height, width] = END
    canvases = room[:, :side, :side]
    return canvases.reshape(len(grids), side * side)


def has_colour(tokens: IntArray) -> BoolArray:
    """Return True for the tokens of colours. Shapes as given."""
    is_colour: BoolArray = (tokens >= COLOUR) & (tokens < VOCAB_SIZE)
    return is_colour


def grid_sizes(canvases: IntArray) -> IntArray:
    """Measure the largest rectangle of colours alone in the corner of each canvas, the flattest of several.

    Shapes: (N, S) -> (N, 2) height and width, both 0 if the corner itself is no colour.
    Source: sapientinc/HRM arc_eval.ipynb.
    """
    side = side_of(canvases)
    count = len(canvases)
    is_colour = np.zeros((count, side, side + 1), bool)  # the last column ends every run
    is_colour[:, :, :side] = has_colour(canvases).reshape(count, side, side)
    runs = is_colour.argmin(axis=2)
    widths = np.minimum.accumulate(runs, axis=1)  # (N, side): of a rectangle down to each row
    heights = np.arange(1, side + 1)
    areas = widths * heights
    last = areas.argmax(axis=1)
    width = widths[np.arange(count), last]
    height = np.where(width > 0, last + 1, 0)
    return np.stack([height, width], axis=1)


def decode(canvas: IntArray) -> TokenArray:
    """Return the grid of one canvas (S,), of height and width 0 if its corner is no colour."""
    height, width = grid_sizes(canvas[None])[0]
    side = side_of(canvas)
    tokens = canvas.reshape(side, side)[:height, :width]
    colours: TokenArray = tokens.astype(np.uint8) - np.uint8(COLOUR)
    return colours


def window(canvas: IntArray) -> tuple[slice, slice]:
    """Find the grid on a canvas (S,) that may be shifted.

    Returns: its rows and columns, empty if nothing is coloured.
    """
    side = side_of(canvas)
    cells = canvas.reshape(side, side)
    is_colour = has_colour(cells)
    if not is_colour.any():
        return slice(0, 0), slice(0, 0)
    top = int(is_colour.any(axis=1).argmax())
    left = int(is_colour.any(axis=0).argmax())
    shown = cells[top:, left:]
    height, width = shown.shape
    moved = np.zeros((side, side), np.uint8)
    moved[:height, :width] = shown
    sizes = grid_sizes(moved.reshape(1, -1))
    height, width = sizes[0].tolist()
    return slice(top, top + height), slice(left, left + width)


def _is_colour(cell: object) -> bool:
    """Return True if a value from JSON is a colour."""
    return type(cell) is int and 0 <= cell < NUM_COLOURS


def _described(value: object) -> str:
    """Describe a value from JSON in few characters."""
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return f"an object of {len(value)}"
    return cut(repr(value), 40)
