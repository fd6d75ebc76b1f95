from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hrm_analysis.asking import drawn_questions, typed_questions
from hrm_analysis.study import Study
from hrm_core.data.store import load_split
from hrm_core.errors import PuzzleError
from hrm_core.inference.evaluation import chosen_questions
from hrm_core.runs.identifiers import ONLY_BLANK
from hrm_tasks.sudoku.task import Sudoku


def test_questions_are_drawn_by_the_seed_without_replacement(tiny_data: Path) -> None:
    split = load_split(tiny_data, "test")
    found, again, other = (drawn_questions(split, 12, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(found.inputs, again.inputs)
    assert found.inputs.tolist() != other.inputs.tolist()
    assert len(np.unique(found.inputs, axis=0)) == len(found) == 12
    everything = drawn_questions(split, 1000, 3)
    np.testing.assert_array_equal(everything.inputs, split.sets["all"].inputs)


def test_chosen_questions_come_with_all_that_belongs_to_them(tiny_data: Path) -> None:
    split = load_split(tiny_data, "train")
    examples, numbers = split.sets["all"], np.array([0, 7, 100])
    found = chosen_questions(split, numbers)
    np.testing.assert_array_equal(found.inputs, examples.inputs[numbers])
    np.testing.assert_array_equal(found.labels, examples.labels[numbers])
    assert examples.ratings is not None
    np.testing.assert_array_equal(found.ratings, examples.ratings[numbers])
    assert found.number.tolist() == [0, 1, 2]


def test_chosen_questions_are_counted_through_all_sets(tiny_data: Path) -> None:
    split = load_split(tiny_data, "test")
    split.sets["more"] = split.sets["all"]
    found = chosen_questions(split, np.array([3, 19, 20, 23]))
    np.testing.assert_array_equal(found.inputs[0], found.inputs[3])
    np.testing.assert_array_equal(found.inputs, split.sets["all"].inputs[[3, 19, 0, 3]])
    assert found.number.tolist() == [0, 1, 2, 3]


def test_typed_questions_have_no_solution(study: Study) -> None:
    def nothing() -> str:
        return ""

    text = "1... ..2. .3.. ...4"
    found = typed_questions(Sudoku(4), study.config, ONLY_BLANK, [text], nothing)
    np.testing.assert_array_equal(found.inputs, Sudoku(4).parse(text))
    assert (found.labels < 0).all()
    config: Any = study.config.model_copy(update={"image_size": (4, 4)})
    with pytest.raises(PuzzleError, match="sees pictures"):
        typed_questions(Sudoku(4), config, ONLY_BLANK, [text], nothing)
