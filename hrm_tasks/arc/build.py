"""Build ARC data sets from folders, zips and files of tasks, or add tasks to one."""

from collections.abc import Iterator, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any

from hrm_core.data.puzzles import SUBSAMPLE
from hrm_core.data.store import BLANK_IDENTIFIER
from hrm_core.data.writer import refuse_used
from hrm_core.draws import Purpose, stream
from hrm_core.errors import DataError
from hrm_core.tasks.building import Built, Watch, unwatched
from hrm_tasks.arc.canvas import SIDE
from hrm_tasks.arc.examples import (
    TASK,
    augment_tasks,
    blocks,
    describe_sources,
    drops,
    write,
)
from hrm_tasks.arc.extend import add
from hrm_tasks.arc.leaks import split_tasks
from hrm_tasks.arc.options import Options
from hrm_tasks.arc.read import ArcTask, read_source

LEFT_OUT = (  # of build.json
    "too_large", "dropped_pairs", "shared_tasks", "namesakes", "only_asked", "skipped_files",
)  # fmt: skip


def build(out: Path, options: Options, watch: Watch = unwatched) -> Built:
    """Build an ARC data set from task JSON; test pairs of tasks in folders or files named `evaluation` are the test set, and never trained.

    \b
    Examples:
        hrm data arc data/arc-1 --tasks ARC-AGI-1.zip ConceptARC.zip
        hrm data arc data/arc-1 --tasks arc-agi_training_challenges.json arc-agi_evaluation_challenges.json
        hrm data arc data/small --tasks ARC-AGI-1.zip --canvas 12 --subsample 20 --augment 30
        hrm data arc data/arc-1 --add my-tasks
    """
    if options.add:
        build, left_out = add(out, options.paths, watch)
    else:
        build = left_out = _build_new(out, options, watch)
    counts = {"tasks": len(build["tasks"])}
    counts |= {kind: len(left_out.get(kind, ())) for kind in LEFT_OUT}
    return Built(
        {**build, **counts},
        _summary(build),
        tuple(_warnings(build, left_out)),
    )


def _summary(build: Mapping[str, Any]) -> str:
    """Describe a data set in one line."""
    tasks = build["tasks"].values()
    num_tests = sum(task["evaluation"] for task in tasks)
    training = f"{build.get('train_examples', 0):,} training"
    examples = f"{training} and {build.get('test_examples', 0):,} test examples"
    evaluated = f"{len(tasks):,} tasks, {num_tests:,} of them to evaluate"
    return f"{examples} of {evaluated}; {build['identifiers']:,} puzzle identifiers"


def _warnings(build: Mapping[str, Any], left_out: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each reason to leave something out."""
    too_large, dropped, shared, namesakes, asked, skipped = map(left_out.get, LEFT_OUT)
    if too_large:
        side = build["task_settings"]["canvas"]
        count = f"{len(too_large):,}"
        yield f"tasks left out, with a grid larger than {side}x{side}: {count}, as {too_large[0]}"
    if dropped:
        yield f"not trained on, because the test has it: {dropped[0]}{_more(dropped)}"
    if shared:
        name, folders = next(iter(shared.items()))
        yield f"in several folders and taken from one: {name}, from {folders[0]}{_more(shared)}"
    if namesakes:
        name, (folder, other, *_) = next(iter(namesakes.items()))
        found = f"{name} of {other} (taken from {folder}){_more(namesakes)}"
        yield (
            "left out, because a task of the same name but other contents was taken: "
            f"{found}; rename its file"
        )
    if asked:
        yield (
            "only asked, because the solutions are not in the file or beside it: "
            f"{asked[0]}{_more(asked)}"
        )
    if skipped:
        count = f"{len(skipped):,}"
        yield f"JSON files skipped, because they hold no task: {count}, as {skipped[0]}"


def _more(things: Sized) -> str:
    """Count the things after the first for the end of a sentence."""
    num_others = len(things) - 1
    return f"; and {num_others:,} more" if num_others else ""


def _build_new(out: Path, options: Options, watch: Watch) -> dict[str, Any]:
    """Build a data set of the tasks whose grids fit on the canvas.

    Returns: build.json. Raises: DataError naming the file.
    """
    refuse_used(out)
    side = options.canvas
    seed = options.seed
    sources = [read_source(path) for path in options.paths]
    about: dict[str, Any] = {"task": TASK}
    found = [task for source in sources for task in source.tasks]
    if side < SIDE:
        found, too_large = _fitting(found, side)
        about |= {"task_settings": {"canvas": side}, "too_large": too_large}
    if options.subsample is not None:
        found = _drawn(found, options.subsample, seed)
        about |= {"subsample": options.subsample}
    splits = split_tasks(found)
    tasks = augment_tasks(
        splits.tasks,
        options.augment,
        seed,
        1,
        side,
    )
    about |= {
        "seed": seed,
        "augment": options.augment,
        **drops(splits, sources),
        "sources": describe_sources(sources),
    }
    return write(
        out,
        side,
        [BLANK_IDENTIFIER],
        blocks(tasks, watch),
        about,
        tasks,
    )


def _fitting(found: Sequence[ArcTask], side: int) -> tuple[list[ArcTask], list[str]]:
    """Return the tasks that fit on a canvas, and the names of the others.

    A name with a task that is too large in one folder is left out of all. Raises: DataError if no task
    is left.
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
    """Draw `count` tasks by name. Raises: DataError if there are fewer."""
    names = sorted({task.name for task in found})
    if count > len(names):
        raise DataError(
            f"there are {len(names):,} tasks to choose from, "
            f"fewer than --subsample {count}; lower it"
        )
    rng = stream(seed, Purpose.PUZZLES, SUBSAMPLE)
    chosen = set(rng.choice(names, count, replace=False).tolist())
    return [task for task in found if task.name in chosen]
