from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from conftest import NUM_PUZZLES

from hrm_analysis.study import Study
from hrm_analysis.trajectories import Trajectories, measure_trajectories, principal_plane


@pytest.fixture(scope="module")
def trajectories(study: Study) -> Trajectories:
    return measure_trajectories(study)


def test_plane_is_that_of_the_singular_values() -> None:
    rng = np.random.default_rng(0)
    samples = (rng.standard_normal((40, 300)) * np.linspace(3, 0.1, 300)).astype(np.float32)
    plane = principal_plane(samples)
    centred = samples - samples.mean(axis=0)
    _, values, directions = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(
        np.abs((plane.directions * directions[:2]).sum(axis=1)), 1, atol=1e-4
    )
    np.testing.assert_allclose(plane.shares, (values**2 / (values**2).sum())[:2], rtol=1e-4)
    np.testing.assert_allclose(plane.place(samples).mean(axis=0), 0, atol=1e-3)


def test_paths_are_projections_of_whole_states(
    trajectories: Trajectories, study: Study, states: dict[str, Any]
) -> None:
    walk, ends = trajectories.walks["L"], study.recording.ends_L
    plane = principal_plane(ends.reshape(ends.shape[0] * NUM_PUZZLES, -1))
    path = states["z_L"][1:, trajectories.rows[0]].reshape(16, -1)
    plain = (path - plane.mean) @ plane.directions.T
    np.testing.assert_allclose(walk.paths[0], plain, atol=1e-2)
    moves = np.linalg.norm(np.diff(path, axis=0), axis=1).sum()
    straight = np.linalg.norm(path[-1] - path[0])
    assert walk.lengths[0] == pytest.approx(moves / straight, rel=1e-3)


@pytest.mark.parametrize("mistake", ["levels swapped", "cycles shifted", "puzzles swapped"])
def test_mistakes_in_the_states_change_the_paths(
    mistake: str, trajectories: Trajectories, mistaken: Any
) -> None:
    wrong = measure_trajectories(mistaken(mistake)).walks["L"]
    assert np.abs(wrong.paths - trajectories.walks["L"].paths).max() > 0.5


def test_solved_and_unsolved_puzzles_are_drawn_apart(study: Study) -> None:
    told = replace(study)
    right = np.zeros((4, NUM_PUZZLES), bool)
    right[-1, [3, 5, 6, 7, 8, 9]] = True
    told.__dict__["right"] = right
    found = measure_trajectories(told)
    assert found.rows.tolist() == [3, 5, 6, 7, 0, 1, 2, 4]
    assert {name: places.tolist() for name, places in found.groups.items()} == {
        "solved": [0, 1, 2, 3],
        "unsolved": [4, 5, 6, 7],
    }
    assert set(found.pictures()) == {"trajectories"}
