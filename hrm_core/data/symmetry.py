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
        examples = np.arange(len(self))[:, None]
        moved = grids.ravel().take(
            self.cells + examples * self.cells.shape[1]
        )  # flat: 1.5 times as fast as take_along_axis
        relabelled: IntArray = self.tokens.ravel().take(moved + examples * self.tokens.shape[1])
        return relabelled.astype(grids.dtype, copy=False)

    def inverse(self) -> "Symmetry":
        """The symmetries that undo these, row by row."""
        return Symmetry(_inverse(self.cells), _inverse(self.tokens))

    def __len__(self) -> int:
        return len(self.cells)


def _inverse(permutations: IntArray) -> IntArray:
    """The permutation that undoes each row, dtype kept."""
    inverse = np.empty_like(permutations)
    np.put_along_axis(
        inverse,
        permutations.astype(np.intp),
        np.arange(permutations.shape[1], dtype=permutations.dtype)[None],
        axis=1,
    )
    return inverse
