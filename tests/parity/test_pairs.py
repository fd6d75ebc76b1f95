"""MLX against PyTorch's float32 and float64, on every small and medium model; the paper's is for `hrm parity`."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from hrm_core.backend import IGNORE_LABEL_ID, Arrays
from hrm_core.parameters import Role, parameter_table
from hrm_parity import limits
from hrm_parity.checks import Report
from hrm_parity.compare import Row
from hrm_parity.configurations import BEYOND, CONFIGURATIONS, MARGIN, SLOTS
from hrm_parity.controls import patched, scale_of_127, swapped_levels
from hrm_parity.limits import Verdict
from hrm_parity.pairs import (
    INITIAL,
    PARTS,
    SHARED,
    TURNED,
    Prepared,
    hold,
    machine_named,
    prepare,
    without_turned,
)

pytest.importorskip("torch")

BEYOND_ALONE = {
    "average of the weights",
    "softmax in blocks",
}  # that only models beyond the published network have
SMALLER = [configuration for configuration in CONFIGURATIONS if not configuration.is_paper]
NAMES = {configuration.name: configuration for configuration in SMALLER}


@pytest.fixture(scope="module", params=NAMES)
def prepared(request: pytest.FixtureRequest) -> dict[str, Prepared]:
    return {check.check: check for check in prepare(NAMES[request.param])}


@pytest.fixture(scope="module")
def first() -> dict[str, Prepared]:
    return {check.check: check for check in prepare(CONFIGURATIONS[0])}


def beyond_limits(report: Report) -> list[str]:
    return [
        f"{row.quantity}: {row.gap:.2e} at {row.where}"
        for row in report.rows
        if row.verdict is not Verdict.OK
    ]


def rows_of(report: Report) -> dict[str, Row]:
    return {row.quantity: row for row in report.rows}


def test_mlx_agrees_with_the_referee_and_with_float32(prepared: dict[str, Prepared]) -> None:
    for check in prepared.values():
        assert beyond_limits(hold(machine_named("mlx"), check)) == []


def test_the_noise_is_what_torch_itself_misses(first: dict[str, Prepared]) -> None:
    report = hold(machine_named("torch", "cpu"), first[SHARED])
    for row in report.rows:
        assert row.gap == row.noise
        assert not row.to_torch  # the same computation twice


def test_every_configuration_the_issue_names_is_there() -> None:
    published = [each for each in CONFIGURATIONS if each not in BEYOND]
    models = [configuration.model for configuration in published]
    assert {(model.pos_encodings, model.loss_type) for model in models} == {
        (positions, f"{loss}_cross_entropy")
        for positions in ("rope", "learned")
        for loss in ("stablemax", "softmax")
    }
    assert {model.hidden_size for model in models} == {64, 256, 512}
    assert {model.puzzle_emb_len for model in models} == {0, 1, 2}
    assert any(model.puzzle_emb_ndim % model.hidden_size for model in models)
    assert any(model.halt_max_steps == 1 for model in models)
    assert {1, 3} <= {model.H_cycles for model in models}
    (paper,) = [configuration.model for configuration in CONFIGURATIONS if configuration.is_paper]
    assert (
        sum(p.size for p in parameter_table(paper).values() if p.role is Role.TRAINED) == 27_275_266
    )


def test_no_decision_of_the_shared_state_is_close(prepared: dict[str, Prepared]) -> None:
    """Rounding ten times as large, as a GPU's, must not turn one; yet slot 5 is close enough to be told from a tie."""
    answers, situation = prepared[SHARED].referee, prepared[SHARED].situation
    assert situation is not None
    difference = answers["q_halt_logits"] - answers["q_continue_logits"]
    assert np.abs(difference).min() > MARGIN / 2
    assert np.abs(answers["q_halt_logits"]).min() > MARGIN / 10
    assert abs(difference[5] - MARGIN) < 1e-6
    best_two = np.sort(answers["logits"], axis=-1)[..., -2:]
    config = prepared[SHARED].configuration.model
    chunk = np.minimum((answers["steps"] - 1) // config.steps_per_chunk, config.num_chunks - 1)
    chunks = answers["current/labels"].reshape(SLOTS, config.num_chunks, -1)
    labelled = chunks[np.arange(SLOTS), chunk] != IGNORE_LABEL_ID
    assert (best_two[..., 1] - best_two[..., 0])[labelled].min() > MARGIN / 2


def test_the_shared_state_has_slots_of_every_kind(first: dict[str, Prepared]) -> None:
    answers, situation = first[SHARED].referee, first[SHARED].situation
    assert situation is not None
    assert situation.state is not None
    ids = answers["current/puzzle_identifiers"]
    assert len(set(ids)) < len(ids)  # equal ones, to be summed
    assert set(situation.batch.puzzle_identifiers) - set(ids)  # offered to slots that are busy
    assert 0 < situation.state["carry.halted"].sum() < len(ids)
    assert 0 < answers["halted"].sum() < len(ids)
    assert (answers["steps"] == CONFIGURATIONS[0].model.halt_max_steps).any()
    assert (answers["current/labels"] == IGNORE_LABEL_ID).all(axis=1).any()
    assert answers["metrics/exact_accuracy"] == 1


@pytest.mark.parametrize("check", [SHARED, INITIAL])
def test_swapped_levels_are_noticed(first: dict[str, Prepared], check: str) -> None:
    with patched("hrm_mlx.model:HRM.__call__", swapped_levels):
        rows = rows_of(hold(machine_named("mlx"), first[check]))
    assert {rows[name].verdict for name in ("logits", "z", "gradients, of largest")} == {
        Verdict.BROKEN
    }


def test_wrong_layer_is_noticed_by_its_own_row(first: dict[str, Prepared]) -> None:
    with patched(
        "hrm_mlx.layers:SwiGLU.__call__", lambda call: lambda self, x: call(self, x) * 1.001
    ):
        rows = rows_of(hold(machine_named("mlx"), first[PARTS]))
    assert rows["SwiGLU"].verdict is Verdict.BROKEN
    assert rows["attention"].verdict is Verdict.OK


@pytest.mark.parametrize(
    "target", ["optim:adam_atan2", "optim:sign_sgd", "losses:softmax_cross_entropy"]
)
def test_wrong_part_is_noticed(first: dict[str, Prepared], target: str) -> None:
    """Each result, or the first of several, is off by a thousandth."""

    def off(function: object) -> object:
        def call(*arguments: object) -> object:
            result = function(*arguments)  # type: ignore[operator]
            return (result[0] * 1.001, *result[1:]) if isinstance(result, tuple) else result * 1.001

        return call

    with patched(f"hrm_mlx.{target}", off):
        assert hold(machine_named("mlx"), first[PARTS]).broken


def test_device_where_nobody_measured_is_not_certified(first: dict[str, Prepared]) -> None:
    with patched(
        "hrm_mlx.backend:MLXBackend.describe",
        lambda describe: lambda self: {**describe(self), "device_type": "gpu"},
    ):
        for check in first.values():
            assert {row.verdict for row in hold(machine_named("mlx"), check).rows} == {
                Verdict.UNCERTIFIED
            }
        with patched("hrm_mlx.backend:scalars", scale_of_127):
            assert hold(machine_named("mlx"), first[SHARED]).broken


def as_paper(check: Prepared) -> Prepared:
    return replace(check, configuration=check.configuration._replace(is_paper=True))


def test_four_times_the_noise_is_the_limit_of_the_papers_size(first: dict[str, Prepared]) -> None:
    rows = rows_of(hold(machine_named("mlx"), as_paper(first[SHARED])))
    assert rows["logits"].limit == limits.NOISE_FACTOR * (rows["logits"].noise or 0)
    assert rows["logits"].verdict is Verdict.OK
    loud = dict(first[SHARED].torch) | {"logits": first[SHARED].referee["logits"] + 1e-3}
    assert (
        rows_of(hold(machine_named("mlx"), as_paper(replace(first[SHARED], torch=loud))))[
            "logits"
        ].limit
        == limits.UPDATE["logits"]
    )


def test_gap_of_five_times_the_noise_is_broken_at_the_papers_size(
    first: dict[str, Prepared],
) -> None:
    """Well within the limit for all sizes, which alone would let it pass."""
    noise = rows_of(hold(machine_named("torch", "cpu"), first[SHARED]))["z"].gap
    shifted = dict(first[SHARED].referee) | {"z_H": first[SHARED].referee["z_H"] + 6 * noise}
    assert 6 * noise < limits.UPDATE["z"]
    check = replace(
        first[SHARED],
        referee=shifted,
        torch=dict(first[SHARED].torch) | {"z_H": shifted["z_H"] + noise},
    )
    assert rows_of(hold(machine_named("mlx"), check))["z"].verdict is Verdict.OK
    assert rows_of(hold(machine_named("mlx"), as_paper(check)))["z"].verdict is Verdict.BROKEN


def turned(gradient: float, step: float = 1e-3) -> tuple[Arrays, Arrays]:
    """A referee's update in which one of a hundred gradients is this, and another's that moved this weight the other way."""
    gradients = np.full((10, 10), 1.0)
    gradients[3, 4] = gradient
    weights = np.zeros((10, 10))
    mine = weights.copy()
    mine[3, 4] += 2 * step
    return {"weight/w": mine, "grad/w": gradients}, {"weight/w": weights, "grad/w": gradients}


def test_weight_turned_by_noise_is_put_aside_and_named() -> None:
    cleaned, places = without_turned(*turned(1e-6), slack=1)
    assert places["weight/w"].tolist() == [[3, 4]]
    assert not cleaned["weight/w"].any()


@pytest.mark.parametrize("gradient", [0.0, 1e-3], ids=["zero", "above the noise"])
def test_no_other_weight_is_put_aside(gradient: float) -> None:
    """A gradient of exactly zero is one that a wrong cross entropy spoils: docs/parity.md, "Controls"."""
    cleaned, places = without_turned(*turned(gradient), slack=1)
    assert not len(places["weight/w"])
    assert cleaned["weight/w"].any()


def test_too_many_turned_weights_are_broken(first: dict[str, Prepared]) -> None:
    """Signs taken from a gradient that is off by a hundred thousandth of the largest."""

    def imprecise(adam_atan2: object) -> object:
        def call(weight: object, m: object, v: object, gradient: object, *others: object) -> object:
            return adam_atan2(weight, m, v, gradient - 3e-5 * abs(gradient).max(), *others)  # type: ignore[operator, arg-type]

        return call

    with patched("hrm_mlx.update:adam_atan2", imprecise):
        rows = rows_of(hold(machine_named("mlx"), first[INITIAL]))
    assert rows[TURNED].gap > rows[TURNED].limit
    assert rows[TURNED].verdict is Verdict.BROKEN


def test_report_of_every_tensor(first: dict[str, Prepared]) -> None:
    report = hold(machine_named("mlx"), first[SHARED])
    named = set(rows_of(report)["gradients, of largest"].tensors)
    trained = {
        name
        for name, p in parameter_table(first[SHARED].configuration.model).items()
        if p.role is Role.TRAINED
    }
    assert named == {f"grad/{name}" for name in trained}


def test_quantities_of_each_check(first: dict[str, Prepared]) -> None:
    def quantities() -> Iterator[set[str]]:
        for check in first.values():
            yield set(rows_of(hold(machine_named("mlx"), check)))

    assert list(quantities()) == [
        set(limits.PARTS) - BEYOND_ALONE,
        {*limits.UPDATE, TURNED} - BEYOND_ALONE,
        {*limits.UPDATE, TURNED} - BEYOND_ALONE,
    ]
