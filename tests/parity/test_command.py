import json
import shutil
from pathlib import Path

import pytest

from cli.parity import parity
from hrm_core.errors import HRMError
from hrm_parity.controls import patched, swapped_levels
from hrm_parity.golden import carried_cases


def run(*arguments: str) -> int:
    return int(parity(list(arguments), standalone_mode=False))


def test_carried_case_is_replayed_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    printed = capsys.readouterr().out
    assert "rope_stablemax_f32" in printed
    assert "published initialisation" in printed
    within, _, total, *_ = printed.splitlines()[-1].split()
    assert within == total


def test_broken_limit_is_exit_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    with patched("hrm_mlx.model:HRM.__call__", swapped_levels):
        assert run("--golden", str(carried_cases()[0]), "--json") == 1
    (case,) = json.loads(capsys.readouterr().out)["cases"]
    assert case["broken"]
    broken = [row for row in case["rows"] if row["verdict"] == "broken"]
    assert any(row["quantity"] == "forward logits" and row["where"].startswith("logits[") for row in broken)


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_value_that_is_not_finite_is_broken(factor: float, capsys: pytest.CaptureFixture[str]) -> None:
    with patched("hrm_mlx.layers:rms_norm", lambda rms_norm: lambda x, eps: rms_norm(x, eps) * factor):
        assert run("--golden", str(carried_cases()[0]), "--json") == 1
    (case,) = json.loads(capsys.readouterr().out)["cases"]
    (logits,) = [row for row in case["rows"] if row["quantity"] == "forward logits"]
    assert (logits["gap"], logits["verdict"]) == (None, "broken")


def test_lower_precision_than_recorded_is_held_to_its_own_limits(capsys: pytest.CaptureFixture[str]) -> None:
    run("--golden", str(carried_cases()[0]), "--dtype", "bfloat16", "--json")
    (case,) = json.loads(capsys.readouterr().out)["cases"]
    assert case["backend"]["dtype"] == "bfloat16"
    assert "forward logits, rms" in {row["quantity"] for row in case["rows"]}


def test_damaged_case_is_one_line(tmp_path: Path) -> None:
    case = Path(shutil.copytree(carried_cases()[0], tmp_path / "case"))
    (case / "weights.safetensors").write_bytes(b"")
    with pytest.raises(HRMError, match=r"weights\.safetensors is damaged"):
        run("--golden", str(case))
