from typing import Any

import numpy as np
import pytest

from hrm_analysis.residuals import Residuals, measure_residuals
from hrm_analysis.study import Study
from hrm_core.inference.slots import batch_of


@pytest.fixture(scope="module")
def residuals(study: Study) -> Residuals:
    return measure_residuals(study)


def in_plain_numpy(states: Any) -> Any:
    """Root mean square of what each cycle changes. Shapes: (c + 1, N, T, D) -> (c, N)."""
    moved = np.diff(states.astype(np.float64), axis=0)
    return np.sqrt((moved**2).mean(axis=(2, 3)))


def test_residuals_are_root_mean_square_changes(
    residuals: Residuals, states: dict[str, Any]
) -> None:
    np.testing.assert_allclose(residuals.curves["H"], in_plain_numpy(states["z_H"]), atol=1e-4)
    np.testing.assert_allclose(residuals.curves["L"], in_plain_numpy(states["z_L"]), atol=1e-4)
    np.testing.assert_array_equal(residuals.places["H"], [2, 4, 6, 8, 10, 12, 14, 16])
    np.testing.assert_array_equal(residuals.places["L"], np.arange(1, 17))


def test_numbers_are_means_and_percentiles_over_puzzles(
    residuals: Residuals, states: dict[str, Any]
) -> None:
    plain = in_plain_numpy(states["z_L"])
    found = residuals.numbers()["curves"]["L"]
    np.testing.assert_allclose(found["mean"], plain.mean(axis=1), atol=1e-4)
    np.testing.assert_allclose(found["high"], np.percentile(plain, 90, axis=1), atol=1e-4)
    np.testing.assert_allclose(found["low"], np.percentile(plain, 10, axis=1), atol=1e-4)
    rounds = plain.mean(axis=1).reshape(8, 2)[1:].mean(axis=0)
    np.testing.assert_allclose(residuals.numbers()["L_after_H"], rounds, atol=1e-4)


@pytest.mark.parametrize("mistake", ["levels swapped", "cycles shifted", "puzzles swapped"])
def test_mistakes_in_the_states_change_the_residuals(
    mistake: str, states: dict[str, Any], mistaken: Any
) -> None:
    wrong = mistaken(mistake).recording
    gap = np.abs(wrong.residuals_L - in_plain_numpy(states["z_L"])).max()
    assert gap > 0.05


def test_l_alone_runs_with_h_frozen_at_its_start(residuals: Residuals, study: Study) -> None:
    """Each cycle by itself: a step of one cycle from the state before, with z_H put back."""
    config = study.config.model_copy(update={"H_cycles": 1, "L_cycles": 1})
    backend = study.loaded(config, study.weights)
    carry = backend.begin(batch_of(study.questions.select(slice(5)), config))
    start = backend.carry_arrays(carry)
    z_H, before = start["z_H"].copy(), start["z_L"].copy()
    for cycle in range(6):
        carry, _ = backend.step(carry)
        moved = backend.carry_arrays(carry)
        z_L = moved["z_L"].copy()
        plain = np.sqrt(((z_L - before) ** 2).mean(axis=(1, 2)))
        np.testing.assert_allclose(residuals.curves["L alone"][cycle], plain, atol=1e-4)
        carry = backend.perturb(carry, z_H - moved["z_H"], np.zeros_like(z_L))
        before = z_L


def test_untrained_residuals_are_of_other_weights(residuals: Residuals) -> None:
    for level in "HL":
        trained, untrained = residuals.curves[level], residuals.curves[f"untrained {level}"]
        assert trained.shape == untrained.shape
        assert np.abs(trained - untrained).max() > 0.05
