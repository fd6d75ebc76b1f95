"""Pictures with their labels as captions: `hrm data inspect --sheet`, `hrm eval --sheet`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made import task_of, write_pictures
from PIL import Image

from hrm_core.data.store import Dataset
from hrm_core.inference.pages import dataset_sheet
from hrm_core.tasks.capabilities import Captioned, Drawable
from hrm_core.tasks.picture_scores import Judgement, log_odds
from hrm_core.tasks.picture_sheets import FRAME_GAP, mistakes, photo, said_text, shown, truth_text


def judged(chances: Any, truth: Any, exclusive: bool = False) -> Judgement:
    found = np.array(chances, float)
    return Judgement(found, np.array(truth), log_odds(found, 1 - found), exclusive)


def test_pictures_are_captioned_not_drawable() -> None:
    task = task_of()
    assert isinstance(task, Captioned)
    assert not isinstance(task, Drawable)


def test_examples_are_shown_with_file_copy_and_truth(tmp_path: Path) -> None:
    task = task_of()
    made = write_pictures(tmp_path / "data", task, num_train=10, num_test=4, copies=3)
    data = Dataset(tmp_path / "data")
    shown = task.show(data, data.split("train"), np.array([0, 5, 29]))
    lines = [each.caption.split("\n") for each in shown]
    assert [each[0] for each in lines] == [
        "train/000.png",
        "train/001.png, copy 2",
        "train/009.png, copy 2",
    ]
    for each, (_, truth), row in zip(shown, lines, [0, 1, 9], strict=True):
        targets = made["train"].targets[row]
        names = [name for name, value in zip(task.labels, targets, strict=True) if value == 1]
        assert truth.startswith(f"true: {', '.join(names) or 'none'}")
        pixels = np.array(each.picture.convert("L"))
        np.testing.assert_array_equal(pixels[10::20, 10::20], made["train"].pictures[row])


def test_small_pictures_grow_by_whole_factors_and_large_ones_shrink() -> None:
    assert photo(np.zeros((28, 28), np.uint8)).size == (224, 224)
    assert photo(np.zeros((480, 240), np.uint8)).size == (120, 240)
    frames = np.stack([np.full((10, 10), value, np.uint8) for value in (0, 100, 200)])
    side_by_side = photo(frames)
    assert side_by_side.size == (3 * 240 + 2 * FRAME_GAP, 240)
    assert [side_by_side.getpixel((x, 5)) for x in (5, 249, 493)] == [
        (value, value, value) for value in (0, 100, 200)
    ]
    assert photo(np.zeros((16, 10, 10), np.uint8)).width == 16 * 60 + 15 * FRAME_GAP


def test_the_most_confident_mistake_comes_first() -> None:
    said = judged(
        [[0.9, 0.1], [0.2, 0.95], [0.45, 0.1], [0.99, 0.99]], [[1, 0], [0, 0], [1, 0], [-1, 1]]
    )
    np.testing.assert_allclose(mistakes(said), [0, 0.95, 0.55, 0])
    classes = judged([[0.7, 0.2, 0.1], [0.4, 0.35, 0.25]], [[0, 1, 0], [1, 0, 0]], exclusive=True)
    np.testing.assert_allclose(mistakes(classes), [0.7, 0])


def test_captions_name_wrong_answers_first() -> None:
    labels = ["a", "b", "c", "d"]
    chances, truth = np.array([0.6, 0.1, 0.99, 0.3]), np.array([0, 1, 1, 0])
    assert said_text(labels, chances, truth) == "said: b (10%), a (60%), c (99%)"
    assert truth_text(labels, truth) == "true: b, c"
    assert truth_text(labels, np.array([0, -1, 0, -1])) == "true: none (2 unknown)"


def test_of_exclusive_labels_the_likeliest_stands_first() -> None:
    said = judged([[0.2, 0.7, 0.1]], [[0, 0, 1]], exclusive=True)
    pictures = np.zeros((1, 8, 8), np.uint8)
    (found,) = shown(pictures, ["x.png"], ["a", "b", "c"], said.truth, said, np.arange(3))
    assert found.caption == "x.png\ntrue: c\nsaid: b (70%), a (20%), c (10%)"


def test_ranked_leaves_out_copies(trained: Any) -> None:
    from test_comparison import guessed

    data = Dataset(trained.data)
    targets = np.repeat(trained.drawn["train"].targets, 2, axis=0)
    wrong, others = trained.task.ranked(data, data.split("train"), guessed(trained.task, targets))
    assert sorted([*wrong, *others]) == list(range(0, 192, 2))
    assert len(wrong) > 5
    assert len(others) > 5


@pytest.mark.parametrize("settings", [{}, {"frames": 3}, {"exclusive": True}, {"pixels": True}])
def test_a_sheet_of_every_kind_of_picture(settings: dict[str, Any], tmp_path: Path) -> None:
    task = task_of("images", **settings)
    write_pictures(tmp_path / "data", task, num_train=10, num_test=4)
    dataset_sheet(Dataset(tmp_path / "data"), task, tmp_path / "sheet.png", 3)
    with Image.open(tmp_path / "sheet.png") as page:
        dark = np.asarray(page.convert("L")) < 120  # the noise of pictures; words are thin
    assert dark.sum() > 6 * 20_000


def test_commands_draw_sheets(
    trained: Any, hrm: Callable[..., Any], refusal: Callable[..., str], tmp_path: Path
) -> None:
    status, _, err = hrm("data", "inspect", trained.data, "--sheet", tmp_path / "data.png")
    assert status == 0, err
    status, _, err = hrm(
        "eval", trained.run, "--sheet", tmp_path / "wrong.png", "--rows", 4, "--limit", 20
    )
    assert status == 0, err
    for name in ("data.png", "wrong.png"):
        with Image.open(tmp_path / name) as page:
            assert page.width > 800
    error = refusal("eval", trained.run, "--sheet", tmp_path / "x.png", "--digits", "--limit", 5)
    assert error.startswith("--digits is for ARC")
    assert not (tmp_path / "x.png").exists()
