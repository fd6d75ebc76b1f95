import csv
import json
import random
import tracemalloc
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from hrm_core.data.picture_arrays import ArrayPictures
from hrm_core.data.store import Dataset
from hrm_core.errors import DataError, HRMError
from hrm_core.tasks import picture_building
from hrm_core.tasks.building import Built
from hrm_core.tasks.picture_building import copies_of
from hrm_core.tasks.pictures import ABSENT, PRESENT
from hrm_tasks.xray.build import Options, build


def arrays(count: int, seed: int = 0, findings: int = 1, **changes: Any) -> dict[str, np.ndarray]:
    """Arrays of a file of MedMNIST: noise, and random labels of which both values occur."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, (count, findings))
    labels[0], labels[1] = 0, 1
    return {"images": rng.integers(0, 256, (count, 28, 28), np.uint8), "labels": labels, **changes}


def npz_of(path: Path, **splits: dict[str, np.ndarray]) -> Path:
    named = {
        f"{split}_{key}": array for split, part in splits.items() for key, array in part.items()
    }
    np.savez_compressed(path, **named)
    return path


def built(out: Path, **options: Any) -> tuple[Built, Dataset]:
    """Build without copies, unless they are asked for."""
    result = build(out, Options(**{"augment": 0, **options}))
    return result, Dataset(out)


def listed(out: Path) -> list[dict[str, str]]:
    with (out / "images.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_pneumoniamnist_is_built_as_it_lies_in_its_file(tmp_path: Path, xray_dir: Path) -> None:
    pneumonia = xray_dir / "pneumoniamnist_28_trainval.npz"
    result, data = built(tmp_path / "out", npz=pneumonia)
    source = np.load(pneumonia)
    test, train = data.split("test").sets["all"], data.split("train").sets["all"]
    assert data.label is not None
    assert data.label.startswith("xray")
    np.testing.assert_array_equal(test.images, source["val_images"], strict=True)
    expected = np.where(source["val_labels"][:, 0], PRESENT, ABSENT)
    np.testing.assert_array_equal(test.labels[:, -1], expected)
    assert (test.labels[:, :-1] == 0).all()
    labels = source["train_labels"][:, 0].astype(int)
    repeats = np.where(labels == 1, 1, round(3494 / 388))
    np.testing.assert_array_equal(train.images, np.repeat(source["train_images"], repeats, axis=0))
    assert result.record["train_labels"]["Pneumonia"] == {
        "present": 3494,
        "absent": 388,
        "unknown": 0,
    }
    seen = {picture.tobytes() for picture in source["train_images"]}
    trained_too = sum(picture.tobytes() in seen for picture in source["val_images"])
    assert result.record["test_images_in_training"] == trained_too > 0
    assert any("also trained on" in warning for warning in result.warnings)
    assert result.summary.endswith("for research, not for diagnosis")


def test_images_are_listed_with_the_row_of_their_first_copy(tmp_path: Path) -> None:
    labels = np.array([[1], [0], [1], [1], [1]])
    source = arrays(5, labels=labels)
    path = npz_of(tmp_path / "a.npz", train=source, val=arrays(4, 1))
    _, data = built(tmp_path / "out", npz=path, findings="Mass", augment=2)
    train = data.split("train").sets["all"]
    rows = listed(tmp_path / "out")
    assert list(rows[0]) == ["split", "example", "file", "patient"]
    firsts = [int(row["example"]) for row in rows if row["split"] == "train"]
    assert firsts == [0, 3, 15, 18, 21]  # the only picture without is shown 4 times, in 3 copies
    np.testing.assert_array_equal(train.images[firsts], source["images"], strict=True)
    assert [row["file"] for row in rows][:2] == ["train_images[0]", "train_images[1]"]
    assert [int(row["example"]) for row in rows if row["split"] == "test"] == [0, 1, 2, 3]


def test_copies_are_further_puzzles_of_the_group_of_their_picture(tmp_path: Path) -> None:
    path = npz_of(tmp_path / "a.npz", train=arrays(6), val=arrays(4, 1))
    _, data = built(tmp_path / "out", npz=path, findings="Mass", augment=3, balance=False)
    train, test = data.split("train").sets["all"], data.split("test").sets["all"]
    np.testing.assert_array_equal(train.group_indices, np.arange(7) * 4)
    np.testing.assert_array_equal(train.puzzle_indices, np.arange(25))
    assert len(test) == 4
    shown = np.array(train.images).reshape(6, 4, 28, 28)
    assert len({picture.tobytes() for picture in shown.reshape(24, 28, 28)}) == 24
    labels = train.labels[:, -1].reshape(6, 4)
    assert (labels == labels[:, :1]).all()


@pytest.mark.parametrize(
    ("count", "side", "expected"),
    [(6_986, 28, 8), (300, 224, 8), (1_000, 224, 4), (20_000, 224, 0), (0, 28, 8)],
)
def test_copies_that_nobody_asked_for_take_at_most_256_mb(
    count: int, side: int, expected: int
) -> None:
    assert copies_of(count, (side, side)) == expected
    assert count * side**2 * (1 + expected) <= 2**28 or expected == 0


def test_x_rays_get_copies_by_default(tmp_path: Path) -> None:
    path = npz_of(tmp_path / "a.npz", train=arrays(6), val=arrays(4, 1))
    result, data = built(tmp_path / "out", npz=path, findings="Mass", augment=None, balance=False)
    assert len(data.split("train").sets["all"]) == 6 * 9
    assert result.record["augment"] == 8


def test_repeats_of_a_picture_have_other_copies(tmp_path: Path) -> None:
    source = arrays(5, labels=np.array([[1], [0], [1], [1], [1]]))
    path = npz_of(tmp_path / "a.npz", train=source, val=arrays(4, 1))
    _, data = built(tmp_path / "out", npz=path, findings="Mass", augment=1)
    images = data.split("train").sets["all"].images
    assert images is not None
    shown = np.array(images[2:10])
    np.testing.assert_array_equal(shown[0], source["images"][1])
    assert (shown[::2] == shown[0]).all()
    assert len({picture.tobytes() for picture in shown[1::2]}) == 4


def test_equal_options_give_equal_bytes_and_another_seed_others(tmp_path: Path) -> None:
    path = npz_of(tmp_path / "a.npz", train=arrays(6), val=arrays(4, 1))
    hashes = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        _, data = built(tmp_path / name, npz=path, findings="Mass", augment=1, seed=seed)
        hashes.append(data.sha256)
    assert hashes[0] == hashes[1] != hashes[2]


def test_the_official_test_stays_out_unless_it_is_asked_for(tmp_path: Path) -> None:
    parts = {"train": arrays(6), "val": arrays(4, 1), "test": arrays(5, 2)}
    path = npz_of(tmp_path / "a.npz", **parts)
    result, data = built(tmp_path / "val", npz=path, findings="Mass")
    np.testing.assert_array_equal(data.split("test").sets["all"].images, parts["val"]["images"])
    assert any("5 images of test stay out" in warning for warning in result.warnings)
    result, data = built(tmp_path / "test", npz=path, findings="Mass", test_on="test")
    np.testing.assert_array_equal(data.split("test").sets["all"].images, parts["test"]["images"])
    assert result.record["unused_images"] == 4
    assert any("4 images of val stay out" in warning for warning in result.warnings)
    assert not any("--test-on" in warning for warning in result.warnings)


def test_a_file_of_test_images_alone_is_a_data_set_without_training(tmp_path: Path) -> None:
    path = npz_of(tmp_path / "a.npz", test=arrays(5))
    result, data = built(tmp_path / "out", npz=path, findings="Mass")
    assert data.splits == ["test"]
    assert result.record["test_images"] == 5


def test_the_findings_of_chestmnist_are_known_and_can_be_chosen(tmp_path: Path) -> None:
    source = arrays(6, findings=14)
    path = npz_of(tmp_path / "chestmnist_28.npz", train=source, val=arrays(4, 1, findings=14))
    result, data = built(tmp_path / "out", npz=path, findings="hernia, pleural thickening")
    assert result.record["task_settings"]["labels"] == ["Hernia", "Pleural_Thickening"]
    rows = [int(row["example"]) for row in listed(tmp_path / "out") if row["split"] == "train"]
    found = data.split("train").sets["all"].labels[rows, -2:]
    np.testing.assert_array_equal(found == PRESENT, source["labels"][:, [13, 12]] == 1)
    result, _ = built(tmp_path / "all", npz=path, findings="all")
    assert result.record["train_labels"]["Fracture"]["unknown"] == 6


def test_colour_is_made_grey_and_counted(tmp_path: Path) -> None:
    grey = arrays(4)["images"]
    colour = np.repeat(grey[:, :, :, None], 3, axis=3)
    parts = {"train": arrays(4, images=colour), "val": arrays(4, 1)}
    result, data = built(
        tmp_path / "out", npz=npz_of(tmp_path / "a.npz", **parts), findings="Mass", balance=False
    )
    np.testing.assert_array_equal(data.split("train").sets["all"].images, grey)
    assert result.record["converted"] == {"colour made grey": 4}
    assert any("colour made grey (4)" in warning for warning in result.warnings)


def test_pixels_are_tokens_without_images(tmp_path: Path) -> None:
    path = npz_of(tmp_path / "a.npz", train=arrays(4), val=arrays(4, 1))
    _, data = built(tmp_path / "out", npz=path, findings="Mass", pixels=True)
    test = data.split("test").sets["all"]
    assert test.images is None
    expected = 128 + (arrays(4, 1)["images"].reshape(4, -1) >> 1)
    np.testing.assert_array_equal(test.inputs[:, :-1], expected)
    assert data.metadata.vocab_size == 256


def damaged(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"labels": np.array([[0], [1], [2], [0]])}, r"train_labels\[2, 0\] is 2; expected 1"),
        ({"labels": np.array([[0], [1], [1]])}, "3 train_labels of 4 train_images"),
        ({"labels": np.array([["a"], ["b"], ["c"], ["d"]])}, "expected numbers"),
        ({"labels": np.array([[None], [1], [1], [0]], object)}, "expected numbers"),
        ({"labels": np.ones((4, 3), int)}, "columns"),
        ({"images": np.zeros((4, 28, 28))}, "float64 of shape"),
        ({"images": np.zeros((4, 28, 28, 4), np.uint8)}, "expected uint8 of"),
        ({"images": np.zeros((4, 1, 1), np.uint8)}, "1x1 pixels"),
        ({"images": np.zeros((4, 28, 28), np.uint8, order="F")}, "Fortran"),
    ],
)
def test_arrays_of_another_kind_are_refused(
    tmp_path: Path, change: dict[str, np.ndarray], found: str
) -> None:
    path = npz_of(tmp_path / "a.npz", train=arrays(4, **change), val=arrays(4, 1))
    with pytest.raises(DataError, match=found) as refusal:
        build(tmp_path / "out", Options(npz=path, findings="Mass"))
    assert "\n" not in str(refusal.value)
    assert [each.name for each in tmp_path.iterdir()] == ["a.npz"]


def test_files_that_are_no_npz_are_refused(tmp_path: Path) -> None:
    path = npz_of(tmp_path / "a.npz", train=arrays(40), val=arrays(40, 1))
    damaged(path)
    (tmp_path / "text.npz").write_text("no arrays")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    for name, found in (("a", "cannot be read"), ("text", "cannot be read"), ("other", "no pict")):
        with pytest.raises(DataError, match=found):
            build(tmp_path / "out", Options(npz=tmp_path / f"{name}.npz", findings="Mass"))
    with pytest.raises(DataError, match="cannot be read"):
        build(tmp_path / "out", Options(npz=tmp_path / "nowhere.npz"))
    assert not (tmp_path / "out").exists()


def test_a_split_without_images_has_no_say(tmp_path: Path) -> None:
    empty = {name: array[:0] for name, array in arrays(2).items()}
    path = npz_of(tmp_path / "a.npz", train=arrays(40), val=empty)
    record = build(tmp_path / "out", Options(npz=path, findings="Mass", augment=0)).record
    assert (record["split_by"], record["train_images"], record["test_images"]) == ("image", 32, 8)
    path = npz_of(tmp_path / "b.npz", train=empty)
    with pytest.raises(DataError, match="holds no pictures"):
        build(tmp_path / "none", Options(npz=path, findings="Mass"))


@pytest.mark.parametrize("shape", [(-3, 1), (40, 10**6)])
def test_shapes_that_ask_for_the_whole_of_a_packed_array_are_refused(
    tmp_path: Path, shape: tuple[int, int]
) -> None:
    path = tmp_path / "a.npz"
    header = BytesIO()
    kind = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, kind)
    images = BytesIO()
    np.save(images, arrays(40)["images"])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train_images.npy", images.getvalue())
        archive.writestr("train_labels.npy", header.getvalue() + bytes(40 * 10**6))
    tracemalloc.start()
    with pytest.raises(DataError, match=r"train_labels holds|array of shape"):
        ArrayPictures(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 22  # the labels have 40 MB


def test_a_file_that_breaks_off_among_its_images_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    source = arrays(40)
    np.savez(path, train_labels=source["labels"], train_images=source["images"])
    data = bytearray(path.read_bytes())
    data[-9000] ^= 255  # zipfile notices at the end of the array
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match="cannot be read"):
        build(tmp_path / "out", Options(npz=path, findings="Mass"))
    assert [each.name for each in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({}, "either --images"),
        ({"npz": "a.npz", "images": "b"}, "either --images"),
        ({"npz": "a.npz", "labels": "b.csv"}, "go with --images"),
        ({"npz": "a.npz", "augment": 0, "flip": True}, "give --augment"),
        ({"npz": "a.npz", "size": "28x"}, "no size"),
        ({"npz": "a.npz", "test_share": float("nan")}, "no share"),
    ],
)
def test_options_that_clash_are_refused(options: dict[str, Any], found: str) -> None:
    paths = {name: Path(options[name]) for name in ("npz", "images", "labels") if name in options}
    with pytest.raises(ValidationError, match=found):
        Options(**{**options, **paths})


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"patch": 9}, "patches of 9 do not divide"),
        ({"strips": 3}, "3 strips do not divide"),
        ({"size": "1"}, "--size"),
        ({"size": "9000"}, "--size"),
        ({"overview": True}, "at least 2 strips"),
        ({"pixels": True, "strips": 2}, "one chunk"),
        ({"test_on": "test"}, "no such part, only train, val"),
        ({"split_by": "patient"}, "needs a column of patients"),
        ({"findings": "Mass, Nodule"}, "labels of 1 findings and 2 names"),
        ({"findings": "Mass", "npz": "unknown"}, r"no finding of train_images\[1\] is known"),
        ({"findings": "Mass, mass"}, "names none or one twice"),
        ({"findings": None}, "labels of 1 findings and 0 names; give --findings"),
    ],
)
def test_what_the_data_cannot_be_is_refused(
    tmp_path: Path, options: dict[str, Any], found: str
) -> None:
    labels = np.array([[1], [-1 if options.pop("npz", None) else 0], [0], [1]])
    path = npz_of(tmp_path / "a.npz", train=arrays(4, labels=labels), val=arrays(4, 1))
    with pytest.raises(DataError, match=found):
        build(tmp_path / "out", Options(**{"npz": path, "findings": "Mass", **options}))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("size", "strips", "patch"),
    [("28", 1, 7), ("64", 1, 8), ("224", 1, 16), ("4x6", 1, 2), ("28x56", 2, 7), ("31", 1, 31)],
)
def test_the_side_of_patches_follows_from_the_size(size: str, strips: int, patch: int) -> None:
    from hrm_core.data.label_tables import Named

    named = Named(("Mass",), np.zeros((1, 1), int))
    options = Options(npz=Path("a.npz"), size=size, strips=strips)
    assert options.settings(named).patch == patch


def test_build_json_says_what_was_made(tmp_path: Path) -> None:
    path = npz_of(tmp_path / "a.npz", train=arrays(6), val=arrays(4, 1))
    built(tmp_path / "out", npz=path, findings="Mass", size="14x28", strips=2, fit="stretch")
    record = json.loads((tmp_path / "out" / "build.json").read_text())
    assert record["task_settings"]["size"] == [14, 28]
    assert record["converted"] == {"stretched": 10}
    assert record["source"]["npz"] == "a.npz"
    assert len(record["source"]["sha256"]) == 64
    assert (record["train_images"], record["test_images"]) == (6, 4)


def peak_of_building(out: Path, path: Path) -> int:
    tracemalloc.start()
    build(out, Options(npz=path, findings="Mass", size="112", augment=1))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_the_number_of_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few, many = arrays(20), arrays(200)
    val = arrays(4, 1)
    paths = [npz_of(tmp_path / "few.npz", train=few, val=val)]
    paths.append(npz_of(tmp_path / "many.npz", train=many, val=val))
    monkeypatch.setattr(picture_building, "BLOCK_CELLS", 10 * 112**2)
    peaks = [peak_of_building(tmp_path / f"out{n}", path) for n, path in enumerate(paths)]
    assert peaks[1] < 1.5 * peaks[0]
    monkeypatch.setattr(picture_building, "BLOCK_CELLS", 1 << 40)  # control: one block
    peaks = [peak_of_building(tmp_path / f"all{n}", path) for n, path in enumerate(paths)]
    assert peaks[1] > 4 * peaks[0]


def test_damaged_arrays_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    rng = random.Random(7)
    whole = tmp_path / "whole.npz"
    source = arrays(6)
    np.savez(whole, train_images=source["images"][:, :4, :4], train_labels=source["labels"])
    data = whole.read_bytes()
    num_read, messages = 0, []
    for _ in range(300):
        changed = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        (tmp_path / "a.npz").write_bytes(bytes(changed))
        try:
            pictures = ArrayPictures(tmp_path / "a.npz")
            num_read += len(list(pictures.photos(pictures.names))) > 0
        except HRMError as error:
            messages.append(str(error))
    assert min(num_read, len(messages)) > 10
    assert not [message for message in messages if "\n" in message]
