"""One representative for all Sudoku grids that symmetries turn into each other, to keep test and training puzzles apart.

The smallest grid of a class, read as a number, starts with 1, 2, 3, … once its digits are relabelled, whichever
row comes first. Its second row then depends only on the matching of the columns: for each column, where its
second digit stands in the first row. Column orders turn the matchings of a board into each other, all but a few
(2, 3 and 15 for the three boards); the smallest of each such class and the orders that lead to it are tabulated
once. So only the row pairs of the smallest class, in the orders of the table, are written out in full; the other
rows have no choice left, since bands and the rows in them ascend.

Shapes: N grids, S cells, W = size; C candidates, in runs that belong to one grid.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hrm_tasks.sudoku.board import BOARDS, Board, ByteArray, IntArray

CHUNK = 2048  # grids written out at once

IndexArray = npt.NDArray[np.intp]


class Matchings(NamedTuple):
    """Every way a row can match the columns of the row above it in its band, and how to make it small.

    Matchings fall into classes under column orders; classes are numbered as their smallest members ascend.
    """

    codes: npt.NDArray[np.int64]  # (M,) ascending, a matching read as a number in base W
    ranks: IndexArray  # (M,) the class of each
    starts: IndexArray  # (M + 1,) its column orders are orders[starts[m]:starts[m + 1]]
    orders: ByteArray  # (sum, W) column orders that turn it into the smallest member of its class


def canonical_solution(grids: IntArray) -> ByteArray:
    """The lexicographically smallest grid of each grid's symmetry class. Shapes: (N, S) digits, all filled -> (N, S) uint8."""
    board = _board_of(grids)
    chunks = [
        _smallest(grids[start : start + CHUNK].astype(np.uint8), board)
        for start in range(0, len(grids), CHUNK)
    ]
    return np.concatenate([np.empty((0, board.num_cells), dtype=np.uint8), *chunks])


def canonical_puzzle(puzzles: IntArray) -> ByteArray:
    """The lexicographically smallest puzzle of each 4x4 puzzle's symmetry class, blanks (0) first. Shapes: (N, 16) -> (N, 16) uint8.

    On this board solution grids fall into two classes only, so it takes the givens to tell puzzles apart.
    """
    board = BOARDS[4]
    arranged = puzzles.astype(np.uint8)[:, _cell_orders(board)]  # (N, 128, 16)
    relabelled = _relabel_by_appearance(arranged, board.size)
    best = _as_numbers(relabelled, board.size + 1).argmin(axis=1)
    smallest: ByteArray = relabelled[np.arange(len(puzzles)), best]
    return smallest


def _board_of(grids: IntArray) -> Board:
    return next(board for board in BOARDS.values() if board.num_cells == grids.shape[1])


def _as_numbers(digits: IntArray, base: int) -> npt.NDArray[np.int64]:
    """Read the last axis as the digits of a number that sorts as the digits do."""
    numbers: npt.NDArray[np.int64] = digits @ base ** np.arange(
        digits.shape[-1] - 1, -1, -1, dtype=np.int64
    )
    return numbers


@cache
def _cell_orders(board: Board) -> IndexArray:
    """Every arrangement of the cells that keeps rows, columns and boxes. Returns: (arrangements, S)."""
    rows, columns = board.row_orders().astype(np.intp), board.column_orders().astype(np.intp)
    orders = (rows[:, None, :, None] * board.size + columns[None, :, None, :]).reshape(
        -1, board.size, board.size
    )
    both = [orders, orders.swapaxes(1, 2)] if board.can_transpose else [orders]
    return np.concatenate(both).reshape(-1, board.num_cells)


def _relabel_by_appearance(puzzles: ByteArray, size: int) -> ByteArray:
    """Call the first digit that appears 1, the next new one 2, and so on. Shapes: (..., S) -> (..., S)."""
    found = puzzles[..., None, :] == np.arange(1, size + 1, dtype=np.uint8)[:, None]  # (..., W, S)
    first = np.where(found.any(axis=-1), found.argmax(axis=-1), puzzles.shape[-1])
    names = first.argsort(axis=-1, kind="stable").argsort(axis=-1).astype(np.uint8) + np.uint8(1)
    table = np.concatenate([np.zeros_like(names[..., :1]), names], axis=-1)
    return np.take_along_axis(table, puzzles.astype(np.intp), axis=-1)


@cache
def _matchings(board: Board) -> Matchings:
    """Tabulate the matchings by building each class from its smallest member and all column orders."""
    every = _every_matching(board)
    codes = _as_numbers(every, board.size)
    columns = board.column_orders().astype(np.intp)
    ranks = np.full(len(codes), -1)
    members: list[IndexArray] = []
    for smallest in range(
        len(codes)
    ):  # ascending, so the first of a class to come up is its smallest
        if ranks[smallest] < 0:
            conjugates = np.empty_like(
                columns
            )  # of these matchings the column order makes the smallest: m[c[i]] = c[smallest[i]]
            np.put_along_axis(conjugates, columns, columns[:, every[smallest]], axis=1)
            members.append(np.searchsorted(codes, _as_numbers(conjugates, board.size)))
            ranks[members[-1]] = len(members) - 1
    owner = np.concatenate(members)
    orders = np.tile(columns, (len(members), 1))[owner.argsort(kind="stable")]
    starts = np.concatenate([[0], np.bincount(owner).cumsum()])
    return Matchings(codes, ranks, starts, orders.astype(np.uint8))


def _every_matching(board: Board) -> IndexArray:
    """All permutations of the columns that take none to its own stack, ascending. Returns: (M, W)."""
    stack = np.arange(board.size) // board.box_width
    partial = np.empty((1, 0), dtype=np.intp)
    for column in range(board.size):
        taken = (partial[:, :, None] == np.arange(board.size)).any(axis=1)
        row, target = np.nonzero(~taken & (stack != stack[column]))
        partial = np.column_stack([partial[row], target])
    return partial


def _row_pairs(board: Board) -> IndexArray:
    """Ordered pairs of rows of the same band. Returns: (pairs, 2)."""
    band = np.arange(board.size) // board.box_height
    return np.argwhere((band[:, None] == band) & ~np.eye(board.size, dtype=bool))


def _smallest(grids: ByteArray, board: Board) -> ByteArray:
    """`canonical_solution` of a chunk."""
    views = grids.reshape(-1, 1, board.size, board.size)
    if board.can_transpose:
        views = np.concatenate([views, views.swapaxes(2, 3)], axis=1)
    grid, view, pair, matching = _promising_starts(views, board)
    table = _matchings(board)
    count = table.starts[matching + 1] - table.starts[matching]
    chosen = np.repeat(np.arange(len(grid)), count)
    nth = np.arange(len(chosen)) - np.repeat(count.cumsum() - count, count)
    columns = table.orders[table.starts[matching[chosen]] + nth]
    first_rows = _row_pairs(board)[pair[chosen], 0]
    candidates = _write_out(views[grid[chosen], view[chosen]], first_rows, columns, board)
    return candidates[_smallest_of_runs(candidates, grid[chosen], board)]


def _promising_starts(
    views: ByteArray, board: Board
) -> tuple[IndexArray, IndexArray, IndexArray, IndexArray]:
    """Find the row pairs whose matching is of the smallest class that a grid has.

    Args: views (N, T, W, W), each grid and, where the board allows, its transpose.
    Returns: for each such pair its grid, view, pair and matching, ordered by grid.
    """
    table, pairs = _matchings(board), _row_pairs(board)
    place = views.argsort(axis=3)  # (N, T, W, W): the column of each digit in each row
    below = views[:, :, pairs[:, 1]].astype(np.intp) - 1
    matching = np.searchsorted(
        table.codes,
        _as_numbers(np.take_along_axis(place[:, :, pairs[:, 0]], below, axis=3), board.size),
    )
    ranks = table.ranks[matching]  # (N, T, pairs)
    grid, view, pair = np.nonzero(ranks == ranks.min(axis=(1, 2), keepdims=True))
    return grid, view, pair, matching[grid, view, pair]


def _write_out(
    views: ByteArray, first_rows: IntArray, columns: ByteArray, board: Board
) -> ByteArray:
    """Order columns, relabel digits by the first row, sort the rows. Shapes: (C, W, W), (C,), (C, W) -> (C, S)."""
    size, each = board.size, np.arange(len(views))[:, None]
    ordered_first = views[each, first_rows[:, None], columns]
    names = np.empty((len(views), size + 1), dtype=np.uint8)
    names[each, ordered_first] = np.arange(1, size + 1, dtype=np.uint8)
    leading = names[
        each, views[each, np.arange(size), columns[:, :1]]
    ]  # (C, W): each row's first digit
    bands = (
        leading.reshape(-1, board.box_width, board.box_height)
        .min(axis=2)
        .repeat(board.box_height, axis=1)
    )
    rows = (bands * np.uint8(size + 1) + leading).argsort(axis=1)
    cells = (rows * size)[:, :, None] + columns[:, None, :]
    arranged = np.take_along_axis(
        views.reshape(len(views), -1), cells.reshape(len(views), -1), axis=1
    )
    return np.take_along_axis(names, arranged.astype(np.intp), axis=1)


def _smallest_of_runs(candidates: ByteArray, grid: IntArray, board: Board) -> IndexArray:
    """The index of the lexicographically smallest candidate of each grid; `grid` (C,) ascends without gaps."""
    alive = np.arange(len(candidates))
    for row in range(1, board.size):  # the first row is 1, 2, 3, … in all
        numbers = _as_numbers(candidates[alive, row * board.size : (row + 1) * board.size], 10)
        owner = grid[alive]
        best = np.minimum.reduceat(numbers, np.flatnonzero(np.diff(owner, prepend=-1)))
        alive = alive[numbers == best[owner]]
    return alive[np.flatnonzero(np.diff(grid[alive], prepend=-1))]
