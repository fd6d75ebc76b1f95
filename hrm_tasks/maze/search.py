"""Breadth-first search in many mazes at once: one front of cells for all of them moves a step at a time.

Shapes: N mazes, S = size · size cells. Grids are searched inside a frame that is never open, so that no step needs to
look where the board ends: rows are size + 1 cells long there, and a row lies above and below.
"""

import math
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from hrm_tasks.maze.board import OPEN, PATH, WALL, BoolArray, ByteArray, IntArray, ends

Scalar = TypeVar("Scalar", bound=np.generic)

UNREACHED = -1
MANY = 2  # shortest paths; no more are counted


class Distances(NamedTuple):
    """How far every cell is from where a search began."""

    steps: npt.NDArray[np.int32]  # (N, S) moves, `UNREACHED` where no way leads
    ways: ByteArray  # (N, S) shortest paths, at most `MANY`


class ShortestPaths(NamedTuple):
    """The way from S to G, one for each maze."""

    moves: npt.NDArray[np.int32]  # (N,) `UNREACHED` where there is none
    ways: ByteArray  # (N,) how many are as short, at most `MANY`


def distances(is_open: BoolArray, starts: IntArray) -> Distances:
    """Search from one cell of each grid through its open cells; the start need not be open. Shapes: (N, S), (N,)."""
    num_mazes, num_cells = is_open.shape
    size = math.isqrt(num_cells)
    width, area = size + 1, (size + 1) * (size + 2)
    unseen = np.zeros((num_mazes, size + 2, width), dtype=np.bool_)
    _board(unseen)[:] = is_open.reshape(-1, size, size)
    steps = np.full(unseen.shape, UNREACHED, dtype=np.int32)
    ways = np.zeros(unseen.shape, dtype=np.uint8)
    rows, columns = np.divmod(starts, size)
    front = np.arange(num_mazes) * area + (rows + 1) * width + columns
    steps.reshape(-1)[front], ways.reshape(-1)[front], unseen.reshape(-1)[front] = 0, 1, False
    _flood(unseen.reshape(-1), steps.reshape(-1), ways.reshape(-1), front, width)
    return Distances(
        _board(steps).reshape(num_mazes, num_cells), _board(ways).reshape(num_mazes, num_cells)
    )


def shortest_paths(mazes: IntArray) -> ShortestPaths:
    """How far it is from S to G through open and path cells, in mazes (N, S) that have both."""
    starts, goals = ends(mazes)
    found = distances(mazes > WALL, starts)
    each = np.arange(len(mazes))
    return ShortestPaths(found.steps[each, goals], found.ways[each, goals])


def trace(steps: IntArray, goals: IntArray) -> BoolArray:
    """The cells between start and goal on a shortest path; the goals (N,) must have been reached. Shapes: (N, S) -> (N, S)."""
    num_mazes, num_cells = steps.shape
    neighbours = _neighbours(math.isqrt(num_cells))
    framed = np.concatenate([steps, np.full((num_mazes, 1), UNREACHED, dtype=steps.dtype)], axis=1)
    on_path = np.zeros(steps.shape, dtype=np.bool_)
    mazes = np.arange(num_mazes)
    cells, left = goals, steps[mazes, goals] - 1
    while len(mazes := mazes[(going := left > 0)]):
        cells, left = cells[going], left[going]
        around = neighbours[cells]
        closer = framed[mazes[:, None], around] == left[:, None]
        cells = around[np.arange(len(mazes)), closer.argmax(axis=1)]
        on_path[mazes, cells] = True
        left = left - 1
    return on_path


def with_path(mazes: ByteArray, on_path: BoolArray) -> ByteArray:
    """The mazes with their open cells on the path marked. Shapes: (N, S), (N, S) -> (N, S)."""
    return np.where(on_path & (mazes == OPEN), np.uint8(PATH), mazes)


def _board(framed: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
    """The cells inside the frame. Shapes: (N, size + 2, size + 1) -> (N, size, size), a view."""
    return framed[:, 1:-1, :-1]


def _flood(
    unseen: BoolArray, steps: npt.NDArray[np.int32], ways: ByteArray, front: IntArray, width: int
) -> None:
    """Fill in `steps` and `ways` in place, all of them flat; `front` holds where the search stands."""
    moves = 0
    while len(front):
        moves += 1
        found = []
        for offset in (-width, -1, 1, width):
            cells = front + offset
            ahead = unseen[cells]
            cells = cells[ahead]  # each once: the cells of the front differ
            ways[cells] = np.minimum(ways[cells] + ways[front[ahead]], MANY)
            new = cells[steps[cells] == UNREACHED]
            steps[new] = moves
            found.append(new)
        front = np.concatenate(found)
        unseen[front] = False


def _neighbours(size: int) -> IntArray:
    """The cells above, left, right and below of each; S where the board ends. Returns: (S, 4)."""
    framed = np.full((size + 2, size + 2), size * size)
    framed[1:-1, 1:-1] = np.arange(size * size).reshape(size, size)
    sides = [framed[:-2, 1:-1], framed[1:-1, :-2], framed[1:-1, 2:], framed[2:, 1:-1]]
    return np.stack(sides, axis=-1).reshape(-1, 4)
