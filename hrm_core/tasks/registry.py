"""Find a task by its label: the name, then its settings as JSON if it has any.

Only the package of the task that is asked for is imported; see `hrm_core/plugins.py`.
"""

import json
from collections.abc import Mapping
from importlib import import_module
from typing import Any, cast

from hrm_core.errors import ConfigError, PuzzleError
from hrm_core.messages import warn
from hrm_core.plugins import GROUP, has_module, task_packages
from hrm_core.tasks.building import Builder, Predictor
from hrm_core.tasks.cells import UNKNOWN
from hrm_core.tasks.contract import Measures, Task

# Published data sets and models have no label: their shape, vocab_size and seq_len, tells the task.
# Source: sapientinc/HRM dataset/
PUBLISHED = {(11, 81): "sudoku", (6, 900): "maze", (12, 900): "arc"}
OTHER_SIZES = {(6, 16): "sudoku", (8, 36): "sudoku"}  # of the same formats


def label_of(task: Task | None) -> str:
    """Return the label of a task, which data sets and models carry."""
    if task is None:
        return ""
    settings = json.dumps(dict(task.settings), sort_keys=True)
    return f"{task.name} {settings}" if task.settings else task.name


def task_of_shape(
    vocab_size: int, seq_len: int, label: str = "", num_chunks: int | None = None
) -> Task | None:
    """Return the task of a label, or of a shape where there is no label. None if no task fits.

    `num_chunks` is that of the data, where it is known.
    """
    name, _, text = label.partition(" ")
    name = name or name_of_shape(vocab_size, seq_len)
    settings = _settings(text)
    if settings is None or name not in task_packages():
        return None
    task: Task | None = _kind(name).for_shape(vocab_size, seq_len, settings)
    if task is None or num_chunks not in (None, task.num_chunks):
        return None
    return task


def name_of_shape(vocab_size: int, seq_len: int) -> str:
    """Return the name of the task whose unlabelled data has this shape, "" if there is none."""
    known = {**_mazes(), **OTHER_SIZES, **PUBLISHED}
    return known.get((vocab_size, seq_len), "")


def published_length(vocab_size: int) -> tuple[str, int] | None:
    """Return task and seq_len of the published models with this vocabulary, if there are any."""
    for (size, seq_len), name in PUBLISHED.items():
        if size == vocab_size:
            return name, seq_len
    return None


def measures_of(label: str) -> Measures:
    """Return the measures of the task of a label; cell by cell if the task is not known."""
    name = label.partition(" ")[0]
    measures: Measures = _kind(name) if name in task_packages() else UNKNOWN
    return measures


def kinds_with(member: str) -> dict[str, Any]:
    """Return the classes of the tasks that have a member, and so its capability, by name.

    A task that cannot be imported is left out with a warning: nobody asked for it.
    """
    found = {}
    for name, package in task_packages().items():
        try:
            kind = _kind(name)
        except Exception as error:  # whatever the package of a third party raises
            warn(f"the task {name} of {package} is left out: {error}")
            continue
        if hasattr(kind, member):
            found[name] = kind
    return found


def titles_with(member: str) -> str:
    """Return the names of the tasks that have a member, as messages write them."""
    return " and ".join(name.upper() for name in kinds_with(member))


def require_task(vocab_size: int, seq_len: int, label: str, source: str) -> Task:
    """Return the task of a model that is to solve puzzles.

    Raises: PuzzleError if no task fits.
    """
    task = task_of_shape(vocab_size, seq_len, label)
    if task is None:
        name = label.partition(" ")[0]
        is_missing = name and name not in task_packages()
        way_out = f"; install the package that brings {name}" if is_missing else ""
        raise PuzzleError(
            f"{source} was trained on {label or 'an unnamed task'} with vocab_size={vocab_size}, "
            f"seq_len={seq_len}; known tasks: {', '.join(task_packages())}{way_out}"
        )
    return task


def builder(name: str) -> Builder:
    """Return the builder of an installed task that has a `build.py`."""
    package = task_packages()[name]
    return cast(Builder, import_module(f"{package}.build"))


def predictor(name: str) -> Predictor | None:
    """Return the `predict.py` of an installed task; None if it has none."""
    package = task_packages()[name]
    if not has_module(package, "predict"):
        return None
    return cast(Predictor, import_module(f"{package}.predict"))


def _mazes() -> dict[tuple[int, int], str]:
    """Return the shapes of square mazes, which the published builder makes at any size."""
    return {(6, side * side): "maze" for side in range(2, 129)}


def _settings(text: str) -> Mapping[str, Any] | None:
    """Read the settings of a label. None if they are not a JSON object."""
    try:
        settings = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return None
    return settings if isinstance(settings, dict) else None


def _kind(name: str) -> Any:
    """Import the class of a task. Raises: ConfigError if its entry point leads to no task."""
    package = task_packages()[name]
    if not has_module(package, "task"):
        raise ConfigError(
            f"the entry point {name} of the group {GROUP} names {package}, which has no task.py; "
            "install the package of the task again, or uninstall it"
        )
    return import_module(f"{package}.task").TASK
