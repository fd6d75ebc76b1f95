from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hrm_core.data.label_tables import Table, read_table
from hrm_core.data.store import Dataset
from hrm_core.errors import DataError
from hrm_tasks.xray.build import Options, build
from hrm_tasks.xray.findings import ALL, NIH, table_findings


def table_of(folder: Path, *lines: str) -> Table:
    (folder / "t.csv").write_text("\n".join(lines))
    return read_table(folder / "t.csv")


def pictures_of(folder: Path, *names: str, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (28, 28), np.uint8)).save(path)
    return folder


def test_columns_of_known_findings_are_taken_in_their_order(tmp_path: Path) -> None:
    table = table_of(tmp_path, "file,age,pleural thickening,MASS", "a,40,1,", "b,41,0,-1")
    named = table_findings(table, None)
    assert named.labels == ("Pleural_Thickening", "Mass")
    np.testing.assert_array_equal(named.targets, [[1, -1], [0, -1]])
    assert not named.exclusive


def test_finding_labels_of_nih_tell_of_all_fourteen(tmp_path: Path) -> None:
    table = table_of(tmp_path, "Image Index,Finding Labels", "a,Mass|Nodule", "b,No Finding")
    named = table_findings(table, None)
    assert named.labels == NIH
    present = [NIH[column] for column in np.flatnonzero(named.targets[0] == 1)]
    assert present == ["Mass", "Nodule"]
    assert (named.targets[1] == 0).all()


def test_what_a_table_does_not_tell_of_is_unknown_in_a_list_only(tmp_path: Path) -> None:
    table = table_of(tmp_path, "Image Index,Finding Labels", "a,Mass|Nodule", "b,No Finding")
    named = table_findings(table, "all")
    assert named.labels == ALL
    is_unknown = dict(zip(ALL, (named.targets < 0).all(axis=0).tolist(), strict=True))
    assert {name for name in ALL if is_unknown[name]} == set(ALL) - set(NIH)
    with pytest.raises(DataError, match="does not tell of 'Fracture'"):
        table_findings(table, "Mass, fracture")


def test_names_of_a_label_are_findings_and_normal_is_none(tmp_path: Path) -> None:
    table = table_of(tmp_path, "file,label", "a,normal", "b,bacterial", "c,viral", "d,")
    named = table_findings(table, None)
    assert named.labels == ("bacterial", "viral")
    np.testing.assert_array_equal(named.targets, [[0, 0], [1, 0], [0, 1], [-1, -1]])


def test_findings_asked_for_are_columns_or_names(tmp_path: Path) -> None:
    table = table_of(tmp_path, "file,finding,covid19", "a,ARDS,0", "b,COVID-19,1")
    named = table_findings(table, "covid19, ards")
    assert named.labels == ("covid19", "ards")
    np.testing.assert_array_equal(named.targets, [[0, 1], [1, 0]])


def test_a_picture_without_finding_is_known_not_to_have_any(tmp_path: Path) -> None:
    table = table_of(
        tmp_path, "Path,No Finding,Pleural Effusion,Edema", "a,1,,", "b,,1,", "c,0.0,-1.0,0.0"
    )
    named = table_findings(table, None)
    assert named.labels == ("Effusion", "Edema")
    np.testing.assert_array_equal(named.targets, [[0, 0], [1, -1], [-1, 0]])


@pytest.mark.parametrize(
    ("lines", "asked", "found"),
    [
        (("file,Mass", "a,2"), None, r"t\.csv:2: Mass is '2'"),
        (("file,Finding Labels", "a,Mass", "b,Masss"), None, r"t\.csv:3: unknown finding 'Masss'"),
        (("file,age", "a,2"), None, "tells of no findings"),
        (("file,Mass", "a,1"), "Mass,Foo", "does not tell of 'Foo'; it tells of Mass"),
        (("file,Mass", "a,1"), "Mass,mass", "one twice"),
        (("file,Mass", "a,1"), " , ", "names none"),
        (("file,age", "a,40"), "age", r"t\.csv:2: age is '40'"),
    ],
)
def test_findings_that_are_not_there_are_refused(
    tmp_path: Path, lines: tuple[str, ...], asked: str | None, found: str
) -> None:
    with pytest.raises(DataError, match=found):
        table_findings(table_of(tmp_path, *lines), asked)


@pytest.mark.parametrize("findings", [None, "nih"])
def test_the_columns_and_the_list_of_nih_agree(xray_dir: Path, findings: str | None) -> None:
    table = read_table(xray_dir / "nih_64_labels.csv")
    columns = table_findings(table, findings)
    places = [place for place, name in enumerate(table.header) if name not in NIH]
    rows = [[row[place] for place in places] for row in table.rows]
    header = [table.header[place] for place in places]
    listed = table_findings(Table(table.path, header, rows, table.lines, ""), "nih")
    order = [columns.labels.index(name) for name in NIH]
    np.testing.assert_array_equal(columns.targets[:, order], listed.targets)


def test_the_real_sets_are_split_as_their_tables_say(tmp_path: Path, xray_dir: Path) -> None:
    for name, counts, labels in (
        ("kermany_224", (300, 100), ["Pneumonia"]),
        ("covid_open_224", (59, 13), ["ARDS", "COVID-19", "Pneumocystis"]),
    ):
        out = tmp_path / name
        options = Options(images=xray_dir / f"{name}.zip", labels=xray_dir / f"{name}_labels.csv")
        record = build(out, options).record
        assert (record["train_images"], record["test_images"]) == counts
        assert record["task_settings"]["labels"] == labels
        assert record["converted"] == {"resized": sum(counts)}
        assert record["split_by"] == "split"


def test_no_patient_is_in_two_splits(tmp_path: Path, xray_dir: Path) -> None:
    table = read_table(xray_dir / "nih_64_labels.csv")
    patients = dict(zip(table.columns["filename"], table.columns["patient"], strict=True))
    files = {"images": xray_dir / "nih_64.zip", "labels": xray_dir / "nih_64_labels.csv"}
    build(tmp_path / "out", Options(**files, split_by="patient", findings="Mass"))
    lines = (tmp_path / "out" / "images.csv").read_text().splitlines()[1:]
    of: dict[str, set[str]] = {"train": set(), "test": set()}
    for split, _, file, patient in (line.split(",") for line in lines):
        assert patients[file.removeprefix("images/")] == patient
        of[split].add(patient)
    assert not of["train"] & of["test"]
    num_test = sum(line.startswith("test") for line in lines)
    assert abs(num_test / 738 - 0.2) < 0.03
    with pytest.raises(DataError, match=r"patient '\d+' is in train and in test"):
        build(tmp_path / "images", Options(**files, split_by="image", findings="Mass"))


def test_labels_are_matched_with_pictures_by_path_name_or_stem(tmp_path: Path) -> None:
    images = pictures_of(tmp_path / "p", "x/a.png", "x/b.png", "y/c.png", "y/d.png")
    table = (
        "file,Mass,split",
        "/data/v1/x/a.png,1,train",
        "b.png,0,train",
        "c,1,test",
        "Q\\d.png,0,test",
    )
    table_of(tmp_path, *table)
    build(tmp_path / "out", Options(images=images, labels=tmp_path / "t.csv"))
    lines = (tmp_path / "out" / "images.csv").read_text().splitlines()[1:]
    assert sorted(line.split(",")[2] for line in lines) == [
        "x/a.png",
        "x/b.png",
        "y/c.png",
        "y/d.png",
    ]
    assert Dataset(tmp_path / "out").split("test").sets["all"].labels[:, -1].tolist().count(3) == 1


def test_a_name_that_two_pictures_have_is_refused_unless_its_folder_is_given(
    tmp_path: Path,
) -> None:
    images = pictures_of(tmp_path / "p", "x/a.png", "y/a.png")
    table_of(tmp_path, "file,Mass", "set/x/a.png,1", "set/y/a.png,0")
    options = Options(images=images, labels=tmp_path / "t.csv", test_share=0)
    assert build(tmp_path / "out", options).record["train_images"] == 2
    table_of(tmp_path, "file,Mass", "x/a.png,1", "z/a.png,0")
    with pytest.raises(DataError, match=r"t\.csv:3: 'z/a\.png' may be x/a\.png, y/a\.png; write"):
        build(tmp_path / "again", options)


TABLE = ("file,Mass,patient", "a.png,1,p", "b.png,0,q", "c.png,1,r", "d.png,0,s")


def with_line(number: int, line: str) -> tuple[str, ...]:
    return (*TABLE[: number - 1], line, *TABLE[number:])


@pytest.mark.parametrize(
    ("table", "options", "found"),
    [
        (with_line(3, "a.png,0,q"), {}, r"t\.csv:3 names 'a\.png' again"),
        (with_line(3, ",0,q"), {}, r"t\.csv:3 has no file name"),
        (with_line(3, "e.png,0,q"), {}, r"t\.csv:3: 'e\.png' is not in .* 1 of 4"),
        (with_line(3, ".,0,q"), {}, r"t\.csv:3: '\.' is not in"),
        (with_line(3, "b.png,5,q"), {}, r"t\.csv:3: Mass is '5'"),
        (with_line(3, "b.png,-1,q"), {}, r"t\.csv:3: no label of 'b\.png' is known"),
        (with_line(3, "x/a.png,0,q"), {}, "two lines are of 'a.png'"),
        (TABLE, {"split_by": "split"}, "needs a column called split"),
        (TABLE, {"test_on": "val"}, "--test-on chooses a part"),
        (
            ("file,Mass", "a.png,1", "b.png,0"),
            {"split_by": "patient"},
            "needs a column of patients",
        ),
        (
            ("file,Mass,patient,split", "a.png,1,p,train", "b.png,0,p,test"),
            {},
            "patient 'p' is in train and in test",
        ),
        (("file,Mass,patient", "a.png,1,p", "b.png,0,p"), {}, "of one patient"),
        (("file,Mass,split", "a.png,1,train", "b.png,0,nope"), {}, "split is 'nope'"),
    ],
)
def test_tables_that_do_not_fit_are_refused_and_leave_nothing(
    tmp_path: Path, table: tuple[str, ...], options: dict[str, Any], found: str
) -> None:
    images = pictures_of(tmp_path / "p", "a.png", "b.png", "c.png", "d.png")
    table_of(tmp_path, *table)
    with pytest.raises(DataError, match=found) as refusal:
        build(tmp_path / "out", Options(images=images, labels=tmp_path / "t.csv", **options))
    assert "\n" not in str(refusal.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p", "t.csv"]


def test_lines_that_do_not_fit_can_be_skipped(tmp_path: Path) -> None:
    images = pictures_of(tmp_path / "p", "a.png", "b.png", "c.png", "d.png", "z.png")
    table_of(tmp_path, *TABLE[:4], "d.png,,s", "e.png,1,t")
    result = build(tmp_path / "out", Options(images=images, labels=tmp_path / "t.csv", skip=True))
    assert result.record["left_out"] == {
        "lines without a picture": 1,
        "pictures without a known label": 1,
        "pictures without a line": 1,
    }
    assert result.record["train_images"] + result.record["test_images"] == 3


def test_a_damaged_picture_leaves_nothing(tmp_path: Path) -> None:
    images = pictures_of(tmp_path / "p", "a.png", "b.png", "c.png", "d.png")
    whole = (images / "c.png").read_bytes()
    (images / "c.png").write_bytes(whole[: len(whole) // 2])
    table_of(tmp_path, *TABLE)
    with pytest.raises(DataError, match=r"c\.png cannot be read \(.*truncated"):
        build(tmp_path / "out", Options(images=images, labels=tmp_path / "t.csv"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p", "t.csv"]


def test_sources_that_differ_in_a_label_are_warned_of(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(8)]
    images = pictures_of(tmp_path / "p", *names)
    warnings = {}
    for kind, is_covid in (("apart", [1, 1, 1, 1, 0, 0, 0, 0]), ("mixed", [1, 0] * 4)):
        rows = [
            f"{name},{covid},{0},{'xy'[place // 4]}"
            for place, (name, covid) in enumerate(zip(names, is_covid, strict=True))
        ]
        table_of(tmp_path, "file,Mass,Nodule,source", *rows)
        options = Options(images=images, labels=tmp_path / "t.csv", test_share=0)
        warnings[kind] = build(tmp_path / kind, options).warnings
    assert any("sources of the images differ in Mass:" in each for each in warnings["apart"])
    assert not any("sources" in each for each in warnings["mixed"])


def test_folders_of_the_kermany_set_are_labels_and_splits(tmp_path: Path) -> None:
    names = [
        f"chest_xray/{split}/{label}/{number}{label}{split}.png"
        for split in ("train", "test", "val")
        for label in ("NORMAL", "PNEUMONIA")
        for number in range(2)
    ]
    images = pictures_of(tmp_path / "p", *names)
    record = build(tmp_path / "out", Options(images=images, test_on="test")).record
    assert record["task_settings"]["labels"] == ["Pneumonia"]
    assert (record["train_images"], record["test_images"], record["unused_images"]) == (4, 4, 4)
    assert record["train_labels"]["Pneumonia"]["present"] == 2
