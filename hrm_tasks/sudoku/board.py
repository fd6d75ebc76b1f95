"""The geometry of Sudoku boards: units, rules, and the symmetries that keep a puzzle a puzzle.

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
    """A board of `size` rows and columns, cut into boxes of `box_height` rows and `box_width` columns.

    A band is a row of boxes (`box_height` rows), a stack a column of boxes (`box_width` columns).
    """

    box_height: int
    box_width: int

    @property
    def size(self) -> int:
        """The number of rows, of columns, of boxes and of digits."""
        return self.box_height * self.box_width

    @property
    def num_cells(self) -> int:
        """S."""
        return self.size**2

    @property
    def can_transpose(self) -> bool:
        """Whether rows and columns can change places without breaking the boxes."""
        return self.box_height == self.box_width

    @cached_property
    def units(self) -> IntArray:
        """The cells of every row, then column, then box. Returns: (3 · size, size) int64."""
        rows = np.arange(self.num_cells).reshape(self.size, self.size)
        boxes = rows.reshape(
            self.box_width, self.box_height, self.box_height, self.box_width
        ).swapaxes(1, 2)
        return np.concatenate([rows, rows.T, boxes.reshape(self.size, self.size)])

    def unit_name(self, unit: int) -> str:
        """What people call a row of `units`: "row 3"; boxes count from the top left, along the bands."""
        kind, number = divmod(unit, self.size)
        return f"{('row', 'column', 'box')[kind]} {number + 1}"

    def cell_name(self, cell: int) -> str:
        """Where a cell is, counted from 1: "row 3, column 7"."""
        return cell_name(cell, self.size)

    def follows_rules(self, grids: IntArray) -> BoolArray:
        """Whether every unit holds every digit once. Shapes: (N, S) digits -> (N,)."""
        bit_of = np.zeros(256, dtype=np.uint16)
        bit_of[1 : self.size + 1] = 1 << np.arange(self.size)
        bits = bit_of[
            grids.T.astype(np.uint8)
        ]  # (S, N): reducing over leading axes runs along contiguous memory
        lines = bits.reshape(self.size, self.size, -1)
        boxes = bits.reshape(self.box_width, self.box_height, self.box_height, self.box_width, -1)
        seen = [
            np.bitwise_or.reduce(lines, axis=0),
            np.bitwise_or.reduce(lines, axis=1),
            np.bitwise_or.reduce(boxes, axis=(1, 3)),
        ]
        valid: BoolArray = np.logical_and.reduce(
            [(unit == bit_of.sum()).reshape(self.size, -1).all(axis=0) for unit in seen]
        )
        return valid

    def draw_cell_orders(self, rng: np.random.Generator, count: int) -> ByteArray:
        """Draw arrangements of the cells uniformly from all that keep rows, columns and boxes.

        Returns: (count, S) uint8, cell j of the rearranged grid is cell [n, j] of the grid.
        """
        rows = _draw_line_orders(rng, count, self.box_width, self.box_height)
        columns = _draw_line_orders(rng, count, self.box_height, self.box_width)
        orders: ByteArray = rows[:, :, None] * np.uint8(self.size) + columns[:, None, :]
        if self.can_transpose:
            turned = rng.random(count) < 0.5
            orders[turned] = orders[turned].swapaxes(1, 2)
        return orders.reshape(count, self.num_cells)

    def draw_digit_orders(self, rng: np.random.Generator, count: int) -> ByteArray:
        """Draw relabellings uniformly. Returns: (count, size + 1) uint8, the new digit of blank (0) and of each digit."""
        digits = np.tile(np.arange(self.size + 1, dtype=np.uint8), (count, 1))
        digits[:, 1:] = rng.permuted(digits[:, 1:], axis=1)
        return digits

    def row_orders(self) -> ByteArray:
        """Every order of the rows that keeps the bands together. Returns: (orders, size) uint8."""
        return _line_orders(self.box_width, self.box_height)

    def column_orders(self) -> ByteArray:
        """Every order of the columns that keeps the stacks together. Returns: (orders, size) uint8."""
        return _line_orders(self.box_height, self.box_width)


def _draw_line_orders(
    rng: np.random.Generator, count: int, num_groups: int, width: int
) -> ByteArray:
    """Draw orders of `num_groups` groups of `width` lines and of the lines within. Returns: (count, num_groups · width) uint8."""
    groups = rng.permuted(np.tile(np.arange(num_groups, dtype=np.uint8), (count, 1)), axis=1)
    lines = rng.permuted(np.tile(np.arange(width, dtype=np.uint8), (count, num_groups, 1)), axis=2)
    orders: ByteArray = groups[:, :, None] * np.uint8(width) + lines
    return orders.reshape(count, num_groups * width)


def _line_orders(num_groups: int, width: int) -> ByteArray:
    """All orders that `_draw_line_orders` draws from, the identity first."""
    orders = [
        [
            group * width + line
            for group, within in zip(groups, lines, strict=True)
            for line in within
        ]
        for groups in permutations(range(num_groups))
        for lines in product(permutations(range(width)), repeat=num_groups)
    ]
    return np.array(orders, dtype=np.uint8)


BOARDS = {board.size: board for board in (Board(2, 2), Board(2, 3), Board(3, 3))}
