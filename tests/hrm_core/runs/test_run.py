"""A run directory belongs to one process, and nothing in it leads elsewhere."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hrm_core import files
from hrm_core.config import ModelConfig, RunConfig, load_config
from hrm_core.errors import RunError
from hrm_core.parameters import initial_values
from hrm_core.runs.checkpoint import MODEL_FILE, STATE_FILE, TRAIN_STATE_FILE, newest_first
from hrm_core.runs.run import CONFIG_FILE, LOCK_FILE, LOG_FILE, Run

MODEL = ModelConfig(
    vocab_size=4, seq_len=4, num_puzzle_identifiers=1, H_cycles=1, L_cycles=1, H_layers=1,
    L_layers=1, hidden_size=8, num_heads=2, expansion=4.0, halt_max_steps=2, puzzle_emb_ndim=8,
)  # fmt: skip


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def config() -> RunConfig:
    return load_config("sudoku-4x4", ())


def save(run: Run, update: int, best: str = "", keep: int = 2) -> Path:
    state = {"update": update, "best": {"checkpoint": best}}
    moments = {"m": np.zeros(2, np.float32)}
    return run.save(MODEL, "", initial_values(MODEL, 0), moments, state, keep)


def saved(run: Run) -> list[int]:
    return [int(folder.name[-8:]) for folder in newest_first(run.checkpoints)]


def test_run_that_was_not_begun_leaves_no_trace(directory: Path) -> None:
    with Run(directory), pytest.raises(RunError, match="is in use by another process; wait for"):
        Run(directory)
    assert not directory.exists()


def test_lock_that_was_removed_meanwhile_is_none(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first process leaves early between our opening and locking; the third one has made a new lock."""
    first, path, original = Run(directory), directory / LOCK_FILE, fcntl.flock
    third: list[int] = []

    def be_late(descriptor: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", original)
        first.__exit__(None, None, None)
        directory.mkdir(exist_ok=True)
        third.append(os.open(path, os.O_RDWR | os.O_CREAT))
        original(third[0], how)
        original(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", be_late)
    with pytest.raises(RunError, match="is in use by another process"):
        Run(directory)
    assert os.path.samestat(path.stat(), os.fstat(third[0]))
    os.close(third[0])


def test_lock_of_another_is_not_removed(directory: Path) -> None:
    path = directory / LOCK_FILE
    with Run(directory):
        path.unlink()
        path.write_text("of another")
    assert path.read_text() == "of another"


@pytest.mark.parametrize("name", [LOCK_FILE, LOG_FILE])
def test_link_in_a_run_is_not_followed(directory: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "mine").write_text("mine\n")
    directory.mkdir()
    (directory / name).symlink_to(tmp_path / "new" if name == LOCK_FILE else tmp_path / "mine")

    def log() -> None:
        with Run(directory) as run:
            run.log({"kind": "train"})

    message = "cannot be used as a run directory" if name == LOCK_FILE else "is a link, expected"
    with pytest.raises(RunError, match=f"{message}.*choose another --run"):
        log()
    assert (tmp_path / "mine").read_text() == "mine\n"
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("suffix", ["partial", "hrm-partial"])
def test_draft_of_the_config_follows_no_link(
    directory: Path, tmp_path: Path, config: RunConfig, suffix: str
) -> None:
    (tmp_path / "mine").write_text("mine")
    directory.mkdir()
    link = directory / f".{CONFIG_FILE}.{suffix}"
    link.symlink_to(tmp_path / "mine")
    with Run(directory) as run:
        if suffix == "hrm-partial":
            with pytest.raises(RunError, match="no work folder of hrm; rename or remove it, or"):
                run.begin(config)
        else:
            run.begin(config)
    assert link.is_symlink()
    assert (tmp_path / "mine").read_text() == "mine"


def test_checkpoints_that_are_no_longer_kept_are_removed_at_the_next_chance(
    directory: Path,
) -> None:
    with Run(directory) as run:
        for update in (1, 2, 3):
            save(run, update, keep=100)  # as if killed before the old ones were removed
        (run.checkpoints / ".update_00000003.hrm-partial").mkdir()
        (run.checkpoints / ".update_00000003.hrm-partial" / ".hrm-work").touch()
        run.tidy(run.checkpoints / "update_00000003", {}, keep=2)
        assert saved(run) == [3, 2]
        assert not list(run.checkpoints.glob(".*"))
        save(run, 4, keep=100)
        save(run, 5, best="update_00000002")
        assert saved(run) == [5, 4, 2]


def test_readers_never_see_a_part_of_a_checkpoint_that_is_removed(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[list[str]] = []

    def remove(folder: Path, **options: Any) -> None:
        removed.append([path.name for path in newest_first(directory / "checkpoints")])
        rmtree(folder, **options)

    rmtree = files.shutil.rmtree
    with Run(directory) as run:
        save(run, 1)
        monkeypatch.setattr(files.shutil, "rmtree", remove)
        save(run, 2, keep=1)
        assert removed == [["update_00000002"]]
        assert not list(run.checkpoints.glob(".*"))


def test_checkpoint_that_was_just_written_is_kept_beside_a_newer_damaged_one(
    directory: Path,
) -> None:
    with Run(directory) as run:
        (save(run, 9) / STATE_FILE).write_text("damaged")
        save(run, 5, keep=1)
        save(run, 6, keep=1)
        assert saved(run) == [9, 6]


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o002])
def test_files_of_a_run_follow_the_umask(
    directory: Path, config: RunConfig, umask: Callable[[int], Any], mask: int
) -> None:
    umask(mask)
    with Run(directory) as run:
        run.begin(config, ["<blank>", "a"])
        run.log({"kind": "train"})
        folder = save(run, 1)
    assert {path.name for path in folder.iterdir()} == {MODEL_FILE, TRAIN_STATE_FILE, STATE_FILE}
    found = {path: path.stat().st_mode & 0o777 for path in directory.rglob("*") if path.is_file()}
    assert set(found.values()) == {0o666 & ~mask}, found


def test_log_is_cut_through_no_link(directory: Path, tmp_path: Path, config: RunConfig) -> None:
    (tmp_path / "mine").write_text("mine")
    with Run(directory) as run:
        run.begin(config)
        run.log({"kind": "train", "update": 1})
        run.log({"kind": "train", "update": 2})
        for name in (".log.jsonl.partial", ".config.yaml.partial"):
            (directory / name).symlink_to(tmp_path / "mine")
        run.cut_log(pytest.fail, 1)
        assert len((directory / LOG_FILE).read_text().splitlines()) == 1
    assert (tmp_path / "mine").read_text() == "mine"


def test_unreadable_lines_of_the_log_are_dropped_and_counted(
    directory: Path, config: RunConfig
) -> None:
    with Run(directory) as run:
        run.begin(config)
        for update in (1, 2, 3):
            run.log({"kind": "train", "update": update})
        whole = (directory / LOG_FILE).read_bytes()
        first, second, third, _ = whole.split(b"\n")
        damaged = [b"\xff" + first, second, b"\0" * 40, b"[" * 99_999, b'{"kind": "eval"}', third]
        (directory / LOG_FILE).write_bytes(b"\n".join(damaged) + b'\n{"kind": "tr')
        warnings: list[str] = []
        run.cut_log(warnings.append, 2)
        assert (directory / LOG_FILE).read_bytes() == second + b"\n"
        message = f"dropped from {directory / LOG_FILE}: lines that cannot be read, 4 of 6"
        assert warnings == [message]
        run.cut_log(pytest.fail, 2)
        assert (directory / LOG_FILE).read_bytes() == second + b"\n"
