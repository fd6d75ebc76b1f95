"""Pictures with their labels, from whatever source, and which of them are trained or tested on.

Shapes: N pictures, F labels.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from hrm_core.data.label_tables import (
    PATIENT_COLUMNS,
    SOURCE_COLUMNS,
    SPLITS,
    Named,
    Table,
    file_names,
)
from hrm_core.data.picture_sources import Pictures
from hrm_core.data.sources import escaped
from hrm_core.draws import Purpose, stream
from hrm_core.errors import DataError
from hrm_core.messages import first_few, quoted
from hrm_core.tasks.contract import BoolArray, IntArray
from hrm_core.tasks.picture_options import PictureOptions

SPLIT_DRAW, ORDER_DRAW = 0, 1  # indices of random streams


@dataclass(frozen=True)
class Collection:
    """Pictures of a source with their labels."""

    pictures: Pictures
    files: Sequence[str]  # (N,) names in `pictures`
    named: Named
    sources: Mapping[str, Any]  # what build.json says of the files; `sha256` comes later
    patients: Sequence[str] | None = None  # (N,)
    splits: Sequence[str] | None = None  # (N,) train, val or test
    origins: Sequence[str] | None = None  # (N,) from which other set each comes
    left_out: Mapping[str, int] | None = None  # lines of the table, by the reason
    is_stream: bool = False  # has to be read in order


class Parts(NamedTuple):
    """Places of the pictures of each split in a collection."""

    rows: Mapping[str, IntArray]  # by "train" and "test"
    split_by: str
    test_on: str | None  # the part of the column split that is the test
    unused: int  # pictures of the other part


def folder_table(path: Path, names: Sequence[str]) -> Table:
    """Read labels off the names of folders: cat/1.png, or train/cat/1.png; one above all is left out.

    Raises: DataError if a picture lies in no folder.
    """
    parts = {name: PurePosixPath(name).parts[:-1] for name in names}
    shared = 0
    while len({folders[: shared + 1] for folders in parts.values()}) == 1 and all(
        len(folders) > shared + 1 for folders in parts.values()
    ):
        shared += 1
    rows = []
    for name, folders in parts.items():
        below = folders[shared:]
        is_split = len(below) > 1 and below[0].casefold() in SPLITS
        if not below:
            raise DataError(
                f"{path}: {quoted(name)} lies in no folder that names its label; "
                "give --labels CSV, or put each label into a folder of its own"
            )
        rows.append([name, below[0] if is_split else "", escaped(below[is_split])])
    header = ["file", "split", "label"]
    if not all(row[1] for row in rows):
        header[1] = ""
    return Table(path, header, rows, range(1, len(rows) + 1), "")


def collected(
    table: Table, named: Named, pictures: Pictures, sources: Mapping[str, Any], skip: bool
) -> Collection:
    """Match the lines of a table with pictures.

    Raises: DataError if a line has no picture, or a picture no known label, unless they are skipped.
    """
    names = file_names(table)
    found = _matched(table, names, pictures.names)
    is_known: BoolArray = np.any(named.targets >= 0, axis=1, keepdims=False)
    missing = [row for row, file in enumerate(found) if file is None]
    unknown = [row for row, file in enumerate(found) if file is not None and not is_known[row]]
    if not skip:
        _check_rows(table, names, pictures, missing, unknown)
    kept = {row: file for row, file in enumerate(found) if file is not None and is_known[row]}
    if not kept:
        raise DataError(f"{table.path}: no line has a picture in {pictures.path} and a known label")
    rows, files = list(kept), list(kept.values())
    _check_once(table, files)
    patients = _chosen(table.first(PATIENT_COLUMNS), rows)
    if patients is not None:
        patients = [patient or file for patient, file in zip(patients, files, strict=True)]
    return Collection(
        pictures,
        files,
        named._replace(targets=named.targets[rows]),
        sources,
        patients,
        _chosen(table.splits, rows),
        _chosen(table.first(SOURCE_COLUMNS), rows),
        {
            "lines without a picture": len(missing),
            "pictures without a known label": len(unknown),
            "pictures without a line": len(pictures.names) - len(files) - len(unknown),
        },
    )


def split(collection: Collection, options: PictureOptions) -> Parts:
    """Decide which pictures are trained on and which are tested on.

    Raises: DataError if there is no column for it, or a patient would be in two splits.
    """
    has_test = collection.splits is not None and set(collection.splits) != {"train"}
    by = options.split_by or ("split" if has_test else None)
    by = by or ("image" if collection.patients is None else "patient")
    if options.test_on is not None and by != "split":
        raise DataError("--test-on chooses a part of the column split; there is none to choose")
    if by == "split":
        parts = _by_column(collection, options)
    elif by == "patient" and collection.patients is None:
        raise DataError(
            "--split-by patient needs a column of patients; expected one called patient or "
            "Patient ID, or give --split-by image"
        )
    else:
        parts = _drawn(collection, options, by)
    _check_patients(collection, parts)
    return parts


def _matched(table: Table, names: Sequence[str], files: Sequence[str]) -> list[str | None]:
    """Find the picture of each name: by the longest end of its path that is one, else by its file
    name, with or without ending.
    """
    places: dict[str, set[str]] = defaultdict(set)
    for file in files:
        path = PurePosixPath(file)
        for key in {path.name, path.stem}:
            places[key].add(file)
    known = set(files)
    found: list[str | None] = []
    for row, name in enumerate(names):
        parts = PurePosixPath(name).parts
        ends = ["/".join(parts[first:]) for first in range(len(parts))]
        whole = [end for end in ends if end in known]
        fitting = set(whole[:1]) or places[PurePosixPath(name).name]
        if len(fitting) > 1:
            raise DataError(
                f"{table.place(row)}: {quoted(name)} may be {first_few(sorted(fitting), 2)}; "
                "write the path below the folder of pictures"
            )
        found.append(next(iter(fitting), None))
    return found


def _check_rows(
    table: Table,
    names: Sequence[str],
    pictures: Pictures,
    missing: Sequence[int],
    unknown: Sequence[int],
) -> None:
    """Refuse lines without a picture, and pictures without a known label. Raises: DataError."""
    for row in missing[:1]:
        raise DataError(
            f"{table.place(row)}: {quoted(names[row])} is not in {pictures.path}; "
            f"{len(missing):,} of {len(names):,} pictures are missing, add them or give --skip"
        )
    for row in unknown[:1]:
        raise DataError(
            f"{table.place(row)}: no label of {quoted(names[row])} is known; "
            "write 1 or 0, take the line out, or give --skip"
        )


def _check_once(table: Table, files: Sequence[str]) -> None:
    """Refuse two lines that name the same picture in two ways. Raises: DataError."""
    ((twice, count),) = Counter(files).most_common(1)
    if count > 1:
        raise DataError(f"{table.path}: two lines are of {quoted(twice)}; take one of them out")


def _chosen(values: Sequence[str] | None, rows: Sequence[int]) -> list[str] | None:
    return None if values is None else [values[row] for row in rows]


def _by_column(collection: Collection, options: PictureOptions) -> Parts:
    """Take the column split as it is."""
    if collection.splits is None:
        raise DataError(
            "--split-by split needs a column called split with train, val and test; "
            "there is none, so give --split-by patient or --split-by image"
        )
    splits = np.array(collection.splits)
    present = set(collection.splits)
    test_on = options.test_on or ("val" if "val" in present else "test")
    if options.test_on is not None and test_on not in present:
        raise DataError(
            f"--test-on {test_on}: the column split has no such part, only "
            f"{', '.join(sorted(present))}"
        )
    rows = {"train": np.flatnonzero(splits == "train"), "test": np.flatnonzero(splits == test_on)}
    unused = len(splits) - sum(map(len, rows.values()))
    return _parts(collection, options, rows, "split", test_on, unused)


def _drawn(collection: Collection, options: PictureOptions, by: str) -> Parts:
    """Draw patients or pictures for the test until they are a share of all pictures."""
    count = len(collection.files)
    groups = np.arange(count)
    if by == "patient":
        _, groups = np.unique(np.array(collection.patients), return_inverse=True)
    num_groups = int(groups.max()) + 1
    num_test = round(options.test_share * count)
    if options.test_share and num_groups < 2:
        raise DataError(
            f"{collection.pictures.path}: all pictures are of one {by}, so none is left to test "
            "on; give --test-share 0"
        )
    order = stream(options.seed, Purpose.PUZZLES, SPLIT_DRAW).permutation(num_groups)
    before = np.cumsum(np.bincount(groups)[order]) - np.bincount(groups)[order]
    is_drawn = before < num_test  # in the order drawn
    is_drawn[:1] = options.test_share > 0
    is_drawn[-1] = False  # something is left to train on
    is_test = np.isin(groups, order[is_drawn])
    rows = {"train": np.flatnonzero(~is_test), "test": np.flatnonzero(is_test)}
    return _parts(collection, options, rows, by, None, 0)


def _parts(
    collection: Collection,
    options: PictureOptions,
    rows: Mapping[str, IntArray],
    split_by: str,
    test_on: str | None,
    unused: int,
) -> Parts:
    """Return the parts that have pictures, in random order where the source can be read so.

    Evaluation in training takes the first examples of the test: of a source that is in order of
    its labels they would all have the same.
    """
    kept = {}
    for number, (name, places) in enumerate(rows.items()):
        if not collection.is_stream:
            rng = stream(options.seed, Purpose.PUZZLES, ORDER_DRAW, number)
            places = rng.permutation(places)
        if len(places):
            kept[name] = places
    return Parts(kept, split_by, test_on, unused)


def _check_patients(collection: Collection, parts: Parts) -> None:
    """Refuse a patient in two splits, those that stay out included. Raises: DataError."""
    if collection.patients is None:
        return
    split_of: dict[str, str] = {}
    splits = np.full(len(collection.files), "unused", dtype="U6")
    for name, rows in parts.rows.items():
        splits[rows] = name
    if parts.split_by == "split" and collection.splits is not None:
        splits = np.array(collection.splits)
    for patient, name in zip(collection.patients, splits.tolist(), strict=True):
        if split_of.setdefault(patient, name) != name:
            raise DataError(
                f"patient {quoted(patient)} is in {split_of[patient]} and in {name}; a patient in "
                "two splits makes a test too easy, so give --split-by patient"
            )
