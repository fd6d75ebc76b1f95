"""Examples of ARC data sets: tasks with their augmentations, each augmentation a puzzle with an identifier of its own.

Demonstrations of evaluation tasks go to train and their test pairs to test, under the same identifiers; all other pairs go to
train. What is drawn for a task depends on the seed, its name and its grids only, so a task added later is the one that a
build of everything would have made.

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
from hrm_tasks.arc.leaks import Settled, Shares
from hrm_tasks.arc.read import Pair, Source

TASK = "arc"
SET = "all"
ENDS = np.full(2 * SIDE, END, np.uint8)
BLOCK_PUZZLES = (
    128  # drawn at once: what they need then stays in the cache, 2.7 times as fast as 1,001
)

Blocks = dict[str, dict[str, Iterator[Examples]]]


@dataclass(frozen=True, eq=False)
class Augmented:
    """A task with the augmentations it is built with."""

    shares: Shares
    augmentations: Augmentations
    corners: (
        IntArray  # (A, E) where the corner of each training pair lies, row * (side + 1) + column
    )
    first_identifier: int
    side: int  # of the canvas

    @property
    def identifiers(self) -> IntArray:
        """(A,) the puzzle identifiers."""
        return np.arange(
            self.first_identifier, self.first_identifier + len(self.augmentations.symmetries)
        )

    def training(self) -> Examples:
        """Its training pairs, shifted at random but for one pair of each puzzle. One group of A puzzles."""
        return self._examples(self.shares.training, self.corners.astype(np.intp))

    def tests(self) -> Examples:
        """Its test pairs, in the corner of the canvas. One group of A puzzles."""
        pairs = self.shares.tests
        return self._examples(
            pairs, np.zeros((len(self.augmentations.symmetries), len(pairs)), np.intp)
        )

    def _examples(self, pairs: Sequence[Pair], corners: IntArray) -> Examples:
        num_puzzles = len(self.augmentations.symmetries)
        inputs, labels = draw_canvases(pairs, self.augmentations, corners, self.side)
        return Examples(
            inputs,
            labels,
            puzzle_sizes=np.full(num_puzzles, len(pairs)),
            group_sizes=np.array([num_puzzles]),
            puzzle_identifiers=self.identifiers,
        )


def augment_tasks(
    tasks: Sequence[Shares], augment: int, seed: int, first_identifier: int, side: int
) -> list[Augmented]:
    """Draw the augmentations of each task for a canvas of `side` rows and number them from `first_identifier`."""
    drawn = []
    for shares in tasks:
        key = int.from_bytes(
            hashlib.sha256(shares.name.encode()).digest()[:8], "little"
        )  # not the task's position: see above
        rng = stream(seed, Purpose.AUGMENTATION, key)
        augmentations = draw_augmentations(shares.sums, augment, rng)
        corners = _draw_corners(shares.training, augmentations, rng, side)
        drawn.append(Augmented(shares, augmentations, corners, first_identifier, side))
        first_identifier += len(augmentations.symmetries)
    return drawn


def blocks(tasks: Sequence[Augmented], watch: Watch = unwatched) -> Blocks:
    """The examples of each split, one block a task; a split without any is left out."""
    parts: Mapping[str, Callable[[Augmented], tuple[Pair, ...]]] = {
        "train": lambda task: task.shares.training,
        "test": lambda task: task.shares.tests,
    }
    draws: Mapping[str, Callable[[Augmented], Examples]] = {
        "train": Augmented.training,
        "test": Augmented.tests,
    }

    def told(split: str, chosen: Sequence[Augmented]) -> Iterator[Examples]:
        for task in chosen:
            watch(task.shares.name)
            yield draws[split](task)

    found = {split: [task for task in tasks if pairs(task)] for split, pairs in parts.items()}
    return {split: {SET: told(split, chosen)} for split, chosen in found.items() if chosen}


def write(
    out: Path,
    side: int,
    old_names: Sequence[str],
    splits: Blocks,
    about: Mapping[str, Any],
    tasks: Sequence[Augmented],
) -> dict[str, Any]:
    """Write a data set whose identifiers are `old_names` and then those of `tasks`. Returns: what build.json holds."""
    names = [
        *old_names,
        *(name for task in tasks for name in task.augmentations.names(task.shares.name)),
    ]
    build = {**about, "identifiers": len(names)}
    counts = {f"{split}_examples": 0 for split in splits}

    def counted(split: str, examples: Iterator[Examples]) -> Iterator[Examples]:
        for block in examples:
            counts[f"{split}_examples"] += len(block.inputs)
            yield block
        build.update(counts)

    layout = Layout(VOCAB_SIZE, side * side, identifiers=tuple(names))
    counting = {
        split: {name: counted(split, block) for name, block in sets.items()}
        for split, sets in splits.items()
    }
    build["tasks"] = {
        **about.get("tasks", {}),
        **{task.shares.name: describe_task(task) for task in tasks},
    }
    return write_dataset(out, layout, counting, build)


def describe_task(task: Augmented) -> dict[str, Any]:
    """What build.json says of a task: enough to keep it apart from tasks that are added later."""
    shares = task.shares
    return {
        "folder": shares.folder,
        "evaluation": shares.is_evaluation,
        "identifiers": len(task.augmentations.symmetries),
        "training_pairs": " ".join(f"{key:016x}" for key in shares.training_keys),
        "test_pairs": " ".join(f"{key:016x}" for key in sorted(shares.test_keys)),
    }


def describe_sources(sources: Sequence[Source]) -> list[dict[str, Any]]:
    """What build.json says of the sources."""
    return [
        {"name": source.name, "sha256": source.sha256, "tasks": len(source.tasks)}
        for source in sources
    ]


def drops(settled: Settled) -> dict[str, Any]:
    """What build.json says of tasks and pairs that were left out."""
    return {
        "shared_tasks": settled.shared_tasks,
        "namesakes": settled.namesakes,
        "dropped_pairs": settled.dropped_pairs,
    }


def draw_canvases(
    pairs: Sequence[Pair], augmentations: Augmentations, corners: IntArray, side: int
) -> tuple[TokenArray, TokenArray]:
    """Each pair under each augmentation, its corner at `corners` (A, E). Returns: inputs and labels (A * E, S), a puzzle's pairs in a row.

    An output that is not known becomes a label of pads.
    """
    num_puzzles, num_pairs = corners.shape
    canvases = np.empty((2, num_puzzles, num_pairs, side, side), np.uint8)
    for start in range(0, num_puzzles, BLOCK_PUZZLES):
        rows = slice(start, start + BLOCK_PUZZLES)
        block = Augmentations(augmentations.symmetries[rows], augmentations.colours[rows])
        canvases[:, rows] = _draw_block(pairs, block, corners[rows], side + 1)[..., :side, :side]
    inputs, labels = canvases.reshape(2, num_puzzles * num_pairs, side * side)
    return inputs, labels


def _draw_block(
    pairs: Sequence[Pair], augmentations: Augmentations, corners: IntArray, room: int
) -> TokenArray:
    """`draw_canvases` for a few augmentations. Returns: (2, A, E, room, room), end markers without room in the last row and column."""
    num_puzzles, num_pairs = corners.shape
    drawn = np.zeros((2, num_puzzles, num_pairs, room, room), np.uint8)
    numbers, grids = zip(*_numbered(pairs), strict=True)  # of G grids, the inputs first
    places = [cell_places(*grid.shape, room) for grid in grids]
    grid_of = np.repeat(
        np.arange(len(grids)), [place.shape[1] for place in places]
    )  # of each of C cells
    sides, columns = np.divmod(np.array(numbers), num_pairs)
    canvases = (
        sides * (num_puzzles * num_pairs) + columns + np.arange(num_puzzles)[:, None] * num_pairs
    )  # (A, G)
    starts = canvases * (room * room) + corners[:, columns]
    cells = np.concatenate(places, axis=1)[augmentations.symmetries] + starts.take(
        grid_of, axis=1
    )  # (A, C)
    tokens = np.concatenate(
        [
            part
            for grid in grids
            for part in (grid.ravel() + np.uint8(COLOUR), ENDS[: sum(grid.shape)])
        ]
    )
    drawn.reshape(-1)[cells] = augmentations.tokens.take(tokens, axis=1)
    return drawn


def _numbered(pairs: Sequence[Pair]) -> Iterator[tuple[int, TokenArray]]:
    """The grids there are: inputs from 0, outputs from E."""
    for number, grid in enumerate(
        [*(pair.input for pair in pairs), *(pair.output for pair in pairs)]
    ):
        if grid is not None:
            yield number, grid


def _draw_corners(
    pairs: Sequence[Pair], augmentations: Augmentations, rng: np.random.Generator, side: int
) -> IntArray:
    """Where the corner of each pair lies: anywhere that input and output fit, but for one pair of each puzzle. Returns: (A, E)."""
    sizes = np.array(
        [np.maximum(*(grid.shape for grid in pair if grid is not None)) for pair in pairs]
    ).reshape(-1, 2)
    needed = np.where(augmentations.swaps[:, None, None], sizes[:, ::-1], sizes)  # (A, E, 2)
    corners = rng.integers(0, side - needed + 1) @ [side + 1, 1]
    if pairs:
        corners[np.arange(len(needed)), rng.integers(0, len(pairs), len(needed))] = 0
    return corners.astype(np.uint16)
