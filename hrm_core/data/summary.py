"""Check a whole data set and count what it holds.

Shapes: N examples, S `seq_len`, V `vocab_size`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ValidationError

from hrm_core.data.arrays import WAY_OUT, IntArray, token_blocks
from hrm_core.data.store import BUILD_FILE, Dataset, ExampleSet, Split, check
from hrm_core.errors import DataError

FIELDS = (
    "inputs",
    "labels",
    "puzzle_identifiers",
    "puzzle_indices",
    "group_indices",
    "ratings",
    "prefix_len",
    "images",
)


@dataclass(frozen=True)
class ImagesSummary:
    """The pictures of one set."""

    size: list[int]  # [H, W] of an example, or [C, H, W]: a frame a chunk
    dtype: str
    values: list[int]  # the smallest and the largest


@dataclass(frozen=True)
class SetSummary:
    """One set of a split."""

    examples: int
    puzzles: int
    groups: int
    mean_puzzle_examples: float
    dtype: str  # of inputs and labels
    bytes: int  # on disk
    input_counts: list[int]  # how often each token occurs, (V,)
    label_counts: list[int]  # the same for labels that are scored, (V,)
    ignored_share: float  # of the labels
    rating_counts: dict[str, int] | None  # by band, "5-19" or "100+"; None without ratings
    shared_identifiers: int  # identifiers that stand in several groups, without the blank one
    prefix_len: list[int] | None  # the shortest and the longest; None without the file
    images: ImagesSummary | None


@dataclass(frozen=True)
class SplitSummary:
    """One split."""

    seq_len: int
    vocab_size: int
    num_puzzle_identifiers: int
    num_chunks: int
    sets: dict[str, SetSummary]


@dataclass(frozen=True)
class DatasetSummary:
    """A whole data set."""

    directory: str
    task: str | None  # None if another program built it
    sha256: str
    splits: dict[str, SplitSummary]
    remarks: list[str]  # reasons to doubt results, a sentence each

    def record(self) -> dict[str, Any]:
        """Return JSON-serialisable values, without chunks, prefixes and images where there are none."""
        record = asdict(self)
        for split in record["splits"].values():
            if split["num_chunks"] == 1:
                del split["num_chunks"]
            for part in split["sets"].values():
                for name in ("prefix_len", "images"):
                    if part[name] is None:
                        del part[name]
        return record


class LeftOut(BaseModel, frozen=True, strict=True):
    """Entries of build.json about what was left out; all of them are optional."""

    # name -> the folders it stands in, the one it was taken from first
    shared_tasks: dict[str, list[str]] = {}
    # name -> the folder it was taken from, then those where it has other contents
    namesakes: dict[str, list[str]] = {}
    dropped_pairs: list[str] = []


def summarize(dataset: Dataset, rating_bands: Sequence[int] = (0,)) -> DatasetSummary:
    """Check every token of a data set and count what it holds.

    `rating_bands` are lower bounds, ascending from 0.

    Raises: DataError if anything in it is damaged, out of range, or changed since it was built.
    """
    left_out = _left_out(dataset.directory / BUILD_FILE, dataset.build)
    splits = {name: _summarize_split(dataset.split(name), rating_bands) for name in dataset.splits}
    dataset.check_unchanged()
    return DatasetSummary(
        directory=str(dataset.directory),
        task=dataset.label,
        sha256=dataset.sha256,
        splits=splits,
        remarks=[
            *_shared_groups(splits),
            *_left_out_tasks(left_out),
            *_dropped_pairs(left_out),
            *repeated_questions(dataset.build),
        ],
    )


def band_names(bounds: Sequence[int]) -> list[str]:
    """Name bands by their lower bounds: [0, 1, 5] are "0", "1-4" and "5+"."""
    names = []
    for low, next_low in pairwise(bounds):
        high = next_low - 1
        names.append(str(low) if low == high else f"{low}-{high}")
    return [*names, f"{bounds[-1]}+"]


def _left_out(path: Path, build: Mapping[str, Any]) -> LeftOut:
    try:
        return LeftOut.model_validate(build)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        raise DataError(f"{path}: {key}: {first['msg']}; {WAY_OUT}") from error


def _summarize_split(split: Split, rating_bands: Sequence[int]) -> SplitSummary:
    check(split)
    metadata = split.metadata
    return SplitSummary(
        seq_len=metadata.seq_len,
        vocab_size=metadata.vocab_size,
        num_puzzle_identifiers=metadata.num_puzzle_identifiers,
        num_chunks=metadata.num_chunks,
        sets={
            name: _summarize_set(split, examples, rating_bands)
            for name, examples in split.sets.items()
        },
    )


def _summarize_set(split: Split, examples: ExampleSet, rating_bands: Sequence[int]) -> SetSummary:
    vocab_size = split.metadata.vocab_size
    input_counts = _count_tokens(examples.inputs, vocab_size)
    label_counts = _count_tokens(examples.labels, vocab_size, split.ignored_labels)
    num_puzzles = len(examples.puzzle_identifiers)
    files = [path for path in map(examples.path, FIELDS) if path.exists()]
    ratings = examples.ratings
    return SetSummary(
        examples=len(examples),
        puzzles=num_puzzles,
        groups=len(examples.group_indices) - 1,
        mean_puzzle_examples=len(examples) / num_puzzles,
        dtype=str(examples.inputs.dtype),
        bytes=sum(path.stat().st_size for path in files),
        input_counts=input_counts.tolist(),
        label_counts=label_counts.tolist(),
        ignored_share=1 - int(label_counts.sum()) / examples.labels.size,
        rating_counts=None if ratings is None else _count_ratings(ratings, rating_bands),
        shared_identifiers=_count_shared(examples, split.metadata.blank_identifier_id),
        prefix_len=None if examples.prefix_len is None else _value_range(examples.prefix_len),
        images=None if examples.images is None else _summarize_images(examples.images),
    )


def _summarize_images(images: npt.NDArray[np.uint8]) -> ImagesSummary:
    """Describe the pictures (N, H, W) or (N, C, H, W) of a set, read a block at a time."""
    ranges = [_value_range(block) for _, block in token_blocks(images)]
    lowest = min(low for low, _ in ranges)
    highest = max(high for _, high in ranges)
    return ImagesSummary(list(images.shape[1:]), str(images.dtype), [lowest, highest])


def _value_range(values: npt.NDArray[np.integer]) -> list[int]:
    """Return the smallest and the largest value."""
    return [int(values.min()), int(values.max())]


def _count_shared(examples: ExampleSet, blank: int) -> int:
    """Count the puzzle identifiers that stand in several groups."""
    num_groups = len(examples.group_indices) - 1
    named = np.flatnonzero(examples.puzzle_identifiers != blank)
    group_of = np.searchsorted(examples.group_indices, named, side="right") - 1
    pairs = np.unique(examples.puzzle_identifiers[named] * num_groups + group_of)
    identifiers = pairs // num_groups  # one for each group it stands in
    _, num_standing_in = np.unique(identifiers, return_counts=True)
    return int((num_standing_in > 1).sum())


def _shared_groups(splits: Mapping[str, SplitSummary]) -> list[str]:
    """Return remarks on groups that share identifiers: two sources had a task in common."""
    remarks = []
    for split, summary in splits.items():
        counts = [part.shared_identifiers for part in summary.sets.values()]
        remarks += [
            f"puzzle identifiers in several groups of {split}: {count:,}; "
            "two sources share tasks, and what one keeps for the test the other may train on: "
            "`hrm data arc` takes each task once"
            for count in counts
            if count
        ]
    return remarks


def _left_out_tasks(left_out: LeftOut) -> list[str]:
    """Return remarks on tasks, or other tasks of their names, that several sources hold."""
    kinds = {
        "tasks that two sources share": left_out.shared_tasks,
        "names that two sources give to tasks of other contents": left_out.namesakes,
    }
    remarks = []
    for kind, found in kinds.items():
        if found:
            name, folders = next(iter(found.items()))
            remarks.append(
                f"{kind}: {len(found):,}, as {name} ({', '.join(folders)}); "
                "each was taken from the first named"
            )
    return remarks


def _dropped_pairs(left_out: LeftOut) -> list[str]:
    """Return a remark on training pairs that were left out because the test has them."""
    dropped = left_out.dropped_pairs
    if not dropped:
        return []
    return [
        "pairs that were not trained on, because the test has them: "
        f"{len(dropped):,}, as {dropped[0]}"
    ]


def repeated_questions(build: Mapping[str, Any]) -> list[str]:
    """Return a remark on test questions that are also trained on, as build.json counts them."""
    count = build.get("test_questions_in_training")
    if not isinstance(count, int) or not count:
        return []
    return [
        f"test questions that are also trained on: {count:,}; "
        "accuracy on them is no accuracy on new puzzles"
    ]


def _count_tokens(
    tokens: IntArray, vocab_size: int, ignored: Sequence[int] = ()
) -> npt.NDArray[np.int64]:
    """Count each token in (N, S) checked tokens; ignored ones count 0. Returns: (V,)."""
    counts = np.zeros(vocab_size, np.int64)
    for _, block in token_blocks(tokens):
        if block.min() < 0 or block.max() >= vocab_size:
            block = block[(block >= 0) & (block < vocab_size)]
        counts += np.bincount(block.reshape(-1), minlength=vocab_size)
    for token in ignored:
        if 0 <= token < vocab_size:
            counts[token] = 0
    return counts


def _count_ratings(ratings: IntArray, bounds: Sequence[int]) -> dict[str, int]:
    """Count the examples of each band of ratings."""
    bands = np.searchsorted(np.asarray(bounds), ratings, side="right") - 1
    counts = np.bincount(bands, minlength=len(bounds))
    return dict(zip(band_names(bounds), counts.tolist(), strict=True))
