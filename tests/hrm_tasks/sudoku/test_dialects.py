"""Sudokus as forums, apps and programs write them: each dialect is read back as the board that was written."""

import json
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrm_core.errors import PuzzleError
from hrm_tasks.sudoku.board import BOARDS, Board, ByteArray
from hrm_tasks.sudoku.solver import solve
from hrm_tasks.sudoku.task import Sudoku
from hrm_tasks.sudoku.text import draw_grid, read_puzzles

Grid = list[list[str]]  # rows of digits; "" is a blank
Writer = Callable[[Grid, Board], str]

FUZZ = settings(deadline=None, derandomize=True, max_examples=300)


def word(grid: Grid, blank: str = ".") -> str:
    return "".join(cell or blank for row in grid for cell in row)


def lines(grid: Grid, blank: str = ".", between: str = "") -> list[str]:
    return [between.join(cell or blank for cell in row) for row in grid]


def boxed(
    grid: Grid, board: Board, blank: str, bar: str, between: str = "", pad: str = ""
) -> list[str]:
    """Rows with a bar between boxes and at both ends."""
    width = board.box_width
    drawn = []
    for row in grid:
        cells = [cell or blank for cell in row]
        boxes = [between.join(cells[at : at + width]) for at in range(0, board.size, width)]
        drawn.append(bar + bar.join(pad + box + pad for box in boxes) + bar)
    return drawn


def framed(rows: list[str], board: Board, top: str, middle: str, bottom: str) -> str:
    """Put a border above and below, and between bands. A border is its left, its line and its right."""
    height = board.box_height
    bands = [rows[at : at + height] for at in range(0, board.size, height)]

    def border(form: str) -> str:
        left, line, cross, right = form
        inner = "".join(cross if sign in "|│║" else line for sign in rows[0][1:-1])
        return left + inner + right

    parts = [border(top)]
    for number, band in enumerate(bands):
        if number:
            parts.append(border(middle))
        parts += band
    return "\n".join([*parts, border(bottom)])


def simple_ss(grid: Grid, board: Board) -> str:
    rows = boxed(grid, board, ".", "|")
    drawn = framed(rows, board, "*--*", "|-+|", "*--*")
    return "".join(f" {line}\n" for line in drawn.splitlines())


def hodoku(grid: Grid, board: Board) -> str:
    rows = boxed(grid, board, ".", "|", " ", " ")
    return framed(rows, board, ".-..", ":-+:", "'-''")


def gnu(grid: Grid, board: Board) -> str:
    frame = framed(boxed(grid, board, "-", "|"), board, "+-++", "+-++", "+-++")
    return f"#{board.box_height}x{board.box_width} Sudoku\n{frame}\n"


def gnu_pretty(grid: Grid, board: Board) -> str:
    rows = [row.strip("|").rstrip() for row in boxed(grid, board, "_", "|", " ", " ")]
    return "\n".join(rows)


def sections(grid: Grid, board: Board) -> str:
    shown = "\n".join(lines(grid))
    state = "\n".join(lines(full(grid, board)))
    return f"[Puzzle]\n{shown}\n\n[State]\n{state}\n\n[PencilMarks]\n1,2,3,12\n"


def sudocue(grid: Grid, board: Board) -> str:
    head = "#AA. Writer\n#DCafé 123456789\n#B29-11-2026\n#Uhttp://example.org/\n"
    return head + "\n".join(lines(grid)) + "\n"


def full(grid: Grid, board: Board) -> Grid:
    digits = np.array([int(cell or 0) for row in grid for cell in row])
    solved = solve(digits).grid.reshape(board.size, board.size)
    return [list(map(str, row)) for row in solved.tolist()]


def numbers(grid: Grid, blank: Any = 0) -> list[list[Any]]:
    return [[int(cell) if cell else blank for cell in row] for row in grid]


def numpy_code(grid: Grid, board: Board) -> str:
    rows = [str(row) for row in numbers(grid)]
    inside = ",\n                  ".join(rows)
    return f"board = np.array([{inside}], dtype=int8)\n"


def assigned(grid: Grid, board: Board) -> str:
    rows = "".join(f"    {row},\n" for row in numbers(grid))
    return f"# from the newspaper\nboard = [\n{rows}]\n"


def table(grid: Grid, board: Board) -> str:
    answer = word(full(grid, board))
    return f"source,question,answer,rating\nforum_11+,{word(grid)},{answer},5.6\n"


def block(grid: Grid, board: Board) -> str:
    return "Grid 01\n" + "\n".join(lines(grid, "0")) + "\n"


def bands(grid: Grid, board: Board) -> str:
    rows = lines(grid, "_", " ")
    height = board.box_height
    return "\n\n".join("\n".join(rows[at : at + height]) for at in range(0, board.size, height))


def markdown(grid: Grid, board: Board) -> str:
    head, *rows = [f"| {row} |" for row in lines(grid, " ", " | ")]
    return "\n".join([head, "|" + ":-:|" * board.size, *rows])


def flat_array(grid: Grid, board: Board) -> str:
    with np.printoptions(linewidth=40):
        return repr(np.array(numbers(grid), np.int8).ravel())


def latex(grid: Grid, board: Board) -> str:
    rows = [f"|{row}|." for row in lines(grid, " ", "|")]
    return "\n".join(["\\begin{sudoku}", *rows, "\\end{sudoku}"])


def spaced_frame(grid: Grid, board: Board) -> str:
    rows = boxed(grid, board, " ", "│", " ", " ")
    return framed(rows, board, "┌─┬┐", "├─┼┤", "└─┴┘")


def double_frame(grid: Grid, board: Board) -> str:
    return framed(boxed(grid, board, " ", "║"), board, "╔═╦╗", "╠═╬╣", "╚═╩╝")


DIALECTS: dict[str, Writer] = {
    **{
        f"a word, {blank}": lambda grid, board, blank=blank: word(grid, blank)
        for blank in ".0_?xX*-"
    },
    **{
        f"rows, {blank}": lambda grid, board, blank=blank: "\n".join(lines(grid, blank))
        for blank in ".0_?xX*- "
    },
    **{
        f"cells with spaces, {blank}": lambda grid, board, blank=blank: "\n".join(
            lines(grid, blank, " ")
        )
        for blank in ".0_?xX*-"
    },
    "our drawing": lambda grid, board: draw_grid(np.array(numbers(grid)).ravel(), board),
    "CRLF": lambda grid, board: "\r\n".join(lines(grid)) + "\r\n",
    "CR": lambda grid, board: "\r".join(lines(grid)) + "\r",
    "byte order mark": lambda grid, board: "\ufeff" + "\n".join(lines(grid)),
    "simple ss": simple_ss,
    "a frame of dots and dashes": hodoku,
    "GNU": gnu,
    "GNU, pretty": gnu_pretty,
    "sections": sections,
    "comments of SudoCue": sudocue,
    "list of lists": lambda grid, board: str(numbers(grid)),
    "list of digits": lambda grid, board: str([cell for row in numbers(grid) for cell in row]),
    "list with None": lambda grid, board: str(numbers(grid, None)),
    "list of rows": lambda grid, board: str(lines(grid)),
    "list of rows with spaces": lambda grid, board: str(lines(grid, " ")),
    "lists of characters": lambda grid, board: str(
        [[cell or "." for cell in row] for row in grid]
    ).replace("'", '"'),
    "rows of code": assigned,
    "an array in code": numpy_code,
    "a printed array": lambda grid, board: str(np.array(numbers(grid))),
    "CSV of cells": lambda grid, board: "\n".join(lines(grid, "?", ",")),
    "CSV of cells, blanks empty": lambda grid, board: "\n".join(lines(grid, "", ",")),
    "a spreadsheet": lambda grid, board: "\n".join(lines(grid, "", "\t")),
    "semicolons": lambda grid, board: "\n".join(lines(grid, "0", ";")),
    "all cells in a line": lambda grid, board: ",".join(lines(grid, "0", ",")),
    "text beside a word": lambda grid, board: f"{word(grid)},Easy 1,5.6",
    "text around a word": lambda grid, board: f'No. 7: "{word(grid)}" # ED=7.2/1.2',
    "a table of questions and answers": table,
    "JSON": lambda grid, board: f'{{"puzzle": "{word(grid, "0")}", "level": 3}}',
    "XML": lambda grid, board: f'<opensudoku>\n<game data="{word(grid, "0")}" />\n</opensudoku>',
    "a list of one puzzle": lambda grid, board: f'["{word(grid)}",]',
    "blocks": block,
    "bands": bands,
    "an empty line after each row": lambda grid, board: "\n\n".join(lines(grid)),
    "a title": lambda grid, board: "Sudoku of the day (hard)\n" + "\n".join(lines(grid)),
    "a footer": lambda grid, board: "\n".join(lines(grid)) + "\nSE 7.2, 23 clues\n",
    "markdown": markdown,
    "a frame with spaces": spaced_frame,
    "bars with spaces": lambda grid, board: "\n".join(
        row[2:-2] for row in boxed(grid, board, " ", "|", " ", " ")
    ),
    "a drawing of every cell": lambda grid, board: "\n".join(
        f"{'─' * 4 * board.size}\n│{row}│" for row in lines(grid, "   ", "│")
    ),
    "quoted CSV": lambda grid, board: "\n".join(
        ",".join(f'"{cell}"' for cell in row) for row in grid
    ),
    "MATLAB": lambda grid, board: f"A = [{'; '.join(lines(grid, '0', ' '))}];",
    "a number above": lambda grid, board: "1)\n" + "\n".join(lines(grid)),
    "a date above": lambda grid, board: "29.11.2026\n" + "\n".join(lines(grid)),
    "rows of code with comments": lambda grid, board: "\n".join(
        f"    {row},  # row {number}" for number, row in enumerate(numbers(grid), start=1)
    ),
    "a double frame": double_frame,
    "middle dots": lambda grid, board: "\n".join(lines(grid, "·", " ")),
    "a flat array": flat_array,
    "an array of decimals": lambda grid, board: str(np.array(numbers(grid), np.float32)),
    "an array with nan": lambda grid, board: str(np.array(numbers(grid, None), np.float32)),
    "indented lists": lambda grid, board: json.dumps(numbers(grid, None), indent=2),
    "an indented list": lambda grid, board: json.dumps(
        np.array(numbers(grid)).ravel().tolist(), indent=2
    ),
    "Prolog": lambda grid, board: (
        "problem(1, [\n  [" + "],\n  [".join(lines(grid, "_", ",")) + "]]).\n"
    ),
    "a quotation": lambda grid, board: "\n".join(
        f"> {row}" for row in hodoku(grid, board).splitlines()
    ),
    "LaTeX": latex,
    "a matrix of R": lambda grid, board: "\n".join(
        f"{' '.join(cell or 'NA' for cell in row)}" for row in grid
    ),
}


@cache
def solved(size: int) -> ByteArray:
    return solve(np.zeros(size * size, np.uint8)).grid


def random_grid(size: int, seed: int, share: float) -> ByteArray:
    """Puzzle (S,) with this share of blanks, of a random solved board, with a digit in it."""
    rng = np.random.default_rng(seed)
    tokens = (solved(size) + 1)[None]
    grid = Sudoku(size).draw_symmetries(rng, 1).apply(tokens)[0] - 1
    is_blank = rng.random(size * size) < share
    is_blank[rng.integers(size * size)] = False
    return np.where(is_blank, 0, grid).astype(np.uint8)


def written(dialect: str, digits: ByteArray, size: int) -> str:
    grid = [[str(digit or "") for digit in row] for row in digits.reshape(size, size).tolist()]
    return DIALECTS[dialect](grid, BOARDS[size])


GRIDS = st.builds(
    lambda size, seed, share: (size, random_grid(size, seed, share)),
    st.sampled_from(list(BOARDS)),
    st.integers(0, 2**32),
    st.floats(0, 0.9),
)


@pytest.mark.parametrize("dialect", DIALECTS)
@settings(FUZZ, max_examples=12)
@given(puzzle=GRIDS)
def test_every_dialect_is_read_back(dialect: str, puzzle: tuple[int, ByteArray]) -> None:
    size, digits = puzzle
    text = written(dialect, digits, size)
    np.testing.assert_array_equal(read_puzzles(text, BOARDS[size]), digits[None])


SIGNS = "0123456789.?xX*-_ |+,;:'\"[]()#\n\r\taé\ufeff\u2502\u2500\x00"


def damaged(text: str, rng: np.random.Generator) -> str:
    """Change a few places of a text: characters, lines, or where it is cut."""
    for _ in range(rng.integers(1, 4)):
        text = [changed_sign, changed_line, cut_text][rng.choice(3, p=[0.6, 0.3, 0.1])](text, rng)
    return text


def changed_sign(text: str, rng: np.random.Generator) -> str:
    at = int(rng.integers(len(text) + 1))
    sign = SIGNS[rng.integers(len(SIGNS))] if rng.random() < 0.75 else ""
    return text[:at] + sign + text[at + int(rng.integers(2)) :]


def changed_line(text: str, rng: np.random.Generator) -> str:
    kept = text.splitlines(keepends=True) or [""]
    at, to = rng.integers(len(kept), size=2).tolist()
    match rng.integers(4):
        case 0:
            kept.insert(to, kept[at])
        case 1:
            del kept[at]
        case 2:
            kept[at], kept[to] = kept[to], kept[at]
        case 3:
            kept.insert(to, "\n")
    return "".join(kept)


def cut_text(text: str, rng: np.random.Generator) -> str:
    start, stop = sorted(rng.integers(len(text) + 1, size=2).tolist())
    return [text[:stop], text[start:], text[:start] + text[stop:]][rng.integers(3)]


def check_shown(text: str, size: int, boards: ByteArray) -> None:
    """Every board stands in the text: its digits follow each other there, with no others between.

    Comments, and the name of a dtype, are not between.
    """
    shown = re.sub(r"#[^\r\n]*|dtype=\w+|[^1-9]", "", text)
    for board in boards:
        assert "".join(map(str, board[board > 0])) in shown
        assert board.max() <= size


def read_damaged(dialect: str, size: int, digits: ByteArray, seed: int) -> str:
    """Damage a puzzle and read it: it must be refused in one line, or be what the text shows."""
    text = damaged(written(dialect, digits, size), np.random.default_rng(seed))
    message = ""
    try:
        check_shown(text, size, read_puzzles(text, BOARDS[size]))
    except PuzzleError as error:
        message = str(error)
    assert len(message.splitlines()) < 2
    return message


@pytest.mark.filterwarnings("ignore:grid . of the text solves grid")
@FUZZ
@given(dialect=st.sampled_from(list(DIALECTS)), puzzle=GRIDS, seed=st.integers(0, 2**32))
def test_damaged_text_is_refused_or_shows_what_is_read(
    dialect: str, puzzle: tuple[int, ByteArray], seed: int
) -> None:
    read_damaged(dialect, *puzzle, seed)


@pytest.mark.filterwarnings("ignore:grid . of the text solves grid")
@FUZZ
@given(dialect=st.sampled_from(list(DIALECTS)), puzzle=GRIDS, seed=st.integers(0, 2**32))
def test_one_changed_character_changes_one_cell_at_most(
    dialect: str, puzzle: tuple[int, ByteArray], seed: int
) -> None:
    """No cell is shifted into the place of another."""
    size, digits = puzzle
    text = changed_sign(written(dialect, digits, size), np.random.default_rng(seed))
    try:
        boards = read_puzzles(text, BOARDS[size])
    except PuzzleError:
        return
    assert (boards[0] != digits).sum() <= 1
    check_shown(text, size, boards)
