"""What each ARC task may give to training: evaluation outputs never get there, whatever the sources have in common.

Of the tasks of one name, whether their contents are the same or not, one is taken: the first that stands in an evaluation folder,
else the first. A pair that is, but for symmetry and colours, a test pair of an evaluation task is left out of training, whatever
its task is called; among the demonstrations of that task itself only a pair exactly like it is.

Shapes: E pairs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from hrm_core.errors import DataError
from hrm_tasks.arc.augment import HashArray, colour_sums, exact_keys, symmetric_keys
from hrm_tasks.arc.read import ArcTask, Pair


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
        return frozenset(
            key for key, pair in zip(keys, self.tests, strict=True) if pair.output is not None
        )

    @property
    def contents(self) -> frozenset[int]:
        """What tells the task from another of its name: the keys of all pairs whose output is known."""
        return self.test_keys.union(self.training_keys)

    @property
    def is_open(self) -> bool:
        """Whether the solution of a test pair is not known."""
        return any(pair.output is None for pair in self.tests)

    def is_like(self, other: "Shares") -> bool:
        """Whether the contents are the same, as far as both have solutions."""
        if self.is_open or other.is_open:
            return self.contents <= other.contents or other.contents <= self.contents
        return self.contents == other.contents

    def keeping(self, chosen: Sequence[bool]) -> "Shares":
        """The same with some of the training pairs only."""
        kept = [*np.flatnonzero(chosen).tolist(), *range(len(self.training), len(self.keys))]
        training = tuple(self.training[i] for i in kept if i < len(self.training))
        return replace(
            self, training=training, sums=self.sums[kept], keys=[self.keys[i] for i in kept]
        )


@dataclass(frozen=True, eq=False)
class Settled:
    """Tasks that can be built, and what was dropped for it."""

    tasks: list[Shares]
    shared_tasks: dict[
        str, list[str]
    ]  # name -> the folders it stands in, the one it was taken from first
    namesakes: dict[
        str, list[str]
    ]  # name -> the folder it was taken from, then those where it has other contents
    dropped_pairs: list[str]  # "training/a, pair 3: a test pair of b"


@dataclass(frozen=True)
class Known:
    """What a data set holds already."""

    folders: Mapping[str, str] = field(default_factory=dict)  # task -> folder
    contents: Mapping[str, frozenset[int]] = field(
        default_factory=dict
    )  # task -> keys of its pairs
    evaluation: frozenset[str] = frozenset()  # tasks
    training_keys: Mapping[int, str] = field(default_factory=dict)  # key of a pair -> task
    test_keys: Mapping[int, str] = field(default_factory=dict)

    def holds(self, task: Shares) -> bool:
        """Whether its task of this name is this one; pairs that the test has may have been left out of it, and solutions may be missing."""
        own = self.contents[task.name]
        held = own.union(self.test_keys)
        if task.is_open:
            return task.contents <= held
        had_no_solutions = own.isdisjoint(task.test_keys) and held.issuperset(task.training_keys)
        return own <= task.contents and (task.contents <= held or had_no_solutions)


NOTHING = Known()


def settle(found: Iterable[ArcTask], known: Known = NOTHING) -> Settled:
    """Decide what each task gives to which split.

    Raises: DataError where a task that is to be tested is trained already.
    """
    tasks = list(map(_shares, found))
    taken = _once(tasks, known)
    chosen = list(taken.values())
    _refuse_trained(chosen, known)
    owners: dict[int, set[str]] = {key: {task} for key, task in known.test_keys.items()}
    for task in chosen:
        for key in task.test_keys:
            owners.setdefault(key, set()).add(task.name)
    dropped_pairs: list[str] = []
    kept = [_untested(task, owners, dropped_pairs) for task in chosen]
    return Settled(
        [task for task in kept if task.training or task.tests],
        *_left_out(tasks, taken, known),
        dropped_pairs,
    )


def _shares(task: ArcTask) -> Shares:
    pairs = task.pairs
    sums = np.stack([colour_sums([grid for grid in pair if grid is not None]) for pair in pairs])
    training, tests = (task.demonstrations, task.tests) if task.is_evaluation else (pairs, ())
    return Shares(
        task.name, task.folder, task.is_evaluation, training, tests, sums, symmetric_keys(sums)
    )


def _once(found: Iterable[Shares], known: Known) -> dict[str, Shares]:
    """The task that is taken for each name, from the first of its folders, an evaluation folder before others; known ones are left out."""
    taken: dict[str, Shares] = {}
    for task in found:
        if task.name in known.folders:
            _refuse_known(task, known)
            continue
        first = taken.setdefault(task.name, task)
        if task.is_evaluation and not first.is_evaluation:
            taken[task.name] = task
    return taken


def _refuse_known(task: Shares, known: Known) -> None:
    if task.is_evaluation and task.name not in known.evaluation:
        folder = known.folders[task.name]
        if not known.holds(task):
            raise DataError(
                f"task {task.name} of {task.folder} has other contents than the one of {folder} that is trained on already; "
                "rename its file or leave it out"
            )
        raise DataError(
            f"task {task.name} of {task.folder} is trained on already, from {folder}, and cannot be tested; "
            "build the data set anew from all sources or leave the task out"
        )


def _left_out(
    found: Iterable[Shares], taken: Mapping[str, Shares], known: Known
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """The folders that tasks were not taken from. Returns: `shared_tasks` and `namesakes`."""
    shared_tasks: dict[str, list[str]] = {}
    namesakes: dict[str, list[str]] = {}
    for task in found:
        own = taken.get(task.name)
        if own is task:
            continue
        folder = own.folder if own else known.folders[task.name]
        is_same = own.is_like(task) if own else known.holds(task)
        if own or not is_same or folder != task.folder:  # else it is what was built, named again
            (shared_tasks if is_same else namesakes).setdefault(task.name, [folder]).append(
                task.folder
            )
    return shared_tasks, namesakes


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
        tested_by = sorted(owners.get(key, set()) - {task.name}) or [task.name] * (
            exact[number] in own_tests
        )
        chosen.append(not tested_by)
        if tested_by:
            dropped_pairs.append(
                f"{task.folder}/{task.name}, pair {number + 1}: a test pair of {tested_by[0]}"
            )
    return task if all(chosen) else task.keeping(chosen)
