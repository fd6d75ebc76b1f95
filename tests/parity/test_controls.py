"""Whatever is broken on purpose is noticed, by the case and the quantity that must notice it."""

from pathlib import Path

import pytest

from hrm_parity.checks import Report, backend_named, check_case, check_initial
from hrm_parity.controls import BREAKS, INITIAL, ROPE, Break, patched
from hrm_parity.golden import carried_cases, load_case
from hrm_parity.limits import Verdict


def replay(case: str, request: pytest.FixtureRequest) -> Report:
    if case == INITIAL:
        return check_initial(backend_named("mlx"))
    golden: Path = carried_cases()[0] if case == ROPE else request.getfixturevalue("golden_dir") / case
    return check_case(load_case(golden), backend_named("mlx"))


@pytest.mark.parametrize("broken", BREAKS, ids=lambda broken: broken.name)
def test_break_is_noticed(broken: Break, request: pytest.FixtureRequest) -> None:
    with broken.apply():
        report = replay(broken.case, request)
    (row,) = [row for row in report.rows if row.quantity == broken.quantity]
    assert row.verdict is Verdict.BROKEN


def test_patch_is_taken_back() -> None:
    from hrm_mlx import layers

    before = layers.rms_norm
    with patched("hrm_mlx.layers:rms_norm", lambda _: None):
        assert layers.rms_norm is None
    assert layers.rms_norm is before


def test_names_of_breaks_are_distinct() -> None:
    assert len({broken.name for broken in BREAKS}) == len(BREAKS)
