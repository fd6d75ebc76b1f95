"""Data sets of anybody's task: text grids from files, split, turned, named and written.

A group is one example with its views, each a puzzle; of named examples it is all that share a name, each view of them all a
puzzle with an identifier of its own: what turns inputs into outputs looks different there.

Shapes: N examples, G groups, A extra views of each, S cells of the canvas.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hrm_core.data.sources import escaped
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


class Chosen(NamedTuple):
    """What goes into the splits."""

    parts: dict[str, list[Example]]
    repeats: int  # examples left out because the same ones stood before them
    contradictions: int  # questions that have several answers under one name


@dataclass(frozen=True, eq=False)
class Part:
    """One split, its examples sorted by groups."""

    canvas: Canvas
    inputs: TokenArray  # (N, S)
    labels: TokenArray  # (N, S)
    ratings: IntArray | None  # (N,)
    sizes: IntArray  # (G,) examples of each group
    views: IntArray  # (G, 1 + A) 0, then the other views it is written in
    identifiers: IntArray  # (G, 1 + A) of the puzzles

    def blocks(self) -> Iterator[Examples]:
        """Whole groups with their views, so many as fit in memory."""
        copies = self.views.shape[1]
        cells = np.cumsum(self.sizes) * copies * self.canvas.num_cells
        for groups in np.split(
            np.arange(len(self.sizes)), np.flatnonzero(np.diff(cells // BLOCK_CELLS)) + 1
        ):
            if groups.size:
                yield self._block(groups)

    def _block(self, groups: IntArray) -> Examples:
        """The puzzles of some groups, one for each view; the examples of a puzzle follow each other."""
        copies = self.views.shape[1]
        starts = np.repeat(np.cumsum(self.sizes)[groups] - self.sizes[groups], copies)
        sizes = np.repeat(self.sizes[groups], copies)
        rows = np.repeat(starts - (np.cumsum(sizes) - sizes), sizes) + np.arange(sizes.sum())
        views = np.repeat(self.views[groups].reshape(-1), sizes)
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
    return Built(record, _summary(record), (*_remarks(record), *repeated_questions(record)))


def _summary(record: Mapping[str, Any]) -> str:
    settings, augment = record["task_settings"], record["augment"]
    training = f"{record['train_examples']:,} training examples"
    if augment:
        training += f" ({record['train_originals']:,} in {augment + 1} views)"
    tests = f"{record.get('test_examples', 0):,} test examples"
    if record["puzzle_names"]:
        tests += f", {record['puzzle_names']:,} named puzzles"
    cells = f"{settings['height']}x{settings['width']} cells"
    return f"{training}, {tests}; {len(settings['alphabet'])} characters on {cells}"


def _remarks(record: Mapping[str, Any]) -> list[str]:
    """Return what the user should know of the data, a sentence each."""
    repeats, contradictions = record["repeats_dropped"], record["questions_with_several_answers"]
    names, characters = record["names_only_in_test"], record["characters_only_in_test"]
    remarks = []
    if repeats:
        remarks.append(f"{repeats:,} examples stand there twice and were taken once")
    if contradictions:
        remarks.append(
            f"{contradictions:,} questions come with another answer, too: no model can know which is meant"
        )
    if names:
        remarks.append(
            f"{len(names):,} names occur only in the test, nothing is learned of their puzzles: {first_few(names)}"
        )
    if characters:
        remarks.append(f"{len(characters):,} characters occur only in the test: {characters!r}")
    return remarks


def _build(out: Path, options: Options) -> dict[str, Any]:
    """Read, split and write the examples; without `test` a share of them is drawn for the test.

    Returns: build.json. Raises: DataError naming the file and, where it is one example's fault, the line.
    """
    paths = {"train": options.source} | ({"test": options.test} if options.test else {})
    sources = {split: read_source(path) for split, path in paths.items()}
    test_share = None if options.test else options.test_share
    chosen = _choose(sources, test_share or 0.0, options.seed)
    task = _task(chosen.parts, options.max_size, options.augment)
    names = {
        split: dict.fromkeys(example.name for example in part if example.name)
        for split, part in chosen.parts.items()
    }
    about = {
        "task": task.name,
        "task_settings": dict(task.settings),
        "seed": options.seed,
        "augment": options.augment,
        "test_share": test_share,
        "sources": {split: _described(source) for split, source in sources.items()},
        "repeats_dropped": chosen.repeats,
        "questions_with_several_answers": chosen.contradictions,
        "puzzle_names": len(set().union(*names.values())),
        "names_only_in_test": [
            name for name in names.get("test", {}) if name not in names["train"]
        ],
        "characters_only_in_test": "".join(
            sorted(_characters(chosen.parts.get("test", [])) - _characters(chosen.parts["train"]))
        ),
    }
    return _write(out, task, chosen.parts, options.augment, options.seed, about)


def _choose(sources: Mapping[str, Source], test_share: float, seed: int) -> Chosen:
    """Leave out repeated examples, and draw the test where no file gives it."""
    parts, repeats, contradictions = {}, 0, 0
    for split, source in sources.items():
        first: dict[tuple[str, str, str], Example] = {}
        for example in source.examples:
            first.setdefault((example.name, example.input, example.output), example)
        parts[split] = list(first.values())
        repeats += len(source.examples) - len(first)
        contradictions += len(first) - len({(name, question) for name, question, _ in first})
    if test_share:
        parts |= _split(parts["train"], test_share, seed, sources["train"].path)
    return Chosen(parts, repeats, contradictions)


def _split(
    examples: Sequence[Example], test_share: float, seed: int, path: Path
) -> dict[str, list[Example]]:
    """Draw the test examples, at least one; both parts stay in the order of the file."""
    num_test = max(1, round(test_share * len(examples)))
    if num_test >= len(examples):
        raise DataError(
            f"{path}: {len(examples)} different examples, too few to test with {num_test}; give --test or a smaller --test-share"
        )
    drawn = set(stream(seed, Purpose.PUZZLES, SPLIT).permutation(len(examples))[:num_test].tolist())
    return {
        "train": [example for number, example in enumerate(examples) if number not in drawn],
        "test": [example for number, example in enumerate(examples) if number in drawn],
    }


def _task(
    parts: Mapping[str, Sequence[Example]], max_size: tuple[int, int] | None, augment: int
) -> Grids:
    """The task that holds all examples."""
    examples = [example for part in parts.values() for example in part]
    sizes = {size_of(grid) for example in examples for grid in (example.input, example.output)}
    height, width = max_size or (
        max(height for height, _ in sizes),
        max(width for _, width in sizes),
    )
    has_one_size = sizes == {(height, width)}
    is_named = any(example.name for example in examples)
    bands = _rating_bands([example.rating for example in examples if example.rating is not None])
    try:
        task = Grids(
            "".join(sorted(_characters(examples))),
            height,
            width,
            bands,
            symmetric=bool(augment) and has_one_size and not is_named,
        )
    except PuzzleError as error:
        raise DataError(
            f"{examples[0].place.rpartition(':')[0] or examples[0].place}: {error}"
        ) from error
    for example in examples:
        for part, grid in (("input", example.input), ("output", example.output)):
            if not task.canvas.holds(found := size_of(grid)):
                size = f"{found[0]:,} rows of {found[1]:,} characters"
                raise DataError(
                    f"{example.place}: the {part} has {size}, --max-size is {height} {width}; raise it or leave it out"
                )
    _check_augment(task.canvas, augment)
    return task


def _check_augment(canvas: Canvas, augment: int) -> None:
    most = len(canvas.views) - 1
    if augment > most:
        side = max(canvas.height, canvas.width)
        way_out = (
            f", or make it a square with --max-size {side} {side}"
            if canvas.height != canvas.width
            else ""
        )
        raise DataError(
            f"augment={augment}; grids on a canvas of {canvas.height}x{canvas.width} have {most} other views, so use 0 to {most}{way_out}"
        )


def _rating_bands(ratings: Sequence[int]) -> list[int]:
    """Lower bounds of bands that tables are split by: each rating where there are few, else the quarters of the examples."""
    values = np.unique(np.array(ratings, np.int64))
    if len(values) > FEW_RATINGS:
        quarters = np.quantile(ratings, [0.25, 0.5, 0.75], method="higher").astype(np.int64)
        return [0, *np.unique(np.maximum(quarters, values[1])).tolist()]
    return sorted({0, *values[1:].tolist()})


def _characters(examples: Sequence[Example]) -> set[str]:
    found: set[str] = set()
    for example in examples:
        found.update(example.input, example.output)
    return found - {"\n"}


def _write(
    out: Path,
    task: Grids,
    parts: Mapping[str, Sequence[Example]],
    augment: int,
    seed: int,
    about: dict[str, Any],
) -> dict[str, Any]:
    """Write the data set; what its examples have in common is counted while they are written."""
    groups = {split: _groups(part) for split, part in parts.items()}
    others = np.tile(np.array(task.canvas.views[1:], np.intp), (len(groups["train"]), 1))
    drawn = (
        stream(seed, Purpose.AUGMENTATION).permuted(others, axis=1)[:, :augment]
        if augment
        else others[:, :0]
    )
    views = {
        "train": np.pad(np.sort(drawn, axis=1), ((0, 0), (1, 0))),
        "test": np.zeros((len(groups.get("test", ())), 1), np.intp),
    }
    names, first_of = _name_identifiers(groups, views["train"])
    written = {
        split: _part(task.canvas, parts[split], groups[split], views[split], first_of)
        for split in parts
    }
    asked = {bytes(question) for question in written["test"].inputs} if "test" in written else set()
    known: set[bytes] = set()

    def told() -> Iterator[Examples]:
        for block in written["train"].blocks():
            known.update(question for question in map(bytes, block.inputs) if question in asked)
            yield block
        if "test" in written:
            build["test_questions_in_training"] = sum(
                bytes(question) in known for question in written["test"].inputs
            )

    counts = {
        f"{split}_examples": len(part) * views[split].shape[1] for split, part in parts.items()
    }
    build = {**about, **counts, "train_originals": len(parts["train"]), "identifiers": len(names)}
    splits = {
        split: {SET: told() if split == "train" else part.blocks()}
        for split, part in written.items()
    }
    return write_dataset(
        out,
        Layout(task.vocab_size, task.seq_len, ignore_label_id=None, identifiers=names),
        splits,
        build,
    )


def _groups(examples: Sequence[Example]) -> list[tuple[str, list[int]]]:
    """Name and rows of each group, in the order in which they begin."""
    groups: dict[str | int, tuple[str, list[int]]] = {}
    for row, example in enumerate(examples):
        groups.setdefault(example.name or row, (example.name, []))[1].append(row)
    return list(groups.values())


def _name_identifiers(
    groups: Mapping[str, Sequence[tuple[str, list[int]]]], views: IntArray
) -> tuple[tuple[str, ...], dict[str, int]]:
    """Name the identifiers: one for each trained view of a named puzzle, one for each name that is only tested. Returns: they, and each
    name's first.
    """
    names, first_of = [BLANK_IDENTIFIER], {"": 0}
    for (name, _), own_views in zip(groups["train"], views.tolist(), strict=True):
        if name:
            first_of[name] = len(names)
            names += [name, *(f"{name}_t{view}" for view in own_views[1:])]
    for name, _ in groups.get("test", ()):
        if name not in first_of:
            first_of[name] = len(names)
            names.append(name)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(
            f"a view of a puzzle would be named {twice!r}, as another puzzle is; rename that one"
        )
    return tuple(names), first_of


def _part(
    canvas: Canvas,
    examples: Sequence[Example],
    groups: Sequence[tuple[str, list[int]]],
    views: IntArray,
    first_of: Mapping[str, int],
) -> Part:
    """The arrays of one split."""
    ordered = [examples[row] for _, rows in groups for row in rows]
    first = np.array([first_of[name] for name, _ in groups])
    return Part(
        canvas,
        canvas.place([example.input for example in ordered]),
        canvas.place([example.output for example in ordered]),
        None
        if ordered[0].rating is None
        else np.array([example.rating for example in ordered], np.int32),
        np.array([len(rows) for _, rows in groups]),
        views,
        np.where(first[:, None] > 0, first[:, None] + np.arange(views.shape[1]), 0),
    )


def _described(source: Source) -> dict[str, Any]:
    """What build.json says of a source."""
    return {
        "name": escaped(source.path.resolve().name),
        "sha256": source.sha256,
        "examples": len(source.examples),
    }
