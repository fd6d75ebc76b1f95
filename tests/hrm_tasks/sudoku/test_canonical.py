from itertools import islice

import numpy as np
import pytest

from hrm_tasks.sudoku.board import BOARDS, Board
from hrm_tasks.sudoku.canonical import canonical_puzzle, canonical_solution
from hrm_tasks.sudoku.generator import generate, random_solution
from hrm_tasks.sudoku.solver import solutions
from hrm_tasks.sudoku.task import Sudoku

MOST_SYMMETRIC = "123456789456789123789123456231564897564897231897231564312645978645978312978312645"


@pytest.fixture(params=BOARDS.values(), ids=lambda board: f"{board.size}x{board.size}")
def board(request: pytest.FixtureRequest) -> Board:
    return request.param


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def shuffled(grids: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    symmetries = Sudoku(int(grids.shape[1] ** 0.5)).draw_symmetries(rng, len(grids))
    return symmetries.apply(grids + np.uint8(1)) - np.uint8(1)


def random_solutions(board: Board, rng: np.random.Generator, count: int = 40) -> np.ndarray:
    return np.stack([random_solution(board, rng) for _ in range(count)])


def smallest_by_trying_all(grid: np.ndarray, board: Board) -> np.ndarray:
    """The definition: every order of rows and columns, transposed or not, digits named by the first row."""
    square = grid.reshape(board.size, board.size)
    found = []
    for view in [square, square.T] if board.can_transpose else [square]:
        for rows in board.row_orders():
            arranged = view[rows][:, board.column_orders()].swapaxes(0, 1)  # (orders, W, W)
            names = np.argsort(arranged[:, 0], axis=1) + 1
            found.append(np.take_along_axis(names, arranged.reshape(len(names), -1) - 1, axis=1))
    return np.array(min(map(tuple, np.concatenate(found))))


def test_symmetric_grids_share_their_canonical_form(board: Board, rng: np.random.Generator) -> None:
    grids = random_solutions(board, rng)
    canonical = canonical_solution(grids)
    for _ in range(5):
        np.testing.assert_array_equal(canonical_solution(shuffled(grids, rng)), canonical)


def test_canonical_form_is_valid_small_and_its_own(board: Board, rng: np.random.Generator) -> None:
    grids = random_solutions(board, rng)
    canonical = canonical_solution(grids)
    assert canonical.dtype == np.uint8
    assert board.follows_rules(canonical).all()
    assert all(
        tuple(smallest) <= tuple(grid)
        for smallest, grid in zip(canonical, shuffled(canonical, rng), strict=True)
    )
    np.testing.assert_array_equal(
        canonical[:, : board.size], np.tile(np.arange(1, board.size + 1), (len(grids), 1))
    )
    np.testing.assert_array_equal(canonical_solution(canonical), canonical)


@pytest.mark.parametrize("size", [4, 6])
def test_canonical_form_is_the_smallest_of_all_arrangements(
    size: int, rng: np.random.Generator
) -> None:
    grids = random_solutions(BOARDS[size], rng, count=10)
    np.testing.assert_array_equal(
        canonical_solution(grids), [smallest_by_trying_all(grid, BOARDS[size]) for grid in grids]
    )


def test_small_board_has_two_classes() -> None:
    every = np.stack(list(solutions(np.zeros(16, np.uint8))))
    classes, sizes = np.unique(canonical_solution(every), axis=0, return_counts=True)
    assert ["".join(map(str, grid)) for grid in classes] == ["1234341221434321", "1234341223414123"]
    assert sorted(sizes) == [96, 192]


def test_different_grids_of_the_large_board_keep_different_forms(rng: np.random.Generator) -> None:
    assert len(np.unique(canonical_solution(random_solutions(BOARDS[9], rng)), axis=0)) == 40


def test_grid_with_the_most_symmetries_is_found_among_many_equal_starts(
    rng: np.random.Generator,
) -> None:
    canonical = np.array([[int(digit) for digit in MOST_SYMMETRIC]], np.uint8)
    np.testing.assert_array_equal(canonical_solution(shuffled(canonical, rng)), canonical)


def test_nothing_has_an_empty_canonical_form(board: Board) -> None:
    assert canonical_solution(np.empty((0, board.num_cells), np.uint8)).shape == (
        0,
        board.num_cells,
    )


def test_symmetric_puzzles_share_their_canonical_form(rng: np.random.Generator) -> None:
    puzzles = generate(4, 300, rng).inputs - np.uint8(1)
    canonical = canonical_puzzle(puzzles)
    np.testing.assert_array_equal(canonical_puzzle(shuffled(puzzles, rng)), canonical)
    np.testing.assert_array_equal(canonical_puzzle(canonical), canonical)
    np.testing.assert_array_equal((canonical > 0).sum(axis=1), (puzzles > 0).sum(axis=1))
    assert 10 < len(np.unique(canonical, axis=0)) < 100


def test_canonical_puzzle_tells_apart_what_its_solution_does_not() -> None:
    solution = next(islice(solutions(np.zeros(16, np.uint8)), 1))
    without_corner, without_middle = solution.copy(), solution.copy()
    without_corner[:2] = 0
    without_middle[[0, 5]] = 0
    assert (
        canonical_puzzle(np.stack([without_corner]))[0].tolist()
        != canonical_puzzle(np.stack([without_middle]))[0].tolist()
    )
