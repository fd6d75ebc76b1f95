"""Find one representative for all Sudoku grids that symmetries turn into each other.

It keeps test and training puzzles apart: equivalent grids have the same representative.

The representative is the smallest grid of the symmetry class, read as a number. Relabelled, it starts
with 1, 2, 3, … whichever row comes first. Its second row then depends only on the matching of the
columns: for each column, the place of its second digit in the first row. Column orders turn the
matchings of a board into each other, so they fall into few classes (2, 3 and 15 for the three
boards). A table holds the smallest matching of each class and the orders that lead to it. So only the
row pairs of the smallest class, in the orders of the table, are written out in full. The other rows
leave no choice, since bands and the rows in them ascend.

Shapes: N grids, S cells, W = size, T views of a grid (1 or 2), C candidates in runs of one grid each.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hrm_tasks.sudoku.board import BOARDS, Board, ByteArray, IntArray

CHUNK = 2048  # grids written out at once

IndexArray = npt.NDArray[np.intp]


class Matchings(NamedTuple):
    """Table of every way a row can match the columns of the row above it in its band.

    Matchings fall into classes under column orders; a class with a smaller smallest member has a
    smaller number.
    """

    codes: npt.NDArray[np.int64]  # (M,) ascending, a matching read as a number in base W
    ranks: IndexArray  # (M,) class of each matching
    starts: IndexArray  # (M + 1,) column orders of matching m: orders[starts[m]:starts[m + 1]]
    orders: ByteArray  # (sum, W) column orders that turn m into the smallest member of its class


class RowPairs(NamedTuple):
    """Row pairs that may become the first two rows of the smallest grid, ordered by grid."""

    grid: IndexArray  # (P,)
    view: IndexArray  # (P,) 0 for the grid, 1 for its transpose
    pair: IndexArray  # (P,) row of `_row_pairs`
    matching: IndexArray  # (P,) number of its matching in the table


def canonical_solution(grids: IntArray) -> ByteArray:
    """Find the lexicographically smallest grid of each grid's symmetry class.

    Shapes: (N, S) digits, all filled -> (N, S) uint8.
    """
    board = _board_of(grids)
    chunks = [np.empty((0, board.num_cells), dtype=np.uint8)]
    for start in range(0, len(grids), CHUNK):
        chunk = grids[start : start + CHUNK].astype(np.uint8)
        chunks.append(_smallest(chunk, board))
    return np.concatenate(chunks)


def canonical_puzzle(puzzles: IntArray) -> ByteArray:
    """Find the lexicographically smallest puzzle of each 4x4 puzzle's symmetry class; blanks are 0.

    The solutions of this board fall into two classes only, so only the givens tell puzzles apart.
    Shapes: (N, 16) -> (N, 16) uint8.
    """
    board = BOARDS[4]
    arranged = puzzles.astype(np.uint8)[:, _cell_orders(board)]  # (N, 128, 16)
    relabelled = _relabel_by_appearance(arranged, board.size)
    best = _as_numbers(relabelled, board.size + 1).argmin(axis=1)
    smallest: ByteArray = relabelled[np.arange(len(puzzles)), best]
    return smallest


def _board_of(grids: IntArray) -> Board:
    num_cells = grids.shape[1]
    return next(board for board in BOARDS.values() if board.num_cells == num_cells)


def _as_numbers(digits: IntArray, base: int) -> npt.NDArray[np.int64]:
    """Read the last axis as the digits of a number that sorts as the digits do."""
    exponents = np.arange(
        digits.shape[-1] - 1,
        -1,
        -1,
        dtype=np.int64,
    )
    numbers: npt.NDArray[np.int64] = digits @ base**exponents
    return numbers


@cache
def _cell_orders(board: Board) -> IndexArray:
    """Return every arrangement of the cells that keeps rows, columns and boxes: (arrangements, S)."""
    size = board.size
    rows = board.row_orders().astype(np.intp)
    columns = board.column_orders().astype(np.intp)
    orders = rows[:, None, :, None] * size + columns[None, :, None, :]
    orders = orders.reshape(-1, size, size)
    if board.can_transpose:
        orders = np.concatenate([orders, orders.swapaxes(1, 2)])
    return orders.reshape(-1, board.num_cells)


def _relabel_by_appearance(puzzles: ByteArray, size: int) -> ByteArray:
    """Call the first digit that appears 1, the next new one 2, and so on.

    Shapes: (..., S) -> (..., S).
    """
    num_cells = puzzles.shape[-1]
    digits = np.arange(1, size + 1, dtype=np.uint8)
    stands = puzzles[..., None, :] == digits[:, None]  # (..., W, S)
    appears = stands.any(axis=-1)
    first = stands.argmax(axis=-1)
    first = np.where(appears, first, num_cells)
    order = first.argsort(axis=-1, kind="stable")
    names = order.argsort(axis=-1) + 1
    blank = np.zeros_like(names[..., :1])
    table = np.concatenate([blank, names], axis=-1)
    table = table.astype(np.uint8)
    return np.take_along_axis(table, puzzles.astype(np.intp), axis=-1)


@cache
def _matchings(board: Board) -> Matchings:
    """Tabulate the matchings: build each class from its smallest member and all column orders."""
    every = _every_matching(board)
    codes = _as_numbers(every, board.size)
    columns = board.column_orders().astype(np.intp)
    ranks = np.full(len(codes), -1)
    members: list[IndexArray] = []
    for smallest in range(len(codes)):  # ascending, so the first met of a class is its smallest
        if ranks[smallest] >= 0:
            continue
        # a column order c makes the smallest of the matching m with m[c[i]] = c[smallest[i]]
        conjugates = np.empty_like(columns)
        np.put_along_axis(
            conjugates,
            columns,
            columns[:, every[smallest]],
            axis=1,
        )
        found = np.searchsorted(codes, _as_numbers(conjugates, board.size))
        ranks[found] = len(members)
        members.append(found)
    owner = np.concatenate(members)
    order = owner.argsort(kind="stable")
    orders = np.tile(columns, (len(members), 1))[order]
    starts = np.concatenate([[0], np.bincount(owner).cumsum()])
    return Matchings(
        codes,
        ranks,
        starts,
        orders.astype(np.uint8),
    )


def _every_matching(board: Board) -> IndexArray:
    """Return all permutations that move each column to another stack, ascending: (M, W)."""
    columns = np.arange(board.size)
    stack = columns // board.box_width
    partial = np.empty((1, 0), dtype=np.intp)
    for column in columns:
        taken = (partial[:, :, None] == columns).any(axis=1)
        row, target = np.nonzero(~taken & (stack != stack[column]))
        partial = np.column_stack([partial[row], target])
    return partial


def _row_pairs(board: Board) -> IndexArray:
    """Return the ordered pairs of rows of the same band: (pairs, 2)."""
    band = np.arange(board.size) // board.box_height
    is_same_band = band[:, None] == band
    is_same_row = np.eye(board.size, dtype=bool)
    return np.argwhere(is_same_band & ~is_same_row)


def _smallest(grids: ByteArray, board: Board) -> ByteArray:
    """Find the smallest grid of each symmetry class of a chunk, as `canonical_solution` does."""
    size = board.size
    views = grids.reshape(-1, 1, size, size)
    if board.can_transpose:
        views = np.concatenate([views, views.swapaxes(2, 3)], axis=1)
    found = _promising_pairs(views, board)
    chosen, columns = _column_orders(found.matching, board)
    grid = found.grid[chosen]
    view = found.view[chosen]
    pair = found.pair[chosen]
    first_rows = _row_pairs(board)[pair, 0]
    candidates = _write_out(
        views[grid, view],
        first_rows,
        columns,
        board,
    )
    smallest = _smallest_of_runs(candidates, grid, board)
    return candidates[smallest]


def _column_orders(matching: IndexArray, board: Board) -> tuple[IndexArray, ByteArray]:
    """Look up all column orders of each of P matchings.

    Returns: for each order the index (C,) of its matching among the P, and the order (C, W).
    """
    table = _matchings(board)
    starts = table.starts[matching]
    counts = table.starts[matching + 1] - starts
    owner = np.repeat(np.arange(len(matching)), counts)
    first = counts.cumsum() - counts
    nth = np.arange(len(owner)) - first[owner]
    rows = starts[owner] + nth
    return owner, table.orders[rows]


def _promising_pairs(views: ByteArray, board: Board) -> RowPairs:
    """Find the row pairs whose matching is of the smallest class that a grid has.

    Args: views (N, T, W, W), each grid and, where the board allows, its transpose.
    """
    table = _matchings(board)
    first, second = _row_pairs(board).T
    place = views.argsort(axis=3)  # (N, T, W, W): the column of each digit in each row
    below = views[:, :, second].astype(np.intp) - 1
    matched = np.take_along_axis(place[:, :, first], below, axis=3)
    codes = _as_numbers(matched, board.size)
    matching = np.searchsorted(table.codes, codes)
    ranks = table.ranks[matching]  # (N, T, pairs)
    smallest = ranks.min(axis=(1, 2), keepdims=True)
    grid, view, pair = np.nonzero(ranks == smallest)
    return RowPairs(
        grid,
        view,
        pair,
        matching[grid, view, pair],
    )


def _write_out(
    views: ByteArray, first_rows: IntArray, columns: ByteArray, board: Board
) -> ByteArray:
    """Order the columns, relabel the digits by the first row, sort the rows.

    Shapes: (C, W, W), (C,), (C, W) -> (C, S).
    """
    size = board.size
    count = len(views)
    each = np.arange(count)[:, None]
    first_row = views[each, first_rows[:, None], columns]
    first_column = views[each, np.arange(size), columns[:, :1]]
    names = np.empty((count, size + 1), dtype=np.uint8)  # the new name of each digit
    names[each, first_row] = np.arange(1, size + 1)
    leading = names[each, first_column]  # (C, W): the first digit of each row
    rows = _row_orders(leading, board)
    cells = rows[:, :, None] * size + columns[:, None, :]
    cells = cells.reshape(count, -1)
    grids = views.reshape(count, -1)
    arranged = np.take_along_axis(grids, cells, axis=1)
    return np.take_along_axis(names, arranged.astype(np.intp), axis=1)


def _row_orders(leading: ByteArray, board: Board) -> IndexArray:
    """Sort the bands by their smallest first digit, and the rows in them. Shapes: (C, W) -> (C, W)."""
    bands = leading.reshape(-1, board.box_width, board.box_height)
    smallest = bands.min(axis=2)
    band_of_row = smallest.repeat(board.box_height, axis=1)
    keys = band_of_row * np.uint8(board.size + 1) + leading
    orders: IndexArray = keys.argsort(axis=1)
    return orders


def _smallest_of_runs(candidates: ByteArray, grid: IntArray, board: Board) -> IndexArray:
    """Find the lexicographically smallest candidate of each grid; `grid` (C,) ascends without gaps.

    Returns: (N,) indices of candidates.
    """
    size = board.size
    alive = np.arange(len(candidates))
    for row in range(1, size):  # the first row is 1, 2, 3, … in all
        start = row * size
        digits = candidates[alive, start : start + size]
        numbers = _as_numbers(digits, 10)
        owner = grid[alive]
        best = np.minimum.reduceat(numbers, _run_starts(owner))
        alive = alive[numbers == best[owner]]
    return alive[_run_starts(grid[alive])]


def _run_starts(grid: IntArray) -> IndexArray:
    """Return the indices where a run of equal numbers begins."""
    return np.flatnonzero(np.diff(grid, prepend=-1))
