"""New mazes, each with exactly one shortest path from S to G.

S is drawn among the open cells, G among those far enough from it to which only one shortest path leads; a board without
such a cell is dropped.

Shapes: N mazes, S = size · size cells.
"""

import hashlib
from collections import Counter

import numpy as np

from hrm_core.data.puzzles import Puzzles
from hrm_core.errors import PuzzleError
from hrm_tasks.maze.board import (
    GOAL,
    OPEN,
    START,
    WALL,
    BoolArray,
    IntArray,
    canonical,
    check_size,
)
from hrm_tasks.maze.search import distances, trace, with_path
from hrm_tasks.maze.walls import KINDS

MIXED = "mixed"  # as many of each kind, in random order
MIN_SIZE = 4  # the smallest lattice has two places a side
BATCH_CELLS, BATCH_BOARDS = 1 << 18, 1 << 11  # at most drawn at once
PATIENCE = 50  # batches in a row that bring nothing new
TOO_SHORT, REPEATED, IN_TRAINING = (
    "too_short",
    "repeated",
    "same_as_training",
)  # why a board was dropped


def default_min_path(size: int, kind: str) -> int:
    """The moves that the shortest path of such a maze takes at least: at 30x30 112, 90 and 28, at 10x10 12, 10 and 8."""
    return max(
        2, {"perfect": size * size // 8, "loops": size * size // 10, "obstacles": size - 2}[kind]
    )


class MazeGenerator:
    """Makes mazes none of which is a rotation or reflection of another, the same ones for the same generator state."""

    def __init__(
        self,
        size: int,
        rng: np.random.Generator,
        min_path: int | None = None,
        apart_from: "MazeGenerator | None" = None,
    ) -> None:
        """Begin a set of mazes, apart from those another generator has made. `min_path` None: the default of each kind.

        Raises: PuzzleError for a size or length that no maze has.
        """
        check_size(size)
        if size < MIN_SIZE:
            raise PuzzleError(f"no lattice fits on {size} rows; expected size {MIN_SIZE} or more")
        if min_path is not None and not 1 <= min_path < size * size:
            raise PuzzleError(
                f"no path on {size}x{size} cells has {min_path} moves; expected 1 to {size * size - 1}"
            )
        self.size = size
        self.dropped: Counter[str] = Counter({TOO_SHORT: 0, REPEATED: 0, IN_TRAINING: 0})
        self._rng = rng
        self._batch_size = min(BATCH_BOARDS, BATCH_CELLS // size**2)
        self._min_path = min_path
        self._keys: set[bytes] = set()
        self._other_keys = apart_from._keys if apart_from else frozenset()

    def generate(self, count: int, kind: str = MIXED) -> Puzzles:
        """Make `count` mazes of one of `KINDS`, or of all.

        Raises: PuzzleError for another kind, or where there are too few mazes to be found.
        """
        if kind == MIXED:
            return self._mixed(count)
        if kind not in KINDS:
            raise PuzzleError(
                f"no generator makes mazes of kind {kind!r}; expected {', '.join([*KINDS, MIXED])}"
            )
        parts = []
        fruitless = 0
        while count:
            parts.append(self._batch(kind, count))
            found = len(parts[-1].ratings)
            count -= found
            fruitless = 0 if found else fruitless + 1
            if fruitless == PATIENCE:
                raise self._exhausted(kind)
        return Puzzles.join(parts)

    def min_path(self, kind: str) -> int:
        """The least moves of a kind."""
        return default_min_path(self.size, kind) if self._min_path is None else self._min_path

    def _mixed(self, count: int) -> Puzzles:
        shares = [count // len(KINDS) + (i < count % len(KINDS)) for i in range(len(KINDS))]
        parts = [
            self.generate(share, kind) for kind, share in zip(KINDS, shares, strict=True) if share
        ]
        return Puzzles.join(parts).select(self._rng.permutation(count))

    def _batch(self, kind: str, limit: int) -> Puzzles:
        """Draw a batch of boards and keep at most `limit` that are mazes and new."""
        is_open = KINDS[kind](self.size, self._batch_size, self._rng)
        mazes = _with_ends(is_open, self.min_path(kind), self._rng)
        self.dropped[TOO_SHORT] += len(is_open) - len(mazes.ratings)
        return mazes.select(self._first_sights(mazes, limit))

    def _first_sights(self, mazes: Puzzles, limit: int) -> IntArray:
        """The indices of the mazes that were not seen before; they are now."""
        new: list[int] = []
        for index, view in enumerate(canonical(mazes.inputs, self.size)):
            if len(new) == limit:
                break
            key = hashlib.blake2b(view.tobytes(), digest_size=16).digest()
            if key in self._keys:
                self.dropped[REPEATED] += 1
            elif key in self._other_keys:
                self.dropped[IN_TRAINING] += 1
            else:
                self._keys.add(key)
                new.append(index)
        return np.array(new, dtype=np.intp)

    def _exhausted(self, kind: str) -> PuzzleError:
        boards = (
            f"the last {PATIENCE * self._batch_size} boards of {self.size}x{self.size}, kind {kind}"
        )
        return PuzzleError(
            f"no new maze among {boards}, with one shortest path of {self.min_path(kind)} moves or more; "
            "lower --min-path, choose another kind or ask for fewer mazes"
        )


def _with_ends(is_open: BoolArray, min_path: int, rng: np.random.Generator) -> Puzzles:
    """Draw S and G on each board (N, S) and leave out the boards that have no place for G."""
    each = np.arange(len(is_open))
    starts = _draw_cells(is_open, rng)
    steps, ways = distances(is_open, starts)
    may_be_goal = (steps >= min_path) & (ways == 1)
    goals = _draw_cells(may_be_goal, rng)
    inputs = np.where(is_open, np.uint8(OPEN), np.uint8(WALL))
    inputs[each, starts], inputs[each, goals] = START, GOAL
    kept = may_be_goal[each, goals]
    labels = with_path(inputs[kept], trace(steps[kept], goals[kept]))
    return Puzzles(inputs[kept], labels, steps[each, goals][kept])


def _draw_cells(allowed: BoolArray, rng: np.random.Generator) -> IntArray:
    """Draw one of the allowed cells of each board, any cell where there is none. Shapes: (N, S) -> (N,)."""
    cells: IntArray = (rng.random(allowed.shape, dtype=np.float32) * allowed).argmax(axis=1)
    return cells
