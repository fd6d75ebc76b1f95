"""Tensors that are read a block of rows at a time, so that tables larger than memory are converted.

Shapes: (R, ...), R rows of the first axis; a block is (at most R, ...).
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from hrm_core.errors import CheckpointError, HRMError
from hrm_core.runs.checkpoint import WAY_OUT

AnyArray = npt.NDArray[Any]
Dtype = np.dtype[Any]
Read = Callable[[int, int], AnyArray]

FLOAT32 = np.dtype(np.float32)
FLOATS: dict[str, Dtype] = {
    "float32": FLOAT32,
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float16": np.dtype(np.float16),
}
WIDE = np.dtype(np.float64)  # is read, and always cast
READABLE: dict[str, Dtype] = {**FLOATS, WIDE.name: WIDE}
LARGEST = {"float32": 3.4e38, "bfloat16": 3.39e38, "float16": 65504.0}
BLOCK_BYTES = 1 << 22  # of float32: size of a block in memory


class ConversionError(HRMError):
    """A conversion that cannot be made as requested."""


@dataclass(frozen=True, eq=False)
class Tensor:
    """Shape, dtype, and a function that reads the rows `start` to `stop`."""

    shape: tuple[int, ...]
    dtype: Dtype
    read: Read

    @property
    def size(self) -> int:
        """Return the number of elements, without overflow: a header may claim any shape."""
        return math.prod(self.shape)

    def blocks(self) -> Iterator[AnyArray]:
        """Read all rows in order, a few MB at a time."""
        if not self.size:
            return
        rows = self.shape[0]
        row_bytes = self.size // rows * FLOAT32.itemsize
        step = max(1, BLOCK_BYTES // row_bytes)
        for start in range(0, rows, step):
            yield self.read(start, min(start + step, rows))


def first_bytes(path: Path, count: int) -> bytes:
    """Read the first bytes of a file. Raises: CheckpointError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}); {WAY_OUT}") from error


def of_array(array: AnyArray) -> Tensor:
    """Make a tensor of an array in memory."""
    return Tensor(array.shape, array.dtype, lambda start, stop: array[start:stop])


def cast_blocks(name: str, tensor: Tensor, dtype: Dtype) -> Iterator[AnyArray]:
    """Read the blocks of a tensor in another dtype, rounded to nearest if it is a narrower one.

    Raises: ConversionError at the first value that is not finite, or too large for the dtype.
    """
    start = 0
    for block in tensor.blocks():
        cast = block
        if block.dtype != dtype:
            with np.errstate(over="ignore", invalid="ignore"):  # checked below
                cast = block.astype(dtype)
        if not np.isfinite(cast).all():
            raise _not_finite(name, start, block, cast)
        yield np.ascontiguousarray(cast)
        start += len(block)


def in_memory(name: str, tensor: Tensor, dtype: Dtype, into: AnyArray | None = None) -> AnyArray:
    """Read a whole tensor in another dtype, block by block.

    Raises: ConversionError as `cast_blocks` does.
    """
    whole = np.empty(tensor.shape, dtype) if into is None else into
    start = 0
    for block in cast_blocks(name, tensor, dtype):
        whole[start : start + len(block)] = block
        start += len(block)
    return whole


def raw(block: AnyArray) -> memoryview:
    """Return the bytes of a contiguous block; numpy gives no buffer of a bfloat16 array itself."""
    return block.reshape(-1).view(np.uint8).data


def _not_finite(name: str, start: int, block: AnyArray, cast: AnyArray) -> ConversionError:
    row, *columns = np.argwhere(~np.isfinite(cast))[0].tolist()
    value = float(block[(row, *columns)])
    where = f"{name} holds {value:g} at {[start + row, *columns]}"
    if np.isfinite(value):
        largest = LARGEST[cast.dtype.name]
        way_out = "choose --dtype float32"
        if cast.dtype == FLOAT32:
            way_out = "use another checkpoint"
        return ConversionError(f"{where}, more than {cast.dtype} can hold ({largest:g}); {way_out}")
    return ConversionError(
        f"{where}, expected finite weights; use a checkpoint from before training diverged"
    )
