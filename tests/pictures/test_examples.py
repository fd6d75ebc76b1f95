"""The scripts of docs/examples write the data that docs/directions.md says, and its commands run."""

import csv
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
FEW = ("--train", "48", "--test", "16")
SHORT = ("--max-updates", "6", "--set", "train.global_batch_size=16", "--device", "cpu")


def module(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def written(name: str, out: Path, *options: str) -> list[dict[str, str]]:
    """Run a script. Returns: the lines of its table."""
    command = [sys.executable, EXAMPLES / f"{name}.py", out, *FEW, *options]
    subprocess.run(command, check=True)
    with (out / "labels.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def trained(hrm: Callable[..., Any], preset: str, data: Path, run: Path) -> list[dict[str, Any]]:
    """Train for a moment. Returns: the log of the run."""
    outcome = hrm("train", preset, "--data", data, "--run", run, *SHORT)
    assert outcome.status == 0, outcome.err
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def place(frame: Any) -> Any:
    """The corner of the square: where a window of its size is brightest, sides joined."""
    windows = sum(np.roll(frame, (-y, -x), (0, 1)) for y in range(4) for x in range(4))
    return np.array(np.unravel_index(windows.argmax(), frame.shape))


def test_the_square_moves_as_its_label_says(hrm: Callable[..., Any], tmp_path: Path) -> None:
    lines = written("moving_square", tmp_path / "clips")
    ways = {"up": (-4, 0), "down": (4, 0), "left": (0, -4), "right": (0, 4)}
    for line in lines:
        paths = sorted((tmp_path / "clips" / line["file"]).iterdir())
        places = [place(np.asarray(Image.open(path), np.int64)) for path in paths]
        moves = np.diff(places, axis=0)
        assert (((moves - ways[line["label"]]) % 12) == 0).all(), line
    given = ["--labels", tmp_path / "clips" / "labels.csv", "--frames", 3, "--size", 12]
    data = tmp_path / "data"
    outcome = hrm("data", "images", data, "--images", tmp_path / "clips", *given, "--patch", 4)
    assert outcome.status == 0, outcome.err
    log = trained(hrm, "images-video", data, tmp_path / "run")
    assert {record["steps"] for record in log if record["kind"] == "eval"} == {3.0}


def test_one_frame_alone_says_nothing_of_the_way() -> None:
    frames, ways = module("moving_square").videos(np.random.default_rng(0), 8000)
    for way in ("up", "down", "left", "right"):
        chosen = frames[np.array(ways) == way].astype(float)
        means = chosen.mean(axis=0)  # (C, S, S): the square is as often in each place
        assert np.abs(means - means.mean()).max() < 5 * chosen.std() / np.sqrt(len(chosen))
    moved = np.roll(frames[:, 1], 4, axis=2) - frames[:, 2].astype(float)
    still = np.abs(moved).mean(axis=(1, 2))
    assert still[np.array(ways) == "right"].max() < still[np.array(ways) != "right"].min()


def test_some_pictures_have_a_small_mark(hrm: Callable[..., Any], tmp_path: Path) -> None:
    draw = module("small_mark").picture
    for seed in range(50):
        with_mark, without = (draw(np.random.default_rng(seed), has) for has in (True, False))
        differs = np.argwhere(with_mark != without)
        assert len(differs) == 25
        assert (np.ptp(differs, axis=0) == 4).all()  # 5 x 5 in one place
        assert with_mark.shape == (24, 72)
    marks, written_lines = tmp_path / "marks", written("small_mark", tmp_path / "marks")
    assert {line["mark"] for line in written_lines} == {"0", "1"}
    given = ["--labels", marks / "labels.csv", "--size", "24x72", "--patch", 8, "--strips", 3]
    for preset, more, steps in (("images-strips", [], 3), ("images-overview", ["--overview"], 4)):
        data = tmp_path / preset
        outcome = hrm("data", "images", data, "--images", marks, *given, *more)
        assert outcome.status == 0, outcome.err
        log = trained(hrm, preset, data, tmp_path / f"run-{preset}")
        assert {record["steps"] for record in log if record["kind"] == "eval"} == {float(steps)}


def test_the_brighter_half_is_named_and_its_file_can_be_built(
    hrm: Callable[..., Any], tmp_path: Path
) -> None:
    source = {}
    for seed, part in enumerate(("train", "val")):
        pictures = np.random.default_rng(seed).integers(60, 190, (40, 28, 28), np.uint8)
        pictures[:, :, [0, 27]] = 128  # grey at both sides: the offsets can be read there
        source[f"{part}_images"] = pictures
    np.savez(tmp_path / "source.npz", **source)
    program = [sys.executable, EXAMPLES / "brighter_half.py", tmp_path / "source.npz"]
    subprocess.run([*program, tmp_path / "both.npz"], check=True)
    subprocess.run([*program, tmp_path / "left.npz", "--keep", "left"], check=True)
    both, left = np.load(tmp_path / "both.npz"), np.load(tmp_path / "left.npz")
    images = both["train_images"].astype(int)
    differences = images[:, 0, 0] - images[:, 0, 27]
    clear = np.abs(differences) > 1
    assert clear.sum() > 30
    assert (both["train_labels"][clear, 0] == (differences[clear] > 0)).all()
    assert (left["train_images"] == both["train_images"][:, :, :14]).all()
    given = ["--npz", tmp_path / "both.npz", "--findings", "Left_brighter", "--strips", 2]
    outcome = hrm("data", "xray", tmp_path / "data", *given, "--augment", 0)
    assert outcome.status == 0, outcome.err
    log = trained(hrm, "xray-28-halves", tmp_path / "data", tmp_path / "run")
    assert {record["steps"] for record in log if record["kind"] == "eval"} == {2.0}


@pytest.mark.parametrize("name", ["moving_square", "small_mark"])
def test_scripts_leave_a_folder_that_is_there_alone(name: str, tmp_path: Path) -> None:
    command = [sys.executable, EXAMPLES / f"{name}.py", tmp_path, *FEW]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("is already there; choose a new folder")
    assert list(tmp_path.iterdir()) == []
