"""A run directory: its config, its log, its checkpoints and the lock that keeps two processes apart.

runs/<name>/  config.yaml       enough to repeat the run
              identifiers.json  names of the puzzle identifiers, where there are several; data sets change when tasks are added
              log.jsonl         one line a report
              checkpoints/      see checkpoint.py
"""

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from hrm_core.backend import AnyArray, Arrays
from hrm_core.config import ModelConfig, RunConfig, load_config
from hrm_core.data.store import IDENTIFIERS_FILE
from hrm_core.errors import CheckpointError, RunError
from hrm_core.files import append, holds, lock, remove, remove_leftovers, staged, sync
from hrm_core.runs.checkpoint import (
    CHECKPOINTS,
    IN_USE,
    MODEL_FILE,
    STATE_FILE,
    Model,
    checkpoint_name,
    load_model,
    newest_first,
    read_state,
    read_train_state,
    remove_killed,
    write_checkpoint,
)

CONFIG_FILE = "config.yaml"
LOG_FILE = "log.jsonl"
LOCK_FILE = ".lock"


class Restored(NamedTuple):
    """A checkpoint that was found whole."""

    folder: Path
    model: Model
    train_state: Mapping[str, AnyArray]
    state: dict[str, Any]


class Run:
    """An open run directory, locked for this process."""

    def __init__(self, directory: Path) -> None:
        """Lock a run directory, making it if needed. Raises: RunError if another process has it."""
        self.directory = directory
        self.checkpoints = directory / CHECKPOINTS
        try:
            directory.mkdir(parents=True, exist_ok=True)
            held = lock(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise RunError(
                f"{directory} cannot be used as a run directory ({error.strerror}); choose another --run"
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
        if not self.exists and holds(self._lock, path):  # nothing was begun: leave no trace
            path.unlink()
            with contextlib.suppress(OSError):
                self.directory.rmdir()
        os.close(self._lock)

    @property
    def exists(self) -> bool:
        """Whether a run was begun here."""
        return (self.directory / CONFIG_FILE).exists()

    def begin(self, config: RunConfig, identifiers: Sequence[str] = ()) -> None:
        """Start a run in an empty directory. Raises: RunError if one is there already or the disk is full."""
        if self.exists:
            raise RunError(
                f"{self.directory} holds a run already; continue it with --resume or choose another --run"
            )
        if identifiers:
            _write_whole(self.directory / IDENTIFIERS_FILE, json.dumps(list(identifiers)))
        _write_whole(self.directory / CONFIG_FILE, config.to_yaml())

    def log(self, record: Mapping[str, Any]) -> None:
        """Append one line to the log. Raises: RunError if the disk is full."""
        try:
            append(self.directory / LOG_FILE, json.dumps(record) + "\n", IN_USE)
        except OSError as error:
            raise RunError(
                f"{self.directory / LOG_FILE} was not written: {error.strerror}; make room and continue with --resume"
            ) from error

    def cut_log(self, update: int, evaluated: int = 0) -> None:
        """Drop what was logged after an update, evaluations after the update `evaluated`, and a half-written line.

        Raises: RunError if the disk is full; the log stays as it is then.
        """
        last = {"train": update, "eval": evaluated}
        path = self.directory / LOG_FILE
        if not path.exists():
            return
        kept = []
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
            try:
                record = json.loads(line)
                if line.endswith("\n") and record["update"] <= last[record["kind"]]:
                    kept.append(line)
            except (ValueError, KeyError, TypeError):
                continue
        _write_whole(path, "".join(kept))

    def newest(self, warn: Any) -> Restored | None:
        """The newest checkpoint that is whole; `warn` is told of each damaged one. None if there is no checkpoint.

        Raises: CheckpointError if there are checkpoints and none is whole.
        """
        folders = newest_first(self.checkpoints)
        for folder in folders:
            try:
                state = read_state(folder)
                return Restored(
                    folder, load_model(folder / MODEL_FILE), read_train_state(folder), state
                )
            except CheckpointError as error:
                warn(f"skipped a damaged checkpoint: {error}")
        if folders:
            raise CheckpointError(
                f"none of the {len(folders)} checkpoints in {self.checkpoints} is whole; start again in another --run"
            )
        return None

    def save(
        self,
        config: ModelConfig,
        task: str,
        weights: Arrays,
        train_state: Arrays,
        state: Mapping[str, Any],
        keep: int,
    ) -> Path:
        """Write the checkpoint of `state["update"]`, then remove all but the last `keep` and the best one."""
        folder = self.checkpoints / checkpoint_name(state["update"])
        write_checkpoint(folder, config, task, weights, train_state, state)
        self._prune(folder, state["best"], keep)
        return folder

    def tidy(self, newest: Path, best: Mapping[str, Any], keep: int) -> None:
        """Remove what a process left that was killed after it had saved `newest`, or while it did."""
        remove_leftovers(self.directory)
        remove_killed(self.checkpoints)
        self._prune(newest, best, keep)

    def _prune(self, newest: Path, best: Mapping[str, Any], keep: int) -> None:
        """Remove the checkpoints before `newest` but the last ones, `keep` with it, and the best one."""
        folders = newest_first(self.checkpoints)
        for old in folders[folders.index(newest) + keep :]:
            if old.name != best.get("checkpoint"):
                remove(old)


class Follower(Run):
    """The run directory as all replicas but the first use it: they read, and write nothing."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.checkpoints = directory / CHECKPOINTS

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing was locked."""

    def begin(self, config: RunConfig, identifiers: Sequence[str] = ()) -> None:
        """The first replica writes the config."""

    def log(self, record: Mapping[str, Any]) -> None:
        """The first replica writes the log."""

    def cut_log(self, update: int, evaluated: int = 0) -> None:
        """The first replica cuts the log."""

    def save(
        self,
        config: ModelConfig,
        task: str,
        weights: Arrays,
        train_state: Arrays,
        state: Mapping[str, Any],
        keep: int,
    ) -> Path:
        """The first replica writes the checkpoint. Returns: where."""
        return self.checkpoints / checkpoint_name(state["update"])

    def tidy(self, newest: Path, best: Mapping[str, Any], keep: int) -> None:
        """The first replica removes what was left."""


def run_of(model: Path) -> Path:
    """The run that a run, a checkpoint folder or a file in it belongs to; the argument itself if there is none."""
    runs = [
        folder.parent for folder in model.resolve().parents[:2] if folder.name == CHECKPOINTS
    ]  # of a checkpoint, of a file in it
    return next((path for path in (model, *runs) if (path / CONFIG_FILE).is_file()), model)


def run_config(directory: Path) -> RunConfig:
    """The settings a run was begun with. Raises: RunError if there is no run."""
    path = directory / CONFIG_FILE
    if not path.is_file():
        way_out = "; start a run from it with --init" if (directory / STATE_FILE).is_file() else ""
        raise RunError(f"{directory} is not part of a run: no {CONFIG_FILE} is there{way_out}")
    return load_config(str(path))


def _write_whole(path: Path, text: str) -> None:
    """Replace a file at once, so that it is never half-written. Raises: RunError if the disk is full."""
    try:
        with staged(path, IN_USE) as draft:
            draft.write_text(text, encoding="utf-8")
            sync(draft)
    except OSError as error:
        raise RunError(
            f"{path} was not written: {error.strerror}; make room or choose another --run"
        ) from error
