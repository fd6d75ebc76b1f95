"""Build Sudoku data sets from published CSV files or with the generator.

A group is one puzzle and its augmentations. As in the published data sets, each is a puzzle too.
Shapes: N puzzles, S cells.
"""

from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

import numpy as np

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
from hrm_core.errors import DataError, PuzzleError
from hrm_core.tasks.building import Built, Watch, unwatched
from hrm_tasks.sudoku.board import BOARDS, BoolArray, ByteArray
from hrm_tasks.sudoku.canonical import canonical_puzzle, canonical_solution
from hrm_tasks.sudoku.csv_rows import rated, read_csv
from hrm_tasks.sudoku.generator import Keep, generate, generate_batches, random_solution
from hrm_tasks.sudoku.options import Options
from hrm_tasks.sudoku.task import BLANK, Sudoku

BLOCK_EXAMPLES = 1 << 15  # augmented at once
TEST_SHARE = 0.2  # of the solutions of a board that has few classes of them
PATIENCE = 5  # batches in a row whose puzzles are all equivalent to training puzzles
NUM_SURVEYED = 500  # solutions drawn to estimate the sizes of the classes


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
    examples = record["train_examples"]
    puzzles = record["train_puzzles"]
    training = f"{examples:,} training examples of {puzzles:,} puzzles"
    summary = f"{training}, {record.get('test_puzzles', 0):,} test puzzles"
    return Built(record, summary, tuple(repeated_questions(record)))


def _build_from_files(out: Path, options: Options, files: CsvFiles) -> dict[str, Any]:
    """Read puzzles from CSV files and write them; only the training set is subsampled and augmented.

    Raises: DataError naming file and line.
    """
    train = read_csv(files.train, options.min_rating, rate=False)
    test = read_csv(files.test, options.min_rating) if files.test else None
    num_cells = train.inputs.shape[1]
    if test is not None and test.inputs.shape[1] != num_cells:
        raise DataError(
            f"{files.test} has boards of {test.inputs.shape[1]} cells, "
            f"{files.train} of {num_cells}; use one size"
        )
    num_read = len(train.ratings)
    if options.subsample is not None:
        train = subsample(
            train,
            options.subsample,
            options.seed,
            files.train,
        )
    train = rated(train)
    about = {
        **files.origin,
        "sources": {split: describe_file(path) for split, path in files.paths.items()},
        "min_rating": options.min_rating,
        "read": num_read,
    }
    return _write(out, train, test, options, about)


def _build_generated(out: Path, options: Options, num_train: int) -> dict[str, Any]:
    """Generate puzzles and write them; no test puzzle is equivalent to a training puzzle.

    On 6x6 and 9x9 boards not even the solutions are equivalent. The 6x6 board has only 49
    essentially different solutions, and a large training set would use them all: a fifth of them is
    kept for the test set. The 4x4 board has two.

    Raises: PuzzleError if there are fewer such puzzles than asked for.
    """
    train = _generate_train(num_train, options)
    test = None
    dropped = 0
    if options.test:
        test, dropped = _generate_test(train, options)
    about = {
        "generated": options.size,
        "givens": list(options.givens) if options.givens else None,
        "min_rating": options.min_rating,
        "equivalent_to_training_dropped": dropped,
    }
    return _write(out, train, test, options, about)


def _generate_train(count: int, options: Options) -> Puzzles:
    """Generate the training puzzles; on 6x6 boards leave some classes of solutions to the test."""
    size = options.size
    seed = options.seed
    keep = None
    if size == 6 and options.test:
        keep = _training_solutions(size, seed)
    return generate(
        size,
        count,
        stream(seed, Purpose.PUZZLES, TRAIN),
        givens=options.givens,
        min_rating=options.min_rating,
        keep=keep,
    )


def _training_solutions(size: int, seed: int) -> Keep:
    """Set classes with at least TEST_SHARE of all solutions apart for the test set.

    Returns: a filter that accepts training solutions.
    """
    rng = stream(seed, Purpose.PUZZLES, TRAIN, TEST)
    board = BOARDS[size]
    drawn = np.stack([random_solution(board, rng) for _ in range(NUM_SURVEYED)])
    grids = canonical_solution(drawn)
    classes, counts = np.unique(grids, axis=0, return_counts=True)
    order = rng.permutation(len(classes))
    covered = np.cumsum(counts[order])
    num_for_test = 1 + int(np.searchsorted(covered, TEST_SHARE * NUM_SURVEYED))
    chosen = order[:num_for_test]
    for_test = set(_keys(classes[chosen]))

    def keep(solutions: ByteArray) -> BoolArray:
        return _not_among(for_test, canonical_solution(solutions))

    return keep


def _generate_test(train: Puzzles, options: Options) -> tuple[Puzzles, int]:
    """Draw test puzzles until enough are in no symmetry class of the training set.

    Returns: the puzzles, and the number of puzzles dropped. Raises: PuzzleError if too few are found.
    """
    count = options.test
    known = set(symmetry_classes(train))
    found: list[Puzzles] = []
    num_found = dropped = fruitless = 0

    def is_new(solutions: ByteArray) -> BoolArray:
        nonlocal dropped
        new = _not_among(known, canonical_solution(solutions))
        dropped += int((~new).sum())
        return new

    batches = generate_batches(
        options.size,
        stream(options.seed, Purpose.PUZZLES, TEST),
        givens=options.givens,
        min_rating=options.min_rating,
        keep=is_new if options.size > 4 else None,  # refused before digging, which takes longest
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
                f"{num_found:,} test puzzles found that are equivalent to none of "
                f"{len(train.ratings):,} training puzzles, not {count:,}; "
                "ask for fewer, or for other --givens"
            )
    return Puzzles.join(found).select(np.arange(count)), dropped


def _not_among(classes: Set[bytes], grids: ByteArray) -> BoolArray:
    """Return True for each canonical grid (N, S) that is not in `classes`: (N,)."""
    return np.array(
        [key not in classes for key in _keys(grids)],
        dtype=np.bool_,
    )


def symmetry_classes(puzzles: Puzzles) -> list[bytes]:
    """Return a key for each puzzle that is the same for equivalent puzzles.

    It is the canonical puzzle on a 4x4 board and the canonical solution on the others.
    """
    if puzzles.inputs.shape[1] == BOARDS[4].num_cells:
        return _keys(canonical_puzzle(puzzles.inputs - np.uint8(BLANK)))
    return _keys(canonical_solution(puzzles.labels - np.uint8(BLANK)))


def _keys(grids: ByteArray) -> list[bytes]:
    """Return each grid (N, S) as bytes."""
    return list(map(bytes, grids))


def _write(
    out: Path, train: Puzzles, test: Puzzles | None, options: Options, about: dict[str, Any]
) -> dict[str, Any]:
    """Write the data set. Returns: its build.json."""
    augment = options.augment
    seed = options.seed
    num_train, num_cells = train.inputs.shape
    task = Sudoku.for_shape(int(np.sqrt(num_cells)) + 2, num_cells)
    assert task is not None, "readers and generators know only these boards"
    counts = {
        "train_puzzles": num_train,
        "train_examples": num_train * (1 + augment),
    }
    splits = {"train": {"all": _augmented(task, train, augment, seed)}}
    if test is not None:
        counts |= {
            "test_puzzles": len(test.ratings),
            "test_questions_in_training": num_shared(test.inputs, train.inputs),
        }
        splits["test"] = {"all": iter([Examples(test.inputs, test.labels, test.ratings)])}
    build = {"task": task.name, "seed": seed, "augment": augment, **about, **counts}
    return write_dataset(
        out,
        Layout(task.vocab_size, task.seq_len),
        splits,
        build,
        write_other_ratings({"train": train, "test": test}),
    )


def _augmented(task: Sudoku, puzzles: Puzzles, augment: int, seed: int) -> Iterator[Examples]:
    """Yield each puzzle followed by `augment` random symmetries of it, in blocks of whole groups."""
    copies = 1 + augment
    num_puzzles = len(puzzles.ratings)
    per_block = max(1, BLOCK_EXAMPLES // copies)
    for start in range(0, num_puzzles, per_block):
        end = min(start + per_block, num_puzzles)
        chosen = np.arange(start, end)
        block = puzzles.select(np.repeat(chosen, copies))
        if augment:
            rng = stream(seed, Purpose.AUGMENTATION, start)
            is_copy = np.arange(len(block.inputs)) % copies > 0  # not the first of a group
            symmetry = task.draw_symmetries(rng, len(chosen) * augment)
            block.inputs[is_copy] = symmetry.apply(block.inputs[is_copy])
            block.labels[is_copy] = symmetry.apply(block.labels[is_copy])
        yield Examples(
            block.inputs,
            block.labels,
            block.ratings,
            group_sizes=np.full(len(chosen), copies),
        )
