"""Reads and writes safetensors files a block at a time. The library makes copies of whole tensors; a puzzle table has gigabytes.

A file is 8 bytes with the length of the header, the header (JSON: name -> dtype, shape, data_offsets), and the data without gaps.
Source: the format's description in the README of huggingface/safetensors.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from hrm_core.config import ModelConfig
from hrm_core.errors import CheckpointError
from hrm_core.messages import reason
from hrm_core.runs.checkpoint import FORMAT, METADATA, WAY_OUT, checksum

from .tensors import FLOATS, AnyArray, Dtype, Tensor, cast_blocks, raw

LENGTH_BYTES = 8
MAX_HEADER_BYTES = 100_000_000  # as the library has it
NO_CHECKSUM = "0" * 8  # stands in the header until the data is written
STORED_NAMES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
DTYPES: dict[str, Dtype] = {STORED_NAMES[name]: dtype for name, dtype in FLOATS.items()} | {
    name: np.dtype(kind)
    for name, kind in {
        "F64": "f8", "I64": "i8", "I32": "i4", "I16": "i2", "I8": "i1", "U64": "u8", "U32": "u4", "U16": "u2", "U8": "u1", "BOOL": "?"
    }.items()
}  # fmt: skip


class SafetensorsFile(NamedTuple):
    """What an open file holds; its tensors can be read as long as it is open."""

    metadata: dict[str, str]
    tensors: dict[str, Tensor]


@contextmanager
def open_safetensors(path: Path) -> Iterator[SafetensorsFile]:
    """Open a file and check that its header describes every byte of it, once.

    Raises: CheckpointError saying what is wrong.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}); {WAY_OUT}") from error
    with file:
        try:
            size = os.fstat(file.fileno()).st_size
            header, data_start = _read_header(file, size)
            metadata = _metadata(header.pop("__metadata__", {}))
            tensors = {
                name: _tensor(file, name, entry, data_start)
                for name, entry in _in_order(header, size - data_start)
            }
        except (ValueError, RecursionError) as error:
            raise CheckpointError(
                f"{path} is damaged or no safetensors file: {reason(error, 200)}; {WAY_OUT}"
            ) from error
        yield SafetensorsFile(metadata, tensors)


def write_model(
    path: Path, config: ModelConfig, task: str, tensors: Mapping[str, Tensor], dtype: Dtype
) -> None:
    """Write a model file as `hrm_core.runs.checkpoint.load_model` reads it. Float32 ones are what `save_model` writes.

    Raises: ConversionError at the first value that is not finite.
    """
    about: dict[str, Any] = {"format": FORMAT, "task": task, "config": config.model_dump()}
    if dtype != FLOATS["float32"]:
        about["dtype"] = dtype.name
    header = _header(about, tensors, dtype, NO_CHECKSUM)
    with path.open("wb") as file:
        file.write(header)
        crc32 = checksum(
            about, ((name, _written(file, name, tensors[name], dtype)) for name in sorted(tensors))
        )
        file.seek(0)
        file.write(_header(about, tensors, dtype, crc32))


def _read_header(file: BinaryIO, size: int) -> tuple[dict[str, Any], int]:
    length = int.from_bytes(file.read(LENGTH_BYTES), "little")
    if size < LENGTH_BYTES or length > min(size - LENGTH_BYTES, MAX_HEADER_BYTES):
        raise ValueError(f"it has {size} bytes, its header should have {length}")
    header = json.loads(file.read(length).decode(), object_pairs_hook=_without_duplicates)
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
    if not isinstance(entry, dict) or not all(isinstance(value, str) for value in entry.values()):
        raise ValueError("its metadata is not text by name")
    return entry


def _in_order(
    header: dict[str, Any], size: int
) -> list[tuple[str, tuple[Dtype, tuple[int, ...], int]]]:
    """The entries in the order of their data. They must cover the data without gap and overlap."""
    entries = sorted(
        ((name, *_entry(name, entry)) for name, entry in header.items()), key=lambda item: item[3:]
    )
    end = 0
    for name, _, _, start, stop in entries:
        if start != end:
            raise ValueError(f"the data of {name} starts at {start}, expected {end}")
        end = stop
    if end != size:
        raise ValueError(f"its header describes {end} bytes of data, it holds {size}")
    return [(name, (dtype, shape, start)) for name, dtype, shape, start, _ in entries]


def _entry(name: str, entry: Any) -> tuple[Dtype, tuple[int, ...], int, int]:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"the entry of {name} is not dtype, shape and data_offsets")
    shape, offsets = entry["shape"], entry["data_offsets"]
    for numbers in (shape, offsets):
        if not isinstance(numbers, list) or not all(
            type(number) is int and number >= 0 for number in numbers
        ):
            raise ValueError(
                f"the entry of {name} has {str(numbers)[:40]} where whole numbers are expected"
            )
    dtype = DTYPES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    if dtype is None:
        raise ValueError(
            f"{name} is stored as {str(entry['dtype'])[:40]}, expected F32, BF16 or F16"
        )
    size = Tensor(tuple(shape), dtype, _unread).size * dtype.itemsize
    if len(offsets) != 2 or offsets[1] - offsets[0] != size:
        raise ValueError(
            f"{name} is {entry['dtype']}{str(shape)[:60]}, {size} bytes, but lies at {str(offsets)[:60]}"
        )
    return dtype, tuple(shape), offsets[0], offsets[1]


def _unread(start: int, stop: int) -> AnyArray:
    raise AssertionError("only the shape is of interest")


def _tensor(
    file: BinaryIO, name: str, entry: tuple[Dtype, tuple[int, ...], int], data_start: int
) -> Tensor:
    dtype, shape, offset = entry
    row_bytes = Tensor(shape[1:], dtype, _unread).size * dtype.itemsize

    def read(start: int, stop: int) -> AnyArray:
        # pread, not a memory map: pages of a map that were read count as memory of this process
        content = os.pread(
            file.fileno(), (stop - start) * row_bytes, data_start + offset + start * row_bytes
        )
        if len(content) != (stop - start) * row_bytes:
            raise CheckpointError(f"{file.name} was changed while {name} was read; {WAY_OUT}")
        return np.frombuffer(content, dtype).reshape(stop - start, *shape[1:])

    return Tensor(shape, dtype, read)


def _header(
    about: Mapping[str, Any], tensors: Mapping[str, Tensor], dtype: Dtype, crc32: str
) -> bytes:
    entries: dict[str, Any] = {"__metadata__": {METADATA: json.dumps({**about, "crc32": crc32})}}
    start = 0
    for name in sorted(tensors):
        stop = start + tensors[name].size * dtype.itemsize
        entries[name] = {
            "dtype": STORED_NAMES[dtype.name],
            "shape": list(tensors[name].shape),
            "data_offsets": [start, stop],
        }
        start = stop
    content = json.dumps(entries, separators=(",", ":")).encode()
    content += b" " * (-len(content) % LENGTH_BYTES)  # the data begins where any dtype may
    return len(content).to_bytes(LENGTH_BYTES, "little") + content


def _written(file: BinaryIO, name: str, tensor: Tensor, dtype: Dtype) -> Iterator[memoryview]:
    """The bytes of a tensor, each block written before it is given."""
    for block in cast_blocks(name, tensor, dtype):
        file.write(raw(block))
        yield raw(block)
