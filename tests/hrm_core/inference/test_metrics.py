import numpy as np
import pytest

from hrm_core.inference.metrics import (
    by_band,
    calibration,
    is_finite,
    measured,
    reduced,
    score,
    step_counts,
)
from hrm_core.tasks.cells import UNKNOWN, measure_cells, wilson_interval
from hrm_core.tasks.contract import Metric
from hrm_core.tasks.predictions import REQUIRED, Predictions, joined

LABELS = np.array([[2, 3, 4, 5], [2, 3, -100, -100], [-100] * 4])
TOKENS = np.array([[2, 3, 4, 4], [2, 3, 9, 9], [1, 1, 1, 1]])
GIVEN = np.array([[True, False, False, False], [True, True, False, False], [False] * 4])


def scores(**changes: object) -> Predictions:
    losses = np.where(LABELS >= 0, np.log(6), 0)
    fields = score(TOKENS, LABELS, GIVEN, losses)
    others = {
        "q_halt_logits": np.array([1.0, 0.0, 9.0]),
        "steps": np.array([4, 4, 2]),
        "settled_step": np.array([2, 4, 1]),
        "ratings": np.array([0, 7, 99]),
    }
    return Predictions(**{**fields, **others, **changes})


def test_cells_are_counted_as_by_hand() -> None:
    found = scores()
    assert found.num_right.tolist() == [3, 2, 0]
    assert found.num_labelled.tolist() == [4, 2, 0]
    assert found.num_right_blank.tolist() == [2, 0, 0]
    assert found.num_blank.tolist() == [3, 0, 0]
    np.testing.assert_allclose(found.lm_loss, [np.log(6), np.log(6), 0])


def test_summary_leaves_out_examples_without_labels() -> None:
    assert measure_cells(scores()) == pytest.approx(
        {
            "exact_accuracy": 1 / 2,
            "exact_low": 0.0945312,
            "exact_high": 0.9054688,
            "accuracy": 5 / 6,
            "blank_accuracy": 2 / 3,
            "lm_loss": np.log(6),
            "q_halt_accuracy": 1 / 2,  # a logit of zero says halt
            "steps": 4.0,
            "settled_step": 3.0,
            "count": 2,
        }
    )


def test_summary_of_nothing_is_zero() -> None:
    nothing = measure_cells(scores().select(np.zeros(3, bool)))
    assert nothing.pop("exact_high") == 1  # it might be anything
    assert set(nothing.values()) == {0}


@pytest.mark.parametrize(
    ("successes", "count", "low", "high"),
    [
        (0, 10, 0.0, 0.2775328),
        (10, 10, 0.7224672, 1.0),
        (81, 263, 0.2553, 0.3662),
    ],  # the last one as in Newcombe 1998, table I
)
def test_interval_is_that_of_wilson(successes: int, count: int, low: float, high: float) -> None:
    assert wilson_interval(successes, count) == pytest.approx((low, high), abs=1e-4)


def test_calibration_and_steps_count_every_labelled_example() -> None:
    rows = calibration(scores())
    assert sum(row["count"] for row in rows) == 2
    assert step_counts(scores()) == {4: 2}
    assert [row["from"] for row in rows] == [0.5, 0.7]
    assert [row["exact"] for row in rows] == [1, 0]


def test_bands_part_the_examples_by_rating() -> None:
    bands = by_band(scores(), (0, 1, 5, 20, 50, 100), UNKNOWN)
    assert {name: values["count"] for name, values in bands.items()} == {
        "0": 1,
        "5-19": 1,
        "50-99": 0,
    }
    assert bands["5-19"]["exact_accuracy"] == 1
    assert by_band(scores(ratings=np.full(3, -1)), (0, 1), UNKNOWN) == {}


def test_joined_scores_are_those_of_one_batch() -> None:
    parts = [scores().select(np.arange(3) == i) for i in range(3)]
    assert measure_cells(joined(parts)) == measure_cells(scores())


def test_training_metrics_are_means_over_what_they_are_sums_of() -> None:
    sums = {"count": 4.0, "accuracy": 3.0, "steps": 12.0, "lm_loss": 32.0}
    assert reduced(sums, num_slots=16) == {
        "count": 4.0,
        "accuracy": 0.75,
        "steps": 3.0,
        "lm_loss": 2.0,
    }
    assert reduced({"count": 0.0, "accuracy": 0.0}, 16)["accuracy"] == 0


def test_finite_is_told_from_the_rest() -> None:
    assert is_finite(np.full(5, 3e38, np.float32))
    for value in (np.nan, np.inf, -np.inf):
        assert not is_finite(np.array([1, value, -value], np.float32))


class OnlyLoss:
    headline = Metric("lm_loss", "loss", "loss", format=".3f", higher_is_better=False)
    metrics = ()

    def measure(self, predictions: Predictions) -> dict[str, float]:
        return {"lm_loss": float(predictions.lm_loss.mean())}


def test_a_task_with_one_measure_is_shown_with_steps_and_halting() -> None:
    values = {name: np.ones(2) for name in REQUIRED}
    predictions = Predictions(**values)  # type: ignore[arg-type]
    expected = {"lm_loss": 1, "q_halt_accuracy": 1, "steps": 1, "settled_step": 1, "count": 2}
    assert measured(predictions, OnlyLoss()) == expected
    assert by_band(predictions, [0], OnlyLoss()) == {"0+": expected}
