"""Write and read checkpoints: folders of safetensors and JSON that are complete or absent.

update_00000400/  model.safetensors        canonical names, float32; config in its metadata
                  train_state.safetensors  moments, carry and the data it works on
                  state.json               update, position in the data, metrics, sha256 of the
                                           two others and of itself

model.safetensors is usable alone. A converted checkpoint holds a model and a state.json that says
so; it cannot be resumed.
"""

import hashlib
import json
import shutil
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from hrm_core.backend import AnyArray, Arrays
from hrm_core.config import ModelConfig, validated
from hrm_core.errors import CheckpointError, ConfigError, RunError
from hrm_core.files import Refusal, check_exists, follow_umask, is_folder, remove_leftovers, staged
from hrm_core.messages import first_misfits, reason
from hrm_core.parameters import parameter_table
from hrm_core.runs.foreign import refuse_foreign
from hrm_core.runs.shipped import known_names

MODEL_FILE = "model.safetensors"
TRAIN_STATE_FILE = "train_state.safetensors"
STATE_FILE = "state.json"
CHECKPOINTS = "checkpoints"  # of a run, a folder each
FORMAT = "hrm-1"
METADATA = "hrm"  # entry of a model file's metadata; JSON with the keys below and the checksum
ABOUT_KEYS = {
    "format",
    "task",
    "config",
    "dtype",
    "files",
}  # the last two only where they are needed
CONVERTED = "converted"  # entry of state.json: the source of a converted checkpoint
STORED_DTYPES = ("float32", "bfloat16", "float16")  # all of them are float32 once they are loaded
WAY_OUT = "use another checkpoint or copy it again"
NO_FILES: Mapping[str, str] = MappingProxyType({})
Result = TypeVar("Result")
IN_USE = Refusal(RunError, "choose another --run")


@dataclass(frozen=True, eq=False)
class Model:
    """Weights that are usable alone."""

    config: ModelConfig
    task: str
    weights: Arrays
    source: Path
    crc32: str
    files: Mapping[str, str] = field(default_factory=dict)  # contents of those that the task needs


def save_model(
    path: Path, config: ModelConfig, task: str, weights: Arrays, files: Mapping[str, str] = NO_FILES
) -> None:
    """Write weights with their config, files of the task and a checksum into one safetensors file."""
    tensors = {name: np.ascontiguousarray(array) for name, array in weights.items()}
    about = describe_model(config, task, files)
    about_and_checksum = {**about, "crc32": _checksum(about, tensors)}
    # One entry: the order of several differs from process to process, and with it the file
    save_file(tensors, path, metadata={METADATA: json.dumps(about_and_checksum)})
    follow_umask(path)


def describe_model(
    config: ModelConfig, task: str, files: Mapping[str, str] = NO_FILES
) -> dict[str, Any]:
    """Return the metadata of a model file, without its checksum."""
    about: dict[str, Any] = {"format": FORMAT, "task": task, "config": config.model_dump()}
    return {**about, "files": dict(files)} if files else about


def load_model(path: Path) -> Model:
    """Read a model file, check it against its checksum and weight table, and return float32 weights.

    bfloat16 and float16 weights are cast to float32.

    Raises: CheckpointError if it is damaged, or naming the tensors that do not fit its config.
    """
    about, config, crc32 = parse_metadata(_read_metadata(path), path)
    stored = _load_tensors(path)
    dtypes = stored_dtypes(about, crc32)
    weights = dict(stored)
    for name, array in stored.items():
        if array.dtype.name in dtypes:
            weights[name] = array.astype(np.float32, copy=False)
    check_weights(weights, config, str(path))
    found = _checksum(about, stored)
    if crc32 not in (None, found):
        raise CheckpointError(
            f"{path} is damaged: its checksum is not the one in its metadata; {WAY_OUT}"
        )
    return Model(config, about["task"], weights, path, found, about.get("files", NO_FILES))


def parse_metadata(
    metadata: Mapping[str, str], path: Path
) -> tuple[dict[str, Any], ModelConfig, str | None]:
    """Read the metadata of a model file.

    Returns: all of it but the checksum, the config in it, and the checksum or None.

    Raises: CheckpointError if it is damaged, or not written by hrm.
    """
    try:
        about = json.loads(metadata.get(METADATA, "{}"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path} holds metadata that is damaged ({reason(error)}); {WAY_OUT}"
        ) from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} holds no HRM config in its metadata; expected a model written by hrm, "
            "which hrm convert makes of published weights"
        )
    crc32 = about.pop("crc32", None)  # files that others wrote have none
    has_keys = {"task", "config"} <= about.keys() <= ABOUT_KEYS
    files = about.get("files", {})
    are_texts = isinstance(files, dict) and all(isinstance(text, str) for text in files.values())
    if not has_keys or not isinstance(about["task"], str) or not are_texts:
        found = ", ".join(about)[:120]
        raise CheckpointError(
            f"{path} holds a config that is damaged: found {found} around it; {WAY_OUT}"
        )
    try:
        return about, validated(ModelConfig, about["config"], str(path)), crc32
    except ConfigError as error:
        raise CheckpointError(
            f"{path} holds a config that is damaged ({reason(error)}); {WAY_OUT}"
        ) from error


def stored_dtypes(about: Mapping[str, Any], crc32: str | None) -> tuple[str, ...]:
    """Return the dtypes that the tensors of a model file may have.

    The one that its metadata names, or any for a file that others wrote.
    """
    if crc32 is None and "dtype" not in about:
        return STORED_DTYPES
    return (str(about.get("dtype", "float32")),)


def check_weights(weights: Arrays, config: ModelConfig, source: str) -> None:
    """Refuse weights that are not exactly those of the weight table.

    Raises: CheckpointError naming the first misfits.
    """
    table = parameter_table(config)
    misfits = [f"{name} is missing" for name in table.keys() - weights.keys()]
    misfits += [f"{name} is unknown" for name in weights.keys() - table.keys()]
    for name in table.keys() & weights.keys():
        found, shape = weights[name], table[name].shape
        if found.shape != shape or found.dtype != np.float32:
            kind = f"{found.dtype}{list(found.shape)}"
            misfits.append(f"{name} is {kind}, expected float32{list(shape)}")
    if misfits:
        raise CheckpointError(
            f"{source} holds weights of another model: {first_misfits(sorted(misfits))}; {WAY_OUT}"
        )


def write_checkpoint(
    folder: Path,
    config: ModelConfig,
    task: str,
    weights: Arrays,
    train_state: Arrays,
    state: Mapping[str, Any],
    files: Mapping[str, str] = NO_FILES,
) -> None:
    """Write a checkpoint into a temporary sibling, flush it to disk, and rename it.

    Raises: RunError if the disk is full or cannot be written; then nothing is left behind.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        remove_killed(folder.parent)
        with staged(folder, IN_USE, replace=True, durable=True) as draft:
            draft.mkdir()
            save_model(draft / MODEL_FILE, config, task, weights, files)
            _save_train_state(draft / TRAIN_STATE_FILE, train_state)
            write_state(draft, state)
    except (OSError, SafetensorError) as error:
        raise RunError(
            f"{folder} was not written ({reason(error)}); make room, then --resume"
        ) from error


def remove_killed(checkpoints: Path) -> None:
    """Remove the drafts of processes that were killed while they wrote a checkpoint."""
    remove_leftovers(checkpoints, only_finished=False)
    for leftover in checkpoints.glob(".update_*[0-9].*"):
        of_earlier_version = leftover.suffix in (".partial", ".replaced")
        if of_earlier_version and is_folder(leftover):
            shutil.rmtree(leftover, ignore_errors=True)


def write_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Write state.json with the hashes of the files in a folder, which makes it a checkpoint."""
    content = {**state, "format": FORMAT}
    hashed = {**content, "sha256": _hashes(folder, content)}
    (folder / STATE_FILE).write_text(json.dumps(hashed))


def read_state(folder: Path) -> dict[str, Any]:
    """Read state.json and compare the hashes in it with those of the files.

    Raises: CheckpointError naming the damaged file.
    """
    path = folder / STATE_FILE
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        expected = state.pop("sha256")
        found = _hashes(folder, state)
        damaged = [name for name, sha256 in found.items() if sha256 != expected[name]]
    except OSError as error:
        raise CheckpointError(
            f"{error.filename} cannot be read ({error.strerror}); {WAY_OUT}"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged; {WAY_OUT}") from error
    if damaged:
        raise CheckpointError(
            f"{folder / damaged[0]} is damaged: "
            f"its sha256 is not the one in {STATE_FILE}; {WAY_OUT}"
        )
    return dict(state)


def read_train_state(folder: Path) -> dict[str, AnyArray]:
    """Read optimizer state, carry and its data.

    Raises: CheckpointError if they are damaged, or the checkpoint was converted and has none.
    """
    path = folder / TRAIN_STATE_FILE
    if not path.exists() and CONVERTED in read_state(folder):
        raise CheckpointError(
            f"{folder} was converted and holds no optimizer state, so it cannot be resumed; "
            "start from it with --init"
        )
    return _load_tensors(path)


def checkpoint_name(update: int) -> str:
    """Return the folder name of the checkpoint after an update."""
    return f"update_{update:08d}"


def newest_first(checkpoints: Path) -> list[Path]:
    """List the checkpoints in a folder, the one after the most updates first."""
    return sorted(checkpoints.glob("update_*[0-9]"), reverse=True)


def read_newest(
    checkpoints: Path,
    read: Callable[[Path], Result],
    warn: Callable[[str], None],
    way_out: str = WAY_OUT,
) -> Result | None:
    """Read the newest whole checkpoint; None if there is no checkpoint.

    `read` is called with its folder and raises CheckpointError if it is damaged; `warn` receives a
    message for each damaged one. The run may save and prune meanwhile: a checkpoint that was
    removed or replaced while it was read is not damaged, and the folder is listed again.

    Raises: CheckpointError if there are checkpoints and none is whole.
    """
    damaged: set[Path] = set()
    while True:
        folders = newest_first(checkpoints)
        folder = next((folder for folder in folders if folder not in damaged), None)
        if folder is None:
            break
        before = _version_of(folder)
        try:
            return read(folder)
        except CheckpointError as error:
            if before is not None and _version_of(folder) == before:
                damaged.add(folder)
                warn(f"skipped a damaged checkpoint: {error}")
    if folders:
        raise CheckpointError(
            f"none of the {len(folders)} checkpoints in {checkpoints} is whole; {way_out}"
        )
    return None


def open_model(path: Path, warn: Callable[[str], None] = lambda message: None) -> Model:
    """Load the model of a run, a checkpoint folder or a file; of a run, the newest whole one.

    `warn` receives a message for each damaged checkpoint. Raises: CheckpointError if there is none,
    with the command that converts a published checkpoint.
    """
    return _read_model(path, load_model, warn)


def find_model(path: Path, warn: Callable[[str], None] = lambda message: None) -> Path:
    """Find the model file that `open_model` would load; a run that is trained may remove it."""
    return _read_model(path, lambda file: file, warn)


def _read_model(path: Path, read: Callable[[Path], Result], warn: Callable[[str], None]) -> Result:
    def read_whole(folder: Path) -> Result:
        read_state(folder)
        return read(folder / MODEL_FILE)

    if (path / MODEL_FILE).is_file():
        return read_whole(path)
    refuse_foreign(path)
    if path.is_file():
        return read(path)
    newest = read_newest(path / CHECKPOINTS, read_whole, warn)
    if newest is not None:
        return newest
    expected = "expected a run with checkpoints, a checkpoint folder or a .safetensors file"
    check_exists(path, Refusal(CheckpointError, f"{expected}{known_names()}"))
    raise CheckpointError(f"{path} is no model: {expected}")


def _version_of(folder: Path) -> tuple[int, int] | None:
    """Return what tells a folder from one that replaced it, or lost a file; None if it is gone."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _save_train_state(path: Path, train_state: Arrays) -> None:
    arrays = {name: np.ascontiguousarray(array) for name, array in train_state.items()}
    save_file(arrays, path)
    follow_umask(path)


def _read_metadata(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, "numpy") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(
            f"{path} cannot be read as safetensors ({reason(error)}); {WAY_OUT}"
        ) from error


def _load_tensors(path: Path) -> dict[str, AnyArray]:
    # a dtype that numpy lacks is an AttributeError or a KeyError
    errors = (OSError, SafetensorError, ValueError, AttributeError, KeyError)
    try:
        return load_file(path)
    except errors as error:
        raise CheckpointError(
            f"{path} cannot be read as safetensors ({reason(error)}); {WAY_OUT}"
        ) from error


def checksum(about: Mapping[str, Any], tensors: Iterable[tuple[str, Iterable[memoryview]]]) -> str:
    """Compute the CRC-32 of a model, hex. The tensors come by name, each in any number of parts."""
    total = zlib.crc32(json.dumps(about, sort_keys=True).encode())
    for name, parts in tensors:
        total = zlib.crc32(name.encode(), total)
        for part in parts:
            total = zlib.crc32(part, total)
    return f"{total:08x}"


def _checksum(about: Mapping[str, Any], tensors: Arrays) -> str:
    named_bytes = []
    for name in sorted(tensors):
        content = tensors[name].reshape(-1).view(np.uint8)
        named_bytes.append((name, [content.data]))
    return checksum(about, named_bytes)


def _hashes(folder: Path, state: Mapping[str, Any]) -> dict[str, str]:
    """Compute the sha256, hex, of each file of a checkpoint; of state.json its other entries."""
    content = json.dumps(state, sort_keys=True).encode()
    hashes = {STATE_FILE: hashlib.sha256(content).hexdigest()}
    names = [MODEL_FILE] if CONVERTED in state else [MODEL_FILE, TRAIN_STATE_FILE]
    for name in names:
        with (folder / name).open("rb") as file:
            hashes[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes
