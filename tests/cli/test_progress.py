"""A command that takes long gives signs of life, also where there is no terminal."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hrm_cli import progress
from hrm_cli.progress import showing


def test_line_is_printed_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    with showing("counting", total=10, every=0.02) as advance:
        advance(4)
        time.sleep(0.3)
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == ""
    assert len(lines) >= 2
    assert set(lines) == {"still counting, 40%, 0 s so far"}


def test_work_of_unknown_length_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    with showing("building", unit="written", every=0.02) as advance:
        advance(1234)
        time.sleep(0.1)
    assert capsys.readouterr().err.startswith("still building, 1,234 written, 0 s so far\n")


def test_quick_work_is_silent_and_nothing_is_printed_after_the_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ZeroDivisionError), showing("dividing", every=0.05):
        1 / 0  # noqa: B018
    time.sleep(0.15)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("eval", "RUN"), "still evaluating, "),
        (("solve", "RUN", "1..............."), "still solving 1 puzzle, "),
        (("convert", "RUN", "m.safetensors", "--verify"), "still verifying, "),
        (("data", "sudoku", "d", "--generate", 40, "--size", 4), "still building puzzles, "),
    ],
)
def test_commands_give_signs_of_life_on_stderr_alone(
    hrm: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    tiny_run: Path,
    tmp_path: Path,
    words: tuple[Any, ...],
    line: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(progress, "EVERY", 1e-3)
    outcome = hrm(*(tiny_run if word == "RUN" else word for word in words))
    assert line in outcome.err
    assert "still " not in outcome.out


def test_bar_is_drawn_on_a_terminal_from_the_first_call_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with showing("building", unit="written") as advance:
        assert capsys.readouterr().err == ""
        advance(7)
        time.sleep(0.3)
    assert "7 written" in capsys.readouterr().err
