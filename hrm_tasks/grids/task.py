"""The task of text grids: one grid is the question, another its answer, of any characters and sizes.

The rules are unknown, so an answer is checked against the solution alone.

Shapes: N grids, S = height · width cells of the canvas in row-major order. Tokens: pad 0, outside the
grid 1, then the alphabet.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image

from hrm_core.data.encodings import read_text
from hrm_core.data.symmetry import Symmetry
from hrm_core.errors import PuzzleError
from hrm_core.pictures.grids import Mark
from hrm_core.tasks.cells import CellMeasures
from hrm_core.tasks.contract import IntArray, TokenArray
from hrm_core.tasks.editing import OUTER, CellKind, Editor
from hrm_tasks.grids import picture as grids_picture
from hrm_tasks.grids import text as grids_text
from hrm_tasks.grids.canvas import FIRST, OUTSIDE, Canvas

# type of each setting in JSON
KINDS = {
    "alphabet": str,
    "height": int,
    "width": int,
    "rating_bands": list,
    "symmetric": bool,
}


class Grids(CellMeasures):
    """Task of text grids of at most `height` rows of `width` characters of an alphabet.

    It is `symmetric` if all views of a puzzle are puzzles.
    """

    name: str = "grids"
    legend: Sequence[Mark] = (Mark.CHANGED,)
    data_settings: Sequence[str] = ("rating_bands", "symmetric")

    def __init__(
        self,
        alphabet: str,
        height: int,
        width: int,
        rating_bands: Sequence[int] = (0,),
        symmetric: bool = False,
    ) -> None:
        """Raises: PuzzleError if the alphabet is not in order, or the canvas too large."""
        self.canvas = Canvas(alphabet, height, width)
        self.rating_bands = tuple(rating_bands)
        self.symmetric = symmetric
        self.vocab_size = FIRST + len(alphabet)
        self.seq_len = self.canvas.num_cells
        self.settings: Mapping[str, Any] = {
            "alphabet": alphabet,
            "height": height,
            "width": width,
            "rating_bands": list(self.rating_bands),
            "symmetric": symmetric,
        }

    def __repr__(self) -> str:
        canvas = self.canvas
        return f"{type(self).__name__}({canvas.alphabet!r}, {canvas.height}, {canvas.width})"

    @classmethod
    def for_shape(cls, vocab_size: int, seq_len: int, settings: Mapping[str, Any]) -> Self | None:
        """Return the task with these settings; None if they are incomplete or not of this shape."""
        if not {"alphabet", "height", "width"} <= settings.keys() <= KINDS.keys():
            return None
        if any(type(value) is not KINDS[key] for key, value in settings.items()):
            return None
        try:
            task = cls(**settings)
        except PuzzleError:
            return None
        has_shape = (task.vocab_size, task.seq_len) == (vocab_size, seq_len)
        if not has_shape or not _are_bands(task.rating_bands):
            return None
        return task

    @property
    def token_texts(self) -> Sequence[str]:
        """Return the text of each token, (V,): the alphabet; none for pad and outside."""
        return ["", "", *self.canvas.alphabet]

    def parse(self, text: str) -> TokenArray:
        """Read every grid in a text: one row a line and an empty line between grids, or one word each.

        Returns: (N, S) tokens. Raises: PuzzleError naming the grid and the place in it.
        """
        return self.canvas.place(grids_text.read_grids(text, self.canvas))

    def read_file(self, path: Path) -> TokenArray:
        """Read every grid in a text file, as `parse` does."""
        return self.parse(read_text(path))

    def format(self, tokens: IntArray) -> str:
        """Draw the grid on one canvas (S,), one row a line; `?` is a cell of it without a character."""
        return grids_text.draw_grid(tokens, self.canvas)

    def line(self, tokens: IntArray) -> str:
        """Write the grid on one canvas (S,) as one word with `/` between rows; `parse` reads it back."""
        return grids_text.write_word(tokens, self.canvas)

    def draw_symmetries(self, rng: np.random.Generator, count: int) -> Symmetry:
        """Draw uniformly from the rotations and reflections of the canvas.

        Raises: PuzzleError if they are no symmetries of the task. They are not if a grid is smaller than
            the canvas, since only some views keep it in the corner, nor if the task is not trained in
            all views, since its rule need not be symmetric.
        """
        if not self.symmetric:
            raise PuzzleError(
                "this task has no symmetries to vote with; they need data built with --augment and without names, "
                "grids that all fill the canvas; leave out votes"
            )
        canvas = self.canvas
        height = canvas.height
        width = canvas.width
        cells = np.stack([canvas.turned_cells(height, width, view) for view in canvas.views])
        drawn = rng.integers(len(cells), size=count)
        return Symmetry(
            cells=cells[drawn],
            tokens=np.tile(np.arange(self.vocab_size), (count, 1)),
        )

    def check_symmetric(self, inputs: TokenArray) -> None:
        """Refuse questions (..., S) of which one does not fill the canvas. Raises: PuzzleError."""
        if (inputs == OUTSIDE).any():
            raise PuzzleError(
                "a grid that does not fill the canvas has no symmetries to vote with; leave out votes"
            )

    def editor(self) -> Editor:
        """Return the board to fill in: a grid of any size is typed in characters of the alphabet."""
        characters = [CellKind(sign, sign.strip() or "blank") for sign in self.canvas.alphabet]
        return Editor(
            self.canvas.height,
            self.canvas.width,
            [OUTER, OUTER, *characters],
            FIRST,
            is_sized=True,
        )

    def picture(self, tokens: IntArray, marks: IntArray, cell: int = 48) -> Image.Image:
        """Draw one canvas (S,) with a mark for each cell (S,); `cell` is the pixels of a cell's side."""
        return grids_picture.draw_canvas(tokens, marks, self.canvas, cell)


def _are_bands(bounds: Sequence[Any]) -> bool:
    """Return True if these are lower bounds of bands: integers that ascend from 0."""
    if any(type(bound) is not int for bound in bounds):
        return False
    return list(bounds) == sorted({0, *bounds})


TASK = Grids
