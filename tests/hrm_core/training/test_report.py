import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hrm_core.training.report import (
    ConsoleReporter,
    Reporters,
    TensorBoardReporter,
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
