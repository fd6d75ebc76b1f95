"""Apply symmetries of a task, permutations of cells and of tokens, to whole arrays at once.

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
        examples = np.arange(len(self))[:, None]
        # flat indices: 1.5 times as fast as take_along_axis
        places = self.cells + examples * self.cells.shape[1]
        moved = grids.ravel().take(places)
        entries = moved + examples * self.tokens.shape[1]
        relabelled: IntArray = self.tokens.ravel().take(entries)
        return relabelled.astype(grids.dtype, copy=False)

    def inverse(self) -> "Symmetry":
        """Return the symmetries that undo these, row by row."""
        return Symmetry(_inverse(self.cells), _inverse(self.tokens))

    def __len__(self) -> int:
        return len(self.cells)


def _inverse(permutations: IntArray) -> IntArray:
    """Return the permutation that undoes each row, dtype kept."""
    inverse = np.empty_like(permutations)
    columns = np.arange(permutations.shape[1], dtype=permutations.dtype)
    np.put_along_axis(inverse, permutations.astype(np.intp), columns[None], axis=1)
    return inverse
