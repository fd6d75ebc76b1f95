"""Two backends trained side by side: on the same batches with the same draws, and a mistake in one of them shows."""

from dataclasses import replace

import pytest

from hrm_parity.checks import Factory, backend_named
from hrm_parity.controls import halt_on_tie, patched, scale_of_127
from hrm_parity.limits import SAME_DECISIONS, Verdict
from hrm_parity.training import Apart, TrainingReport, train_together


def makes(one: str, other: str) -> dict[str, Factory]:
    if "torch" in (one, other):
        pytest.importorskip("torch")
    return {"one": backend_named(one), "other": backend_named(other)}


@pytest.fixture(autouse=True)
def fewer_puzzles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hrm_parity.training.NUM_TRAIN", 200)
    monkeypatch.setattr("hrm_parity.training.NUM_TEST", 50)


def trained(backends: dict[str, Factory], updates: int) -> TrainingReport:
    return train_together(backends, updates, seed=0, say=lambda _: None)


def test_backends_make_the_same_decisions() -> None:
    report = trained(makes("mlx", "torch"), SAME_DECISIONS)
    assert report.rules == {
        f"same halting decisions in the first {SAME_DECISIONS} updates": Verdict.OK
    }
    assert report.decisions is None
    assert report.losses == {1e-4: None, 1e-2: None}
    assert [row.update for row in report.rows] == [1, 2, 5, 10, 20, 30]
    assert max(row.loss for row in report.rows) < 1e-5
    assert set(report.rows[-1].exact) == {"one", "other"}


def test_a_backend_does_not_part_from_itself() -> None:
    report = trained(makes("mlx", "mlx"), 3)
    assert {(row.loss, row.logits, row.weights, row.elsewhere) for row in report.rows} == {
        (0, 0, 0, 0)
    }


def test_wrong_halting_in_one_backend_is_noticed() -> None:
    with patched("hrm_mlx.act:halting", halt_on_tie):
        report = trained(makes("mlx", "torch"), 2)
    assert report.decisions == 1
    assert report.broken


def test_wrong_optimizer_in_one_backend_shows_in_the_loss() -> None:
    with patched("hrm_mlx.backend:scalars", scale_of_127):
        report = trained(makes("mlx", "torch"), 5)
    assert report.losses[1e-4] is not None


def ended(one: float, other: float, untrained: float) -> TrainingReport:
    row = Apart(1000, 0.1, 1, 1, 1, 3, {"one": one, "other": other})
    return TrainingReport(0, 1000, {}, 138, {1e-4: 115, 1e-2: 127}, [row], untrained)


def test_accuracies_are_judged_at_the_end() -> None:
    assert not ended(0.975, 0.982, 0.0).broken
    assert ended(0.90, 0.95, 0.0).broken
    assert ended(0.90, 0.91, 0.6).broken  # an untrained control that does nearly as well


def test_backends_that_have_not_learned_are_not_compared() -> None:
    assert list(ended(0.3, 0.5, 0.0).rules) == [
        f"same halting decisions in the first {SAME_DECISIONS} updates"
    ]


def test_early_parting_is_broken_however_short_the_run() -> None:
    assert replace(ended(0.975, 0.982, 0.0), decisions=SAME_DECISIONS).broken
    assert not replace(ended(0.975, 0.982, 0.0), decisions=SAME_DECISIONS + 1).broken
