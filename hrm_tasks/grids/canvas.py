"""Put text grids of any size on a canvas of tokens, rotate and reflect them.

A grid lies in the top left corner. The cells of the canvas around it have a token of their own, so
that a model learns sizes, too.

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
    """Canvas for grids of at most `height` rows of `width` characters.

    The alphabet is in code-point order. Raises: PuzzleError if it is not, or if the canvas is too large.
    """

    alphabet: str
    height: int
    width: int

    def __post_init__(self) -> None:
        _check_alphabet(self.alphabet)
        if min(self.height, self.width) < 1 or self.num_cells > MAX_CELLS:
            raise PuzzleError(
                f"a canvas of {self.height}x{self.width} has {self.num_cells:,} cells; "
                f"expected 1 to {MAX_CELLS:,}; leave out larger grids"
            )

    @property
    def num_cells(self) -> int:
        """Return S, the number of cells."""
        return self.height * self.width

    @property
    def views(self) -> tuple[int, ...]:
        """Return the rotations and reflections that keep every grid on the canvas.

        These are all eight on a square, else those that keep height and width.
        """
        if self.height == self.width:
            return tuple(range(NUM_VIEWS))
        return KEEP_SHAPE

    def holds(self, size: tuple[int, int]) -> bool:
        """Return True if a grid of this height and width fits."""
        height, width = size
        return height <= self.height and width <= self.width

    def place(self, grids: Sequence[str]) -> TokenArray:
        """Put grids that fit, as rows separated by line feeds, on canvases. Returns: (N, S) tokens."""
        canvases = np.full(
            (len(grids), self.height, self.width),
            OUTSIDE,
            np.uint8,
        )
        numbers_of: dict[tuple[int, int], list[int]] = defaultdict(list)
        for number, grid in enumerate(grids):
            size = size_of(grid)
            numbers_of[size].append(number)
        for (height, width), numbers in numbers_of.items():
            cells = "".join(grids[number] for number in numbers)
            cells = cells.replace("\n", "")
            codes = np.frombuffer(cells.encode("utf-32-le"), "<u4")
            tokens = np.searchsorted(self._codes, codes)
            tokens += FIRST
            canvases[numbers, :height, :width] = tokens.reshape(-1, height, width)
        return canvases.reshape(-1, self.num_cells)

    def sizes(self, canvases: IntArray) -> IntArray:
        """Measure height and width of the grids on canvases. Shapes: (N, S) -> (N, 2).

        A grid ends at the first row and at the first column that begins outside.
        """
        boards = canvases.reshape(-1, self.height, self.width)
        is_outside = boards <= OUTSIDE
        heights = _first(is_outside[:, :, 0])
        widths = _first(is_outside[:, 0, :])
        return np.stack([heights, widths], axis=1)

    def grid(self, canvas: IntArray) -> IntArray:
        """Return the tokens (height, width) of the grid on one canvas (S,).

        Height and width are 0 if there is none.
        """
        height, width = self.sizes(canvas[None])[0].tolist()
        board = canvas.reshape(self.height, self.width)
        return board[:height, :width]

    def turn(self, canvases: TokenArray, views: IntArray) -> TokenArray:
        """Rotate or reflect each grid and put it into the top left corner again.

        Shapes: (N, S), (N,) numbers in `views` -> (N, S).
        """
        result = canvases.copy()
        keys = np.column_stack([self.sizes(canvases), views])
        kinds, kind_of = np.unique(keys, axis=0, return_inverse=True)
        kind_of = kind_of.reshape(-1)
        for kind, (height, width, view) in enumerate(kinds.tolist()):
            if view == 0:
                continue
            rows = np.flatnonzero(kind_of == kind)
            outside = np.full((len(rows), 1), OUTSIDE, np.uint8)
            framed = np.concatenate([canvases[rows], outside], axis=1)
            cells = self.turned_cells(height, width, view)
            result[rows] = framed[:, cells]
        return result

    def turned_cells(self, height: int, width: int, view: int) -> IntArray:
        """Return the cell that each cell of the canvas shows in a view of a grid of this size.

        Returns: (S,), S for a cell outside the grid.
        """
        board = np.arange(self.num_cells).reshape(self.height, self.width)
        grid = turned(board[:height, :width], view)
        rows, columns = grid.shape
        cells = np.full(board.shape, self.num_cells)
        cells[:rows, :columns] = grid
        return cells.reshape(-1)

    @cached_property
    def _codes(self) -> IntArray:
        """Return the code points of the alphabet."""
        return np.array([ord(character) for character in self.alphabet], np.uint32)


def _check_alphabet(alphabet: str) -> None:
    """Refuse an alphabet that is empty, not in order, not visible or too large."""
    is_ordered = list(alphabet) == sorted(set(alphabet))
    if not alphabet or not is_ordered or not all(map(is_cell, alphabet)):
        raise PuzzleError(
            f"{quoted_alphabet(alphabet)} is no alphabet; "
            "expected visible characters or a blank, in code-point order, each once"
        )
    if len(alphabet) > MAX_CHARACTERS:
        raise PuzzleError(
            f"{len(alphabet):,} different characters; "
            f"expected at most {MAX_CHARACTERS}, write rare ones as one"
        )


def size_of(grid: str) -> tuple[int, int]:
    """Return height and width of a grid whose rows are equally long."""
    first_row = grid.partition("\n")[0]
    return grid.count("\n") + 1, len(first_row)


def is_cell(character: str) -> bool:
    """Return True if a character can be a cell: a visible one, or a blank."""
    return character.isprintable()


def quoted_alphabet(alphabet: str) -> str:
    """Quote an alphabet; if it has more than 60 characters, the first 60 and their number."""
    if len(alphabet) <= QUOTED:
        return repr(alphabet)
    return f"{alphabet[:QUOTED]!r}… ({len(alphabet):,} characters)"


def _first(is_end: BoolArray) -> IntArray:
    """Return the index of the first True of each row, L if there is none. Shapes: (N, L) -> (N,)."""
    has_end = is_end.any(axis=1)
    first: IntArray = np.where(has_end, is_end.argmax(axis=1), is_end.shape[1])
    return first
