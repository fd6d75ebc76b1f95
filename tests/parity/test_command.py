import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hrm_cli.parity import parity

from hrm_core.errors import BackendError, HRMError
from hrm_parity.configurations import CONFIGURATIONS
from hrm_parity.controls import patched, scale_of_127, swapped_levels
from hrm_parity.golden import carried_cases

Run = Callable[..., tuple[int, str, str]]
Refusal = Callable[..., str]


@pytest.fixture
def one_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hrm_parity.certify.CONFIGURATIONS", CONFIGURATIONS[:1])


@pytest.fixture
def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hrm_cli.parity.find_spec", lambda name: None)


def run(*arguments: str) -> int:
    return int(parity(list(arguments), standalone_mode=False))


def test_everything_is_compared_by_default(hrm: Run, one_configuration: None) -> None:
    pytest.importorskip("torch")
    status, out, err = hrm("parity")
    assert status == 0
    for part in (
        "published initialisation",
        "rope_stablemax_f32",
        "layers, losses, optimizers",
        "one ACT step and update from a shared state",
    ):
        assert part in out
    within, _, total, *_ = out.splitlines()[-1].split()
    assert within == total
    assert CONFIGURATIONS[0].name in err


def test_mistake_in_one_backend_is_exit_status_1(hrm: Run, one_configuration: None) -> None:
    pytest.importorskip("torch")
    with patched("hrm_mlx.backend:scalars", scale_of_127):
        status, out, _ = hrm("parity", "--json")
    assert status == 1
    broken = [case["case"] for case in json.loads(out)["cases"] if case["broken"]]
    assert f"{CONFIGURATIONS[0].name}: one ACT step and update from a shared state" in broken


def test_without_torch_the_recorded_case_is_replayed(hrm: Run, without_torch: None) -> None:
    status, out, err = hrm("parity")
    assert status == 0
    assert "rope_stablemax_f32" in out
    assert "published initialisation" in out
    assert "pip install 'torch>=" in err
    assert "PyTorch" not in out


def test_without_mlx_the_way_out_is_named(
    refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise BackendError("MLX is not installed; pip install mlx")

    monkeypatch.setattr("hrm_parity.pairs.backend_named", missing)
    assert refusal("parity").endswith("or check PyTorch alone with hrm parity --backend torch")


def test_torch_is_checked_on_request(hrm: Run, one_configuration: None) -> None:
    pytest.importorskip("torch")
    status, out, _ = hrm("parity", "--backend", "torch", "--json")
    assert status == 0
    assert {case["backend"]["backend"].split()[0] for case in json.loads(out)["cases"]} == {"torch"}


def test_report_holds_rows_machine_and_versions(
    hrm: Run, one_configuration: None, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    file = tmp_path / "parity.json"
    file.write_text("an older report")
    status, out, _ = hrm("parity", "--report", file, "--json")
    written = json.loads(file.read_text())
    assert status == 0
    assert written == json.loads(out)
    assert written["command"] == f"hrm parity --report {file} --json"
    assert written["environment"]["mlx"][0].isdigit()
    assert written["environment"].keys() >= {
        "platform",
        "machine",
        "python",
        "numpy",
        "torch",
        "hrm-mlx",
        "cpus",
    }
    update = next(case for case in written["cases"] if case["case"].endswith("shared state"))
    assert update["backend"].keys() >= {"device", "blas", "backend", "dtype"}
    gradients = next(row for row in update["rows"] if row["quantity"] == "gradients, of largest")
    assert len(gradients["tensors"]) == 12  # every tensor that is trained
    assert gradients.keys() >= {"gap", "to_torch", "noise", "limit", "where", "verdict"}
    assert list(tmp_path.iterdir()) == [file]


def test_report_into_a_folder_that_is_not_there_is_refused_at_once(
    refusal: Refusal, tmp_path: Path
) -> None:
    assert "make it first" in refusal("parity", "--report", tmp_path / "none" / "parity.json")
    assert "is a directory" in refusal("parity", "--report", tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--train", "10", "--self-test"), "--train and --self-test do not go together"),
        (("--train", "10", "--golden", "."), "--train and --golden do not go together"),
        (("--train", "10", "--backend", "torch"), "both backends are trained"),
        (("--train", "10", "--dtype", "bfloat16"), "both train in float32"),
        (("--self-test", "--backend", "torch"), "the mistakes are made in MLX"),
        (("--self-test", "--dtype", "float64"), "they are looked for in float32"),
        (("--seed", "1"), "--seed is the seed of --train"),
        (("--train", "0"), "0 is not in the range"),
        (("--train", "many"), "'many' is not a valid integer"),
        (("--golden", "nowhere"), "'nowhere' does not exist"),
        (("--golden", "."), "is no recorded case and holds none"),
        (("--dtype", "float64"), "float64 is there to check with, on --backend torch"),
    ],
    ids=str,
)
def test_garbage_is_one_line(
    refusal: Refusal, arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in refusal("parity", *arguments)


def test_training_is_told_as_json(hrm: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr("hrm_parity.training.NUM_TRAIN", 200)
    monkeypatch.setattr("hrm_parity.training.NUM_TEST", 50)
    status, out, err = hrm("parity", "--train", "2", "--seed", "3", "--json")
    training = json.loads(out)["training"]
    assert status == 0
    assert (training["seed"], training["updates"], training["decisions"]) == (3, 2, None)
    assert set(training["backends"]) == {"MLX", "PyTorch"}
    assert "update 2 of 2" in err
    status, out, _ = hrm("parity", "--train", "2")
    assert "first other halting decision: none" in out


def test_broken_limit_is_exit_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    with patched("hrm_mlx.model:HRM.__call__", swapped_levels):
        assert run("--golden", str(carried_cases()[0]), "--json") == 1
    (case,) = json.loads(capsys.readouterr().out)["cases"]
    assert case["broken"]
    broken = [row for row in case["rows"] if row["verdict"] == "broken"]
    assert any(
        row["quantity"] == "forward logits" and row["where"].startswith("logits[") for row in broken
    )


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_value_that_is_not_finite_is_broken(
    factor: float, capsys: pytest.CaptureFixture[str]
) -> None:
    with patched(
        "hrm_mlx.layers:rms_norm", lambda rms_norm: lambda x, eps: rms_norm(x, eps) * factor
    ):
        assert run("--golden", str(carried_cases()[0]), "--json") == 1
    (case,) = json.loads(capsys.readouterr().out)["cases"]
    (logits,) = [row for row in case["rows"] if row["quantity"] == "forward logits"]
    assert (logits["gap"], logits["verdict"]) == (None, "broken")


def test_lower_precision_than_recorded_is_held_to_its_own_limits(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run("--golden", str(carried_cases()[0]), "--dtype", "bfloat16", "--json")
    (case,) = json.loads(capsys.readouterr().out)["cases"]
    assert case["backend"]["dtype"] == "bfloat16"
    assert "forward logits, rms" in {row["quantity"] for row in case["rows"]}


def test_damaged_case_is_one_line(tmp_path: Path) -> None:
    case = Path(shutil.copytree(carried_cases()[0], tmp_path / "case"))
    (case / "weights.safetensors").write_bytes(b"")
    with pytest.raises(HRMError, match=r"weights\.safetensors is damaged"):
        run("--golden", str(case))
