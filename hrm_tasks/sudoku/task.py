"""The task of Sudoku on boards of 4x4, 6x6 and 9x9.

Shapes: N puzzles, S = size · size cells in row-major order. Tokens: pad 0, blank 1, digit d is d + 1.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hrm_core.data.encodings import read_text
from hrm_core.data.symmetry import Symmetry
from hrm_core.errors import PuzzleError
from hrm_core.pictures.grids import Mark, draw_board
from hrm_core.tasks.cells import CellMeasures
from hrm_core.tasks.contract import NO_SETTINGS
from hrm_core.tasks.editing import OUTER, CellKind, Editor
from hrm_tasks.sudoku.board import BOARDS, BoolArray, ByteArray, IntArray
from hrm_tasks.sudoku.csv_rows import csv_questions
from hrm_tasks.sudoku.generator import generate
from hrm_tasks.sudoku.solver import TooLongError, count_solutions
from hrm_tasks.sudoku.text import detect_size, draw_grid, read_puzzles, write_line

PAD, BLANK = 0, 1
MAX_BACKTRACKS = 10_000  # of the search for a second solution: less than a second
FLAWS = ("the puzzle has no solution", "", "the puzzle has several solutions")


class Sudoku(CellMeasures):
    """Task of solving Sudoku on a board of `size` rows; boxes are 2x2, 2 rows by 3 columns, or 3x3."""

    name: str = "sudoku"
    settings: Mapping[str, Any] = NO_SETTINGS
    legend: Sequence[Mark] = (Mark.GIVEN, Mark.CHANGED, Mark.AGREES)
    rating_bands: Sequence[int] = (0, 1, 5, 20, 50, 100)  # backtracks of `solver.solve`

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
        """Return the task whose puzzles have this shape, None if there is none."""
        size = vocab_size - 2
        if size not in BOARDS or seq_len != size * size:
            return None
        return cls(size)

    @classmethod
    def from_text(cls, text: str) -> "Sudoku":
        """Return the task of the board that the first puzzle of a text is drawn on.

        Raises: PuzzleError if the first line is neither a puzzle nor a row of one.
        """
        return cls(detect_size(text))

    @property
    def token_texts(self) -> Sequence[str]:
        """Return the text of each token, (V,): the digits; none for pad and blank."""
        return ["", "", *map(str, range(1, self.size + 1))]

    def parse(self, text: str) -> ByteArray:
        """Read every puzzle in a text: one a line, or drawn with blank lines between them, or CSV.

        Returns: (N, S) question tokens. Raises: PuzzleError naming the puzzle and the place in it.
        """
        return read_puzzles(csv_questions(text) or text, self.board) + np.uint8(BLANK)

    def read_file(self, path: Path) -> ByteArray:
        """Read every puzzle in a text file, as `parse` does, or in a CSV file, packed or not."""
        return self.parse(csv_questions(path) or read_text(path))

    def format(self, tokens: ByteArray) -> str:
        """Draw one grid (S,) as text with box lines, blanks and pads as dots; `parse` reads it back."""
        return draw_grid(_digits(tokens), self.board)

    def line(self, tokens: ByteArray) -> str:
        """Write one grid (S,) as one word of digits and dots; `parse` reads it back."""
        return write_line(_digits(tokens))

    def given(self, inputs: IntArray) -> BoolArray:
        """Return True for the cells that the question gives. Shapes: (..., S) -> (..., S)."""
        return inputs > BLANK

    def blanks(self, inputs: IntArray) -> BoolArray:
        """Return True for the cells that the question leaves blank. Shapes: (N, S) -> (N, S)."""
        is_blank: BoolArray = inputs == BLANK
        return is_blank

    def accepts(self, inputs: ByteArray, answer: ByteArray) -> bool:
        """Return True if an answer (S,) follows the rules and keeps the givens of the question (S,)."""
        return bool(self.accepts_all(inputs[None], answer[None])[0])

    def accepts_all(self, inputs: IntArray, answers: IntArray) -> BoolArray:
        """Judge many answers at once, as `accepts` does. Shapes: (N, S), (N, S) -> (N,)."""
        is_kept = (inputs == answers) | ~self.given(inputs)
        follows_rules = self.board.follows_rules(_digits(answers))
        valid: BoolArray = is_kept.all(axis=1) & follows_rules
        return valid

    def conflicts(self, inputs: IntArray, answers: IntArray) -> BoolArray:
        """Mark blanks, digits that a unit holds twice, and changed givens. Shapes: (N, S) each -> (N, S)."""
        is_changed = self.given(inputs) & (inputs != answers)
        marked: BoolArray = is_changed | self.board.conflicts(_digits(answers))
        return marked

    def verdict(self, inputs: ByteArray, answer: ByteArray) -> str:
        """Say if the rules accept this answer (S,) to this question (S,)."""
        return "accepted by the rules" if self.accepts(inputs, answer) else "NOT a solution"

    def flaw(self, inputs: ByteArray) -> str:
        """Say that a question (S,) has no solution or several; "" if it has one.

        Also "" if 10,000 backtracks do not decide it.
        """
        try:
            return FLAWS[count_solutions(_digits(inputs), max_backtracks=MAX_BACKTRACKS)]
        except TooLongError:
            return ""

    def editor(self) -> Editor:
        """Return the board to fill in: digits are typed."""
        digits = [CellKind(str(digit), str(digit)) for digit in range(1, self.size + 1)]
        return Editor(
            self.size,
            self.size,
            [OUTER, CellKind(".", "blank"), *digits],
            BLANK,
            box=(self.board.box_height, self.board.box_width),
        )

    def invent(self, rng: np.random.Generator, count: int) -> tuple[IntArray, IntArray]:
        """Make puzzles with one solution that can spare no given. Returns: (N, S), ratings (N,)."""
        puzzles = generate(self.size, count, rng)
        return puzzles.inputs, puzzles.ratings

    def draw_symmetries(self, rng: np.random.Generator, count: int) -> Symmetry:
        """Draw uniformly from all symmetries of the board.

        They relabel digits, rearrange bands, stacks and the lines in them, and transpose the board.
        """
        digits = self.board.draw_digit_orders(rng, count)
        pads = np.zeros((count, 1), dtype=np.uint8)
        return Symmetry(
            cells=self.board.draw_cell_orders(rng, count),
            tokens=np.concatenate([pads, digits + np.uint8(1)], axis=1),
        )

    def picture(self, tokens: ByteArray, marks: IntArray, cell: int = 48) -> Image.Image:
        """Draw one grid (S,) with a mark for each cell (S,); `cell` is the pixels of a cell's side.

        Blanks and pads stay empty.
        """
        board = self.board
        symbol_of = ["", *map(str, range(1, self.size + 1))]
        symbols = np.array(symbol_of)[_digits(tokens)]
        return draw_board(
            symbols.reshape(self.size, self.size).tolist(),
            marks.reshape(self.size, self.size),
            board.box_height,
            board.box_width,
            cell,
        )


def _digits(tokens: IntArray) -> ByteArray:
    """Return the digit of each token, 0 for blank and pad."""
    return np.maximum(tokens, BLANK).astype(np.uint8) - np.uint8(BLANK)


TASK = Sudoku
