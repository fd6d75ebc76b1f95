"""Adds ARC tasks to a data set that is built: identifiers keep their numbers, new ones follow.

Shapes: P puzzles, G groups.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, Field, NonNegativeInt, ValidationError

from hrm_core.data.store import (
    BUILD_FILE,
    IDENTIFIERS_FILE,
    WAY_OUT,
    ExampleSet,
    load_split,
    present_splits,
    read_build,
    read_identifiers,
    read_rows,
)
from hrm_core.data.summary import LeftOut
from hrm_core.data.writer import IN_USE, Examples
from hrm_core.errors import DataError
from hrm_core.files import is_folder, moved_aside, put_back, staged
from hrm_core.tasks.building import Watch, unwatched
from hrm_tasks.arc.canvas import SIDE, SMALLEST
from hrm_tasks.arc.examples import (
    SET,
    TASK,
    Blocks,
    augment_tasks,
    blocks,
    describe_sources,
    drops,
    write,
)
from hrm_tasks.arc.leaks import Known, Settled, settle
from hrm_tasks.arc.read import ArcTask, Source, read_source

BLOCK_EXAMPLES = 1 << 15  # copied at once


class Settings(BaseModel, frozen=True, strict=True):
    """What build.json says of the canvas; nothing of the published one."""

    canvas: int = Field(SIDE, ge=SMALLEST, le=SIDE)


class BuiltTask(BaseModel, frozen=True, strict=True):
    """What build.json says of one task."""

    folder: str
    evaluation: bool
    identifiers: NonNegativeInt
    training_pairs: str  # keys in hexadecimal
    test_pairs: str


class BuildFile(LeftOut, frozen=True, strict=True):
    """What build.json says of an ARC data set, as far as adding asks for it."""

    task_settings: Settings = Settings()
    seed: NonNegativeInt
    augment: NonNegativeInt
    sources: list[Any] = Field(default_factory=list)
    tasks: dict[str, BuiltTask]

    def known(self) -> Known:
        """What new tasks are kept apart from. Raises: ValueError if a key is none."""
        return Known(
            folders={name: task.folder for name, task in self.tasks.items()},
            contents={
                name: frozenset(
                    int(key, 16) for key in f"{task.training_pairs} {task.test_pairs}".split()
                )
                for name, task in self.tasks.items()
            },
            evaluation=frozenset(name for name, task in self.tasks.items() if task.evaluation),
            training_keys={
                int(key, 16): name
                for name, task in self.tasks.items()
                for key in task.training_pairs.split()
            },
            test_keys={
                int(key, 16): name
                for name, task in self.tasks.items()
                for key in task.test_pairs.split()
            },
        )


def add(
    directory: Path, paths: Sequence[Path], watch: Watch = unwatched
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Add tasks to a data set, with its own canvas, seed and number of augmentations. It is written whole beside itself, then replaced.

    Returns: what build.json holds now, and what of it was left out now, as `drops` gives it.

    Raises: DataError naming the file, or if another process writes here; the data set is as it was then.
    """
    directory = directory.resolve()
    old_aside = directory.with_name(f".{directory.name}.hrm-replaced")  # of earlier versions
    if not any(map(is_folder, (directory, moved_aside(directory), old_aside))):
        raise DataError(f"{directory} is no directory; expected a data set made by `hrm data arc`")
    try:
        with staged(directory, IN_USE, replace=True) as beside:  # from the first thing read
            put_back(old_aside, directory)
            return _write_joined(directory, beside, paths, watch)
    except OSError as error:
        raise DataError(f"{directory} was not added to: {error}") from error


def _write_joined(
    directory: Path, beside: Path, paths: Sequence[Path], watch: Watch
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write a data set that has tasks more than another. Returns: as `add` does."""
    record, built, known = _read_build(directory)
    old_names = _identifiers(directory, built)
    sources = [read_source(path) for path in paths]
    side = built.task_settings.canvas
    settled = settle(_fitting(directory, sources, side), known)
    if not settled.tasks:
        raise _nothing_new(directory, paths, settled)
    tasks = augment_tasks(settled.tasks, built.augment, built.seed, len(old_names), side)
    about = {
        **record,
        "sources": [*built.sources, *describe_sources(sources)],
        "shared_tasks": _merged(built.shared_tasks, settled.shared_tasks),
        "namesakes": _merged(built.namesakes, settled.namesakes),
        "dropped_pairs": [*built.dropped_pairs, *settled.dropped_pairs],
    }
    return write(
        beside, side, old_names, _joined(directory, blocks(tasks, watch)), about, tasks
    ), drops(settled)


def _fitting(directory: Path, sources: Sequence[Source], side: int) -> list[ArcTask]:
    """All tasks of the sources. Raises: DataError if the canvas has no room for one."""
    found = [task for source in sources for task in source.tasks]
    if too_large := next((task for task in found if task.side > side), None):
        raise DataError(
            f"task {too_large.name} of {too_large.folder} has no room on the canvas of {directory}, {side}x{side}; "
            f"leave it out, or build the data set anew with --canvas {too_large.side}"
        )
    return found


def _nothing_new(directory: Path, paths: Sequence[Path], settled: Settled) -> DataError:
    if settled.dropped_pairs:
        pair = settled.dropped_pairs[0]
        return DataError(
            f"every new pair is in the test of {directory} and is not trained on, as {pair}; name other tasks"
        )
    if settled.namesakes:
        name, (folder, other, *_) = next(iter(settled.namesakes.items()))
        return DataError(
            f"task {name} of {other} has other contents than the one that {directory} holds, from {folder}, and no other task is new; "
            "rename its file"
        )
    return DataError(
        f"{directory} holds every task of {', '.join(map(str, paths))} already; name others"
    )


def _merged(old: Mapping[str, list[str]], new: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """The folders of each name, each once."""
    return {
        **old,
        **{
            name: list(dict.fromkeys([*old.get(name, []), *folders]))
            for name, folders in new.items()
        },
    }


def _read_build(directory: Path) -> tuple[dict[str, Any], BuildFile, Known]:
    path, record = directory / BUILD_FILE, read_build(directory)
    if (task := record.get("task", "an unknown task")) != TASK:
        raise DataError(
            f"{directory} is a data set of {str(task)[:40]}, expected arc; only those that `hrm data arc` made take more tasks"
        )
    try:
        json.dumps(record, ensure_ascii=False).encode()  # it is written again
        built = BuildFile.model_validate(record)
        return record, built, built.known()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise DataError(
            f"{path}: {place}: {first['msg']}; expected a data set made by `hrm data arc`, {WAY_OUT}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is damaged ({str(error)[:80]}); {WAY_OUT}") from error


def _identifiers(directory: Path, built: BuildFile) -> list[str]:
    """The names of a data set's identifiers, as many as its arrays and build.json count."""
    path = directory / IDENTIFIERS_FILE
    names = read_identifiers(path)
    for expected in (
        load_split(directory, present_splits(directory)[0]).metadata.num_puzzle_identifiers,
        1 + sum(task.identifiers for task in built.tasks.values()),
    ):
        if len(names) != expected:
            raise DataError(f"{path} has {len(names)} names, expected {expected}; {WAY_OUT}")
    if unwritable := next((name for name in names if not name.isprintable()), None):
        raise DataError(
            f"{path} holds {ascii(unwritable)[:80]}, expected names of tasks; {WAY_OUT}"
        )
    return names


def _joined(directory: Path, new: Blocks) -> Blocks:
    """The examples of a data set, then new ones."""
    old: Blocks = {
        split: {SET: copied(load_split(directory, split).sets[SET])}
        for split in present_splits(directory)
    }
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
        end = max(
            group + 1,
            int(np.searchsorted(starts, starts[group] + BLOCK_EXAMPLES, side="right")) - 1,
        )
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
