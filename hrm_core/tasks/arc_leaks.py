"""What each ARC task may give to training: evaluation outputs never get there, whatever the sources have in common.

A task that stands in several folders is taken once; if one of them is an evaluation folder, it is an evaluation task. A pair
that is, but for symmetry and colours, a test pair of an evaluation task is left out of training, whatever its task is called;
among the demonstrations of that task itself only a pair exactly like it is.

Shapes: E pairs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from hrm_core.errors import DataError
from hrm_core.tasks.arc_augment import HashArray, colour_sums, exact_keys, symmetric_keys
from hrm_core.tasks.arc_read import ArcTask, Pair


@dataclass(frozen=True, eq=False)
class Shares:
    """What one task gives to each split."""

    name: str
    folder: str
    is_evaluation: bool
    training: tuple[Pair, ...]
    tests: tuple[Pair, ...]  # none of a training task
    sums: HashArray  # (E, 8, 10) `colour_sums` of training pairs, then test pairs
    keys: list[int]  # (E,) what each pair has in common with its augmentations

    @property
    def training_keys(self) -> list[int]:
        """The keys of the training pairs."""
        return self.keys[: len(self.training)]

    @property
    def test_keys(self) -> frozenset[int]:
        """The keys of the test pairs whose output is known."""
        keys = self.keys[len(self.training) :]
        return frozenset(key for key, pair in zip(keys, self.tests, strict=True) if pair.output is not None)

    def keeping(self, chosen: Sequence[bool]) -> "Shares":
        """The same with some of the training pairs only."""
        kept = [*np.flatnonzero(chosen).tolist(), *range(len(self.training), len(self.keys))]
        training = tuple(self.training[i] for i in kept if i < len(self.training))
        return replace(self, training=training, sums=self.sums[kept], keys=[self.keys[i] for i in kept])


@dataclass(frozen=True, eq=False)
class Settled:
    """Tasks that can be built, and what was dropped for it."""

    tasks: list[Shares]
    shared_tasks: dict[str, list[str]]  # name -> the folders it stands in, the one it was taken from first
    dropped_pairs: list[str]  # "training/a, pair 3: a test pair of b"


@dataclass(frozen=True)
class Known:
    """What a data set holds already."""

    folders: Mapping[str, str] = field(default_factory=dict)  # task -> folder
    evaluation: frozenset[str] = frozenset()  # tasks
    training_keys: Mapping[int, str] = field(default_factory=dict)  # key of a pair -> task
    test_keys: Mapping[int, str] = field(default_factory=dict)


NOTHING = Known()


def settle(found: Iterable[ArcTask], known: Known = NOTHING) -> Settled:
    """Decide what each task gives to which split.

    Raises: DataError where a task that is to be tested is trained already.
    """
    shared_tasks: dict[str, list[str]] = {}
    chosen = [_shares(task) for task in _once(found, known, shared_tasks)]
    _refuse_trained(chosen, known)
    owners: dict[int, set[str]] = {key: {task} for key, task in known.test_keys.items()}
    for task in chosen:
        for key in task.test_keys:
            owners.setdefault(key, set()).add(task.name)
    dropped_pairs: list[str] = []
    kept = [_untested(task, owners, dropped_pairs) for task in chosen]
    return Settled([task for task in kept if task.training or task.tests], shared_tasks, dropped_pairs)


def _once(found: Iterable[ArcTask], known: Known, shared_tasks: dict[str, list[str]]) -> list[ArcTask]:
    """Each task from the first of its folders, an evaluation folder before others; known ones are left out."""
    chosen: dict[str, ArcTask] = {}
    for task in found:
        if task.name in known.folders:
            _refuse_known(task, known)
            shared_tasks.setdefault(task.name, [known.folders[task.name]]).append(task.folder)
            continue
        first = chosen.setdefault(task.name, task)
        if first is task:
            continue
        folders = shared_tasks.setdefault(task.name, [first.folder])
        is_better = task.is_evaluation and not first.is_evaluation
        folders.insert(0 if is_better else len(folders), task.folder)
        if is_better:
            chosen[task.name] = task
    return list(chosen.values())


def _refuse_known(task: ArcTask, known: Known) -> None:
    if task.is_evaluation and task.name not in known.evaluation:
        raise DataError(
            f"task {task.name} of {task.folder} is trained on already, from {known.folders[task.name]}, and cannot be tested; "
            "build the data set anew from all sources or leave the task out"
        )


def _shares(task: ArcTask) -> Shares:
    pairs = task.pairs
    sums = np.stack([colour_sums([grid for grid in pair if grid is not None]) for pair in pairs])
    training, tests = (task.demonstrations, task.tests) if task.is_evaluation else (pairs, ())
    return Shares(task.name, task.folder, task.is_evaluation, training, tests, sums, symmetric_keys(sums))


def _refuse_trained(tasks: Sequence[Shares], known: Known) -> None:
    for task in tasks:
        for key in task.test_keys & known.training_keys.keys():
            raise DataError(
                f"a test pair of task {task.name} is trained on already, in task {known.training_keys[key]}; "
                "build the data set anew from all sources or leave the task out"
            )


def _untested(task: Shares, owners: Mapping[int, set[str]], dropped_pairs: list[str]) -> Shares:
    """The task without the training pairs that are test pairs."""
    exact = exact_keys(task.sums)
    own_tests = set(exact[len(task.training) :])
    chosen = []
    for number, key in enumerate(task.training_keys):
        tested_by = sorted(owners.get(key, set()) - {task.name}) or [task.name] * (exact[number] in own_tests)
        chosen.append(not tested_by)
        if tested_by:
            dropped_pairs.append(f"{task.folder}/{task.name}, pair {number + 1}: a test pair of {tested_by[0]}")
    return task if all(chosen) else task.keeping(chosen)
