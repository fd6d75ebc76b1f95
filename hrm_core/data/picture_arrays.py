"""Pictures and labels in one .npz file, as MedMNIST publishes its sets.

The arrays are `{split}_images`, (N, H, W) or (N, H, W, 3), and `{split}_labels`, (N, 1) or (N, F), of
the splits train, val and test. Pictures are read one after the other, never all at once.

Source: medmnist.com, J. Yang et al., MedMNIST v2, Scientific Data 2023.
"""

import math
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import numpy.typing as npt

from hrm_core.data.picture_files import Photo, array_photo, check_sides
from hrm_core.data.sources import file_sha256, refusing_damage
from hrm_core.errors import DataError

SPLITS = ("train", "val", "test")
MAX_COLUMNS = 1_000  # of labels; checked before they are read
EXPECTED = "the arrays train_images and train_labels, of val and test too, as in MedMNIST"
NPZ = ".npz", f"expected {EXPECTED}"
HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class _Header(NamedTuple):
    """Shape and dtype of an array in the file."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]


class ArrayPictures:
    """The pictures of an .npz file. The names are those of arrays and rows: `train_images[0]`."""

    def __init__(self, path: Path) -> None:
        """Raises: DataError if it is damaged or its arrays do not fit each other."""
        self.path = path
        self.names: list[str] = []
        self.splits: list[str] = []  # of each name
        labels = []
        with refusing_damage(path, *NPZ), zipfile.ZipFile(path) as archive:
            members = set(archive.namelist())
            for split in [name for name in SPLITS if f"{name}_images.npy" in members]:
                count = self._count(archive, split)
                labels.append(self._labels(archive, split, count))
                self.names += [f"{split}_images[{row}]" for row in range(count)]
                self.splits += [split] * count
        if not self.names:
            raise DataError(f"{path} holds no pictures; expected {EXPECTED}")
        widths = {part.shape[1] for part in labels}
        if len(widths) > 1:
            raise DataError(f"{path}: labels of {sorted(widths)} columns; expected as many in each")
        self.labels = np.concatenate(labels)  # (N, F), 1, 0 or -1

    @property
    def sha256(self) -> str:
        """Hash of the file."""
        return file_sha256(self.path)

    def photos(self, names: Sequence[str]) -> Iterator[Photo]:
        """Yield pictures; they have to be asked for in the order in which they lie in the file."""
        places = [name.removesuffix("]").split("[") for name in names]
        with refusing_damage(self.path, *NPZ), zipfile.ZipFile(self.path) as archive:
            for split in SPLITS:
                key = f"{split}_images"
                rows = [int(row) for array, row in places if array == key]
                if rows:
                    yield from self._rows(archive, key, rows)

    def _rows(self, archive: zipfile.ZipFile, key: str, rows: Sequence[int]) -> Iterator[Photo]:
        """Yield some rows of an array, in rising order."""
        with archive.open(f"{key}.npy") as file:
            header = _read_header(file)
            size = header.dtype.itemsize * math.prod(header.shape[1:])
            done = 0
            for row in rows:
                file.seek((row - done) * size, 1)
                pixels = np.frombuffer(_exactly(file, size), header.dtype)
                yield array_photo(pixels.reshape(header.shape[1:]), f"{self.path}: {key}[{row}]")
                done = row + 1

    def _count(self, archive: zipfile.ZipFile, split: str) -> int:
        """Count the pictures of a split. Raises: DataError if they are none."""
        key = f"{split}_images"
        with archive.open(f"{key}.npy") as file:
            header = _read_header(file)
        is_grey = len(header.shape) == 3
        is_colour = len(header.shape) == 4 and header.shape[3] == 3
        if header.dtype != np.uint8 or not (is_grey or is_colour):
            raise DataError(
                f"{self.path}: {key} holds {header.dtype} of shape {header.shape}; "
                "expected uint8 of (N, H, W) or (N, H, W, 3)"
            )
        check_sides((header.shape[2], header.shape[1]), f"{self.path}: {key}")
        if archive.getinfo(f"{key}.npy").file_size < math.prod(header.shape):
            raise EOFError(f"{key} is shorter than its header says")
        return header.shape[0]

    def _labels(self, archive: zipfile.ZipFile, split: str, count: int) -> npt.NDArray[np.integer]:
        """Read the labels of a split. Returns: (N, F), 1, 0 or -1. Raises: DataError."""
        key = f"{split}_labels"
        if f"{key}.npy" not in archive.namelist():
            raise DataError(f"{self.path} has no {key}; expected {EXPECTED}")
        with archive.open(f"{key}.npy") as file:
            header = _read_header(file)
            is_table = len(header.shape) in (1, 2) and math.prod(header.shape[1:]) <= MAX_COLUMNS
            if header.dtype.kind not in "biuf" or not is_table:
                raise DataError(
                    f"{self.path}: {key} holds {header.dtype} of shape {header.shape}; "
                    f"expected numbers of (N, 1) or (N, F), F at most {MAX_COLUMNS:,}"
                )
            if header.shape[0] != count:
                raise DataError(
                    f"{self.path}: {header.shape[0]:,} {key} of {count:,} {split}_images; "
                    "expected one row each"
                )
            data = _exactly(file, header.dtype.itemsize * math.prod(header.shape))
        values = np.frombuffer(data, header.dtype).reshape(count, math.prod(header.shape[1:]))
        is_known = np.isin(values, (0, 1, -1))
        if not is_known.all():
            row, column = np.argwhere(~is_known)[0].tolist()
            raise DataError(
                f"{self.path}: {key}[{row}, {column}] is {values[row, column]}; "
                "expected 1 (present), 0 (absent) or -1 (not known)"
            )
        return values.astype(np.int64)


def _read_header(file: IO[bytes]) -> _Header:
    """Read the header of an .npy file. Raises: ValueError if it is of another kind."""
    version = np.lib.format.read_magic(file)
    if version not in HEADERS:
        raise ValueError(f"version {version} of .npy")
    shape, is_fortran, dtype = HEADERS[version](file)
    if min(shape, default=0) < 0:
        raise ValueError(f"an array of shape {shape}")
    if is_fortran and len(shape) > 1:
        raise ValueError("an array in Fortran's order")
    return _Header(shape, dtype)


def _exactly(file: IO[bytes], size: int) -> bytes:
    """Read so many bytes. Raises: EOFError if there are fewer."""
    data = file.read(size)
    if len(data) < size:
        raise EOFError("an array is shorter than its header says")
    return data
