from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from conftest import NUM_PUZZLES, NUM_STEPS

from hrm_analysis import states as module
from hrm_analysis.states import num_kept, others, record, record_paths
from hrm_analysis.study import Study
from hrm_core.errors import NotFiniteError
from hrm_core.inference.evaluation import answer_step_by_step
from hrm_core.inference.slots import batch_of


def test_recorded_ends_are_the_states_after_each_act_step(
    study: Study, states: dict[str, Any]
) -> None:
    found, every = study.recording, study.cycles_per_step
    assert found.ends_H.shape == (NUM_STEPS, NUM_PUZZLES, 17, 32)
    ends_H, ends_L = states["z_H"][2::2], states["z_L"][every::every]
    np.testing.assert_allclose(found.ends_H, ends_H, atol=1e-4)
    np.testing.assert_allclose(found.ends_L, ends_L, atol=1e-4)
    np.testing.assert_array_equal(found.tokens, states["tokens"])


def test_answers_are_those_of_an_evaluation(study: Study) -> None:
    questions = study.questions
    expected = answer_step_by_step(
        study.backend, questions.inputs, questions.puzzle_identifiers, max_steps=NUM_STEPS
    )
    np.testing.assert_array_equal(study.recording.tokens, expected.answers)
    np.testing.assert_allclose(study.recording.q_halt_logits, expected.q_halt_logits, atol=1e-4)


def test_trial_after_the_last_cycle_of_a_step_is_the_answer_of_the_step(study: Study) -> None:
    found, every = study.recording, study.cycles_per_step
    assert found.trials.shape == (NUM_STEPS * every, NUM_PUZZLES, 16)
    np.testing.assert_array_equal(found.trials[every - 1 :: every], found.tokens)


def test_trials_are_decoded_from_the_state_before_h_moves(
    study: Study, states: dict[str, Any]
) -> None:
    backend = study.backend
    carry = backend.begin(batch_of(study.questions, study.config))
    for cycle, z_L in enumerate(states["z_L"][1:]):
        z_H = states["z_H"][cycle // study.config.L_cycles]
        tokens = backend.decode(carry, z_H, z_L).tokens
        np.testing.assert_array_equal(study.recording.trials[cycle], tokens)


def test_paths_hold_every_cycle_of_the_chosen_puzzles(study: Study, states: dict[str, Any]) -> None:
    rows = np.array([7, 2, 3, 0, 11])
    found = study.paths(rows)
    np.testing.assert_allclose(found.z_H, states["z_H"][1:, rows], atol=1e-4)
    np.testing.assert_allclose(found.z_L, states["z_L"][1:, rows], atol=1e-4)


def test_memory_limits_the_number_of_states_that_are_kept(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = 2 * 4 * NUM_STEPS * 17 * 32
    monkeypatch.setattr(module, "KEPT_BYTES", 7 * one + 1)
    assert num_kept(study.config, NUM_PUZZLES, NUM_STEPS) == 7
    found = record(study.backend, study.questions, NUM_STEPS, batch_size=5, decodes=False)
    assert (found.num_kept, found.tokens.shape[1]) == (7, NUM_PUZZLES)
    np.testing.assert_array_equal(found.ends_H, study.recording.ends_H[:, :7])
    assert found.trials.shape == (0, NUM_PUZZLES, 16)


def test_mixing_exchanges_puzzles_and_nothing_else(study: Study) -> None:
    mixed = replace(study, control="shuffled")
    rows = np.arange(5)
    plain, found = study.paths(rows), mixed.paths(rows)
    assert np.abs(plain.z_H - found.z_H).max() > 0.1
    for mine, other in zip(plain.z_H, found.z_H, strict=True):
        np.testing.assert_array_equal(np.sort(mine, axis=0), np.sort(other, axis=0))
    again = replace(study, control="shuffled").paths(rows)
    np.testing.assert_array_equal(again.z_H, found.z_H)


def test_a_last_puzzle_that_would_be_alone_is_exchanged_too(study: Study) -> None:
    six = replace(study, questions=study.questions.select(slice(6)), batch_size=5)
    plain, mixed = six.recording, replace(six, control="shuffled").recording
    assert mixed.tokens.shape == plain.tokens.shape
    assert (np.abs(mixed.q_halt_logits - plain.q_halt_logits) > 1e-4).all()


def test_no_puzzle_is_given_its_own_states() -> None:
    rng = np.random.default_rng(0)
    drawn = np.array([others(rng, 4) for _ in range(600)])
    assert (np.sort(drawn, axis=1) == np.arange(4)).all()
    assert (drawn != np.arange(4)).all()
    assert len(np.unique(drawn, axis=0)) == 6  # rings of four
    assert others(rng, 1).tolist() == [0]


def test_states_that_are_not_finite_are_refused(study: Study) -> None:
    weights = {**study.weights, "H_init": study.weights["H_init"] * np.float32(np.nan)}
    with pytest.raises(NotFiniteError, match=r"^the model's states are not finite; choose"):
        replace(study, weights=weights).recording  # noqa: B018


def test_progress_counts_every_act_step_of_every_puzzle(study: Study) -> None:
    counted: list[int] = []
    options = NUM_STEPS, 5, False, None, counted.append
    record(study.backend, study.questions, *options)
    assert sum(counted) == NUM_STEPS * NUM_PUZZLES


def test_swapped_puzzles_are_noticed_in_the_paths(study: Study, mistaken: Any) -> None:
    rows = np.arange(4)
    wrong = mistaken("puzzles swapped")
    found = record_paths(wrong.backend, study.questions.select(rows), NUM_STEPS)
    assert np.abs(found.z_H[:, :2] - study.paths(rows).z_H[:, :2]).max() > 0.1
