"""The files of a data set: arrays opened through memory maps, walked block by block, and checked.

Every error names the file.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from hrm_core.errors import DataError
from hrm_core.messages import first_line

WAY_OUT = "build or copy the data set again"
BLOCK_CELLS = 1 << 22  # what a scan of the tokens holds in memory

IntArray = npt.NDArray[np.integer]


def read_rows(tokens: IntArray, rows: range) -> IntArray:
    """Some rows of (N, S) memory-mapped tokens, or of images, read from their file.

    What is read through a map stays in memory as long as the map.
    """
    assert isinstance(tokens, np.memmap)
    assert tokens.filename is not None
    if not tokens.flags.c_contiguous:  # others may have written them column by column
        return np.array(tokens[rows.start : rows.stop])
    dtype: np.dtype[np.integer] = tokens.dtype
    offset = tokens.offset + rows.start * tokens.strides[0]
    size = tokens.shape[1:]
    count = len(rows) * math.prod(size)
    return np.fromfile(tokens.filename, dtype, count, offset=offset).reshape(len(rows), *size)


def token_blocks(tokens: IntArray) -> Iterator[tuple[range, IntArray]]:
    """Walk over (N, S) tokens, or images, in blocks of rows that fit in memory."""
    num_rows = max(1, BLOCK_CELLS // math.prod(tokens.shape[1:]))
    for start in range(0, len(tokens), num_rows):
        rows = range(start, min(start + num_rows, len(tokens)))
        yield rows, read_rows(tokens, rows)


def check_tokens(
    path: Path,
    rows: Sequence[int] | IntArray,
    tokens: IntArray,
    vocab_size: int,
    also: Sequence[int] = (),
) -> None:
    """Refuse tokens (B, S) outside 0..vocab_size-1 that are not in `also`.

    Raises: DataError naming file, row and token.
    """
    if tokens.size == 0 or (tokens.min() >= 0 and tokens.max() < vocab_size):
        return
    wrong = ((tokens < 0) | (tokens >= vocab_size)) & ~np.isin(tokens, also)
    if wrong.any():
        row, cell = np.argwhere(wrong)[0]
        raise DataError(
            f"{path}: row {rows[row]} holds {tokens[row, cell]}, expected 0 to {vocab_size - 1} (vocab_size={vocab_size}); {WAY_OUT}"
        )


def open_array(
    path: Path,
    shape: Sequence[int | None],
    expected: Literal["integers", "uint8"] = "integers",
) -> IntArray:
    """Memory-map an .npy file of integers. None in `shape` is any length but zero.

    Raises: DataError if it is missing, cut short, of another type or of another shape.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # numpy's remarks about strange headers
            array = np.lib.format.open_memmap(path, mode="r")
    except OSError as error:
        raise unreadable(path, error) from error
    except Exception as error:  # numpy's header parser raises whatever a damaged header leads it to
        raise DataError(
            f"{path} is cut short or not an .npy file ({first_line(error)}); {WAY_OUT}"
        ) from error
    if not (array.dtype == np.uint8 or (expected == "integers" and array.dtype.kind in "iu")):
        raise DataError(f"{path} holds {array.dtype}, expected {expected}; {WAY_OUT}")
    if (
        len(array.shape) != len(shape)
        or 0 in array.shape
        or any(want not in (None, got) for got, want in zip(array.shape, shape, strict=True))
    ):
        wanted = ", ".join("any" if length is None else str(length) for length in shape)
        raise DataError(f"{path} has shape {array.shape}, expected ({wanted}); {WAY_OUT}")
    if path.stat().st_size != array.offset + array.nbytes:
        raise DataError(
            f"{path} is {path.stat().st_size} bytes long, its header says {array.offset + array.nbytes}; {WAY_OUT}"
        )
    return array


def open_images(path: Path, num_examples: int, num_chunks: int) -> npt.NDArray[np.uint8]:
    """Memory-map one picture an example, or one a chunk.

    Raises: DataError if there are other numbers of them, or pixels are not uint8.
    """
    try:
        dimensions = np.load(path, mmap_mode="r").ndim
    except (OSError, ValueError, EOFError):
        dimensions = 0  # what is wrong with it is told below
    frames = (num_chunks,) if dimensions == 4 else ()
    images = open_array(path, (num_examples, *frames, None, None), "uint8")
    return images.astype(np.uint8, copy=False)


def load_array(path: Path, shape: Sequence[int | None]) -> IntArray:
    """Load an .npy file of integers whole, as int64. Raises: DataError as `open_array` does."""
    return open_array(path, shape).astype(np.int64)


def check_index(path: Path, index: IntArray, end: int, what: str) -> None:
    """Refuse an index array that does not run from 0 to `end` without an empty part."""
    if index[0] != 0:
        raise DataError(f"{path} starts at {index[0]}, expected 0; {WAY_OUT}")
    falls = np.flatnonzero(np.diff(index) <= 0)
    if falls.size:
        here = int(falls[0])
        raise DataError(
            f"{path} goes from {index[here]} to {index[here + 1]} at entry {here + 1}, expected it to grow; {WAY_OUT}"
        )
    if index[-1] != end:
        raise DataError(
            f"{path} ends at {index[-1]}, expected {end}, the number of {what}; {WAY_OUT}"
        )


def check_range(path: Path, values: IntArray, end: int) -> None:
    """Refuse values outside 0..end-1."""
    wrong = np.flatnonzero((values < 0) | (values >= end))
    if wrong.size:
        raise DataError(
            f"{path}: entry {wrong[0]} is {values[wrong[0]]}, expected 0 to {end - 1}; {WAY_OUT}"
        )


def unreadable(path: Path, error: OSError) -> DataError:
    """Return the error for a file that cannot be read."""
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path} is missing; {WAY_OUT}")
    return DataError(f"{path} cannot be read ({error.strerror or error}); {WAY_OUT}")
