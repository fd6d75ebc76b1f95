from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hrm_analysis.landscape import GRID, Landscape, measure_landscape
from hrm_analysis.study import LeftOutError, Study
from hrm_core.inference.slots import Questions, batch_of
from hrm_tasks.sudoku.task import Sudoku


@pytest.fixture(scope="module")
def landscape(study: Study) -> Landscape:
    return measure_landscape(study)


def test_value_at_a_point_is_the_loss_of_a_decoded_state(
    landscape: Landscape, study: Study, states: dict[str, Any]
) -> None:
    """The plane by plain singular values; the sign of a direction is free."""
    row = landscape.row
    path = states["z_H"][1:, row].reshape(8, -1).astype(np.float64)
    _, values, directions = np.linalg.svd(path - path.mean(axis=0), full_matrices=False)
    plain = (path - path[-1]) @ directions[:2].T
    signs = np.sign((plain * landscape.path).sum(axis=0))
    np.testing.assert_allclose(plain * signs, landscape.path, atol=2e-3)
    np.testing.assert_allclose(landscape.shares, (values**2 / (values**2).sum())[:2], rtol=1e-3)
    place = np.array([landscape.across[3], landscape.down[20]])
    z_H = path[-1] + (place * signs) @ directions[:2]
    one = study.questions.select(np.array([row]))
    carry = study.backend.begin(batch_of(one, study.config))
    shape = 1, *states["z_H"].shape[2:]
    z_L = states["z_L"][-1, row][None]
    answers = study.backend.decode(carry, z_H.reshape(shape).astype(np.float32), z_L)
    loss = answers.label_losses(one.labels.astype(np.int32)).mean()
    assert landscape.values[20, 3] == pytest.approx(loss, rel=1e-3)
    assert landscape.values.shape == (GRID, GRID)
    assert np.ptp(landscape.values) > 1e-3


@pytest.mark.parametrize("mistake", ["levels swapped", "cycles shifted"])
def test_mistakes_in_the_states_change_the_landscape(
    mistake: str, landscape: Landscape, mistaken: Any
) -> None:
    """The value at the end alone would not do: H adds its two arguments, so swapped levels leave it."""
    wrong = measure_landscape(mistaken(mistake))
    assert np.abs(np.abs(wrong.path) - np.abs(landscape.path)).max() > 0.5
    assert np.abs(wrong.values - landscape.values).max() > 1e-2


def test_a_short_path_has_the_plane_of_all_states(study: Study, landscape: Landscape) -> None:
    assert landscape.plane_of == "its own path"
    short = measure_landscape(replace(study, num_steps=1))
    assert short.plane_of == "the states of all puzzles"
    assert len(short.path) == 2
    assert short.shares[1] > 0.01


def test_without_a_solution_conflicts_are_counted(study: Study) -> None:
    asked = study.questions
    unlabelled = Questions.unlabelled(asked.inputs, asked.puzzle_identifiers)
    found = measure_landscape(replace(study, questions=unlabelled))
    assert (found.value, found.values.dtype.kind) == ("conflicts", "i")
    assert 0 <= found.values.min() <= found.values.max() <= 16
    states = study.paths(np.array([found.row]))
    one = asked.select(np.array([found.row]))
    carry = study.backend.begin(batch_of(one, study.config))
    tokens = study.backend.decode(carry, states.z_H[-1], states.z_L[-1]).tokens
    assert found.end_value == Sudoku(4).conflicts(one.inputs, tokens).sum()


def test_without_solution_and_rules_it_is_left_out(study: Study) -> None:
    asked = study.questions
    unlabelled = Questions.unlabelled(asked.inputs, asked.puzzle_identifiers)
    with pytest.raises(LeftOutError, match="Neither the solution nor"):
        measure_landscape(replace(study, questions=unlabelled, task=None))
