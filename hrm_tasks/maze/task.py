"""The task of mazes: find the shortest path from S to G on a square of any size.

Shapes: N mazes, S = size · size cells in row-major order. Tokens: pad 0, then wall, open, S, G and path from 1.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hrm_core.data.dihedral import NUM_VIEWS, square_cells
from hrm_core.data.encodings import read_text
from hrm_core.data.symmetry import Symmetry
from hrm_core.errors import PuzzleError
from hrm_core.pictures.grids import INK, Mark, Swatch
from hrm_core.tasks.cells import CellMeasures
from hrm_core.tasks.contract import NO_SETTINGS
from hrm_core.tasks.editing import OUTER, CellKind, Editor
from hrm_tasks.maze import image as maze_image
from hrm_tasks.maze import picture as maze_picture
from hrm_tasks.maze import text as maze_text
from hrm_tasks.maze.board import (
    CHARACTERS,
    GOAL,
    OPEN,
    START,
    VOCAB_SIZE,
    WALL,
    BoolArray,
    ByteArray,
    IntArray,
    check_size,
    size_of,
)
from hrm_tasks.maze.csv_rows import csv_questions
from hrm_tasks.maze.generator import MazeGenerator
from hrm_tasks.maze.verdict import Verdict, are_shortest_paths, find_faults, judge


class Maze(CellMeasures):
    """Task of solving mazes on a board of `size` rows; an answer is the question with its path marked."""

    name: str = "maze"
    settings: Mapping[str, Any] = NO_SETTINGS
    legend: Sequence[Mark] = (Mark.CHANGED, Mark.AGREES)
    swatches: Sequence[Swatch] = maze_picture.SWATCHES
    # moves of the shortest path
    rating_bands: Sequence[int] = (0, 4, 7, 10, 15, 20, 30, 60, 110, 130, 160, 200)

    def __init__(self, size: int) -> None:
        check_size(size)
        self.size = size
        self.vocab_size = VOCAB_SIZE
        self.seq_len = size * size

    def __repr__(self) -> str:
        return f"Maze({self.size})"

    @classmethod
    def for_shape(
        cls, vocab_size: int, seq_len: int, settings: Mapping[str, Any] = NO_SETTINGS
    ) -> "Maze | None":
        """Return the task whose mazes have this shape, None if there is none."""
        size = size_of(seq_len)
        if size is None or vocab_size != VOCAB_SIZE:
            return None
        return cls(size)

    @classmethod
    def from_text(cls, text: str) -> "Maze":
        """Return the task of the board that the first maze of a text is drawn on.

        Raises: PuzzleError if it is no square.
        """
        return cls(maze_text.detect_size(text))

    @property
    def token_texts(self) -> Sequence[str]:
        """Return the text of each token, (V,): published characters, a blank for an open cell; none for pad."""
        return ["", *CHARACTERS]

    def parse(self, text: str) -> ByteArray:
        """Read every maze in a text: one a line, or drawn with empty lines between them, or CSV.

        Returns: (N, S) question tokens. Raises: PuzzleError naming the maze and the place in it.
        """
        return maze_text.read_mazes(csv_questions(text) or text, self.size)

    def read_file(self, path: Path) -> ByteArray:
        """Read the maze of a PNG, or every maze in a text or CSV file. Returns: (N, S) question tokens.

        Raises: PuzzleError naming what is wrong.
        """
        maze_image.check_no_jpeg(path)
        if path.suffix.lower() != ".png":
            return self.parse(csv_questions(path) or read_text(path))
        maze = maze_image.read_png(path)
        if len(maze) != self.seq_len:
            found = size_of(len(maze))
            raise PuzzleError(
                f"{path}: a maze of {found}x{found} cells; expected {self.size}x{self.size}"
            )
        return maze[None]

    def format(self, tokens: ByteArray) -> str:
        """Draw one maze (S,) as text with blanks for open cells; `parse` reads a question back."""
        return maze_text.draw_maze(tokens, self.size)

    def line(self, tokens: ByteArray) -> str:
        """Write one maze (S,) as one word with dots for open cells; `parse` reads a question back."""
        return maze_text.write_line(tokens)

    def given(self, inputs: IntArray) -> BoolArray:
        """Return True for the cells that the question gives: walls, S and G.

        Shapes: (..., S) -> (..., S).
        """
        is_given: BoolArray = (inputs == WALL) | (inputs == START) | (inputs == GOAL)
        return is_given

    def accepts(self, inputs: ByteArray, answer: ByteArray) -> bool:
        """Return True if an answer (S,) marks a shortest path of the maze (S,), changing nothing else."""
        return bool(self.accepts_all(inputs[None], answer[None])[0])

    def accepts_all(self, inputs: IntArray, answers: IntArray) -> BoolArray:
        """Judge many answers at once, as `accepts` does. Shapes: (N, S), (N, S) -> (N,)."""
        return are_shortest_paths(inputs, answers)

    def judge(self, inputs: ByteArray, answer: ByteArray) -> Verdict:
        """Judge one answer (S,): a shortest path, a longer one, or broken and where."""
        return judge(inputs, answer, self.size)

    def verdict(self, inputs: ByteArray, answer: ByteArray) -> str:
        """Describe one answer (S,): "valid but longer: 31 moves, 4 more than the shortest path"."""
        return str(self.judge(inputs, answer))

    def conflicts(self, inputs: IntArray, answers: IntArray) -> BoolArray:
        """Mark changes of the maze, and marks that are no part of a way from S. Shapes as given."""
        return find_faults(inputs, answers, self.size)

    def editor(self) -> Editor:
        """Return the board to fill in: walls are painted."""
        kinds = [
            OUTER,
            CellKind("#", "wall", INK),
            CellKind(".", "open"),
            CellKind("S", "start", is_single=True),
            CellKind("G", "goal", is_single=True),
            CellKind("o", "path", is_asked=False),
        ]
        return Editor(self.size, self.size, kinds, OPEN, is_painted=True)

    def invent(self, rng: np.random.Generator, count: int) -> tuple[IntArray, IntArray]:
        """Make mazes with one shortest path. Returns: (N, S), ratings (N,): their moves."""
        mazes = MazeGenerator(self.size, rng).generate(count)
        return mazes.inputs, mazes.ratings

    def draw_symmetries(self, rng: np.random.Generator, count: int) -> Symmetry:
        """Draw uniformly from the rotations and reflections of the square."""
        return self.symmetries(rng.integers(NUM_VIEWS, size=count))

    def symmetries(self, numbers: IntArray) -> Symmetry:
        """Return the symmetries with these published numbers (N,), 0 to 7; 0 changes nothing."""
        tokens = np.arange(VOCAB_SIZE, dtype=np.uint8)
        return Symmetry(
            cells=square_cells(self.size)[numbers],
            tokens=np.broadcast_to(tokens, (len(numbers), VOCAB_SIZE)),
        )

    def picture(self, tokens: ByteArray, marks: IntArray, cell: int = 48) -> Image.Image:
        """Draw one maze (S,) with a mark for each cell (S,); `cell` is the pixels of a cell's side."""
        return maze_picture.draw_maze(tokens, marks, self.size, cell)


TASK = Maze
