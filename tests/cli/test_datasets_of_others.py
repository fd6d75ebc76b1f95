"""Data sets that other programs built: how their puzzles are named and numbered."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Hrm = Callable[..., Any]
Refusal = Callable[..., str]
TAKEN = "does not know its 11 puzzle identifiers by name; they are taken to be numbered as in"


@pytest.fixture
def data(cases_dir: Path, tmp_path: Path) -> Path:
    """A small data set of ARC: two tasks of five identifiers each."""
    shutil.copytree(cases_dir / "datasets" / "other_names", tmp_path / "data")
    for path in (tmp_path / "data").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return tmp_path / "data"


@pytest.fixture
def model(cases_dir: Path) -> Path:
    return cases_dir / "datasets" / "nameless_model"


def rename(data: Path, old: str, new: str) -> None:
    names = json.loads((data / "identifiers.json").read_text())
    (data / "identifiers.json").write_text(json.dumps([name.replace(old, new) for name in names]))


def submitted(hrm: Hrm, model: Path, data: Path) -> Any:
    path = data / "submission.json"
    with pytest.warns(UserWarning, match=TAKEN):
        assert hrm("eval", model, "--data", data, "--submission", path, "--json").status == 0
    return json.loads(path.read_text())


def test_names_of_the_successor_are_pooled_like_ours(hrm: Hrm, model: Path, data: Path) -> None:
    ours = submitted(hrm, model, data)
    assert list(ours) == ["aa000002"]
    rename(data, "_", "|||")
    assert submitted(hrm, model, data) == ours


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("_t7_", "_t9_", "identifier 'aa000002_t9_0248513976' is written like an augmentation"),
        ("_t7_", "|||t7|", "identifier 'aa000002|||t7|0248513976' is written like an augmentation"),
        (
            "_",
            "~",
            "group 1 holds 'aa000002' and 'aa000002~t7~0248513976', which are not written as",
        ),
        ("_t7_0248513976", "-rot90", "group 1 holds 'aa000002' and 'aa000002-rot90'"),
        (
            "_t7_0248513976",
            "",
            "puzzle identifier 2 has the name of 1, 'aa000002'; expected a name",
        ),
    ],
)
def test_names_that_are_not_understood_are_refused_before_anything_is_answered(
    refusal: Refusal, model: Path, data: Path, old: str, new: str, message: str
) -> None:
    rename(data, old, new)
    out = data / "submission.json"
    assert message in refusal("eval", model, "--data", data, "--submission", out)
    assert not out.exists()


def test_blank_identifier_needs_no_numbering(hrm: Hrm, model: Path, data: Path) -> None:
    assert hrm("solve", model, "12\n21", "--data", data, "--identifier", "blank").status == 0


def test_challenges_are_asked_under_a_warning(
    hrm: Hrm, model: Path, data: Path, cases_dir: Path
) -> None:
    path = cases_dir / "arc_tasks" / "kaggle" / "arc-agi_evaluation_challenges.json"
    with pytest.warns(UserWarning, match=TAKEN):
        outcome = hrm("solve", model, path, "--data", data, "--json")
    records = [json.loads(line) for line in outcome.out.splitlines()]
    assert [record["identifier"] for record in records] == ["aa000001", "aa000002", "aa000002"]
    assert outcome.status == 1  # the solutions beside the file refuse the answers


def test_empty_name_is_refused(refusal: Refusal, model: Path, data: Path) -> None:
    names = json.loads((data / "identifiers.json").read_text())
    names[1] = ""
    (data / "identifiers.json").write_text(json.dumps(names))
    assert "identifier 1 has an empty name" in refusal("eval", model, "--data", data)
