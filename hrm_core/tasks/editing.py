"""Boards that are filled in cell by cell: `hrm serve`, and `grid` of a solution in Python.

These capabilities are optional like those of `capabilities.py`: without them a puzzle is a text, and
puzzles come from a data set alone.

Shapes: N puzzles, S = `seq_len` cells, V tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from hrm_core.pictures.grids import Colour
from hrm_core.tasks.contract import IntArray, TokenArray


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


def grid_of(editor: Editor, tokens: TokenArray) -> npt.NDArray[Any]:
    """Return the cells of one grid (S,) as a person sees them.

    Returns: (H, W) of numbers if all symbols are digits: 0 for a blank, -1 outside of the grid;
    else of characters. A grid that is smaller than the board is cut out.
    """
    symbols = np.array([kind.symbol for kind in editor.kinds])
    numbers = _numbers(symbols)
    chosen = symbols if numbers is None else numbers
    height, width = editor.height, editor.width
    cells = chosen[tokens].reshape(height, width)
    if not editor.is_sized:
        return cells
    inside = (symbols != "")[tokens].reshape(height, width)
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not len(rows):
        return cells[:0, :0]
    return cells[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _numbers(symbols: npt.NDArray[np.str_]) -> IntArray | None:
    """Return the number of each token (V,); None if a symbol is no digit or two are one number."""
    value_of = {"": -1, ".": 0} | {str(digit): digit for digit in range(10)}
    found = set(symbols.tolist())
    if not found <= value_of.keys() or {".", "0"} <= found:
        return None
    return np.array([value_of[symbol] for symbol in symbols.tolist()])


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
