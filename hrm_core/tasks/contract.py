"""What a task is: one file that turns what people have into tokens and answers back into what they know.

Everything else (data sets, training, evaluation, pictures, the command line) works for any object with
these members. A task object is bound to one size: `Sudoku(9)`, not "Sudoku".

Shapes: N puzzles, S = `seq_len` cells, V = `vocab_size` tokens.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from PIL import Image

from hrm_core.data.symmetry import Symmetry
from hrm_core.pictures.grids import Mark

TokenArray = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.integer]

NO_SETTINGS: Mapping[str, Any] = MappingProxyType({})


@runtime_checkable
class Task(Protocol):
    """One kind of puzzle at one size."""

    settings: Mapping[
        str, Any
    ]  # what its shape does not tell, as JSON has it; stands beside the name
    name: str  # stands in dataset builds and model files: "sudoku"
    vocab_size: int
    seq_len: int
    legend: Sequence[Mark]  # what a picture of a model at work has to explain
    rating_bands: Sequence[
        int
    ]  # lower bound of each band that tables are split by, ascending from 0

    def parse(self, text: str) -> TokenArray:
        """Read every puzzle in a text. Returns: (N, S) question tokens.

        Raises: PuzzleError naming the puzzle and the place in it.
        """
        ...

    def read_file(self, path: Path) -> TokenArray:
        """Read every puzzle in a file: a text, or what else the task comes in. Returns: (N, S) question tokens.

        Raises: PuzzleError, OSError, UnicodeDecodeError.
        """
        ...

    def format(self, tokens: TokenArray) -> str:
        """Draw one grid (S,) as text for a terminal."""
        ...

    def line(self, tokens: TokenArray) -> str:
        """One grid (S,) as one word, which `parse` reads back."""
        ...

    def given(self, inputs: TokenArray) -> BoolArray:
        """Which cells the question already answers. Shapes: (..., S) -> (..., S)."""
        ...

    def accepts(self, inputs: TokenArray, answer: TokenArray) -> bool | None:
        """Whether the rules accept this answer (S,) to this question (S,); None where only the solution can tell."""
        ...

    def accepts_all(self, inputs: IntArray, answers: IntArray) -> BoolArray | None:
        """`accepts` for many puzzles at once. Shapes: (N, S), (N, S) -> (N,); None where only the solutions can tell."""
        ...

    def verdict(self, inputs: TokenArray, answer: TokenArray) -> str:
        """What is to be said of this answer (S,) to this question (S,), in one line."""
        ...

    def draw_symmetries(self, rng: np.random.Generator, count: int) -> Symmetry:
        """Draw `count` random symmetries under which a puzzle stays a puzzle."""
        ...

    def picture(self, tokens: TokenArray, marks: IntArray, cell: int = 48) -> Image.Image:
        """Draw one grid (S,) with a `hrm_core.pictures.grids.Mark` for each cell (S,), `cell` pixels a cell."""
        ...
