import csv
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from hrm_core.errors import PuzzleError
from hrm_tasks.sudoku.board import BOARDS
from hrm_tasks.sudoku.solver import TooLongError, count_solutions, solutions, solve

RATED = {  # from the Sudoku Exchange bank, public domain
    "..614.....2.5....19....8..7.7.....34..1...9..53.....1.6..2....57....3.4.....762..": 3,
    "..8...9....26.43...7..5..2...93.16...2..9..4.5.3...2.1............8.5......163...": 12,
    "8.3.7.6.2..4...8...9.....5.....8....6.27.49.5.7.2.3.6.2.......8.4..2..1...1...7..": 40,
}


def grid(text: str) -> np.ndarray:
    return np.array([int(cell) for cell in text.replace(".", "0")], np.uint8)


def every_nth(path: Path, step: int) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(islice(csv.DictReader(file), 0, None, step))


@pytest.mark.parametrize(("text", "rating"), RATED.items(), ids=map(str, RATED.values()))
def test_rating_counts_the_trials_that_failed(text: str, rating: int) -> None:
    solution = solve(grid(text))
    assert solution.rating == rating
    assert BOARDS[9].follows_rules(solution.grid[None]).all()


@pytest.mark.parametrize("name", ["train.csv", "test.csv"])
def test_published_puzzles_get_their_published_solution_and_rating(
    data_dir: Path, name: str
) -> None:
    rows = every_nth(data_dir / "sudoku" / name, step=40)
    found = [solve(grid(row["question"])) for row in rows]
    assert len(rows) >= 100
    assert [solution.rating for solution in found] == [int(row["rating"]) for row in rows]
    np.testing.assert_array_equal(
        [solution.grid for solution in found], [grid(row["answer"]) for row in rows]
    )


def test_hardest_published_puzzles_get_their_published_rating(data_dir: Path) -> None:
    rows = sorted(
        every_nth(data_dir / "sudoku" / "test.csv", step=1), key=lambda row: int(row["rating"])
    )[-20:]
    assert [solve(grid(row["question"])).rating for row in rows] == [
        int(row["rating"]) for row in rows
    ]
    assert int(rows[0]["rating"]) > 300


def test_published_puzzles_have_one_solution(data_dir: Path) -> None:
    rows = every_nth(data_dir / "sudoku" / "test.csv", step=100)
    assert {count_solutions(grid(row["question"])) for row in rows} == {1}


def test_count_of_solutions_ends_where_it_may_take_no_longer() -> None:
    text, rating = next(iter(RATED.items()))
    assert count_solutions(grid(text), max_backtracks=50) == 1
    with pytest.raises(TooLongError):
        count_solutions(grid(text), max_backtracks=rating)


def test_small_board_has_288_solutions() -> None:
    found = np.array(list(solutions(np.zeros(16, np.uint8))))
    assert len(np.unique(found, axis=0)) == len(found) == 288
    assert BOARDS[4].follows_rules(found).all()


def test_counting_stops_at_the_limit() -> None:
    empty = np.zeros(81, np.uint8)
    assert count_solutions(empty) == 2
    assert count_solutions(empty, limit=50) == 50


def test_deadly_rectangle_leaves_two_solutions() -> None:
    assert count_solutions(grid(".2.4.4.221434321"), limit=9) == 2
    assert count_solutions(grid("12.4.4.221434321"), limit=9) == 1


@pytest.mark.parametrize(
    "text",
    ["11..............", "123....4........"],
    ids=["clashing givens", "a cell without candidate"],
)
def test_puzzle_without_solution_is_refused(text: str) -> None:
    assert count_solutions(grid(text)) == 0
    with pytest.raises(PuzzleError, match="no solution"):
        solve(grid(text))


def test_solved_grid_is_its_own_solution_without_backtracks() -> None:
    solution = solve(grid("1234341221434321"))
    np.testing.assert_array_equal(solution.grid, grid("1234341221434321"))
    assert solution.rating == 0


def test_first_solution_of_an_empty_board_starts_with_the_smallest_digits() -> None:
    first = solve(np.zeros(36, np.uint8)).grid
    np.testing.assert_array_equal(first[:6], np.arange(1, 7))
    assert BOARDS[6].follows_rules(first[None]).all()
