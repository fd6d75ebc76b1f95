from collections import deque
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from hrm_tasks.maze.board import OPEN, PATH, WALL, ends
from hrm_tasks.maze.csv_rows import read_csv
from hrm_tasks.maze.search import UNREACHED, distances, shortest_paths, trace, with_path


def beside(cell: int, size: int) -> list[int]:
    row, column = divmod(cell, size)
    places = [(row - 1, column), (row, column - 1), (row, column + 1), (row + 1, column)]
    return [r * size + c for r, c in places if 0 <= r < size and 0 <= c < size]


def searched_slowly(is_open: np.ndarray, start: int, size: int) -> tuple[list[int], list[int]]:
    """One maze, one cell at a time: distances and numbers of shortest paths, all of them counted."""
    steps, ways = [UNREACHED] * size**2, [0] * size**2
    steps[start], ways[start] = 0, 1
    queue = deque([start])
    while queue:
        cell = queue.popleft()
        for other in beside(cell, size):
            if is_open[other] and steps[other] == UNREACHED:
                steps[other] = steps[cell] + 1
                queue.append(other)
            if is_open[other] and steps[other] == steps[cell] + 1:
                ways[other] += ways[cell]
    return steps, ways


def all_paths(
    is_open: np.ndarray, here: int, goal: int, size: int, taken: frozenset[int] = frozenset()
) -> list[int]:
    """The moves of every path that takes no cell twice."""
    if here == goal:
        return [len(taken)]
    onward = [cell for cell in beside(here, size) if is_open[cell] and cell not in taken]
    return [
        moves for cell in onward for moves in all_paths(is_open, cell, goal, size, taken | {here})
    ]


@pytest.mark.parametrize("size", [2, 3, 7, 16, 30])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.5])
def test_distances_and_counts_are_those_of_a_slow_search(size: int, share: float) -> None:
    rng = np.random.default_rng(size)
    is_open = rng.random((20, size * size)) >= share
    starts = rng.integers(size * size, size=20)
    steps, ways = distances(is_open, starts)
    for i, start in enumerate(starts.tolist()):
        slow_steps, slow_ways = searched_slowly(is_open[i], start, size)
        np.testing.assert_array_equal(steps[i], slow_steps)
        np.testing.assert_array_equal(ways[i], np.minimum(slow_ways, 2))


def test_counts_do_not_overflow_where_there_are_millions_of_paths() -> None:
    ways = distances(np.ones((1, 900), dtype=bool), np.array([0])).num_paths
    assert ways[0, -1] == ways.max() == 2


def test_one_way_is_the_only_one_when_all_are_written_down() -> None:
    rng = np.random.default_rng(0)
    is_open = rng.random((300, 16)) >= 0.35
    is_open[:, [0, 15]] = True
    steps, ways = distances(is_open, np.zeros(300, dtype=int))
    assert {int(way) for way in ways[:, 15]} == {0, 1, 2}
    for i in range(300):
        lengths = all_paths(is_open[i], 0, 15, 4)
        assert steps[i, 15] == min(lengths, default=UNREACHED)
        assert ways[i, 15] == min(lengths.count(min(lengths, default=0)), 2)


def test_traced_path_is_a_chain_of_neighbours() -> None:
    rng = np.random.default_rng(0)
    is_open = rng.random((50, 100)) >= 0.3
    starts = is_open.argmax(axis=1)
    steps, _ = distances(is_open, starts)
    goals = steps.argmax(axis=1)
    on_path = trace(steps, goals)
    for i, (start, goal) in enumerate(zip(starts.tolist(), goals.tolist(), strict=True)):
        chain = sorted(
            {start, *np.flatnonzero(on_path[i]).tolist(), goal}, key=steps[i].__getitem__
        )
        assert len(chain) == steps[i, goal] + 1
        assert all(is_open[i, cell] for cell in chain)
        assert all(after in beside(before, 10) for before, after in pairwise(chain))


@pytest.mark.parametrize("name", ["train.csv", "test.csv"])
def test_published_answers_are_the_only_shortest_paths(data_dir: Path, name: str) -> None:
    mazes = read_csv(data_dir / "maze" / name).mazes
    moves, ways = shortest_paths(mazes.inputs)
    np.testing.assert_array_equal(moves, mazes.ratings)
    np.testing.assert_array_equal(ways, 1)
    starts, goals = ends(mazes.inputs)
    found = with_path(mazes.inputs, trace(distances(mazes.inputs != WALL, starts).moves, goals))
    np.testing.assert_array_equal(found, mazes.labels)
    assert ((mazes.labels == PATH).sum(axis=1) + 1 == mazes.ratings).all()
    assert (mazes.inputs == OPEN).any(axis=1).all()
