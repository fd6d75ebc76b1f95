"""Puzzles with one solution each, and the steps of building that all puzzle tasks share.

Shapes: N puzzles, S cells.
"""

import csv
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hrm_core import hub
from hrm_core.data.sources import file_sha256
from hrm_core.draws import Purpose, stream
from hrm_core.errors import DataError

ByteArray = npt.NDArray[np.uint8]
IntArray = npt.NDArray[np.integer]
BoolArray = npt.NDArray[np.bool_]
TextArray = npt.NDArray[np.object_]  # of str

NO_TEXTS: Mapping[str, TextArray] = MappingProxyType({})
RATINGS_FILE = "ratings.csv"  # of a data set: ratings on other scales
TRAIN, TEST, SUBSAMPLE = range(3)  # index of the random stream
# Files of the data sets on the Hub. Source: sapientinc/HRM dataset/build_sudoku_dataset.py
PUBLISHED_FILES = ("train.csv", "test.csv")


class Puzzles(NamedTuple):
    """Puzzles with one solution each, as a data set stores them."""

    inputs: ByteArray  # (N, S) question tokens
    labels: ByteArray  # (N, S) answer tokens
    ratings: npt.NDArray[np.int32]  # (N,)
    other_ratings: Mapping[str, TextArray] = NO_TEXTS  # (N,) on other scales, by column of a file

    def select(self, rows: IntArray | BoolArray) -> "Puzzles":
        """Select the puzzles at these indices or where this mask holds."""
        others = {name: texts[rows] for name, texts in self.other_ratings.items()}
        return Puzzles(self.inputs[rows], self.labels[rows], self.ratings[rows], others)

    @classmethod
    def join(cls, parts: Sequence["Puzzles"]) -> "Puzzles":
        """Join one or more parts without other ratings in order."""
        arrays = (part[:3] for part in parts)
        inputs, labels, ratings = map(np.concatenate, zip(*arrays, strict=True))
        return cls(inputs, labels, ratings)


class CsvFiles(NamedTuple):
    """CSV files that a data set is built from."""

    train: Path
    test: Path | None = None
    origin: Mapping[str, Any] = {}  # entries of build.json about their origin

    @property
    def paths(self) -> dict[str, Path]:
        """Return the file of each split that has one."""
        if self.test is None:
            return {"train": self.train}
        return {"train": self.train, "test": self.test}


def fetch_csv(source: str) -> CsvFiles:
    """Fetch the puzzles of a data set on the Hub, hf://owner/repository[@revision].

    Raises: HubError, BackendError.
    """
    short = source.replace("hf://datasets/", "hf://", 1)  # the Hub itself writes datasets/
    address = hub.parse_address(short)
    if address.file:
        files = " and ".join(PUBLISHED_FILES)
        raise hub.HubError(
            f"{source} names one file; expected hf://owner/repository, which holds {files}"
        )
    repository, revision = address.repository, address.revision
    commit, paths = hub.fetch_together(repository, PUBLISHED_FILES, "dataset", revision)
    train, test = paths
    origin = {"repository": repository, "revision": revision, "commit": commit}
    return CsvFiles(train, test, {"hub": origin})


def subsample(puzzles: Puzzles, count: int, seed: int, source: Path) -> Puzzles:
    """Choose `count` puzzles at random. Raises: DataError if there are fewer."""
    num_puzzles = len(puzzles.ratings)
    if count > num_puzzles:
        raise DataError(
            f"{source} has {num_puzzles} puzzles to choose from, "
            f"fewer than --subsample {count}; lower it"
        )
    rng = stream(seed, Purpose.PUZZLES, SUBSAMPLE)
    return puzzles.select(rng.choice(num_puzzles, count, replace=False))


def describe_file(path: Path) -> dict[str, Any]:
    """Describe a source file for build.json."""
    return {"file": path.name, "sha256": file_sha256(path)}


def write_other_ratings(splits: Mapping[str, Puzzles | None]) -> dict[str, str]:
    """Write the ratings on other scales as CSV, a line a group of a data set.

    Returns: the text of `RATINGS_FILE` by its name; nothing if there are no such ratings.
    """
    rated = {name: puzzles for name, puzzles in splits.items() if puzzles and puzzles.other_ratings}
    columns = list(dict.fromkeys(name for part in rated.values() for name in part.other_ratings))
    if not columns:
        return {}
    written = StringIO()
    rows = csv.writer(written, lineterminator="\n")
    rows.writerow(["split", "group", *columns])
    for split, puzzles in rated.items():
        num_puzzles = len(puzzles.ratings)
        empty = np.full(num_puzzles, "", object)
        values = [puzzles.other_ratings.get(name, empty) for name in columns]
        rows.writerows(zip([split] * num_puzzles, range(num_puzzles), *values, strict=True))
    return {RATINGS_FILE: written.getvalue()}


def num_shared(questions: ByteArray, others: ByteArray) -> int:
    """Count the questions (N, S) that are among `others`.

    Others may be millions; those that are not among the questions are not kept in memory.
    """
    asked = set(map(bytes, questions))
    found = {other for other in map(bytes, others) if other in asked}
    return sum(question in found for question in map(bytes, questions))
