"""Search many mazes breadth-first at once: one front of cells for all of them advances a move at a time.

Shapes: N mazes, S = size · size cells. Grids are searched inside a frame that is never open, so that
no move needs to check where the board ends: a framed row has size + 1 cells, and there is a row above
and below the board.
"""

import math
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from hrm_tasks.maze.board import OPEN, PATH, WALL, BoolArray, ByteArray, IntArray, ends, neighbours

Scalar = TypeVar("Scalar", bound=np.generic)

UNREACHED = -1
MANY = 2  # shortest paths; no more are counted


class Distances(NamedTuple):
    """Distance of every cell from the start of a search."""

    moves: npt.NDArray[np.int32]  # (N, S) `UNREACHED` if no path leads there
    num_paths: ByteArray  # (N, S) shortest paths, at most `MANY`


class ShortestPaths(NamedTuple):
    """Length and number of the shortest paths from S to G."""

    moves: npt.NDArray[np.int32]  # (N,) `UNREACHED` if there is no path
    num_paths: ByteArray  # (N,) at most `MANY`


def distances(is_open: BoolArray, starts: IntArray) -> Distances:
    """Search from one cell of each grid through its open cells; the start need not be open.

    Shapes: (N, S), (N,).
    """
    num_mazes, num_cells = is_open.shape
    size = math.isqrt(num_cells)
    width = size + 1
    height = size + 2
    unseen = np.zeros((num_mazes, height, width), dtype=np.bool_)
    _board(unseen)[:] = is_open.reshape(-1, size, size)
    moves = np.full(unseen.shape, UNREACHED, dtype=np.int32)
    num_paths = np.zeros(unseen.shape, dtype=np.uint8)
    rows, columns = np.divmod(starts, size)
    corners = np.arange(num_mazes) * (height * width)
    front = corners + (rows + 1) * width + columns
    _flood(
        unseen.reshape(-1),
        moves.reshape(-1),
        num_paths.reshape(-1),
        front,
        width,
    )
    return Distances(
        _board(moves).reshape(num_mazes, num_cells),
        _board(num_paths).reshape(num_mazes, num_cells),
    )


def shortest_paths(mazes: IntArray) -> ShortestPaths:
    """Measure the shortest paths from S to G through open and path cells in mazes (N, S)."""
    starts, goals = ends(mazes)
    found = distances(mazes > WALL, starts)
    each = np.arange(len(mazes))
    return ShortestPaths(
        found.moves[each, goals],
        found.num_paths[each, goals],
    )


def trace(moves: IntArray, goals: IntArray) -> BoolArray:
    """Mark the cells between start and goal on a shortest path; the goals (N,) must be reached.

    Shapes: (N, S), (N,) -> (N, S).
    """
    num_mazes, num_cells = moves.shape
    beside = neighbours(math.isqrt(num_cells))
    outside = np.full((num_mazes, 1), UNREACHED, dtype=moves.dtype)
    framed = np.concatenate([moves, outside], axis=1)
    on_path = np.zeros(moves.shape, dtype=np.bool_)
    mazes = np.arange(num_mazes)
    cells = goals
    left = moves[mazes, goals] - 1
    while (left > 0).any():
        going = left > 0
        mazes = mazes[going]
        cells = cells[going]
        left = left[going]
        around = beside[cells]
        is_closer = framed[mazes[:, None], around] == left[:, None]
        side = is_closer.argmax(axis=1)
        cells = around[np.arange(len(mazes)), side]
        on_path[mazes, cells] = True
        left = left - 1
    return on_path


def with_path(mazes: ByteArray, on_path: BoolArray) -> ByteArray:
    """Mark the open cells on the path. Shapes: (N, S), (N, S) -> (N, S)."""
    is_marked = on_path & (mazes == OPEN)
    return np.where(is_marked, np.uint8(PATH), mazes)


def _board(framed: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
    """Return a view of the cells inside the frame.

    Shapes: (N, size + 2, size + 1) -> (N, size, size).
    """
    return framed[:, 1:-1, :-1]


def _flood(
    unseen: BoolArray,
    moves: npt.NDArray[np.int32],
    num_paths: ByteArray,
    front: IntArray,
    width: int,
) -> None:
    """Fill in `moves` and `num_paths` in place, from the cells of `front`; all arrays are flat."""
    moves[front] = 0
    num_paths[front] = 1
    unseen[front] = False
    num_moves = 0
    while len(front):
        num_moves += 1
        found = []
        for offset in (-width, -1, 1, width):
            cells = front + offset
            ahead = unseen[cells]
            cells = cells[ahead]  # each once: the cells of the front differ
            sums = num_paths[cells] + num_paths[front[ahead]]
            num_paths[cells] = np.minimum(sums, MANY)
            new = cells[moves[cells] == UNREACHED]
            moves[new] = num_moves
            found.append(new)
        front = np.concatenate(found)
        unseen[front] = False
