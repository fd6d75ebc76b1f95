"""Scores of pictures, against scikit-learn and brute force."""

import numpy as np
import pytest

from hrm_core.tasks.picture_scores import (
    Judgement,
    accuracy,
    answers_of,
    base_rate,
    calibration_error,
    interval,
    label_scores,
    log_odds,
    macro,
    measure,
    rank_scores,
    resampled,
    roc_curve,
)

metrics = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn")


def drawn(seed: int, count: int = 200, num_labels: int = 3, levels: int = 20) -> Judgement:
    """Draw chances with many ties, and a truth that they know something of, a part unknown."""
    rng = np.random.default_rng(seed)
    chances = rng.integers(1, levels, (count, num_labels)) / levels
    truth = (rng.random((count, num_labels)) < chances).astype(np.int64)
    truth[rng.random(truth.shape) < 0.2] = -1
    return Judgement(chances, truth, log_odds(chances, 1 - chances), False)


def exclusive(seed: int, count: int = 300, num_labels: int = 4) -> Judgement:
    """Draw chances of labels that exclude each other."""
    rng = np.random.default_rng(seed)
    chances = rng.dirichlet(np.ones(num_labels), count)
    named = np.array([rng.choice(num_labels, p=row) for row in chances])
    truth = np.eye(num_labels, dtype=np.int64)[named]
    return Judgement(chances, truth, log_odds(chances, 1 - chances), True)


@pytest.mark.parametrize("seed", range(5))
def test_ranks_score_as_sklearn_scores(seed: int) -> None:
    judged = drawn(seed)
    for label, found in enumerate(label_scores(judged)):
        known = judged.truth[:, label] >= 0
        truth, odds = judged.truth[known, label], judged.odds[known, label]
        assert found.auroc == pytest.approx(metrics.roc_auc_score(truth, odds), abs=1e-12)
        expected = metrics.average_precision_score(truth, odds)
        assert found.average_precision == pytest.approx(expected, abs=1e-12)
        assert (found.num_present, found.num_absent) == (truth.sum(), (1 - truth).sum())


def test_auroc_is_the_share_of_pairs_in_order() -> None:
    judged = drawn(7, count=60)
    odds, truth = judged.odds[:, 0], judged.truth[:, 0]
    pairs = [np.sign(a - b) / 2 + 0.5 for a in odds[truth == 1] for b in odds[truth == 0]]
    assert label_scores(judged)[0].auroc == pytest.approx(np.mean(pairs), abs=1e-12)
    assert label_scores(judged._replace(odds=-judged.odds))[0].auroc == pytest.approx(
        1 - np.mean(pairs), abs=1e-12
    )


@pytest.mark.parametrize(
    ("score", "reference"),
    [
        ("auroc", metrics.roc_auc_score),
        ("average_precision", metrics.average_precision_score),
    ],
)
def test_weights_count_a_picture_several_times(score, reference) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(3)
    scores, present = rng.integers(0, 15, 80).astype(float), rng.random(80) < 0.3
    weights = rng.integers(0, 4, (50, 80)).astype(float)
    found = getattr(rank_scores(scores, present, weights.T), score)
    expected = [reference(present, scores, sample_weight=row) for row in weights]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    repeated = np.repeat(np.arange(80), weights[0].astype(int))
    assert found[0] == pytest.approx(reference(present[repeated], scores[repeated]), abs=1e-12)
    assert abs(found[0] - reference(present, scores)) > 1e-6  # the weights matter


def test_a_label_without_both_classes_is_undefined() -> None:
    truth = np.array([[1, 0, -1, 1], [1, 0, -1, 0]])
    chances = np.full((2, 4), 0.25)
    judged = Judgement(chances, truth, log_odds(chances, 1 - chances), False)
    scores = label_scores(judged)
    assert [each.is_defined for each in scores] == [False, False, False, True]
    assert np.isnan([[each.auroc, each.average_precision] for each in scores[:3]]).all()
    values = measure(judged)
    assert values["auroc"] == scores[3].auroc == 0.5
    assert values["defined_labels"] == 1
    nothing = measure(judged.select(np.array([0])))
    assert nothing["defined_labels"] == 0
    assert nothing["auroc"] == 0.5
    assert all(np.isfinite(value) for value in measure(judged.select(np.array([], int))).values())


def test_odds_rank_where_chances_have_rounded_to_one() -> None:
    logits = np.array([20.0, 30.0, 40.0], np.float32)
    absent = np.exp(-logits).astype(np.float32)
    present = (1 - absent).astype(np.float32)
    assert len(np.unique(present)) == 1
    np.testing.assert_allclose(log_odds(present, absent), logits, rtol=1e-5)


def test_calibration_error_is_that_of_a_plain_loop() -> None:
    answers = answers_of(drawn(2, levels=97))
    total, count = 0.0, len(answers.right)
    for b in range(15):
        inside = (answers.confidence >= b / 15) & (answers.confidence < (b + 1) / 15)
        if inside.any():
            gap = abs(answers.confidence[inside].mean() - answers.right[inside].mean())
            total += gap * inside.sum() / count
    assert calibration_error(answers) == pytest.approx(total, abs=1e-12)
    overconfident = answers._replace(confidence=np.full(count, 0.999))
    assert calibration_error(overconfident) > calibration_error(answers) + 0.1


def test_balance_gives_the_error_at_a_prevalence_of_one_half() -> None:
    """Weights must say what repeating the rare class says."""
    rng = np.random.default_rng(5)
    truth = np.array([[1]] * 30 + [[0]] * 10)
    chances = rng.integers(1, 100, (40, 1)) / 100
    judged = Judgement(chances, truth, log_odds(chances, 1 - chances), False)
    repeated = judged.select(np.concatenate([np.arange(40), *[np.arange(30, 40)] * 2]))
    answers, plain = answers_of(judged), answers_of(repeated)
    assert calibration_error(answers, answers.balance) == pytest.approx(calibration_error(plain))
    assert accuracy(answers, answers.balance) == pytest.approx(accuracy(plain))
    assert calibration_error(answers) != pytest.approx(calibration_error(plain), abs=1e-3)


def test_accuracies_are_those_of_sklearn() -> None:
    judged = exclusive(1)
    named, said = judged.truth.argmax(axis=1), judged.chances.argmax(axis=1)
    values = measure(judged)
    assert values["accuracy"] == pytest.approx(metrics.accuracy_score(named, said))
    expected = metrics.balanced_accuracy_score(named, said)
    assert values["balanced_accuracy"] == pytest.approx(expected)
    assert values["base_rate"] == pytest.approx(np.bincount(named).max() / len(named))
    several = drawn(4)
    each = []
    for label in range(3):
        known = several.truth[:, label] >= 0
        said_present = several.chances[known, label] >= 0.5
        each.append(metrics.balanced_accuracy_score(several.truth[known, label], said_present))
    assert measure(several)["balanced_accuracy"] == pytest.approx(np.mean(each))


def test_base_rate_is_the_share_without_any_label() -> None:
    truth = np.zeros((10, 14), np.int64)
    truth[0, 3] = truth[1, 3] = truth[0, 5] = 1
    chances = np.full(truth.shape, 0.1)
    judged = Judgement(chances, truth, chances, False)
    assert base_rate(judged) == pytest.approx(137 / 140) == measure(judged)["accuracy"]


def test_roc_curve_is_that_of_sklearn() -> None:
    judged = drawn(6)
    known = judged.truth[:, 0] >= 0
    odds, truth = judged.odds[known, 0], judged.truth[known, 0]
    alarms, hits = roc_curve(odds, truth == 1)
    expected = metrics.roc_curve(truth, odds, drop_intermediate=False)
    np.testing.assert_allclose(alarms, expected[0])
    np.testing.assert_allclose(hits, expected[1])


def test_bootstrap_draws_patients_not_pictures() -> None:
    """With five pictures a patient, alike, the interval must be wider than pictures would say."""
    rng = np.random.default_rng(8)
    odds = np.repeat(rng.normal(size=40), 5)
    truth = np.repeat((rng.random(40) < 0.5).astype(np.int64), 5)
    judged = Judgement(odds[:, None], truth[:, None], odds[:, None], False)
    patients, pictures = np.repeat(np.arange(40), 5), np.arange(200)
    wide = interval(resampled(judged, patients)["auroc"][:, 0])
    narrow = interval(resampled(judged, pictures)["auroc"][:, 0])
    assert 1.8 < (wide[1] - wide[0]) / (narrow[1] - narrow[0]) < 2.8  # sqrt(5) in theory
    single = judged.select(np.arange(0, 200, 5))
    alone = interval(resampled(single, np.arange(40))["auroc"][:, 0])
    assert alone == wide  # copies add nothing


def test_bootstrap_is_that_of_drawing_with_replacement() -> None:
    judged = drawn(9, count=50, num_labels=1)
    values = resampled(judged, np.arange(50))["auroc"][:, 0]
    rng = np.random.default_rng(0)
    plain = []
    for _ in range(500):
        rows = rng.integers(50, size=50)
        rows = rows[judged.truth[rows, 0] >= 0]
        plain.append(metrics.roc_auc_score(judged.truth[rows, 0], judged.odds[rows, 0]))
    np.testing.assert_allclose(interval(values), np.quantile(plain, [0.025, 0.975]), atol=0.03)


def test_macro_leaves_out_what_is_not_defined() -> None:
    values = np.array([[0.5, np.nan, 0.7], [np.nan, np.nan, np.nan]])
    np.testing.assert_allclose(macro(values), [0.6, np.nan])
    assert np.isnan(interval(np.array([np.nan]))).all()
