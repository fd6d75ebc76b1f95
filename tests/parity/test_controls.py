"""Whatever is broken on purpose is noticed: by the case and quantity that must notice it, and by the comparison with PyTorch."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from hrm_parity import controls, selftest
from hrm_parity.checks import Report, backend_named, check_case, check_initial
from hrm_parity.configurations import BEYOND, CONFIGURATIONS
from hrm_parity.controls import BREAKS, INITIAL, LEARNED, ROPE, Break, patched
from hrm_parity.golden import Case, carried_cases, load_case
from hrm_parity.limits import Verdict
from hrm_parity.pairs import Prepared, hold, machine_named, prepare
from hrm_parity.selftest import self_test

NOTHING = Break("nothing", ROPE, "forward logits", nullcontext)
SCALE = next(broken for broken in BREAKS if broken.name == "scale 1.27")
ISSUE = (  # what the issue lists
    *(
        "levels swapped",
        "decay after the update",
        "m / c1 inside atan2",
        "scale 1.27",
        "even/odd RoPE",
        "norm in bfloat16",
    ),
    *(
        "target Q from the old carry",
        "dense decay of the puzzle table",
        "ids of the batch in the puzzle optimizer",
        "q_head.bias left out",
    ),
)


def replay(case: str, request: pytest.FixtureRequest) -> Report:
    if case == INITIAL:
        return check_initial(backend_named("mlx"))
    golden: Path = (
        carried_cases()[0] if case == ROPE else request.getfixturevalue("golden_dir") / case
    )
    return check_case(load_case(golden), backend_named("mlx"))


@pytest.fixture(scope="module")
def prepared() -> list[Prepared]:
    pytest.importorskip("torch")
    return list(prepare(CONFIGURATIONS[0]))


@pytest.fixture
def cases() -> dict[str, Case]:
    return {case.name: case for case in map(load_case, carried_cases())}


PUBLISHED = [broken for broken in BREAKS if not broken.configuration]


@pytest.mark.parametrize("broken", PUBLISHED, ids=lambda broken: broken.name)
def test_break_is_noticed(broken: Break, request: pytest.FixtureRequest) -> None:
    with broken.apply():
        report = replay(broken.case, request)
    (row,) = [row for row in report.rows if row.quantity == broken.quantity]
    assert row.verdict is Verdict.BROKEN


@pytest.mark.parametrize(
    "broken",
    [broken for broken in PUBLISHED if not broken.is_shared],
    ids=lambda broken: broken.name,
)
def test_break_is_noticed_by_comparison_with_torch(broken: Break, prepared: list[Prepared]) -> None:
    with broken.apply():
        assert any(hold(machine_named("mlx"), check).broken for check in prepared)


@pytest.fixture(scope="module")
def beyond() -> dict[str, list[Prepared]]:
    pytest.importorskip("torch")
    return {configuration.name: list(prepare(configuration)) for configuration in BEYOND}


@pytest.mark.parametrize(
    "broken", [broken for broken in BREAKS if broken.configuration], ids=lambda broken: broken.name
)
def test_break_of_what_is_beyond_the_published_network_is_noticed(
    broken: Break, beyond: dict[str, list[Prepared]]
) -> None:
    with broken.apply():
        reports = [hold(machine_named("mlx"), check) for check in beyond[broken.configuration]]
    rows = [row for report in reports for row in report.rows if row.verdict is Verdict.BROKEN]
    assert broken.quantity in {row.quantity for row in rows}


def test_what_the_issue_lists_is_tried() -> None:
    assert set(ISSUE) <= {broken.name for broken in BREAKS}


def outcomes_of(
    monkeypatch: pytest.MonkeyPatch,
    breaks: tuple[Break, ...],
    cases: dict[str, Case],
    with_torch: bool,
) -> selftest.SelfTest:
    monkeypatch.setattr(controls, "BREAKS", breaks)
    monkeypatch.setattr(selftest, "NUM_CONFIGURATIONS", 1)
    monkeypatch.setattr(selftest, "BEYOND", ())
    return self_test(machine_named("mlx"), cases, with_torch, say=lambda _: None)


def test_self_test_says_what_noticed(
    monkeypatch: pytest.MonkeyPatch, cases: dict[str, Case]
) -> None:
    pytest.importorskip("torch")
    found = outcomes_of(monkeypatch, (SCALE,), cases, with_torch=True)
    (outcome,) = found.outcomes
    assert not found.broken
    assert outcome.recorded is not None
    assert outcome.compared is not None
    assert outcome.recorded.row.quantity == "weights after update 1"
    assert outcome.compared.row.quantity == "weights after the update"


def test_break_that_does_nothing_goes_unnoticed(
    monkeypatch: pytest.MonkeyPatch, cases: dict[str, Case]
) -> None:
    found = outcomes_of(monkeypatch, (NOTHING,), cases, with_torch=False)
    assert found.broken
    assert [outcome.is_noticed for outcome in found.outcomes] == [False]


def test_break_of_a_case_that_is_not_at_hand_is_not_tested(
    monkeypatch: pytest.MonkeyPatch, cases: dict[str, Case]
) -> None:
    found = outcomes_of(
        monkeypatch,
        (Break("nothing", LEARNED, "forward logits", nullcontext),),
        cases,
        with_torch=False,
    )
    assert not found.broken
    assert [outcome.is_tested for outcome in found.outcomes] == [False]


def test_self_test_of_a_machine_that_is_wrong_to_begin_with_fails(
    monkeypatch: pytest.MonkeyPatch, cases: dict[str, Case]
) -> None:
    with SCALE.apply():
        assert outcomes_of(monkeypatch, (), cases, with_torch=False).broken


@pytest.fixture
def only_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controls, "BREAKS", (SCALE, NOTHING))
    monkeypatch.setattr("hrm_cli.parity.find_spec", lambda name: None)


def test_unnoticed_break_is_exit_status_1(
    hrm: Callable[..., tuple[int, str, str]], only_nothing: None
) -> None:
    status, out, _ = hrm("parity", "--self-test")
    assert status == 1
    assert "UNNOTICED" in out
    assert out.splitlines()[-1] == "1 of 2 mistakes noticed"


def test_patch_is_taken_back() -> None:
    from hrm_mlx import layers

    before = layers.rms_norm
    with patched("hrm_mlx.layers:rms_norm", lambda _: None):
        assert layers.rms_norm is None
    assert layers.rms_norm is before


def test_names_of_breaks_are_distinct() -> None:
    assert len({broken.name for broken in BREAKS}) == len(BREAKS)
