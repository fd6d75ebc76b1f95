"""What stands between a terminal and the commands: encodings in both directions."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hrm_cli import signs

PUZZLE = "1... ..2. .3.. ...4"


@pytest.mark.parametrize(
    ("written", "shown"),
    [("1 – 2", b"1 - 2"), ("a…", b"a..."), ("5 ± 1 × 2 ≥ 3", b"5 +- 1 x 2 >= 3"), ("日é–", b"??-")],
)
def test_signs_are_written_in_ascii_where_an_encoding_lacks_them(
    written: str, shown: bytes
) -> None:
    assert written.encode("ascii", signs.NAME) == shown


def test_signs_that_an_encoding_has_stay() -> None:
    assert "é × –".encode("latin-1", signs.NAME) == b"\xe9 \xd7 -"
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors=signs.NAME)
    stream.write("é × –")
    stream.flush()
    assert stream.buffer.getvalue() == "é × –".encode()  # type: ignore[attr-defined]


def test_puzzle_on_stdin_may_be_in_utf_16(tiny_run: Path) -> None:
    solved = subprocess.run(
        [sys.executable, "-m", "hrm_cli.main", "solve", tiny_run, "-", "--json"],
        input=PUZZLE.encode("utf-16"),
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        timeout=120,
        check=False,
    )
    assert solved.stderr == b""
    assert b'"question": "1.....2..3.....4"' in solved.stdout
