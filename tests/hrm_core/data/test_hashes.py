"""The hashes of a data set's files: kept when it is built, or at the first use of another program's."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hrm_core.data import store
from hrm_core.data.store import Dataset
from hrm_core.data.summary import summarize
from hrm_core.errors import DataError


def flip(path: Path) -> None:
    """Change one bit of the last byte but one: a token, an index or a name."""
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)


def covered(dataset: Path) -> list[Path]:
    found = [
        *dataset.glob("*/*.npy"),
        *dataset.glob("*/dataset.json"),
        dataset / "identifiers.json",
    ]
    return sorted(found)


def test_a_built_data_set_says_the_hash_of_each_file(dataset: Path) -> None:
    build = json.loads((dataset / "build.json").read_text())
    assert build["sha256"] == {
        path.relative_to(dataset).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in covered(dataset)
    }
    Dataset(dataset).check_unchanged()


def test_one_changed_bit_of_any_file_is_noticed(dataset: Path) -> None:
    for path in covered(dataset):
        before = path.read_bytes()
        flip(path)
        changed = Dataset(dataset)
        with pytest.raises(DataError) as refused:
            changed.check_unchanged()
        message = str(refused.value)
        assert message.startswith(f"{path} is not what it was when it was built (sha256 ")
        assert message.endswith("; build or copy the data set again")
        path.write_bytes(before)
    Dataset(dataset).check_unchanged()


def test_a_file_that_is_gone_or_new_is_noticed(dataset: Path) -> None:
    gone, new = dataset / "identifiers.json", dataset / "test" / "all__prefix_len.npy"
    content = gone.read_bytes()
    gone.unlink()
    with pytest.raises(
        DataError, match=r"identifiers\.json is not .* \(no file, expected \w{12}\)"
    ):
        Dataset(dataset).check_unchanged()
    gone.write_bytes(content)
    new.write_bytes(b"")
    with pytest.raises(DataError, match=r"len\.npy is not .* \(sha256 \w{12}, expected no file\)"):
        Dataset(dataset).check_unchanged()
    shutil.rmtree(dataset / "test")
    Dataset(dataset).check_unchanged()


def test_inspect_and_a_new_run_refuse_a_flipped_token(
    refusal: Callable[..., str], hrm: Callable[..., Any], tmp_path: Path, tiny_config: Path
) -> None:
    data = tmp_path / "data"
    assert hrm("data", "sudoku", data, "--generate", 60, "--size", 4, "--test", 4).status == 0
    flip(data / "train" / "all__ratings.npy")
    train = ("train", tiny_config, "--data", data, "--run", tmp_path / "run", "--device", "cpu")
    for command in (("data", "inspect", data), train):
        assert "all__ratings.npy is not what it was when it was built" in refusal(*command)
    assert not (tmp_path / "run").exists()
    flip(data / "train" / "all__ratings.npy")
    assert hrm(*train, "--max-updates", 1).status == 0


def test_data_of_another_program_is_hashed_at_its_first_use(dataset: Path) -> None:
    (dataset / "build.json").unlink()
    first = summarize(Dataset(dataset))
    kept = json.loads((dataset / "build.json").read_text())
    assert kept == {"sha256": Dataset(dataset).digests}
    assert summarize(Dataset(dataset)) == first
    assert first.task is None
    path = dataset / "train" / "second__inputs.npy"
    flip(path)
    with pytest.raises(DataError) as refused:
        Dataset(dataset).check_unchanged()
    message = str(refused.value)
    assert message.startswith(f"{path} is not what it was at its first use (sha256 ")
    assert message.endswith(f", or remove {dataset / 'build.json'} if the change is meant")
    (dataset / "build.json").unlink()
    Dataset(dataset).check_unchanged()


def test_a_folder_that_cannot_be_written_is_warned_of(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    (dataset / "build.json").unlink()
    monkeypatch.setattr(store, "staged", refuse)
    with pytest.warns(
        UserWarning, match=r"build\.json cannot be written \(Read-only file system\)"
    ):
        Dataset(dataset).check_unchanged()


def test_data_sets_of_earlier_versions_are_left_alone(dataset: Path) -> None:
    text = json.dumps({"task": "toy", "seed": 0, "layout": 1})
    (dataset / "build.json").write_text(text)
    flip(dataset / "train" / "second__ratings.npy")
    Dataset(dataset).check_unchanged()
    assert (dataset / "build.json").read_text() == text


def test_hashes_that_are_none_are_refused(dataset: Path) -> None:
    (dataset / "build.json").write_text(json.dumps({"task": "toy", "sha256": 7}))
    with pytest.raises(DataError, match=r"build\.json: sha256 is no JSON object; build or copy"):
        Dataset(dataset).check_unchanged()
