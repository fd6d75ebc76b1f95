"""Sudoku data sets: from published CSV files or from the generator.

A group is one puzzle and its augmentations, each a puzzle of its own, as in the published data sets.
Shapes: N puzzles, S cells.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

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
from hrm_core.errors import DataError, PuzzleError
from hrm_core.tasks.building import Built, Watch, unwatched
from hrm_tasks.sudoku.board import BOARDS, ByteArray
from hrm_tasks.sudoku.canonical import canonical_puzzle, canonical_solution
from hrm_tasks.sudoku.csv_rows import read_csv
from hrm_tasks.sudoku.generator import Keep, generate, generate_batches, random_solution
from hrm_tasks.sudoku.options import Options
from hrm_tasks.sudoku.task import BLANK, Sudoku

BLOCK_EXAMPLES = 1 << 15  # augmented at once
TEST_SHARE = 0.2  # of the solutions of a board that has few classes of them
PATIENCE = 5  # batches in a row without a puzzle that is not equivalent to one of the training set
NUM_SURVEYED = 500  # solutions drawn to learn how large the classes are


def build(out: Path, options: Options, watch: Watch = unwatched) -> Built:
    """Build a Sudoku data set from published puzzles or CSV files, or generate one.

    \b
    Examples:
        hrm data sudoku data/extreme --source hf://sapientinc/sudoku-extreme --subsample 1000 --augment 1000
        hrm data sudoku data/9x9 --train-csv train.csv --test-csv test.csv --subsample 1000 --augment 1000
        hrm data sudoku data/6x6 --generate 2000 --size 6 --augment 100
    """
    refuse_used(out)
    if options.generate is None:
        record = _build_from_files(out, options, options.files())
    else:
        record = _build_generated(out, options, options.generate)
    examples, puzzles = record["train_examples"], record["train_puzzles"]
    training = f"{examples:,} training examples of {puzzles:,} puzzles"
    summary = f"{training}, {record.get('test_puzzles', 0):,} test puzzles"
    return Built(record, summary, tuple(repeated_questions(record)))


def _build_from_files(out: Path, options: Options, files: CsvFiles) -> dict[str, Any]:
    """Read puzzles from CSV files; only those to train on are subsampled and augmented.

    Raises: DataError naming file and line.
    """
    train = read_csv(files.train, options.min_rating)
    test = read_csv(files.test, options.min_rating) if files.test else None
    if test is not None and test.inputs.shape[1] != train.inputs.shape[1]:
        raise DataError(
            f"{files.test} has boards of {test.inputs.shape[1]} cells, "
            f"{files.train} of {train.inputs.shape[1]}; use one size"
        )
    num_read = len(train.ratings)
    if options.subsample is not None:
        train = subsample(train, options.subsample, options.seed, files.train)
    about = {
        **files.origin,
        "sources": {split: describe_file(path) for split, path in files.paths.items()},
        "min_rating": options.min_rating,
        "read": num_read,
    }
    return _write(out, train, test, options, about)


def _build_generated(out: Path, options: Options, num_train: int) -> dict[str, Any]:
    """Generate puzzles; no test puzzle is equivalent to a training puzzle.

    On 6x6 and 9x9 boards not even their solutions are. The 6x6 board has so few essentially different solutions, 49,
    that a large training set would leave none: a fifth of them is kept for the test set. The 4x4 board has two.

    Raises: PuzzleError where there are not so many puzzles.
    """
    size, seed = options.size, options.seed
    for_training = _training_solutions(size, seed) if size == 6 and options.test else None
    train = generate(
        size,
        num_train,
        stream(seed, Purpose.PUZZLES, TRAIN),
        givens=options.givens,
        min_rating=options.min_rating,
        keep=for_training,
    )
    test, dropped = _generate_apart(train, options) if options.test else (None, 0)
    about = {
        "generated": size,
        "givens": list(options.givens) if options.givens else None,
        "min_rating": options.min_rating,
        "equivalent_to_training_dropped": dropped,
    }
    return _write(out, train, test, options, about)


def symmetry_classes(puzzles: Puzzles) -> list[bytes]:
    """What equivalent puzzles have in common: the canonical puzzle on a 4x4 board, elsewhere the canonical solution."""
    is_small = puzzles.inputs.shape[1] == 16
    canonical = (
        canonical_puzzle(puzzles.inputs - np.uint8(BLANK))
        if is_small
        else canonical_solution(puzzles.labels - np.uint8(BLANK))
    )
    return list(map(bytes, canonical))


def _training_solutions(size: int, seed: int) -> Keep:
    """Choose classes of solutions that hold at least TEST_SHARE of all, for the test set. Returns: what tells the others."""
    rng = stream(seed, Purpose.PUZZLES, TRAIN, TEST)
    drawn = np.stack([random_solution(BOARDS[size], rng) for _ in range(NUM_SURVEYED)])
    classes, counts = np.unique(canonical_solution(drawn), axis=0, return_counts=True)
    order = rng.permutation(len(classes))
    num_kept = 1 + int(np.searchsorted(np.cumsum(counts[order]), TEST_SHARE * NUM_SURVEYED))
    for_test = set(map(bytes, classes[order[:num_kept]]))
    return lambda solutions: np.array(
        [bytes(key) not in for_test for key in canonical_solution(solutions)]
    )


def _generate_apart(train: Puzzles, options: Options) -> tuple[Puzzles, int]:
    """Draw test puzzles until enough are in no symmetry class of the training set.

    Returns: they, and how many were dropped.
    """
    count = options.test
    known = set(symmetry_classes(train))
    found: list[Puzzles] = []
    num_found = dropped = fruitless = 0

    def is_new(solutions: ByteArray) -> npt.NDArray[np.bool_]:
        nonlocal dropped
        new = np.array([bytes(key) not in known for key in canonical_solution(solutions)], bool)
        dropped += int((~new).sum())
        return new

    batches = generate_batches(
        options.size,
        stream(options.seed, Purpose.PUZZLES, TEST),
        givens=options.givens,
        min_rating=options.min_rating,
        keep=is_new if options.size > 4 else None,  # before a puzzle is dug, which takes longest
    )
    for batch in batches:
        new = np.array([key not in known for key in symmetry_classes(batch)])
        found.append(batch.select(new))
        num_found += int(new.sum())
        dropped += int((~new).sum())
        if num_found >= count:
            break
        fruitless = 0 if new.any() else fruitless + 1
        if fruitless == PATIENCE:
            raise PuzzleError(
                f"{num_found:,} test puzzles found that are equivalent to none of {len(train.ratings):,} training puzzles, not {count:,}; "
                "ask for fewer, or for other --givens"
            )
    return Puzzles.join(found).select(np.arange(count)), dropped


def _write(
    out: Path, train: Puzzles, test: Puzzles | None, options: Options, about: dict[str, Any]
) -> dict[str, Any]:
    augment, seed = options.augment, options.seed
    task = Sudoku.for_shape(int(np.sqrt(train.inputs.shape[1])) + 2, train.inputs.shape[1])
    assert task is not None, "readers and generators know only these boards"
    counts = {
        "train_puzzles": len(train.ratings),
        "train_examples": len(train.ratings) * (1 + augment),
    }
    splits = {"train": {"all": _augmented(task, train, augment, seed)}}
    if test is not None:
        counts |= {
            "test_puzzles": len(test.ratings),
            "test_questions_in_training": num_shared(test.inputs, train.inputs),
        }
        splits["test"] = {"all": iter([Examples(test.inputs, test.labels, test.ratings)])}
    build = {"task": task.name, "seed": seed, "augment": augment, **about, **counts}
    return write_dataset(out, Layout(task.vocab_size, task.seq_len), splits, build)


def _augmented(task: Sudoku, puzzles: Puzzles, augment: int, seed: int) -> Iterator[Examples]:
    """Each puzzle followed by `augment` random symmetries of it, in blocks of whole groups."""
    copies = 1 + augment
    per_block = max(1, BLOCK_EXAMPLES // copies)
    for start in range(0, len(puzzles.ratings), per_block):
        block = puzzles.select(np.arange(start, min(start + per_block, len(puzzles.ratings))))
        repeated = block.select(np.repeat(np.arange(len(block.ratings)), copies))
        inputs, labels = repeated.inputs, repeated.labels
        if augment:
            moved = np.arange(len(inputs)) % copies > 0  # the first of each group stays as it is
            symmetry = task.draw_symmetries(
                stream(seed, Purpose.AUGMENTATION, start), int(moved.sum())
            )
            inputs[moved], labels[moved] = (
                symmetry.apply(inputs[moved]),
                symmetry.apply(labels[moved]),
            )
        yield Examples(
            inputs, labels, repeated.ratings, group_sizes=np.full(len(block.ratings), copies)
        )
