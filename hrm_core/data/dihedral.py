"""The eight views of a grid: four rotations and their reflections, numbered as published.

0 the grid itself, 1 to 3 rotated counter-clockwise by so many quarter turns, 4 left-right,
5 up-down, 6 transposed, 7 left-right after one quarter turn.

Shapes: S = size · size cells of a square in row-major order.
Source: sapientinc/HRM dataset/common.py, "dihedral_transform".
"""

from functools import cache
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Cell = TypeVar("Cell", bound=np.generic)

NUM_VIEWS = 8
# A view is the grid with its rows and columns flipped or not, then transposed or not. View:
#                          0  1  2  3  4  5  6  7
FLIPS_ROWS = np.array(    [0, 0, 1, 1, 0, 1, 0, 1], bool)  # fmt: skip
FLIPS_COLUMNS = np.array( [0, 1, 1, 0, 1, 0, 0, 1], bool)  # fmt: skip
TRANSPOSES = np.array(    [0, 1, 0, 1, 0, 0, 1, 1], bool)  # fmt: skip
KEEP_SHAPE = (0, 2, 4, 5)  # views that leave height and width as they are


def turned(grid: npt.NDArray[Cell], view: int) -> npt.NDArray[Cell]:
    """Return one view of a grid (height, width), without a copy."""
    if FLIPS_ROWS[view]:
        grid = grid[::-1]
    if FLIPS_COLUMNS[view]:
        grid = grid[:, ::-1]
    return grid.T if TRANSPOSES[view] else grid


@cache
def square_cells(size: int) -> npt.NDArray[np.intp]:
    """Return the views of a square as permutations: cell j of view k is cell [k, j]. Returns: (8, S)."""
    square = np.arange(size * size).reshape(size, size)
    views = [turned(square, view).reshape(-1) for view in range(NUM_VIEWS)]
    cells = np.stack(views)
    cells.flags.writeable = False  # the cache returns one array to all callers
    return cells
