"""Boards as Python programs hold them: arrays and lists, written as text that a task reads.

Shapes: N puzzles, H rows, W columns, S = H · W cells.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hrm_core.errors import PuzzleError
from hrm_core.messages import cell_name, shortened
from hrm_core.tasks.contract import Task
from hrm_core.tasks.editing import Editable, Editor

ObjectArray = npt.NDArray[np.object_]
NUMBERS = (int, float, np.integer, np.floating)


def texts_in(given: Any) -> list[str] | None:
    """Return the texts of a list or array of them; None if it holds single characters or no texts."""
    is_scalar = isinstance(given, np.ndarray) and not given.ndim
    if is_scalar or not isinstance(given, Sequence | np.ndarray) or not len(given):
        return None
    texts = [str(text) for text in given if isinstance(text, str)]
    if len(texts) < len(given) or max(map(len, texts)) < 2:
        return None
    return texts


def board_text(task: Task, given: Any) -> str:
    """Write arrays or lists of cells as text, a line a row and an empty line between puzzles.

    A cell is a number or a character; 0, None, NaN, "" and what is masked are blanks. Shapes: (S,),
    (H, W), (N, S) or (N, H, W). Where a grid may be smaller than the board, (H, W) may be too.

    Raises: PuzzleError saying what is expected.
    """
    if not isinstance(task, Editable):
        raise PuzzleError(f"{task.name} is asked with text or a Path; found {_described(given)}")
    editor = task.editor()
    boards = _boards(editor, given)
    if boards is None:
        height, width = editor.height, editor.width
        raise PuzzleError(
            f"a puzzle of {task.name} is text, a Path, or an array or lists of cells, "
            f"({height * width},), ({height}, {width}) or (N, {height}, {width}), with 0 or None "
            f"for blanks; found {_described(given)}"
        )
    written = []
    for number, board in enumerate(boards, start=1):
        cells = np.array(list(_written(editor, board, number)), object)
        rows = cells.reshape(board.shape).tolist()
        written.append("\n".join(map("".join, rows)))
    return "\n\n".join(written)


def _boards(editor: Editor, given: Any) -> ObjectArray | None:
    """Return the boards as (N, H, W); None if what is given has no such shape."""
    if isinstance(given, str | bytes | dict | set) or not hasattr(given, "__len__"):
        return None
    cells = _cells(given)
    if cells is None:
        return None
    height, width = editor.height, editor.width
    shape = (height, width)
    if not cells.size:
        return None
    if cells.shape == (height * width,) or cells.shape[1:] == (height * width,):
        return cells.reshape(-1, height, width)
    grids = cells[None] if cells.ndim == 2 else cells
    if grids.ndim != 3:
        return None
    is_smaller = editor.is_sized and grids.shape[1] <= height and grids.shape[2] <= width
    return grids if grids.shape[1:] == shape or is_smaller else None


def _cells(given: Any) -> ObjectArray | None:
    """Return an array of cells, None where one is masked; None if numpy cannot make one."""
    if isinstance(given, np.ma.MaskedArray):
        cells = np.array(np.ma.getdata(given), dtype=object)
        cells[np.ma.getmaskarray(given)] = None
        return cells
    if hasattr(given, "detach"):  # a tensor of torch, which may want its gradient, on any device
        given = given.detach().cpu()
    try:
        return np.asarray(given, dtype=object)
    except (ValueError, TypeError):  # rows of several lengths that numpy cannot place
        return None


def _written(editor: Editor, board: ObjectArray, number: int) -> Iterator[str]:
    """Yield the character of each cell of a board (H, W). Raises: PuzzleError naming the place."""
    blank = editor.kinds[editor.blank].symbol
    symbols = {kind.symbol for kind in editor.kinds}
    for cell, value in enumerate(board.reshape(-1).tolist()):
        text = _character(value)
        if text == "" or (text == "0" and "0" not in symbols):
            text = blank
        if text is None or len(text) > 1:
            place = cell_name(cell, board.shape[1])
            known = " ".join(sorted(symbols - {"", blank}))
            raise PuzzleError(
                f"puzzle {number}: {shortened(repr(value))} at {place}; expected one of {known}, "
                "or 0 or None for a blank"
            )
        yield text


def _character(value: object) -> str | None:
    """Write one cell; "" for a blank, None for what is no cell."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool | np.bool_) or not isinstance(value, NUMBERS):
        return None
    number = float(value)
    if math.isnan(number):
        return ""
    return str(int(number)) if number.is_integer() and number >= 0 else None


def _described(given: Any) -> str:
    """Say what was found: the type, and the shape of an array or of lists."""
    kind = type(given).__name__
    cells = _cells(given)
    if cells is None:
        return f"{kind} of rows of several lengths"
    is_nested = isinstance(given, list | tuple | np.ndarray) or hasattr(given, "__array__")
    return f"{kind} of shape {cells.shape}" if is_nested else kind
