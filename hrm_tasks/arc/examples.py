"""Make the examples of ARC data sets: each augmentation of a task is a puzzle with its own identifier.

Demonstrations of evaluation tasks go to train and their test pairs to test, under the same identifiers;
all other pairs go to train. The draws for a task depend on the seed, its name and its grids alone, so a
task that is added later is the same as in a build of everything.

Shapes: A augmentations of a task (itself the first), E pairs, S = side · side cells of the canvas.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hrm_core.data.writer import Examples, Layout, write_dataset
from hrm_core.draws import Purpose, stream
from hrm_core.tasks.building import Watch, unwatched
from hrm_core.tasks.contract import IntArray, TokenArray
from hrm_tasks.arc.augment import Augmentations, cell_places, draw_augmentations
from hrm_tasks.arc.canvas import COLOUR, END, SIDE, VOCAB_SIZE
from hrm_tasks.arc.contents import Pair
from hrm_tasks.arc.leaks import TaskSplit, TaskSplits
from hrm_tasks.arc.read import Source

TASK = "arc"
SET = "all"
ENDS = np.full(2 * SIDE, END, np.uint8)
BLOCK_PUZZLES = 128  # drawn at once: their arrays stay in the cache, 2.7 times as fast as 1,001

Blocks = dict[str, dict[str, Iterator[Examples]]]


@dataclass(frozen=True, eq=False)
class AugmentedTask:
    """Pairs of a task and the augmentations that it is built with."""

    split: TaskSplit
    augmentations: Augmentations
    corners: IntArray  # (A, E) of each training pair on the canvas, row * (side + 1) + column
    first_identifier: int
    side: int  # of the canvas

    @property
    def num_puzzles(self) -> int:
        """Return A."""
        return len(self.augmentations.symmetries)

    @property
    def identifiers(self) -> IntArray:
        """Return the puzzle identifiers: (A,)."""
        return self.first_identifier + np.arange(self.num_puzzles)

    def training(self) -> Examples:
        """Draw the training pairs, all but one pair of each puzzle shifted at random.

        They are one group of A puzzles.
        """
        return self._examples(self.split.training, self.corners.astype(np.intp))

    def tests(self) -> Examples:
        """Draw the test pairs in the corner of the canvas: one group of A puzzles."""
        pairs = self.split.tests
        corners = np.zeros((self.num_puzzles, len(pairs)), np.intp)
        return self._examples(pairs, corners)

    def _examples(self, pairs: Sequence[Pair], corners: IntArray) -> Examples:
        """Draw pairs under all augmentations as one group."""
        inputs, labels = draw_canvases(pairs, self.augmentations, corners, self.side)
        return Examples(
            inputs,
            labels,
            puzzle_sizes=np.full(self.num_puzzles, len(pairs)),
            group_sizes=np.array([self.num_puzzles]),
            puzzle_identifiers=self.identifiers,
        )


def augment_tasks(
    tasks: Sequence[TaskSplit], augment: int, seed: int, first_identifier: int, side: int
) -> list[AugmentedTask]:
    """Draw the augmentations of each task for a canvas of `side` rows.

    Identifiers are numbered from `first_identifier`.
    """
    drawn = []
    for split in tasks:
        digest = hashlib.sha256(split.name.encode()).digest()
        key = int.from_bytes(digest[:8], "little")  # not the task's position: see above
        rng = stream(seed, Purpose.AUGMENTATION, key)
        augmentations = draw_augmentations(split.sums, augment, rng)
        corners = _draw_corners(split.training, augmentations, rng, side)
        task = AugmentedTask(split, augmentations, corners, first_identifier, side)
        drawn.append(task)
        first_identifier += task.num_puzzles
    return drawn


def blocks(tasks: Sequence[AugmentedTask], watch: Watch = unwatched) -> Blocks:
    """Return the examples of each split, one block a task; a split without any is left out."""

    def draw(
        chosen: Sequence[AugmentedTask], examples: Callable[[AugmentedTask], Examples]
    ) -> Iterator[Examples]:
        for task in chosen:
            watch(task.split.name)
            yield examples(task)

    trained = [task for task in tasks if task.split.training]
    tested = [task for task in tasks if task.split.tests]
    splits: Blocks = {}
    if trained:
        splits["train"] = {SET: draw(trained, AugmentedTask.training)}
    if tested:
        splits["test"] = {SET: draw(tested, AugmentedTask.tests)}
    return splits


def write(
    out: Path,
    side: int,
    old_names: Sequence[str],
    splits: Blocks,
    about: Mapping[str, Any],
    tasks: Sequence[AugmentedTask],
) -> dict[str, Any]:
    """Write a data set whose identifiers are `old_names` and then those of `tasks`.

    Returns: its build.json.
    """
    names = list(old_names)
    for task in tasks:
        names += task.augmentations.names(task.split.name)
    build = {**about, "identifiers": len(names)}
    counts = {f"{split}_examples": 0 for split in splits}

    def counted(split: str, examples: Iterator[Examples]) -> Iterator[Examples]:
        for block in examples:
            counts[f"{split}_examples"] += len(block.inputs)
            yield block
        build.update(counts)

    layout = Layout(VOCAB_SIZE, side * side, identifiers=tuple(names))
    counting = {split: {SET: counted(split, sets[SET])} for split, sets in splits.items()}
    new_tasks = {task.split.name: describe_task(task) for task in tasks}
    build["tasks"] = {**about.get("tasks", {}), **new_tasks}
    return write_dataset(out, layout, counting, build)


def describe_task(task: AugmentedTask) -> dict[str, Any]:
    """Return the entry of a task in build.json, which keeps it apart from tasks that are added later."""
    split = task.split
    return {
        "folder": split.folder,
        "evaluation": split.is_evaluation,
        "identifiers": task.num_puzzles,
        "training_pairs": " ".join(f"{key:016x}" for key in split.training_keys),
        "test_pairs": " ".join(f"{key:016x}" for key in sorted(split.test_keys)),
    }


def describe_sources(sources: Sequence[Source]) -> list[dict[str, Any]]:
    """Return the entries of the sources in build.json."""
    return [
        {"name": source.name, "sha256": source.sha256, "tasks": len(source.tasks)}
        for source in sources
    ]


def drops(splits: TaskSplits, sources: Sequence[Source]) -> dict[str, Any]:
    """Return the entries in build.json of tasks, pairs and files that were left out."""
    return {
        "shared_tasks": splits.shared_tasks,
        "namesakes": splits.namesakes,
        "dropped_pairs": splits.dropped_pairs,
        **listed(splits, sources),
    }


def listed(splits: TaskSplits, sources: Sequence[Source]) -> dict[str, list[str]]:
    """Return the entries in build.json that only data sets with such tasks or files have."""
    asked = [f"{task.name} of {task.folder}" for task in splits.tasks if task.is_only_asked]
    skipped = [file for source in sources for file in source.skipped]
    found = {"only_asked": asked, "skipped_files": skipped}
    return {kind: names for kind, names in found.items() if names}


def draw_canvases(
    pairs: Sequence[Pair], augmentations: Augmentations, corners: IntArray, side: int
) -> tuple[TokenArray, TokenArray]:
    """Draw each pair under each augmentation with its corner at `corners` (A, E).

    An unknown output becomes a label of pads.
    Returns: inputs and labels (A * E, S), the pairs of a puzzle one after the other.
    """
    num_puzzles, num_pairs = corners.shape
    canvases = np.empty((2, num_puzzles, num_pairs, side, side), np.uint8)
    for start in range(0, num_puzzles, BLOCK_PUZZLES):
        rows = slice(start, start + BLOCK_PUZZLES)
        block = Augmentations(augmentations.symmetries[rows], augmentations.colours[rows])
        drawn = _draw_block(
            pairs,
            block,
            corners[rows],
            side + 1,
        )
        canvases[:, rows] = drawn[..., :side, :side]
    inputs, labels = canvases.reshape(2, num_puzzles * num_pairs, side * side)
    return inputs, labels


def _draw_block(
    pairs: Sequence[Pair], augmentations: Augmentations, corners: IntArray, room: int
) -> TokenArray:
    """Draw canvases for a few augmentations, as `draw_canvases` does.

    Returns: (2, A, E, room, room), with end markers without room in the last row and column.
    """
    num_puzzles, num_pairs = corners.shape
    drawn = np.zeros((2, num_puzzles, num_pairs, room, room), np.uint8)
    numbers, grids = zip(*_numbered(pairs), strict=True)  # of G grids, the inputs first
    places = [cell_places(*grid.shape, room) for grid in grids]
    num_cells = [place.shape[1] for place in places]
    grid_of = np.repeat(np.arange(len(grids)), num_cells)  # of each of C cells
    parts, columns = np.divmod(np.array(numbers), num_pairs)
    puzzles = np.arange(num_puzzles)[:, None]
    rows = parts * num_puzzles + puzzles
    canvases = rows * num_pairs + columns  # (A, G)
    starts = canvases * (room * room)
    starts += corners[:, columns]
    cells = np.concatenate(places, axis=1)
    cells = cells[augmentations.symmetries]  # (A, C)
    cells += starts.take(grid_of, axis=1)
    tokens: list[TokenArray] = []
    for grid in grids:
        height, width = grid.shape
        tokens.append(grid.ravel() + np.uint8(COLOUR))
        tokens.append(ENDS[: height + width])
    flat = drawn.reshape(-1)
    flat[cells] = augmentations.tokens.take(np.concatenate(tokens), axis=1)
    return drawn


def _numbered(pairs: Sequence[Pair]) -> Iterator[tuple[int, TokenArray]]:
    """Number the known grids: inputs from 0, outputs from E."""
    inputs = [pair.input for pair in pairs]
    outputs = [pair.output for pair in pairs]
    for number, grid in enumerate([*inputs, *outputs]):
        if grid is not None:
            yield number, grid


def _draw_corners(
    pairs: Sequence[Pair], augmentations: Augmentations, rng: np.random.Generator, side: int
) -> IntArray:
    """Draw the corner of each training pair anywhere that its input and output fit.

    One pair of each puzzle stays in the corner of the canvas. Returns: (A, E).
    """
    largest = []
    for pair in pairs:
        shapes = [grid.shape for grid in pair if grid is not None]
        largest.append(np.max(shapes, axis=0))
    sizes = np.array(largest).reshape(-1, 2)
    swaps = augmentations.swaps[:, None, None]
    needed = np.where(swaps, sizes[:, ::-1], sizes)  # (A, E, 2)
    places = rng.integers(0, side - needed + 1)
    corners = places @ [side + 1, 1]
    if pairs:
        puzzles = np.arange(len(corners))
        kept = rng.integers(0, len(pairs), len(corners))
        corners[puzzles, kept] = 0
    return corners.astype(np.uint16)
