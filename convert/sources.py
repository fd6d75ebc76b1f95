"""Open any source of a conversion.

It is a run, a checkpoint folder, a model file, a published checkpoint, or one on the Hub. Each
becomes a `Source`: a config, and tensors under the names of the weight table that fit it exactly.
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
from hrm_core.files import Refusal, check_exists
from hrm_core.messages import first_few
from hrm_core.parameters import PUZZLE_TABLE, parameter_table
from hrm_core.runs import run as runs
from hrm_core.runs.checkpoint import (
    CHECKPOINTS,
    METADATA,
    MODEL_FILE,
    NO_FILES,
    WAY_OUT,
    Model,
    checksum,
    find_model,
    parse_metadata,
    stored_dtypes,
)
from hrm_core.runs.shipped import known_names
from hrm_core.tasks.registry import name_of_shape, published_length

from .names import DERIVED, by_canonical_name, canonical_name
from .official import OfficialWeights
from .published_config import CONFIG_FILE, WHERE_FROM, published_training, read_published_config
from .safetensors_file import SafetensorsFile, open_safetensors
from .tensors import FLOAT32, READABLE, ConversionError, Tensor, first_bytes, in_memory, raw

Format = Literal["official", "safetensors", "checkpoint"]

# Names of published weights in a training folder
STEP = re.compile(r"step_([0-9]{1,18})(\.(pt|pth|bin|ckpt))?")
TORCH_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt")

WEIGHTS_FILE = "checkpoint"  # published weights on the Hub; in a training folder they are step_<N>
SIZES_FILE = "hrm.json"  # ours, beside a published checkpoint that we wrote: sizes and task


class Sizes(Settings):
    """Content of SIZES_FILE."""

    task: str
    vocab_size: int
    seq_len: int
    num_puzzle_identifiers: int

    @property
    def sizes(self) -> DataSizes:
        """Return the sizes alone."""
        return DataSizes(self.vocab_size, self.seq_len, self.num_puzzle_identifiers)


@dataclass(frozen=True, eq=False)
class Source:
    """An open source. Its tensors can be read while it is open."""

    path: Path
    format: Format
    config: ModelConfig
    task: str
    tensors: Mapping[str, Tensor]  # exactly those of the weight table
    stored: Mapping[str, str]  # canonical name -> name in the source
    crc32: str = ""
    left_out: tuple[str, ...] = ()  # names in the source that follow from the config
    training: dict[str, Any] | None = None  # published keys, where the source has training settings
    identifiers: Path | None = None  # names of its puzzle identifiers, if they lie beside it
    notes: list[str] = field(default_factory=list)
    files: Mapping[str, str] = field(default_factory=dict)  # contents of those that its task needs


@contextmanager
def open_source(source: str, seq_len: int | None = None) -> Iterator[Source]:
    """Open a source as the user named it. `seq_len` is for one that has no record of its own.

    Raises: CheckpointError, ConfigError, hub.HubError or BackendError if it cannot be read;
    ConversionError listing all tensors that are missing, unexpected or of a wrong kind.
    """
    notes: list[str] = []
    is_remote = source.startswith(hub.PREFIX)
    path, config_path = _from_hub(source) if is_remote else _locate(Path(source), notes)
    if is_safetensors(path):
        with open_safetensors(path) as file:
            is_ours = METADATA in file.metadata
            if not is_ours and config_path is None and _is_published(file):
                raise ConfigError(f"{path} has no {CONFIG_FILE} beside it; {WHERE_FROM}")
            if is_ours or config_path is None:
                yield _ours(path, file, Path(source), notes)
            else:
                strange = _other_kinds(file.tensors)
                floats = {name: file.tensors[name] for name in file.tensors.keys() - strange.keys()}
                yield _published(path, config_path, floats, strange, seq_len, notes)
        return
    weights = OfficialWeights(path)
    notes += weights.notes
    config_path = config_path or path.with_name(CONFIG_FILE)
    yield _published(path, config_path, weights.tensors, weights.strange, seq_len, notes)


def read_model(source: str, seq_len: int | None = None) -> Model:
    """Read a whole source into memory, float32. Raises: as `open_source` does."""
    with open_source(source, seq_len) as opened:
        weights = {}
        for name, tensor in opened.tensors.items():
            weights[name] = in_memory(name, tensor, FLOAT32)
        return Model(opened.config, opened.task, weights, opened.path, opened.crc32, opened.files)


def is_safetensors(path: Path) -> bool:
    """Return True if the name or the first bytes of a file are those of safetensors."""
    return path.suffix == ".safetensors" or first_bytes(path, 9)[8:] == b"{"


def _is_published(file: SafetensorsFile) -> bool:
    """Return True for tensors of a published network, by the names of its initial states."""
    return {"H_init", "L_init"} <= set(map(canonical_name, file.tensors))


def _from_hub(source: str) -> tuple[Path, Path | None]:
    """Fetch a checkpoint. Returns: the weights and, for a published one, its all_config.yaml."""
    repository, revision, file = hub.parse_address(source)
    name = file or WEIGHTS_FILE
    if name.endswith(".safetensors"):
        return hub.fetch(repository, name, revision=revision), None
    folder = name.rpartition("/")[0]
    settings = f"{folder}/{CONFIG_FILE}".lstrip("/")
    snapshot = hub.fetch_together(repository, [settings, name], revision=revision)
    config, weights = snapshot.paths
    return weights, config


def _locate(path: Path, notes: list[str]) -> tuple[Path, Path | None]:
    """Find the weights that a path means and, if it lies beside them, all_config.yaml."""
    try:
        if path.is_dir() and (path / CONFIG_FILE).is_file():
            return _published_weights(path, notes), path / CONFIG_FILE
        if path.is_file():
            beside = path.with_name(CONFIG_FILE)
            return path, beside if beside.is_file() else None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror})") from error
    if (path / MODEL_FILE).is_file() or (path / CHECKPOINTS).is_dir():
        return find_model(path, notes.append), None
    if list(path.glob("step_*")):
        raise ConfigError(f"{path} has no {CONFIG_FILE}; {WHERE_FROM}")
    expected = (
        "expected a run, a checkpoint folder, a .safetensors file, "
        "a published checkpoint or hf://owner/repository"
    )
    check_exists(path, Refusal(CheckpointError, f"{expected}{known_names()}"))
    raise CheckpointError(f"{path} is nothing to convert; {expected}")


def _published_weights(folder: Path, notes: list[str]) -> Path:
    """Find the weights in the folder of a published checkpoint; of several the last."""
    if (folder / WEIGHTS_FILE).is_file():
        return folder / WEIGHTS_FILE
    steps = {}
    for path in folder.glob("step_*"):
        if found := STEP.fullmatch(path.name):
            steps[int(found[1]), path.name] = path
    if steps:
        last = steps[max(steps)]
        if len(steps) > 1:
            notes.append(
                f"{folder} holds {len(steps)} checkpoints; the last one, {last.name}, was taken"
            )
        return last
    if (folder / MODEL_FILE).is_file():
        return folder / MODEL_FILE
    others = sorted(path for path in folder.iterdir() if path.suffix in TORCH_SUFFIXES)
    if len(others) == 1:
        notes.append(f"{others[0].name} was taken for the weights of {folder}")
        return others[0]
    if others:
        names = first_few([path.name for path in others])
        raise CheckpointError(f"{folder} holds {names}; name the file to convert")
    raise CheckpointError(
        f"{folder} holds {CONFIG_FILE} and no weights; "
        f"expected a file {WEIGHTS_FILE}, step_<N> or one that ends in .pt beside it"
    )


def _ours(path: Path, file: SafetensorsFile, named: Path, notes: list[str]) -> Source:
    """Open a model file and check its tensors and its checksum."""
    about, config, crc32 = parse_metadata(file.metadata, path)
    dtypes = stored_dtypes(about, crc32)
    strange = {}
    for name, tensor in file.tensors.items():
        if tensor.dtype.name not in dtypes:
            strange[name] = f"{tensor.dtype}{list(tensor.shape)}"
    own_names = {name: name for name in file.tensors}
    _check_tensors(path, file.tensors, strange, own_names, config)
    found = checksum(about, _named_bytes(file))
    if crc32 not in (None, found):
        raise CheckpointError(
            f"{path} is damaged: its checksum is not the one in its metadata; {WAY_OUT}"
        )
    settings = _run_settings(path)
    return Source(
        path,
        "safetensors" if named.is_file() else "checkpoint",
        config,
        about["task"],
        file.tensors,
        own_names,
        crc32=found,
        training=published_training(settings) if settings else None,
        identifiers=_run_identifiers(path, settings) if settings else None,
        notes=notes,
        files=about.get("files", NO_FILES),
    )


def _named_bytes(file: SafetensorsFile) -> Iterator[tuple[str, Iterator[memoryview]]]:
    """Yield the bytes of each tensor, block by block, in the order of their names."""
    for name in sorted(file.tensors):
        yield name, map(raw, file.tensors[name].blocks())


def _run_identifiers(path: Path, settings: RunConfig) -> Path | None:
    """Find the names of a model's identifiers in its run, or else in the run's data set."""
    places = [path.resolve().parents[2]]
    if settings.data:
        places.append(Path(settings.data.path))
    for place in places:
        if (place / IDENTIFIERS_FILE).is_file():
            return place / IDENTIFIERS_FILE
    return None


def _run_settings(path: Path) -> RunConfig | None:
    """Read the settings of the run that a model file lies in; None if it lies in none.

    The place of a model file in a run is <run>/checkpoints/<checkpoint>/model.safetensors.
    """
    checkpoints = path.resolve().parent.parent
    run = checkpoints.parent
    if checkpoints.name != CHECKPOINTS or not (run / runs.CONFIG_FILE).is_file():
        return None
    return runs.run_config(run)


def _published(
    path: Path,
    config_path: Path,
    tensors: Mapping[str, Tensor],
    strange: Mapping[str, str],
    seq_len: int | None,
    notes: list[str],
) -> Source:
    """Open a published checkpoint; the sizes of its data are read from its tensors."""
    names = by_canonical_name([*tensors, *strange], str(path))
    left_out = tuple(stored for name, stored in names.items() if DERIVED.fullmatch(name))
    names = {name: stored for name, stored in names.items() if stored not in left_out}
    by_name = {name: tensors[stored] for name, stored in names.items() if stored in tensors}
    strange = {name: strange[stored] for name, stored in names.items() if stored in strange}
    published = read_published_config(config_path)
    sizes_path = path.with_name(SIZES_FILE)
    recorded = _recorded_sizes(sizes_path)
    seen = _seen_sizes(by_name, published.arch, recorded)
    # first the tensors: what is missing is no reason to ask for a length
    _check_tensors(path, by_name, strange, names, published.arch.sized(seen))
    length = _length(published.arch, seen, recorded, seq_len, path, notes)
    config = published.arch.sized(seen._replace(seq_len=length))
    if recorded and recorded.sizes != config.sizes:
        raise ConfigError(
            f"{sizes_path} has other sizes than {path.name} beside it, {config.sizes}; "
            "remove it, or copy both again"
        )
    if published.ignored:
        ignored = ", ".join(published.ignored)[:200]
        notes.append(
            f"{config_path.name} has settings of another version, which were ignored: {ignored}"
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


def _seen_sizes(
    tensors: Mapping[str, Tensor], arch: ArchConfig, recorded: Sizes | None
) -> DataSizes:
    """Read the sizes of the data off the tensors; a length that leaves no trace in them is 1."""
    num_embedded = _rows(tensors, "embed_tokens.embedding_weight")
    vocab_size = num_embedded or _rows(tensors, "lm_head.weight") or 1
    identifiers = _rows(tensors, PUZZLE_TABLE)
    if not identifiers:
        identifiers = recorded.num_puzzle_identifiers if recorded else 1
    num_positions = 0
    if arch.pos_encodings == "learned":
        num_positions = _rows(tensors, "embed_pos.embedding_weight")
    return DataSizes(vocab_size, max(1, num_positions - arch.puzzle_emb_len), identifiers)


def _length(
    arch: ArchConfig,
    seen: DataSizes,
    recorded: Sizes | None,
    seq_len: int | None,
    path: Path,
    notes: list[str],
) -> int:
    """Return the sequence length of the data that a published model was trained on.

    RoPE leaves no trace of it: it is recorded, inferred or given.

    Raises: ConversionError if it is not known.
    """
    if arch.pos_encodings == "learned":
        return seen.seq_len
    if recorded is not None:
        return recorded.seq_len
    if published := published_length(seen.vocab_size):
        task, length = published
        notes.append(
            f"seq_len {length} was inferred from vocab_size {seen.vocab_size}, "
            f"that of the published {task} models; RoPE keeps no trace of it"
        )
        return length
    if seq_len is not None:
        notes.append(f"seq_len {seq_len} was taken as given; RoPE keeps no trace of it")
        return seq_len
    raise ConversionError(
        f"{path} has vocab_size {seen.vocab_size}, that of no published task, "
        "and RoPE keeps no trace of the sequence length; "
        "give it with --seq-len N or --data DIR"
    )


def _other_kinds(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Describe the tensors that are no floats, by name."""
    return {
        name: f"{tensor.dtype}{list(tensor.shape)}"
        for name, tensor in tensors.items()
        if tensor.dtype.name not in READABLE
    }


def _rows(tensors: Mapping[str, Tensor], name: str) -> int:
    """Return the number of rows of a matrix; 0 if there is none of this name."""
    tensor = tensors.get(name)
    if tensor is None or len(tensor.shape) != 2:
        return 0
    return tensor.shape[0]


def _check_tensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    strange: Mapping[str, str],
    stored: Mapping[str, str],
    config: ModelConfig,
) -> None:
    """Check every tensor against the weight table. Raises: ConversionError with all misfits."""
    # first, because a damaged config may claim more layers than a table has room for
    if config.H_layers + config.L_layers > len(stored):
        layers = f"{config.H_layers} + {config.L_layers} layers"
        raise ConversionError(
            f"{path} holds {len(stored)} tensors, its config says {layers}; {WAY_OUT}"
        )
    table = parameter_table(config)
    other_kinds, other_shapes = [], []
    for name in sorted(table.keys() & (strange.keys() | tensors.keys())):
        if name in strange:
            expected = "float32, bfloat16 or float16"
            other_kinds.append(f"{stored[name]} is {strange[name]}, expected {expected}")
        elif tensors[name].shape != table[name].shape:
            found, shape = list(tensors[name].shape), list(table[name].shape)
            other_shapes.append(f"{stored[name]} is {found}, expected {shape}")
    misfits = {
        "missing": sorted(table.keys() - stored.keys()),
        "unexpected": sorted(stored[name] for name in stored.keys() - table.keys()),
        "of another kind": other_kinds,
        "of another shape": other_shapes,
    }
    listed = [f"{kind}: {', '.join(names)}" for kind, names in misfits.items() if names]
    if listed:
        raise ConversionError(
            f"{path} holds other tensors than its config says. {'; '.join(listed)}. "
            f"{WAY_OUT.capitalize()}"
        )
