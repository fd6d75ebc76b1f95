"""Generate mazes, each with exactly one shortest path from S to G.

S is drawn among the open cells, G among the cells that are far enough from S and have only one
shortest path to it. A board without such a cell is dropped.

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
PATIENCE = 50  # batches in a row without a new maze
# reasons to drop a board
TOO_SHORT = "too_short"
REPEATED = "repeated"
IN_TRAINING = "same_as_training"


def default_min_path(size: int, kind: str) -> int:
    """Return the default least number of moves of a shortest path.

    It is 112, 90 and 28 for the three kinds at 30x30, and 12, 10 and 8 at 10x10.
    """
    num_cells = size * size
    min_path = {
        "perfect": num_cells // 8,
        "loops": num_cells // 10,
        "obstacles": size - 2,
    }
    return max(2, min_path[kind])


class MazeGenerator:
    """Generator of mazes none of which is a rotation or reflection of another.

    It makes the same mazes for the same state of `rng`.
    """

    def __init__(
        self,
        size: int,
        rng: np.random.Generator,
        min_path: int | None = None,
        apart_from: "MazeGenerator | None" = None,
    ) -> None:
        """Begin a set of mazes that differ from those of another generator.

        With `min_path` None each kind has its default. Raises: PuzzleError for a size or length that no
        maze has.
        """
        check_size(size)
        if size < MIN_SIZE:
            raise PuzzleError(f"no lattice fits on {size} rows; expected size {MIN_SIZE} or more")
        longest = size * size - 1
        if min_path is not None and not 1 <= min_path <= longest:
            raise PuzzleError(
                f"no path on {size}x{size} cells has {min_path} moves; expected 1 to {longest}"
            )
        self.size = size
        self.dropped: Counter[str] = Counter({TOO_SHORT: 0, REPEATED: 0, IN_TRAINING: 0})
        self._rng = rng
        self._batch_size = min(BATCH_BOARDS, BATCH_CELLS // size**2)
        self._min_path = min_path
        self._keys: set[bytes] = set()
        self._other_keys = apart_from._keys if apart_from else frozenset()

    def generate(self, count: int, kind: str = MIXED) -> Puzzles:
        """Generate `count` mazes of one of `KINDS`, or of all.

        Raises: PuzzleError for another kind, or if too few mazes can be found.
        """
        if kind == MIXED:
            return self._mixed(count)
        if kind not in KINDS:
            kinds = ", ".join([*KINDS, MIXED])
            raise PuzzleError(f"no generator makes mazes of kind {kind!r}; expected {kinds}")
        parts = []
        fruitless = 0
        while count:
            mazes = self._batch(kind, count)
            parts.append(mazes)
            found = len(mazes.ratings)
            count -= found
            fruitless = 0 if found else fruitless + 1
            if fruitless == PATIENCE:
                raise self._exhausted(kind)
        return Puzzles.join(parts)

    def min_path(self, kind: str) -> int:
        """Return the least number of moves of a kind."""
        if self._min_path is not None:
            return self._min_path
        return default_min_path(self.size, kind)

    def _mixed(self, count: int) -> Puzzles:
        """Generate as many mazes of each kind, one more of the first ones, and shuffle them."""
        share, rest = divmod(count, len(KINDS))
        parts = []
        for number, kind in enumerate(KINDS):
            num_mazes = share + (number < rest)
            if num_mazes:
                parts.append(self.generate(num_mazes, kind))
        return Puzzles.join(parts).select(self._rng.permutation(count))

    def _batch(self, kind: str, limit: int) -> Puzzles:
        """Draw a batch of boards and keep at most `limit` that are mazes and new."""
        draw_walls = KINDS[kind]
        is_open = draw_walls(self.size, self._batch_size, self._rng)
        mazes = _with_ends(is_open, self.min_path(kind), self._rng)
        self.dropped[TOO_SHORT] += len(is_open) - len(mazes.ratings)
        return mazes.select(self._take_unseen(mazes, limit))

    def _take_unseen(self, mazes: Puzzles, limit: int) -> IntArray:
        """Return the indices of at most `limit` mazes that were not made before, and note their keys."""
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
        num_boards = PATIENCE * self._batch_size
        return PuzzleError(
            f"no new maze among the last {num_boards} boards of {self.size}x{self.size}, "
            f"kind {kind}, with one shortest path of {self.min_path(kind)} moves or more; "
            "lower --min-path, choose another kind or ask for fewer mazes"
        )


def _with_ends(is_open: BoolArray, min_path: int, rng: np.random.Generator) -> Puzzles:
    """Draw S and G on each board (N, S) and leave out the boards that have no place for G."""
    each = np.arange(len(is_open))
    starts = _draw_cells(is_open, rng)
    moves, num_paths = distances(is_open, starts)
    may_be_goal = (moves >= min_path) & (num_paths == 1)
    goals = _draw_cells(may_be_goal, rng)
    inputs = np.where(is_open, np.uint8(OPEN), np.uint8(WALL))
    inputs[each, starts] = START
    inputs[each, goals] = GOAL
    kept = may_be_goal[each, goals]
    questions = inputs[kept]
    on_path = trace(moves[kept], goals[kept])
    labels = with_path(questions, on_path)
    ratings = moves[each, goals]
    return Puzzles(questions, labels, ratings[kept])


def _draw_cells(allowed: BoolArray, rng: np.random.Generator) -> IntArray:
    """Draw one of the allowed cells of each board, any cell if there is none.

    Shapes: (N, S) -> (N,).
    """
    drawn = rng.random(allowed.shape, dtype=np.float32)
    cells: IntArray = (drawn * allowed).argmax(axis=1)
    return cells
