"""A destination is there as a whole or not at all, and nothing else is touched."""

import fcntl
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hrm_convert import destinations
from hrm_convert.destinations import Written, chosen_format, refuse_used, write
from hrm_convert.tensors import FLOATS, ConversionError, of_array

from hrm_core.errors import CheckpointError
from hrm_core.runs.checkpoint import (
    find_model,
    load_model,
    read_state,
    read_train_state,
    write_checkpoint,
)


@pytest.fixture
def model(config_of: Any, weights_of: Any) -> Written:
    config = config_of()
    return Written(
        config,
        "sudoku",
        {n: of_array(a) for n, a in weights_of(config).items()},
        FLOATS["float32"],
        {},
        "somewhere",
    )


@pytest.mark.parametrize(
    ("dest", "to", "source", "expected"),
    [
        ("x.safetensors", None, "official", "safetensors"),
        ("x.safetensors", None, "checkpoint", "safetensors"),
        ("x", None, "official", "checkpoint"),
        ("x", "official", "checkpoint", "official"),
    ],
)  # fmt: skip
def test_name_of_the_destination_says_the_format(
    dest: str, to: Any, source: Any, expected: str
) -> None:
    assert chosen_format(Path(dest), to, source) == expected


@pytest.mark.parametrize(
    ("dest", "to", "message"),
    [
        ("x", None, "may become an official or another checkpoint; choose --to"),
        ("x", "safetensors", r"--to safetensors writes a file that ends in \.safetensors"),
        ("x.safetensors", "official", "--to official writes a folder"),
    ],
)
def test_unclear_format_is_refused(dest: str, to: Any, message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        chosen_format(Path(dest), to, "checkpoint")


def test_used_destination_is_refused_without_force(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_text("mine")
    with pytest.raises(ConversionError, match="is there already; choose another DEST, or --force"):
        refuse_used(tmp_path / "x.safetensors", None, "safetensors", force=False)
    refuse_used(tmp_path / "x.safetensors", None, "safetensors", force=True)


def test_force_replaces_nothing_but_converted_models(tmp_path: Path) -> None:
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter.txt").write_text("mine")
    with pytest.raises(ConversionError, match="holds more than a converted model"):
        refuse_used(folder, None, "checkpoint", force=True)
    with pytest.raises(ConversionError, match="is a folder, not what --to safetensors writes"):
        refuse_used(folder, None, "safetensors", force=True)
    with pytest.raises(ConversionError, match="is a file, not what --to official writes"):
        refuse_used(folder / "chapter.txt", None, "official", force=True)


@pytest.mark.parametrize("dest", ["run", "run/checkpoints/x", ".", "link/x"])
def test_destination_in_the_source_or_around_it_is_refused(tmp_path: Path, dest: str) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "run")
    with pytest.raises(ConversionError, match="lie in each other"):
        refuse_used(tmp_path / dest, tmp_path / "run", "checkpoint", force=True)


def test_converted_checkpoint_is_a_model_but_cannot_be_resumed(
    tmp_path: Path, model: Written
) -> None:
    write(tmp_path / "new" / "x", "checkpoint", model, force=False)
    assert sorted(path.name for path in (tmp_path / "new" / "x").iterdir()) == [
        "model.safetensors",
        "state.json",
    ]
    assert read_state(tmp_path / "new" / "x")["converted"]["source"] == "somewhere"
    assert load_model(find_model(tmp_path / "new" / "x")).config == model.config
    with pytest.raises(
        CheckpointError,
        match=r"was converted and holds no optimizer state.*start from it with --init",
    ):
        read_train_state(tmp_path / "new" / "x")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["x"]


def test_checkpoint_of_a_run_that_lost_its_train_state_is_still_damaged(
    tmp_path: Path, config_of: Any, weights_of: Any
) -> None:
    config = config_of()
    write_checkpoint(
        tmp_path / "x", config, "", weights_of(config), {"a": np.zeros(1)}, {"update": 1}
    )
    (tmp_path / "x" / "train_state.safetensors").unlink()
    for read in (read_state, read_train_state):
        with pytest.raises(CheckpointError, match=r"train_state\.safetensors cannot be read"):
            read(tmp_path / "x")


@pytest.mark.parametrize("to", ["safetensors", "checkpoint"])
def test_failure_leaves_nothing_and_the_old_one(
    tmp_path: Path, model: Written, to: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    dest = tmp_path / "deep" / ("x.safetensors" if to == "safetensors" else "x")
    for error in (OSError(28, "No space left on device"), KeyboardInterrupt()):

        def full(*paths: Path, error: BaseException = error) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(destinations, "_sync", full)
            with pytest.raises((ConversionError, KeyboardInterrupt)):
                write(dest, to, model, force=False)
        assert not list(tmp_path.iterdir()), "not even the folder that was made for it"
    write(dest, to, model, force=False)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    monkeypatch.setattr(destinations, "_sync", full_disk)
    with pytest.raises(ConversionError, match="was not written"):
        write(dest, to, model, force=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def full_disk(*paths: Path) -> None:
    raise OSError(28, "No space left on device")


def test_weight_that_is_not_finite_leaves_nothing(
    tmp_path: Path, model: Written, weights_of: Any
) -> None:
    weights = weights_of(model.config)
    weights["q_head.bias"][1] = np.nan
    broken = Written(
        model.config, "", {n: of_array(a) for n, a in weights.items()}, model.dtype, {}, ""
    )
    with pytest.raises(ConversionError, match=r"q_head.bias holds nan at \[1\]"):
        write(tmp_path / "x.safetensors", "safetensors", broken, force=False)
    assert not list(tmp_path.iterdir())


def test_force_replaces_file_and_folder(tmp_path: Path, model: Written) -> None:
    for to, name in (("safetensors", "x.safetensors"), ("checkpoint", "x")):
        for task in ("one", "two"):
            write(
                tmp_path / name,
                to,
                Written(model.config, task, model.tensors, model.dtype, {}, ""),
                force=True,
            )
        assert load_model(find_model(tmp_path / name)).task == "two"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x", "x.safetensors"]


def test_destination_that_appears_meanwhile_is_not_replaced(tmp_path: Path, model: Written) -> None:
    (tmp_path / "x.safetensors").write_text("mine")
    with pytest.raises(ConversionError, match="is there already"):
        write(tmp_path / "x.safetensors", "safetensors", model, force=False)
    assert (tmp_path / "x.safetensors").read_text() == "mine"


def test_folder_that_a_killed_process_had_moved_away_comes_back(
    tmp_path: Path, model: Written
) -> None:
    write(tmp_path / "x", "checkpoint", model, force=False)
    (tmp_path / "x").rename(tmp_path / ".x.replaced")
    (tmp_path / ".x.partial").mkdir()
    (tmp_path / ".x.partial" / "half").write_text("half")
    with pytest.raises(ConversionError, match="is there already"):
        write(tmp_path / "x", "checkpoint", model, force=False)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    read_state(tmp_path / "x")


def test_two_processes_cannot_write_one_destination(tmp_path: Path, model: Written) -> None:
    (tmp_path / ".x.partial").mkdir()
    lock = os.open(tmp_path / ".x.partial", os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ConversionError, match="is being written by another process"):
            write(tmp_path / "x", "checkpoint", model, force=False)
    finally:
        os.close(lock)


def test_destination_below_a_file_is_refused_in_one_line(tmp_path: Path, model: Written) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConversionError, match=r"was not written \((Not a directory|File exists)\)"):
        write(tmp_path / "file" / "x.safetensors", "safetensors", model, force=False)
