from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hrm_analysis.intermediate import IntermediateAnswers, measure_answers
from hrm_analysis.study import Study
from hrm_core.inference.slots import Questions
from hrm_tasks.sudoku.task import Sudoku


@pytest.fixture(scope="module")
def answers(study: Study) -> IntermediateAnswers:
    return measure_answers(study)


def test_curves_are_counts_of_cells(answers: IntermediateAnswers, study: Study) -> None:
    trials, questions = study.recording.trials, study.questions
    is_open = questions.inputs == 1
    curves = answers.curves
    for cycle, tokens in enumerate(trials):
        right = tokens == questions.labels
        assert curves["accuracy"][cycle] == pytest.approx(right[is_open].mean())
        assert curves["exact"][cycle] == pytest.approx(right.all(axis=1).mean())
        accepted = [Sudoku(4).accepts(q, a) for q, a in zip(questions.inputs, tokens, strict=True)]
        assert curves["refused"][cycle] == pytest.approx(1 - np.mean(accepted))
        if cycle:
            changed = (tokens != trials[cycle - 1]).sum(axis=1).mean()
            assert curves["changed"][cycle] == pytest.approx(changed)
    assert np.isnan(curves["changed"][0])
    assert 0.2 < curves["accuracy"][-1] < 1


def test_conflicts_are_counted_by_the_rules(answers: IntermediateAnswers, study: Study) -> None:
    tokens = study.recording.trials[-1]
    marked = Sudoku(4).conflicts(study.questions.inputs, tokens)
    assert answers.curves["conflicts"][-1] == pytest.approx(marked.sum(axis=1).mean())
    assert marked.any()


@pytest.mark.parametrize("mistake", ["levels swapped", "cycles shifted", "puzzles swapped"])
def test_mistakes_in_the_states_change_the_answers(
    mistake: str, answers: IntermediateAnswers, mistaken: Any
) -> None:
    wrong = measure_answers(mistaken(mistake))
    assert wrong.curves["changed"].tolist() != answers.curves["changed"].tolist()
    assert np.abs(wrong.curves["accuracy"] - answers.curves["accuracy"]).max() > 0.01


def test_a_film_strip_shows_a_puzzle(answers: IntermediateAnswers) -> None:
    pictures = answers.pictures()
    assert set(pictures) == {"answers", "answers-strip"}
    assert answers.strip is not None
    assert answers.strip.width > 600


def test_without_solutions_the_rules_judge(study: Study) -> None:
    asked = study.questions
    unlabelled = Questions.unlabelled(asked.inputs, asked.puzzle_identifiers)
    found = measure_answers(replace(study, questions=unlabelled))
    assert "accuracy" not in found.curves
    known = measure_answers(study)
    np.testing.assert_array_equal(found.curves["conflicts"], known.curves["conflicts"])


def test_without_rules_and_solutions_only_changes_are_left(study: Study) -> None:
    asked = study.questions
    unlabelled = Questions.unlabelled(asked.inputs, asked.puzzle_identifiers)
    found = measure_answers(replace(study, questions=unlabelled, task=None))
    assert list(found.curves) == ["changed"]
    assert "The solutions of these puzzles are not known, and there are no rules." in found.missing
    assert "No rules judge these answers." in found.findings()
