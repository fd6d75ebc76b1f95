"""What a user may convert from: a run, a checkpoint folder, a model file, a published checkpoint, or one on the Hub.

Whatever it is, it becomes a `Source`: a config, and tensors under the names of the weight table that fit it exactly.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hrm_core import hub
from hrm_core.config import ArchConfig, DataSizes, ModelConfig, RunConfig, Settings, validated
from hrm_core.data.store import IDENTIFIERS_FILE
from hrm_core.errors import CheckpointError, ConfigError
from hrm_core.parameters import PUZZLE_TABLE, parameter_table
from hrm_core.runs import run as runs
from hrm_core.runs.checkpoint import (
    METADATA,
    MODEL_FILE,
    WAY_OUT,
    Model,
    checksum,
    find_model,
    parse_metadata,
    stored_dtypes,
)
from hrm_core.runs.shipped import known_names
from hrm_core.tasks.registry import name_of_shape, published_length

from .names import DERIVED, by_canonical_name
from .official import OfficialWeights
from .published_config import CONFIG_FILE, published_training, read_published_config
from .safetensors_file import SafetensorsFile, open_safetensors
from .tensors import FLOAT32, ConversionError, Tensor, first_bytes, in_memory, raw

Format = Literal["official", "safetensors", "checkpoint"]

WEIGHTS_FILE = (
    "checkpoint"  # of a published checkpoint on the Hub; in a training folder it is step_<N>
)
SIZES_FILE = "hrm.json"  # ours, beside a published checkpoint that we wrote: what all_config.yaml does not say


class Sizes(Settings):
    """What SIZES_FILE says."""

    task: str
    vocab_size: int
    seq_len: int
    num_puzzle_identifiers: int


@dataclass(frozen=True, eq=False)
class Source:
    """An open source. Its tensors can be read as long as it is open."""

    path: Path
    format: Format
    config: ModelConfig
    task: str
    tensors: Mapping[str, Tensor]  # exactly those of the weight table
    stored: Mapping[str, str]  # canonical name -> name in the source
    crc32: str = ""
    left_out: tuple[str, ...] = ()  # names in the source that follow from the config
    training: dict[str, Any] | None = None  # published keys, where the source has training settings
    identifiers: Path | None = None  # names of its puzzle identifiers, where they lie beside it
    notes: list[str] = field(default_factory=list)


@contextmanager
def open_source(source: str, seq_len: int | None = None) -> Iterator[Source]:
    """Open whatever a user named. `seq_len` is used where the source does not know its own.

    Raises: CheckpointError, ConfigError, hub.HubError or BackendError saying why it cannot be read; ConversionError listing all
    tensors that are missing, unexpected or of a wrong kind.
    """
    notes: list[str] = []
    path, config_path = (
        _from_hub(source) if source.startswith(hub.PREFIX) else _locate(Path(source), notes)
    )
    if is_safetensors(path):
        with open_safetensors(path) as file:
            if METADATA in file.metadata or config_path is None:
                yield _ours(path, file, Path(source), notes)
            else:
                yield _published(path, config_path, file.tensors, {}, seq_len, notes)
    else:
        weights = OfficialWeights(path)
        yield _published(
            path,
            config_path or path.with_name(CONFIG_FILE),
            weights.tensors,
            weights.strange,
            seq_len,
            notes,
        )


def read_model(source: str, seq_len: int | None = None) -> Model:
    """The whole of a source in memory, float32. Raises: as `open_source` does."""
    with open_source(source, seq_len) as opened:
        weights = {
            name: in_memory(name, tensor, FLOAT32) for name, tensor in opened.tensors.items()
        }
        return Model(opened.config, opened.task, weights, opened.path, opened.crc32)


def is_safetensors(path: Path) -> bool:
    """Whether a file claims to be safetensors, by its name or by its first bytes."""
    return path.suffix == ".safetensors" or first_bytes(path, 9)[8:] == b"{"


def _from_hub(source: str) -> tuple[Path, Path | None]:
    """Fetch a checkpoint. Returns: the weights and, for published ones, the settings beside them."""
    repository, revision, file = hub.parse_address(source)
    name = file or WEIGHTS_FILE
    if name.endswith(".safetensors"):
        return hub.fetch(repository, name, revision=revision), None
    settings = f"{name.rpartition('/')[0]}/{CONFIG_FILE}".lstrip("/")
    config, weights = hub.fetch_together(repository, [settings, name], revision=revision).paths
    return weights, config


def _locate(path: Path, notes: list[str]) -> tuple[Path, Path | None]:
    """The weights that a path stands for and, where it lies beside them, all_config.yaml."""
    try:
        if path.is_dir() and (path / CONFIG_FILE).is_file():
            return _published_weights(path, notes), path / CONFIG_FILE
        if path.is_file():
            beside = path.with_name(CONFIG_FILE)
            return path, beside if beside.is_file() else None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror})") from error
    if (path / MODEL_FILE).is_file() or (path / "checkpoints").is_dir():
        return find_model(path, notes.append), None
    if list(path.glob("step_*")):
        raise ConfigError(
            f"{path} has no {CONFIG_FILE}; it is needed beside a published checkpoint, copy it there"
        )
    raise CheckpointError(
        f"{path} is nothing to convert; expected a run, a checkpoint folder, a .safetensors file, a published checkpoint or hf://owner/repository{known_names(path)}"
    )


def _published_weights(folder: Path, notes: list[str]) -> Path:
    if (folder / WEIGHTS_FILE).is_file():
        return folder / WEIGHTS_FILE
    steps = {
        int(path.name[5:]): path
        for path in folder.glob("step_*")
        if re.fullmatch(r"step_[0-9]{1,18}", path.name)
    }
    if steps:
        if len(steps) > 1:
            notes.append(
                f"{folder} holds {len(steps)} checkpoints; the last one, step_{max(steps)}, was taken"
            )
        return steps[max(steps)]
    if (folder / MODEL_FILE).is_file():
        return folder / MODEL_FILE
    raise CheckpointError(
        f"{folder} holds {CONFIG_FILE} and no weights; expected a file {WEIGHTS_FILE} or step_<N> beside it"
    )


def _ours(path: Path, file: SafetensorsFile, named: Path, notes: list[str]) -> Source:
    """A model file: its tensors are those of its config, its checksum is right."""
    about, config, crc32 = parse_metadata(file.metadata, path)
    strange = {
        name: f"{tensor.dtype}{list(tensor.shape)}"
        for name, tensor in file.tensors.items()
        if tensor.dtype.name not in stored_dtypes(about, crc32)
    }
    _check_tensors(path, file.tensors, strange, {name: name for name in file.tensors}, config)
    found = checksum(
        about, ((name, map(raw, file.tensors[name].blocks())) for name in sorted(file.tensors))
    )
    if crc32 not in (None, found):
        raise CheckpointError(
            f"{path} is damaged: its checksum is not the one in its metadata; {WAY_OUT}"
        )
    settings = _run_settings(path)
    places = (
        [path.resolve().parents[2], *([Path(settings.data.path)] if settings.data else [])]
        if settings
        else []
    )  # the run, its data
    return Source(
        path,
        "safetensors" if named.is_file() else "checkpoint",
        config,
        about["task"],
        file.tensors,
        {name: name for name in file.tensors},
        crc32=found,
        training=published_training(settings) if settings else None,
        identifiers=next(
            (place / IDENTIFIERS_FILE for place in places if (place / IDENTIFIERS_FILE).is_file()),
            None,
        ),
        notes=notes,
    )


def _run_settings(path: Path) -> RunConfig | None:
    """The settings of the run that a model file lies in: <run>/checkpoints/<checkpoint>/model.safetensors."""
    checkpoints = path.resolve().parent.parent
    inside = checkpoints.name == "checkpoints" and (checkpoints.parent / runs.CONFIG_FILE).is_file()
    return runs.run_config(checkpoints.parent) if inside else None


def _published(
    path: Path,
    config_path: Path,
    tensors: Mapping[str, Tensor],
    strange: Mapping[str, str],
    seq_len: int | None,
    notes: list[str],
) -> Source:
    """A published checkpoint: sizes of the data are read off its tensors."""
    names = by_canonical_name([*tensors, *strange], str(path))
    left_out = tuple(stored for name, stored in names.items() if DERIVED.fullmatch(name))
    names = {name: stored for name, stored in names.items() if stored not in left_out}
    by_name = {name: tensors[stored] for name, stored in names.items() if stored in tensors}
    published = read_published_config(config_path)
    recorded = _recorded_sizes(path.with_name(SIZES_FILE))
    config = published.arch.sized(_sizes(by_name, published.arch, recorded, seq_len, path, notes))
    _check_tensors(
        path,
        by_name,
        {name: strange[stored] for name, stored in names.items() if stored in strange},
        names,
        config,
    )
    if (
        recorded
        and (recorded.vocab_size, recorded.seq_len, recorded.num_puzzle_identifiers) != config.sizes
    ):
        raise ConfigError(
            f"{path.with_name(SIZES_FILE)} has other sizes than {path.name} beside it, {config.sizes}; remove it, or copy both again"
        )
    if published.ignored:
        notes.append(
            f"{config_path.name} has settings of another version, which were ignored: {', '.join(published.ignored)[:200]}"
        )
    task = recorded.task if recorded else name_of_shape(config.vocab_size, config.seq_len)
    identifiers = path.with_name(IDENTIFIERS_FILE)
    return Source(
        path,
        "official",
        config,
        task,
        by_name,
        names,
        left_out=left_out,
        training=published.training,
        identifiers=identifiers if identifiers.is_file() else None,
        notes=notes,
    )


def _recorded_sizes(path: Path) -> Sizes | None:
    if not path.is_file():
        return None
    try:
        return validated(Sizes, json.loads(path.read_text(encoding="utf-8")), str(path))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"{path} is damaged; copy it again, or remove it to have the sizes read off the tensors"
        ) from error


def _sizes(
    tensors: Mapping[str, Tensor],
    arch: ArchConfig,
    recorded: Sizes | None,
    seq_len: int | None,
    path: Path,
    notes: list[str],
) -> DataSizes:
    """The sizes of the data that a published model was trained on. RoPE leaves no trace of the sequence length."""
    vocab_size = (
        _rows(tensors, "embed_tokens.embedding_weight") or _rows(tensors, "lm_head.weight") or 1
    )
    identifiers = _rows(tensors, PUZZLE_TABLE) or (
        recorded.num_puzzle_identifiers if recorded else 1
    )
    if arch.pos_encodings == "learned":
        length = max(1, _rows(tensors, "embed_pos.embedding_weight") - arch.puzzle_emb_len)
    elif recorded is not None:
        length = recorded.seq_len
    elif published := published_length(vocab_size):
        task, length = published
        notes.append(
            f"seq_len {length} was inferred from vocab_size {vocab_size}, that of the published {task} models; RoPE keeps no trace of it"
        )
    elif seq_len is not None:
        length = seq_len
        notes.append(f"seq_len {length} was taken as given; RoPE keeps no trace of it")
    else:
        raise ConversionError(
            f"{path} has vocab_size {vocab_size}, that of no published task, and RoPE keeps no trace of the sequence length; "
            "give it with --seq-len N or --data DIR"
        )
    return DataSizes(vocab_size, length, identifiers)


def _rows(tensors: Mapping[str, Tensor], name: str) -> int:
    return tensors[name].shape[0] if name in tensors and len(tensors[name].shape) == 2 else 0


def _check_tensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    strange: Mapping[str, str],
    stored: Mapping[str, str],
    config: ModelConfig,
) -> None:
    """Account for every tensor: all misfits at once."""
    if config.H_layers + config.L_layers > len(
        stored
    ):  # before a table is made for as many as a damaged config may claim
        raise ConversionError(
            f"{path} holds {len(stored)} tensors, its config says {config.H_layers} + {config.L_layers} layers; {WAY_OUT}"
        )
    table = parameter_table(config)
    misfits = {
        "missing": sorted(table.keys() - stored.keys()),
        "unexpected": sorted(stored[name] for name in stored.keys() - table.keys()),
        "of another kind": [
            f"{stored[name]} is {strange[name]}, expected float32, bfloat16 or float16"
            for name in sorted(strange)
            if name in table
        ],
        "of another shape": [
            f"{stored[name]} is {list(tensor.shape)}, expected {list(table[name].shape)}"
            for name, tensor in sorted(tensors.items())
            if name in table and name not in strange and tensor.shape != table[name].shape
        ],
    }
    if any(misfits.values()):
        listed = "; ".join(
            f"{kind}: {', '.join(names)}" for kind, names in misfits.items() if names
        )
        raise ConversionError(
            f"{path} holds other tensors than its config says. {listed}. {WAY_OUT.capitalize()}"
        )
