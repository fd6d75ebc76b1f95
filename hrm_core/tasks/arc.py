"""ARC as a task: coloured grids on a square canvas, up to 30x30.

What turns an input into its output is told by demonstrations, which a model knows only by the puzzle identifier it was trained
with: a grid alone is no question. `arc_protocol.py` asks every augmentation of a task under its own identifier.

Shapes: N grids, S = side · side cells, V = 12 tokens.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from hrm_core.data.augment import Symmetry
from hrm_core.errors import PuzzleError
from hrm_core.pictures.grids import INK, PAINTS, PAPER, SYMBOL_SHARE, Colour, Mark, cell_box, font, line_width
from hrm_core.tasks.arc_canvas import COLOUR, NUM_COLOURS, SIDE, SMALLEST, VOCAB_SIZE, encode, window
from hrm_core.tasks.arc_text import draw_grid, grid_word, read_grids
from hrm_core.tasks.task import NO_SETTINGS, BoolArray, IntArray, TokenArray

PALETTE: Sequence[Colour] = (
    (0, 0, 0),
    (0, 116, 217),
    (255, 65, 54),
    (46, 204, 64),
    (255, 220, 0),
    (170, 170, 170),
    (240, 18, 190),
    (255, 133, 27),
    (127, 219, 255),
    (135, 12, 37),
)  # Source: fchollet/ARC-AGI apps/css/common.css
LINE: Colour = (85, 85, 85)
FRAMES: Mapping[Mark, Colour] = {Mark.CHANGED: PAINTS[Mark.CHANGED].fill, Mark.WRONG: PAINTS[Mark.WRONG].fill}
LIGHT = 128  # the brightness from which digits are dark
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
        self.settings: Mapping[str, Any] = NO_SETTINGS if side == SIDE else {"canvas": side}  # the published one is known by its shape
        self.digits = digits

    def __repr__(self) -> str:
        return f"Arc({self.side})"

    @classmethod
    def for_shape(cls, vocab_size: int, seq_len: int, settings: Mapping[str, Any] = NO_SETTINGS) -> "Arc | None":
        """ARC on the canvas of these settings, the published one if they name none, if this is its shape."""
        side = settings.get("canvas", SIDE)
        is_canvas = type(side) is int and SMALLEST <= side <= SIDE
        return cls(side) if is_canvas and (vocab_size, seq_len) == (VOCAB_SIZE, side * side) else None

    def parse(self, text: str) -> TokenArray:
        """Read every grid in a text: rows of digits, JSON lists of rows, or the test inputs of a task's JSON. Returns: (N, S).

        Raises: PuzzleError naming the grid and the place in it.
        """
        grids = read_grids(text)
        for number, grid in enumerate(grids, start=1):
            if max(grid.shape) > self.side:
                found, room = "x".join(map(str, grid.shape)), f"{self.side}x{self.side}"
                raise PuzzleError(f"grid {number} is {found}, expected at most {room}; a model with a larger canvas takes it")
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
        return Symmetry(cells=np.stack([places.ravel(), places.T.ravel()])[rng.integers(0, 2, count)], tokens=colours)

    def picture(self, tokens: IntArray, marks: IntArray, cell: int = 48) -> Image.Image:
        """Draw the grid on one canvas (S,) with a mark for each cell (S,), `cell` pixels a cell; changed and wrong cells are framed."""
        rows, columns = window(tokens)
        grid, framed = self._grid(tokens), marks.reshape(self.side, self.side)[rows, columns]
        height, width = max(grid.shape[0], 1), max(grid.shape[1], 1)
        page = Image.new("RGB", (width * cell + line_width(cell), height * cell + line_width(cell)), LINE if grid.size else PAPER)
        draw = ImageDraw.Draw(page)
        for (row, column), colour in np.ndenumerate(grid):
            self._draw_cell(draw, cell_box(row, column, cell), int(colour), Mark(int(framed[row, column])))
        return page

    def _draw_cell(self, draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], colour: int, mark: Mark) -> None:
        left, top, right, bottom = box
        draw.rectangle((left, top, right - 1, bottom - 1), fill=PALETTE[colour])
        if mark in FRAMES:
            width = max(1, (right - left) // 8)
            draw.rectangle((left, top, right - 1, bottom - 1), outline=FRAMES[mark], width=width)
            draw.rectangle((left + width, top + width, right - 1 - width, bottom - 1 - width), outline=PAPER)
        if self.digits:
            ink = INK if _brightness(PALETTE[colour]) >= LIGHT else PAPER
            size = max(1, round((right - left + 1) * SYMBOL_SHARE))
            draw.text(((left + right) / 2, (top + bottom) / 2), str(colour), fill=ink, font=font(size), anchor="mm")

    def _grid(self, tokens: IntArray) -> TokenArray:
        """The colours (height, width) on a canvas, wherever the grid lies; of height and width 0 where there are none."""
        rows, columns = window(tokens)
        return tokens.reshape(self.side, self.side)[rows, columns].astype(np.uint8) - np.uint8(COLOUR)


def _brightness(colour: Colour) -> float:
    """Source: ITU-R BT.601."""
    red, green, blue = colour
    return 0.299 * red + 0.587 * green + 0.114 * blue


assert len(PALETTE) == NUM_COLOURS
