"""The grid of an answer: numbers where people write digits, else characters."""

import numpy as np
import pytest

from hrm_core.tasks.editing import OUTER, CellKind, Editor, grid_of
from hrm_tasks.arc.canvas import encode
from hrm_tasks.arc.task import Arc
from hrm_tasks.maze.task import Maze
from hrm_tasks.sudoku.task import Sudoku


def test_sudoku_is_a_grid_of_its_digits_and_blanks_are_0() -> None:
    tokens = Sudoku(4).parse("1234 34.. 2143 4321")[0]
    grid = grid_of(Sudoku(4).editor(), tokens)
    assert grid.tolist() == [[1, 2, 3, 4], [3, 4, 0, 0], [2, 1, 4, 3], [4, 3, 2, 1]]
    assert grid.dtype.kind == "i"


def test_maze_is_a_grid_of_characters() -> None:
    tokens = Maze(4).parse("S.##\n#..#\n##.#\n##G#\n")[0]
    assert ["".join(row) for row in grid_of(Maze(4).editor(), tokens)] == [
        "S.##",
        "#..#",
        "##.#",
        "##G#",
    ]


@pytest.mark.parametrize("shape", [(2, 3), (6, 6), (1, 1)])
def test_arc_grid_is_cut_out_of_its_canvas_wherever_it_lies(shape: tuple[int, int]) -> None:
    grid = np.random.default_rng(0).integers(0, 10, size=shape).astype(np.uint8)
    tokens = encode([grid], 6)[0]
    assert grid_of(Arc(6).editor(), tokens).tolist() == grid.tolist()
    if shape == (2, 3):
        shifted = np.zeros((6, 6), np.uint8)
        shifted[2:4, 1:4] = grid + 2
        assert grid_of(Arc(6).editor(), shifted.reshape(-1)).tolist() == grid.tolist()


def test_canvas_without_a_cell_has_an_empty_grid() -> None:
    assert grid_of(Arc(6).editor(), np.zeros(36, np.uint8)).size == 0


@pytest.mark.parametrize(
    ("symbols", "expected"),
    [("12.", [1, 2, 0]), ("10.", ["1", "0", "."]), ("ab1", ["a", "b", "1"])],
)
def test_numbers_are_given_only_where_they_can_be_told_apart(
    symbols: str, expected: list[object]
) -> None:
    kinds = [OUTER, *(CellKind(symbol, symbol) for symbol in symbols)]
    editor = Editor(1, 3, kinds, blank=3)
    assert grid_of(editor, np.array([1, 2, 3])).tolist() == [expected]
