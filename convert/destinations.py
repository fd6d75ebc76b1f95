"""Write converted models: into a hidden sibling, flushed to disk, then renamed.

A destination is there as a whole or not at all.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hrm_core.config import ModelConfig
from hrm_core.files import (
    Refusal,
    is_folder,
    lock,
    parents_made,
    put_back,
    remove,
    remove_leftovers,
    staged,
)
from hrm_core.runs.checkpoint import CONVERTED, MODEL_FILE, STATE_FILE, write_state

from .official import write_official
from .published_config import CONFIG_FILE, SIZES, write_published_config
from .safetensors_file import write_model
from .sources import SIZES_FILE, WEIGHTS_FILE, Format, Sizes
from .tensors import ConversionError, Dtype, Tensor

SUFFIX = ".safetensors"
OURS = {  # a folder that holds nothing else may be replaced
    "official": {WEIGHTS_FILE, CONFIG_FILE, SIZES_FILE},
    "checkpoint": {MODEL_FILE, STATE_FILE},
}


IN_USE = Refusal(ConversionError, "choose another DEST")


@dataclass(frozen=True, eq=False)
class Written:
    """A model in the form in which it is written."""

    config: ModelConfig
    task: str
    tensors: Mapping[str, Tensor]
    dtype: Dtype  # of the weights, except in official checkpoints
    training: Mapping[str, Any]  # published settings, for official checkpoints
    source: str  # as the user named it
    files: Mapping[str, str]  # contents of those that the task needs, by name


def chosen_format(dest: Path, to: Format | None, source_format: Format) -> Format:
    """Return the format to write: the one asked for, or the one that the destination's name implies.

    Published checkpoints become ours.

    Raises: ConversionError if it is not clear, or the name and the format disagree.
    """
    is_file = dest.suffix == SUFFIX
    if to is None:
        if not is_file and source_format != "official":
            raise ConversionError(
                f"{dest} may become an official or another checkpoint; "
                f"choose --to, or a DEST that ends in {SUFFIX}"
            )
        return "safetensors" if is_file else "checkpoint"
    if is_file != (to == "safetensors"):
        written = "folder" if is_file else f"file that ends in {SUFFIX}"
        raise ConversionError(f"{dest}: --to {to} writes a {written}; choose another DEST")
    return to


def refuse_used(dest: Path, source: Path | None, to: Format, force: bool) -> None:
    """Check that the destination may be written.

    Raises: ConversionError if it exists and is not to be replaced, or it and the source lie in each
    other.
    """
    target = dest.resolve()
    if source is not None and _overlap(target, source.resolve()):
        raise ConversionError(
            f"{dest} and the source {source} lie in each other; choose a DEST outside"
        )
    remove_leftovers(target.parent)
    if not os.path.lexists(dest):
        return
    if not force:
        _refuse_present(dest)
    if dest.is_dir() != (to != "safetensors"):
        kind = "folder" if dest.is_dir() else "file"
        raise ConversionError(f"{dest} is a {kind}, not what --to {to} writes; choose another DEST")
    if dest.is_dir() and not _holds_a_model(dest):
        raise ConversionError(
            f"{dest} holds more than a converted model; "
            "--force does not replace it, choose another DEST"
        )


def _overlap(one: Path, other: Path) -> bool:
    """Return True if two resolved paths are one, or one lies in the other."""
    return one == other or one in other.parents or other in one.parents


def write(dest: Path, to: Format, model: Written, force: bool) -> None:
    """Write a model in a format.

    Raises: ConversionError if the disk is full, another process writes there, or a weight is not
    finite; then nothing is left behind.
    """
    target = dest.resolve()
    try:
        with (
            parents_made(target),
            staged(target, IN_USE, replace=force, durable=True) as draft,
        ):
            _finish_earlier_version(target)
            if not force:
                _refuse_present(target)
            _write_draft(draft, to, model)
    except OSError as error:
        raise ConversionError(
            f"{dest} was not written ({error.strerror or error}); make room or choose another DEST"
        ) from error


def _write_draft(draft: Path, to: Format, model: Written) -> None:
    """Write a file, or a folder with its files."""
    if to == "safetensors":
        _write_model(draft, model)
        return
    draft.mkdir()
    if to == "checkpoint":
        _write_model(draft / MODEL_FILE, model)
        write_state(draft, {CONVERTED: {"source": model.source, "hrm": version("hrm-mlx")}})
    else:
        write_official(draft / WEIGHTS_FILE, model.config, model.tensors)
        write_published_config(draft / CONFIG_FILE, model.config, model.training)
        found = (
            model.config.sizes._asdict()
        )  # those that are published: no other is off its default
        sizes = Sizes(task=model.task, **{name: found[name] for name in SIZES})
        (draft / SIZES_FILE).write_text(sizes.model_dump_json() + "\n", encoding="utf-8")


def _write_model(path: Path, model: Written) -> None:
    write_model(path, model.config, model.task, model.tensors, model.dtype, model.files)


def _refuse_present(dest: Path) -> None:
    if os.path.lexists(dest):
        raise ConversionError(
            f"{dest} is there already; choose another DEST, or --force to replace it"
        )


def _finish_earlier_version(dest: Path) -> None:
    """Finish what an earlier version of hrm left when it was killed.

    Its folders have no mark of ours, so their content must be a converted model.
    """
    replaced = dest.with_name(f".{dest.name}.replaced")
    room = dest.with_name(f".{dest.name}.partial")
    if _is_a_model(replaced):
        put_back(replaced, dest)
    descriptor = lock(room) if is_folder(room) else None
    if descriptor is None:
        return
    try:
        drafts = list(room.iterdir())
        if drafts in ([], [room / dest.name]) and all(map(_is_a_model, drafts)):
            remove(room)
    finally:
        os.close(descriptor)


def _is_a_model(path: Path) -> bool:
    """Return True for a folder, not a link, that holds only a converted model or a part of one."""
    return is_folder(path) and _holds_a_model(path)


def _holds_a_model(folder: Path) -> bool:
    found = {path.name for path in folder.iterdir()}
    return any(found <= names for names in OURS.values())
