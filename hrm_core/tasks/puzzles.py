"""Puzzles with one solution each, and what building a data set from them takes, whatever the task.

Shapes: N puzzles, S cells.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hrm_core.draws import Purpose, stream
from hrm_core.errors import DataError

ByteArray = npt.NDArray[np.uint8]
IntArray = npt.NDArray[np.integer]
BoolArray = npt.NDArray[np.bool_]

TRAIN, TEST, SUBSAMPLE = range(3)  # index of the random stream


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


def subsample(puzzles: Puzzles, count: int, seed: int, source: Path) -> Puzzles:
    """Choose some puzzles at random. Raises: DataError if there are not so many."""
    if count > len(puzzles.ratings):
        raise DataError(f"{source} has {len(puzzles.ratings)} puzzles to choose from, fewer than --subsample {count}; lower it")
    return puzzles.select(stream(seed, Purpose.PUZZLES, SUBSAMPLE).choice(len(puzzles.ratings), count, replace=False))


def file_sha256(path: Path) -> str:
    """What build.json tells a source by."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
