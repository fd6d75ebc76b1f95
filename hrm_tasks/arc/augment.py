"""Augmentations of ARC tasks: one of 8 symmetries of the grid and a permutation of colours 1 to 9, each with a name.

The name says all of it: `<task>_t<symmetry>_<ten digits: the images of colours 0 to 9>`.

Shapes: A augmentations, N canvases, E pairs, S = side · side cells of a canvas.
Source: sapientinc/HRM dataset/common.py and dataset/build_arc_dataset.py.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hrm_core.data.dihedral import FLIPS_COLUMNS, FLIPS_ROWS, NUM_VIEWS, TRANSPOSES, turned
from hrm_core.tasks.contract import BoolArray, IntArray, TokenArray
from hrm_tasks.arc.canvas import (
    COLOUR,
    NUM_COLOURS,
    PAD,
    SIDE,
    VOCAB_SIZE,
    grid_sizes,
    side_of,
)

TRIES = 5  # draws for each augmentation that is wanted
AUGMENTED = re.compile(r"(.+)_t([0-7])_(0(?!\d*(\d)\d*\4)[1-9]{9})", re.DOTALL)  # no digit twice

HashArray = npt.NDArray[np.uint64]


class Augmentations(NamedTuple):
    """A augmentations of one task, or one for each of A canvases. The first of a task is the task as it is."""

    symmetries: TokenArray  # (A,) 0 to 7
    colours: TokenArray  # (A, 10) image of each colour; black stays black

    @property
    def swaps(self) -> BoolArray:
        """(A,) where height and width change places."""
        return np.asarray(TRANSPOSES[self.symmetries])

    @property
    def tokens(self) -> TokenArray:
        """(A, V) image of each token."""
        fixed = np.tile(np.arange(COLOUR, dtype=np.uint8), (len(self.symmetries), 1))
        return np.concatenate([fixed, self.colours + np.uint8(COLOUR)], axis=1)

    def repeated(self, number: int, count: int) -> "Augmentations":
        """One of them, for each of `count` canvases."""
        rows = np.full(count, number)
        return Augmentations(self.symmetries[rows], self.colours[rows])

    def names(self, task: str) -> list[str]:
        """What the identifiers are called: the task itself, then its augmentations."""
        digits = (self.colours + np.uint8(ord("0"))).tobytes().decode("ascii")
        images = (
            digits[start : start + NUM_COLOURS] for start in range(0, len(digits), NUM_COLOURS)
        )
        names = [
            f"{task}_t{symmetry}_{image}"
            for symmetry, image in zip(self.symmetries.tolist(), images, strict=True)
        ]
        return [task, *names[1:]]


def task_of(name: str) -> str:
    """The task an identifier's name belongs to."""
    found = AUGMENTED.fullmatch(name)
    return found[1] if found else name


def parse_names(names: Sequence[str]) -> tuple[list[str], Augmentations]:
    """Read the names of A identifiers. Returns: their tasks and augmentations; a plain task has symmetry 0 and its own colours."""
    found = [AUGMENTED.fullmatch(name) for name in names]
    tasks = [match[1] if match else name for match, name in zip(found, names, strict=True)]
    symmetries = np.array([int(match[2]) if match else 0 for match in found], dtype=np.uint8)
    digits = "".join(match[3] if match else "0123456789" for match in found)
    colours = np.frombuffer(digits.encode("ascii"), np.uint8).reshape(-1, NUM_COLOURS) - np.uint8(
        ord("0")
    )
    return tasks, Augmentations(symmetries, colours)


def augmented(grid: TokenArray, symmetry: int, colours: TokenArray) -> TokenArray:
    """One grid (height, width) under one augmentation."""
    return np.ascontiguousarray(turned(colours[grid], symmetry))


def undone(canvases: IntArray, augmentations: Augmentations) -> TokenArray:
    """Crop the grid of each canvas (N, S) and undo its augmentation. Returns: (N, S) the original grid in the corner, pad elsewhere."""
    side, sizes = side_of(canvases), grid_sizes(canvases)
    heights, widths = np.where(augmentations.swaps[:, None], sizes[:, ::-1], sizes).T[
        :, :, None
    ]  # (N, 1) of the originals
    place = np.arange(side)
    rows = np.where(
        FLIPS_ROWS[augmentations.symmetries][:, None], heights - 1 - place, place
    )  # (N, side)
    columns = np.where(FLIPS_COLUMNS[augmentations.symmetries][:, None], widths - 1 - place, place)
    row_step, column_step = np.where(augmentations.swaps, [[1], [side]], [[side], [1]])[:, :, None]
    cells = (rows * row_step)[:, :, None] + (columns * column_step)[
        :, None, :
    ]  # (N, side, side) on the canvas
    inside = (place < heights)[:, :, None] & (place < widths)[:, None, :]
    cells = np.where(inside, cells, 0) + (np.arange(len(canvases)) * side * side)[:, None, None]
    originals = np.argsort(augmentations.tokens, axis=1).astype(
        np.uint8
    )  # token of the original, (N, V)
    tokens = canvases.ravel().take(cells) + (np.arange(len(canvases)) * VOCAB_SIZE)[:, None, None]
    return np.where(inside, originals.ravel().take(tokens, mode="clip"), np.uint8(PAD)).reshape(
        -1, side * side
    )


def draw_augmentations(sums: HashArray, count: int, rng: np.random.Generator) -> Augmentations:
    """Draw up to `count` distinct augmentations of a task, by all its grids together, out of `TRIES` times as many.

    `sums` (E, 8, 10) are the `colour_sums` of its pairs; their order makes no difference. The task as it is comes first.
    """
    tries = TRIES * count
    symmetries = np.zeros(tries + 1, np.uint8)
    colours = np.tile(np.arange(NUM_COLOURS, dtype=np.uint8), (tries + 1, 1))
    symmetries[1:] = rng.integers(0, NUM_VIEWS, tries)
    colours[1:, 1:] = rng.permuted(colours[1:, 1:], axis=1)
    hashes: HashArray = np.empty((tries + 1, len(sums)), np.uint64)
    for symmetry in range(NUM_VIEWS):
        chosen = symmetries == symmetry
        hashes[chosen] = (colours[chosen].astype(np.uint64) + np.uint64(1)) @ sums[:, symmetry].T
    _, first = np.unique(mixed(hashes).sum(axis=1), return_index=True)
    kept = np.sort(first)[: count + 1]
    return Augmentations(symmetries[kept], colours[kept])


def colour_sums(grids: Sequence[TokenArray]) -> HashArray:
    """For each symmetry and colour, a hash of the cells that the colour then has in some grids (an input and its output).

    Returns: (8, 10), sums of a random weight of each cell. A hash of the augmented grids is a sum over colours of these, times
    the colour's image: no grid need be augmented to see whether it is new.
    """
    total = np.zeros((NUM_COLOURS, NUM_VIEWS), np.uint64)
    for role, grid in enumerate(grids):
        has = (grid.ravel() == np.arange(NUM_COLOURS, dtype=np.uint8)[:, None]).astype(
            np.uint64
        )  # (10, cells)
        total += has @ _weights(*grid.shape, role)
    return total.T


def exact_keys(sums: HashArray) -> list[int]:
    """One number a pair, the same for equal pairs only. Shapes: `colour_sums` (E, 8, 10) -> (E,)."""
    factors: HashArray = np.arange(1, NUM_COLOURS + 1).astype(np.uint64)
    keys: list[int] = mixed(sums[:, 0] * factors).sum(axis=1).tolist()
    return keys


def symmetric_keys(sums: HashArray) -> list[int]:
    """One number a pair, the same for pairs that an augmentation turns into each other. Shapes: `colour_sums` (E, 8, 10) -> (E,)."""
    under_each = mixed(sums[:, :, 0] ^ np.uint64(0xB1AC)) + mixed(sums[:, :, 1:]).sum(
        axis=2
    )  # (E, 8)
    keys: list[int] = mixed(under_each).sum(axis=1).tolist()
    return keys


def mixed(values: HashArray) -> HashArray:
    """Scatter 64-bit values. Source: splitmix64, Steele, Lea and Flood 2014."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


@lru_cache(maxsize=1024)
def _weights(height: int, width: int, role: int) -> HashArray:
    """The weight of the place where each cell of a grid comes to lie under each symmetry, whatever the canvas.

    `role` is 0 for inputs and 1 for outputs. Returns: (height * width, 8).
    """
    places = mixed(np.arange(SIDE * SIDE, dtype=np.uint64) + np.uint64(SIDE * SIDE * role)).reshape(
        SIDE, SIDE
    )
    cells = np.arange(height * width).reshape(height, width)
    weights = np.empty((cells.size, NUM_VIEWS), np.uint64)
    for number in range(NUM_VIEWS):
        moved = turned(cells, number)
        weights[moved.ravel(), number] = places[: moved.shape[0], : moved.shape[1]].ravel()
    return weights


@lru_cache(maxsize=1024)
def cell_places(height: int, width: int, room: int) -> IntArray:
    """Where on a square of `room` rows each cell of a grid comes to lie under each symmetry, behind them its end markers.

    Returns: (8, height * width + height + width), row * room + column, corner at 0.
    """
    places = np.arange(room * room).reshape(room, room)
    cells = np.arange(height * width).reshape(height, width)
    found = np.empty((NUM_VIEWS, height * width + height + width), np.intp)
    for number in range(NUM_VIEWS):
        moved = turned(cells, number)
        found[number, moved.ravel()] = places[: moved.shape[0], : moved.shape[1]].ravel()
        found[number, cells.size :] = np.concatenate(
            [places[moved.shape[0], : moved.shape[1]], places[: moved.shape[0], moved.shape[1]]]
        )
    return found
