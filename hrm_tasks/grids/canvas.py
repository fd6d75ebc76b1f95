"""Text grids of any size on a canvas of tokens, and their rotations and reflections.

A grid lies in the top left corner; every cell of the canvas around it is a token of its own, so that a model learns sizes, too.

Shapes: N grids, S = height · width cells of the canvas in row-major order.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hrm_core.data.dihedral import KEEP_SHAPE, NUM_VIEWS, turned
from hrm_core.errors import PuzzleError
from hrm_core.tasks.contract import BoolArray, IntArray, TokenArray

PAD, OUTSIDE, FIRST = 0, 1, 2  # the characters of the alphabet follow from FIRST on
MAX_CHARACTERS = 256 - FIRST  # tokens are bytes
MAX_CELLS = 1 << 14  # 128x128; attention grows with the square of it
QUOTED = 60  # characters of an alphabet in a message


@dataclass(frozen=True)
class Canvas:
    """What grids are drawn on: at most `height` rows of `width` characters of an alphabet in code-point order."""

    alphabet: str
    height: int
    width: int

    def __post_init__(self) -> None:
        if (
            not self.alphabet
            or list(self.alphabet) != sorted(set(self.alphabet))
            or not all(map(is_cell, self.alphabet))
        ):
            raise PuzzleError(
                f"{quoted_alphabet(self.alphabet)} is no alphabet; expected visible characters or a blank, in code-point order, each once"
            )
        if len(self.alphabet) > MAX_CHARACTERS:
            raise PuzzleError(
                f"{len(self.alphabet):,} different characters; expected at most {MAX_CHARACTERS}, write rare ones as one"
            )
        if min(self.height, self.width) < 1 or self.num_cells > MAX_CELLS:
            raise PuzzleError(
                f"a canvas of {self.height}x{self.width} has {self.num_cells:,} cells; expected 1 to {MAX_CELLS:,}; leave out larger grids"
            )

    @property
    def num_cells(self) -> int:
        """S."""
        return self.height * self.width

    @property
    def views(self) -> tuple[int, ...]:
        """The rotations and reflections that every grid fits in: all eight on a square, else those that keep height and width."""
        return tuple(range(NUM_VIEWS)) if self.height == self.width else KEEP_SHAPE

    def holds(self, size: tuple[int, int]) -> bool:
        """Whether a grid of this height and width fits in."""
        return size[0] <= self.height and size[1] <= self.width

    def place(self, grids: Sequence[str]) -> TokenArray:
        """The tokens of grids that fit in, rows parted by line feeds. Returns: (N, S)."""
        canvases = np.full((len(grids), self.height, self.width), OUTSIDE, np.uint8)
        alike: dict[tuple[int, int], list[int]] = defaultdict(list)
        for number, grid in enumerate(grids):
            alike[size_of(grid)].append(number)
        for (height, width), numbers in alike.items():
            cells = "".join(grids[number] for number in numbers).replace("\n", "")
            codes = np.frombuffer(cells.encode("utf-32-le"), "<u4")
            tokens = np.searchsorted(self._codes, codes) + FIRST
            canvases[numbers, :height, :width] = tokens.reshape(-1, height, width)
        return canvases.reshape(-1, self.num_cells)

    def sizes(self, canvases: IntArray) -> IntArray:
        """Height and width of grids: down to the first row, right to the first column that begins outside. Shapes: (N, S) -> (N, 2)."""
        ends = canvases.reshape(-1, self.height, self.width) <= OUTSIDE
        return np.stack([_first(ends[:, :, 0]), _first(ends[:, 0, :])], axis=1)

    def grid(self, canvas: IntArray) -> IntArray:
        """The tokens (height, width) of the grid on one canvas (S,), of height and width 0 where there is none."""
        height, width = self.sizes(canvas[None])[0].tolist()
        return canvas.reshape(self.height, self.width)[:height, :width]

    def turn(self, canvases: TokenArray, views: IntArray) -> TokenArray:
        """Each grid rotated or reflected, again in the top left corner. Shapes: (N, S), (N,) numbers in `views` -> (N, S)."""
        turned = canvases.copy()
        ways, way_of = np.unique(
            np.column_stack([self.sizes(canvases), views]), axis=0, return_inverse=True
        )
        for number, (height, width, view) in enumerate(ways.tolist()):
            if view:
                rows = np.flatnonzero(way_of.reshape(-1) == number)
                around = np.full((len(rows), 1), OUTSIDE, np.uint8)
                turned[rows] = np.concatenate([canvases[rows], around], axis=1)[
                    :, self.turned_cells(height, width, view)
                ]
        return turned

    def turned_cells(self, height: int, width: int, view: int) -> IntArray:
        """Which cell of the canvas each one shows when a grid of this size is turned. Returns: (S,), S where it lies outside."""
        cells = np.full((self.height, self.width), self.num_cells)
        seen = turned(
            np.arange(self.num_cells).reshape(self.height, self.width)[:height, :width], view
        )
        cells[: seen.shape[0], : seen.shape[1]] = seen
        return cells.reshape(-1)

    @cached_property
    def _codes(self) -> IntArray:
        return np.array([ord(character) for character in self.alphabet], np.uint32)


def size_of(grid: str) -> tuple[int, int]:
    """Height and width of a grid whose rows are equally long."""
    return grid.count("\n") + 1, len(grid.partition("\n")[0])


def is_cell(character: str) -> bool:
    """Whether a character can be a cell: a visible one, or a blank."""
    return character.isprintable()


def quoted_alphabet(alphabet: str) -> str:
    """Put an alphabet between quotes: its first 60 characters and their number where there are more."""
    if len(alphabet) <= QUOTED:
        return repr(alphabet)
    return f"{alphabet[:QUOTED]!r}… ({len(alphabet):,} characters)"


def _first(ends: BoolArray) -> IntArray:
    """Where the first True of each row is, its length if there is none. Shapes: (N, L) -> (N,)."""
    first: IntArray = np.where(ends.any(axis=1), ends.argmax(axis=1), ends.shape[1])
    return first
