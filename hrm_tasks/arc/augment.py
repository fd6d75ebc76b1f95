"""Augment ARC tasks with one of 8 symmetries of the grid and a permutation of colours 1 to 9.

The name of an augmentation defines it: `<task>_t<symmetry>_<ten digits: the images of colours 0 to 9>`,
or the same with `|||` in the place of each `_`.

Shapes: A augmentations, N canvases, E pairs, S = side · side cells of a canvas.
Source: sapientinc/HRM dataset/common.py and dataset/build_arc_dataset.py; the names with `|||` are of
dataset/build_arc_dataset.py of SamsungSAILMontreal/TinyRecursiveModels.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hrm_core.data.dihedral import FLIPS_COLUMNS, FLIPS_ROWS, NUM_VIEWS, TRANSPOSES, turned
from hrm_core.errors import DataError
from hrm_core.messages import quoted
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

SAME_COLOURS = "0123456789"
TRIES = 5  # draws for each augmentation asked for
AUGMENTED = re.compile(  # no digit twice
    r"(.+)(_|\|\|\|)t([0-7])\2(0(?!\d*(\d)\d*\5)[1-9]{9})", re.DOTALL
)
LIKE_AUGMENTED = re.compile(r"\|\|\||_t\d+_\d{10}\Z")

HashArray = npt.NDArray[np.uint64]


class Augmentations(NamedTuple):
    """A augmentations of one task, the identity first, or one augmentation for each of A canvases."""

    symmetries: TokenArray  # (A,) 0 to 7
    colours: TokenArray  # (A, 10) image of each colour; black stays black

    @property
    def swaps(self) -> BoolArray:
        """Return True where height and width change places: (A,)."""
        return np.asarray(TRANSPOSES[self.symmetries])

    @property
    def tokens(self) -> TokenArray:
        """Return the image of each token: (A, V)."""
        fixed = np.arange(COLOUR, dtype=np.uint8)
        fixed = np.tile(fixed, (len(self.symmetries), 1))
        return np.concatenate([fixed, self.colours + np.uint8(COLOUR)], axis=1)

    def repeated(self, number: int, count: int) -> "Augmentations":
        """Return one of the augmentations for each of `count` canvases."""
        rows = np.full(count, number)
        return Augmentations(self.symmetries[rows], self.colours[rows])

    def names(self, task: str) -> list[str]:
        """Return the names of the identifiers: the task itself, then its augmentations."""
        digits = (self.colours + np.uint8(ord("0"))).tobytes().decode("ascii")
        names = [task]
        for number, symmetry in enumerate(self.symmetries.tolist()[1:], start=1):
            start = number * NUM_COLOURS
            image = digits[start : start + NUM_COLOURS]
            names.append(f"{task}_t{symmetry}_{image}")
        return names


def looks_augmented(name: str) -> bool:
    """Return True for a name that is, or is written like, that of an augmentation."""
    return LIKE_AUGMENTED.search(name) is not None


def task_of(name: str) -> str:
    """Return the task that an identifier's name belongs to. Raises: DataError as `parse_names` does."""
    return _parsed(name)[0]


def parse_names(names: Sequence[str]) -> tuple[list[str], Augmentations]:
    """Read the names of A identifiers. Returns: their tasks and augmentations.

    The name of a task alone has symmetry 0 and its own colours.

    Raises: DataError naming one that is written like an augmentation and is none.
    """
    parsed = map(_parsed, names)
    tasks, symmetries, digits = zip(*parsed, strict=True) if names else ((), (), ())
    codes = np.frombuffer("".join(digits).encode("ascii"), np.uint8)
    colours = codes.reshape(-1, NUM_COLOURS) - np.uint8(ord("0"))
    return list(tasks), Augmentations(np.array(symmetries, dtype=np.uint8), colours)


def _parsed(name: str) -> tuple[str, int, str]:
    """Return the task of an identifier, its symmetry and the ten digits of its colours."""
    found = AUGMENTED.fullmatch(name)
    task, symmetry, digits = found.group(1, 3, 4) if found else (name, "0", SAME_COLOURS)
    if looks_augmented(task):
        raise DataError(
            f"puzzle identifier {quoted(name)} is written like an augmentation and is none; expected "
            "TASK_tN_DIGITS or TASK|||tN|||DIGITS with N from 0 to 7 and ten different digits, 0 first"
        )
    return task, int(symmetry), digits


def augmented(grid: TokenArray, symmetry: int, colours: TokenArray) -> TokenArray:
    """Augment one grid (height, width)."""
    return np.ascontiguousarray(turned(colours[grid], symmetry))


def undone(canvases: IntArray, augmentations: Augmentations) -> TokenArray:
    """Crop the grid of each canvas (N, S) and undo its augmentation.

    Returns: (N, S) the original grid in the corner, pad elsewhere.
    """
    side = side_of(canvases)
    each = np.arange(len(canvases))[:, None, None]
    cells, inside = _original_cells(grid_sizes(canvases), augmentations, side)
    cells += each * (side * side)
    originals = np.argsort(augmentations.tokens, axis=1)  # (N, V) token of the original
    originals = originals.astype(np.uint8)
    tokens = canvases.ravel().take(cells)
    places = tokens + each * VOCAB_SIZE
    grids = originals.ravel().take(places, mode="clip")
    grids = np.where(inside, grids, np.uint8(PAD))
    return grids.reshape(-1, side * side)


def _original_cells(
    sizes: IntArray, augmentations: Augmentations, side: int
) -> tuple[IntArray, BoolArray]:
    """Find the cell of the canvas that holds each cell of the original grid.

    Shapes: `sizes` (N, 2) of the augmented grids -> (N, side, side), 0 outside the grid, and
        (N, side, side) True inside it.
    """
    symmetries = augmentations.symmetries
    swaps = augmentations.swaps
    place = np.arange(side)
    originals = np.where(
        swaps[:, None],
        sizes[:, ::-1],
        sizes,
    )
    heights, widths = originals.T[:, :, None]  # (N, 1)
    flips_rows = FLIPS_ROWS[symmetries]
    flips_columns = FLIPS_COLUMNS[symmetries]
    row_steps = np.where(swaps, 1, side)
    column_steps = np.where(swaps, side, 1)
    rows = np.where(flips_rows[:, None], heights - 1 - place, place)  # (N, side)
    rows *= row_steps[:, None]
    columns = np.where(flips_columns[:, None], widths - 1 - place, place)
    columns *= column_steps[:, None]
    cells = rows[:, :, None] + columns[:, None, :]
    in_rows = place < heights
    in_columns = place < widths
    inside = in_rows[:, :, None] & in_columns[:, None, :]
    return np.where(inside, cells, 0), inside


def draw_augmentations(sums: HashArray, count: int, rng: np.random.Generator) -> Augmentations:
    """Draw up to `count` distinct augmentations of a task out of `TRIES` times as many.

    Two are distinct if any grid of the task differs. `sums` (E, 8, 10) are the `colour_sums` of its
    pairs in any order. The task as it is comes first.
    """
    num_tries = 1 + TRIES * count
    symmetries = np.zeros(num_tries, np.uint8)
    symmetries[1:] = rng.integers(0, NUM_VIEWS, num_tries - 1)
    colours = np.arange(NUM_COLOURS, dtype=np.uint8)
    colours = np.tile(colours, (num_tries, 1))
    colours[1:, 1:] = rng.permuted(colours[1:, 1:], axis=1)
    keys = _task_keys(sums, symmetries, colours)
    _, first = np.unique(keys, return_index=True)
    first.sort()
    kept = first[: count + 1]
    return Augmentations(symmetries[kept], colours[kept])


def _task_keys(sums: HashArray, symmetries: TokenArray, colours: TokenArray) -> HashArray:
    """Hash all grids of a task under each of T augmentations.

    Shapes: (E, 8, 10), (T,), (T, 10) -> (T,).
    """
    factors = colours.astype(np.uint64) + np.uint64(1)
    hashes: HashArray = np.empty((len(symmetries), len(sums)), np.uint64)
    for symmetry in range(NUM_VIEWS):
        chosen = symmetries == symmetry
        hashes[chosen] = factors[chosen] @ sums[:, symmetry].T
    keys: HashArray = mixed(hashes).sum(axis=1)
    return keys


def colour_sums(grids: Sequence[TokenArray]) -> HashArray:
    """Hash the cells that each colour has under each symmetry in some grids (an input and its output).

    Returns: (8, 10), sums of a random weight of each cell. The hash of augmented grids is the sum over
    colours of these, times the colour's image: a grid need not be augmented to see if it is new.
    """
    total = np.zeros((NUM_COLOURS, NUM_VIEWS), np.uint64)
    colours = np.arange(NUM_COLOURS, dtype=np.uint8)[:, None]
    for role, grid in enumerate(grids):
        has_colour = grid.ravel() == colours  # (10, cells)
        weights = _weights(*grid.shape, role)
        total += has_colour.astype(np.uint64) @ weights
    return total.T


def exact_keys(sums: HashArray) -> list[int]:
    """Return a number for each pair that is the same for equal pairs only.

    Shapes: `colour_sums` (E, 8, 10) -> (E,).
    """
    factors: HashArray = np.arange(1, NUM_COLOURS + 1).astype(np.uint64)
    hashes = mixed(sums[:, 0] * factors)
    keys: list[int] = hashes.sum(axis=1).tolist()
    return keys


def symmetric_keys(sums: HashArray) -> list[int]:
    """Return a number for each pair that is the same for pairs that augmentations turn into each other.

    Shapes: `colour_sums` (E, 8, 10) -> (E,).
    """
    black = mixed(sums[:, :, 0] ^ np.uint64(0xB1AC))  # (E, 8)
    others = mixed(sums[:, :, 1:]).sum(axis=2)
    hashes = mixed(black + others)
    keys: list[int] = hashes.sum(axis=1).tolist()
    return keys


def mixed(values: HashArray) -> HashArray:
    """Scatter 64-bit values. Source: splitmix64, Steele, Lea and Flood 2014."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


@lru_cache(maxsize=1024)
def _weights(height: int, width: int, role: int) -> HashArray:
    """Return the weight of the place that each cell of a grid has under each symmetry.

    It is the same for every canvas. `role` is 0 for inputs and 1 for outputs.
    Returns: (height * width, 8).
    """
    num_places = SIDE * SIDE
    numbers = np.arange(num_places, dtype=np.uint64) + np.uint64(num_places * role)
    weight_of_place = mixed(numbers).reshape(SIDE, SIDE)
    cells = np.arange(height * width).reshape(height, width)
    weights = np.empty((cells.size, NUM_VIEWS), np.uint64)
    for view in range(NUM_VIEWS):
        moved = turned(cells, view)
        rows, columns = moved.shape
        covered = weight_of_place[:rows, :columns]
        weights[moved.ravel(), view] = covered.ravel()
    return weights


@lru_cache(maxsize=1024)
def cell_places(height: int, width: int, room: int) -> IntArray:
    """Return the place of each cell of a grid under each symmetry on a square of `room` rows.

    The places of the end markers follow. Returns: (8, height * width + height + width) numbers
    row * room + column, the corner of the grid at 0.
    """
    square = np.arange(room * room).reshape(room, room)
    cells = np.arange(height * width).reshape(height, width)
    num_places = cells.size + height + width
    places = np.empty((NUM_VIEWS, num_places), np.intp)
    for view in range(NUM_VIEWS):
        moved = turned(cells, view)
        rows, columns = moved.shape
        below = square[rows, :columns]
        beside = square[:rows, columns]
        inside = square[:rows, :columns]
        places[view, moved.ravel()] = inside.ravel()
        places[view, cells.size :] = np.concatenate([below, beside])
    return places
