"""The reader believes no header: what does not describe the file exactly is refused in one line, before anything is allocated."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hrm_convert.safetensors_file import open_safetensors, write_model
from hrm_convert.tensors import FLOATS, in_memory, of_array
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from hrm_core.errors import CheckpointError
from hrm_core.runs.checkpoint import load_model, save_model

A = np.arange(6, dtype=np.float32).reshape(2, 3)


def file_of(path: Path, header: Any, data: bytes = A.tobytes()) -> Path:
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(content).to_bytes(8, "little") + content + data)
    return path


def entry(dtype: str = "F32", shape: Any = (2, 3), offsets: Any = (0, 24)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def read(path: Path) -> dict[str, Any]:
    with open_safetensors(path) as file:
        return {
            name: in_memory(name, tensor, tensor.dtype) for name, tensor in file.tensors.items()
        }


def test_reads_what_the_library_writes(
    tmp_path: Path, assert_same: Callable[..., None], bits16: Callable[..., Any]
) -> None:
    arrays = {
        "a": A,
        "b": bits16((7, 2)),
        "c": np.array([1.5], np.float16),
        "d": np.zeros((0, 2), np.float32),
    }
    save_file(arrays, tmp_path / "x.safetensors", metadata={"key": "value"})
    assert_same(read(tmp_path / "x.safetensors"), arrays)
    with open_safetensors(tmp_path / "x.safetensors") as file:
        assert file.metadata == {"key": "value"}


def test_writes_the_very_bytes_of_save_model(
    tmp_path: Path, config_of: Any, weights_of: Any
) -> None:
    config = config_of()
    weights = weights_of(config)
    save_model(tmp_path / "one", config, "sudoku", weights)
    write_model(
        tmp_path / "two",
        config,
        "sudoku",
        {name: of_array(array) for name, array in weights.items()},
        FLOATS["float32"],
    )
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_narrow_model_file_loads_as_float32_exactly(
    tmp_path: Path, config_of: Any, weights_of: Any, dtype: str, assert_same: Any
) -> None:
    config = config_of()
    weights = weights_of(config)
    path = tmp_path / "narrow.safetensors"
    write_model(
        path,
        config,
        "sudoku",
        {name: of_array(array) for name, array in weights.items()},
        FLOATS[dtype],
    )
    stored = {name: array.astype(FLOATS[dtype]) for name, array in weights.items()}
    assert_same(load_file(path), stored)
    assert_same(
        load_model(path).weights, {name: array.astype(np.float32) for name, array in stored.items()}
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_flipped_bit_of_a_model_file_is_noticed(
    tmp_path: Path, config_of: Any, weights_of: Any, dtype: str
) -> None:
    config = config_of()
    path = tmp_path / "model.safetensors"
    write_model(
        path,
        config,
        "sudoku",
        {name: of_array(array) for name, array in weights_of(config).items()},
        FLOATS[dtype],
    )
    content = bytearray(path.read_bytes())
    content[-1000] ^= 4
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="its checksum is not the one in its metadata"):
        load_model(path)


def test_model_file_of_another_program_needs_no_checksum_and_may_mix_dtypes(
    tmp_path: Path, config_of: Any, weights_of: Any
) -> None:
    config = config_of()
    weights = weights_of(config)
    mixed = {
        name: array.astype(FLOATS["bfloat16"]) if name.endswith("_init") else array
        for name, array in weights.items()
    }
    about = {"format": "hrm-1", "task": "", "config": config.model_dump()}
    save_file(mixed, tmp_path / "x.safetensors", metadata={"hrm": json.dumps(about)})
    assert load_model(tmp_path / "x.safetensors").weights["H_init"].dtype == np.float32
    save_file(
        mixed,
        tmp_path / "y.safetensors",
        metadata={"hrm": json.dumps({**about, "dtype": "float32"})},
    )
    with pytest.raises(CheckpointError, match=r"H_init is bfloat16\[8\], expected float32\[8\]"):
        load_model(tmp_path / "y.safetensors")


def test_model_file_with_a_dtype_that_numpy_has_not_is_refused(
    tmp_path: Path, config_of: Any
) -> None:
    about = {"format": "hrm-1", "task": "", "config": config_of().model_dump()}
    file_of(
        tmp_path / "x", {"__metadata__": {"hrm": json.dumps(about)}, "a": entry("F8_E4M3", (24,))}
    )
    with pytest.raises(CheckpointError, match="cannot be read as safetensors"):
        load_model(tmp_path / "x")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"", "damaged or no safetensors file"),
        (b"[]", "no JSON object"),
        (b"{", "damaged"),
        (b"\xff{}", "damaged"),
        (b"[" * 200_000, "damaged"),
        (b'{"a": ' + b"9" * 5000 + b"}", "damaged"),
        ({"a": 3}, "entry of a is not dtype, shape and data_offsets"),
        ({"a": {**entry(), "more": 1}}, "entry of a is not dtype, shape and data_offsets"),
        ({"a": entry(shape=(2, -3))}, "where whole numbers are expected"),
        ({"a": entry(shape=(True, 3))}, "where whole numbers are expected"),
        ({"a": entry(shape=(2.0, 3))}, "where whole numbers are expected"),
        ({"a": entry(dtype="F8_E4M3")}, "a is stored as F8_E4M3, expected F32, BF16 or F16"),
        ({"a": {**entry(), "dtype": ["F32"]}}, "expected F32, BF16 or F16"),
        ({"a": entry(offsets=(0, 20))}, r"a is F32\[2, 3\], 24 bytes, but lies at \[0, 20\]"),
        ({"a": entry(offsets=(0, 24, 48))}, "but lies at"),
        ({"a": entry(shape=(10**6, 10**6), offsets=(0, 4 * 10**12))}, "describes 4000000000000 bytes of data, it holds 24"),
        ({"a": entry(shape=(2**62, 2**62))}, "but lies at"),
        ({"a": entry(shape=(2, 2), offsets=(8, 24))}, "data of a starts at 8, expected 0"),
        ({"a": entry(shape=(5,), offsets=(0, 20))}, "describes 20 bytes of data, it holds 24"),
        ({"a": entry(), "b": entry(shape=(1,), offsets=(20, 24))}, "data of b starts at 20, expected 24"),
        (b'{"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, "a": 1}', "names a twice"),
        ({"__metadata__": {"a": 1}, "a": entry()}, "metadata is not text by name"),
        ({"__metadata__": [], "a": entry()}, "metadata is not text by name"),
    ],
)  # fmt: skip
def test_header_that_lies_is_refused(tmp_path: Path, header: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as refused:
        read(file_of(tmp_path / "x.safetensors", header))
    assert "\n" not in str(refused.value)
    assert str(tmp_path) in str(refused.value)


@pytest.mark.parametrize("length", [2**63, 2**40, 25])
def test_header_longer_than_the_file_is_refused(tmp_path: Path, length: int) -> None:
    (tmp_path / "x").write_bytes(length.to_bytes(8, "little") + b"{}" + bytes(22))
    with pytest.raises(CheckpointError, match=rf"its header should have {length}"):
        read(tmp_path / "x")


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "nope", tmp_path):
        with pytest.raises(CheckpointError, match="cannot be read"):
            read(path)


def test_file_cut_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    path = file_of(tmp_path / "x", {"a": entry()})
    with open_safetensors(path) as file:
        path.write_bytes(path.read_bytes()[:-4])
        with pytest.raises(CheckpointError, match="was changed while a was read"):
            file.tensors["a"].read(0, 2)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(data=st.data())
def test_damaged_file_is_refused_or_read_as_the_library_does(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.safetensors"
    save_file({"a": A, "b": A.astype(np.float16)}, path, metadata={"key": "value"})
    content = bytearray(path.read_bytes())
    header = int.from_bytes(content[:8], "little") + 8
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, header))] = data.draw(
            st.integers(0, 255) | st.sampled_from(list(b'0123456789[]{}",:FBI'))
        )
    path.write_bytes(content[: data.draw(st.none() | st.integers(0, len(content)))])
    try:
        found = read(path)
    except CheckpointError:
        return
    with safe_open(path, "numpy") as file:  # what we take, the library takes, and as the same
        names = list(file.keys())
        taken = {name: file.get_tensor(name).tobytes() for name in names}
    assert taken == {name: array.tobytes() for name, array in found.items()}
