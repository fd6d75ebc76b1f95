import math

import pytest

from hrm_parity import limits
from hrm_parity.compare import RULES
from hrm_parity.limits import GPU_FACTOR, Verdict, judge, model_limits


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
    for table in (limits.FLOAT32, limits.ROPE_STABLEMAX, limits.HIDDEN_512, limits.BFLOAT16, limits.DATA_ORDER):
        assert table.keys() <= quantities
