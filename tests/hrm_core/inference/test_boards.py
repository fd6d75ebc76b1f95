"""Puzzles as Python programs hold them, and how a notebook shows the answers."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mlx", reason="mlx is missing: the Python API is not tested")

import hrm_mlx
from hrm_core.errors import BackendError, PuzzleError
from hrm_core.inference.boards import board_text
from hrm_core.inference.notebook import gallery_html
from hrm_core.inference.reading import read_given
from hrm_core.inference.solution import Solution, Solutions
from hrm_core.inference.solving import Solver
from hrm_tasks.arc.task import Arc
from hrm_tasks.maze.task import Maze
from hrm_tasks.sudoku.task import Sudoku

LINE = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
GRID = np.array([int(cell) for cell in LINE.replace(".", "0")]).reshape(9, 9)
ROWS: list[list[int]] = GRID.tolist()
NINE = [LINE[start : start + 9] for start in range(0, 81, 9)]
WITH_NONE = [[cell or None for cell in row] for row in ROWS]
EXPECTED = (
    r"^a puzzle of sudoku is text, a Path, or an array or lists of cells, \(81,\), \(9, 9\) or "
    r"\(N, 9, 9\), with 0 or None for blanks; found "
)


@pytest.fixture(scope="module")
def model() -> Solver:
    return hrm_mlx.load("sudoku-9x9", device="cpu")


def lines(given: Any) -> list[str]:
    task = Sudoku(9)
    return [task.line(question.tokens) for question in read_given(task, given)]


@pytest.mark.parametrize(
    "given",
    [
        LINE,
        GRID,
        GRID.ravel(),
        GRID[None],
        GRID.reshape(1, 81),
        GRID.astype(float),
        np.where(GRID == 0, np.nan, GRID),
        np.array(list(LINE)),
        np.array(NINE),
        ROWS,
        tuple(map(tuple, ROWS)),
        WITH_NONE,
        [cell for row in WITH_NONE for cell in row],
        list(GRID),
        [GRID],
        np.ma.array(np.where(GRID == 0, 5, GRID), mask=GRID == 0),
        [[str(cell) if cell else "" for cell in row] for row in ROWS],
        np.ma.masked_array(np.where(GRID, GRID, 7), GRID == 0),
        list(LINE),
        NINE,
        [LINE],
    ],
    ids=lambda given: f"{type(given).__name__} {np.shape(given)}",
)
def test_one_board_in_many_forms(given: Any) -> None:
    assert lines(given) == [LINE]


def test_tensor_that_wants_its_gradient_is_read() -> None:
    torch = pytest.importorskip("torch")
    assert lines(torch.tensor(GRID, dtype=torch.float32, requires_grad=True)) == [LINE]


def test_several_boards_keep_their_order(tmp_path: Path) -> None:
    other = GRID[::-1]
    second = "".join(NINE[::-1])
    assert lines(np.stack([GRID, other])) == [LINE, second]
    assert lines([ROWS, other.tolist()]) == [LINE, second]
    assert lines([LINE, second]) == [LINE, second]
    path = tmp_path / "puzzles.txt"
    path.write_text(f"{LINE}\n{second}\n")
    assert lines(path) == [LINE, second]
    assert lines([path, path]) == [LINE, second] * 2


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (None, "NoneType"),
        (LINE.encode(), "bytes"),
        (7, "int"),
        ({"puzzle": LINE}, "dict"),
        ([], r"list of shape \(0,\)"),
        (GRID[:8], r"ndarray of shape \(8, 9\)"),
        (ROWS[:4], r"list of shape \(4, 9\)"),
        (np.array(LINE), r"ndarray of shape \(\)"),
        (np.zeros((2, 2, 9, 9)), r"ndarray of shape \(2, 2, 9, 9\)"),
        ([ROWS[0], ROWS[1][:3]], r"list of shape \(2,\)"),
        (iter(ROWS), "list_iterator"),
    ],
)
def test_anything_else_is_refused_with_what_is_expected(given: Any, found: str) -> None:
    with pytest.raises(PuzzleError, match=f"{EXPECTED}{found}$"):
        read_given(Sudoku(9), given)


@pytest.mark.parametrize("cell", [12, -1, 2.5, True, object(), "12", [3]])
def test_a_cell_that_is_none_is_named_with_its_place(cell: Any) -> None:
    board = np.array(ROWS, dtype=object)
    board[2, 3] = cell
    shown = re.escape(repr(cell)[:20])
    with pytest.raises(
        PuzzleError, match=rf"^puzzle 1: {shown}.* at row 3, column 4; expected one of 1"
    ):
        read_given(Sudoku(9), board)


def test_clashes_and_files_that_are_not_there_are_refused(tmp_path: Path) -> None:
    board = GRID.copy()
    board[0, 2] = 5
    with pytest.raises(PuzzleError, match="5 is given twice in row 1"):
        read_given(Sudoku(9), board)
    with pytest.raises(
        PuzzleError, match=r"nope\.txt does not exist.*; expected a file of puzzles"
    ):
        read_given(Sudoku(9), tmp_path / "nope.txt")
    with pytest.raises(PuzzleError, match="is a folder; expected a file of puzzles"):
        read_given(Sudoku(9), tmp_path)


def test_boards_of_other_tasks() -> None:
    maze = [["S", "#", "#"], [None, "#", "#"], [0, 0, "G"]]
    (question,) = read_given(Maze(3), maze)
    assert Maze(3).line(question.tokens) == "S##.##..G"
    grid = np.array([[0, 1, 2], [3, 4, 5]])
    (question,) = read_given(Arc.for_shape(12, 900), grid)
    assert board_text(Arc.for_shape(12, 900), grid) == "012\n345"
    assert (question.tokens > 1).sum() == 6  # colours are tokens 2 to 11


def test_solve_takes_boards_and_shows_them(model: Solver) -> None:
    solutions = model.solve(np.stack([GRID, GRID]))
    assert isinstance(solutions, Solutions)
    assert [solution.accepted for solution in solutions] == [True, True]
    np.testing.assert_array_equal(solutions[0].grid, model.solve(LINE)[0].grid)
    page = solutions[0]._repr_html_()
    cells = re.findall(r'<td style="([^"]*)">(.?)</td>', page)
    assert "".join(text for _, text in cells) == "".join(map(str, solutions[0].grid.ravel()))
    is_bold = [";font-weight:bold;" in style for style, _ in cells]
    assert is_bold == (GRID.ravel() > 0).tolist()
    colours = {re.search(r"background:(rgb\([\d,]*\))", style)[1] for style, _ in cells}
    assert len(colours) == 2
    assert "accepted by the rules; settled after ACT step" in page
    assert solutions._repr_html_().count("<table") == 2


def test_a_grid_of_colours_is_cut_out() -> None:
    task = Arc.for_shape(12, 900)
    question = read_given(task, np.array([[1, 2, 3], [4, 5, 6]]))[0].tokens
    solution = Solution(task, question, question[None], np.zeros(1, np.float32), 1)
    page = solution._repr_html_()
    assert (page.count("<tr>"), page.count("<td")) == (2, 6)
    assert len(set(re.findall(r"background:(rgb\([\d,]*\))", page))) == 6


def test_cells_that_the_rules_refuse_are_coloured_otherwise() -> None:
    task = Sudoku(4)
    question = task.parse("1... ..2. .3.. ...4")[0]
    wrong = question.copy()
    wrong[0], wrong[1] = 3, 3
    solution = Solution(task, question, wrong[None], np.zeros(1, np.float32), 1)
    assert (
        solution._repr_html_().count("background:rgb(190,30,50)")
        == int(solution.conflicts.sum())
        > 1
    )


def test_a_gallery_says_how_many_it_leaves_out(model: Solver) -> None:
    (solution,) = model.solve(LINE)
    page = gallery_html([solution] * 63)
    assert (page.count("<table"), "and 3 more" in page) == (60, True)


def test_text_is_escaped() -> None:
    class Written:
        name = "made <up>"

        def parse(self, text: str) -> None: ...
        def read_file(self, path: Path) -> None: ...
        def format(self, tokens: Any) -> str:
            return "<b>"

        def line(self, tokens: Any) -> str:
            return "<b>"

    tokens = np.ones(2, np.uint8)
    solution = Solution(Written(), tokens, tokens[None], np.zeros(1, np.float32), 1)  # type: ignore[arg-type]
    assert "<pre>&lt;b&gt;</pre>" in solution._repr_html_()


def test_load_chooses_backend_and_device(model: Solver) -> None:
    pytest.importorskip("torch", reason="torch is missing: the other backend is not tested")
    other = hrm_mlx.load("sudoku-9x9", backend="torch", device="cpu")
    assert (model.backend.describe()["device_type"], model.backend.describe()["backend"][:3]) == (
        "cpu",
        "mlx",
    )
    assert other.backend.describe()["backend"].startswith("torch")
    np.testing.assert_array_equal(other.solve(GRID)[0].grid, model.solve(GRID)[0].grid)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"device": "cuda"}, "unknown device 'cuda'; use auto, gpu, cpu"),
        ({"backend": "jax"}, "unknown backend jax; use mlx or torch"),
    ],
)
def test_unknown_backend_or_device_is_refused(choice: dict[str, str], message: str) -> None:
    with pytest.raises(BackendError, match=f"^{message}$"):
        hrm_mlx.load("sudoku-9x9", **choice)
