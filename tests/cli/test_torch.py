"""The commands with --backend torch: they do what they do with MLX, and either goes on where the other one stopped."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from hrm_core.runs.checkpoint import MODEL_FILE, TRAIN_STATE_FILE

torch = pytest.importorskip("torch", reason="torch is missing: the PyTorch reference is not tested")

Hrm = Callable[..., Any]
Refusal = Callable[..., str]
REPOSITORY = Path(__file__).parents[2]
LAST = "update_00000024"
PUZZLE = "1... ..2. .3.. ...4"
TORCH, MLX = (["--backend", backend, "--device", "cpu"] for backend in ("torch", "mlx"))
MEASURED = (
    "exact_accuracy",
    "accuracy",
    "blank_accuracy",
    "lm_loss",
    "q_halt_accuracy",
    "settled_step",
    "count",
)
WITHOUT_TORCH = "import sys; sys.modules['torch'] = None; from hrm_cli.main import main; sys.argv[0] = 'hrm'; sys.exit(main())"


@pytest.fixture
def train(tiny_config: Path, tiny_data: Path, tmp_path: Path) -> list[str | Path]:
    return ["train", tiny_config, "--data", tiny_data, "--run", tmp_path / "run"]


@pytest.fixture(scope="module")
def torch_run(
    tmp_path_factory: pytest.TempPathFactory, hrm: Hrm, tiny_config: Path, tiny_data: Path
) -> Path:
    """The run of `tiny_run`, trained with PyTorch."""
    run = tmp_path_factory.mktemp("runs") / "torch"
    outcome = hrm("train", tiny_config, "--data", tiny_data, "--run", run, *TORCH)
    assert outcome.status == 0, outcome.err
    return run


def records(run: Path, kind: str = "train") -> dict[int, dict[str, Any]]:
    """What was logged, by update."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return {line["update"]: line for line in lines if line["kind"] == kind}


def unfinished(run: Path, copy: Path) -> Path:
    """A copy of a finished run without its newest checkpoint: four updates are left to do."""
    shutil.copytree(run, copy)
    shutil.rmtree(copy / "checkpoints" / LAST)
    return copy


def assert_same_losses(found: Path, expected: Path, updates: list[int], limit: float) -> None:
    ours, theirs = records(found), records(expected)
    for update in updates:
        for name in ("lm_loss", "q_halt_loss", "q_continue_loss", "accuracy"):
            assert ours[update][name] == pytest.approx(theirs[update][name], rel=limit), (
                update,
                name,
            )
        for name in ("count", "steps", "lr", "examples"):
            assert ours[update][name] == theirs[update][name], (update, name)


def tensors(run: Path) -> dict[str, np.ndarray]:
    folder = run / "checkpoints" / LAST
    return load_file(folder / MODEL_FILE) | load_file(folder / TRAIN_STATE_FILE)


def test_both_backends_begin_the_same_run(torch_run: Path, tiny_run: Path) -> None:
    assert_same_losses(torch_run, tiny_run, [3, 6, 9], 1e-4)
    assert [path.name for path in sorted((torch_run / "checkpoints").iterdir())][-1] == LAST
    found, expected = tensors(torch_run), tensors(tiny_run)
    assert {name: (a.shape, a.dtype) for name, a in found.items()} == {
        name: (a.shape, a.dtype) for name, a in expected.items()
    }


def test_other_learning_rate_would_be_noticed(
    hrm: Hrm, train: list[str | Path], tmp_path: Path, tiny_run: Path
) -> None:
    assert hrm(*train, *TORCH, "--set", "optim.lr=3.1e-3", "--max-updates", 9).status == 0
    with pytest.raises(AssertionError):
        assert_same_losses(tmp_path / "run", tiny_run, [3, 6, 9], 1e-4)


@pytest.mark.parametrize(("begun", "resumed"), [("mlx", "torch"), ("torch", "mlx")])
def test_run_begun_on_one_backend_is_resumed_on_the_other(
    hrm: Hrm, tiny_run: Path, torch_run: Path, tmp_path: Path, begun: str, resumed: str
) -> None:
    before, options = (tiny_run, TORCH) if begun == "mlx" else (torch_run, MLX)
    run = unfinished(before, tmp_path / "run")
    outcome = hrm("train", "--run", run, "--resume", *options)
    assert outcome.status == 0, outcome.err
    warning = outcome.err.splitlines()[0]
    assert warning.startswith("warning: results may differ from those of an uninterrupted run: ")
    assert f"backend was {begun} {version(begun)}, is {resumed} {version(resumed)}" in warning
    assert_same_losses(run, before, [21, 24], 1e-4)
    found, expected = tensors(run), tensors(before)
    for name, array in expected.items():
        np.testing.assert_allclose(
            found[name],
            array,
            rtol=0,
            atol=1e-3 if name.startswith("carry") else 1e-4,
            err_msg=name,
        )
    ours, theirs = (records(path, "eval")[24] for path in (run, before))
    assert ours["count"] == theirs["count"]
    assert ours["lm_loss"] == pytest.approx(theirs["lm_loss"], rel=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_run_is_resumed_as_it_was(
    hrm: Hrm, train: list[str | Path], tmp_path: Path, dtype: str
) -> None:
    options = [*TORCH, "--dtype", dtype]
    outcome = hrm(*train, *options)
    assert outcome.status == 0, outcome.err
    again = unfinished(tmp_path / "run", tmp_path / "again")
    outcome = hrm("train", "--run", again, "--resume", *options)
    assert outcome.err.startswith("update 21/24")  # and no warning
    found, expected = tensors(again), tensors(tmp_path / "run")
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].tobytes() == array.tobytes(), name


def test_float64_run_is_read_by_both_backends(
    hrm: Hrm, train: list[str | Path], tmp_path: Path, tiny_run: Path
) -> None:
    assert hrm(*train, *TORCH, "--dtype", "float64").status == 0
    run = tmp_path / "run"
    assert_same_losses(run, tiny_run, [3, 6], 1e-4)
    values = [
        json.loads(hrm("eval", run, "--json", *options).out)
        for options in (TORCH, MLX, [*TORCH, "--dtype", "float64"])
    ]
    assert len({value["accuracy"] for value in values}) == 1
    left = unfinished(run, tmp_path / "again")
    outcome = hrm("train", "--run", left, "--resume", *MLX)
    assert outcome.status == 0, outcome.err
    assert "dtype was float64, is float32" in outcome.err
    assert_same_losses(left, run, [21, 24], 1e-4)


def test_float64_is_refused_by_mlx(
    refusal: Refusal, train: list[str | Path], tmp_path: Path, tiny_run: Path
) -> None:
    message = "float64 is there to check with, on --backend torch; use --dtype float32 with MLX"
    assert refusal(*train, "--dtype", "float64") == message
    assert refusal("eval", tiny_run, "--dtype", "float64") == message
    assert not (tmp_path / "run").exists()


def test_both_backends_measure_alike(hrm: Hrm, tiny_run: Path, tmp_path: Path) -> None:
    values, saved = [], []
    for options in (TORCH, MLX):
        path = tmp_path / f"{options[1]}.npz"
        outcome = hrm(
            "eval", tiny_run, "--json", "--batch-size", 7, "--save-predictions", path, *options
        )
        assert (outcome.status, outcome.err) == (0, "")
        values.append(json.loads(outcome.out))
        saved.append(dict(np.load(path)))
    for name in MEASURED:
        assert values[0][name] == (
            pytest.approx(values[1][name], rel=1e-4) if name == "lm_loss" else values[1][name]
        ), name
    for name in saved[0].keys() - {"q_halt_logits"}:
        np.testing.assert_array_equal(saved[0][name], saved[1][name])
    np.testing.assert_allclose(
        saved[0]["q_halt_logits"], saved[1]["q_halt_logits"], rtol=1e-4, atol=1e-4
    )


def test_both_backends_solve_alike(hrm: Hrm, tiny_run: Path, tmp_path: Path) -> None:
    found, expected = (
        hrm("solve", tiny_run, PUZZLE, PUZZLE[::-1], *options) for options in (TORCH, MLX)
    )
    assert found == expected
    drawn = hrm(
        "solve", tiny_run, PUZZLE, *TORCH, "--dtype", "bfloat16", "--gif", tmp_path / "x.gif"
    )
    assert drawn.status == expected.status
    assert (tmp_path / "x.gif").stat().st_size > 1000


def test_demo_goes_the_whole_way(hrm: Hrm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hrm_cli.demo.NUM_TRAIN", 100)
    monkeypatch.setattr("hrm_cli.demo.NUM_TEST", 20)
    outcome = hrm("demo", "--run", tmp_path / "demo", "--max-updates", 3, *TORCH)
    assert outcome.status == 0, outcome.err
    assert "solved exactly" in outcome.out
    assert "backend: torch" in (tmp_path / "demo" / "config.yaml").read_text()


@pytest.mark.parametrize(
    "options",
    [
        ["--attention", "sdpa"],
        ["--attention", "eager"],
        ["--micro-batch", "5"],
        ["--device", "auto"],
    ],
)
def test_option_changes_rounding_only(
    hrm: Hrm, train: list[str | Path], tmp_path: Path, torch_run: Path, options: list[str]
) -> None:
    if options == ["--device", "auto"] and (
        torch.cuda.is_available() or torch.backends.mps.is_available()
    ):
        options = [*options, "--dtype", "float32"]
    outcome = hrm(
        *train,
        "--backend",
        "torch",
        *(options if "--device" in options else ["--device", "cpu", *options]),
        "--max-updates",
        6,
    )
    assert outcome.status == 0, outcome.err
    recorded = (tmp_path / "run" / "config.yaml").read_text()
    assert "attention: eager" in recorded if "eager" in options else "attention: sdpa" in recorded
    ours, theirs = records(tmp_path / "run"), records(torch_run)
    assert ours[3]["lm_loss"] == pytest.approx(theirs[3]["lm_loss"], rel=1e-5)


def test_compiled_training_and_evaluation_are_the_eager_ones(
    hrm: Hrm,
    train: list[str | Path],
    tmp_path: Path,
    torch_run: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Traced into whole graphs, but not compiled to code, which would take a minute."""
    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    outcome = hrm(*train, *TORCH, "--compile", "on")
    assert outcome.status == 0, outcome.err
    assert_same_losses(tmp_path / "run", torch_run, [3, 6, 9], 1e-4)
    found, expected = (records(run, "eval")[6] for run in (tmp_path / "run", torch_run))
    assert {name: found[name] for name in MEASURED} == pytest.approx(
        {name: expected[name] for name in MEASURED}, rel=1e-4
    )
    torch._dynamo.reset()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--attention", "flash2"], "--attention flash2 cannot be used: it runs on CUDA, the device is cpu"),
        (["--attention", "flash3"], "--attention flash3 cannot be used: it runs on CUDA"),
        (["--attention", "flash4"], "--attention flash4 cannot be used: it runs on CUDA"),
        (["--attention", "flash5"], "'flash5' is not one of 'auto', 'eager', 'sdpa', 'flash2', 'flash3', 'flash4'"),
        (["--dtype", "float16"], "'float16' is not one of 'auto', 'float32', 'bfloat16', 'float64'"),
        (["--backend", "jax"], "'jax' is not one of 'mlx', 'torch'"),
        (["--backend", "mlx", "--attention", "flash2"], "--attention flash2 is not for MLX, which has eager, sdpa; use --backend torch"),
    ],
)  # fmt: skip
def test_what_cannot_be_had_is_refused_and_leaves_nothing(
    refusal: Refusal,
    train: list[str | Path],
    tmp_path: Path,
    tiny_run: Path,
    options: list[str],
    message: str,
) -> None:
    assert message in refusal(*train, *TORCH, *options)
    assert message in refusal("eval", tiny_run, *TORCH, *options)
    assert message in refusal("solve", tiny_run, PUZZLE, *TORCH, *options)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(
    torch.cuda.is_available() or torch.backends.mps.is_available(), reason="there is a GPU"
)
def test_gpu_that_is_not_there_is_refused(
    refusal: Refusal, train: list[str | Path], tmp_path: Path
) -> None:
    message = refusal(*train, "--backend", "torch", "--device", "gpu")
    assert (
        message
        == "this PyTorch finds no GPU; use --device cpu, or install a PyTorch with CUDA (pytorch.org)"
    )
    assert not list(tmp_path.iterdir())


def test_mlx_is_refused_under_torchrun(
    refusal: Refusal, train: list[str | Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    message = "torchrun starts PyTorch: use --backend torch, or start MLX with mlx.launch -n 2 -- hrm train"
    assert refusal(*train) == message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["eval", "solve", "demo"])
def test_only_training_runs_in_several_processes(
    refusal: Refusal, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Or each process would measure a part and speak of the whole."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    arguments = {
        "eval": [tiny_run],
        "solve": [tiny_run, PUZZLE],
        "demo": ["--run", tmp_path / "demo"],
    }[command]
    message = f"only hrm train runs in several processes; start hrm {command} without torchrun"
    assert refusal(command, *arguments, *TORCH) == message
    assert not list(tmp_path.iterdir())


def test_doctor_shows_what_pytorch_has(hrm: Hrm, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = json.loads(hrm("doctor", "--json").out)
    assert facts["torch"] == version("torch")
    assert {"torch device", "torch blas", "torch attention"} <= facts.keys()
    if not torch.cuda.is_available():
        assert facts["torch attention"] == "sdpa (flash-attn is for CUDA)"
    assert "torch attention" in hrm("doctor").out

    def without_torch(package: str) -> str:
        if package == "torch":
            raise PackageNotFoundError(package)
        return version(package)

    monkeypatch.setattr("hrm_cli.doctor.version", without_torch)
    facts = json.loads(hrm("doctor", "--json").out)
    assert facts["torch"].startswith("not installed: pip install 'torch>=2.6', for")
    assert not [name for name in facts if name.startswith("torch ")]
    assert "mlx device" in facts


@pytest.mark.parametrize("command", ["train", "eval", "solve"])
def test_missing_pytorch_is_one_line(
    train: list[str | Path], tmp_path: Path, tiny_run: Path, command: str
) -> None:
    arguments = {"train": train, "eval": ["eval", tiny_run], "solve": ["solve", tiny_run, PUZZLE]}[
        command
    ]
    program = [sys.executable, "-c", WITHOUT_TORCH, *map(str, arguments), "--backend", "torch"]
    ran = subprocess.run(
        program, capture_output=True, text=True, timeout=60, check=False, cwd=REPOSITORY
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (
        2,
        "",
        "hrm: PyTorch is not installed; pip install 'torch>=2.6'\n",
    )
    assert not list(tmp_path.iterdir())


def test_pytorch_alone_is_enough_and_mlx_needs_no_pytorch(tiny_run: Path) -> None:
    """Each backend leaves the other one unloaded."""
    program = """
import sys
sys.modules[{other!r}] = None
from hrm_cli.main import main
sys.argv = ["hrm", "solve", {run!r}, {puzzle!r}, "--backend", {backend!r}, "--device", "cpu"]
status = main()
sys.exit(status if {package!r} not in sys.modules else 3)
"""
    outs = set()
    for backend, other, package in (("torch", "mlx", "hrm_mlx"), ("mlx", "torch", "hrm_torch_ref")):
        code = program.format(
            other=other, run=str(tiny_run), puzzle=PUZZLE, backend=backend, package=package
        )
        ran = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=REPOSITORY,
        )
        assert ran.returncode in (0, 1), ran.stderr
        outs.add(ran.stdout)
    assert len(outs) == 1
