"""Writes what was converted: into a hidden sibling, flushed to disk, and renamed. It is there as a whole or not at all."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hrm_core.config import ModelConfig
from hrm_core.runs.checkpoint import CONVERTED, MODEL_FILE, STATE_FILE, write_state

from .official import write_official
from .published_config import CONFIG_FILE, write_published_config
from .safetensors_file import write_model
from .sources import SIZES_FILE, WEIGHTS_FILE, Format, Sizes
from .tensors import ConversionError, Dtype, Tensor

SUFFIX = ".safetensors"
OURS = {  # what a folder that may be replaced holds, at most
    "official": {WEIGHTS_FILE, CONFIG_FILE, SIZES_FILE},
    "checkpoint": {MODEL_FILE, STATE_FILE},
}


@dataclass(frozen=True, eq=False)
class Written:
    """What is to be written."""

    config: ModelConfig
    task: str
    tensors: Mapping[str, Tensor]
    dtype: Dtype  # of the weights, but for official checkpoints
    training: Mapping[str, Any]  # published settings, for official checkpoints
    source: str  # as the user named it


def chosen_format(dest: Path, to: Format | None, source_format: Format) -> Format:
    """The format to write: as asked for, or as the name of the destination says; published checkpoints become ours.

    Raises: ConversionError where it is not clear, or the name and the format disagree.
    """
    is_file = dest.suffix == SUFFIX
    if to is None:
        if not is_file and source_format != "official":
            raise ConversionError(
                f"{dest} may become an official or another checkpoint; choose --to, or a DEST that ends in {SUFFIX}"
            )
        return "safetensors" if is_file else "checkpoint"
    if is_file != (to == "safetensors"):
        raise ConversionError(
            f"{dest}: --to {to} writes a {'folder' if is_file else f'file that ends in {SUFFIX}'}; choose another DEST"
        )
    return to


def refuse_used(dest: Path, source: Path | None, to: Format, force: bool) -> None:
    """Make sure that the destination may be written.

    Raises: ConversionError if it is there already, or is part of the source or the source part of it.
    """
    target, origin = dest.resolve(), source.resolve() if source else None
    if origin and (target == origin or origin in target.parents or target in origin.parents):
        raise ConversionError(
            f"{dest} and the source {source} lie in each other; choose a DEST outside"
        )
    if not os.path.lexists(dest):
        return
    if not force:
        _refuse_present(dest)
    if dest.is_dir() != (to != "safetensors"):
        raise ConversionError(
            f"{dest} is a {'folder' if dest.is_dir() else 'file'}, not what --to {to} writes; choose another DEST"
        )
    if dest.is_dir() and not any(
        {path.name for path in dest.iterdir()} <= names for names in OURS.values()
    ):
        raise ConversionError(
            f"{dest} holds more than a converted model; --force does not replace it, choose another DEST"
        )


def write(dest: Path, to: Format, model: Written, force: bool) -> None:
    """Write a model in a format.

    Raises: ConversionError if the disk is full, another process writes there, or a weight is not finite; nothing is left behind then.
    """
    try:
        with _staging(dest.resolve(), to == "safetensors", force) as partial:
            if to == "safetensors":
                write_model(partial, model.config, model.task, model.tensors, model.dtype)
            elif to == "checkpoint":
                write_model(
                    partial / MODEL_FILE, model.config, model.task, model.tensors, model.dtype
                )
                write_state(
                    partial, {CONVERTED: {"source": model.source, "hrm": version("hrm-mlx")}}
                )
            else:
                write_official(partial / WEIGHTS_FILE, model.config, model.tensors)
                write_published_config(partial / CONFIG_FILE, model.config, model.training)
                sizes = Sizes(task=model.task, **model.config.sizes._asdict())
                (partial / SIZES_FILE).write_text(sizes.model_dump_json() + "\n", encoding="utf-8")
    except OSError as error:
        raise ConversionError(
            f"{dest} was not written ({error.strerror or error}); make room or choose another DEST"
        ) from error


@contextlib.contextmanager
def _staging(dest: Path, is_file: bool, force: bool) -> Iterator[Path]:
    """A hidden file or folder to write into; it takes the place of `dest` at the end or else is removed."""
    made = [folder for folder in (dest.parent, *dest.parent.parents) if not folder.exists()]
    room, replaced = (dest.with_name(f".{dest.name}.{state}") for state in ("partial", "replaced"))
    try:
        room.mkdir(parents=True, exist_ok=True)
        lock = os.open(room, os.O_RDONLY)
    except BaseException:
        _remove_empty(made)
        raise
    try:
        _claim(room, lock)
        try:
            _settle(dest, replaced)
            if not force:
                _refuse_present(dest)
            partial = room / dest.name
            if not is_file:
                partial.mkdir()
            yield partial
            _sync(*([] if is_file else partial.iterdir()), partial)
            _take_place(partial, dest, replaced)
        finally:
            shutil.rmtree(room, ignore_errors=True)
    except BaseException:  # Ctrl-C too
        _remove_empty(made)
        raise
    finally:
        os.close(lock)


def _refuse_present(dest: Path) -> None:
    if os.path.lexists(dest):
        raise ConversionError(
            f"{dest} is there already; choose another DEST, or --force to replace it"
        )


def _claim(room: Path, lock: int) -> None:
    """Lock the room for this process, as long as it lives, and empty it of what a killed process left."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ConversionError(
            f"{room} is being written by another process; wait for it or choose another DEST"
        ) from error
    for leftover in room.iterdir():
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


def _settle(dest: Path, replaced: Path) -> None:
    """Put right what a process left that was killed while it replaced a folder."""
    if replaced.exists():
        shutil.rmtree(replaced) if dest.exists() else replaced.rename(dest)


def _take_place(partial: Path, dest: Path, replaced: Path) -> None:
    """Rename what was written to `dest`; a folder that is there makes room first and comes back if that fails."""
    if dest.is_dir():
        dest.rename(replaced)
        try:
            partial.rename(dest)
        except BaseException:
            replaced.rename(dest)
            raise
        shutil.rmtree(replaced, ignore_errors=True)
    else:
        partial.replace(dest)
    _sync(dest.parent)


def _sync(*paths: Path) -> None:
    """Make sure that files and folders are on disk, not only in memory."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _remove_empty(folders: list[Path]) -> None:
    """Remove the folders that were made for a destination that did not come to be."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()
