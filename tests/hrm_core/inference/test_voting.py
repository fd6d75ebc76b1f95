from pathlib import Path

import numpy as np
import pytest

from hrm_core.backend import BackendOptions
from hrm_core.data.store import ExampleSet, Split, load_split
from hrm_core.inference.answering import answer, inference_options
from hrm_core.inference.voting import BLOCK, Candidates, Symmetries
from hrm_core.runs.checkpoint import find_model, load_model
from hrm_core.tasks.cells import measure_cells
from hrm_mlx.backend import MLXBackend
from hrm_tasks.sudoku.task import Sudoku

SOLUTION = "1234 3412 2143 4321"


def tokens(text: str) -> np.ndarray:
    return np.array([int(digit.replace(".", "0")) + 1 for digit in text.replace(" ", "")], np.uint8)


def candidates(
    answers: list[str], q_halt: list[float], question: str = "1... .... .... ...1"
) -> Candidates:
    return Candidates(
        tokens(question)[None],
        np.stack([tokens(a)[None] for a in answers]),
        np.array(q_halt)[:, None],
    )


RIGHT, WRONG, OTHER = SOLUTION, "1234 3412 2143 4322", "1234 3412 2143 4323"


@pytest.mark.parametrize(
    ("how", "answers", "q_halt", "expected"),
    [
        ("q", [WRONG, RIGHT, WRONG], [0.0, 1.0, 3.0], 2),
        ("majority", [OTHER, WRONG, WRONG], [9.0, -3.0, -3.0], 1),
        ("majority", [OTHER, WRONG], [-1.0, 1.0], 1),  # as many: the more confident one
        ("rules", [WRONG, WRONG, RIGHT], [5.0, 5.0, -5.0], 2),
        ("rules", [WRONG, OTHER, OTHER], [5.0, 0.0, 0.0], 1),  # none is accepted: the majority
    ],
)
def test_the_choice(how: str, answers: list[str], q_halt: list[float], expected: int) -> None:
    question = "1... .... .... ...1" if RIGHT not in answers else "1... ...2 2... ...1"
    found = candidates(answers, q_halt, question).choose(how, Sudoku(4))  # type: ignore[arg-type]
    assert found.tolist() == [expected]


def test_rules_do_not_choose_where_there_is_no_task() -> None:
    assert candidates([WRONG, WRONG, RIGHT], [0.0, 0.0, 9.0]).choose("rules", None).tolist() == [0]


def test_symmetries_belong_to_the_puzzle_and_are_undone() -> None:
    drawn = Symmetries(Sudoku(4), vote=1)
    numbers = np.array([5, BLOCK + 5, 0, 5])
    found = drawn(numbers)
    alone = drawn(np.array([BLOCK + 5]))
    np.testing.assert_array_equal(found.cells[1], alone.cells[0])
    np.testing.assert_array_equal(found.cells[0], found.cells[3])
    grids = np.tile(tokens(SOLUTION), (4, 1))
    np.testing.assert_array_equal(found.inverse().apply(found.apply(grids)), grids)
    assert (found.apply(grids) != grids).any(axis=1).sum() >= 3


@pytest.fixture(scope="module")
def backend(tiny_run: Path) -> MLXBackend:
    model = load_model(find_model(tiny_run))
    backend = MLXBackend(model.config, BackendOptions(device="cpu"))
    backend.load_weights(model.weights)
    return backend


def scrambled(split: Split) -> Split:
    """The same questions with labels of other puzzles."""
    sets = {}
    for name, examples in split.sets.items():
        other = object.__new__(ExampleSet)
        for field, value in vars(examples).items():
            object.__setattr__(
                other, field, np.asarray(value)[::-1].copy() if field == "labels" else value
            )
        sets[name] = other
    copy = object.__new__(Split)
    for field, value in vars(split).items():
        object.__setattr__(copy, field, sets if field == "sets" else value)
    return copy


def test_labels_take_no_part_in_the_choice(backend: MLXBackend, tiny_data: Path) -> None:
    test, task = load_split(tiny_data, "test"), Sudoku(4)
    asked = inference_options(task, "q", votes=3, sigma=0.2, rollouts=2)
    honest = answer([backend], test, task, asked, batch_size=7)
    blind = answer([backend], scrambled(test), task, asked, batch_size=7)
    np.testing.assert_array_equal(honest.answers, blind.answers)
    assert (
        honest.predictions.num_right != blind.predictions.num_right
    ).any()  # the labels were others indeed


def test_several_answers_hold_what_one_answer_holds(backend: MLXBackend, tiny_data: Path) -> None:
    test, task = load_split(tiny_data, "test"), Sudoku(4)
    one = answer([backend], test, task, inference_options(task, "fixed"), batch_size=7)
    several = answer(
        [backend], test, task, inference_options(task, "fixed", votes=4), batch_size=20
    )
    np.testing.assert_array_equal(several.each[0].num_right, one.predictions.num_right)
    assert len(several.each) == 4
    assert several.predictions.steps.tolist() == [4 * backend.config.halt_max_steps] * 20
    assert several.oracle >= max(
        measure_cells(predictions)["exact_accuracy"]
        for predictions in [*several.each, several.predictions]
    )


class Mirrored(Sudoku):
    """Accepts an answer whose first cell is the digit 1: random weights give some of them."""

    def accepts_all(self, inputs: np.ndarray, answers: np.ndarray) -> np.ndarray:
        return answers[:, 0] == 2


@pytest.mark.parametrize("halt", ["fixed", "q"])
def test_the_first_accepted_answer_is_that_of_all_for_less(
    halt: str, backend: MLXBackend, tiny_data: Path
) -> None:
    test, task = load_split(tiny_data, "test"), Mirrored(4)
    asked = inference_options(task, halt, votes=5, sigma=0.2, rollouts=2)  # type: ignore[arg-type]
    told: list[float] = []
    every = answer([backend], test, task, asked, "rules", batch_size=7)
    first = answer([backend], test, task, asked, "first", batch_size=7, advance=told.append)
    accepted = task.accepts_all(every.answers, every.answers)
    assert 0 < accepted.sum() < len(accepted)  # both ends are there
    assert task.accepts_all(first.answers, first.answers).tolist() == accepted.tolist()
    for row in range(20):
        answers = every.each_answers[:, row]
        found = np.flatnonzero(task.accepts_all(answers, answers))
        num_asked = int(found[0]) + 1 if len(found) else len(asked)
        steps = np.array([one.steps[row] for one in every.each])
        assert first.predictions.steps[row] == steps[:num_asked].sum()
        if len(found):
            np.testing.assert_array_equal(first.answers[row], answers[found[0]])
        else:
            np.testing.assert_array_equal(first.answers[row], every.answers[row])
    assert 1 < first.mean_answers < len(asked) == every.mean_answers
    assert first.mean_module_calls < every.mean_module_calls
    assert sum(told) == pytest.approx(20 * len(asked))


def test_two_models_give_an_answer_each(backend: MLXBackend, tiny_data: Path) -> None:
    test, task = load_split(tiny_data, "test"), Sudoku(4)
    both = answer([backend, backend], test, task, inference_options(task, "fixed"), batch_size=20)
    np.testing.assert_array_equal(both.each[0].q_halt_logits, both.each[1].q_halt_logits)
