"""Split ARC tasks into training and test pairs so that no evaluation output is trained on.

Of the tasks of one name one is taken, with the same contents or not: the first in an evaluation folder,
else the first whose solutions are known, else the first. A pair is left out of the training set if it
is a test pair of an evaluation task, up to symmetry and colours, even if the tasks have different
names. A demonstration of that evaluation task itself is left out only if it is exactly like the test
pair.

Shapes: E pairs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from hrm_core.errors import DataError
from hrm_tasks.arc.augment import HashArray, colour_sums, exact_keys, symmetric_keys
from hrm_tasks.arc.contents import Pair
from hrm_tasks.arc.read import ArcTask


@dataclass(frozen=True, eq=False)
class TaskSplit:
    """Training and test pairs of one task."""

    name: str
    folder: str
    is_evaluation: bool
    is_only_asked: bool  # its solutions are not known, and its folder is none of evaluation
    training: tuple[Pair, ...]
    tests: tuple[Pair, ...]  # none of a training task
    sums: HashArray  # (E, 8, 10) `colour_sums` of training pairs, then test pairs
    keys: list[int]  # (E,) `symmetric_keys`: a pair and its augmentations have one key

    @property
    def training_keys(self) -> list[int]:
        """Return the keys of the training pairs."""
        return self.keys[: len(self.training)]

    @property
    def test_keys(self) -> frozenset[int]:
        """Return the keys of the test pairs whose output is known."""
        keys = self.keys[len(self.training) :]
        pairs = zip(keys, self.tests, strict=True)
        return frozenset(key for key, pair in pairs if pair.output is not None)

    @property
    def contents(self) -> frozenset[int]:
        """Return the keys of all pairs whose output is known, to compare tasks of one name."""
        return self.test_keys.union(self.training_keys)

    @property
    def precedence(self) -> int:
        """Return which of the tasks of one name is taken: that of the lowest number."""
        if self.is_only_asked:
            return 2
        return 0 if self.is_evaluation else 1

    @property
    def is_open(self) -> bool:
        """Return True if the output of a test pair is unknown."""
        return any(pair.output is None for pair in self.tests)

    def is_like(self, other: "TaskSplit") -> bool:
        """Return True if the contents are the same, except for unknown outputs."""
        if self.is_open or other.is_open:
            return self.contents <= other.contents or other.contents <= self.contents
        return self.contents == other.contents

    def keeping(self, chosen: Sequence[bool]) -> "TaskSplit":
        """Return the same task with the chosen training pairs only."""
        num_training = len(self.training)
        rows = np.flatnonzero(chosen).tolist()
        training = tuple(self.training[row] for row in rows)
        rows += range(num_training, len(self.keys))
        keys = [self.keys[row] for row in rows]
        return replace(
            self,
            training=training,
            sums=self.sums[rows],
            keys=keys,
        )


@dataclass(frozen=True, eq=False)
class TaskSplits:
    """Tasks that can be built, and tasks and pairs that were left out."""

    tasks: list[TaskSplit]
    shared_tasks: dict[str, list[str]]  # name -> its folders, the one it was taken from first
    namesakes: dict[str, list[str]]  # name -> its folder, then those with other contents
    dropped_pairs: list[str]  # "training/a, pair 3: a test pair of b"


@dataclass(frozen=True)
class Known:
    """Tasks and pairs that a data set holds already."""

    folders: Mapping[str, str] = field(default_factory=dict)  # task -> folder
    contents: Mapping[str, frozenset[int]] = field(default_factory=dict)  # task -> keys of pairs
    evaluation: frozenset[str] = frozenset()  # tasks
    training_keys: Mapping[int, str] = field(default_factory=dict)  # key of a pair -> task
    test_keys: Mapping[int, str] = field(default_factory=dict)

    def holds(self, task: TaskSplit) -> bool:
        """Return True if the known task of this name is this one.

        The known one may lack pairs that are test pairs, and either may lack outputs.
        """
        own = self.contents[task.name]
        held = own.union(self.test_keys)
        if task.is_open:
            return task.contents <= held
        if not own <= task.contents:
            return False
        had_no_solutions = own.isdisjoint(task.test_keys) and held.issuperset(task.training_keys)
        return had_no_solutions or task.contents <= held


NOTHING_KNOWN = Known()


def split_tasks(found: Iterable[ArcTask], known: Known = NOTHING_KNOWN) -> TaskSplits:
    """Split the pairs of tasks into training and test pairs.

    Raises: DataError if a task that is to be tested is trained on already.
    """
    tasks = list(map(_split_task, found))
    taken = _take_once(tasks, known)
    chosen = list(taken.values())
    _refuse_trained(chosen, known)
    owners: dict[int, set[str]] = {key: {task} for key, task in known.test_keys.items()}
    for task in chosen:
        for key in task.test_keys:
            owners.setdefault(key, set()).add(task.name)
    dropped_pairs: list[str] = []
    kept = [_untested(task, owners, dropped_pairs) for task in chosen]
    shared_tasks, namesakes = _left_out(tasks, taken, known)
    return TaskSplits(
        [task for task in kept if task.training or task.tests],
        shared_tasks,
        namesakes,
        dropped_pairs,
    )


def _split_task(task: ArcTask) -> TaskSplit:
    """Split one task: all pairs are training pairs unless it is an evaluation task."""
    sums = []
    for pair in task.pairs:
        grids = [grid for grid in pair if grid is not None]
        sums.append(colour_sums(grids))
    all_sums = np.stack(sums)
    return TaskSplit(
        task.name,
        task.folder,
        task.is_evaluation,
        task.is_only_asked,
        training=task.demonstrations if task.is_evaluation else task.pairs,
        tests=task.tests if task.is_evaluation else (),
        sums=all_sums,
        keys=symmetric_keys(all_sums),
    )


def _take_once(found: Iterable[TaskSplit], known: Known) -> dict[str, TaskSplit]:
    """Take one task of each name, the first of the lowest precedence.

    Known tasks are left out.
    """
    taken: dict[str, TaskSplit] = {}
    for task in found:
        if task.name in known.folders:
            _refuse_known(task, known)
            continue
        first = taken.setdefault(task.name, task)
        if task.precedence < first.precedence:
            taken[task.name] = task
    return taken


def _refuse_known(task: TaskSplit, known: Known) -> None:
    """Refuse an evaluation task that a data set knows as a training task."""
    if task.precedence > 0 or task.name in known.evaluation:
        return
    folder = known.folders[task.name]
    if not known.holds(task):
        raise DataError(
            f"task {task.name} of {task.folder} has other contents "
            f"than the one of {folder} that is trained on already; "
            "rename its file or leave it out"
        )
    raise DataError(
        f"task {task.name} of {task.folder} is trained on already, from {folder}, "
        "and cannot be tested; "
        "build the data set anew from all sources or leave the task out"
    )


def _left_out(
    found: Iterable[TaskSplit], taken: Mapping[str, TaskSplit], known: Known
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return the folders that tasks were not taken from: `shared_tasks` and `namesakes`."""
    shared_tasks: dict[str, list[str]] = {}
    namesakes: dict[str, list[str]] = {}
    for task in found:
        own = taken.get(task.name)
        if own is task:
            continue
        folder = own.folder if own else known.folders[task.name]
        is_same = own.is_like(task) if own else known.holds(task)
        if not own and is_same and folder == task.folder:
            continue  # the task that was built is given again
        folders = shared_tasks if is_same else namesakes
        folders.setdefault(task.name, [folder]).append(task.folder)
    return shared_tasks, namesakes


def _refuse_trained(tasks: Sequence[TaskSplit], known: Known) -> None:
    """Refuse a test pair that a data set trains on."""
    for task in tasks:
        for key in task.test_keys & known.training_keys.keys():
            raise DataError(
                f"a test pair of task {task.name} is trained on already, "
                f"in task {known.training_keys[key]}; "
                "build the data set anew from all sources or leave the task out"
            )


def _untested(
    task: TaskSplit, owners: Mapping[int, set[str]], dropped_pairs: list[str]
) -> TaskSplit:
    """Return the task without the training pairs that are test pairs; add them to `dropped_pairs`.

    `owners` are the tasks with a test pair of each key.
    """
    exact = exact_keys(task.sums)
    own_tests = set(exact[len(task.training) :])
    chosen = []
    for number, key in enumerate(task.training_keys):
        tested_by = sorted(owners.get(key, set()) - {task.name})
        if not tested_by and exact[number] in own_tests:
            tested_by = [task.name]
        chosen.append(not tested_by)
        if tested_by:
            place = f"{task.folder}/{task.name}, pair {number + 1}"
            dropped_pairs.append(f"{place}: a test pair of {tested_by[0]}")
    return task if all(chosen) else task.keeping(chosen)
