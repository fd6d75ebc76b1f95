import math

import pytest

from hrm_parity import limits
from hrm_parity.compare import RULES
from hrm_parity.limits import GPU_FACTOR, Verdict, judge, model_limits, of_noise
from hrm_parity.pairs import PART_RULES, TURNED, UPDATE_RULES


def test_gap_beyond_its_limit_is_broken() -> None:
    assert judge(1e-5, 1e-5, certified=True) is Verdict.OK
    assert judge(1.01e-5, 1e-5, certified=True) is Verdict.BROKEN


@pytest.mark.parametrize("certified", [True, False])
def test_nan_is_broken(certified: bool) -> None:
    assert judge(math.nan, 1.0, certified) is Verdict.BROKEN


def test_unmeasured_device_never_passes_silently() -> None:
    assert judge(0, 1e-5, certified=False) is Verdict.UNCERTIFIED
    assert judge(9e-5, 1e-5, certified=False) is Verdict.UNCERTIFIED
    assert judge(1.1e-5 * GPU_FACTOR, 1e-5, certified=False) is Verdict.BROKEN


def test_identical_stays_identical_on_an_unmeasured_device() -> None:
    assert judge(1, 0, certified=False) is Verdict.BROKEN


def test_limits_depend_on_the_case() -> None:
    assert model_limits("rope_stablemax_f32", 64, "float32")["forward logits"] == 6e-5
    assert model_limits("other", 64, "float32")["forward q"] == 2e-5
    assert model_limits("other", 512, "float32")["forward q"] == 1e-4
    assert "training q" not in model_limits("other", 64, "bfloat16")


def test_each_limit_belongs_to_a_rule() -> None:
    quantities = {rule.quantity.format(part) for rule in RULES for part in ("forward", "training")}
    for table in (
        limits.FLOAT32,
        limits.ROPE_STABLEMAX,
        limits.HIDDEN_512,
        limits.BFLOAT16,
        limits.DATA_ORDER,
    ):
        assert table.keys() <= quantities


def test_each_limit_of_the_comparison_belongs_to_a_rule() -> None:
    assert {rule.quantity for rule in PART_RULES} == limits.PARTS.keys()
    assert {rule.quantity for rule in UPDATE_RULES} == limits.UPDATE.keys()
    assert TURNED not in limits.UPDATE  # its limit is a number of weights


def test_noise_is_never_counted_as_less_than_one_rounding() -> None:
    assert of_noise(1e-5) == 4e-5
    assert of_noise(0) == 4 * 2.0**-23


def test_limits_of_one_step_are_those_of_the_specification() -> None:
    assert (limits.UPDATE["logits"], limits.UPDATE["q"], limits.UPDATE["z"]) == (5e-5, 1e-5, 1e-4)
