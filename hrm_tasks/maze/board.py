"""The square that a maze is drawn on: its tokens, its smallest view, and what makes a drawing a maze.

Shapes: N mazes, S = size · size cells in row-major order. Tokens: pad 0, then the characters of `CHARACTERS` from 1.
"""

import math

import numpy as np
import numpy.typing as npt

from hrm_core.data.dihedral import square_cells
from hrm_core.errors import PuzzleError
from hrm_core.messages import cell_name

ByteArray = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.integer]

PAD, WALL, OPEN, START, GOAL, PATH = range(6)
VOCAB_SIZE = 6
CHARACTERS = "# SGo"  # of the tokens from 1
NAMES = ("a pad", "a wall", "open", "S", "G", "path")
MIN_SIZE, MAX_SIZE = 2, 128


def check_size(size: int) -> None:
    """Refuse a size that no board here has.

    Raises: PuzzleError.
    """
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise PuzzleError(f"no maze has {size} rows here; expected {MIN_SIZE} to {MAX_SIZE}")


def size_of(num_cells: int) -> int | None:
    """The rows of a square of so many cells; None where there is no such maze."""
    size = math.isqrt(num_cells)
    return size if size * size == num_cells and MIN_SIZE <= size <= MAX_SIZE else None


def ends(mazes: IntArray) -> tuple[IntArray, IntArray]:
    """The cells of S and of G. Shapes: (N, S) -> (N,), (N,); cell 0 where there is none."""
    return (mazes == START).argmax(axis=1), (mazes == GOAL).argmax(axis=1)


def has_ends(mazes: IntArray) -> BoolArray:
    """Whether a maze has one S and one G. Shapes: (N, S) -> (N,)."""
    one_of_each: BoolArray = ((mazes == START).sum(axis=1) == 1) & (
        (mazes == GOAL).sum(axis=1) == 1
    )
    return one_of_each


def ends_fault(maze: IntArray, size: int) -> str:
    """What is wrong with the S and the G of one maze (S,): one is missing, or there are several. "" if nothing is."""
    for token in (START, GOAL):
        cells = np.flatnonzero(maze == token)
        if len(cells) != 1:
            places = (
                f", at {cell_name(cells[0], size)} and {cell_name(cells[1], size)}"
                if len(cells)
                else ""
            )
            return f"{len(cells) or 'no'} {NAMES[token]}{places}; expected one S and one G"
    return ""


def canonical(mazes: ByteArray, size: int) -> ByteArray:
    """The smallest of the eight views of each maze, read as a number: one for all mazes that are the same. Shapes: (N, S)."""
    best = mazes
    for order in square_cells(size)[1:]:
        view = mazes[:, order]
        first = (view != best).argmax(axis=1)[:, None]  # where they differ; 0 if nowhere
        is_smaller = np.take_along_axis(view, first, axis=1) < np.take_along_axis(
            best, first, axis=1
        )
        best = np.where(is_smaller, view, best)
    return best
