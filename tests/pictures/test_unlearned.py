"""Labels that training shows in one class alone are left out of what a model says."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hrm_core.data.store import Dataset
from hrm_core.tasks.picture_sheets import shown
from hrm_core.tasks.pictures import Judgement
from hrm_core.tasks.registry import task_of_shape

Hrm = Callable[..., Any]
TRAIN = ("--max-updates", 2, "--set", "train.global_batch_size=8", "--device", "cpu")


@pytest.fixture(scope="module")
def run(hrm: Hrm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of three findings, of which training shows Edema in both classes alone."""
    folder = tmp_path_factory.mktemp("unlearned")
    images = np.random.default_rng(0).integers(0, 256, (12, 28, 28), np.uint8)
    targets = np.zeros((12, 3), int)
    targets[::2, 0] = 1  # Edema; Mass is always absent
    targets[:, 2] = 1  # Hernia is always present
    parts = {"train": slice(0, 8), "val": slice(8, 12)}
    arrays = {f"{name}_images": images[part] for name, part in parts.items()}
    arrays |= {f"{name}_labels": targets[part] for name, part in parts.items()}
    np.savez(folder / "a.npz", **arrays)
    Image.fromarray(images[0]).save(folder / "a.png")
    words = ("--npz", folder / "a.npz", "--findings", "Edema,Mass,Hernia", "--augment", 0)
    with pytest.warns(UserWarning, match="only one class of Mass, Hernia"):
        assert hrm("data", "xray", folder / "data", *words).status == 0
    made = hrm("train", "xray-28", "--data", folder / "data", "--run", folder / "run", *TRAIN)
    assert made.status == 0, made.err
    return folder


def test_labels_of_one_class_are_recorded(run: Path) -> None:
    settings = json.loads((run / "data" / "build.json").read_text())["task_settings"]
    assert settings["unlearned"] == ["Mass", "Hernia"]


def test_prediction_leaves_them_out_and_says_so(hrm: Hrm, run: Path) -> None:
    outcome = hrm("predict", run / "run", run / "a.png")
    assert outcome.status == 0, outcome.err
    bars, _, rest = outcome.out.partition("Not learned, training did not show them: Mass, Hernia.")
    assert "Edema" in bars
    assert "Mass" not in bars
    assert rest.strip() == "For research, not for diagnosis."
    record = json.loads(hrm("predict", run / "run", run / "a.png", "--json").out)
    assert list(record["pictures"][0]["chances"]) == ["Edema"]
    assert record["unlearned"] == ["Mass", "Hernia"]


def test_they_are_not_explained(
    hrm: Hrm, refusal: Callable[..., str], run: Path, tmp_path: Path
) -> None:
    words = ("predict", run / "run", run / "a.png", "--explain", tmp_path / "a.png")
    found = refusal(*words, "--label", "Hernia")
    assert "'Hernia' is no finding that this model learned; it knows Edema" in found
    outcome = hrm(*words, "--json")
    assert json.loads(outcome.out)["pictures"][0]["evidence"]["label"] == "Edema"


def test_sheets_say_nothing_of_them() -> None:
    chances = np.array([[0.2, 0.9, 0.8]])
    truth = np.array([[0, 0, -1]])
    judged = Judgement(chances, truth, np.zeros((1, 3)), exclusive=False)
    labels, pictures = ["Edema", "Mass", "Hernia"], np.zeros((1, 4, 4), np.uint8)
    (found,) = shown(pictures, ["a"], labels, truth, judged, np.array([0]))
    assert found.caption.splitlines()[-1] == "said: Edema (20%)"
    (every,) = shown(pictures, ["a"], labels, truth, judged, np.arange(3))
    assert "Mass (90%)" in every.caption


def test_data_that_shows_other_labels_is_of_the_same_task(hrm: Hrm, run: Path) -> None:
    """A test set alone does not know what was learned."""
    with np.load(run / "a.npz") as arrays:
        np.savez(
            run / "test.npz", test_images=arrays["val_images"], test_labels=arrays["val_labels"]
        )
    words = ("--npz", run / "test.npz", "--findings", "Edema,Mass,Hernia")
    with pytest.warns(UserWarning, match="only one class"):
        assert hrm("data", "xray", run / "test", *words).status == 0
    data = Dataset(run / "test")
    sizes = data.metadata.sizes
    task = task_of_shape(sizes.vocab_size, sizes.seq_len, data.label or "")
    assert task is not None
    assert task.settings["unlearned"] == []
    outcome = hrm("eval", run / "run", "--data", run / "test", "--device", "cpu")
    assert outcome.status == 0, outcome.err
