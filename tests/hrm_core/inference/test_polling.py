import numpy as np
import pytest

from hrm_core.errors import PuzzleError
from hrm_core.inference.voting import BySymmetries, Candidates, polling_of
from hrm_tasks.arc.task import Arc
from hrm_tasks.grids.task import Grids
from hrm_tasks.sudoku.task import Sudoku

QUESTION = "1.../..2./.3../...4"
SOLUTION = np.array([int(digit) + 1 for digit in "1243342143122134"])


def test_a_polled_task_overrides_the_default() -> None:
    assert isinstance(polling_of(Sudoku(4), 0), BySymmetries)
    assert isinstance(polling_of(Arc(6), 0), Arc)


def test_each_form_is_another_and_is_undone() -> None:
    question = Sudoku(4).parse(QUESTION.replace("/", "\n"))[0]
    asked = polling_of(Sudoku(4), 7).ask(question, ["blank"] * 4)
    assert asked.inputs.shape == (4, 16)
    np.testing.assert_array_equal(asked.inputs[0], question)
    assert len({form.tobytes() for form in asked.inputs}) > 1
    for k, form in enumerate(asked.inputs):
        np.testing.assert_array_equal(asked.undo(k, form[None])[0], question)


def test_the_rules_choose_as_they_do_in_an_evaluation() -> None:
    task = Sudoku(4)
    question = task.parse(QUESTION.replace("/", "\n"))[0]
    wrong = np.where(np.arange(16) == 5, 2, SOLUTION)
    answers = np.stack([wrong, wrong, SOLUTION])
    values = np.array([3.0, 2.0, -1.0], np.float32)
    (best,) = polling_of(task, 0).attempts(question, answers, values)
    chosen = Candidates(question[None], answers[:, None], values[:, None]).choose("rules", task)
    assert best.row == chosen[0] == 2
    assert (best.count, best.answer.tolist()) == (1, SOLUTION.tolist())
    assert best.confidence == pytest.approx(1 / (1 + np.e))


def test_a_question_without_symmetries_is_refused_only_where_there_are_votes() -> None:
    task = Grids("ab", 3, 3, symmetric=True)
    question = task.parse("ab\nba")[0]
    assert len(polling_of(task, 0).ask(question, ["blank"]).inputs) == 1
    with pytest.raises(PuzzleError, match="does not fill the canvas has no symmetries"):
        polling_of(task, 0).ask(question, ["blank"] * 2)
