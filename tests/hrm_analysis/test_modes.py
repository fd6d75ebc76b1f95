from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from conftest import NUM_PUZZLES, NUM_STEPS

from hrm_analysis import modes
from hrm_analysis.modes import measure_modes, modes_of
from hrm_analysis.study import LeftOutError, Study
from hrm_core.inference.slots import batch_of

MORE_STEPS = 0, 3, 7, 20  # as many as there are otherwise, but fewer steps


def test_each_puzzle_has_the_mode_of_its_path() -> None:
    """Answers of one cell: 1 is right; the others are wrong."""
    paths = {
        "at once": [1, 1, 1, 1],
        "late": [2, 3, 1, 1],
        "lost": [1, 1, 2, 2],
        "wandering": [2, 3, 2, 4],
        "stuck": [3, 2, 2, 2],
    }
    tokens = np.array(list(paths.values())).T[:, :, None]
    assert modes_of(tokens[:, :, 0] == 1, tokens, quiet=2) == list(paths)
    found_again = np.array([1, 2, 1, 1])[:, None, None]
    assert modes_of(found_again[:, :, 0] == 1, found_again, quiet=2) == ["late"]
    still_moving = np.array([2, 2, 3, 2])[:, None, None]
    assert modes_of(still_moving[:, :, 0] == 1, still_moving, quiet=2) == ["wandering"]


def test_fixed_points_are_told_by_thinking_on(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against one long run in plain calls, with what the model says first taken for right."""
    monkeypatch.setattr(modes, "MORE_STEPS", MORE_STEPS)
    count = 5
    halting = np.arange(count) % NUM_STEPS
    tokens = study.recording.tokens[halting, np.arange(count)]
    questions = replace(study.questions.select(slice(count)), labels=tokens)
    told = replace(study, questions=questions, batch_size=3)
    told.__dict__["halting_step"] = halting
    found = measure_modes(told)
    assert found.num_right_at_halt == len(found.continued) == count
    carry = study.backend.begin(batch_of(questions, study.config))
    said = []
    for _ in range(NUM_STEPS + MORE_STEPS[-1]):
        carry, answers = study.backend.step(carry)
        said.append(answers.tokens)
    expected = []
    for more in MORE_STEPS:
        later = np.array(said)[halting + more, np.arange(count)]
        expected.append((later == tokens).all(axis=1))
    assert (found.still_right == expected).mean() > 0.9  # rounding may turn a cell
    assert found.still_right[0].all()
    assert not found.still_right.all()


def test_every_puzzle_is_counted_once_and_each_mode_has_a_picture(study: Study) -> None:
    found = measure_modes(study)
    assert sum(found.counts.values()) == NUM_PUZZLES
    assert found.examples is not None
    numbers = found.numbers()
    assert numbers["right_at_halt"] == len(numbers["continued"]) == 0
    assert "There is nothing to continue." in found.findings()


def test_cells_that_nobody_scores_do_not_move_an_answer(study: Study) -> None:
    """Of puzzles with one labelled cell each, which is never right."""
    said, labels = study.recording.tokens, np.full((NUM_PUZZLES, 16), -100)
    labels[:, 5] = 0
    told = replace(study, questions=replace(study.questions, labels=labels))
    told.__dict__["recording"] = replace(study.recording, tokens=said.copy())
    told.recording.tokens[:, :, 5] = 3
    told.recording.tokens[-1, :, 6] = np.where(said[-2, :, 6] == 2, 3, 2)  # nobody scores it
    told.recording.tokens[-1, 0, 5] = 2
    assert list(measure_modes(told).mode) == ["wandering", *["stuck"] * (NUM_PUZZLES - 1)]


def test_other_measures_than_whole_answers_leave_it_out(study: Study) -> None:
    class Perplexed:
        class headline:
            key, title = "perplexity", "perplexity"

    task: Any = Perplexed()
    with pytest.raises(LeftOutError, match="measured by perplexity, not by whole answers"):
        measure_modes(replace(study, task=task))
    chunked = study.config.model_copy(update={"num_chunks": 2})
    with pytest.raises(LeftOutError, match="worked on in chunks"):
        measure_modes(replace(study, config=chunked))
