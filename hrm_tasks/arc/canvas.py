"""ARC grids on the canvas a model sees, a square of tokens: the grid in the top-left corner, end markers beside and below it.

The published canvas is 30x30 and holds every grid; smaller ones hold smaller grids and train faster.

Shapes: N canvases, S = side · side cells in row-major order. Tokens: pad 0, end marker 1, colour c is c + 2. A grid is an array
of colours 0 to 9, (height, width), both from 1 to 30.
Source: sapientinc/HRM dataset/build_arc_dataset.py.
"""

from collections.abc import Sequence
from itertools import chain
from math import isqrt

import numpy as np

from hrm_core.errors import DataError
from hrm_core.messages import cut
from hrm_core.tasks.contract import IntArray, TokenArray

PAD, END, COLOUR = 0, 1, 2  # COLOUR: the token of colour 0
NUM_COLOURS = 10
SIDE = 30  # of the published canvas, and of the largest grid
SMALLEST = 2  # side of a canvas
VOCAB_SIZE = COLOUR + NUM_COLOURS


def checked_grid(value: object, place: str, way_out: str = "leave the task out") -> TokenArray:
    """A grid from JSON: a list of rows of colours. Returns: (height, width).

    Raises: DataError beginning with `place`, with this way out where the grid is too large.
    """
    if type(value) is not list or not value or any(type(row) is not list for row in value):
        raise DataError(f"{place} is {_described(value)}, expected a list of rows of colours")
    height, width = len(value), len(value[0])
    for number, row in enumerate(value, start=1):
        if len(row) != width:
            raise DataError(
                f"{place}: row {number} has {len(row)} cells, row 1 has {width}; make them alike"
            )
    if not 0 < width <= SIDE or height > SIDE:
        raise DataError(f"{place} is {height}x{width}, expected 1x1 to {SIDE}x{SIDE}; {way_out}")
    cells = list(chain.from_iterable(value))
    if set(map(type, cells)) != {int} or not 0 <= min(cells) <= max(cells) < NUM_COLOURS:
        wrong = next(
            i
            for i, cell in enumerate(cells)
            if type(cell) is not int or not 0 <= cell < NUM_COLOURS
        )
        raise DataError(
            f"{place}: row {wrong // width + 1} holds {_described(cells[wrong])}, expected colours 0 to {NUM_COLOURS - 1}"
        )
    return np.frombuffer(bytes(cells), np.uint8).reshape(height, width)


def side_of(canvases: IntArray) -> int:
    """The side of canvases (..., S)."""
    return isqrt(canvases.shape[-1])


def encode(grids: Sequence[TokenArray], side: int = SIDE) -> TokenArray:
    """Put each grid into the corner of a canvas that has room for it. Returns: (N, S)."""
    room = np.zeros(
        (len(grids), side + 1, side + 1), np.uint8
    )  # an end marker that has no room falls off the canvas
    for canvas, grid in zip(room, grids, strict=True):
        height, width = grid.shape
        canvas[:height, :width] = grid + np.uint8(COLOUR)
        canvas[height, :width] = canvas[:height, width] = END
    return room[:, :side, :side].reshape(len(grids), side * side)


def grid_sizes(canvases: IntArray) -> IntArray:
    """The size of the largest rectangle of nothing but colours in the corner of each canvas, the flattest of several.

    Shapes: (N, S) -> (N, 2) height and width, both 0 where the corner itself is no colour.
    Source: sapientinc/HRM arc_eval.ipynb.
    """
    side = side_of(canvases)
    is_colour = np.zeros((len(canvases), side, side + 1), bool)  # the last column ends every run
    is_colour[:, :, :side] = ((canvases >= COLOUR) & (canvases < VOCAB_SIZE)).reshape(
        -1, side, side
    )
    widths = np.minimum.accumulate(
        is_colour.argmin(axis=2), axis=1
    )  # (N, side): of a rectangle down to each row
    last = (widths * np.arange(1, side + 1)).argmax(axis=1)
    found = widths[np.arange(len(canvases)), last]
    return np.stack([np.where(found > 0, last + 1, 0), found], axis=1)


def decode(canvas: IntArray) -> TokenArray:
    """The grid of one canvas (S,), of height and width 0 where its corner is no colour."""
    height, width = grid_sizes(canvas[None])[0]
    side = side_of(canvas)
    colours: TokenArray = canvas.reshape(side, side)[:height, :width].astype(np.uint8) - np.uint8(
        COLOUR
    )
    return colours


def window(canvas: IntArray) -> tuple[slice, slice]:
    """Where a grid lies on a canvas (S,) that may be shifted: rows and columns, empty where nothing is coloured."""
    side = side_of(canvas)
    cells = canvas.reshape(side, side)
    is_colour = (cells >= COLOUR) & (cells < VOCAB_SIZE)
    if not is_colour.any():
        return slice(0, 0), slice(0, 0)
    top, left = (int(is_colour.any(axis=axis).argmax()) for axis in (1, 0))
    moved = np.zeros((side, side), np.uint8)
    moved[: side - top, : side - left] = cells[top:, left:]
    height, width = grid_sizes(moved.reshape(1, -1))[0]
    return slice(top, top + int(height)), slice(left, left + int(width))


def _described(value: object) -> str:
    """What was found, in few characters: a value may be any JSON."""
    if isinstance(value, list | dict):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    return cut(repr(value), 40)
