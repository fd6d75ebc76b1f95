"""The board of a maze: its tokens, its sizes, its S and G, and its smallest view.

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
    """Refuse a size that no board here has. Raises: PuzzleError."""
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise PuzzleError(f"no maze has {size} rows here; expected {MIN_SIZE} to {MAX_SIZE}")


def size_of(num_cells: int) -> int | None:
    """Return the number of rows of a square with this many cells; None if no maze has it."""
    size = math.isqrt(num_cells)
    if size * size != num_cells or not MIN_SIZE <= size <= MAX_SIZE:
        return None
    return size


def ends(mazes: IntArray) -> tuple[IntArray, IntArray]:
    """Find the cells of S and of G. Shapes: (N, S) -> (N,), (N,); cell 0 where there is none."""
    starts = (mazes == START).argmax(axis=1)
    goals = (mazes == GOAL).argmax(axis=1)
    return starts, goals


def has_ends(mazes: IntArray) -> BoolArray:
    """Return True where a maze has one S and one G. Shapes: (N, S) -> (N,)."""
    num_starts = (mazes == START).sum(axis=1)
    num_goals = (mazes == GOAL).sum(axis=1)
    one_of_each: BoolArray = (num_starts == 1) & (num_goals == 1)
    return one_of_each


def ends_fault(maze: IntArray, size: int) -> str:
    """Say what is wrong with the S and the G of one maze (S,): one is missing, or there are several.

    Returns: "" if nothing is wrong.
    """
    for token in (START, GOAL):
        cells = np.flatnonzero(maze == token)
        count = len(cells)
        if count == 1:
            continue
        found = f"no {NAMES[token]}"
        if count:
            first, second = (cell_name(cell, size) for cell in cells[:2])
            found = f"{count} {NAMES[token]}, at {first} and {second}"
        return f"{found}; expected one S and one G"
    return ""


def neighbours(size: int) -> IntArray:
    """Return the cells above, left, right and below of each: (S, 4), S where the board ends."""
    num_cells = size * size
    cells = np.arange(num_cells).reshape(size, size)
    framed = np.pad(cells, 1, constant_values=num_cells)
    inside = slice(1, -1)
    above = framed[:-2, inside]
    left = framed[inside, :-2]
    right = framed[inside, 2:]
    below = framed[2:, inside]
    sides = np.stack([above, left, right, below], axis=-1)
    return sides.reshape(-1, 4)


def canonical(mazes: ByteArray, size: int) -> ByteArray:
    """Return the smallest of the eight views of each maze, read as a number. Shapes: (N, S) -> (N, S).

    It is the same for all mazes that are rotations or reflections of each other.
    """
    smallest = mazes
    for order in square_cells(size)[1:]:
        view = mazes[:, order]
        first = (view != smallest).argmax(axis=1)  # where they differ; 0 if nowhere
        first = first[:, None]
        digit = np.take_along_axis(view, first, axis=1)
        other = np.take_along_axis(smallest, first, axis=1)
        smallest = np.where(digit < other, view, smallest)
    return smallest
