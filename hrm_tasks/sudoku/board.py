"""Geometry of Sudoku boards: units, rules, and the symmetries that keep a puzzle valid.

Shapes: N grids, S cells in row-major order. A grid holds digits, 0 for a blank; tokens are digits + 1.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import permutations, product

import numpy as np
import numpy.typing as npt

from hrm_core.messages import cell_name

ByteArray = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Board:
    """Board of `size` rows and columns in boxes of `box_height` rows and `box_width` columns.

    A band is a row of boxes (`box_height` rows), a stack is a column of boxes (`box_width` columns).
    """

    box_height: int
    box_width: int

    @property
    def size(self) -> int:
        """Return the number of rows, which is also that of columns, boxes and digits."""
        return self.box_height * self.box_width

    @property
    def num_cells(self) -> int:
        """Return S, the number of cells."""
        return self.size**2

    @property
    def can_transpose(self) -> bool:
        """Return True if transposing the board keeps its boxes."""
        return self.box_height == self.box_width

    @cached_property
    def units(self) -> IntArray:
        """Return the cells of every row, then column, then box: (3 · size, size) int64."""
        rows = np.arange(self.num_cells).reshape(self.size, self.size)
        boxes = rows.reshape(
            self.box_width, self.box_height, self.box_height, self.box_width
        ).swapaxes(1, 2)
        return np.concatenate([rows, rows.T, boxes.reshape(self.size, self.size)])

    def unit_name(self, unit: int) -> str:
        """Return the name of a row of `units`, as "row 3"; boxes count from the top left."""
        kind, number = divmod(unit, self.size)
        kind_name = ("row", "column", "box")[kind]
        return f"{kind_name} {number + 1}"

    def cell_name(self, cell: int) -> str:
        """Return the place of a cell, counted from 1: "row 3, column 7"."""
        return cell_name(cell, self.size)

    def follows_rules(self, grids: IntArray) -> BoolArray:
        """Return True where every unit holds every digit once. Shapes: (N, S) digits -> (N,)."""
        size = self.size
        bit_of = np.zeros(256, dtype=np.uint16)
        bit_of[1 : size + 1] = 1 << np.arange(size)
        all_digits = bit_of.sum()
        # (S, N): reducing over leading axes runs along contiguous memory
        bits = bit_of[grids.T.astype(np.uint8)]
        lines = bits.reshape(size, size, -1)
        boxes = bits.reshape(
            self.box_width,
            self.box_height,
            self.box_height,
            self.box_width,
            -1,
        )
        seen = [
            np.bitwise_or.reduce(lines, axis=0),
            np.bitwise_or.reduce(lines, axis=1),
            np.bitwise_or.reduce(boxes, axis=(1, 3)),
        ]
        valid = np.ones(len(grids), dtype=np.bool_)
        for units in seen:
            is_complete = units == all_digits
            valid &= is_complete.reshape(size, -1).all(axis=0)
        return valid

    def conflicts(self, grids: IntArray) -> BoolArray:
        """Mark blanks, and cells whose digit another cell of a unit has. Shapes: (N, S) digits -> (N, S)."""
        marked: BoolArray = grids == 0
        for unit in self.units:
            cells = grids[:, unit]
            num_equal = (cells[:, :, None] == cells[:, None, :]).sum(axis=2)
            marked[:, unit] |= num_equal > 1
        return marked

    def draw_cell_orders(self, rng: np.random.Generator, count: int) -> ByteArray:
        """Draw arrangements of the cells uniformly from all that keep rows, columns and boxes.

        Returns: (count, S) uint8, cell j of the rearranged grid is cell [n, j] of the grid.
        """
        rows = _draw_line_orders(rng, count, self.box_width, self.box_height)
        columns = _draw_line_orders(rng, count, self.box_height, self.box_width)
        row_starts = rows * np.uint8(self.size)
        orders: ByteArray = row_starts[:, :, None] + columns[:, None, :]
        if self.can_transpose:
            drawn = rng.random(count) < 0.5
            transposed = orders[drawn].swapaxes(1, 2)
            orders[drawn] = transposed
        return orders.reshape(count, self.num_cells)

    def draw_digit_orders(self, rng: np.random.Generator, count: int) -> ByteArray:
        """Draw relabellings of the digits uniformly.

        Returns: (count, size + 1) uint8, the new digit of blank (0) and of each digit.
        """
        digits = np.arange(self.size + 1, dtype=np.uint8)
        orders = np.tile(digits, (count, 1))
        drawn = rng.permuted(orders[:, 1:], axis=1)
        orders[:, 1:] = drawn
        return orders

    def row_orders(self) -> ByteArray:
        """Return every order of the rows that keeps the bands together: (orders, size) uint8."""
        return _line_orders(self.box_width, self.box_height)

    def column_orders(self) -> ByteArray:
        """Return every order of the columns that keeps the stacks together: (orders, size) uint8."""
        return _line_orders(self.box_height, self.box_width)


def _draw_line_orders(
    rng: np.random.Generator, count: int, num_groups: int, width: int
) -> ByteArray:
    """Draw orders of `num_groups` groups of `width` lines and of the lines in each group.

    Returns: (count, num_groups · width) uint8.
    """
    groups = np.arange(num_groups, dtype=np.uint8)
    groups = np.tile(groups, (count, 1))
    groups = rng.permuted(groups, axis=1)
    lines = np.arange(width, dtype=np.uint8)
    lines = np.tile(lines, (count, num_groups, 1))
    lines = rng.permuted(lines, axis=2)
    starts = groups * np.uint8(width)
    orders: ByteArray = starts[:, :, None] + lines
    return orders.reshape(count, num_groups * width)


def _line_orders(num_groups: int, width: int) -> ByteArray:
    """Return all orders that `_draw_line_orders` draws from, the identity first."""
    orders = []
    for groups in permutations(range(num_groups)):
        for lines in product(permutations(range(width)), repeat=num_groups):
            starts = np.repeat(groups, width) * width
            orders.append(starts + np.concatenate(lines))
    return np.array(orders, dtype=np.uint8)


BOARDS = {board.size: board for board in (Board(2, 2), Board(2, 3), Board(3, 3))}
