"""ARC as a task: coloured grids on a square canvas, up to 30x30.

What turns an input into its output is told by demonstrations, which a model knows only by the puzzle identifier it was trained
with: a grid alone is no question. `arc_protocol.py` asks every augmentation of a task under its own identifier.

Shapes: N grids, S = side · side cells, V = 12 tokens.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hrm_core.data.symmetry import Symmetry
from hrm_core.errors import PuzzleError
from hrm_core.pictures.grids import Mark
from hrm_core.tasks.contract import NO_SETTINGS, BoolArray, IntArray, TokenArray
from hrm_tasks.arc import picture as arc_picture
from hrm_tasks.arc.canvas import COLOUR, SIDE, SMALLEST, VOCAB_SIZE, encode, window
from hrm_tasks.arc.text import draw_grid, grid_word, read_grids

NO_GRID = "(no grid)"


class Arc:
    """ARC on a canvas of `side` rows. With `digits` pictures show the number of each colour, too."""

    name: str = "arc"
    vocab_size: int = VOCAB_SIZE
    legend: Sequence[Mark] = (Mark.CHANGED,)
    rating_bands: Sequence[int] = (0,)  # tasks are not rated

    def __init__(self, side: int = SIDE, digits: bool = False) -> None:
        self.side = side
        self.seq_len = side * side
        self.settings: Mapping[str, Any] = (
            NO_SETTINGS if side == SIDE else {"canvas": side}
        )  # the published one is known by its shape
        self.digits = digits

    def __repr__(self) -> str:
        return f"Arc({self.side})"

    @classmethod
    def for_shape(
        cls, vocab_size: int, seq_len: int, settings: Mapping[str, Any] = NO_SETTINGS
    ) -> "Arc | None":
        """ARC on the canvas of these settings, the published one if they name none, if this is its shape."""
        side = settings.get("canvas", SIDE)
        is_canvas = type(side) is int and SMALLEST <= side <= SIDE
        return (
            cls(side) if is_canvas and (vocab_size, seq_len) == (VOCAB_SIZE, side * side) else None
        )

    def parse(self, text: str) -> TokenArray:
        """Read every grid in a text: rows of digits, JSON lists of rows, or the test inputs of a task's JSON. Returns: (N, S).

        Raises: PuzzleError naming the grid and the place in it.
        """
        grids = read_grids(text)
        for number, grid in enumerate(grids, start=1):
            if max(grid.shape) > self.side:
                found, room = "x".join(map(str, grid.shape)), f"{self.side}x{self.side}"
                raise PuzzleError(
                    f"grid {number} is {found}, expected at most {room}; a model with a larger canvas takes it"
                )
        return encode(grids, self.side)

    def read_file(self, path: Path) -> TokenArray:
        """Read every grid in a text file, as `parse` does."""
        return self.parse(path.read_text(encoding="utf-8"))

    def format(self, tokens: IntArray) -> str:
        """Draw the grid on one canvas (S,) as rows of digits, wherever it lies; `parse` reads it back."""
        grid = self._grid(tokens)
        return draw_grid(grid) if grid.size else NO_GRID

    def line(self, tokens: IntArray) -> str:
        """The grid on one canvas (S,) as JSON without spaces, which `parse` reads back."""
        return grid_word(self._grid(tokens))

    def given(self, inputs: IntArray) -> BoolArray:
        """Which cells the question already answers: none, the output is another grid. Shapes: (..., S) -> (..., S)."""
        return np.zeros(inputs.shape, bool)

    def accepts(self, inputs: IntArray, answer: IntArray) -> bool | None:
        """None: only the solution can tell."""
        return None

    def accepts_all(self, inputs: IntArray, answers: IntArray) -> BoolArray | None:
        """None: only the solutions can tell."""
        return None

    def verdict(self, inputs: IntArray, answer: IntArray) -> str:
        """That only the solution can tell."""
        return "only the solution can tell"

    def draw_symmetries(self, rng: np.random.Generator, count: int) -> Symmetry:
        """Draw `count` symmetries of the canvas: transposed or not, and colours 1 to 9 permuted.

        Other symmetries of a grid would take it out of its corner, so they are none of the canvas. And a trained model knows a
        task by its identifier, each augmentation by its own: votes are the augmentations of the data set, see `arc_protocol.py`.
        """
        places = np.arange(self.seq_len).reshape(self.side, self.side)
        colours = np.tile(np.arange(VOCAB_SIZE), (count, 1))
        colours[:, COLOUR + 1 :] = rng.permuted(colours[:, COLOUR + 1 :], axis=1)
        return Symmetry(
            cells=np.stack([places.ravel(), places.T.ravel()])[rng.integers(0, 2, count)],
            tokens=colours,
        )

    def with_digits(self) -> "Arc":
        """The same task whose pictures show the number of each colour, too."""
        return Arc(self.side, digits=True)

    def picture(self, tokens: IntArray, marks: IntArray, cell: int = 48) -> Image.Image:
        """Draw the grid on one canvas (S,) with a mark for each cell (S,), `cell` pixels a cell or as many as digits take."""
        return arc_picture.draw_grid(tokens, marks, cell, self.digits)

    def _grid(self, tokens: IntArray) -> TokenArray:
        """The colours (height, width) on a canvas, wherever the grid lies; of height and width 0 where there are none."""
        rows, columns = window(tokens)
        return tokens.reshape(self.side, self.side)[rows, columns].astype(np.uint8) - np.uint8(
            COLOUR
        )


TASK = Arc
