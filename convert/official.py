"""Read and write published weights: a state dict pickled by torch into a zip archive.

This is the only file of the package that needs torch. Torch reads with weights_only=True: anything
but tensors and plain containers is refused before it is called. The archive's own checksums are
checked first, because torch maps the file into memory without reading them.
"""

import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hrm_core.config import ModelConfig
from hrm_core.errors import CheckpointError, needs_package
from hrm_core.files import LFS_POINTER, refuse_pointer
from hrm_core.messages import first_few, one_line, reason
from hrm_core.parameters import Role, parameter_table
from hrm_core.runs.checkpoint import WAY_OUT

from .names import canonical_name, published_name
from .tensors import FLOAT32, FLOATS, READABLE, AnyArray, Tensor, first_bytes, in_memory

if TYPE_CHECKING:
    import torch

HEADS = ("lm_head.weight", "q_head.weight")  # one of them makes a state dict a network
MAX_DEPTH = 2  # dicts around a state dict
ARCHIVE = b"PK\x03\x04"
# Bytes to read from one mapping before it is replaced: its pages count as memory of this process
MAPPED_BYTES = 1 << 28
LEAST_READ = 1 << 16  # the system maps this much around any byte


class OfficialWeights:
    """The tensors of a state dict, read when they are asked for."""

    def __init__(self, path: Path) -> None:
        """Open a state dict.

        Raises: BackendError without torch; CheckpointError if it is damaged or holds anything else.
        """
        self.path = path
        require_torch()
        _check_archive(path)
        self._touched = 0
        content = _load(path)
        self._place = _place_of_tensors(content, path)
        self._state = _entry(content, self._place)
        self.notes = _notes(content, self._place)
        self.tensors: dict[str, Tensor] = {}
        self.strange: dict[str, str] = {}  # name -> a description of anything but plain floats
        for name, value in self._state.items():
            found = _strangeness(value)
            if found is not None:
                self.strange[name] = found
                continue
            dtype = READABLE[_dtype_name(value)]
            self.tensors[name] = Tensor(tuple(value.shape), dtype, self._reader(name))

    def _reader(self, name: str) -> Any:
        def read(start: int, stop: int) -> AnyArray:
            if self._touched > MAPPED_BYTES:
                self._state, self._touched = {}, 0  # unmapped first
                self._state = _entry(_load(self.path), self._place)
            rows = self._state[name][start:stop]
            self._touched += max(LEAST_READ, rows.numel() * rows.element_size())
            return _to_numpy(rows).copy()

        return read


def write_official(path: Path, config: ModelConfig, tensors: Mapping[str, Tensor]) -> None:
    """Write a state dict as published runs do: float32 weights, initial states in forward_dtype.

    Raises: BackendError without torch; ConversionError at the first value that is not finite;
    OSError if the disk is full.
    """
    torch = require_torch()
    state = {}
    for name, parameter in parameter_table(config).items():
        dtype = FLOAT32
        if parameter.role is Role.CONSTANT:  # published evaluation does not cast them
            dtype = FLOATS[config.forward_dtype]
        torch_dtype = getattr(torch, dtype.name)
        tensor = torch.empty(parameter.shape, dtype=torch_dtype)
        in_memory(name, tensors[name], dtype, into=_to_numpy(tensor))
        state[published_name(name)] = tensor
    try:
        torch.save(state, path)
    except RuntimeError as error:  # the only error of torch's writer
        raise OSError(reason(error)) from error


def require_torch() -> Any:
    """Import torch. Raises: BackendError if it is not installed."""
    missing = (
        "torch is not installed, and published checkpoints are files of torch; "
        "choose --to safetensors, or install it"
    )
    with needs_package("torch", missing, "torch"):
        import torch
    return torch


def _check_archive(path: Path) -> None:
    """Refuse a file that is not a whole archive of plain entries.

    Raises: CheckpointError.
    """
    start = first_bytes(path, len(LFS_POINTER))
    refuse_pointer(path, start, CheckpointError)
    if not start.startswith(ARCHIVE):
        raise CheckpointError(
            f"{path} is no archive of torch.save; "
            "expected a published checkpoint, nothing in it was executed"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            names = [entry.filename for entry in entries]
            packed = [entry.filename for entry in entries if _is_packed(entry)]
            damaged = None if packed else archive.testzip()
    except Exception as error:  # a damaged directory makes zipfile raise anything
        raise CheckpointError(
            f"{path} is cut short or damaged ({reason(error, 80)}); {WAY_OUT}"
        ) from error
    if damaged:
        raise CheckpointError(f"{path} is damaged: the checksum of {damaged} is wrong; {WAY_OUT}")
    if packed or len(set(names)) < len(names):
        what = f"{packed[0]} is compressed" if packed else "it has two entries of one name"
        raise CheckpointError(f"{path} was not written by torch.save: {what}; {WAY_OUT}")


def _is_packed(entry: zipfile.ZipInfo) -> bool:
    """Return True for an entry that is compressed or encrypted."""
    return entry.compress_type != zipfile.ZIP_STORED or bool(entry.flag_bits & 1)


def _load(path: Path) -> dict[str, Any]:
    """Map the tensors of a file into memory. Raises: CheckpointError."""
    torch = require_torch()
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than tensors ({_refused(error)}); "
            "refused, nothing in it was executed"
        ) from error
    except Exception as error:  # a damaged pickle makes torch raise anything
        raise CheckpointError(
            f"{path} cannot be read as a state dict ({_refused(error)}); {WAY_OUT}"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise CheckpointError(f"{path} holds a {type(state).__name__}, expected tensors by name")
    return state


def _place_of_tensors(content: dict[str, Any], path: Path) -> tuple[str, ...]:
    """Find the state dict of a network in what training saved with it: keys that lead to it.

    Raises: CheckpointError if there are several.
    """
    places = [place for place, state in _state_dicts(content) if _is_network(state)]
    if len(places) > 1 and places[0]:
        named = " and ".join(".".join(place) for place in places)
        raise CheckpointError(f"{path} holds several networks, {named}; save one of them alone")
    return places[0] if places else ()


def _state_dicts(
    content: dict[str, Any], place: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Yield every dict by names in a file, from the outside in, and the keys that lead to it."""
    yield place, content
    if len(place) == MAX_DEPTH:
        return
    for key, value in content.items():
        if isinstance(value, dict) and all(isinstance(name, str) for name in value):
            yield from _state_dicts(value, (*place, key))


def _is_network(state: dict[str, Any]) -> bool:
    """Return True for a dict that holds tensors of a network with a head."""
    import torch

    heads = [value for name, value in state.items() if canonical_name(name) in HEADS]
    return any(isinstance(value, torch.Tensor) for value in heads)


def _entry(content: dict[str, Any], place: Sequence[str]) -> dict[str, Any]:
    for key in place:
        content = content[key]
    return content


def _notes(content: dict[str, Any], place: Sequence[str]) -> list[str]:
    """Say which entry of a file the tensors were read from, and what was left out."""
    if not place:
        return []
    others = sorted(set(content) - {place[0]})
    left_out = f"; {first_few(others)} beside it were left out" if others else ""
    return [f"the tensors were read from the entry {'.'.join(place)} of the file{left_out}"]


def _refused(error: Exception) -> str:
    """Return torch's objection without its advice to load the file in another way."""
    text = str(error).partition("Check the documentation")[0]
    if called := re.search(r"GLOBAL ([\w.]+)", text):
        return f"it calls {called[1][:80]}"
    why = text.rpartition("WeightsUnpickler error: ")[2].strip().rpartition("\n\n")[2]
    return one_line(why)[:120] or type(error).__name__


def _strangeness(value: Any) -> str | None:
    """Describe an entry that is not a plain tensor of floats in the file; None for one that is."""
    import torch

    if not isinstance(value, torch.Tensor):
        return type(value).__name__
    if value.device.type != "cpu" or value.layout != torch.strided or value.is_quantized:
        return f"a {value.layout} tensor on {value.device}"
    kind = f"{_dtype_name(value)}{list(value.shape)}"
    if _dtype_name(value) not in READABLE:
        return kind
    num_bytes = value.numel() * value.element_size()
    if num_bytes > value.untyped_storage().nbytes():
        return f"{kind}, more than the file holds"
    return None


def _dtype_name(tensor: "torch.Tensor") -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _to_numpy(tensor: "torch.Tensor") -> AnyArray:
    """Return the values of a tensor; they share its memory if it is contiguous."""
    import torch

    tensor = tensor.detach().contiguous()
    if tensor.dtype is torch.bfloat16:  # numpy lacks it
        return tensor.view(torch.int16).numpy().view(FLOATS["bfloat16"])
    array: AnyArray = tensor.numpy()
    return array
