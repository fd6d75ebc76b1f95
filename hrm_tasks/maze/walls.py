"""The walls of new mazes, drawn for many boards at once. Three kinds, `KINDS`.

`perfect`: corridors on a lattice of every second cell, with one way between any two places. `loops`: the same with some
walls opened. `obstacles`: walls strewn at random inside outer walls. No way leads off one edge of a board and, in the flattened
sequence, on to the next cell: a model that knows positions by their distance alone could not tell that from a step.

Shapes: N boards, S = size · size cells, M places of the lattice.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

from hrm_core.data.dihedral import NUM_VIEWS, square_cells
from hrm_tasks.maze.board import BoolArray, IntArray

NEWEST_SHARE = (
    0.6,
    1.0,
)  # how often a corridor goes on from its newest end, in each board: the more often, the longer they are
OPENED_SHARE = (0.02, 0.1)  # of the walls between two places
OBSTACLE_SHARE = (
    0.36,
    0.42,
)  # of the cells inside; with more, most of a large board is cut off from the rest


class Lattice(NamedTuple):
    """Every second cell of a board, from the second row and column on: the outer walls come first, and last on odd boards only."""

    cells: IntArray  # (M,) the cell of each place
    neighbours: IntArray  # (M, 4) the places beside it, M where there is none
    walls: IntArray  # (M, 4) the cell between it and that neighbour


def draw_perfect(size: int, count: int, rng: np.random.Generator) -> BoolArray:
    """Draw spanning trees of the lattice. Returns: (N, S), True where a cell is open."""
    return _turned(_grow(size, count, rng), size, rng)


def draw_loops(size: int, count: int, rng: np.random.Generator) -> BoolArray:
    """Draw spanning trees and open some walls between two places. Returns: (N, S)."""
    is_open = _grow(size, count, rng)
    lattice = _lattice(size)
    walls = np.unique(lattice.walls[lattice.neighbours < len(lattice.cells)])
    is_open[:, walls] |= rng.random((count, len(walls))) < rng.uniform(
        *OPENED_SHARE, size=(count, 1)
    )
    return _turned(is_open, size, rng)


def draw_obstacles(size: int, count: int, rng: np.random.Generator) -> BoolArray:
    """Draw every cell inside the outer walls by itself. Returns: (N, S)."""
    is_open = (
        rng.random((count, size * size)) >= rng.uniform(*OBSTACLE_SHARE, size=(count, 1))
    ).reshape(count, size, size)
    is_open[:, [0, -1]] = is_open[:, :, [0, -1]] = False
    return is_open.reshape(count, -1)


KINDS = {"perfect": draw_perfect, "loops": draw_loops, "obstacles": draw_obstacles}


@cache
def _lattice(size: int) -> Lattice:
    side = size // 2
    places = 2 * np.arange(side) + 1
    cells = (places[:, None] * size + places).reshape(-1)
    framed = np.full((side + 2, side + 2), side * side)
    framed[1:-1, 1:-1] = np.arange(side * side).reshape(side, side)
    sides = [framed[:-2, 1:-1], framed[1:-1, :-2], framed[1:-1, 2:], framed[2:, 1:-1]]
    return Lattice(
        cells,
        np.stack(sides, axis=-1).reshape(-1, 4),
        cells[:, None] + np.array([-size, -1, 1, size]),
    )


def _grow(size: int, count: int, rng: np.random.Generator) -> BoolArray:
    """Grow a tree on every board, a place at a time, from its newest place or any other, until no place has room beside it.

    Returns: (N, S). Source: the growing tree algorithm; Jamis Buck, "Mazes for Programmers", chapter 12.
    """
    lattice, each = _lattice(size), np.arange(count)
    num_places = len(lattice.cells)
    is_open = np.zeros((count, size * size), dtype=np.bool_)
    unseen = np.ones((count, num_places + 1), dtype=np.bool_)
    unseen[:, num_places] = False
    growing = np.zeros(
        (count, num_places), dtype=np.intp
    )  # the places that may have room beside them, `num_growing` a board
    growing[:, 0] = first = rng.integers(num_places, size=count)
    num_growing = np.ones(count, dtype=np.intp)
    unseen[each, first], is_open[each, lattice.cells[first]] = False, True
    newest_share = rng.uniform(*NEWEST_SHARE, size=count)
    for _ in range(
        2 * num_places - 1
    ):  # every place but the first is added once, and every place taken out once
        last = num_growing - 1
        chosen = np.where(
            rng.random(count) < newest_share,
            last,
            (rng.random(count) * num_growing).astype(np.intp),
        )
        place = growing[each, chosen]
        side = (rng.random((count, 4)) * unseen[each[:, None], lattice.neighbours[place]]).argmax(
            axis=1
        )
        new = lattice.neighbours[place, side]
        grows = unseen[each, new]
        board, new, wall = each[grows], new[grows], lattice.walls[place, side][grows]
        unseen[board, new] = False
        is_open[board, lattice.cells[new]] = is_open[board, wall] = True
        growing[board, num_growing[grows]] = new
        ended = each[~grows]
        growing[ended, chosen[ended]] = growing[ended, last[ended]]
        num_growing += np.where(grows, 1, -1)
    return is_open


def _turned(is_open: BoolArray, size: int, rng: np.random.Generator) -> BoolArray:
    """Each board in a view drawn from all eight: on even boards the outer walls are on two sides only."""
    orders = square_cells(size)[rng.integers(NUM_VIEWS, size=len(is_open))]
    return np.take_along_axis(is_open, orders, axis=1)
