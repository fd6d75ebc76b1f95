"""Symmetries of a task as permutations of cells and of tokens, applied to whole arrays at once.

Shapes: N examples, S cells, V vocabulary.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Symmetry:
    """N symmetries, one for each example they are applied to."""

    cells: IntArray  # (N, S): cell j of the result is cell cells[n, j] of the argument
    tokens: IntArray  # (N, V): token v becomes tokens[n, v]

    def apply(self, grids: IntArray) -> IntArray:
        """Apply symmetry n to row n. Shapes: (N, S) -> (N, S), dtype kept."""
        moved = np.take_along_axis(grids, self.cells, axis=1)
        return np.take_along_axis(self.tokens, moved.astype(np.intp), axis=1).astype(grids.dtype)

    def inverse(self) -> "Symmetry":
        """The symmetries that undo these, row by row."""
        return Symmetry(np.argsort(self.cells, axis=1), np.argsort(self.tokens, axis=1))

    def __len__(self) -> int:
        return len(self.cells)
