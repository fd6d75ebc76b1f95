"""Maze data sets: from published CSV files or from the generators.

A group is one maze and its augmentations, each a puzzle of its own, as in the published data sets.
Shapes: N mazes, S cells.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hrm_core.data.dihedral import NUM_VIEWS
from hrm_core.data.puzzles import TEST, TRAIN, Puzzles, describe_file, num_shared
from hrm_core.data.puzzles import subsample as subsample_of
from hrm_core.data.writer import Examples, Layout, refuse_used, write_dataset
from hrm_core.draws import Purpose, stream
from hrm_core.errors import DataError
from hrm_tasks.maze.board import canonical, size_of
from hrm_tasks.maze.csv_rows import MazeFile, read_csv
from hrm_tasks.maze.generator import MIXED, MazeGenerator
from hrm_tasks.maze.task import Maze
from hrm_tasks.maze.walls import KINDS

BLOCK_EXAMPLES = 1 << 13  # augmented at once


def build_from_csv(
    out: Path,
    train_csv: Path,
    test_csv: Path | None,
    origin: Mapping[str, Any] = {},
    *,
    subsample: int | None = None,
    augment: int = 0,
    min_rating: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """Build a data set from CSV files; only the training mazes are subsampled and augmented. `origin` goes to build.json.

    Returns: what was done, as in build.json. Raises: DataError naming file and line.
    """
    refuse_used(out)
    paths = {"train": train_csv} | ({"test": test_csv} if test_csv else {})
    files = {split: read_csv(path, min_rating) for split, path in paths.items()}
    sizes = {split: size_of(file.mazes.inputs.shape[1]) for split, file in files.items()}
    if len(set(sizes.values())) > 1:
        raise DataError(
            f"{test_csv} has {sizes['test']} rows a maze, {train_csv} has {sizes['train']}; use one size"
        )
    train = files["train"].mazes
    if subsample is not None:
        train = subsample_of(train, subsample, seed, train_csv)
    about = {
        **origin,
        "min_rating": min_rating,
        "sources": {split: _source(paths[split], file) for split, file in files.items()},
    }
    return _write(out, train, files["test"].mazes if test_csv else None, augment, seed, about)


def build_generated(
    out: Path,
    size: int,
    num_train: int,
    num_test: int,
    *,
    kind: str = MIXED,
    min_path: int | None = None,
    augment: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """Build a data set from generated mazes; none is a rotation or reflection of another, in a split or across them.

    Returns: what was done, as in build.json. Raises: PuzzleError where there are not so many mazes.
    """
    refuse_used(out)
    generator = MazeGenerator(size, stream(seed, Purpose.PUZZLES, TRAIN), min_path)
    train, dropped = generator.generate(num_train, kind), {"train": dict(generator.dropped)}
    test = None
    if num_test:
        tester = MazeGenerator(
            size, stream(seed, Purpose.PUZZLES, TEST), min_path, apart_from=generator
        )
        test = tester.generate(num_test, kind)
        dropped["test"] = dict(tester.dropped)
    kinds = list(KINDS) if kind == MIXED else [kind]
    about = {
        "generated": size,
        "kind": kind,
        "min_path": {each: generator.min_path(each) for each in kinds},
        "dropped": dropped,
    }
    return _write(out, train, test, augment, seed, about)


def _write(
    out: Path, train: Puzzles, test: Puzzles | None, augment: int, seed: int, about: dict[str, Any]
) -> dict[str, Any]:
    if not 0 <= augment < NUM_VIEWS:
        raise DataError(
            f"augment={augment}; a square has {NUM_VIEWS - 1} other views, so expected 0 to {NUM_VIEWS - 1}"
        )
    size = size_of(train.inputs.shape[1])
    assert size is not None, "readers and generators know only squares"
    task = Maze(size)
    counts = {
        "train_puzzles": len(train.ratings),
        "train_examples": len(train.ratings) * (1 + augment),
    }
    splits = {"train": {"all": _augmented(task, train, augment, seed)}}
    if test is not None:
        shared = num_shared(canonical(test.inputs, size), canonical(train.inputs, size))
        counts |= {"test_puzzles": len(test.ratings), "test_questions_in_training": shared}
        splits["test"] = {"all": iter([Examples(test.inputs, test.labels, test.ratings)])}
    build = {"task": task.name, "size": size, "seed": seed, "augment": augment, **about, **counts}
    return write_dataset(out, Layout(task.vocab_size, task.seq_len), splits, build)


def _augmented(task: Maze, mazes: Puzzles, augment: int, seed: int) -> Iterator[Examples]:
    """Each maze followed by `augment` of its other views, drawn at random, in the order of their numbers; in blocks of whole groups."""
    copies = 1 + augment
    per_block = max(1, BLOCK_EXAMPLES // copies)
    for start in range(0, len(mazes.ratings), per_block):
        block = mazes.select(np.arange(start, min(start + per_block, len(mazes.ratings))))
        rng = stream(seed, Purpose.AUGMENTATION, start)
        others = rng.permuted(np.tile(np.arange(1, NUM_VIEWS), (len(block.ratings), 1)), axis=1)[
            :, :augment
        ]
        views = np.concatenate(
            [np.zeros((len(others), 1), dtype=np.intp), np.sort(others, axis=1)], axis=1
        )
        repeated = block.select(np.repeat(np.arange(len(block.ratings)), copies))
        symmetry = task.symmetries(views.reshape(-1))
        inputs, labels = symmetry.apply(repeated.inputs), symmetry.apply(repeated.labels)
        yield Examples(
            inputs, labels, repeated.ratings, group_sizes=np.full(len(block.ratings), copies)
        )


def _source(path: Path, file: MazeFile) -> dict[str, Any]:
    """What build.json says of a file: its hash, and what was found in the mazes that were kept."""
    counts = {
        "below_min_rating": file.too_easy,
        "longer_than_shortest": file.longer,
        "several_shortest_paths": file.ambiguous,
        "rating_is_not_moves": file.other_ratings,
    }
    return {**describe_file(path), "mazes": len(file.mazes.ratings), **counts}
