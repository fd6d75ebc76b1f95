"""ARC data sets from folders, zips and files of tasks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hrm_core.data.puzzles import SUBSAMPLE
from hrm_core.data.store import BLANK_IDENTIFIER
from hrm_core.data.writer import refuse_used
from hrm_core.draws import Purpose, stream
from hrm_core.errors import DataError
from hrm_tasks.arc.canvas import SIDE
from hrm_tasks.arc.examples import (
    TASK,
    OnTask,
    augment_tasks,
    blocks,
    describe_sources,
    drops,
    write,
)
from hrm_tasks.arc.leaks import settle
from hrm_tasks.arc.read import ArcTask, read_source


def build(
    out: Path,
    paths: Sequence[Path],
    *,
    side: int = SIDE,
    subsample: int | None = None,
    augment: int = 1000,
    seed: int = 0,
    on_task: OnTask = lambda name: None,
) -> dict[str, Any]:
    """Build a data set from folders, zips and files of tasks; `on_task` is told each one that is being written.

    Tasks with a grid that a canvas of `side` rows has no room for are left out; of the others `subsample` are drawn.

    Returns: what was done, as in build.json. Raises: DataError naming the file.
    """
    refuse_used(out)
    sources = [read_source(path) for path in paths]
    about: dict[str, Any] = {"task": TASK}
    found = [task for source in sources for task in source.tasks]
    if side < SIDE:
        found, too_large = _fitting(found, side)
        about |= {"task_settings": {"canvas": side}, "too_large": too_large}
    if subsample is not None:
        found = _drawn(found, subsample, seed)
        about |= {"subsample": subsample}
    settled = settle(found)
    tasks = augment_tasks(settled.tasks, augment, seed, 1, side)
    about |= {
        "seed": seed,
        "augment": augment,
        **drops(settled),
        "sources": describe_sources(sources),
    }
    return write(out, side, [BLANK_IDENTIFIER], blocks(tasks, on_task), about, tasks)


def _fitting(found: Sequence[ArcTask], side: int) -> tuple[list[ArcTask], list[str]]:
    """The tasks that a canvas has room for, and the names of the others; what is too large in one folder is left out of all.

    Raises: DataError if none is left.
    """
    too_large = dict.fromkeys(task.name for task in found if task.side > side)  # a set in order
    fitting = [task for task in found if task.name not in too_large]
    if not fitting:
        least = min(task.side for task in found)
        raise DataError(
            f"every task has a grid larger than {side}x{side}; the smallest needs --canvas {least}"
        )
    return fitting, list(too_large)


def _drawn(found: Sequence[ArcTask], count: int, seed: int) -> list[ArcTask]:
    """Some of the tasks, drawn by name. Raises: DataError if there are not so many."""
    names = sorted({task.name for task in found})
    if count > len(names):
        raise DataError(
            f"there are {len(names):,} tasks to choose from, fewer than --subsample {count}; lower it"
        )
    chosen = set(
        stream(seed, Purpose.PUZZLES, SUBSAMPLE).choice(names, count, replace=False).tolist()
    )
    return [task for task in found if task.name in chosen]
