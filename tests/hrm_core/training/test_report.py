import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hrm_core.errors import BackendError
from hrm_core.training.report import (
    ConsoleReporter,
    Reporters,
    TensorBoardReporter,
    WandbReporter,
    duration,
    evaluation_line,
    training_line,
)

RECORD = {
    "kind": "train", "update": 50, "examples": 800, "seconds": 4.0, "count": 4.0, "accuracy": 0.5, "exact_accuracy": 0.25, "steps": 2.5,
    "lm_loss": 1.25, "lr": 1e-3, "examples_per_second": 200.0, "memory_gib": 0.5,
}  # fmt: skip


def test_training_line_tells_what_the_run_does_and_when_it_is_done() -> None:
    line = training_line(RECORD, 100)
    assert line == (
        "update 50/100  loss 1.250  exact 25.0%  cells 50.0%  steps 2.5  200 examples/s  lr 1.0e-03  0.50 GiB  0m04s left"
    )


def test_nothing_is_claimed_where_no_slot_halted() -> None:
    line = training_line({**RECORD, "count": 0.0}, 100)
    assert "exact –  cells –  steps –" in line


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0m00s"), (59.6, "1m00s"), (3599, "59m59s"), (3600, "1h00m"), (360_000, "100h00m")],
)
def test_durations_are_read_at_a_glance(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_reports_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with ConsoleReporter() as console:
        reporters = Reporters([console])
        reporters.trained(RECORD, 100)
        reporters.evaluated(
            {
                "update": 50,
                "exact_accuracy": 0.5,
                "accuracy": 0.75,
                "blank_accuracy": 0.6,
                "count": 20,
            }
        )
        reporters.warn("[mind] this")
    captured = capsys.readouterr()
    assert captured.out == ""
    trained, evaluated, warned = captured.err.splitlines()
    assert trained == training_line(RECORD, 100)
    assert (
        evaluated
        == "evaluation after update 50: exact 50.00%  cells 75.00%  blank cells 60.00%  of 20 puzzles"
    )
    assert evaluated == evaluation_line(
        {"update": 50, "exact_accuracy": 0.5, "accuracy": 0.75, "blank_accuracy": 0.6, "count": 20}
    )
    assert warned == "warning: [mind] this"


def test_every_number_of_a_report_becomes_a_scalar(monkeypatch: pytest.MonkeyPatch) -> None:
    scalars: dict[str, Any] = {}

    class SummaryWriter:
        def __init__(self, directory: str) -> None:
            self.directory = directory

        def add_scalar(self, name: str, value: float, update: int) -> None:
            scalars[name] = value, update

        def flush(self) -> None:
            scalars["flushed"] = self.directory

    monkeypatch.setitem(sys.modules, "tensorboardX", SimpleNamespace(SummaryWriter=SummaryWriter))
    reporter = TensorBoardReporter(Path("events"))
    reporter.trained(RECORD, 100)
    reporter.evaluated({"kind": "eval", "update": 60, "split": "test", "accuracy": 0.75})
    reporter.saved(Path("checkpoint"))
    assert scalars["train/lm_loss"] == (1.25, 50)
    assert scalars["eval/accuracy"] == (0.75, 60)
    assert scalars["flushed"] == "events"
    assert not {"train/kind", "train/update", "eval/split"} & scalars.keys()


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A package that records what it is asked for; nobody is logged in."""

    class RefusedError(Exception):
        pass

    def login() -> None:
        raise RefusedError("No API key configured.")

    run = SimpleNamespace(logged=[], axes={}, ends=[])
    run.define_metric = lambda name, step_metric: run.axes.update({name: step_metric})
    run.log, run.finish = run.logged.append, lambda exit_code: run.ends.append(exit_code)
    begun: list[dict[str, Any]] = []
    package = SimpleNamespace(
        Error=RefusedError,
        Settings=dict,
        setup=lambda: SimpleNamespace(settings=SimpleNamespace(mode=package.mode)),
        login=login,
        init=lambda **options: begun.append(options) or run,
        mode="offline",
        run=run,
        begun=begun,
    )
    monkeypatch.setitem(sys.modules, "wandb", package)
    for name in ("WANDB_PROJECT", "WANDB_NAME", "WANDB_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    return package


def test_every_number_of_a_report_is_sent_to_wandb(wandb: Any, tmp_path: Path) -> None:
    with WandbReporter(tmp_path / "run", {"optim": {"lr": 0.1}}) as reporter:
        reporter.trained(RECORD, 100)
        reporter.evaluated({"kind": "eval", "update": 60, "split": "test", "accuracy": 0.75})
    (begun,) = wandb.begun
    assert (begun["project"], begun["name"], begun["id"]) == ("hrm", "run", None)
    assert begun["config"] == {"optim": {"lr": 0.1}}
    assert wandb.run.axes == {"train/*": "update", "eval/*": "update"}
    trained, evaluated = wandb.run.logged
    assert (trained["update"], trained["train/lm_loss"]) == (50, 1.25)
    assert evaluated == {"update": 60, "eval/accuracy": 0.75}
    assert wandb.run.ends == [0]


def test_resumed_run_continues_its_run_of_wandb(
    wandb: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wandb" / "offline-run-20260101_000000-abc123").mkdir(parents=True)
    with WandbReporter(tmp_path, {}):
        pass
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    monkeypatch.setenv("WANDB_RUN_ID", "other")
    with WandbReporter(tmp_path, {}):
        pass
    found = [(begun["id"], begun["project"]) for begun in wandb.begun]
    assert found == [("abc123", "hrm"), ("other", "mine")]


def test_wandb_without_an_account_is_refused_before_the_run(wandb: Any, tmp_path: Path) -> None:
    wandb.mode = "online"
    with pytest.raises(BackendError, match="--wandb: No API key configured; log in with `wandb"):
        WandbReporter(tmp_path / "run", {})
    assert not list(tmp_path.iterdir())


def test_installed_wandb_takes_a_run_offline(
    tiny_config: Path, tiny_data: Path, tmp_path: Path
) -> None:
    pytest.importorskip("wandb", reason="wandb is missing: reports to it are not tested offline")
    run = tmp_path / "run"
    command = [sys.executable, "-m", "hrm_cli.main", "train", tiny_config, "--data", tiny_data]
    options = ["--run", run, "--wandb", "--max-updates", "3", "--device", "cpu"]
    environment = {**os.environ, "WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    environment.pop("WANDB_API_KEY", None)
    found = subprocess.run(
        [*command, *options], env=environment, capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout) == (0, f"{run}\n"), found.stderr
    (written,) = run.glob("wandb/offline-run-*/*.wandb")
    content = written.read_bytes()
    for name in (b"train/lm_loss", b"eval/exact_accuracy", b"global_batch_size"):
        assert name in content
