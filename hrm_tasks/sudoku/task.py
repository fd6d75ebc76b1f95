"""Sudoku as a task: 4x4, 6x6 and 9x9.

Shapes: N puzzles, S = size · size cells in row-major order. Tokens: pad 0, blank 1, digit d is d + 1.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hrm_core.data.symmetry import Symmetry
from hrm_core.errors import PuzzleError
from hrm_core.pictures.grids import Mark, draw_board
from hrm_core.tasks.cells import CellMeasures
from hrm_core.tasks.contract import NO_SETTINGS
from hrm_tasks.sudoku.board import BOARDS, BoolArray, ByteArray, IntArray
from hrm_tasks.sudoku.text import detect_size, draw_grid, read_puzzles

PAD, BLANK = 0, 1


class Sudoku(CellMeasures):
    """Sudoku on a board of `size` rows; boxes are 2x2, 2 rows by 3 columns, or 3x3."""

    name: str = "sudoku"
    settings: Mapping[str, Any] = NO_SETTINGS
    legend: Sequence[Mark] = (Mark.GIVEN, Mark.CHANGED, Mark.AGREES)
    rating_bands: Sequence[int] = (0, 1, 5, 20, 50, 100)  # backtracks of `sudoku_solver.solve`

    def __init__(self, size: int) -> None:
        if size not in BOARDS:
            raise PuzzleError(f"no Sudoku board has {size} rows here; expected 4, 6 or 9")
        self.size = size
        self.board = BOARDS[size]
        self.vocab_size = size + 2
        self.seq_len = size * size

    def __repr__(self) -> str:
        return f"Sudoku({self.size})"

    @classmethod
    def for_shape(
        cls, vocab_size: int, seq_len: int, settings: Mapping[str, Any] = NO_SETTINGS
    ) -> "Sudoku | None":
        """The board whose puzzles have this shape, if there is one."""
        size = vocab_size - 2
        return cls(size) if size in BOARDS and seq_len == size * size else None

    @classmethod
    def from_text(cls, text: str) -> "Sudoku":
        """The board that the first puzzle of a text is drawn on.

        Raises: PuzzleError where the first line is neither a puzzle nor a row of one.
        """
        return cls(detect_size(text))

    def parse(self, text: str) -> ByteArray:
        """Read every puzzle in a text: one a line, or drawn and parted by blank lines. Returns: (N, S) question tokens.

        Raises: PuzzleError naming the puzzle and the place in it.
        """
        return read_puzzles(text, self.board) + np.uint8(BLANK)

    def read_file(self, path: Path) -> ByteArray:
        """Read every puzzle in a text file, as `parse` does."""
        return self.parse(path.read_text(encoding="utf-8"))

    def format(self, tokens: ByteArray) -> str:
        """Draw one grid (S,) as text with box lines, blanks and pads as dots; `parse` reads it back."""
        return draw_grid(_digits(tokens), self.board)

    def line(self, tokens: ByteArray) -> str:
        """One grid (S,) as one word of digits and dots, which `parse` reads back."""
        return "".join(str(digit) if digit else "." for digit in _digits(tokens).tolist())

    def given(self, inputs: IntArray) -> BoolArray:
        """Which cells the question already answers. Shapes: (..., S) -> (..., S)."""
        return inputs > BLANK

    def accepts(self, inputs: ByteArray, answer: ByteArray) -> bool:
        """Whether this answer (S,) is complete, follows the rules and keeps the givens of the question (S,)."""
        return bool(self.accepts_all(inputs[None], answer[None])[0])

    def accepts_all(self, inputs: IntArray, answers: IntArray) -> BoolArray:
        """`accepts` for many puzzles at once. Shapes: (N, S), (N, S) -> (N,)."""
        keeps_givens = ((inputs == answers) | ~self.given(inputs)).all(axis=1)
        valid: BoolArray = keeps_givens & self.board.follows_rules(_digits(answers))
        return valid

    def verdict(self, inputs: ByteArray, answer: ByteArray) -> str:
        """Whether the rules accept this answer (S,) to this question (S,)."""
        return "accepted by the rules" if self.accepts(inputs, answer) else "NOT a solution"

    def draw_symmetries(self, rng: np.random.Generator, count: int) -> Symmetry:
        """Draw uniformly from all symmetries of the board: digits relabelled, lines, bands and stacks rearranged, transposed."""
        digits = self.board.draw_digit_orders(rng, count)
        pads = np.zeros((count, 1), dtype=np.uint8)
        return Symmetry(
            cells=self.board.draw_cell_orders(rng, count),
            tokens=np.concatenate([pads, digits + np.uint8(1)], axis=1),
        )

    def picture(self, tokens: ByteArray, marks: IntArray, cell: int = 48) -> Image.Image:
        """Draw one grid (S,) with a mark for each cell (S,), `cell` pixels a cell; blanks and pads stay empty."""
        rows = _digits(tokens).reshape(self.size, self.size).tolist()
        symbols = [[str(digit) if digit else "" for digit in row] for row in rows]
        return draw_board(
            symbols,
            marks.reshape(self.size, self.size),
            self.board.box_height,
            self.board.box_width,
            cell,
        )


def _digits(tokens: IntArray) -> ByteArray:
    """The digit of each token, 0 for blank and pad."""
    return np.maximum(tokens, BLANK).astype(np.uint8) - np.uint8(BLANK)


TASK = Sudoku
