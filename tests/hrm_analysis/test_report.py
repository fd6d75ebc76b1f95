import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hrm_analysis.parts import worded
from hrm_analysis.report import MEASURES, Report, analyze, check_out, plain
from hrm_analysis.study import Study
from hrm_core.errors import HRMError


@pytest.fixture(scope="module")
def report(study: Study) -> Report:
    return analyze(study, ["residuals", "modes", "halting"], ["- a model"], {"seed": 0})


@pytest.fixture(scope="module")
def out(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "new" / "out"
    report.write(folder, svg=True)
    return folder


def test_folder_holds_report_figures_and_numbers(out: Path) -> None:
    names = {path.name for path in out.iterdir()}
    charts = {f"{name}.{kind}" for name in ("residuals", "halting") for kind in ("png", "svg")}
    assert names == {"report.md", "numbers.json", "modes.png", *charts}
    text = (out / "report.md").read_text()
    for name in names:
        if name.endswith(".png"):
            assert f"]({name})" in text
            with Image.open(out / name) as picture:
                picture.verify()
    assert (out / "residuals.svg").read_text().startswith("<?xml")


def test_numbers_are_those_of_the_parts(report: Report, out: Path) -> None:
    numbers = json.loads((out / "numbers.json").read_text())
    assert numbers == report.record()
    part: Any = report.parts["residuals"]
    found = numbers["residuals"]["curves"]["L"]["mean"]
    np.testing.assert_allclose(found, part.curves["L"].mean(axis=1), atol=1e-6)


def test_a_part_that_cannot_be_has_a_sentence(study: Study, tmp_path: Path) -> None:
    few = replace(study, questions=study.questions.select(slice(2)))
    found = analyze(few, ["dimension"], [], {})
    found.write(tmp_path / "out")
    sentence = "The states of 2 puzzles are at hand, expected 10 or more; ask more puzzles."
    assert f"## Dimension\n\nLeft out: {sentence}" in (tmp_path / "out" / "report.md").read_text()
    assert found.record() == {"dimension": {"left_out": sentence}}


def test_nothing_is_left_of_a_report_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hrm_analysis.report.json.dumps", full)
    with pytest.raises(HRMError, match=r"out was not written \(No space left on device\)"):
        Report([], {}, {}).write(tmp_path / "new" / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_task_has_its_own_word_for_puzzles() -> None:
    text = "Puzzles: a puzzle of 5 puzzles. Puzzle 3 puzzles nobody."
    assert worded(text, "puzzles") == text
    expected = "Images: an example of 5 images. Example 3 images nobody."
    assert worded(text, "images") == expected


def test_a_used_folder_is_refused(out: Path, tmp_path: Path) -> None:
    check_out(tmp_path)
    with pytest.raises(HRMError, match="is not empty; choose another --out"):
        check_out(out)
    with pytest.raises(HRMError, match="is there and no folder"):
        check_out(out / "report.md")
    with pytest.raises(HRMError, match=r"report\.md is no writable folder; choose another --out"):
        check_out(out / "report.md" / "new" / "out")


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    Report([], {}, {}).write(tmp_path / "out")
    assert (tmp_path / "out" / "numbers.json").read_text() == "{}\n"


def test_numbers_are_written_as_json_has_them() -> None:
    found = plain({"a": np.array([1.0, np.nan]), "b": (np.int64(3), np.inf), "c": None, 5: [True]})
    assert found == {"a": [1.0, None], "b": [3, None], "c": None, "5": [True]}


def test_figures_stand_in_the_order_of_the_report() -> None:
    assert list(MEASURES) == [
        "residuals",
        "trajectories",
        "dimension",
        "answers",
        "modes",
        "landscape",
        "halting",
    ]
