import io
import json
import os
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrm_core.data.sources import read_json
from hrm_core.errors import DataError
from hrm_tasks.arc import read as arc_read
from hrm_tasks.arc.contents import checked_task
from hrm_tasks.arc.read import read_source

TASK = {
    "train": [{"input": [[1, 2]], "output": [[2], [1]]}],
    "test": [{"input": [[0]], "output": [[3]]}],
}
TEXT = json.dumps(TASK)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.sampled_from(["train", "test", "input", "output"]), inner)
    ),
    max_leaves=30,
)


def write_zip(path: Path, files: dict[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_folder(path: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(content)
    return path


FILES: dict[str, Any] = {
    "evaluation/b.json": TEXT,
    "training/a.json": TEXT,
    "corpus/Copy/Copy1.json": TEXT,
    "README.md": "read me",
    "evaluation/.hidden.json": "?",
}


def test_folders_and_zips_are_read_alike(tmp_path: Path) -> None:
    folder = read_source(write_folder(tmp_path / "tasks", FILES))
    archive = read_source(
        write_zip(tmp_path / "tasks.zip", {**FILES, "__MACOSX/training/a.json": "?"})
    )
    for source in (folder, archive):
        assert [(task.name, task.is_evaluation) for task in source.tasks] == [
            ("Copy1", False),
            ("b", True),
            ("a", False),
        ]
        assert [task.folder for task in source.tasks] == [
            f"{source.name}/{inside}" for inside in ("corpus/Copy", "evaluation", "training")
        ]
        assert [grid.tolist() for grid in source.tasks[0].pairs[0] if grid is not None] == [
            [[1, 2]],
            [[2], [1]],
        ]
    assert (folder.name, archive.name) == ("tasks", "tasks.zip")
    assert folder.sha256 == read_source(tmp_path / "tasks").sha256


@pytest.mark.parametrize("inside", ["evaluation", "evaluation/hard", "data/evaluation"])
def test_folder_decides_what_is_evaluated(tmp_path: Path, inside: str) -> None:
    assert (
        read_source(write_folder(tmp_path / "x", {f"{inside}/a.json": TEXT})).tasks[0].is_evaluation
    )
    assert (
        read_source(write_zip(tmp_path / "x.zip", {f"{inside}/a.json": TEXT}))
        .tasks[0]
        .is_evaluation
    )
    top = inside.partition("/")[0]
    assert read_source(tmp_path / "x" / top).tasks[0].is_evaluation
    (task,) = read_source(tmp_path / "x" / inside / "a.json").tasks
    assert (task.folder, task.is_evaluation) == (
        inside.rpartition("/")[2],
        inside.endswith("evaluation"),
    )


def test_folder_named_evaluation_above_the_source_does_not_count(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "evaluation" / "mine", {"a.json": TEXT})
    assert not read_source(folder).tasks[0].is_evaluation
    assert not read_source(folder / "a.json").tasks[0].is_evaluation


def test_published_sources_are_read_whole(data_dir: Path) -> None:
    counts = {}
    for name in ("ARC-AGI-1", "ARC-AGI-2", "ConceptARC"):
        tasks = read_source(data_dir / "arc" / f"{name}.zip").tasks
        counts[name] = (
            len(tasks),
            sum(task.is_evaluation for task in tasks),
            sum(len(task.pairs) for task in tasks),
        )
    assert counts == {
        "ARC-AGI-1": (760, 360, 3328),
        "ARC-AGI-2": (1060, 100, 4573),
        "ConceptARC": (176, 0, 1001),
    }


def test_output_of_a_test_may_be_missing_where_it_is_not_trained(tmp_path: Path) -> None:
    text = json.dumps({**TASK, "test": [{"input": [[0]]}]})
    (task,) = read_source(write_folder(tmp_path, {"evaluation/a.json": text})).tasks
    assert task.tests[0].output is None
    with pytest.raises(
        DataError,
        match=r"training/a\.json: test pair 1 has no output; expected one outside a folder named evaluation",
    ):
        read_source(write_folder(tmp_path, {"training/a.json": text}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a.json is not JSON"),
        ("[]", "a.json is no task: expected a JSON object"),
        ("{}", "a.json has no list of train pairs, expected 1 to 100"),
        (json.dumps({"train": TASK["train"]}), "a.json has no list of test pairs"),
        (json.dumps({**TASK, "test": []}), "a.json has 0 test pairs, expected 1 to 100"),
        (json.dumps({**TASK, "train": TASK["train"] * 101}), "a.json has 101 train pairs"),
        (json.dumps({**TASK, "train": [{"input": [[1]]}]}), "a.json: train pair 1 has no output"),
        (json.dumps({**TASK, "train": [[]]}), "a.json: train pair 1 has no input"),
        (
            TEXT.replace("[1, 2]", "[1, 12]"),
            "a.json: train pair 1, input: row 1 holds 12, expected colours 0 to 9",
        ),
        (
            TEXT.replace("[2], [1]", "[2], [1, 1]"),
            "a.json: train pair 1, output: row 2 has 2 cells, row 1 has 1",
        ),
        ("[" * 100_000, "a.json is not JSON"),
        (TEXT.replace("3", "9" * 5000), "a.json is not JSON"),
        ("\ud800", "a.json is not JSON"),
        (
            TEXT.replace('"test"', '"train"'),
            "a.json: the key 'train' stands twice in one object; take one of them out",
        ),
        (TEXT.replace('"output"', '"input"'), "a.json: the key 'input' stands twice in one object"),
    ],
)
def test_what_is_no_task_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.json").write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(DataError) as refused:
        read_source(tmp_path)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["a_t1_0123456789", "<blank>", "a\nb"])
def test_name_that_identifiers_cannot_have_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="cannot name a task"):
        read_source(write_folder(tmp_path, {f"{name}.json": TEXT}))


@pytest.mark.parametrize(
    "name", ["../a.json", "x/../../a.json", "/a.json", "..\\a.json", "C:/a.json"]
)
def test_path_that_leads_out_of_a_zip_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="leads out of it; expected paths inside the zip"):
        read_source(write_zip(tmp_path / "x.zip", {"a.json": TEXT, name: TEXT}))


def test_bomb_is_refused_before_it_fills_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=r"a\.json is larger than 1,048,576 bytes, no task is"):
        read_source(write_zip(tmp_path / "x.zip", {"a.json": b" " * (1 << 26)}))
    monkeypatch.setattr(arc_read, "MAX_SOURCE_BYTES", 3 * len(TEXT))
    with pytest.raises(DataError, match=r"holds more than \d+ bytes of tasks"):
        read_source(write_zip(tmp_path / "y.zip", {f"{number}.json": TEXT for number in range(4)}))
    monkeypatch.setattr(arc_read, "MAX_ENTRIES", 3)
    with pytest.raises(DataError, match="has 4 entries, expected at most 3"):
        read_source(tmp_path / "y.zip")


def test_size_that_a_header_lies_about_is_noticed(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", {"a.json": TEXT + " " * 1000})
    data = path.read_bytes()
    size = struct.pack("<I", len(TEXT) + 1000)
    path.write_bytes(data.replace(size, struct.pack("<I", len(TEXT))))
    with pytest.raises(DataError, match=r"x\.zip cannot be read"):
        read_source(path)


@pytest.mark.parametrize("place", [45, 60, 80])
def test_damaged_compression_of_any_kind_is_one_line(tmp_path: Path, place: int) -> None:
    for name, kind in (
        ("deflate", zipfile.ZIP_DEFLATED),
        ("bzip2", zipfile.ZIP_BZIP2),
        ("lzma", zipfile.ZIP_LZMA),
    ):
        path = tmp_path / f"{name}.zip"
        with zipfile.ZipFile(path, "w", kind) as archive:
            archive.writestr("a.json", TEXT)
        data = bytearray(path.read_bytes())
        data[place : place + 8] = b"\xff" * 8
        path.write_bytes(data)
        with pytest.raises(
            DataError, match=rf"{name}\.zip cannot be read: [^\n]*; expected a folder or a zip"
        ):
            read_source(path)


def test_entry_that_stands_twice_is_refused(tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(tmp_path / "x.zip", "w") as archive,
        warnings.catch_warnings(action="ignore"),
    ):
        archive.writestr("a.json", TEXT)
        archive.writestr("a.json", TEXT.replace("3", "4"))
    with pytest.raises(DataError, match=r"has two entries 'a\.json'"):
        read_source(tmp_path / "x.zip")


def test_what_is_no_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="missing is no folder, zip or JSON file of tasks"):
        read_source(tmp_path / "missing")
    with pytest.raises(DataError, match="holds no task"):
        read_source(tmp_path)
    (tmp_path / "x.tar").write_bytes(b"x" * 1000)
    with pytest.raises(
        DataError,
        match=r"x\.tar cannot be read: File is not a zip file; expected a folder or a zip",
    ):
        read_source(tmp_path / "x.tar")
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(DataError, match=r"a\.json is no ordinary file"):
        read_source(tmp_path)


def refusal(read: Callable[[], object]) -> str:
    """What is wrong, in one line; nothing where something was read."""
    try:
        assert read()
    except DataError as error:
        return str(error)
    return ""


def parsed(data: bytes | str) -> object:
    return checked_task(read_json(data, "a.json", "a task"), "a.json")


@given(JSON)
@settings(max_examples=80, deadline=None)
def test_any_json_is_a_task_or_one_line(content: object) -> None:
    found = refusal(lambda: parsed(json.dumps(content)))
    assert not found or found.startswith("a.json")
    assert len(found) < 300


@given(st.binary(max_size=200) | st.text(max_size=200))
@settings(max_examples=100, deadline=None)
def test_any_text_is_refused_in_one_line(data: bytes | str) -> None:
    assert "\n" not in refusal(lambda: parsed(data))


@given(place=st.integers(0, len(TEXT) - 1), junk=st.text(max_size=5))
@settings(max_examples=100, deadline=None)
def test_task_with_a_spoilt_place_is_read_or_one_line(place: int, junk: str) -> None:
    found = refusal(lambda: parsed(TEXT[:place] + junk + TEXT[place + 1 :]))
    assert not found or found.startswith("a.json")


def zip_bytes() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("training/a.json", "evaluation/b.json"):
            archive.writestr(zipfile.ZipInfo(name), TEXT, zipfile.ZIP_DEFLATED)
    return file.getvalue()


ZIP = zip_bytes()


@given(
    spoilt=st.dictionaries(
        st.integers(0, len(ZIP) - 1), st.integers(0, 255), min_size=1, max_size=4
    ),
    end=st.integers(0, 3),
)
@settings(max_examples=200, deadline=None)
def test_damaged_zip_is_read_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, spoilt: dict[int, int], end: int
) -> None:
    data = np.frombuffer(ZIP, np.uint8).copy()
    data[list(spoilt)] = list(spoilt.values())
    path = tmp_path_factory.getbasetemp() / "fuzz.zip"
    path.write_bytes(data[: len(data) if end else len(data) * 3 // 4].tobytes())
    found = refusal(lambda: read_source(path).tasks)
    assert not found or found.replace("'", "").startswith(str(path))
    assert "\n" not in found
