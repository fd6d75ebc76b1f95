"""Build data sets of text grids from files: split, augment, name and write the examples.

A group is one example with its views, each a puzzle. Named examples that share a name are one group;
each view of them all is a puzzle with its own identifier, since their rule looks different there.

Shapes: N examples, G groups, A extra views of each, S cells of the canvas.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hrm_core.data.sources import escaped, first_repeated
from hrm_core.data.store import BLANK_IDENTIFIER
from hrm_core.data.summary import repeated_questions
from hrm_core.data.writer import Examples, Layout, refuse_used, write_dataset
from hrm_core.draws import Purpose, stream
from hrm_core.errors import DataError, PuzzleError
from hrm_core.messages import first_few
from hrm_core.tasks.building import Built, Watch, unwatched
from hrm_core.tasks.contract import IntArray, TokenArray
from hrm_tasks.grids.canvas import Canvas, size_of
from hrm_tasks.grids.options import Options
from hrm_tasks.grids.read import Example, Source, read_source
from hrm_tasks.grids.task import Grids

SET = "all"
BLOCK_CELLS = 1 << 22  # written at once
SPLIT = 0  # index of the random stream
FEW_RATINGS = 8  # each is a band of its own up to here


class ChosenExamples(NamedTuple):
    """Examples of each split, and counts of what was odd about them."""

    parts: dict[str, list[Example]]
    repeats: int  # examples left out because the same ones stood before them
    contradictions: int  # questions that have several answers under one name


class Group(NamedTuple):
    """Name of a group, "" for none, and the rows of its examples."""

    name: str
    rows: list[int]


@dataclass(frozen=True, eq=False)
class SplitArrays:
    """Arrays of one split, its examples sorted by groups."""

    canvas: Canvas
    inputs: TokenArray  # (N, S)
    labels: TokenArray  # (N, S)
    ratings: IntArray | None  # (N,)
    sizes: IntArray  # (G,) examples of each group
    views: IntArray  # (G, 1 + A) 0, then the other views it is written in
    identifiers: IntArray  # (G, 1 + A) of the puzzles

    def blocks(self) -> Iterator[Examples]:
        """Yield whole groups with their views, as many as fit in memory."""
        copies = self.views.shape[1]
        num_cells = np.cumsum(self.sizes) * copies * self.canvas.num_cells
        block_of = num_cells // BLOCK_CELLS
        starts = np.flatnonzero(np.diff(block_of)) + 1
        numbers = np.arange(len(self.sizes))
        for groups in np.split(numbers, starts):
            if groups.size:
                yield self._block(groups)

    def _block(self, groups: IntArray) -> Examples:
        """Return the puzzles of some groups, one for each view, with their examples."""
        copies = self.views.shape[1]
        sizes = np.repeat(self.sizes[groups], copies)  # of each puzzle
        ends = np.cumsum(self.sizes)[groups]
        first_rows = np.repeat(ends, copies) - sizes
        num_before = np.cumsum(sizes) - sizes
        rows = np.repeat(first_rows - num_before, sizes)
        rows += np.arange(len(rows))
        views = self.views[groups].reshape(-1)
        views = np.repeat(views, sizes)
        return Examples(
            self.canvas.turn(self.inputs[rows], views),
            self.canvas.turn(self.labels[rows], views),
            None if self.ratings is None else self.ratings[rows],
            puzzle_sizes=sizes,
            group_sizes=np.full(len(groups), copies),
            puzzle_identifiers=self.identifiers[groups].reshape(-1),
        )


def build(out: Path, options: Options, watch: Watch = unwatched) -> Built:
    """Build a data set of your own task from text grids: a CSV file input,output[,name][,rating], JSON Lines, or a folder.

    \b
    Examples:
        hrm data grids data/mine mine.csv --augment 7
        hrm data grids data/mine train.jsonl --test test.jsonl --max-size 12 12
    """
    refuse_used(out)
    record = _build(out, options)
    return Built(
        record,
        _summary(record),
        (*_remarks(record), *repeated_questions(record)),
    )


def _summary(record: Mapping[str, Any]) -> str:
    """Describe a data set in one line."""
    settings = record["task_settings"]
    augment = record["augment"]
    training = f"{record['train_examples']:,} training examples"
    if augment:
        training += f" ({record['train_originals']:,} in {augment + 1} views)"
    tests = f"{record.get('test_examples', 0):,} test examples"
    if record["puzzle_names"]:
        tests += f", {record['puzzle_names']:,} named puzzles"
    cells = f"{settings['height']}x{settings['width']} cells"
    return f"{training}, {tests}; {len(settings['alphabet'])} characters on {cells}"


def _remarks(record: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each thing that the user should know about the data."""
    repeats = record["repeats_dropped"]
    contradictions = record["questions_with_several_answers"]
    names = record["names_only_in_test"]
    characters = record["characters_only_in_test"]
    remarks = []
    if repeats:
        remarks.append(f"{repeats:,} examples stand there twice and were taken once")
    if contradictions:
        remarks.append(
            f"{contradictions:,} questions come with another answer, too: "
            "no model can know which is meant"
        )
    if names:
        remarks.append(
            f"{len(names):,} names occur only in the test, "
            f"nothing is learned of their puzzles: {first_few(names)}"
        )
    if characters:
        remarks.append(f"{len(characters):,} characters occur only in the test: {characters!r}")
    return remarks


def _build(out: Path, options: Options) -> dict[str, Any]:
    """Read, split and write the examples; without `test` a share of them is drawn for the test.

    Returns: build.json. Raises: DataError naming the file and, if one example is at fault, the line.
    """
    sources = {"train": read_source(options.source)}
    test_share: float | None = options.test_share
    if options.test:
        sources["test"] = read_source(options.test)
        test_share = None
    chosen = _choose(sources, test_share or 0.0, options.seed)
    train = chosen.parts["train"]
    test = chosen.parts.get("test", [])
    task = _task(chosen.parts, options.max_size, options.augment)
    train_names = _names(train)
    test_names = _names(test)
    new_characters = _characters(test) - _characters(train)
    about = {
        "task": task.name,
        "task_settings": dict(task.settings),
        "seed": options.seed,
        "augment": options.augment,
        "test_share": test_share,
        "sources": {split: _described(source) for split, source in sources.items()},
        "repeats_dropped": chosen.repeats,
        "questions_with_several_answers": chosen.contradictions,
        "puzzle_names": len(train_names | test_names),
        "names_only_in_test": [name for name in test_names if name not in train_names],
        "characters_only_in_test": "".join(sorted(new_characters)),
    }
    return _write(out, task, chosen.parts, options, about)


def _names(examples: Sequence[Example]) -> dict[str, None]:
    """Return the names of puzzles, each once, in order."""
    return dict.fromkeys(example.name for example in examples if example.name)


def _described(source: Source) -> dict[str, Any]:
    """Return the entry of a source in build.json."""
    return {
        "name": escaped(source.path.resolve().name),
        "sha256": source.sha256,
        "examples": len(source.examples),
    }


def _choose(sources: Mapping[str, Source], test_share: float, seed: int) -> ChosenExamples:
    """Leave out repeated examples, and draw the test if no file gives it."""
    parts = {}
    repeats = contradictions = 0
    for split, source in sources.items():
        first: dict[tuple[str, str, str], Example] = {}
        for example in source.examples:
            key = example.name, example.input, example.output
            first.setdefault(key, example)
        questions = {(name, question) for name, question, _ in first}
        parts[split] = list(first.values())
        repeats += len(source.examples) - len(first)
        contradictions += len(first) - len(questions)
    if test_share:
        parts |= _split(parts["train"], test_share, seed, sources["train"].path)
    return ChosenExamples(parts, repeats, contradictions)


def _split(
    examples: Sequence[Example], test_share: float, seed: int, path: Path
) -> dict[str, list[Example]]:
    """Draw the test examples, at least one; both parts stay in the order of the file."""
    num_test = max(1, round(test_share * len(examples)))
    if num_test >= len(examples):
        raise DataError(
            f"{path}: {len(examples)} different examples, too few to test with {num_test}; "
            "give --test or a smaller --test-share"
        )
    order = stream(seed, Purpose.PUZZLES, SPLIT).permutation(len(examples))
    drawn = set(order[:num_test].tolist())
    return {
        "train": [example for number, example in enumerate(examples) if number not in drawn],
        "test": [example for number, example in enumerate(examples) if number in drawn],
    }


def _task(
    parts: Mapping[str, Sequence[Example]], max_size: tuple[int, int] | None, augment: int
) -> Grids:
    """Return the task that holds all examples."""
    examples = [example for part in parts.values() for example in part]
    sizes = {size_of(example.input) for example in examples}
    sizes |= {size_of(example.output) for example in examples}
    largest = max(height for height, _ in sizes), max(width for _, width in sizes)
    height, width = max_size or largest
    has_one_size = sizes == {(height, width)}
    is_named = any(example.name for example in examples)
    ratings = [example.rating for example in examples if example.rating is not None]
    try:
        task = Grids(
            "".join(sorted(_characters(examples))),
            height,
            width,
            _rating_bands(ratings),
            symmetric=bool(augment) and has_one_size and not is_named,
        )
    except PuzzleError as error:
        place = examples[0].place
        path, _, _ = place.rpartition(":")
        raise DataError(f"{path or place}: {error}") from error
    _check_sizes(task.canvas, examples)
    _check_augment(task.canvas, augment)
    return task


def _check_sizes(canvas: Canvas, examples: Sequence[Example]) -> None:
    """Refuse a grid that does not fit on the canvas."""
    for example in examples:
        for part, grid in (("input", example.input), ("output", example.output)):
            height, width = size_of(grid)
            if not canvas.holds((height, width)):
                raise DataError(
                    f"{example.place}: the {part} has {height:,} rows of {width:,} characters, "
                    f"--max-size is {canvas.height} {canvas.width}; raise it or leave it out"
                )


def _check_augment(canvas: Canvas, augment: int) -> None:
    """Refuse more augmentations than there are other views."""
    most = len(canvas.views) - 1
    if augment <= most:
        return
    way_out = ""
    if canvas.height != canvas.width:
        side = max(canvas.height, canvas.width)
        way_out = f", or make it a square with --max-size {side} {side}"
    raise DataError(
        f"augment={augment}; grids on a canvas of {canvas.height}x{canvas.width} "
        f"have {most} other views, so use 0 to {most}{way_out}"
    )


def _rating_bands(ratings: Sequence[int]) -> list[int]:
    """Return the lower bounds of the rating bands of tables.

    Each rating is a band if there are few; else the bands are quarters of the examples.
    """
    values = np.unique(np.array(ratings, np.int64))
    if len(values) <= FEW_RATINGS:
        return sorted({0, *values[1:].tolist()})
    quarters = np.quantile(ratings, [0.25, 0.5, 0.75], method="higher").astype(np.int64)
    bounds = np.unique(np.maximum(quarters, values[1]))
    return [0, *bounds.tolist()]


def _characters(examples: Sequence[Example]) -> set[str]:
    """Return the characters of all grids."""
    found: set[str] = set()
    for example in examples:
        found.update(example.input, example.output)
    return found - {"\n"}


def _write(
    out: Path,
    task: Grids,
    parts: Mapping[str, Sequence[Example]],
    options: Options,
    about: dict[str, Any],
) -> dict[str, Any]:
    """Write the data set. Returns: its build.json."""
    canvas = task.canvas
    groups = {split: _groups(part) for split, part in parts.items()}
    views = {
        "train": _draw_views(canvas, len(groups["train"]), options.augment, options.seed),
        "test": np.zeros((len(groups.get("test", ())), 1), np.intp),
    }
    names, first_of = _name_identifiers(groups, views["train"])
    written = {
        split: _arrays(canvas, part, groups[split], views[split], first_of)
        for split, part in parts.items()
    }
    counts = {
        f"{split}_examples": len(part) * views[split].shape[1] for split, part in parts.items()
    }
    build = {**about, **counts, "train_originals": len(parts["train"]), "identifiers": len(names)}
    splits = {split: {SET: arrays.blocks()} for split, arrays in written.items()}
    if "test" in written:
        splits["train"][SET] = _count_shared(written["train"], written["test"], build)
    layout = Layout(
        task.vocab_size,
        task.seq_len,
        ignore_label_id=None,
        identifiers=names,
    )
    return write_dataset(out, layout, splits, build)


def _draw_views(canvas: Canvas, count: int, augment: int, seed: int) -> IntArray:
    """Draw the views of `count` groups: 0, then `augment` others in ascending order.

    Returns: (count, 1 + augment).
    """
    others = np.array(canvas.views[1:], np.intp)
    drawn = np.tile(others, (count, 1))
    if augment:
        drawn = stream(seed, Purpose.AUGMENTATION).permuted(drawn, axis=1)
    chosen = np.sort(drawn[:, :augment], axis=1)
    return np.pad(chosen, ((0, 0), (1, 0)))


def _count_shared(
    train: SplitArrays, test: SplitArrays, build: dict[str, Any]
) -> Iterator[Examples]:
    """Yield the blocks of the training set, then count the test questions in them for build.json."""
    questions = list(map(bytes, test.inputs))
    asked = frozenset(questions)
    trained: set[bytes] = set()
    for block in train.blocks():
        trained.update(asked.intersection(map(bytes, block.inputs)))
        yield block
    build["test_questions_in_training"] = sum(question in trained for question in questions)


def _groups(examples: Sequence[Example]) -> list[Group]:
    """Return the groups of examples in the order in which they begin."""
    groups: dict[str | int, Group] = {}
    for row, example in enumerate(examples):
        group = groups.setdefault(example.name or row, Group(example.name, []))
        group.rows.append(row)
    return list(groups.values())


def _name_identifiers(
    groups: Mapping[str, Sequence[Group]], views: IntArray
) -> tuple[tuple[str, ...], dict[str, int]]:
    """Name the identifiers: one for each trained view of a named puzzle.

    A name that is only tested has one, too. Returns: the names, and the first identifier of each puzzle.
    """
    names = [BLANK_IDENTIFIER]
    first_of = {"": 0}
    for (name, _), own_views in zip(groups["train"], views.tolist(), strict=True):
        if name:
            first_of[name] = len(names)
            names += [name, *(f"{name}_t{view}" for view in own_views[1:])]
    for name, _ in groups.get("test", ()):
        if name not in first_of:
            first_of[name] = len(names)
            names.append(name)
    repeated = first_repeated(names)
    if repeated is not None:
        raise DataError(
            f"a view of a puzzle would be named {repeated!r}, as another puzzle is; rename that one"
        )
    return tuple(names), first_of


def _arrays(
    canvas: Canvas,
    examples: Sequence[Example],
    groups: Sequence[Group],
    views: IntArray,
    first_of: Mapping[str, int],
) -> SplitArrays:
    """Return the arrays of one split."""
    ordered = [examples[row] for group in groups for row in group.rows]
    ratings = None
    if ordered[0].rating is not None:
        ratings = np.array([example.rating for example in ordered], np.int32)
    first = np.array([first_of[group.name] for group in groups])[:, None]
    numbers = first + np.arange(views.shape[1])
    return SplitArrays(
        canvas,
        inputs=canvas.place([example.input for example in ordered]),
        labels=canvas.place([example.output for example in ordered]),
        ratings=ratings,
        sizes=np.array([len(group.rows) for group in groups]),
        views=views,
        identifiers=np.where(first > 0, numbers, 0),  # the first identifier is blank: no name
    )
