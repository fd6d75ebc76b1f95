"""Read and write safetensors files a block at a time: a puzzle table has gigabytes.

The library makes copies of whole tensors. A file is 8 bytes with the length of the header, the
header (JSON: name -> dtype, shape, data_offsets), and the data without gaps.
Source: the format's description in the README of huggingface/safetensors.
"""

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from hrm_core.config import ModelConfig
from hrm_core.errors import CheckpointError
from hrm_core.files import LFS_POINTER, refuse_pointer
from hrm_core.messages import reason
from hrm_core.runs.checkpoint import METADATA, NO_FILES, WAY_OUT, checksum, describe_model

from .tensors import FLOATS, AnyArray, Dtype, Tensor, cast_blocks, raw

LENGTH_BYTES = 8
MAX_HEADER_BYTES = 100_000_000  # as the library has it
NO_CHECKSUM = "0" * 8  # stands in the header until the data is written
STORED_NAMES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
ENTRY_KEYS = {"dtype", "shape", "data_offsets"}
OTHER_KINDS = {
    "F64": "f8", "I64": "i8", "I32": "i4", "I16": "i2", "I8": "i1",
    "U64": "u8", "U32": "u4", "U16": "u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip
DTYPES: dict[str, Dtype] = {STORED_NAMES[name]: dtype for name, dtype in FLOATS.items()}
DTYPES |= {name: np.dtype(kind) for name, kind in OTHER_KINDS.items()}


class SafetensorsFile(NamedTuple):
    """Content of an open file; its tensors can be read while it is open."""

    metadata: dict[str, str]
    tensors: dict[str, Tensor]


class Entry(NamedTuple):
    """Place of a tensor in the data of a file."""

    name: str
    dtype: Dtype
    shape: tuple[int, ...]
    start: int  # bytes
    stop: int


@contextmanager
def open_safetensors(path: Path) -> Iterator[SafetensorsFile]:
    """Open a file and check that its header describes every byte of it once.

    Raises: CheckpointError describing the damage.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}); {WAY_OUT}") from error
    with file:
        refuse_pointer(path, file.peek(len(LFS_POINTER)), CheckpointError)
        try:
            size = os.fstat(file.fileno()).st_size
            header, data_start = _read_header(file, size)
            metadata = _metadata(header.pop("__metadata__", {}))
            entries = _in_order(header, size - data_start)
            tensors = {entry.name: _tensor(file, entry, data_start) for entry in entries}
        except (ValueError, RecursionError) as error:
            raise CheckpointError(
                f"{path} is damaged or no safetensors file: {reason(error, 200)}; {WAY_OUT}"
            ) from error
        yield SafetensorsFile(metadata, tensors)


def write_model(
    path: Path,
    config: ModelConfig,
    task: str,
    tensors: Mapping[str, Tensor],
    dtype: Dtype,
    files: Mapping[str, str] = NO_FILES,
) -> None:
    """Write a model file that `hrm_core.runs.checkpoint.load_model` reads.

    A float32 one has the bytes that `save_model` writes.

    Raises: ConversionError at the first value that is not finite.
    """
    about = describe_model(config, task, files)
    if dtype != FLOATS["float32"]:
        about["dtype"] = dtype.name
    with path.open("wb") as file:
        file.write(_header(about, tensors, dtype, NO_CHECKSUM))
        # a generator: each block is written when the checksum reads it
        written = ((name, _written(file, name, tensors[name], dtype)) for name in sorted(tensors))
        crc32 = checksum(about, written)
        file.seek(0)
        file.write(_header(about, tensors, dtype, crc32))


def _read_header(file: BinaryIO, size: int) -> tuple[dict[str, Any], int]:
    length = int.from_bytes(file.read(LENGTH_BYTES), "little")
    longest = min(size - LENGTH_BYTES, MAX_HEADER_BYTES)
    if size < LENGTH_BYTES or length > longest:
        raise ValueError(f"it has {size} bytes, its header should have {length}")
    text = file.read(length).decode()
    header = json.loads(text, object_pairs_hook=_without_duplicates)
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object")
    return header, LENGTH_BYTES + length


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"its header names {name} twice")
        found[name] = value
    return found


def _metadata(entry: Any) -> dict[str, str]:
    """Check the metadata of a header. Raises: ValueError."""
    is_text = isinstance(entry, dict) and all(isinstance(value, str) for value in entry.values())
    if not is_text:
        raise ValueError("its metadata is not text by name")
    metadata: dict[str, str] = entry
    return metadata


def _in_order(header: dict[str, Any], size: int) -> list[Entry]:
    """Return the entries in the order of their data.

    Raises: ValueError if they leave a gap, overlap, or do not cover `size` bytes.
    """
    entries = [_entry(name, content) for name, content in header.items()]
    entries.sort(key=lambda entry: (entry.start, entry.stop))
    end = 0
    for entry in entries:
        if entry.start != end:
            raise ValueError(f"the data of {entry.name} starts at {entry.start}, expected {end}")
        end = entry.stop
    if end != size:
        raise ValueError(f"its header describes {end} bytes of data, it holds {size}")
    return entries


def _entry(name: str, content: Any) -> Entry:
    """Check one entry of a header. Raises: ValueError."""
    if not isinstance(content, dict) or content.keys() != ENTRY_KEYS:
        raise ValueError(f"the entry of {name} is not dtype, shape and data_offsets")
    stored = content["dtype"]
    shape = content["shape"]
    offsets = content["data_offsets"]
    for numbers in (shape, offsets):
        if not _are_whole_numbers(numbers):
            found = str(numbers)[:40]
            raise ValueError(f"the entry of {name} has {found} where whole numbers are expected")
    dtype = DTYPES.get(str(stored))
    if dtype is None:
        found = str(stored)[:40]
        raise ValueError(f"{name} is stored as {found}, expected F32, BF16 or F16")
    size = _num_bytes(tuple(shape), dtype)
    if len(offsets) != 2 or offsets[1] - offsets[0] != size:
        kind = f"{stored}{str(shape)[:60]}"
        place = str(offsets)[:60]
        raise ValueError(f"{name} is {kind}, {size} bytes, but lies at {place}")
    start, stop = offsets
    return Entry(name, dtype, tuple(shape), start, stop)


def _num_bytes(shape: tuple[int, ...], dtype: Dtype) -> int:
    """Return the bytes of a tensor, without overflow: a header may claim any shape."""
    return dtype.itemsize * math.prod(shape)


def _are_whole_numbers(numbers: Any) -> bool:
    """Return True for a list of integers that are not negative."""
    if not isinstance(numbers, list):
        return False
    return all(type(number) is int and number >= 0 for number in numbers)


def _tensor(file: BinaryIO, entry: Entry, data_start: int) -> Tensor:
    """Make the tensor of an entry, which reads its rows from the file."""
    row_shape = entry.shape[1:]
    row_bytes = _num_bytes(row_shape, entry.dtype)
    first = data_start + entry.start

    def read(start: int, stop: int) -> AnyArray:
        # pread, not a memory map, whose pages count as memory of this process once read
        num_rows = stop - start
        num_bytes = num_rows * row_bytes
        content = os.pread(file.fileno(), num_bytes, first + start * row_bytes)
        if len(content) != num_bytes:
            raise CheckpointError(f"{file.name} was changed while {entry.name} was read; {WAY_OUT}")
        values = np.frombuffer(content, entry.dtype)
        return values.reshape(num_rows, *row_shape)

    return Tensor(entry.shape, entry.dtype, read)


def _header(
    about: Mapping[str, Any], tensors: Mapping[str, Tensor], dtype: Dtype, crc32: str
) -> bytes:
    described = json.dumps({**about, "crc32": crc32})
    entries: dict[str, Any] = {"__metadata__": {METADATA: described}}
    start = 0
    for name in sorted(tensors):
        tensor = tensors[name]
        stop = start + tensor.size * dtype.itemsize
        entries[name] = {
            "dtype": STORED_NAMES[dtype.name],
            "shape": list(tensor.shape),
            "data_offsets": [start, stop],
        }
        start = stop
    content = json.dumps(entries, separators=(",", ":")).encode()
    content += b" " * (-len(content) % LENGTH_BYTES)  # aligns the data for any dtype
    return len(content).to_bytes(LENGTH_BYTES, "little") + content


def _written(file: BinaryIO, name: str, tensor: Tensor, dtype: Dtype) -> Iterator[memoryview]:
    """Write a tensor block by block and yield the bytes of each."""
    for block in cast_blocks(name, tensor, dtype):
        content = raw(block)
        file.write(content)
        yield content
