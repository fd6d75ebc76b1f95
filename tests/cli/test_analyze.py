"""`hrm analyze` on small real input, and what it says to bad input."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Hrm = Callable[..., Any]
Refusal = Callable[..., str]
PUZZLE = "1... ..2. .3.. ...4"
FEW = "residuals,answers"


def test_a_run_is_analyzed_on_its_own_data(hrm: Hrm, tiny_run: Path, tmp_path: Path) -> None:
    options = "--limit", 12, "--steps", 3, "--batch-size", 6
    outcome = hrm("analyze", tiny_run, "--out", tmp_path / "out", *options)
    assert outcome.status == 0, outcome.err
    assert outcome.out == f"{tmp_path / 'out' / 'report.md'}\n"
    numbers = json.loads((tmp_path / "out" / "numbers.json").read_text())
    assert (numbers["num_puzzles"], numbers["steps"], numbers["control"]) == (12, 3, None)
    names = ["residuals", "trajectories", "dimension", "answers", "modes", "landscape", "halting"]
    assert [name for name in names if "left_out" in numbers[name]] == []
    pictures = {path.stem for path in (tmp_path / "out").glob("*.png")}
    assert pictures == {*names, "answers-strip"}
    assert len(numbers["residuals"]["curves"]["L"]["mean"]) == 3 * 4
    report = (tmp_path / "out" / "report.md").read_text()
    assert "12 of 20 test examples of " in report


def test_backends_agree_on_an_analysis(hrm: Hrm, tiny_run: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    found = []
    for backend in ("mlx", "torch"):
        arguments = (
            "--figures",
            "residuals",
            "--limit",
            6,
            "--backend",
            backend,
            "--json",
            "--steps",
            1,
        )
        outcome = hrm("analyze", tiny_run, "--out", tmp_path / backend, *arguments)
        found.append(json.loads(outcome.out))
    mlx, torch = (each["residuals"]["curves"] for each in found)
    assert mlx.keys() == torch.keys()
    for name in ("H", "L", "untrained H", "untrained L"):
        np.testing.assert_allclose(mlx[name]["mean"], torch[name]["mean"], atol=1e-4)


def test_puzzles_are_typed_as_for_solve(hrm: Hrm, tiny_run: Path, tmp_path: Path) -> None:
    (tmp_path / "puzzles.txt").write_text(f"{PUZZLE}\n{PUZZLE[::-1]}\n")
    arguments = tmp_path / "puzzles.txt", "-", "--out", tmp_path / "out", "--figures", FEW
    outcome = hrm("analyze", tiny_run, *arguments, stdin=PUZZLE)
    assert outcome.status == 0, outcome.err
    numbers = json.loads((tmp_path / "out" / "numbers.json").read_text())
    assert numbers["puzzles"] == "3 puzzles as typed"
    assert {"conflicts", "refused"} < numbers["answers"].keys()
    assert "accuracy" not in numbers["answers"]
    assert "dimension" not in numbers


@pytest.mark.parametrize("control", ["untrained", "shuffled"])
def test_a_control_is_measured_instead(
    hrm: Hrm, tiny_run: Path, tmp_path: Path, control: str
) -> None:
    curves = {}
    for name, options in (("model", ()), ("control", ("--control", control))):
        arguments = "--limit", 8, "--figures", "residuals", "--out", tmp_path / name
        outcome = hrm("analyze", tiny_run, *arguments, "--json", *options)
        curves[name] = json.loads(outcome.out)["residuals"]["curves"]
    apart = np.subtract(curves["model"]["L"]["mean"], curves["control"]["L"]["mean"])
    assert np.abs(apart).max() > 0.05
    if control == "untrained":
        assert curves["control"]["L"] == curves["control"]["untrained L"]
    assert f"**Control: {control}.**" in (tmp_path / "control" / "report.md").read_text()


def test_mistakes_are_refused_before_anything_is_computed(
    refusal: Refusal, tiny_run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    out = "--out", tmp_path / "out"
    line = refusal("analyze", tiny_run, *out, "--figures", "residuals,spectra")
    assert line.startswith("--figures spectra: no such figure; known: residuals, trajectories,")
    line = refusal("analyze", tiny_run, PUZZLE, *out, "--data", tiny_data)
    assert line == "puzzles and --data are both given; leave out one of them"
    line = refusal("analyze", tiny_run, "12x4", *out)
    assert "12x4" in line
    line = refusal("analyze", "sudoku-9x9", *out)
    assert "does not say what it was trained on; name a data set with --data" in line
    line = refusal("analyze", "sudoku-9x9", *out, "--data", tiny_data)
    assert "does not fit" in line
    line = refusal("analyze", tiny_run, *out, "--identifier", "mine")
    assert line == "--identifier is for puzzles that are typed; leave it out"
    for alone in ([PUZZLE], ["--batch-size", 1]):
        line = refusal("analyze", tiny_run, *alone, *out, "--control", "shuffled")
        assert line.startswith("--control shuffled exchanges the states of a batch; ask two")
    line = refusal("analyze", tiny_run, "--out", tiny_run)
    assert line.endswith("is not empty; choose another --out or remove it first")
    assert not (tmp_path / "out").exists()


def test_a_process_shows_no_progress_where_nobody_watches(tiny_run: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hrm_cli", "analyze", str(tiny_run), PUZZLE]
    done = subprocess.run(
        [*command, "--out", "out", "--figures", "answers", "--svg"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("out/report.md\n", "")
    assert (tmp_path / "out" / "answers.svg").is_file()
