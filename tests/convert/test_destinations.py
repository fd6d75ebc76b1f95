"""A destination is there as a whole or not at all, and nothing else is touched."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
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
        {},
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
            patch.setattr("hrm_core.files.sync", full)
            with pytest.raises((ConversionError, KeyboardInterrupt)):
                write(dest, to, model, force=False)
        assert not list(tmp_path.iterdir()), "not even the folder that was made for it"
    write(dest, to, model, force=False)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    monkeypatch.setattr("hrm_core.files.sync", full_disk)
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
        model.config, "", {n: of_array(a) for n, a in weights.items()}, model.dtype, {}, "", {}
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
                Written(model.config, task, model.tensors, model.dtype, {}, "", {}),
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
    (tmp_path / ".x.partial" / "x").mkdir(parents=True)
    (tmp_path / ".x.partial" / "x" / "model.safetensors").write_text("half")
    with pytest.raises(ConversionError, match="is there already"):
        write(tmp_path / "x", "checkpoint", model, force=False)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    read_state(tmp_path / "x")


def test_two_processes_cannot_write_one_destination(tmp_path: Path, model: Written) -> None:
    (tmp_path / ".x.hrm-partial").mkdir()
    lock = os.open(tmp_path / ".x.hrm-partial", os.O_RDONLY)
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


# Another process that kills itself after a number of renames: argv is that number, then source and destination.
KILLED_AFTER = """
import os, signal, sys
from pathlib import Path
from hrm_convert.conversion import Request, convert
count, source, dest = int(sys.argv[1]), *sys.argv[2:]
passed = [0]
def killing(original):
    def rename(*paths):
        original(*paths)
        passed[0] += 1
        if passed[0] == count:
            os.kill(os.getpid(), signal.SIGKILL)
    return rename
Path.rename, Path.replace = killing(Path.rename), killing(Path.replace)
to = "safetensors" if dest.endswith(".safetensors") else "checkpoint"
convert(source, Path(dest), Request(to=to, force=True))
"""


def kill_convert(source: Path, dest: Path, renames: int) -> None:
    """Convert in another process that is killed after so many renames."""
    command = [sys.executable, "-c", KILLED_AFTER, str(renames), str(source), str(dest)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL


def visit(dest: Path, to: Any, model: Written, force: bool = False) -> None:
    """Both steps of a conversion."""
    refuse_used(dest, None, to, force)
    write(dest, to, model, force)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, links as such."""
    return {
        str(path.relative_to(folder)): b"link" if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """A folder of the user's own."""
    folder = tmp_path / "precious"
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    return folder


@pytest.fixture
def space(tmp_path: Path) -> Path:
    folder = tmp_path / "space"
    folder.mkdir()
    return folder


def of_the_third(room: Path) -> Path:
    """The half-written file in the work folder of another process."""
    half = room / "x.safetensors"
    room.mkdir()
    (room / ".hrm-work").touch()
    half.write_text("half")
    return half


def test_lock_of_a_folder_that_was_removed_meanwhile_is_none(
    tmp_path: Path, space: Path, model: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first process ends, and a third one begins, between our opening and locking."""
    halves: list[Path] = []

    def be_late(lock: int, how: int) -> None:
        (room,) = space.iterdir()
        room.rename(tmp_path / "elsewhere")
        halves.append(of_the_third(room))

    monkeypatch.setattr(fcntl, "flock", be_late)
    with pytest.raises(ConversionError, match="is being written by another process"):
        write(space / "x.safetensors", "safetensors", model, force=False)
    assert halves[0].read_text() == "half"


def test_work_folder_of_another_is_not_removed(
    tmp_path: Path, space: Path, model: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    halves: list[Path] = []

    def lose_the_room(*_: object) -> None:
        (room,) = space.iterdir()
        room.rename(tmp_path / "elsewhere")
        halves.append(of_the_third(room))
        raise KeyboardInterrupt

    monkeypatch.setattr("hrm_convert.destinations.write_model", lose_the_room)
    with pytest.raises(KeyboardInterrupt):
        write(space / "x.safetensors", "safetensors", model, force=False)
    assert halves[0].read_text() == "half"


@pytest.mark.parametrize("dest", ["x", "x.safetensors"])
@pytest.mark.parametrize("suffix", ["partial", "hrm-partial", "replaced"])
@pytest.mark.parametrize("present", [False, True])
def test_link_of_a_hidden_name_is_not_followed(
    space: Path, precious: Path, model: Written, dest: str, suffix: str, present: bool
) -> None:
    to: Any = "safetensors" if dest.endswith("s") else "checkpoint"
    if present:
        write(space / dest, to, model, force=False)
    link = space / f".{dest}.{suffix}"
    link.symlink_to(precious)
    if suffix == "hrm-partial":
        with pytest.raises(ConversionError, match="no work folder of hrm; rename or remove it"):
            visit(space / dest, to, model, force=present)
    else:
        visit(space / dest, to, model, force=present)
        load_model(find_model(space / dest))
    assert link.is_symlink()
    assert contents(precious) == {"thesis.txt": b"mine"}


@pytest.mark.parametrize("suffix", ["partial", "hrm-partial", "replaced"])
@pytest.mark.parametrize("name", ["thesis.txt", "m.safetensors"])
def test_hidden_folder_of_the_users_own_is_left_as_it_is(
    space: Path, model: Written, suffix: str, name: str
) -> None:
    dest, mine = space / "m.safetensors", space / f".m.safetensors.{suffix}"
    mine.mkdir()
    (mine / name).write_text("mine")
    if suffix == "hrm-partial":
        message = "is there and no work folder of hrm; rename or remove it, or choose another DEST"
        with pytest.raises(ConversionError, match=message):
            visit(dest, "safetensors", model)
    else:
        visit(dest, "safetensors", model)
    assert contents(mine) == {name: b"mine"}


@pytest.mark.parametrize("dest", ["x", "x.safetensors"])
@pytest.mark.parametrize("how", ["the same", "the same by force", "a neighbour"])
def test_work_folder_of_a_convert_that_was_killed_when_done_is_removed_by_the_next(
    space: Path, model: Written, dest: str, how: str
) -> None:
    source = space.parent / "source.safetensors"
    write(source, "safetensors", model, force=False)
    kill_convert(source, space / dest, renames=1)
    load_model(find_model(space / dest))
    to: Any = "safetensors" if dest.endswith("s") else "checkpoint"
    if how == "the same":
        with pytest.raises(ConversionError, match="is there already"):
            visit(space / dest, to, model)
    elif how == "the same by force":
        visit(space / dest, to, model, force=True)
    else:
        visit(space / "neighbour.safetensors", "safetensors", model)
        (space / "neighbour.safetensors").unlink()
    assert [path.name for path in space.iterdir()] == [dest]


def test_old_model_of_a_convert_that_was_killed_when_done_is_removed_by_the_next(
    space: Path, model: Written
) -> None:
    source = space.parent / "source.safetensors"
    write(source, "safetensors", model, force=False)
    write(space / "x", "checkpoint", model, force=False)
    kill_convert(source, space / "x", renames=2)
    assert len(list(space.iterdir())) > 1
    with pytest.raises(ConversionError, match="is there already"):
        visit(space / "x", "checkpoint", model)
    assert [path.name for path in space.iterdir()] == ["x"]


def test_model_of_a_convert_that_was_killed_between_two_renames_comes_back(
    space: Path, model: Written
) -> None:
    source = space.parent / "source.safetensors"
    write(source, "safetensors", model, force=False)
    write(space / "x", "checkpoint", model, force=False)
    before = contents(space)
    kill_convert(source, space / "x", renames=1)
    assert not (space / "x").exists()
    with pytest.raises(ConversionError, match="is there already"):
        visit(space / "x", "checkpoint", model)
    assert contents(space) == before


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o002])
@pytest.mark.parametrize("to", ["safetensors", "checkpoint", "official"])
def test_files_follow_the_umask(
    space: Path, model: Written, umask: Callable[[int], int], mask: int, to: Any
) -> None:
    umask(mask)
    write(space / f"x{'.safetensors' * (to == 'safetensors')}", to, model, force=False)
    modes = {path.stat().st_mode & 0o777 for path in space.rglob("*") if path.is_file()}
    assert modes == {0o666 & ~mask}
