"""Add ARC tasks to a data set that is built: identifiers keep their numbers, new ones follow.

Shapes: P puzzles, G groups.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, Field, NonNegativeInt, ValidationError

from hrm_core.data.arrays import WAY_OUT, read_rows
from hrm_core.data.store import BUILD_FILE, IDENTIFIERS_FILE, Dataset, ExampleSet
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
    listed,
    write,
)
from hrm_tasks.arc.leaks import Known, TaskSplits, split_tasks
from hrm_tasks.arc.read import ArcTask, Source, read_source

BLOCK_EXAMPLES = 1 << 15  # copied at once


class Settings(BaseModel, frozen=True, strict=True):
    """Entry of the canvas in build.json; the published canvas has none."""

    canvas: int = Field(SIDE, ge=SMALLEST, le=SIDE)


class BuiltTask(BaseModel, frozen=True, strict=True):
    """Entry of one task in build.json."""

    folder: str
    evaluation: bool
    identifiers: NonNegativeInt
    training_pairs: str  # keys in hexadecimal
    test_pairs: str

    @property
    def training_keys(self) -> list[int]:
        """Return the keys of the training pairs. Raises: ValueError if one is not hexadecimal."""
        return [int(key, 16) for key in self.training_pairs.split()]

    @property
    def test_keys(self) -> list[int]:
        """Return the keys of the test pairs. Raises: ValueError if one is not hexadecimal."""
        return [int(key, 16) for key in self.test_pairs.split()]


class BuildFile(LeftOut, frozen=True, strict=True):
    """Part of the build.json of an ARC data set that `add` needs."""

    task_settings: Settings = Settings()
    seed: NonNegativeInt
    augment: NonNegativeInt
    sources: list[Any] = Field(default_factory=list)
    tasks: dict[str, BuiltTask]

    def known(self) -> Known:
        """Return the tasks and pairs that new tasks are kept apart from.

        Raises: ValueError if a key is not hexadecimal.
        """
        contents = {}
        training_keys: dict[int, str] = {}
        test_keys: dict[int, str] = {}
        for name, task in self.tasks.items():
            training = task.training_keys
            tests = task.test_keys
            contents[name] = frozenset(training + tests)
            training_keys |= dict.fromkeys(training, name)
            test_keys |= dict.fromkeys(tests, name)
        return Known(
            folders={name: task.folder for name, task in self.tasks.items()},
            contents=contents,
            evaluation=frozenset(name for name, task in self.tasks.items() if task.evaluation),
            training_keys=training_keys,
            test_keys=test_keys,
        )


def add(
    directory: Path, paths: Sequence[Path], watch: Watch = unwatched
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Add tasks to a data set with its canvas, seed and number of augmentations.

    The new data set is written whole beside the old one, then takes its place.

    Returns: the new build.json, and the tasks and pairs that were left out, as `drops` returns them.

    Raises: DataError naming the file, or if another process writes here; the data set is unchanged then.
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
    """Write a data set with its tasks and new ones. Returns: as `add` does."""
    data = Dataset(directory)
    record, built, known = _read_build(data)
    old_names = _identifiers(data, built)
    data.check_unchanged()
    sources = [read_source(path) for path in paths]
    side = built.task_settings.canvas
    splits = split_tasks(_fitting(directory, sources, side), known)
    if not splits.tasks:
        raise _nothing_new(directory, paths, splits)
    tasks = augment_tasks(
        splits.tasks,
        built.augment,
        built.seed,
        len(old_names),
        side,
    )
    about = {
        **record,
        "sources": [*built.sources, *describe_sources(sources)],
        "shared_tasks": _merged(built.shared_tasks, splits.shared_tasks),
        "namesakes": _merged(built.namesakes, splits.namesakes),
        "dropped_pairs": [*built.dropped_pairs, *splits.dropped_pairs],
    }
    for kind, names in listed(splits, sources).items():
        about[kind] = [*record.get(kind, ()), *names]
    examples = _joined(data, blocks(tasks, watch))
    build = write(beside, side, old_names, examples, about, tasks)
    return build, drops(splits, sources)


def _fitting(directory: Path, sources: Sequence[Source], side: int) -> list[ArcTask]:
    """Return all tasks of the sources. Raises: DataError if the canvas has no room for one."""
    found = [task for source in sources for task in source.tasks]
    for task in found:
        if task.side > side:
            raise DataError(
                f"task {task.name} of {task.folder} has no room "
                f"on the canvas of {directory}, {side}x{side}; "
                f"leave it out, or build the data set anew with --canvas {task.side}"
            )
    return found


def _nothing_new(directory: Path, paths: Sequence[Path], splits: TaskSplits) -> DataError:
    """Return the error that says why no task can be added."""
    if splits.dropped_pairs:
        pair = splits.dropped_pairs[0]
        return DataError(
            f"every new pair is in the test of {directory} and is not trained on, as {pair}; "
            "name other tasks"
        )
    if splits.namesakes:
        name, (folder, other, *_) = next(iter(splits.namesakes.items()))
        return DataError(
            f"task {name} of {other} has other contents than the one that {directory} holds, "
            f"from {folder}, and no other task is new; "
            "rename its file"
        )
    return DataError(
        f"{directory} holds every task of {', '.join(map(str, paths))} already; name others"
    )


def _merged(old: Mapping[str, list[str]], new: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Return the folders of each name, each folder once."""
    merged = dict(old)
    for name, folders in new.items():
        both = [*old.get(name, []), *folders]
        merged[name] = list(dict.fromkeys(both))
    return merged


def _read_build(data: Dataset) -> tuple[dict[str, Any], BuildFile, Known]:
    """Read and check build.json. Returns: all of it, the checked part, and the known tasks."""
    path = data.directory / BUILD_FILE
    record = data.build
    task = record.get("task", "an unknown task")
    if task != TASK:
        raise DataError(
            f"{data.directory} is a data set of {str(task)[:40]}, expected arc; "
            "only those that `hrm data arc` made take more tasks"
        )
    try:
        json.dumps(record, ensure_ascii=False).encode()  # it is written again
        built = BuildFile.model_validate(record)
        return record, built, built.known()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise DataError(
            f"{path}: {place}: {first['msg']}; "
            f"expected a data set made by `hrm data arc`, {WAY_OUT}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is damaged ({str(error)[:80]}); {WAY_OUT}") from error


def _identifiers(data: Dataset, built: BuildFile) -> list[str]:
    """Read the names of a data set's identifiers.

    Raises: DataError unless there are as many as its arrays and its build.json count.
    """
    path = data.directory / IDENTIFIERS_FILE
    names = data.names
    num_built = 1 + sum(task.identifiers for task in built.tasks.values())
    for expected in (data.metadata.num_puzzle_identifiers, num_built):
        if len(names) != expected:
            raise DataError(f"{path} has {len(names)} names, expected {expected}; {WAY_OUT}")
    for name in names:
        if not name.isprintable():
            raise DataError(f"{path} holds {ascii(name)[:80]}, expected names of tasks; {WAY_OUT}")
    return names


def _joined(data: Dataset, new: Blocks) -> Blocks:
    """Return the examples of a data set, then new ones."""
    joined: Blocks = {}
    for split in ("train", "test"):
        parts = []
        if split in data.splits:
            parts.append(copied(data.split(split).sets[SET]))
        if split in new:
            parts.append(new[split][SET])
        if parts:
            joined[split] = {SET: chain(*parts)}
    return joined


def copied(examples: ExampleSet) -> Iterator[Examples]:
    """Yield the examples of a set unchanged, in blocks of whole groups."""
    starts = examples.puzzle_indices[examples.group_indices]  # (G + 1,) first example of each group
    group = 0
    while group < len(starts) - 1:
        limit = starts[group] + BLOCK_EXAMPLES
        num_fitting = int(np.searchsorted(starts, limit, side="right")) - 1
        end = max(group + 1, num_fitting)
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
