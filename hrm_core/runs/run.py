"""A run directory: its config, its log, its checkpoints and the lock against a second process.

runs/<name>/  config.yaml       enough to repeat the run
              identifiers.json  names of the puzzle identifiers, where there are several; the data
                                set may change when tasks are added
              log.jsonl         one line a report
              checkpoints/      see checkpoint.py
"""

import contextlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from hrm_core.backend import AnyArray, Arrays
from hrm_core.config import DataConfig, ModelConfig, RunConfig, load_config
from hrm_core.data.store import IDENTIFIERS_FILE
from hrm_core.errors import RunError
from hrm_core.files import (
    Refusal,
    append,
    check_exists,
    holds,
    lock,
    remove_at_once,
    remove_leftovers,
    staged,
    sync,
)
from hrm_core.runs.checkpoint import (
    CHECKPOINTS,
    IN_USE,
    MODEL_FILE,
    NO_FILES,
    STATE_FILE,
    Model,
    checkpoint_name,
    load_model,
    newest_first,
    read_newest,
    read_state,
    read_train_state,
    remove_killed,
    write_checkpoint,
)
from hrm_core.runs.settings import recorded_settings

CONFIG_FILE = "config.yaml"
LOG_FILE = "log.jsonl"
LOCK_FILE = ".lock"


class Restored(NamedTuple):
    """Result of reading the newest whole checkpoint."""

    folder: Path
    model: Model
    train_state: Mapping[str, AnyArray]
    state: dict[str, Any]


class Run:
    """An open run directory, locked for this process."""

    def __init__(self, directory: Path) -> None:
        """Lock a run directory, making it if needed.

        Raises: RunError if another process has it.
        """
        self.directory = directory
        self.checkpoints = directory / CHECKPOINTS
        try:
            directory.mkdir(parents=True, exist_ok=True)
            held = lock(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise RunError(
                f"{directory} cannot be used as a run directory ({error.strerror}); "
                "choose another --run"
            ) from error
        if held is None:
            raise RunError(
                f"{directory} is in use by another process; wait for it or choose another --run"
            )
        self._lock = held

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        path = self.directory / LOCK_FILE
        if not self.exists and holds(self._lock, path):  # no run was begun: leave no trace
            path.unlink()
            with contextlib.suppress(OSError):
                self.directory.rmdir()
        os.close(self._lock)

    @property
    def exists(self) -> bool:
        """Return True if a run was begun here."""
        return (self.directory / CONFIG_FILE).exists()

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """The settings in config.yaml that each checkpoint records, as they were at the start."""
        return recorded_settings(run_config(self.directory))

    def begin(self, config: RunConfig, identifiers: Sequence[str] = ()) -> None:
        """Start a run in an empty directory.

        Raises: RunError if one is there already or the disk is full.
        """
        if self.exists:
            raise RunError(
                f"{self.directory} holds a run already; "
                "continue it with --resume or choose another --run"
            )
        if identifiers:
            names = json.dumps(list(identifiers))
            _write_whole(self.directory / IDENTIFIERS_FILE, names.encode())
        _write_whole(self.directory / CONFIG_FILE, config.to_yaml().encode())
        self.settings = recorded_settings(config)

    def log(self, record: Mapping[str, Any]) -> None:
        """Append one line to the log. Raises: RunError if the disk is full."""
        path = self.directory / LOG_FILE
        line = json.dumps(record) + "\n"
        try:
            append(path, line, IN_USE)
        except OSError as error:
            raise RunError(
                f"{path} was not written: {error.strerror}; make room and continue with --resume"
            ) from error

    def cut_log(self, warn: Callable[[str], None], update: int = 0, evaluated: int = 0) -> None:
        """Drop reports after `update`, evaluations after `evaluated`, and what cannot be read.

        `warn` receives the number of lines that cannot be read. What a kill left of the last line
        does not count.

        Raises: RunError if the disk is full; then the log stays as it is.
        """
        path = self.directory / LOG_FILE
        if not path.exists():
            return
        *lines, _ = path.read_bytes().split(b"\n")
        last = {"train": update, "eval": evaluated}
        kept, num_unreadable = [], 0
        for line in lines:
            try:
                record = json.loads(line)
                is_kept = record["update"] <= last[record["kind"]]
            except (ValueError, KeyError, TypeError, RecursionError):
                num_unreadable += 1
                continue
            if is_kept:
                kept.append(line + b"\n")
        _write_whole(path, b"".join(kept))
        if num_unreadable:
            warn(
                f"dropped from {path}: lines that cannot be read, {num_unreadable} of {len(lines)}"
            )

    def newest(self, warn: Callable[[str], None]) -> Restored | None:
        """Read the newest whole checkpoint. None if there is no checkpoint.

        `warn` receives a message for each damaged one.

        Raises: CheckpointError if there are checkpoints and none is whole.
        """

        def restored(folder: Path) -> Restored:
            state = read_state(folder)
            model = load_model(folder / MODEL_FILE)
            return Restored(folder, model, read_train_state(folder), state)

        return read_newest(self.checkpoints, restored, warn, "start again in another --run")

    def save(
        self,
        config: ModelConfig,
        task: str,
        weights: Arrays,
        train_state: Arrays,
        state: Mapping[str, Any],
        keep: int,
        files: Mapping[str, str] = NO_FILES,
    ) -> Path:
        """Write the checkpoint of `state["update"]`; keep the last `keep` and the best one."""
        folder = self.checkpoints / checkpoint_name(state["update"])
        write_checkpoint(folder, config, task, weights, train_state, state, files)
        self._prune(folder, state["best"], keep)
        return folder

    def tidy(self, newest: Path, best: Mapping[str, Any], keep: int) -> None:
        """Remove what a killed process left that had saved `newest`, or was about to save the next."""
        remove_leftovers(self.directory)
        remove_killed(self.checkpoints)
        self._prune(newest, best, keep)

    def _prune(self, newest: Path, best: Mapping[str, Any], keep: int) -> None:
        """Remove the checkpoints older than the last `keep` up to `newest`, but not the best one."""
        folders = newest_first(self.checkpoints)
        for old in folders[folders.index(newest) + keep :]:
            if old.name != best.get("checkpoint"):
                remove_at_once(old, IN_USE)


class Follower(Run):
    """The run directory for all replicas but the first: they read and write nothing."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.checkpoints = directory / CHECKPOINTS

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Do nothing: nothing was locked."""

    def begin(self, config: RunConfig, identifiers: Sequence[str] = ()) -> None:
        """Do nothing: the first replica writes the config."""

    def log(self, record: Mapping[str, Any]) -> None:
        """Do nothing: the first replica writes the log."""

    def cut_log(self, warn: Callable[[str], None], update: int = 0, evaluated: int = 0) -> None:
        """Do nothing: the first replica cuts the log."""

    def save(
        self,
        config: ModelConfig,
        task: str,
        weights: Arrays,
        train_state: Arrays,
        state: Mapping[str, Any],
        keep: int,
        files: Mapping[str, str] = NO_FILES,
    ) -> Path:
        """Return the folder of the checkpoint, which the first replica writes."""
        return self.checkpoints / checkpoint_name(state["update"])

    def tidy(self, newest: Path, best: Mapping[str, Any], keep: int) -> None:
        """Do nothing: the first replica tidies."""


def run_of(model: Path) -> Path:
    """Return the run of a run, a checkpoint folder or a file in it; else the argument itself."""
    above = model.resolve().parents[:2]  # of a checkpoint, of a file in it
    runs = [folder.parent for folder in above if folder.name == CHECKPOINTS]
    for path in (model, *runs):
        if (path / CONFIG_FILE).is_file():
            return path
    return model


def run_config(directory: Path) -> RunConfig:
    """Read the settings a run was begun with. Raises: RunError if there is no run."""
    path = directory / CONFIG_FILE
    check_exists(directory, Refusal(RunError, "expected a run; begin one with `hrm train`"))
    if not path.is_file():
        is_checkpoint = (directory / STATE_FILE).is_file()
        way_out = "; start a run from it with --init" if is_checkpoint else ""
        raise RunError(f"{directory} is not part of a run: no {CONFIG_FILE} is there{way_out}")
    return load_config(str(path))


def trained_on(model: Path) -> DataConfig | None:
    """Return the data set that the run of a model recorded; None of a model that is in no run."""
    run = run_of(model)
    return run_config(run).data if (run / CONFIG_FILE).is_file() else None


def _write_whole(path: Path, content: bytes) -> None:
    """Replace a file, so that it is never half-written. Raises: RunError if the disk is full."""
    try:
        with staged(path, IN_USE) as draft:
            draft.write_bytes(content)
            sync(draft)
    except OSError as error:
        raise RunError(
            f"{path} was not written: {error.strerror}; make room or choose another --run"
        ) from error
