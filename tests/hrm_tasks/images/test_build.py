import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from hrm_core.data.label_tables import read_table
from hrm_core.data.store import Dataset
from hrm_core.errors import DataError
from hrm_core.tasks.picture_building import repeats_of
from hrm_core.tasks.pictures import FIRST_LABEL
from hrm_tasks.images.build import Options, build
from hrm_tasks.images.labels import table_labels

RNG = np.random.default_rng(1)


def pictures_of(folder: Path, *names: str, size: tuple[int, int] = (8, 8)) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, size, np.uint8)).save(path)
    return folder


def labels_of(folder: Path, *lines: str, columns: str | None = None) -> Any:
    (folder / "t.csv").write_text("\n".join(lines))
    return table_labels(read_table(folder / "t.csv"), columns)


def pixels_of(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_the_names_of_folders_are_labels_that_exclude_each_other(tmp_path: Path) -> None:
    names = [f"{label}/{number}.png" for label in ("dog", "cat", "owl") for number in range(5)]
    images = pictures_of(tmp_path / "p", *names)
    out = tmp_path / "out"
    record = build(out, Options(images=images, size="8")).record
    assert record["task_settings"]["labels"] == ["cat", "dog", "owl"]
    assert record["task_settings"]["exclusive"]
    assert (record["train_images"], record["test_images"]) == (12, 3)
    for line in (out / "images.csv").read_text().splitlines()[1:]:
        split, example, file, _ = line.split(",")
        examples = Dataset(out).split(split).sets["all"]
        expected = FIRST_LABEL + ["cat", "dog", "owl"].index(file.split("/")[0])
        assert examples.labels[int(example), -1] == expected
        np.testing.assert_array_equal(examples.images[int(example)], pixels_of(images / file))


def test_folders_above_the_labels_may_name_the_split(tmp_path: Path) -> None:
    names = [f"all/{split}/{label}/{split}.png" for split in ("train", "test") for label in "ab"]
    images = pictures_of(tmp_path / "p", *names)
    record = build(tmp_path / "out", Options(images=images)).record
    assert record["split_by"] == "split"
    assert record["task_settings"]["labels"] == ["a", "b"]
    assert (record["train_images"], record["test_images"]) == (2, 2)


def test_pictures_in_no_folder_need_a_table(tmp_path: Path) -> None:
    images = pictures_of(tmp_path / "p", "a.png", "x/b.png")
    with pytest.raises(DataError, match="lies in no folder that names its label"):
        build(tmp_path / "out", Options(images=images))
    with pytest.raises(DataError, match="--columns are those of --labels"):
        build(tmp_path / "out", Options(images=images, columns="a"))


def test_one_label_alone_is_refused(tmp_path: Path) -> None:
    images = pictures_of(tmp_path / "p", "x/a.png", "x/b.png")
    with pytest.raises(DataError, match="have the one label x; add pictures of another label"):
        build(tmp_path / "out", Options(images=images))


def test_a_column_of_names_gives_one_label_each(tmp_path: Path) -> None:
    named = labels_of(tmp_path, "file,label", "a,normal", "b,none", "c,normal")
    assert named.labels == ("none", "normal")
    assert named.exclusive
    np.testing.assert_array_equal(named.targets, [[0, 1], [1, 0], [0, 1]])


def test_names_with_bars_between_give_several_labels(tmp_path: Path) -> None:
    named = labels_of(tmp_path, "file,labels", "a,red|round", "b,none", "c,Red")
    assert named.labels == ("red", "round")
    assert not named.exclusive
    np.testing.assert_array_equal(named.targets, [[1, 1], [0, 0], [1, 0]])


def test_columns_of_0_and_1_give_several_labels(tmp_path: Path) -> None:
    lines = ("file,age,red,round,patient", "a,30,1,0,1", "b,31,,1,0")
    named = labels_of(tmp_path, *lines)
    assert named.labels == ("red", "round")
    np.testing.assert_array_equal(named.targets, [[1, 0], [-1, 1]])
    named = labels_of(tmp_path, *lines, columns="round")
    assert (named.labels, named.exclusive) == (("round",), False)
    named = labels_of(tmp_path, *lines, columns="age")
    assert (named.labels, named.exclusive) == (("30", "31"), True)


def test_a_column_called_label_holds_names_even_if_they_are_numbers(tmp_path: Path) -> None:
    named = labels_of(tmp_path, "file,label", "a,0", "b,1")
    assert (named.labels, named.exclusive) == (("0", "1"), True)


@pytest.mark.parametrize(
    ("lines", "columns", "found"),
    [
        (("file,age", "a,30"), None, "has no labels"),
        (("file,label", "a,"), None, "is empty"),
        (("file,red", "a,1"), "blue", "which is there not; the columns are file, red"),
        (("file,red", "a,1"), "red,red", "names 'red', which is there once"),
        (("file,red", "a,1"), ",", "names no column"),
        (("file,red,age", "a,1,30"), "red,age", r"t\.csv:2: age is '30'"),
    ],
)
def test_labels_that_are_not_there_are_refused(
    tmp_path: Path, lines: tuple[str, ...], columns: str | None, found: str
) -> None:
    with pytest.raises(DataError, match=found):
        labels_of(tmp_path, *lines, columns=columns)


def test_more_than_a_hundred_labels_are_refused(tmp_path: Path) -> None:
    images = pictures_of(tmp_path / "p", *(f"{number}.png" for number in range(102)), size=(2, 2))
    (tmp_path / "t.csv").write_text("file,label\n" + "".join(f"{n}.png,{n}\n" for n in range(102)))
    with pytest.raises(DataError, match=r"^102 labels, expected at most 100; leave rare ones out"):
        build(tmp_path / "out", Options(images=images, labels=tmp_path / "t.csv"))
    assert not (tmp_path / "out").exists()


def test_frames_are_chunks_of_an_example(tmp_path: Path) -> None:
    clips = [f"{way}/{clip}" for way in ("left", "right") for clip in range(4)]
    names = [f"{clip}/{frame}.png" for clip in clips for frame in range(3)]
    images = pictures_of(tmp_path / "p", *names)
    out = tmp_path / "out"
    record = build(out, Options(images=images, frames=3, size="8", patch=4)).record
    assert record["task_settings"]["labels"] == ["left", "right"]
    test = Dataset(out).split("test").sets["all"]
    assert test.images.shape == (2, 3, 8, 8)
    assert Dataset(out).metadata.num_chunks == 3
    lines = [line.split(",") for line in (out / "images.csv").read_text().splitlines()[1:]]
    for _, example, file, _ in (line for line in lines if line[0] == "test"):
        shown = [pixels_of(images / file / f"{frame}.png") for frame in range(3)]
        np.testing.assert_array_equal(test.images[int(example)], shown)
    with pytest.raises(DataError, match="has 3 frames, but an example has 2"):
        build(tmp_path / "two", Options(images=images, frames=2))
    with pytest.raises(DataError, match="frames are whole chunks"):
        build(tmp_path / "two", Options(images=images, frames=3, strips=2))


def test_strips_and_overview_are_chunks(tmp_path: Path) -> None:
    images = pictures_of(tmp_path / "p", *(f"{label}/{n}.png" for label in "ab" for n in range(5)))
    options = Options(images=images, size="8x16", strips=2, overview=True, patch=4)
    build(tmp_path / "out", options)
    data = Dataset(tmp_path / "out")
    assert (data.metadata.num_chunks, data.metadata.seq_len) == (3, 2 * 2 + 1)
    labels = data.split("train").sets["all"].labels.reshape(-1, 3, 5)
    assert (labels[:, :2] == 0).all()
    assert (labels[:, 2, 4] > 0).all()


def test_images_are_needed() -> None:
    with pytest.raises(ValidationError, match="images"):
        Options()


def test_rare_labels_are_repeated_until_they_weigh_as_much() -> None:
    targets = np.array([[1, 0]] * 12 + [[0, 0]] * 4 + [[1, 1]] * 3 + [[-1, 0]])
    # classes: 12 of the first label, 5 of none, 3 of the second, which is rarer
    expected = [1] * 12 + [2] * 4 + [4] * 3 + [2]
    np.testing.assert_array_equal(repeats_of(targets), expected)
    rare = np.array([[1, 0]] * 200 + [[0, 1]])
    assert repeats_of(rare)[-1] == 50
    assert repeats_of(rare)[:-1].max() == 1


def test_names_that_are_not_utf_8_are_escaped(tmp_path: Path) -> None:
    odd = os.fsdecode(b"\xff")
    try:
        images = pictures_of(tmp_path / "p", *(f"{name}/{name}.png" for name in (odd, "b")))
    except OSError:
        pytest.skip("the file system takes names in UTF-8 only")
    build(tmp_path / "out", Options(images=images, test_share=0))
    record = json.loads((tmp_path / "out" / "build.json").read_text(encoding="utf-8"))
    assert record["task_settings"]["labels"] == ["\\xff", "b"]
    assert "\\xff/\\xff.png" in (tmp_path / "out" / "images.csv").read_text(encoding="utf-8")
