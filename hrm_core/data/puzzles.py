"""Puzzles with one solution each, and what building a data set from them takes, whatever the task.

Shapes: N puzzles, S cells.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
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

TRAIN, TEST, SUBSAMPLE = range(3)  # index of the random stream
PUBLISHED_FILES = (
    "train.csv",
    "test.csv",
)  # of the data sets on the Hub. Source: sapientinc/HRM dataset/build_sudoku_dataset.py


class Puzzles(NamedTuple):
    """Puzzles with one solution each, as a data set wants them."""

    inputs: ByteArray  # (N, S) question tokens
    labels: ByteArray  # (N, S) answer tokens
    ratings: npt.NDArray[np.int32]  # (N,)

    def select(self, rows: IntArray | BoolArray) -> "Puzzles":
        """The puzzles at these indices or where this mask holds."""
        return Puzzles(self.inputs[rows], self.labels[rows], self.ratings[rows])

    @classmethod
    def join(cls, parts: Sequence["Puzzles"]) -> "Puzzles":
        """All puzzles of one part or more, in order."""
        inputs, labels, ratings = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return cls(inputs, labels, ratings)


class CsvFiles(NamedTuple):
    """What a data set is built from."""

    train: Path
    test: Path | None = None
    origin: Mapping[str, Any] = {}  # what build.json says of where they are from

    @property
    def paths(self) -> dict[str, Path]:
        """The file of each split there is one for."""
        return {"train": self.train} | ({"test": self.test} if self.test else {})


def fetch_csv(source: str) -> CsvFiles:
    """Fetch the puzzles of a data set on the Hub, hf://owner/repository[@revision]. Raises: HubError, BackendError."""
    address = hub.parse_address(
        source.replace("hf://datasets/", "hf://", 1)
    )  # as the Hub itself writes it
    if address.file:
        raise hub.HubError(
            f"{source} names one file; expected hf://owner/repository, which holds {' and '.join(PUBLISHED_FILES)}"
        )
    commit, (train, test) = hub.fetch_together(
        address.repository, PUBLISHED_FILES, "dataset", address.revision
    )
    return CsvFiles(
        train,
        test,
        {"hub": {"repository": address.repository, "revision": address.revision, "commit": commit}},
    )


def subsample(puzzles: Puzzles, count: int, seed: int, source: Path) -> Puzzles:
    """Choose some puzzles at random. Raises: DataError if there are not so many."""
    if count > len(puzzles.ratings):
        raise DataError(
            f"{source} has {len(puzzles.ratings)} puzzles to choose from, fewer than --subsample {count}; lower it"
        )
    return puzzles.select(
        stream(seed, Purpose.PUZZLES, SUBSAMPLE).choice(len(puzzles.ratings), count, replace=False)
    )


def describe_file(path: Path) -> dict[str, Any]:
    """What build.json tells a source by."""
    return {"file": path.name, "sha256": file_sha256(path)}


def num_shared(questions: ByteArray, others: ByteArray) -> int:
    """How many questions (N, S) are among others, which may be millions: no more is kept of them than of the questions."""
    asked = set(map(bytes, questions))
    found = {other for other in map(bytes, others) if other in asked}
    return sum(question in found for question in map(bytes, questions))
