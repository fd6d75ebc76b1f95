"""`hrm convert` from puzzles to pictures and back: the levels stay, patches are new."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hrm_core.data.writer import Examples, Layout, write_dataset
from hrm_core.parameters import initial_values, parameter_table
from hrm_core.runs.checkpoint import find_model, load_model
from hrm_core.tasks.pictures import PictureSettings
from hrm_tasks.images.task import Images

Hrm = Callable[..., Any]
Refusal = Callable[..., str]
FIXED = ("--set", "model.halting=fixed", "--set", "model.halt_max_steps=2")
PATCHES = "embed_patches.weight"


def pictures(folder: Path, **settings: Any) -> Path:
    """Write a data set of dark and bright pictures of 8x8."""
    task = Images(PictureSettings(labels=("bright",), size=(8, 8), **settings))
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8), np.uint8)
    tokens, shown = task.questions(images)
    labels = task.answers((images.mean(axis=(1, 2)) > 127)[:, None].astype(np.int64))
    layout = Layout(task.vocab_size, task.seq_len, ignore_label_id=0, num_chunks=task.num_chunks)
    block = Examples(tokens, labels, images=shown)
    record = {"task": task.name, "task_settings": dict(task.settings)}
    write_dataset(folder, layout, {"train": {"all": [block]}, "test": {"all": [block]}}, record)
    return folder


@pytest.mark.parametrize(
    "looks", [{"patch": 4}, {"patch": 2, "strips": 2}, {"patch": 4, "pixels": True}]
)
def test_levels_are_kept_under_pictures(
    hrm: Hrm, tiny_run: Path, tmp_path: Path, looks: dict[str, Any]
) -> None:
    data, there = pictures(tmp_path / "data", **looks), tmp_path / "there"
    outcome = hrm(
        "convert", tiny_run, there, "--to", "checkpoint", "--data", data, *FIXED, "--json"
    )
    assert outcome.status == 0, outcome.err
    before, after = load_model(find_model(tiny_run)), load_model(find_model(there))
    levels = [name for name in before.weights if "_level." in name]
    assert levels
    for name in levels:
        assert np.array_equal(before.weights[name], after.weights[name]), name
    assert (PATCHES in after.weights) == ("pixels" not in looks)
    if PATCHES in after.weights:
        fresh = initial_values(after.config, 0)[PATCHES]
        assert np.array_equal(after.weights[PATCHES], fresh)
        (row,) = [each for each in json.loads(outcome.out)["rows"] if each["name"] == PATCHES]
        assert row["actions"] == ["new: drawn from seed 0"]
    assert after.weights.keys() == parameter_table(after.config).keys()
    outcome = hrm("eval", there, "--data", data, "--device", "cpu")
    assert outcome.status == 0, outcome.err


def test_puzzles_again_leave_the_patches_out(
    hrm: Hrm, tiny_run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    there, back = tmp_path / "there", tmp_path / "back"
    data = pictures(tmp_path / "data", patch=4)
    assert hrm("convert", tiny_run, there, "--to", "checkpoint", "--data", data).status == 0
    outcome = hrm("convert", there, back, "--to", "checkpoint", "--data", tiny_data)
    assert outcome.status == 0, outcome.err
    assert "left out: the new data has no pictures" in outcome.out
    config = load_model(find_model(back)).config
    assert (config.patch_size, config.image_size, config.num_chunks) == (None, None, 1)


def test_patches_of_another_size_are_new(hrm: Hrm, tiny_run: Path, tmp_path: Path) -> None:
    there, again = tmp_path / "there", tmp_path / "again"
    first = pictures(tmp_path / "first", patch=4)
    second = pictures(tmp_path / "second", patch=2)
    assert hrm("convert", tiny_run, there, "--to", "checkpoint", "--data", first).status == 0
    outcome = hrm("convert", there, again, "--to", "checkpoint", "--data", second)
    assert outcome.status == 0, outcome.err
    assert "drawn from seed 0: patches of 2, not 4" in outcome.out


def test_results_of_models_that_look_otherwise_are_not_compared(
    refusal: Refusal, tiny_run: Path, tmp_path: Path
) -> None:
    data = pictures(tmp_path / "data", patch=4)
    found = refusal(
        "convert", tiny_run, tmp_path / "x", "--to", "checkpoint", "--data", data, "--verify"
    )
    assert "image_size=None, of the other (8, 8); leave out --verify" in found
    assert not (tmp_path / "x").exists()
