"""Writes a data set as a stream of blocks, into a hidden sibling that takes its place only when all of it is there.

Shapes: N examples, P puzzles, G groups, S cells (`num_chunks` times `seq_len`).
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from hrm_core.data.arrays import IntArray, check_tokens
from hrm_core.data.store import (
    BLANK_IDENTIFIER,
    BUILD_FILE,
    HASHES,
    IDENTIFIERS_FILE,
    LAYOUT_VERSION,
    Dataset,
    DatasetMetadata,
    array_path,
    load_split,
)
from hrm_core.errors import DataError
from hrm_core.files import Refusal, parents_made, remove_leftovers, staged
from hrm_core.messages import system_reason

OPTIONAL = ("ratings", "prefix_len", "images")  # all blocks of a set have them, or none
NO_FILES: Mapping[str, str] = MappingProxyType({})
IN_USE = Refusal(DataError, "choose another directory")


@dataclass(frozen=True)
class Layout:
    """The settings that the splits of a data set share."""

    vocab_size: int
    seq_len: int
    pad_id: int = 0
    ignore_label_id: int | None = 0
    blank_identifier_id: int = 0
    identifiers: tuple[str, ...] = (BLANK_IDENTIFIER,)  # name of each puzzle identifier
    num_chunks: int = 1

    @property
    def num_cells(self) -> int:
        """Tokens of an example, those of all chunks."""
        return self.num_chunks * self.seq_len


@dataclass(frozen=True, eq=False)
class Examples:
    """Whole groups of examples, one after the other, as a builder hands them over."""

    inputs: IntArray  # (N, S)
    labels: IntArray  # (N, S)
    ratings: IntArray | None = None  # (N,); all blocks of a set have them, or none
    puzzle_sizes: IntArray | None = None  # (P,) examples of each puzzle; None: one each
    group_sizes: IntArray | None = None  # (G,) puzzles of each group; None: one each
    puzzle_identifiers: IntArray | None = None  # (P,); None: the blank one
    prefix_len: IntArray | None = None  # (N,) tokens, as ratings
    images: npt.NDArray[np.uint8] | None = None  # (N, H, W), or (N, C, H, W), a frame a chunk

    @property
    def optional(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays (N, ...) that a set may have or not, by their names."""
        given = {"ratings": self.ratings, "prefix_len": self.prefix_len, "images": self.images}
        return {name: array for name, array in given.items() if array is not None}


@dataclass(frozen=True)
class Counts:
    """Counts of what has been written of a set, or of all sets of a split."""

    examples: int = 0
    puzzles: int = 0
    groups: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.examples + other.examples, self.puzzles + other.puzzles, self.groups + other.groups
        )


class ArrayFile:
    """An .npy file that grows by blocks of rows; closing it puts the true length into its header."""

    def __init__(self, path: Path, dtype: npt.DTypeLike, columns: tuple[int, ...] = ()) -> None:
        self.path = path
        self._dtype = np.dtype(dtype)
        self.columns = columns
        self._rows = 0
        self._file = path.open("wb")
        self._write_header()

    def append(self, block: npt.ArrayLike) -> None:
        """Add rows at the end, cast to the dtype of the file."""
        rows = np.ascontiguousarray(block, dtype=self._dtype)
        self._file.write(rows.data)
        self._rows += len(rows)

    def _write_header(self) -> None:
        # numpy pads a header so that the first axis can grow without moving the data
        shape = (self._rows, *self.columns)
        header = {
            "shape": shape,
            "fortran_order": False,
            "descr": np.lib.format.dtype_to_descr(self._dtype),
        }
        np.lib.format.write_array_header_1_0(self._file, header)

    def __enter__(self) -> "ArrayFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._file:
            if kind is None:
                self._file.seek(0)
                self._write_header()


def write_dataset(
    directory: Path,
    layout: Layout,
    splits: Mapping[str, Mapping[str, Iterable[Examples]]],
    build: Mapping[str, Any],
    files: Mapping[str, str] = NO_FILES,
) -> dict[str, Any]:
    """Write a data set in the published layout: `splits` gives the blocks of each set of each split.

    `build` goes to build.json: what was made, from what, how. It is read last, so a builder may fill in counts while its
    blocks are drawn. `files` are the contents of those that the task needs beside it, by name. Equal arguments give equal bytes.

    Returns: what build.json holds: `build`, the version of the layout and the hash of each file.

    Raises: DataError if the directory is in use or cannot be written, or a block is not what `layout` says; nothing is
    left behind then.
    """
    refuse_used(directory)
    target = directory.resolve()
    try:
        with parents_made(target), staged(target, IN_USE) as folder:
            refuse_used(directory)  # it may have come, or come back, meanwhile
            folder.mkdir()
            for split, sets in splits.items():
                _write_split(folder / split, layout, sets)
                load_split(folder, split)  # what was written can be read
            _write_json(folder / IDENTIFIERS_FILE, list(layout.identifiers))
            for name, text in files.items():
                (folder / name).write_text(text, encoding="utf-8")
            hashes = Dataset(folder).digests
            written = {**build, "layout": LAYOUT_VERSION, HASHES: hashes}
            _write_json(folder / BUILD_FILE, written)
            return written
    except OSError as error:
        found = system_reason(error)
        raise DataError(f"{directory} was not written: {found}; nothing was left behind") from error


def refuse_used(directory: Path) -> None:
    """Make sure that a data set may be written here; a builder asks before its work, too.

    Raises: DataError if the directory holds anything or is a file.
    """
    remove_leftovers(directory.parent)
    if directory.is_dir() and any(directory.iterdir()):
        raise DataError(f"{directory} is not empty; choose another directory or remove it first")
    if directory.exists() and not directory.is_dir():
        raise DataError(
            f"{directory} is a file, expected a directory to be made; choose another name"
        )


def _write_split(folder: Path, layout: Layout, sets: Mapping[str, Iterable[Examples]]) -> None:
    """Write one split: the arrays of its sets, then dataset.json."""
    folder.mkdir()
    totals = sum(
        (_write_set(folder, name, layout, iter(blocks)) for name, blocks in sets.items()), Counts()
    )
    metadata = DatasetMetadata(
        pad_id=layout.pad_id,
        ignore_label_id=layout.ignore_label_id,
        blank_identifier_id=layout.blank_identifier_id,
        vocab_size=layout.vocab_size,
        seq_len=layout.seq_len,
        num_chunks=layout.num_chunks,
        num_puzzle_identifiers=len(layout.identifiers),
        total_groups=totals.groups,
        mean_puzzle_examples=totals.examples / totals.puzzles,
        sets=tuple(sets),
    )
    _write_json(folder / "dataset.json", metadata.model_dump(mode="json", exclude_defaults=True))


def _write_set(folder: Path, name: str, layout: Layout, blocks: Iterator[Examples]) -> Counts:
    """Write the arrays of one set. Returns how much it holds."""
    block = next(blocks, None)
    if block is None:
        raise DataError(
            f"set {name} of {folder.name} has no examples; give it some or leave it out"
        )
    counts = Counts()
    with ExitStack() as stack:
        files = {
            field: stack.enter_context(ArrayFile(array_path(folder, name, field), dtype, columns))
            for field, dtype, columns in _fields(layout, block)
        }
        files["puzzle_indices"].append([0])
        files["group_indices"].append([0])
        while block is not None:
            _check_block(files, layout, counts, block)
            counts = _write_block(files, layout, counts, block)
            block = next(blocks, None)
    return counts


def _fields(layout: Layout, first: Examples) -> list[tuple[str, npt.DTypeLike, tuple[int, ...]]]:
    """Name, dtype and shape of a row of each array of a set that begins with this block."""
    ignored = layout.ignore_label_id or 0
    token_dtype = (
        np.uint8 if ignored >= 0 and max(layout.vocab_size - 1, ignored) < 256 else np.int32
    )
    fields: list[tuple[str, npt.DTypeLike, tuple[int, ...]]] = [
        ("inputs", token_dtype, (layout.num_cells,)),
        ("labels", token_dtype, (layout.num_cells,)),
        ("puzzle_identifiers", np.int32, ()),
        ("puzzle_indices", np.int32, ()),
        ("group_indices", np.int32, ()),
    ]
    for name, values in first.optional.items():
        dtype = np.uint8 if name == "images" else np.int32
        fields.append((name, dtype, np.shape(values)[1:]))
    return fields


def _check_block(
    files: Mapping[str, ArrayFile], layout: Layout, done: Counts, block: Examples
) -> None:
    """Refuse a block that would be written as something else than it is."""
    rows = range(done.examples, done.examples + len(block.inputs))
    shape = (len(rows), layout.num_cells)
    inputs, labels = files["inputs"].path, files["labels"].path
    if block.inputs.shape != shape or block.labels.shape != shape:
        raise DataError(
            f"{inputs}: block of inputs {block.inputs.shape} and labels {block.labels.shape}, expected {shape} for both"
        )
    if block.images is not None:
        _check_images(files, block.images)
    for name in OPTIONAL:
        found = len(block.optional[name]) if name in block.optional else None
        if found != (len(rows) if name in files else None):
            raise DataError(
                f"{inputs}: a block of {len(rows)} examples has {found} {name}; give one an example, or none in any block"
            )
    check_tokens(inputs, rows, block.inputs, layout.vocab_size)
    check_tokens(
        labels,
        rows,
        block.labels,
        layout.vocab_size,
        () if layout.ignore_label_id is None else (layout.ignore_label_id,),
    )


def _check_images(files: Mapping[str, ArrayFile], images: npt.NDArray[np.uint8]) -> None:
    """Refuse images that would be written as something else than they are."""
    if images.dtype != np.uint8:
        raise DataError(f"a block of images holds {images.dtype}, expected uint8 from 0 to 255")
    if "images" in files and files["images"].columns != images.shape[1:]:
        raise DataError(
            f"{files['images'].path}: a block of images of size {images.shape[1:]}, "
            f"expected {files['images'].columns} as in the first block"
        )


def _write_block(
    files: Mapping[str, ArrayFile], layout: Layout, done: Counts, block: Examples
) -> Counts:
    """Append one block to the arrays of its set. Returns what the set holds now."""
    puzzle_sizes = _sizes(block.puzzle_sizes, len(block.inputs))
    group_sizes = _sizes(block.group_sizes, len(puzzle_sizes))
    identifiers = (
        np.full(len(puzzle_sizes), layout.blank_identifier_id)
        if block.puzzle_identifiers is None
        else block.puzzle_identifiers
    )
    files["inputs"].append(block.inputs)
    files["labels"].append(block.labels)
    files["puzzle_identifiers"].append(identifiers)
    files["puzzle_indices"].append(done.examples + np.cumsum(puzzle_sizes))
    files["group_indices"].append(done.puzzles + np.cumsum(group_sizes))
    for name, values in block.optional.items():
        files[name].append(values)
    return done + Counts(len(block.inputs), len(puzzle_sizes), len(group_sizes))


def _sizes(given: IntArray | None, total: int) -> IntArray:
    """Sizes of the parts of a whole: as given, or `total` parts of one."""
    return np.ones(total, np.int64) if given is None else given


def _write_json(path: Path, content: object) -> None:
    """Write JSON as text that a person can read too."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
