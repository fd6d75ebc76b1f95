"""Every message, exit status and table that a user can meet is as recorded."""

import json
import re
from pathlib import Path

import pytest
import surface
from cases import Case, all_cases

RECORD = json.loads(surface.RECORD.read_text())
CASES = all_cases()


@pytest.mark.parametrize(("name", "case"), CASES.items(), ids=CASES)
def test_command_says_what_is_recorded(name: str, case: Case, tmp_path: Path) -> None:
    if package := surface.missing(case):
        pytest.skip(f"{package} is missing: {name!r} is not run")
    assert surface.outcome(case, tmp_path) == RECORD[name]


def test_every_record_has_its_case() -> None:
    assert list(RECORD) == list(CASES)


def test_every_command_has_its_help_recorded() -> None:
    listed = [f"help {name}" for name in _commands("help")]
    listed += [f"help data {name}" for name in _commands("help data")]
    assert len(listed) > 10
    assert set(listed) <= RECORD.keys()


def _commands(name: str) -> list[str]:
    lines = RECORD[name]["out"]
    listed = lines[lines.index("Commands:") + 1 :]
    return re.findall(r"^  (\w+)", "\n".join(listed), re.MULTILINE)
