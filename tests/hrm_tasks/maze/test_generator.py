import time

import numpy as np
import pytest

from hrm_core.errors import PuzzleError
from hrm_tasks.maze.board import OPEN, PATH, START, WALL, canonical
from hrm_tasks.maze.generator import (
    IN_TRAINING,
    MIXED,
    REPEATED,
    TOO_SHORT,
    MazeGenerator,
    default_min_path,
)
from hrm_tasks.maze.search import UNREACHED, distances, shortest_paths
from hrm_tasks.maze.task import Maze
from hrm_tasks.maze.walls import KINDS, draw_perfect


def generator(size: int, seed: int = 0, min_path: int | None = None) -> MazeGenerator:
    return MazeGenerator(size, np.random.default_rng(seed), min_path)


def num_passages(is_open: np.ndarray, size: int) -> np.ndarray:
    """How many pairs of open cells lie beside each other, in each board."""
    grids = is_open.reshape(-1, size, size)
    return (grids[:, 1:] & grids[:, :-1]).sum(axis=(1, 2)) + (
        grids[:, :, 1:] & grids[:, :, :-1]
    ).sum(axis=(1, 2))


@pytest.mark.parametrize("kind", [*KINDS, MIXED])
@pytest.mark.parametrize("size", [7, 10, 30, 31])
def test_every_maze_has_one_shortest_path_of_the_least_length_or_more(size: int, kind: str) -> None:
    mazes = generator(size).generate(40, kind)
    moves, ways = shortest_paths(mazes.inputs)
    np.testing.assert_array_equal(moves, mazes.ratings)
    np.testing.assert_array_equal(ways, 1)
    assert moves.min() >= min(
        default_min_path(size, each) for each in ([kind] if kind in KINDS else KINDS)
    )
    assert Maze(size).accepts_all(mazes.inputs, mazes.labels).all()
    assert len(np.unique(canonical(mazes.inputs, size), axis=0)) == 40
    assert not (mazes.inputs == PATH).any()


@pytest.mark.parametrize("size", [4, 5, 10, 11, 30])
def test_perfect_mazes_are_trees_that_reach_every_place(size: int) -> None:
    is_open = draw_perfect(size, 50, np.random.default_rng(0))
    num_places = (size // 2) ** 2
    np.testing.assert_array_equal(
        is_open.sum(axis=1), 2 * num_places - 1
    )  # the places and the walls that were opened
    np.testing.assert_array_equal(num_passages(is_open, size), 2 * num_places - 2)
    steps = distances(is_open, is_open.argmax(axis=1)).moves
    np.testing.assert_array_equal(steps != UNREACHED, is_open)


def test_loops_have_more_than_one_way_and_obstacles_are_no_lattice() -> None:
    mazes = {kind: generator(30).generate(50, kind).inputs for kind in KINDS}
    spare = {
        kind: num_passages(inputs != WALL, 30) - (inputs != WALL).sum(axis=1) + 1
        for kind, inputs in mazes.items()
    }
    assert (spare["perfect"] == 0).all()
    assert (spare["loops"] > 0).all()
    assert np.median(spare["loops"]) < 20 < np.median(spare["obstacles"])


def test_mixed_mazes_are_as_many_of_each_kind_in_any_order() -> None:
    rows = generator(11).generate(61).inputs.reshape(-1, 11, 11)
    is_lattice = (rows[:, ::2, ::2] == WALL).all(axis=(1, 2))
    assert (
        is_lattice.sum() == 41
    )  # 21 perfect ones, 20 with loops; of obstacles the sixteen cells between are never all walls
    assert not is_lattice[:41].all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [9, 10])
def test_no_row_ends_open_where_the_next_one_begins_open(kind: str, size: int) -> None:
    rows = generator(size).generate(200, kind).inputs.reshape(-1, size, size) != WALL
    assert not (rows[:, :-1, -1] & rows[:, 1:, 0]).any()
    assert (rows[:, :-1, -2] & rows[:, 1:, 1]).any()  # control: further in they do


def test_outer_walls_of_even_boards_stand_on_any_two_sides() -> None:
    rows = generator(10).generate(200, "perfect").inputs.reshape(-1, 10, 10)
    sides = [
        (rows[:, 0] == WALL),
        (rows[:, -1] == WALL),
        (rows[:, :, 0] == WALL),
        (rows[:, :, -1] == WALL),
    ]
    assert [70 < side.all(axis=1).sum() < 130 for side in sides] == [True] * 4


def test_start_is_drawn_all_over_the_board() -> None:
    starts = (generator(10).generate(2000, "perfect").inputs == START).argmax(axis=1)
    assert np.bincount(starts, minlength=100).min() > 0


def test_seed_decides_everything() -> None:
    first, second, other = (generator(10, seed).generate(30) for seed in (3, 3, 4))
    for one, same in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, same)
    assert not np.array_equal(first.inputs, other.inputs)


def test_mazes_of_another_generator_do_not_come_up_in_any_view() -> None:
    train = generator(6, min_path=2)
    known = train.generate(400, "perfect").inputs
    apart = MazeGenerator(
        6, np.random.default_rng(0), min_path=2, apart_from=train
    )  # the same draws again
    found = apart.generate(50, "perfect").inputs
    assert not set(map(bytes, canonical(known, 6))) & set(map(bytes, canonical(found, 6)))
    assert apart.dropped[IN_TRAINING] >= 400
    assert train.dropped[REPEATED] > 0


def test_boards_without_a_path_that_is_long_enough_are_counted() -> None:
    made = generator(10, min_path=25)
    assert made.generate(20, "perfect").ratings.min() >= 25
    assert made.dropped[TOO_SHORT] > 100


def test_too_few_mazes_are_told_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hrm_tasks.maze.generator.PATIENCE", 2)
    with pytest.raises(PuzzleError) as refused:
        generator(16, min_path=150).generate(1, "obstacles")
    assert str(refused.value) == (
        "no new maze among the last 2048 boards of 16x16, kind obstacles, with one shortest path of 150 moves or more; "
        "lower --min-path, choose another kind or ask for fewer mazes"
    )


@pytest.mark.parametrize(
    ("size", "min_path", "message"),
    [
        (3, None, "no lattice fits on 3 rows; expected size 4 or more"),
        (200, None, "no maze has 200 rows here; expected 2 to 128"),
        (10, 100, "no path on 10x10 cells has 100 moves; expected 1 to 99"),
        (10, 0, "no path on 10x10 cells has 0 moves"),
    ],
)
def test_impossible_board_is_refused(size: int, min_path: int | None, message: str) -> None:
    with pytest.raises(PuzzleError, match=message):
        generator(size, min_path=min_path)


def test_unknown_kind_is_refused() -> None:
    with pytest.raises(
        PuzzleError, match="kind 'round'; expected perfect, loops, obstacles, mixed"
    ):
        generator(10).generate(1, "round")


def test_five_hundred_large_mazes_take_a_second_or_two() -> None:
    started = time.perf_counter()
    mazes = generator(30).generate(500, "perfect")
    assert time.perf_counter() - started < 5  # measured: 0.2 s
    assert (mazes.inputs == OPEN).any(axis=1).all()
