"""Draw solutions as HTML, as notebooks show them: the board, given cells bold, the others coloured.

Shapes: S cells, H rows, W columns.
"""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from hrm_core.pictures.grids import INK, PAINTS, PAPER, Colour, Mark
from hrm_core.tasks.capabilities import Readable, given_cells
from hrm_core.tasks.contract import BoolArray
from hrm_core.tasks.editing import CellKind, Editable, Editor

if TYPE_CHECKING:
    from hrm_core.inference.solution import Solution

SMALL, LARGE = 12, 26  # pixels of a cell of a board of many and of few rows
FEW_ROWS = 12
MOST_SHOWN = 60  # solutions of a gallery


def solution_html(solution: "Solution") -> str:
    """Return one answer as HTML: its board, or its text, with the verdict below."""
    if isinstance(solution.task, Editable):
        drawn = _board(solution, solution.task.editor())
    elif isinstance(solution.task, Readable):
        drawn = f"<pre>{escape(str(solution))}</pre>"
    else:
        drawn = ""
    caption = f"{solution.judgement}; {solution.settled}"
    return (
        '<figure style="display:inline-block;margin:8px;vertical-align:top">'
        f"{drawn}<figcaption>{escape(caption)}</figcaption></figure>"
    )


def gallery_html(solutions: Sequence["Solution"]) -> str:
    """Return several answers side by side; the first 60 of many."""
    shown = "".join(map(solution_html, solutions[:MOST_SHOWN]))
    left = len(solutions) - MOST_SHOWN
    more = f"<p>and {left:,} more</p>" if left > 0 else ""
    return f"<div>{shown}{more}</div>"


def _board(solution: "Solution", editor: Editor) -> str:
    """Return the board as a table."""
    marks = _marks(solution)
    size = LARGE if editor.height <= FEW_ROWS else SMALL
    height, width = _extent(solution, editor)
    rows = []
    for row in range(height):
        cells = []
        for column in range(width):
            place = row * editor.width + column
            kind = editor.kinds[int(solution.answer[place])]
            lines = _heavy_lines(editor, row, column)
            cells.append(_cell(kind, marks[place], size, lines))
        rows.append(f"<tr>{''.join(cells)}</tr>")
    style = f"border-collapse:collapse;border:2px solid {_css(INK)}"
    return f'<table style="{style}">{"".join(rows)}</table>'


def _extent(solution: "Solution", editor: Editor) -> tuple[int, int]:
    """Return the rows and columns to show; a grid that is smaller than the board is cut out."""
    if not editor.is_sized:
        return editor.height, editor.width
    is_inside = np.array([kind.symbol != "" for kind in editor.kinds])
    cells = is_inside[solution.answer].reshape(editor.height, editor.width)
    rows, columns = np.flatnonzero(cells.any(axis=1)), np.flatnonzero(cells.any(axis=0))
    if not len(rows):
        return 0, 0
    return int(rows[-1]) + 1, int(columns[-1]) + 1


def _marks(solution: "Solution") -> list[Mark]:
    """Mark given cells, cells that the model filled in, and those that the rules refuse."""
    given: BoolArray = given_cells(solution.task, solution.question)
    is_changed = solution.question != solution.answer
    wrong = solution.conflicts | (given & is_changed)
    marks = np.where(is_changed, Mark.AGREES, Mark.PLAIN)
    marks = np.where(given, Mark.GIVEN, marks)
    marks = np.where(wrong, Mark.WRONG, marks)
    return list(map(Mark, marks.tolist()))


def _cell(kind: CellKind, mark: Mark, size: int, lines: str) -> str:
    """Return one cell: its character, or its colour."""
    paint = PAINTS[mark]
    is_coloured = kind.colour is not None and mark is not Mark.WRONG
    fill = kind.colour if is_coloured else paint.fill
    weight = "bold" if mark is Mark.GIVEN else "normal"
    style = (
        f"width:{size}px;height:{size}px;padding:0;text-align:center;font-weight:{weight};"
        f"background:{_css(fill or PAPER)};color:{_css(paint.ink)};border:1px solid #969ba4{lines}"
    )
    text = "" if is_coloured else kind.symbol.replace(".", "")
    return f'<td style="{style}">{escape(text)}</td>'


def _heavy_lines(editor: Editor, row: int, column: int) -> str:
    """Return the style of the lines between boxes."""
    if editor.box is None:
        return ""
    height, width = editor.box
    top = f";border-top:2px solid {_css(INK)}" if row % height == 0 else ""
    left = f";border-left:2px solid {_css(INK)}" if column % width == 0 else ""
    return top + left


def _css(colour: Colour) -> str:
    red, green, blue = colour
    return f"rgb({red},{green},{blue})"
