"""Adds ARC tasks to a data set that is built: identifiers keep their numbers, new ones follow.

Shapes: P puzzles, G groups.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, Field, NonNegativeInt, ValidationError

from hrm_core.data.store import IDENTIFIERS_FILE, WAY_OUT, ExampleSet, check_layout, load_split, present_splits, read_identifiers, read_rows
from hrm_core.data.writer import Examples
from hrm_core.errors import DataError
from hrm_core.tasks.arc_build import SET, TASK, Blocks, OnTask, augment_tasks, blocks, describe_sources, drops, write
from hrm_core.tasks.arc_canvas import SIDE, SMALLEST
from hrm_core.tasks.arc_leaks import Known, settle
from hrm_core.tasks.arc_read import read_source

BLOCK_EXAMPLES = 1 << 15  # copied at once


class Settings(BaseModel, frozen=True, strict=True):
    """What build.json says of the canvas; nothing of the published one."""

    canvas: int = Field(SIDE, ge=SMALLEST, le=SIDE)


class BuiltTask(BaseModel, frozen=True, strict=True):
    """What build.json says of one task."""

    folder: str
    evaluation: bool
    training_pairs: str  # keys in hexadecimal
    test_pairs: str


class Built(BaseModel, frozen=True, strict=True):
    """What build.json says of an ARC data set, as far as adding asks for it."""

    task: str
    task_settings: Settings = Settings()
    seed: NonNegativeInt
    augment: NonNegativeInt
    tasks: dict[str, BuiltTask]

    def known(self) -> Known:
        """What new tasks are kept apart from. Raises: ValueError if a key is none."""
        return Known(
            folders={name: task.folder for name, task in self.tasks.items()},
            evaluation=frozenset(name for name, task in self.tasks.items() if task.evaluation),
            training_keys={int(key, 16): name for name, task in self.tasks.items() for key in task.training_pairs.split()},
            test_keys={int(key, 16): name for name, task in self.tasks.items() for key in task.test_pairs.split()},
        )


def add(directory: Path, paths: Sequence[Path], on_task: OnTask = lambda name: None) -> dict[str, Any]:
    """Add tasks to a data set, with its own canvas, seed and number of augmentations. It is written whole beside itself, then replaced.

    Returns: what was done, as in build.json. Raises: DataError naming the file; the data set is as it was then.
    """
    directory = directory.resolve()
    replaced = directory.with_name(f".{directory.name}.hrm-replaced")
    if replaced.is_dir() and not directory.exists():  # killed between two renames
        replaced.rename(directory)
    record, built, known = _read_build(directory / "build.json")
    sources = [read_source(path) for path in paths]
    side, found = built.task_settings.canvas, [task for source in sources for task in source.tasks]
    if too_large := next((task for task in found if task.side > side), None):
        raise DataError(
            f"task {too_large.name} of {too_large.folder} has no room on the canvas of {directory}, {side}x{side}; "
            f"leave it out, or build the data set anew with --canvas {too_large.side}"
        )
    settled = settle(found, known)
    if not settled.tasks:
        raise DataError(f"{directory} holds every task of {', '.join(map(str, paths))} already; name others")
    old_names = _identifiers(directory)
    tasks = augment_tasks(settled.tasks, built.augment, built.seed, len(old_names), side)
    new_sources = [*_listed(record, "sources"), *describe_sources(sources)]
    new_drops = drops(settled)
    about = {
        **record,
        "sources": new_sources,
        "shared_tasks": {**record.get("shared_tasks", {}), **new_drops["shared_tasks"]},
        "dropped_pairs": [*_listed(record, "dropped_pairs"), *new_drops["dropped_pairs"]],
    }
    return _replace(
        directory, replaced, lambda beside: write(beside, side, old_names, _joined(directory, blocks(tasks, on_task)), about, tasks)
    )


def _replace(directory: Path, replaced: Path, write_to: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """Write a data set beside another and let it take its place."""
    beside = directory.with_name(f".{directory.name}.hrm-added")
    shutil.rmtree(beside, ignore_errors=True)  # a whole one, of a process killed before it took its place
    shutil.rmtree(replaced, ignore_errors=True)
    build = write_to(beside)
    directory.rename(replaced)
    try:
        beside.rename(directory)
    except BaseException:
        replaced.rename(directory)
        raise
    shutil.rmtree(replaced, ignore_errors=True)
    return build


def _read_build(path: Path) -> tuple[dict[str, Any], Built, Known]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        check_layout(path.parent, record)
        built = Built.model_validate(record)
        if built.task != TASK:
            raise DataError(f"{path} is of {built.task}, expected arc; only ARC data sets take more tasks")
        return record, built, built.known()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); expected a data set made by `hrm data arc`") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise DataError(f"{path}: {place}: {first['msg']}; expected a data set made by `hrm data arc`, {WAY_OUT}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is damaged ({str(error)[:80]}); {WAY_OUT}") from error


def _identifiers(directory: Path) -> list[str]:
    """The names of a data set's identifiers, as many as its arrays count."""
    names = read_identifiers(directory / IDENTIFIERS_FILE)
    expected = load_split(directory, present_splits(directory)[0]).metadata.num_puzzle_identifiers
    if len(names) != expected:
        raise DataError(f"{directory / IDENTIFIERS_FILE} has {len(names)} names, expected {expected}; {WAY_OUT}")
    return names


def _joined(directory: Path, new: Blocks) -> Blocks:
    """The examples of a data set, then new ones."""
    old: Blocks = {split: {SET: copied(load_split(directory, split).sets[SET])} for split in present_splits(directory)}
    return {
        split: {SET: chain(*(blocks[split][SET] for blocks in (old, new) if split in blocks))}
        for split in ("train", "test")
        if split in old or split in new
    }


def copied(examples: ExampleSet) -> Iterator[Examples]:
    """A set as it is, in blocks of whole groups."""
    starts = examples.puzzle_indices[examples.group_indices]  # (G + 1,) first example of each group
    group = 0
    while group < len(starts) - 1:
        end = max(group + 1, int(np.searchsorted(starts, starts[group] + BLOCK_EXAMPLES, side="right")) - 1)
        first, last = examples.group_indices[[group, end]]
        rows = range(starts[group], starts[end])
        yield Examples(
            inputs=read_rows(examples.inputs, rows),
            labels=read_rows(examples.labels, rows),
            puzzle_sizes=np.diff(examples.puzzle_indices[first : last + 1]),
            group_sizes=np.diff(examples.group_indices[group : end + 1]),
            puzzle_identifiers=examples.puzzle_identifiers[first:last],
        )
        group = end


def _listed(record: dict[str, Any], name: str) -> list[Any]:
    found = record.get(name, [])
    return found if isinstance(found, list) else []
