"""Maze data sets: from published CSV files or from the generators.

A group is one maze and its augmentations, each a puzzle of its own, as in the published data sets.
Shapes: N mazes, S cells.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hrm_core.data.dihedral import NUM_VIEWS
from hrm_core.data.puzzles import (
    TEST,
    TRAIN,
    CsvFiles,
    Puzzles,
    describe_file,
    num_shared,
    subsample,
)
from hrm_core.data.summary import repeated_questions
from hrm_core.data.writer import Examples, Layout, refuse_used, write_dataset
from hrm_core.draws import Purpose, stream
from hrm_core.errors import DataError
from hrm_core.tasks.building import Built, Watch, unwatched
from hrm_tasks.maze.board import canonical, size_of
from hrm_tasks.maze.csv_rows import MazeFile, read_csv
from hrm_tasks.maze.generator import MIXED, MazeGenerator
from hrm_tasks.maze.options import Options
from hrm_tasks.maze.task import Maze
from hrm_tasks.maze.walls import KINDS

BLOCK_EXAMPLES = 1 << 13  # augmented at once


def build(out: Path, options: Options, watch: Watch = unwatched) -> Built:
    """Build a maze data set from published mazes or CSV files, or generate one.

    \b
    Examples:
        hrm data maze data/maze --source hf://sapientinc/maze-30x30-hard-1k
        hrm data maze data/mine --train-csv train.csv --test-csv test.csv
        hrm data maze data/10x10 --generate 2000 --size 10 --augment 7
    """
    refuse_used(out)
    if options.generate is None:
        record = _build_from_files(out, options, options.files())
    else:
        record = _build_generated(out, options, options.generate)
    examples, mazes, size = record["train_examples"], record["train_puzzles"], record["size"]
    training = f"{examples:,} training examples of {mazes:,} mazes"
    summary = f"{training}, {record.get('test_puzzles', 0):,} test mazes of {size}x{size}"
    return Built(record, summary, (*repeated_questions(record), *_longer_answers(record)))


def _longer_answers(record: Mapping[str, Any]) -> list[str]:
    """Return a warning where answers in the files are not shortest paths."""
    longer = sum(file["longer_than_shortest"] for file in record.get("sources", {}).values())
    return [f"answers that are paths, but not shortest ones: {longer:,}"] if longer else []


def _build_from_files(out: Path, options: Options, files: CsvFiles) -> dict[str, Any]:
    """Read mazes from CSV files; only those to train on are subsampled and augmented.

    Raises: DataError naming file and line.
    """
    found = {split: read_csv(path, options.min_rating) for split, path in files.paths.items()}
    sizes = {split: size_of(file.mazes.inputs.shape[1]) for split, file in found.items()}
    if len(set(sizes.values())) > 1:
        raise DataError(
            f"{files.test} has {sizes['test']} rows a maze, "
            f"{files.train} has {sizes['train']}; use one size"
        )
    train = found["train"].mazes
    if options.subsample is not None:
        train = subsample(train, options.subsample, options.seed, files.train)
    about = {
        **files.origin,
        "min_rating": options.min_rating,
        "sources": {split: _source(files.paths[split], file) for split, file in found.items()},
    }
    return _write(out, train, found["test"].mazes if "test" in found else None, options, about)


def _build_generated(out: Path, options: Options, num_train: int) -> dict[str, Any]:
    """Generate mazes; none is a rotation or reflection of another, in a split or across them.

    Raises: PuzzleError where there are not so many mazes.
    """
    size, kind, seed = options.size, options.kind, options.seed
    generator = MazeGenerator(size, stream(seed, Purpose.PUZZLES, TRAIN), options.min_path)
    train, dropped = generator.generate(num_train, kind), {"train": dict(generator.dropped)}
    test = None
    if options.test:
        rng = stream(seed, Purpose.PUZZLES, TEST)
        tester = MazeGenerator(size, rng, options.min_path, apart_from=generator)
        test = tester.generate(options.test, kind)
        dropped["test"] = dict(tester.dropped)
    kinds = list(KINDS) if kind == MIXED else [kind]
    about = {
        "generated": size,
        "kind": kind,
        "min_path": {each: generator.min_path(each) for each in kinds},
        "dropped": dropped,
    }
    return _write(out, train, test, options, about)


def _write(
    out: Path, train: Puzzles, test: Puzzles | None, options: Options, about: dict[str, Any]
) -> dict[str, Any]:
    augment, seed = options.augment, options.seed
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
