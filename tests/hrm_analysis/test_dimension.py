import time
import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hrm_analysis.dimension import (
    Dimension,
    corrected_ratio,
    measure_dimension,
    moments,
    participation_ratio,
    ratio_of,
    samples_of,
)
from hrm_analysis.study import ORDERED, LeftOutError, Study


def in_plain_numpy(samples: Any) -> float:
    """By eigenvalues of the covariance."""
    values = np.linalg.eigvalsh(np.cov(samples.T.astype(np.float64)))
    return float(values.sum() ** 2 / (values**2).sum())


@pytest.fixture(scope="module")
def dimension(study: Study) -> Dimension:
    return measure_dimension(study)


@pytest.mark.parametrize("shape", [(200, 12), (12, 200), (50, 50), (2, 7)])
def test_ratio_is_that_of_the_eigenvalues(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    samples = (rng.standard_normal(shape) * rng.uniform(0, 3, shape[1]) + 5).astype(np.float32)
    assert participation_ratio(samples) == pytest.approx(in_plain_numpy(samples), rel=1e-6)


def test_ratio_counts_dimensions() -> None:
    rng = np.random.default_rng(0)
    samples = np.zeros((40_000, 20), np.float32)
    samples[:, :7] = rng.standard_normal((40_000, 7))
    assert participation_ratio(samples) == pytest.approx(7, rel=0.01)
    turned = samples @ np.linalg.qr(rng.standard_normal((20, 20)))[0]
    assert participation_ratio(turned) == pytest.approx(participation_ratio(samples), rel=1e-9)


def test_blocks_do_not_change_the_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = np.random.default_rng(0).standard_normal((301, 40)).astype(np.float32)
    whole = moments(samples), moments(samples.T.copy())
    monkeypatch.setattr("hrm_analysis.dimension.BLOCK_VALUES", 400)
    np.testing.assert_allclose([moments(samples), moments(samples.T.copy())], whole, rtol=1e-12)


@pytest.mark.parametrize("count", [10, 30, 100])
def test_correction_takes_away_the_bias_of_few_samples(count: int) -> None:
    """Of Gaussian samples whose participation ratio is known."""
    rng = np.random.default_rng(count)
    scales = np.linspace(0.2, 2, 60)
    true = (scales**2).sum() ** 2 / (scales**4).sum()
    found = [moments(rng.standard_normal((count, 60)) * scales) for _ in range(400)]
    trace, squares = np.mean([t**2 for t, _ in found]), np.mean([s for _, s in found])
    assert trace / squares < 0.75 * true or count == 100
    corrected = corrected_ratio(float(np.sqrt(trace)), float(squares), count)
    assert corrected == pytest.approx(true, rel=0.1)


def test_too_few_samples_have_no_estimate() -> None:
    assert np.isnan(corrected_ratio(3.0, 9.0, 2))
    assert corrected_ratio(3.0, 1.0, 5) == np.inf


def test_samples_are_positions_or_whole_states(dimension: Dimension, study: Study) -> None:
    ends = study.recording.ends_L
    last = dimension.ratios["model", "L", "position", "last"][-1]
    assert (last.puzzles, last.samples, last.most) == (12, 12 * 17, 32)
    assert last.ratio == pytest.approx(in_plain_numpy(ends[-1].reshape(-1, 32)), rel=1e-5)
    every = dimension.ratios["model", "L", "state", "all"][0]
    assert (every.puzzles, every.samples, every.most) == (10, 40, 39)
    chosen = study.rng(ORDERED).permutation(12)[:10]
    few = ends[:, chosen].reshape(40, -1).astype(np.float64)
    centred = few - few.mean(axis=0)
    values = np.linalg.eigvalsh(centred @ centred.T)
    expected = values.sum() ** 2 / (values**2).sum()
    assert every.ratio == pytest.approx(expected, rel=1e-5)


def test_controls_stand_beside_the_model(dimension: Dimension) -> None:
    key = "H", "position", "all"
    trained, untrained = (dimension.ratios[name, *key][-1] for name in ("model", "untrained"))
    assert trained.samples == untrained.samples
    assert trained.ratio != pytest.approx(untrained.ratio, rel=1e-3)
    assert dimension.shuffled[key].ratio > 2 * trained.ratio
    assert dimension.numbers()["paper"]["H"] == {"trained": 89.95, "untrained": 40.75}


def test_swapped_levels_change_the_participation_ratio(dimension: Dimension, mistaken: Any) -> None:
    ends = mistaken("levels swapped").recording.ends_H
    key = "H", "position", "last"
    wrong = ratio_of(samples_of(ends, "position", "last", 12), 12).ratio
    assert wrong != pytest.approx(dimension.ratios["model", *key][-1].ratio, rel=0.02)
    right = dimension.ratios["model", "L", "position", "last"][-1].ratio
    assert wrong == pytest.approx(right, rel=1e-4)


def test_few_puzzles_leave_it_out(study: Study) -> None:
    few = replace(study, questions=study.questions.select(slice(3)))
    with pytest.raises(LeftOutError, match=r"^The states of 3 puzzles are at hand, expected 10"):
        measure_dimension(few)


def test_fifty_thousand_states_of_width_512_take_seconds_and_little_memory() -> None:
    samples = np.random.default_rng(0).standard_normal((50_000, 512), np.float32)
    tracemalloc.start()
    began = time.process_time()
    ratio = participation_ratio(samples)
    seconds, (_, peak) = time.process_time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 10
    assert samples.nbytes + peak < 0.5e9
    assert ratio == pytest.approx(1 / (1 / 512 + 1 / 50_000), rel=1e-3)
