from dataclasses import replace

import numpy as np
import pytest
from conftest import NUM_PUZZLES

from hrm_analysis.halting import measure_halting, roc_of
from hrm_analysis.study import LeftOutError, Study
from hrm_core.config import ModelConfig


def test_area_is_the_chance_that_a_right_answer_has_the_higher_value() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 20, 200).astype(np.float64)  # many are equal
    right = rng.random(200) < values / 25
    pairs = values[right][:, None] - values[~right][None]
    expected = ((pairs > 0) + 0.5 * (pairs == 0)).mean()
    found = roc_of(values, right)
    assert found.area == pytest.approx(expected)
    assert (found.false_positive[0], found.true_positive[0]) == (0, 0)
    assert (found.false_positive[-1], found.true_positive[-1]) == (1, 1)
    assert roc_of(-values, right).area == pytest.approx(1 - expected)


def test_answers_of_one_kind_have_no_area() -> None:
    assert np.isnan(roc_of(np.arange(5.0), np.ones(5, bool)).area)


def told(study: Study) -> Study:
    """The same study with every third answer taken for right."""
    changed = replace(study)
    changed.__dict__["right"] = np.arange(4 * NUM_PUZZLES).reshape(4, NUM_PUZZLES) % 3 == 0
    return changed


def test_puzzles_halt_at_the_first_step_that_q_says_so(study: Study) -> None:
    found = study.recording
    for number, step in enumerate(study.halting_step.tolist()):
        wants = found.q_halt_logits[:, number] > found.q_continue_logits[:, number]
        assert step == (wants.tolist().index(True) if wants.any() else 3)


def test_halting_counts_answers_at_the_halt_and_at_every_step(study: Study) -> None:
    changed = told(study)
    found = measure_halting(changed)
    assert sum(found.counts["all"]) == 4 * NUM_PUZZLES
    assert found.counts["all"][0] == changed.right.sum()
    at_halt = changed.right[changed.halting_step, np.arange(NUM_PUZZLES)]
    assert found.counts["halt"] == (at_halt.sum(), (~at_halt).sum())
    total = found.bands[-1]
    assert (total.name, total.num_puzzles) == ("all", NUM_PUZZLES)
    assert total.steps == pytest.approx((changed.halting_step + 1).mean())
    assert sum(band.num_puzzles for band in found.bands[:-1]) == NUM_PUZZLES
    steps = (changed.halting_step + 1).tolist()
    assert found.step_counts.tolist() == [steps.count(step) for step in (1, 2, 3, 4)]
    assert set(found.pictures()) == {"halting"}


def test_steps_are_split_by_rating(study: Study) -> None:
    ratings = np.array([0, 1, 4, 5, 200, *[0] * (NUM_PUZZLES - 5)])
    rated = told(replace(study, questions=replace(study.questions, ratings=ratings)))
    bands = {band.name: band for band in measure_halting(rated).bands}
    assert {name: band.num_puzzles for name, band in bands.items()} == {
        "0": NUM_PUZZLES - 4,
        "1-4": 2,
        "5-19": 1,
        "100+": 1,
        "all": NUM_PUZZLES,
    }
    assert bands["1-4"].steps == pytest.approx((rated.halting_step[1:3] + 1).mean())


def test_fixed_halting_leaves_it_out(study: Study) -> None:
    fixed = ModelConfig.model_validate({**study.config.model_dump(), "halting": "fixed"})
    with pytest.raises(LeftOutError, match="takes a fixed number of ACT steps"):
        measure_halting(replace(study, config=fixed))
