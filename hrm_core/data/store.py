"""Data sets on disk: the published layout, read through memory maps and checked before use.

    <dir>/{train,test}/dataset.json            what the arrays hold: `DatasetMetadata`
    <dir>/{split}/{set}__{inputs,labels}.npy   tokens; never loaded whole
    <dir>/{split}/{set}__{puzzle_identifiers,puzzle_indices,group_indices}.npy
    <dir>/{split}/{set}__ratings.npy           optional and ours, like the next and build.json: published readers ignore them
    <dir>/{split}/{set}__prefix_len.npy        optional: how many first tokens of a row every position sees
    <dir>/{split}/{set}__images.npy            optional: a picture of each row, or of each chunk of it; never loaded whole
    <dir>/identifiers.json                     name of each puzzle identifier
    <dir>/build.json                           what was made, from what, how, the version of this layout, the hash of each file

Examples puzzle_indices[i]:puzzle_indices[i+1] belong to puzzle i, and group_indices does the same for the puzzles of a group:
one original puzzle with its augmentations.

Shapes: N examples, P puzzles, G groups, S cells (`num_chunks` times `seq_len`), V `vocab_size`.
Source: sapientinc/HRM puzzle_dataset.py and dataset/common.py.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field, NonNegativeInt, PositiveFloat, PositiveInt, ValidationError

from hrm_core.backend import IGNORE_LABEL_ID
from hrm_core.config import ArchConfig, DataSizes
from hrm_core.data.arrays import (
    WAY_OUT,
    IntArray,
    check_index,
    check_range,
    check_tokens,
    load_array,
    open_array,
    open_images,
    token_blocks,
    unreadable,
)
from hrm_core.errors import DataError
from hrm_core.files import Refusal, check_exists, staged
from hrm_core.messages import warn

SPLITS = ("train", "test")
METADATA_FILE = "dataset.json"  # of a split
IDENTIFIERS_FILE = "identifiers.json"
BLANK_IDENTIFIER = "<blank>"  # the name of puzzle identifier 0
BUILD_FILE = "build.json"
HASHES = "sha256"  # entry of build.json: the hash of each file, by its path in the data set
LAYOUT_VERSION = 1  # of these files; data sets without a version are version 1


class DatasetMetadata(BaseModel, frozen=True, strict=True, allow_inf_nan=False):
    """One split's dataset.json: the published fields; others are left alone, as published readers do."""

    pad_id: NonNegativeInt
    ignore_label_id: int | None  # this label becomes `IGNORE_LABEL_ID` when a batch is read
    blank_identifier_id: (
        NonNegativeInt  # identifier of padding, and of every puzzle without one of its own
    )
    vocab_size: PositiveInt
    seq_len: PositiveInt
    num_chunks: PositiveInt = (
        1  # a row has so many times seq_len tokens; ours, written where it is not 1
    )
    num_puzzle_identifiers: PositiveInt
    total_groups: PositiveInt
    mean_puzzle_examples: PositiveFloat
    sets: Annotated[tuple[Annotated[str, Field(pattern=r"^[\w.-]+$")], ...], Field(min_length=1)]

    @property
    def sizes(self) -> DataSizes:
        """The sizes that a model takes from its data."""
        return DataSizes(
            self.vocab_size, self.seq_len, self.num_puzzle_identifiers, self.num_chunks
        )


@dataclass(frozen=True, eq=False)
class ExampleSet:
    """The arrays of one set of a split."""

    folder: Path
    name: str
    inputs: IntArray  # (N, S), memory-mapped
    labels: IntArray  # (N, S), memory-mapped
    puzzle_identifiers: IntArray  # (P,)
    puzzle_indices: IntArray  # (P + 1,)
    group_indices: IntArray  # (G + 1,)
    ratings: IntArray | None  # (N,): the difficulty that tables of results are split by
    prefix_len: IntArray | None = None  # (N,): first tokens that every position sees, 0 to S
    images: npt.NDArray[np.uint8] | None = None  # (N, H, W) or (N, C, H, W), memory-mapped

    def __len__(self) -> int:
        return len(self.inputs)

    def puzzle_of(self, example_index: IntArray) -> IntArray:
        """The puzzle each example belongs to. Shapes: (B,) -> (B,)."""
        return np.searchsorted(self.puzzle_indices, example_index, side="right") - 1

    def path(self, field: str) -> Path:
        """Return the file of an array of this set."""
        return array_path(self.folder, self.name, field)


@dataclass(frozen=True, eq=False)
class Split:
    """One split of a data set: what is trained on, or what is tested on."""

    folder: Path
    metadata: DatasetMetadata
    sets: dict[str, ExampleSet]

    @property
    def sizes(self) -> DataSizes:
        """The sizes that a model takes from this split, that of its images included."""
        images = next(iter(self.sets.values())).images
        return self.metadata.sizes._replace(image_size=None if images is None else images.shape[1:])

    def check_serves(self, config: ArchConfig) -> None:
        """Refuse a split without what a model wants beside tokens. Raises: DataError naming the file."""
        for examples in self.sets.values():
            if config.attention == "prefix" and examples.prefix_len is None:
                raise DataError(
                    f"{examples.path('prefix_len')} is missing, which model.attention=prefix needs; "
                    "build the data set with it or choose another model.attention"
                )
            if config.patch_size is not None and examples.images is None:
                raise DataError(
                    f"{examples.path('images')} is missing, which model.patch_size needs; "
                    "build the data set with images or leave model.patch_size out"
                )

    def check_inputs(
        self, examples: ExampleSet, rows: Sequence[int] | IntArray, tokens: IntArray
    ) -> None:
        """Refuse input tokens (B, S) outside the vocabulary; `rows` (B,) says which examples they are.

        Raises: DataError naming the file, the row and the token.
        """
        check_tokens(examples.path("inputs"), rows, tokens, self.metadata.vocab_size)

    def check_labels(
        self, examples: ExampleSet, rows: Sequence[int] | IntArray, tokens: IntArray
    ) -> None:
        """Refuse labels (B, S) that are neither in the vocabulary nor ignored.

        Raises: DataError naming the file, the row and the label.
        """
        check_tokens(
            examples.path("labels"), rows, tokens, self.metadata.vocab_size, self.ignored_labels
        )

    @property
    def ignored_labels(self) -> tuple[int, ...]:
        """The labels that stand for "not scored" in the files of this split."""
        own = self.metadata.ignore_label_id
        return (IGNORE_LABEL_ID,) if own is None else (IGNORE_LABEL_ID, own)


def array_path(folder: Path, set_name: str, field: str) -> Path:
    """File of one array of a set. Source: sapientinc/HRM puzzle_dataset.py."""
    return folder / f"{set_name}__{field}.npy"


def check_layout(directory: Path, build: object) -> None:
    """Refuse what build.json says is of a layout that came after this one. Raises: DataError."""
    layout = build.get("layout", LAYOUT_VERSION) if isinstance(build, dict) else LAYOUT_VERSION
    if not isinstance(layout, int) or layout > LAYOUT_VERSION:
        raise DataError(
            f"{directory} was written by a newer hrm-mlx (layout {layout!r}, this one knows {LAYOUT_VERSION}); upgrade hrm-mlx"
        )


def read_build(directory: Path) -> dict[str, Any]:
    """Read the build.json of a data set; return {} if another program built it.

    Raises: DataError if it is there but cannot be read, or if it is of a newer layout.
    """
    path = directory / BUILD_FILE
    if not path.is_file():
        return {}
    try:
        build = json.loads(path.read_bytes())
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, RecursionError):
        build = None
    if not isinstance(build, dict):
        raise DataError(f"{path} is not a JSON object; {WAY_OUT}")
    check_layout(directory, build)
    return build


class Dataset:
    """An open data set. Each of its files is read once, when it is asked for."""

    def __init__(self, directory: Path) -> None:
        """Raises: DataError if it does not exist, or if build.json cannot be read or is newer."""
        check_exists(directory, Refusal(DataError, "expected a data set; make one with `hrm data`"))
        self.directory = directory
        self.build = read_build(directory)
        self._splits: dict[str, Split] = {}

    @cached_property
    def splits(self) -> list[str]:
        """Names of the splits it holds. Raises: DataError if it holds none."""
        found = [split for split in SPLITS if (self.directory / split / METADATA_FILE).is_file()]
        if not found:
            raise DataError(
                f"{self.directory} is not a data set: neither train/dataset.json nor test/dataset.json is there; make one with `hrm data`"
            )
        return found

    def split(self, name: str) -> Split:
        """Open one split. Raises: DataError as `load_split` does."""
        if name not in self._splits:
            self._splits[name] = self._opened(name)
        return self._splits[name]

    @cached_property
    def metadata(self) -> DatasetMetadata:
        """The metadata of its first split."""
        return self.split(self.splits[0]).metadata

    @cached_property
    def label(self) -> str | None:
        """The task it was built for: name, then settings as JSON. None if another program built it.

        Raises: DataError if what build.json says is no name and settings.
        """
        return _label(self.build, self.directory / BUILD_FILE)

    @cached_property
    def sha256(self) -> str:
        """Hash names and bytes of its published files and its ratings, as hex.

        Raises: DataError if there is no data set or a file cannot be read.
        """
        total = hashlib.sha256()
        for name, digest in self.digests.items():
            total.update(f"{digest} {name}\n".encode())
        return total.hexdigest()

    @cached_property
    def digests(self) -> dict[str, str]:
        """The sha256, hex, of each published file and its ratings, by path; in order of the paths.

        Raises: DataError as `sha256` does.
        """
        return _digests(self.directory, self.splits)

    def check_unchanged(self) -> None:
        """Compare each file with its hash of when the data set was built.

        The files of a data set of another program are hashed here for the first time: build.json
        keeps that. A data set of an earlier version has no hashes and is not compared; a split that
        was removed as a whole is not missed.

        Raises: DataError naming the first file that differs, is gone or was not there.
        """
        path = self.directory / BUILD_FILE
        if not self.build:
            _keep_hashes(path, self.digests)
            return
        expected = self.build.get(HASHES, {})
        if not isinstance(expected, dict):
            raise DataError(f"{path}: {HASHES} is no JSON object; {WAY_OUT}")
        is_ours = set(self.build) != {HASHES}
        then = "when it was built" if is_ours else "at its first use"
        meant = "" if is_ours else f", or remove {path} if the change is meant"
        gone = set(SPLITS) - set(self.splits)
        known = {name for name in expected if name.partition("/")[0] not in gone}
        for name in sorted({*known, *self.digests}) if expected else ():
            before, now = (hashes.get(name) for hashes in (expected, self.digests))
            if before != now:
                found = f"sha256 {now[:12]}" if now else "no file"
                was = str(before)[:12] if before else "no file"
                raise DataError(
                    f"{self.directory / name} is not what it was {then} "
                    f"({found}, expected {was}); {WAY_OUT}{meant}"
                )

    @property
    def has_names(self) -> bool:
        """True if its puzzle identifiers have names."""
        return (self.directory / IDENTIFIERS_FILE).is_file()

    @cached_property
    def names(self) -> list[str]:
        """The names of its puzzle identifiers. Raises: DataError if there are none."""
        return read_identifiers(self.directory / IDENTIFIERS_FILE)

    def text_of(self, name: str) -> str:
        """Read a file that the task of the data set needs. Raises: DataError."""
        path = self.directory / name
        try:
            return path.read_text(encoding="utf-8")
        except OSError as error:
            raise unreadable(path, error) from error
        except UnicodeDecodeError as error:
            raise DataError(f"{path} is not UTF-8; {WAY_OUT}") from error

    def _opened(self, name: str) -> Split:
        folder = self.directory / name
        others = [other for other in SPLITS if other != name and (self.directory / other).is_dir()]
        if others and not folder.is_dir():
            raise DataError(
                f"{self.directory} has no {name} split, only {others[0]}; choose --split {others[0]}, or build it with {name} examples"
            )
        metadata = _load_metadata(folder / METADATA_FILE)
        sets = {set_name: _load_set(folder, set_name, metadata) for set_name in metadata.sets}
        _check_totals(folder / METADATA_FILE, metadata, sets)
        _check_image_sizes(sets)
        return Split(folder, metadata, sets)


def load_split(directory: Path, split: str) -> Split:
    """Open one split of a data set. Everything but the tokens is checked; `check` looks at those.

    Raises: DataError naming the file: missing, damaged, in disagreement with another, or of a newer layout.
    """
    return Dataset(directory).split(split)


def present_splits(directory: Path) -> list[str]:
    """Names of the splits a directory holds.

    Raises: DataError if it holds none, or some of a newer layout.
    """
    return Dataset(directory).splits


def check(split: Split) -> None:
    """Look at every token of a split, a block at a time.

    Raises: DataError at the first token or label that is out of range.
    """
    for examples in split.sets.values():
        for rows, block in token_blocks(examples.inputs):
            split.check_inputs(examples, rows, block)
        for rows, block in token_blocks(examples.labels):
            split.check_labels(examples, rows, block)


def read_identifiers(path: Path) -> list[str]:
    """The names in an identifiers.json, in the order of the identifiers. Raises: DataError if it is anything else."""
    try:
        names = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}); expected the {IDENTIFIERS_FILE} of a data set"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path} is not JSON; expected the {IDENTIFIERS_FILE} of a data set, a list of names"
        ) from error
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise DataError(
            f"{path} is no list of names; expected the {IDENTIFIERS_FILE} of a data set"
        )
    return names


def _label(build: dict[str, Any], path: Path) -> str | None:
    task, settings = build.get("task"), build.get("task_settings", {})
    if not isinstance(task, str):
        return None
    if not task.isprintable():
        raise DataError(f"{path}: task is {ascii(task)[:80]}, expected the name of one; {WAY_OUT}")
    if not isinstance(settings, dict):
        raise DataError(
            f"{path}: task_settings is {json.dumps(settings)[:80]}, expected a JSON object; {WAY_OUT}"
        )
    return f"{task} {json.dumps(settings, sort_keys=True)}" if settings else task


def _digests(directory: Path, splits: Sequence[str]) -> dict[str, str]:
    folders = [directory / split for split in splits]
    paths = [
        path for folder in folders for path in (folder / METADATA_FILE, *folder.glob("*__*.npy"))
    ]
    paths += [path for path in [directory / IDENTIFIERS_FILE] if path.is_file()]
    return {path.relative_to(directory).as_posix(): _file_digest(path) for path in sorted(paths)}


def _keep_hashes(path: Path, digests: Mapping[str, str]) -> None:
    """Write a build.json with hashes alone; warn where it cannot be written."""
    text = json.dumps({HASHES: digests}, indent=2) + "\n"
    try:
        with staged(path, Refusal(DataError, "try again")) as draft:
            draft.write_text(text, encoding="utf-8")
    except OSError as error:
        problem = error.strerror or error
        warn(f"{path} cannot be written ({problem}), so later changes of the data go unnoticed")
    except DataError:  # another process is at it
        return


def _file_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error


def _load_metadata(path: Path) -> DatasetMetadata:
    """Read and check one dataset.json."""
    try:
        metadata = DatasetMetadata.model_validate_json(path.read_bytes())
    except OSError as error:
        raise unreadable(path, error) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise DataError(
            f"{path}: {field + ': ' if field else ''}{first['msg']}; {WAY_OUT}"
        ) from error
    if metadata.pad_id >= metadata.vocab_size:
        raise DataError(
            f"{path}: pad_id={metadata.pad_id}, expected a token below vocab_size={metadata.vocab_size}; {WAY_OUT}"
        )
    if metadata.blank_identifier_id >= metadata.num_puzzle_identifiers:
        raise DataError(
            f"{path}: blank_identifier_id={metadata.blank_identifier_id}, "
            f"expected one below num_puzzle_identifiers={metadata.num_puzzle_identifiers}; {WAY_OUT}"
        )
    if len(set(metadata.sets)) < len(metadata.sets):
        raise DataError(f"{path}: sets names one set twice: {', '.join(metadata.sets)}; {WAY_OUT}")
    return metadata


def _load_set(folder: Path, name: str, metadata: DatasetMetadata) -> ExampleSet:
    """Open the arrays of one set and check them against each other."""
    inputs = open_array(
        array_path(folder, name, "inputs"), (None, metadata.num_chunks * metadata.seq_len)
    )
    labels = open_array(array_path(folder, name, "labels"), inputs.shape)
    identifiers = load_array(array_path(folder, name, "puzzle_identifiers"), (None,))
    optional = ("ratings", "prefix_len", "images")
    ratings, prefix_len, images = (array_path(folder, name, field) for field in optional)
    loaded = ExampleSet(
        folder=folder,
        name=name,
        inputs=inputs,
        labels=labels,
        puzzle_identifiers=identifiers,
        puzzle_indices=load_array(
            array_path(folder, name, "puzzle_indices"), (len(identifiers) + 1,)
        ),
        group_indices=load_array(array_path(folder, name, "group_indices"), (None,)),
        ratings=load_array(ratings, (len(inputs),)) if ratings.exists() else None,
        prefix_len=load_array(prefix_len, (len(inputs),)) if prefix_len.exists() else None,
    )
    check_index(loaded.path("puzzle_indices"), loaded.puzzle_indices, len(inputs), "examples")
    check_index(loaded.path("group_indices"), loaded.group_indices, len(identifiers), "puzzles")
    check_range(loaded.path("puzzle_identifiers"), identifiers, metadata.num_puzzle_identifiers)
    if loaded.ratings is not None:
        check_range(ratings, loaded.ratings, 1 << 31)
    if images.exists():
        loaded = replace(loaded, images=open_images(images, len(inputs), metadata.num_chunks))
    if loaded.prefix_len is not None:
        check_range(prefix_len, loaded.prefix_len, metadata.seq_len + 1)
    return loaded


def _check_totals(path: Path, metadata: DatasetMetadata, sets: dict[str, ExampleSet]) -> None:
    """Refuse metadata that disagrees with the arrays: the number of updates is worked out from it."""
    num_groups = sum(len(examples.group_indices) - 1 for examples in sets.values())
    if metadata.total_groups != num_groups:
        raise DataError(
            f"{path}: total_groups={metadata.total_groups}, the group_indices of its sets hold {num_groups}; {WAY_OUT}"
        )
    mean = sum(map(len, sets.values())) / sum(
        len(examples.puzzle_identifiers) for examples in sets.values()
    )
    if abs(metadata.mean_puzzle_examples - mean) > 0.01 * mean:  # others may have rounded theirs
        raise DataError(
            f"{path}: mean_puzzle_examples={metadata.mean_puzzle_examples}, the puzzle_indices of its sets give {mean:g}; {WAY_OUT}"
        )


def _check_image_sizes(sets: dict[str, ExampleSet]) -> None:
    """Refuse sets of a split whose images differ in size, or that have none where others have."""
    sizes = {
        examples.path("images"): None if examples.images is None else examples.images.shape[1:]
        for examples in sets.values()
    }
    (first, expected), *others = sizes.items()
    for path, found in others:
        if found != expected:
            raise DataError(f"{path} has images of size {found}, {first} of {expected}; {WAY_OUT}")
