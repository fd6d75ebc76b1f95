"""Capabilities of a task that a page in the browser asks for: `hrm serve`.

They are optional like those of `capabilities.py`: without them a puzzle is a text, and
puzzles come from a data set alone.

Shapes: N puzzles, S = `seq_len` cells, V tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from hrm_core.pictures.grids import Colour
from hrm_core.tasks.contract import IntArray


class CellKind(NamedTuple):
    """One token as a person sees it in a cell and types it."""

    symbol: str  # a character that `parse` reads in a row of a question; "" outside of the grid
    name: str  # as a screen reader says it
    colour: Colour | None = None  # of the whole cell
    is_asked: bool = True  # stands in questions
    is_single: bool = False  # a question has one at most


OUTER = CellKind("", "outside", is_asked=False)


@dataclass(frozen=True)
class Editor:
    """A board that a person fills in cell by cell. `parse` reads the symbols, a line a row."""

    height: int
    width: int
    kinds: Sequence[CellKind]  # of each token, (V,)
    blank: int  # token of a cell that was cleared
    box: tuple[int, int] | None = None  # rows and columns between heavy lines
    is_painted: bool = False  # with the mouse; else a cell is chosen and typed
    is_sized: bool = False  # a grid may be smaller than the board


@runtime_checkable
class Editable(Protocol):
    """Has questions that are filled in on a board."""

    def editor(self) -> Editor:
        """Return the board of this size."""
        ...


@runtime_checkable
class Inventive(Protocol):
    """Makes questions of its own."""

    def invent(self, rng: np.random.Generator, count: int) -> tuple[IntArray, IntArray]:
        """Make `count` questions. Returns: tokens (N, S) and ratings (N,).

        Raises: PuzzleError if there are none of this size.
        """
        ...
