import numpy as np
import pytest

from hrm_core.data.dihedral import square_cells
from hrm_core.data.puzzles import Puzzles
from hrm_core.data.symmetry import Symmetry
from hrm_core.errors import PuzzleError
from hrm_core.pictures.grids import Mark
from hrm_core.tasks.contract import Task
from hrm_core.tasks.registry import task_of_shape
from hrm_tasks.maze.board import OPEN, PATH, canonical
from hrm_tasks.maze.generator import MazeGenerator
from hrm_tasks.maze.search import shortest_paths
from hrm_tasks.maze.task import Maze


@pytest.fixture
def task() -> Maze:
    return Maze(10)


@pytest.fixture
def mazes() -> Puzzles:
    return MazeGenerator(10, np.random.default_rng(0)).generate(24)


def test_every_square_is_a_task(task: Maze) -> None:
    checked: Task = task
    assert isinstance(checked, Task)
    assert (task.name, task.vocab_size, task.seq_len, repr(task)) == ("maze", 6, 100, "Maze(10)")
    assert list(task.rating_bands) == sorted(task.rating_bands)
    assert task.rating_bands[0] == 0


def test_board_is_recognised_by_the_shape_of_a_data_set() -> None:
    assert repr(task_of_shape(6, 900)) == "Maze(30)"
    assert (
        repr(task_of_shape(6, 16)) == "Sudoku(4)"
    )  # no name, two tasks of this shape: the one that is published
    assert repr(task_of_shape(6, 16, "maze")) == "Maze(4)"
    assert [Maze.for_shape(*shape) for shape in ((6, 899), (11, 900), (6, 1), (6, 129**2))] == [
        None
    ] * 4


@pytest.mark.parametrize("size", [0, 1, 129])
def test_unknown_size_is_refused(size: int) -> None:
    with pytest.raises(PuzzleError, match=f"no maze has {size} rows here; expected 2 to 128"):
        Maze(size)


def test_given_are_walls_start_and_goal(task: Maze) -> None:
    np.testing.assert_array_equal(task.given(np.arange(6)), [False, True, False, True, True, False])


def test_solution_is_accepted_and_every_single_change_to_it_is_not(
    task: Maze, mazes: Puzzles
) -> None:
    inputs, labels = mazes.inputs[0], mazes.labels[0]
    assert task.accepts(inputs, labels)
    assert task.verdict(inputs, labels) == f"optimal: {mazes.ratings[0]} moves"
    cell, token = np.divmod(np.arange(task.seq_len * task.vocab_size), task.vocab_size)
    answers = np.tile(labels, (len(cell), 1))
    answers[np.arange(len(cell)), cell] = token
    np.testing.assert_array_equal(
        task.accepts_all(np.tile(inputs, (len(cell), 1)), answers), token == labels[cell]
    )


def test_all_eight_symmetries_keep_a_maze_and_its_path(task: Maze, mazes: Puzzles) -> None:
    for number in range(8):
        symmetry = task.symmetries(np.full(len(mazes.ratings), number))
        inputs, labels = symmetry.apply(mazes.inputs), symmetry.apply(mazes.labels)
        assert task.accepts_all(inputs, labels).all()
        np.testing.assert_array_equal(shortest_paths(inputs).num_paths, 1)
        np.testing.assert_array_equal(shortest_paths(inputs).moves, mazes.ratings)
        np.testing.assert_array_equal(symmetry.inverse().apply(inputs), mazes.inputs)
        assert (number == 0) == (inputs == mazes.inputs).all()


def test_symmetries_are_drawn_alike_and_repeat_with_the_seed(task: Maze) -> None:
    first, second = (task.draw_symmetries(np.random.default_rng(7), 8000) for _ in range(2))
    assert isinstance(first, Symmetry)
    np.testing.assert_array_equal(first.cells, second.cells)
    _, counts = np.unique(first.cells, axis=0, return_counts=True)
    assert len(counts) == 8
    assert 850 < counts.min() <= counts.max() < 1150  # mean 1000, standard deviation 30
    np.testing.assert_array_equal(first.tokens, np.tile(np.arange(6), (8000, 1)))


def test_canonical_maze_is_the_smallest_of_its_views(task: Maze, mazes: Puzzles) -> None:
    found = canonical(mazes.inputs, 10)
    for maze, smallest in zip(mazes.inputs, found, strict=True):
        assert bytes(smallest) == min(bytes(maze[order]) for order in square_cells(10))
    moved = task.draw_symmetries(np.random.default_rng(1), len(found)).apply(mazes.inputs)
    np.testing.assert_array_equal(canonical(moved, 10), found)
    assert len(np.unique(found, axis=0)) == len(found)


def test_picture_shows_walls_path_ends_and_marks(task: Maze, mazes: Puzzles) -> None:
    given = np.where(task.given(mazes.inputs[0]), Mark.GIVEN, Mark.PLAIN)
    question, answer = (
        task.picture(tokens, given, cell=12) for tokens in (mazes.inputs[0], mazes.labels[0])
    )
    assert question.size == answer.size == (120, 120)
    corners = np.asarray(answer)[::12, ::12].reshape(-1, 3)
    fills = {
        int(token): {tuple(colour) for colour in corners[mazes.labels[0] == token].tolist()}
        for token in np.unique(mazes.labels[0])
    }
    assert [len(colours) for colours in fills.values()] == [1] * 5
    assert len(set.union(*fills.values())) == 5
    np.testing.assert_array_equal(
        np.asarray(question)[::12, ::12].reshape(-1, 3)[mazes.labels[0] != PATH],
        corners[mazes.labels[0] != PATH],
    )
    wrong = task.picture(mazes.labels[0], np.full(100, Mark.WRONG), cell=12)
    assert (
        len({tuple(colour) for colour in np.asarray(wrong)[::12, ::12].reshape(-1, 3).tolist()})
        == 1
    )
    assert (
        len(np.unique(np.asarray(wrong).reshape(-1, 3), axis=0)) > 3
    )  # what the cells hold is seen on the mark's colour


@pytest.mark.parametrize("cell", [1, 5, 24, 48])
def test_any_tokens_with_any_marks_are_drawn(task: Maze, cell: int) -> None:
    rng = np.random.default_rng(cell)
    picture = task.picture(
        rng.integers(6, size=100).astype(np.uint8), rng.integers(5, size=100), cell
    )
    assert picture.size == (10 * cell, 10 * cell)


def test_open_cell_of_the_answer_stays_unmarked(task: Maze, mazes: Puzzles) -> None:
    picture = [
        task.picture(mazes.inputs[0], np.full(100, mark), cell=1)
        for mark in (Mark.PLAIN, Mark.AGREES)
    ]
    is_open = mazes.inputs[0] == OPEN
    plain, agrees = (np.asarray(each).reshape(-1, 3)[is_open] for each in picture)
    np.testing.assert_array_equal(plain, agrees)
