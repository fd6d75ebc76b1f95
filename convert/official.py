"""Published weights: a state dict that torch has pickled into a zip archive. The one file here that needs torch.

Torch reads it with weights_only=True: what is not tensors and plain containers is refused before anything is called. The
archive's own checksums are looked at first, because torch maps the file into memory without reading them.
"""

import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hrm_core.config import ModelConfig
from hrm_core.errors import CheckpointError, needs_package
from hrm_core.messages import one_line, reason
from hrm_core.parameters import Role, parameter_table
from hrm_core.runs.checkpoint import WAY_OUT

from .names import published_name
from .tensors import FLOAT32, FLOATS, AnyArray, Tensor, first_bytes, in_memory

if TYPE_CHECKING:
    import torch

ARCHIVE = b"PK\x03\x04"
MAPPED_BYTES = (
    1 << 28
)  # read of one mapping before it is let go: pages that were read count as memory of this process
LEAST_READ = 1 << 16  # the system maps that much around any byte


class OfficialWeights:
    """The tensors of a state dict, read when they are asked for."""

    def __init__(self, path: Path) -> None:
        """Open a state dict. Raises: BackendError without torch; CheckpointError if it is damaged or holds anything else."""
        self.path = path
        require_torch()
        _check_archive(path)
        self._touched = 0
        self._state = _load(path)
        self.tensors: dict[str, Tensor] = {}
        self.strange: dict[
            str, str
        ] = {}  # name -> what was found where float32, bfloat16 or float16 is expected
        for name, value in self._state.items():
            if (found := _strangeness(value)) is not None:
                self.strange[name] = found
            else:
                self.tensors[name] = Tensor(
                    tuple(value.shape), FLOATS[_dtype_name(value)], self._reader(name)
                )

    def _reader(self, name: str) -> Any:
        def read(start: int, stop: int) -> AnyArray:
            if self._touched > MAPPED_BYTES:
                self._state, self._touched = {}, 0  # unmapped first
                self._state = _load(self.path)
            rows = self._state[name][start:stop]
            self._touched += max(LEAST_READ, rows.numel() * rows.element_size())
            return _to_numpy(rows).copy()

        return read


def write_official(path: Path, config: ModelConfig, tensors: Mapping[str, Tensor]) -> None:
    """Write a state dict as published runs do: weights in float32, the initial states in forward_dtype.

    Raises: BackendError without torch; ConversionError at the first value that is not finite; OSError if the disk is full.
    """
    torch = require_torch()
    state = {}
    for name, parameter in parameter_table(config).items():
        # published evaluation takes tensors over as they are, and its states start from these: they must have their dtype
        dtype = FLOATS[config.forward_dtype] if parameter.role is Role.CONSTANT else FLOAT32
        tensor = torch.empty(tensors[name].shape, dtype=getattr(torch, dtype.name))
        in_memory(name, tensors[name], dtype, into=_to_numpy(tensor))
        state[published_name(name)] = tensor
    try:
        torch.save(state, path)
    except RuntimeError as error:  # torch's writer gives no other
        raise OSError(reason(error)) from error


def require_torch() -> Any:
    """The torch package. Raises: BackendError if it is not installed."""
    missing = (
        "torch is not installed, and published checkpoints are files of torch; "
        "pip install 'hrm-mlx[torch]', or choose --to safetensors"
    )
    with needs_package("torch", missing):
        import torch
    return torch


def _check_archive(path: Path) -> None:
    """Refuse what is no whole archive of plain entries.

    Raises: CheckpointError.
    """
    if first_bytes(path, len(ARCHIVE)) != ARCHIVE:
        raise CheckpointError(
            f"{path} is no archive of torch.save; expected a published checkpoint, nothing in it was executed"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            names = [entry.filename for entry in entries]
            packed = [
                entry.filename
                for entry in entries
                if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1
            ]
            damaged = None if packed else archive.testzip()
    except Exception as error:  # zipfile raises whatever a damaged directory leads it to
        raise CheckpointError(
            f"{path} is cut short or damaged ({reason(error, 80)}); {WAY_OUT}"
        ) from error
    if damaged:
        raise CheckpointError(f"{path} is damaged: the checksum of {damaged} is wrong; {WAY_OUT}")
    if packed or len(set(names)) < len(names):
        what = f"{packed[0]} is compressed" if packed else "it has two entries of one name"
        raise CheckpointError(f"{path} was not written by torch.save: {what}; {WAY_OUT}")


def _load(path: Path) -> "dict[str, torch.Tensor]":
    torch = require_torch()
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than tensors ({_refused(error)}); refused, nothing in it was executed"
        ) from error
    except Exception as error:  # torch raises whatever a damaged pickle leads it to
        raise CheckpointError(
            f"{path} cannot be read as a state dict ({_refused(error)}); {WAY_OUT}"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise CheckpointError(f"{path} holds a {type(state).__name__}, expected tensors by name")
    return state


def _refused(error: Exception) -> str:
    """What torch objected to, without its advice to load the file in another way."""
    text = str(error).partition("Check the documentation")[0]
    if called := re.search(r"GLOBAL ([\w.]+)", text):
        return f"it calls {called[1][:80]}"
    why = text.rpartition("WeightsUnpickler error: ")[2].strip().rpartition("\n\n")[2]
    return one_line(why)[:120] or type(error).__name__


def _strangeness(value: Any) -> str | None:
    """What an entry is if it is no plain tensor of floats that lies in the file."""
    import torch

    if not isinstance(value, torch.Tensor):
        return type(value).__name__
    if value.device.type != "cpu" or value.layout != torch.strided or value.is_quantized:
        return f"a {value.layout} tensor on {value.device}"
    if _dtype_name(value) not in FLOATS:
        return f"{_dtype_name(value)}{list(value.shape)}"
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        return f"{_dtype_name(value)}{list(value.shape)}, more than the file holds"
    return None


def _dtype_name(tensor: "torch.Tensor") -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _to_numpy(tensor: "torch.Tensor") -> AnyArray:
    """The values of a tensor, shared with it where it is contiguous."""
    import torch

    tensor = tensor.detach().contiguous()
    if tensor.dtype is torch.bfloat16:  # numpy has none
        return tensor.view(torch.int16).numpy().view(FLOATS["bfloat16"])
    array: AnyArray = tensor.numpy()
    return array
