import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from hrm_core.messages import (
    cell_name,
    cut,
    first_few,
    first_line,
    first_misfits,
    one_line,
    quoted,
    reason,
    shortened,
    system_reason,
    warn,
)

# A library of ours on its way to a warning, and a program that calls it.
LIBRARY = "from hrm_core.messages import warn\ndef odd(text):\n    warn(text)\n"
PROGRAM = """import sys
import types
library = types.ModuleType("hrm_core.library")
exec(compile(open("library.py").read(), "library.py", "exec"), library.__dict__)
library.odd("this is odd")  # my line
"""


def test_warning_shows_the_line_of_the_program_and_none_of_ours(tmp_path: Path) -> None:
    (tmp_path / "library.py").write_text(LIBRARY)
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    found = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert found.stderr.splitlines() == [
        f"{program}:5: UserWarning: this is odd",
        '  library.odd("this is odd")  # my line',
    ]


def test_warning_is_one_that_filters_see() -> None:
    with pytest.warns(UserWarning, match="^so odd$"):
        warn("so odd")


def test_packages_say_their_version() -> None:
    code = "import hrm_mlx; print(hrm_mlx.__version__)"
    pytest.importorskip("mlx.core", reason="MLX is missing: hrm_mlx is not imported")
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == version("hrm-mlx")


def test_text_becomes_one_line_of_a_length() -> None:
    assert one_line(ValueError(" a\n\tb  c ")) == "a b c"
    assert one_line("a\x1b[31mb\x00\x9b\tc ü\u200c") == r"a\x1b[31mb\x00\x9b c" + " ü\u200c"
    assert shortened("a\nb" + "c" * 58) == "a b" + "c" * 56 + "…"
    assert shortened("a\nb", 3) == "a b"
    assert cut("a  b", 4) == "a  b"
    assert cut("a  bc", 4) == "a  …"


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ("a" * 60, "'" + "a" * 60 + "'"),
        ("a" * 61, "'" + "a" * 60 + "…'"),
        (b"\xff\n", r"'\\xff\n'"),
        ("😀".encode() * 60, "'" + "😀" * 60 + "'"),
        ("😀".encode() * 61, "'" + "😀" * 60 + "…'"),
        ("ü".encode() * 10**6, "'" + "ü" * 60 + "…'"),
    ],
)
def test_what_was_found_is_quoted_up_to_60_characters(found: str | bytes, expected: str) -> None:
    assert quoted(found) == expected


def test_reason_is_what_an_error_says_or_its_type() -> None:
    assert reason(ValueError("a\nb" * 100), 6) == "a ba b"
    assert len(reason(ValueError("a" * 200))) == 120
    assert reason(KeyError()) == first_line(KeyError()) == "KeyError"
    assert first_line(ValueError("a" * 79 + "bc\nd")) == "a" * 79 + "b"
    assert first_line(ValueError("a\nb")) == "a"


def test_lists_end_with_how_much_more_there_is() -> None:
    assert first_few(["a", "b", "c"]) == "a, b, c"
    assert first_few(["a", "b", "c", "d"]) == "a, b, c, …"
    assert first_misfits(list("abcde")) == "a; b; c; d; e"
    assert first_misfits(list("abcdefg")) == "a; b; c; d; e; and 2 more"


def test_cells_are_counted_from_1() -> None:
    assert [cell_name(cell, 3) for cell in (0, 2, 3)] == [
        "row 1, column 1",
        "row 1, column 3",
        "row 2, column 1",
    ]


def test_failure_of_the_system_is_told_with_its_path_and_without_its_number() -> None:
    assert system_reason(OSError(20, "Not a directory", "f/x")) == "Not a directory: f/x"
    assert system_reason(OSError(122, "Disk quota exceeded")) == "Disk quota exceeded"
    assert system_reason(OSError("8 requested and 0 written")) == "8 requested and 0 written"
