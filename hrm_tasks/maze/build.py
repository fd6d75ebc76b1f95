"""Build maze data sets from published CSV files or with the generators.

A group is one maze and its augmentations. As in the published data sets, each is a puzzle too.
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
    write_other_ratings,
)
from hrm_core.data.summary import repeated_questions
from hrm_core.data.writer import Examples, Layout, refuse_used, write_dataset
from hrm_core.draws import Purpose, stream
from hrm_core.errors import DataError
from hrm_core.tasks.building import Built, Watch, unwatched
from hrm_tasks.maze.board import IntArray, canonical, size_of
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
    examples = record["train_examples"]
    mazes = record["train_puzzles"]
    size = record["size"]
    training = f"{examples:,} training examples of {mazes:,} mazes"
    summary = f"{training}, {record.get('test_puzzles', 0):,} test mazes of {size}x{size}"
    return Built(
        record,
        summary,
        (*repeated_questions(record), *_longer_answers(record)),
    )


def _longer_answers(record: Mapping[str, Any]) -> list[str]:
    """Return a warning if answers in the files are not shortest paths."""
    files = record.get("sources", {}).values()
    longer = sum(file["longer_than_shortest"] for file in files)
    if not longer:
        return []
    return [f"answers that are paths, but not shortest ones: {longer:,}"]


def _build_from_files(out: Path, options: Options, files: CsvFiles) -> dict[str, Any]:
    """Read mazes from CSV files and write them; only the training set is subsampled and augmented.

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
    test = found["test"].mazes if "test" in found else None
    if options.subsample is not None:
        train = subsample(
            train,
            options.subsample,
            options.seed,
            files.train,
        )
    about = {
        **files.origin,
        "min_rating": options.min_rating,
        "sources": {split: _source(files.paths[split], file) for split, file in found.items()},
    }
    return _write(out, train, test, options, about)


def _source(path: Path, file: MazeFile) -> dict[str, Any]:
    """Return the entry of a file in build.json: its hash and the counts of its mazes."""
    counts = {
        "below_min_rating": file.too_easy,
        "longer_than_shortest": file.longer,
        "several_shortest_paths": file.ambiguous,
        "rating_is_not_moves": file.other_ratings,
    }
    return {**describe_file(path), "mazes": len(file.mazes.ratings), **counts}


def _build_generated(out: Path, options: Options, num_train: int) -> dict[str, Any]:
    """Generate mazes and write them; none is a rotation or reflection of another, in any split.

    Raises: PuzzleError if there are fewer such mazes than asked for.
    """
    size = options.size
    kind = options.kind
    seed = options.seed
    rng = stream(seed, Purpose.PUZZLES, TRAIN)
    generator = MazeGenerator(size, rng, options.min_path)
    train = generator.generate(num_train, kind)
    dropped = {"train": dict(generator.dropped)}
    test = None
    if options.test:
        rng = stream(seed, Purpose.PUZZLES, TEST)
        test_generator = MazeGenerator(size, rng, options.min_path, apart_from=generator)
        test = test_generator.generate(options.test, kind)
        dropped["test"] = dict(test_generator.dropped)
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
    """Write the data set. Returns: its build.json."""
    augment = options.augment
    seed = options.seed
    num_train, num_cells = train.inputs.shape
    size = size_of(num_cells)
    assert size is not None, "readers and generators know only squares"
    task = Maze(size)
    counts = {
        "train_puzzles": num_train,
        "train_examples": num_train * (1 + augment),
    }
    splits = {"train": {"all": _augmented(task, train, augment, seed)}}
    if test is not None:
        shared = num_shared(canonical(test.inputs, size), canonical(train.inputs, size))
        counts |= {"test_puzzles": len(test.ratings), "test_questions_in_training": shared}
        examples = Examples(test.inputs, test.labels, test.ratings)
        splits["test"] = {"all": iter([examples])}
    build = {"task": task.name, "size": size, "seed": seed, "augment": augment, **about, **counts}
    return write_dataset(
        out,
        Layout(task.vocab_size, task.seq_len),
        splits,
        build,
        write_other_ratings({"train": train, "test": test}),
    )


def _augmented(task: Maze, mazes: Puzzles, augment: int, seed: int) -> Iterator[Examples]:
    """Yield each maze followed by `augment` of its other views, in blocks of whole groups.

    The views are drawn at random and written in the order of their numbers.
    """
    copies = 1 + augment
    num_mazes = len(mazes.ratings)
    per_block = max(1, BLOCK_EXAMPLES // copies)
    for start in range(0, num_mazes, per_block):
        end = min(start + per_block, num_mazes)
        chosen = np.arange(start, end)
        block = mazes.select(np.repeat(chosen, copies))
        rng = stream(seed, Purpose.AUGMENTATION, start)
        views = _draw_views(len(chosen), augment, rng)
        symmetry = task.symmetries(views.reshape(-1))
        yield Examples(
            symmetry.apply(block.inputs),
            symmetry.apply(block.labels),
            block.ratings,
            group_sizes=np.full(len(chosen), copies),
        )


def _draw_views(count: int, augment: int, rng: np.random.Generator) -> IntArray:
    """Draw the views of `count` mazes: 0, then `augment` others in ascending order.

    Returns: (count, 1 + augment).
    """
    others = np.tile(np.arange(1, NUM_VIEWS), (count, 1))
    others = rng.permuted(others, axis=1)
    chosen = np.sort(others[:, :augment], axis=1)
    own = np.zeros((count, 1), dtype=np.intp)
    return np.concatenate([own, chosen], axis=1)
