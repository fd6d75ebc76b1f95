import numpy as np
import pytest

from hrm_core.errors import PuzzleError
from hrm_tasks.sudoku.board import BOARDS
from hrm_tasks.sudoku.generator import generate, generate_batches, random_solution
from hrm_tasks.sudoku.solver import count_solutions, solve
from hrm_tasks.sudoku.task import Sudoku

COUNTS = {4: 300, 6: 40, 9: 8}


@pytest.fixture(params=COUNTS, ids="{0}x{0}".format)
def size(request: pytest.FixtureRequest) -> int:
    return request.param


def test_puzzles_are_distinct_and_have_one_solution(size: int) -> None:
    inputs, labels, ratings, _ = generate(size, COUNTS[size], np.random.default_rng(0))
    assert inputs.shape == labels.shape == (COUNTS[size], size**2)
    assert (inputs.dtype, labels.dtype, ratings.dtype) == (np.uint8, np.uint8, np.int32)
    assert len(np.unique(inputs, axis=0)) == COUNTS[size]
    assert Sudoku(size).accepts_all(inputs, labels).all()
    assert all(count_solutions(question - np.uint8(1)) == 1 for question in inputs)
    assert ratings.tolist() == [solve(question - np.uint8(1)).rating for question in inputs]


def test_no_given_can_be_spared_where_their_number_is_free(size: int) -> None:
    for question in generate(size, 3, np.random.default_rng(1)).inputs - np.uint8(1):
        for cell in np.flatnonzero(question):
            fewer = question.copy()
            fewer[cell] = 0
            assert count_solutions(fewer) == 2


def test_number_of_givens_covers_the_range(size: int) -> None:
    low, high = size**2 // 2, size**2 // 2 + 3
    inputs = generate(size, 60, np.random.default_rng(2), givens=(low, high)).inputs
    assert np.unique((inputs > 1).sum(axis=1)).tolist() == [low, low + 1, low + 2, high]


def test_same_seed_makes_the_same_puzzles_and_another_makes_others(size: int) -> None:
    first, again, other = (generate(size, 3, np.random.default_rng(seed)) for seed in (5, 5, 6))
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.array_equal(first.inputs, other.inputs)


def test_low_ratings_are_left_out() -> None:
    ratings = generate(9, 4, np.random.default_rng(0), min_rating=2).ratings
    assert ratings.min() >= 2


def test_batches_never_repeat_a_puzzle() -> None:
    batches = generate_batches(4, np.random.default_rng(0), givens=(4, 4))
    inputs = np.concatenate([next(batches).inputs for _ in range(20)])
    assert len(np.unique(inputs, axis=0)) == len(inputs)


def test_asking_for_more_puzzles_than_there_are_is_refused() -> None:
    with pytest.raises(PuzzleError, match="ask for fewer puzzles"):
        generate(4, 289, np.random.default_rng(0), givens=(16, 16))
    assert len(generate(4, 288, np.random.default_rng(0), givens=(16, 16)).inputs) == 288


def test_too_few_givens_for_one_solution_are_refused() -> None:
    with pytest.raises(PuzzleError, match=r"givens=\(1, 3\)"):
        generate(4, 1, np.random.default_rng(0), givens=(1, 3))


@pytest.mark.parametrize("givens", [(9, 8), (-1, 4), (4, 17)])
def test_impossible_range_of_givens_is_refused(givens: tuple[int, int]) -> None:
    with pytest.raises(PuzzleError, match="between 0 and 16"):
        generate(4, 1, np.random.default_rng(0), givens=givens)


def test_unknown_size_is_refused() -> None:
    with pytest.raises(PuzzleError, match="size 5; expected 4, 6 or 9"):
        generate(5, 1, np.random.default_rng(0))


def test_no_puzzles_are_an_empty_answer(size: int) -> None:
    assert generate(size, 0, np.random.default_rng(0)).inputs.shape == (0, size**2)


def test_random_solutions_spread_over_the_small_board() -> None:
    rng = np.random.default_rng(0)
    drawn = np.stack([random_solution(BOARDS[4], rng) for _ in range(2880)])
    _, counts = np.unique(drawn, axis=0, return_counts=True)
    assert len(counts) == 288
    assert counts.max() < 40
