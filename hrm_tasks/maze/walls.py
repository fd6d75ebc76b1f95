"""Draw the walls of mazes for many boards at once, of the three kinds in `KINDS`.

`perfect`: corridors on a lattice of every second cell, with one way between any two places. `loops`:
the same with some walls opened. `obstacles`: walls at random inside outer walls. No open cell at the
end of a row is followed by an open cell at the start of the next: the two are neighbours in the
flattened sequence, and a model that knows only distances could not tell that from a move.

Shapes: N boards, S = size · size cells, M places of the lattice.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

from hrm_core.data.dihedral import NUM_VIEWS, square_cells
from hrm_tasks.maze.board import BoolArray, IntArray, neighbours

# ranges that each board draws its own share from
NEWEST_SHARE = (0.6, 1.0)  # of moves from the newest end of a corridor; more: longer corridors
OPENED_SHARE = (0.02, 0.1)  # of the walls between two places
OBSTACLE_SHARE = (0.36, 0.42)  # of the cells inside; more would cut off most of a large board


class Lattice(NamedTuple):
    """Every second cell of a board, from the second row and column on.

    Outer walls come before it, and on odd boards behind it, too.
    """

    cells: IntArray  # (M,) the cell of each place
    neighbours: IntArray  # (M, 4) the places beside it, M where there is none
    walls: IntArray  # (M, 4) the cell between it and that neighbour


def draw_perfect(size: int, count: int, rng: np.random.Generator) -> BoolArray:
    """Draw spanning trees of the lattice. Returns: (N, S), True where a cell is open."""
    is_open = _grow(size, count, rng)
    return _turned(is_open, size, rng)


def draw_loops(size: int, count: int, rng: np.random.Generator) -> BoolArray:
    """Draw spanning trees and open some walls between two places. Returns: (N, S)."""
    is_open = _grow(size, count, rng)
    lattice = _lattice(size)
    has_neighbour = lattice.neighbours < len(lattice.cells)
    walls = np.unique(lattice.walls[has_neighbour])
    drawn = rng.random((count, len(walls)))
    is_open[:, walls] |= drawn < rng.uniform(*OPENED_SHARE, size=(count, 1))
    return _turned(is_open, size, rng)


def draw_obstacles(size: int, count: int, rng: np.random.Generator) -> BoolArray:
    """Draw every cell inside the outer walls independently. Returns: (N, S)."""
    drawn = rng.random((count, size * size))
    is_open = drawn >= rng.uniform(*OBSTACLE_SHARE, size=(count, 1))
    boards = is_open.reshape(count, size, size)
    boards[:, [0, -1]] = False
    boards[:, :, [0, -1]] = False
    return boards.reshape(count, -1)


KINDS = {"perfect": draw_perfect, "loops": draw_loops, "obstacles": draw_obstacles}


@cache
def _lattice(size: int) -> Lattice:
    """Return the lattice of a board, built once."""
    places = 2 * np.arange(size // 2) + 1
    cells = places[:, None] * size + places
    cells = cells.reshape(-1)
    offsets = np.array([-size, -1, 1, size])
    return Lattice(
        cells,
        neighbours=neighbours(size // 2),
        walls=cells[:, None] + offsets,
    )


def _grow(size: int, count: int, rng: np.random.Generator) -> BoolArray:
    """Grow a tree on every board, a place at a time, until no place has room beside it.

    It grows from its newest place or any other. Returns: (N, S).
    Source: the growing tree algorithm; Jamis Buck, "Mazes for Programmers", chapter 12.
    """
    lattice = _lattice(size)
    num_places = len(lattice.cells)
    each = np.arange(count)
    is_open = np.zeros((count, size * size), dtype=np.bool_)
    unseen = np.ones((count, num_places + 1), dtype=np.bool_)
    unseen[:, num_places] = False  # stands for no place
    growing = np.zeros((count, num_places), dtype=np.intp)  # places that may have room beside them
    num_growing = np.ones(count, dtype=np.intp)  # of each board
    first = rng.integers(num_places, size=count)
    growing[:, 0] = first
    unseen[each, first] = False
    is_open[each, lattice.cells[first]] = True
    newest_share = rng.uniform(*NEWEST_SHARE, size=count)
    # every place but the first is added once, and every place is taken out once
    for _ in range(2 * num_places - 1):
        last = num_growing - 1
        takes_newest = rng.random(count) < newest_share
        drawn = rng.random(count) * num_growing
        chosen = np.where(takes_newest, last, drawn.astype(np.intp))
        place = growing[each, chosen]
        beside = lattice.neighbours[place]
        has_room = unseen[each[:, None], beside]
        drawn = rng.random((count, 4)) * has_room
        side = drawn.argmax(axis=1)
        new = beside[each, side]
        wall = lattice.walls[place, side]
        grows = unseen[each, new]
        board = each[grows]
        new = new[grows]
        unseen[board, new] = False
        is_open[board, lattice.cells[new]] = True
        is_open[board, wall[grows]] = True
        growing[board, num_growing[grows]] = new
        ended = each[~grows]
        newest = growing[ended, last[ended]]
        growing[ended, chosen[ended]] = newest
        num_growing += np.where(grows, 1, -1)
    return is_open


def _turned(is_open: BoolArray, size: int, rng: np.random.Generator) -> BoolArray:
    """Draw one of the eight views of each board, as an even board has outer walls on two sides only."""
    views = rng.integers(NUM_VIEWS, size=len(is_open))
    orders = square_cells(size)[views]
    return np.take_along_axis(is_open, orders, axis=1)
