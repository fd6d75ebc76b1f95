"""A command that takes long gives signs of life, also where there is no terminal."""

import time

import pytest
from hrm_cli.progress import showing


def test_line_is_printed_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    with showing("counting", total=10, every=0.02) as advance:
        advance(4)
        time.sleep(0.3)
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == ""
    assert len(lines) >= 2
    assert set(lines) == {"counting, 40% after 0 s"}


def test_work_of_unknown_length_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    with showing("writing", every=0.02) as advance:
        advance(1234)
        time.sleep(0.1)
    assert capsys.readouterr().err.startswith("writing, 1,234 after 0 s\n")


def test_quick_work_is_silent_and_nothing_is_printed_after_the_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ZeroDivisionError), showing("dividing", every=0.05):
        1 / 0  # noqa: B018
    time.sleep(0.15)
    assert capsys.readouterr().err == ""
