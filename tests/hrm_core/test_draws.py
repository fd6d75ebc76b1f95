import numpy as np
import pytest

from hrm_core.config import DataSizes, ModelConfig, load_config
from hrm_core.draws import Purpose, draw_min_steps, stream

RECORDED = [
    0.9799939816368156,
    0.09974389385865956,
    0.27164086479515837,
]  # of stream(0, EXPLORATION, 1)


def model(**changes: object) -> ModelConfig:
    config = load_config("sudoku-extreme-1k").model.sized(DataSizes(11, 81, 1))
    return ModelConfig.model_validate({**config.model_dump(), **changes})


def test_streams_are_repeatable_and_apart() -> None:
    keys = [(seed, purpose, index) for seed in (0, 1) for purpose in Purpose for index in (0, 1)]
    firsts = {key: stream(*key).integers(2**63) for key in keys}
    assert len(set(firsts.values())) == len(keys)
    assert {key: stream(*key).integers(2**63) for key in keys} == firsts


def test_stream_gives_the_same_numbers_for_ever() -> None:
    assert stream(0, Purpose.EXPLORATION, 1).random(3).tolist() == pytest.approx(RECORDED, abs=0)


def test_floors_explore_with_the_probability_asked_for_and_cover_their_range() -> None:
    floors = draw_min_steps(np.random.default_rng(0), 100_000, model())
    assert floors.dtype == np.int32
    assert (floors > 0).mean() == pytest.approx(0.1, abs=0.004)
    values, counts = np.unique(floors[floors > 0], return_counts=True)
    assert values.tolist() == list(range(2, 17))
    assert counts.max() / counts.min() < 1.35


@pytest.mark.parametrize(("prob", "share"), [(0.0, 0), (1.0, 1)])
def test_floors_at_the_ends_of_the_probability(prob: float, share: int) -> None:
    assert (
        draw_min_steps(np.random.default_rng(0), 1000, model(halt_exploration_prob=prob)) > 0
    ).mean() == share


def test_one_step_leaves_nothing_to_explore() -> None:
    assert not draw_min_steps(
        np.random.default_rng(0), 1000, model(halt_max_steps=1, halt_exploration_prob=1.0)
    ).any()
