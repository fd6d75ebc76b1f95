import numpy as np
import pytest

from hrm_core.errors import PuzzleError
from hrm_core.pictures.grids import Mark
from hrm_core.tasks.contract import Task
from hrm_tasks.sudoku.generator import generate
from hrm_tasks.sudoku.solver import count_solutions
from hrm_tasks.sudoku.task import Sudoku

SIZES = (4, 6, 9)


@pytest.fixture(params=SIZES, ids="{0}x{0}".format)
def task(request: pytest.FixtureRequest) -> Sudoku:
    return Sudoku(request.param)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_every_board_is_a_task(task: Sudoku) -> None:
    checked: Task = task
    assert isinstance(checked, Task)
    assert (task.name, task.vocab_size, task.seq_len) == ("sudoku", task.size + 2, task.size**2)
    assert task.rating_bands == (0, 1, 5, 20, 50, 100)


def test_board_is_recognised_by_the_shape_of_a_data_set() -> None:
    assert [repr(Sudoku.for_shape(size + 2, size**2)) for size in SIZES] == [
        "Sudoku(4)",
        "Sudoku(6)",
        "Sudoku(9)",
    ]
    assert Sudoku.for_shape(vocab_size=12, seq_len=900) is None
    assert Sudoku.for_shape(vocab_size=11, seq_len=80) is None


def test_unknown_size_is_refused() -> None:
    with pytest.raises(PuzzleError, match="expected 4, 6 or 9"):
        Sudoku(8)


def test_drawn_puzzle_reads_back(task: Sudoku, rng: np.random.Generator) -> None:
    puzzles = generate(task.size, 5, rng)
    drawn = "\n\n".join(task.format(tokens) for tokens in puzzles.inputs)
    np.testing.assert_array_equal(task.parse(drawn), puzzles.inputs)


def test_pads_and_blanks_are_drawn_as_dots(task: Sudoku) -> None:
    pads, blanks = np.zeros(task.seq_len, np.uint8), np.ones(task.seq_len, np.uint8)
    assert task.format(pads) == task.format(blanks)
    assert task.format(pads).count(".") == task.seq_len


def test_given_cells_are_the_digits_of_the_question() -> None:
    inputs = np.array([[0, 1, 2, 5]], np.uint8)
    np.testing.assert_array_equal(Sudoku(4).given(inputs), [[False, False, True, True]])


def test_solution_is_accepted_and_every_single_change_to_it_is_not(
    task: Sudoku, rng: np.random.Generator
) -> None:
    inputs, labels, *_ = generate(task.size, 1, rng)
    assert task.accepts(inputs[0], labels[0])
    cell, token = np.divmod(np.arange(task.seq_len * task.vocab_size), task.vocab_size)
    answers = np.tile(labels, (len(cell), 1))
    answers[np.arange(len(cell)), cell] = token
    unchanged = token == labels[0, cell]
    np.testing.assert_array_equal(
        task.accepts_all(np.tile(inputs, (len(cell), 1)), answers), unchanged
    )


def test_cells_in_conflict_are_those_of_a_loop_over_the_rules(
    task: Sudoku, rng: np.random.Generator
) -> None:
    inputs = rng.integers(1, task.size + 2, (6, task.seq_len)).astype(np.uint8)
    answers = rng.integers(1, task.size + 2, (6, task.seq_len)).astype(np.uint8)
    answers[:, ::3] = inputs[:, ::3]
    found = task.conflicts(inputs, answers)
    assert (found.shape, found.dtype) == (answers.shape, np.bool_)
    for question, answer, marked in zip(inputs, answers, found, strict=True):
        for cell in range(task.seq_len):
            units = [unit for unit in task.board.units.tolist() if cell in unit]
            repeats = [unit for unit in units if answer[unit].tolist().count(answer[cell]) > 1]
            is_changed = question[cell] > 1 and question[cell] != answer[cell]
            assert marked[cell] == (answer[cell] == 1 or is_changed or bool(repeats))


def test_a_solution_is_the_only_answer_without_conflicts(
    task: Sudoku, rng: np.random.Generator
) -> None:
    inputs, labels, *_ = generate(task.size, 1, rng)
    assert not task.conflicts(inputs, labels).any()
    np.testing.assert_array_equal(task.conflicts(inputs, inputs), inputs == 1)


def test_valid_grid_that_drops_a_given_is_refused(task: Sudoku, rng: np.random.Generator) -> None:
    inputs, labels, *_ = generate(task.size, 2, rng)
    assert not task.accepts(inputs[0], labels[1])


def test_grid_with_right_rows_and_columns_but_wrong_boxes_is_refused(task: Sudoku) -> None:
    row = np.arange(task.size)
    latin_square = ((row[:, None] + row) % task.size + 2).astype(np.uint8).reshape(-1)
    assert not task.accepts(np.ones_like(latin_square), latin_square)


def test_symmetries_keep_puzzles_solvable_and_undo(task: Sudoku, rng: np.random.Generator) -> None:
    puzzles = generate(task.size, 20, rng)
    symmetries = task.draw_symmetries(rng, 20)
    inputs, labels = symmetries.apply(puzzles.inputs), symmetries.apply(puzzles.labels)
    assert task.accepts_all(inputs, labels).all()
    assert all(count_solutions(question - np.uint8(1)) == 1 for question in inputs)
    assert not (labels == puzzles.labels).all(axis=1).any()
    np.testing.assert_array_equal(symmetries.inverse().apply(inputs), puzzles.inputs)


def test_symmetries_leave_pad_and_blank_alone(task: Sudoku, rng: np.random.Generator) -> None:
    tokens = task.draw_symmetries(rng, 100).tokens
    np.testing.assert_array_equal(tokens[:, :2], np.tile([0, 1], (100, 1)))
    np.testing.assert_array_equal(
        np.sort(tokens, axis=1), np.tile(np.arange(task.vocab_size), (100, 1))
    )


def test_all_128_arrangements_of_the_small_board_are_drawn_alike(rng: np.random.Generator) -> None:
    _, counts = np.unique(Sudoku(4).draw_symmetries(rng, 12_800).cells, axis=0, return_counts=True)
    assert len(counts) == 128
    assert 50 < counts.min() <= counts.max() < 150  # mean 100, standard deviation 10


def test_board_with_oblong_boxes_is_not_transposed(rng: np.random.Generator) -> None:
    cells = Sudoku(6).draw_symmetries(rng, 50_000).cells.reshape(-1, 6, 6)
    assert (cells // 6 == cells[:, :, :1] // 6).all()  # rows stay rows
    assert len(np.unique(cells.reshape(-1, 36), axis=0)) == 48 * 72


def test_symmetries_repeat_with_the_seed() -> None:
    first, second = (Sudoku(9).draw_symmetries(np.random.default_rng(7), 3) for _ in range(2))
    np.testing.assert_array_equal(first.cells, second.cells)
    np.testing.assert_array_equal(first.tokens, second.tokens)


def test_picture_grows_with_the_cell_and_shows_marks(task: Sudoku) -> None:
    tokens = np.arange(task.seq_len, dtype=np.uint8) % task.vocab_size
    plain, wrong = (np.full(task.seq_len, mark) for mark in (Mark.PLAIN, Mark.WRONG))
    small, large = task.picture(tokens, plain, cell=20), task.picture(tokens, plain, cell=40)
    assert task.size * 20 <= small.width < large.width
    assert task.picture(tokens, wrong, cell=20).tobytes() != small.tobytes()
