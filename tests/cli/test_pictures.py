"""Pictures that commands draw, on request: sheets, numbers, GIFs."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hrm_core.pictures.grids import PAINTS, Mark

Hrm = Callable[..., Any]
Refusal = Callable[..., str]
PUZZLE = "1... ..2. .3.. ...4"


@pytest.fixture(scope="module")
def arc(tmp_path_factory: pytest.TempPathFactory, hrm: Hrm, tiny_config: Path) -> Path:
    """A folder with 23 `tasks`, `data` of them, and `run`, hardly trained on it."""
    folder = tmp_path_factory.mktemp("arc")
    (folder / "tasks" / "evaluation").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(23):
        pairs = [
            {"input": grid.tolist(), "output": grid.T.tolist()}
            for grid in rng.integers(0, 10, (4, 3, 4))
        ]
        task = {"train": pairs[:2], "test": pairs[2:]}
        (folder / "tasks" / "evaluation" / f"task{number:02}.json").write_text(json.dumps(task))
    assert (
        hrm(
            "data",
            "arc",
            folder / "data",
            "--tasks",
            folder / "tasks",
            "--canvas",
            4,
            "--augment",
            2,
        ).status
        == 0
    )
    small = ["--set", "train.global_batch_size=2", "--max-updates", 1, "--device", "cpu"]
    assert (
        hrm("train", tiny_config, "--data", folder / "data", "--run", folder / "run", *small).status
        == 0
    )
    return folder


def pixels(path: Path) -> Any:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), int)


def num_crimson(path: Path) -> int:
    return int((pixels(path) == PAINTS[Mark.WRONG].fill).all(axis=-1).sum())


def test_eval_draws_its_mistakes(hrm: Hrm, tiny_run: Path, tmp_path: Path) -> None:
    outcome = hrm("eval", tiny_run, "--limit", 15, "--sheet", tmp_path / "one.png", "--rows", 1)
    assert (outcome.status, outcome.err) == (0, "")
    assert (
        hrm("eval", tiny_run, "--limit", 15, "--sheet", tmp_path / "many.png", "--json").status == 0
    )
    assert 1000 < num_crimson(tmp_path / "one.png") < num_crimson(tmp_path / "many.png")
    assert pixels(tmp_path / "many.png").shape[0] > pixels(tmp_path / "one.png").shape[0]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            ["eval", "RUN", "--sheet", "/nope/s.png"],
            "cannot write /nope/s.png: there is no folder /nope; make it first",
        ),
        (["eval", "RUN", "--halt", "both", "--sheet", "s.png"], "choose fixed or q to write s.png"),
        (["eval", "RUN", "--sheet", "s.png", "--digits"], "--digits is for ARC, "),
        (
            ["data", "inspect", "DATA", "--sheet", "/nope/s.png"],
            "cannot write /nope/s.png: there is no folder /nope; make it first",
        ),
        (["data", "inspect", "DATA", "--sheet", "s.png", "--digits"], "is sudoku; leave it out"),
        (["solve", "RUN", PUZZLE, "--digits"], "--digits is for ARC, "),
        (
            ["solve", "RUN", PUZZLE, "--gif", "/nope/s.gif"],
            "cannot write /nope/s.gif: there is no folder /nope; make it first",
        ),
        (
            ["solve", "RUN", PUZZLE, "--png", "s.jpg"],
            "cannot write s.jpg: expected a name that ends in .png",
        ),
        (
            ["eval", "RUN", "--sheet", "s.pdf"],
            "cannot write s.pdf: expected a name that ends in .png",
        ),
        (
            ["plot", "RUN", "--out", "/nope/c.png"],
            "cannot write /nope/c.png: there is no folder /nope; make it first",
        ),
        (
            ["plot", "RUN", "--out", "c.pdf"],
            "cannot write c.pdf: expected a name that ends in .png",
        ),
        (["plot", "RUN", "--out", "LOG"], "log.jsonl: expected a name that ends in .png"),
        (
            ["eval", "RUN", "--save-predictions", "PIPE"],
            "pipe: it is there and no ordinary file; choose another name",
        ),
        (
            ["solve", "RUN", "IMAGE"],
            "is no text; expected a puzzle as text, or a maze as a file that ends in .png",
        ),
    ],
)
def test_picture_that_cannot_be_had_is_refused_before_the_work(
    refusal: Refusal,
    tiny_run: Path,
    tiny_data: Path,
    tmp_path: Path,
    command: list[str],
    message: str,
) -> None:
    places = {
        "RUN": tiny_run,
        "DATA": tiny_data,
        "LOG": tiny_run / "log.jsonl",
        "PIPE": tmp_path / "pipe",
        "IMAGE": tmp_path / "image",
    }
    os.mkfifo(places["PIPE"])
    Image.new("RGB", (8, 8)).save(places["IMAGE"], "png")
    assert message in refusal(*[places.get(word, word) for word in command])
    assert places["PIPE"].is_fifo()


def test_gif_has_a_frame_for_the_question_and_each_step(
    hrm: Hrm, tiny_run: Path, tmp_path: Path
) -> None:
    hrm("solve", tiny_run, PUZZLE, "--halt", "fixed", "--gif", tmp_path / "x.gif")
    with Image.open(tmp_path / "x.gif") as gif:
        assert gif.n_frames == 1 + 2
        times = []
        for index in range(gif.n_frames):
            gif.seek(index)
            times.append(gif.info["duration"])
    assert times[-1] > 2 * max(times[:-1])


def test_digits_are_drawn_by_every_command(hrm: Hrm, arc: Path, tmp_path: Path) -> None:
    task = arc / "tasks" / "evaluation" / "task00.json"
    commands = {
        "sheet.png": ["data", "inspect", arc / "data", "--sheet"],
        "eval.png": ["eval", arc / "run", "--limit", "3", "--sheet"],
        "solve.png": ["solve", arc / "run", task, "--png"],
        "solve.gif": ["solve", arc / "run", task, "--gif"],
    }
    for name, command in commands.items():
        for prefix, more in (("plain", []), ("digits", ["--digits"])):
            assert hrm(*command, tmp_path / f"{prefix}-{name}", *more).status in (0, 1)
        plain, digits = pixels(tmp_path / f"plain-{name}"), pixels(tmp_path / f"digits-{name}")
        assert plain.shape == digits.shape
        assert 0.001 < (plain != digits).any(axis=-1).mean() < 0.3


def test_arc_is_evaluated_task_by_task(hrm: Hrm, arc: Path) -> None:
    tasks = json.loads(hrm("eval", arc / "run", "--json").out)["tasks"]
    assert list(tasks) == [f"task{number:02}" for number in range(23)]
    for task in tasks.values():
        assert [each["answers"] for each in task["inputs"]] == [
            3,
            3,
        ]  # the task and its two augmentations
        assert all((each["rank"] is None) == (each["votes"] == 0) for each in task["inputs"])
        assert (task["rank"] is None) == any(each["rank"] is None for each in task["inputs"])
    shown = hrm("eval", arc / "run").out
    assert "task02       no               0 of 2         6               0" in shown
    assert "and 3 more, 0 of them solved; --json lists all" in shown
