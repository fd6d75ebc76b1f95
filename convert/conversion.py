"""Convert one model from one form into another: the one function that others need of this package."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hrm_core import hub
from hrm_core.config import ModelConfig, beyond_published, validated
from hrm_core.data.store import IDENTIFIERS_FILE, Dataset, read_identifiers
from hrm_core.parameters import Role, parameter_table
from hrm_core.tasks.capabilities import Equipped, Viewed
from hrm_core.tasks.contract import Task
from hrm_core.tasks.registry import name_of_shape, task_of_shape

from .conversion_report import Report, Row
from .destinations import Written, chosen_format, refuse_used, write
from .names import published_name
from .published_config import FALLBACK_PRESET, published_training
from .reshape import (
    Change,
    HowPositions,
    IdentifierChange,
    IntArray,
    match_identifiers,
    new_tensor,
    reshaped,
)
from .settings import check_comparable, check_shapes, check_task, settings_given
from .sources import Format, Source, open_source
from .tensors import FLOAT32, FLOATS, ConversionError, Dtype, Tensor
from .vocabulary import match_tokens

StoredDtype = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Request:
    """Options of a conversion besides source and destination."""

    to: Format | None = None
    dtype: StoredDtype = "float32"
    force: bool = False
    vocab_size: int | None = None
    seq_len: int | None = None
    positions: HowPositions = "auto"
    identifiers: Path | None = None  # names of the puzzle identifiers of the destination
    source_identifiers: Path | None = None
    mean_of: tuple[str, ...] = ()
    data: Path | None = None  # a data set whose sizes, tokens and identifiers the destination gets
    overrides: tuple[str, ...] = ()  # model.KEY=VALUE
    verify: bool = False  # refuse changes after which results cannot be compared
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Conversion:
    """Result of a conversion."""

    report: Report
    identifiers: IdentifierChange | None  # the source of each puzzle vector, if they changed
    tokens: IntArray | None  # (V,) the source of each token, if they were matched by text


def convert(source: str, dest: Path, request: Request) -> Conversion:
    """Convert a model and account for each of its tensors.

    The destination is written as a whole or not at all.

    Raises: HRMError subclasses: the source cannot be read, the destination may not be written, or
    the request does not fit.
    """
    data = Dataset(request.data) if request.data else None
    request = _with_data(request, data)
    with open_source(source, request.seq_len) as opened:
        to = chosen_format(dest, request.to, opened.format)
        _check_dtype(request, to)
        here = None if source.startswith(hub.PREFIX) else Path(source)
        refuse_used(dest, here, to, request.force)
        change = _change(source, opened, request, data)
        if to == "official":
            _check_published(source, change.config)
        dtype = FLOATS[request.dtype]
        tensors, rows = _account(opened, change, to, dtype)
        task = _task(opened, change.config, data)
        notes = [
            *opened.notes,
            *_travel_notes(opened, to),
            *_role_notes(opened.config, change.config),
            *_rounding_notes(tensors, change.config, to),
        ]
        report = Report(
            source,
            opened.format,
            str(dest),
            to,
            task,
            change.config.model_dump(),
            _differences(opened.config, change.config),
            rows,
            notes,
        )
        training = published_training(None) if opened.training is None else opened.training
        files = _files(opened, task, data)
        written = Written(change.config, task, tensors, dtype, training, source, files)
        write(dest, to, written, request.force)
        return Conversion(report, change.identifiers, change.tokens)


def _check_published(source: str, config: ModelConfig) -> None:
    """Refuse a model that published code would run as another one."""
    for name, value in beyond_published(config).items():
        shown = str(value).lower() if isinstance(value, bool) else value  # as YAML writes it
        raise ConversionError(
            f"{source} has model.{name}={shown}, which published code does not know; "
            "choose --to safetensors or --to checkpoint"
        )


def _check_dtype(request: Request, to: Format) -> None:
    """Refuse a dtype that the destination cannot have."""
    if to == "official" and request.dtype != "float32":
        raise ConversionError(
            f"--dtype {request.dtype} goes with safetensors and checkpoint; "
            "published code takes float32 weights"
        )


def _with_data(request: Request, data: Dataset | None) -> Request:
    """Return the request with the sizes and identifiers of its data set, if it names one."""
    if data is None:
        return request
    metadata = data.metadata
    for name in ("vocab_size", "seq_len"):
        asked, found = getattr(request, name), getattr(metadata, name)
        if asked not in (None, found):
            raise ConversionError(
                f"{data.directory} has {name} {found}, not {asked}; leave one of them out"
            )
    names = request.identifiers or data.directory / IDENTIFIERS_FILE
    count = len(read_identifiers(names))
    if count != metadata.num_puzzle_identifiers:
        raise ConversionError(
            f"{data.directory} has {metadata.num_puzzle_identifiers} puzzle identifiers, "
            f"{count} have names; build it again"
        )
    return replace(
        request, vocab_size=metadata.vocab_size, seq_len=metadata.seq_len, identifiers=names
    )


def _change(named: str, source: Source, request: Request, data: Dataset | None) -> Change:
    """Return the changes that are asked for, checked against the source.

    `named` is the source as the user named it.
    """
    config, identifiers = source.config, None
    given = settings_given(request.overrides)
    before, after = _tasks(source, data) if data or given else (None, None)
    place = data.directory if data else named
    check_task(named, config, given, (before, after), place)
    sizes = {
        "vocab_size": request.vocab_size or config.vocab_size,
        "seq_len": request.seq_len or config.seq_len,
        "num_puzzle_identifiers": config.num_puzzle_identifiers,
    }
    if request.mean_of and (request.identifiers is None or not config.puzzle_emb_ndim):
        raise ConversionError(
            "--mean-of makes vectors for new puzzle identifiers; "
            "name those with --identifiers FILE or --data DIR"
        )
    if request.identifiers is not None:
        names = read_identifiers(request.identifiers)
        sizes["num_puzzle_identifiers"] = len(names)
        if config.puzzle_emb_ndim:
            identifiers = _identifier_change(source, request, names)
    looks = _looks(after, config, data) if data else {}
    settings = {**config.model_dump(), **sizes, **looks, **given}
    new_config = validated(ModelConfig, settings, "the converted model")
    check_shapes(config, new_config, given)
    if request.verify:
        check_comparable(config, new_config, given)
    tokens = match_tokens(before, after)
    return Change(new_config, identifiers, request.positions, request.seed, tokens)


def _tasks(source: Source, data: Dataset | None) -> tuple[Task | None, Task | None]:
    """Return the task of the source and that of its new data, the same if there are none."""
    config = source.config
    before = task_of_shape(config.vocab_size, config.seq_len, source.task)
    if isinstance(before, Equipped):
        before = before.with_files(source.files)
    if data is None:
        return before, before
    sizes = data.metadata.sizes
    after = task_of_shape(sizes.vocab_size, sizes.seq_len, data.label or "", sizes.num_chunks)
    if isinstance(after, Equipped):
        after = after.with_files({name: data.text_of(name) for name in after.file_names})
    return before, after


def _looks(task: Task | None, config: ModelConfig, data: Dataset) -> dict[str, Any]:
    """Return the settings by which a model looks at data: chunks, and pictures if there are any."""
    sizes = data.split(data.splits[0]).sizes
    patch_size, first_chunk = config.patch_size, config.first_chunk
    if isinstance(task, Viewed):
        patch_size = task.model_settings.get("patch_size")
        first_chunk = task.model_settings.get("first_chunk", "strip")
    if sizes.image_size is None or patch_size is None:
        sizes, patch_size, first_chunk = sizes._replace(image_size=None), None, "strip"
    return {
        "num_chunks": sizes.num_chunks,
        "image_size": sizes.image_size,
        "patch_size": patch_size,
        "first_chunk": first_chunk,
    }


def _identifier_change(
    source: Source, request: Request, names: Sequence[str]
) -> IdentifierChange | None:
    """Match the puzzle identifiers by name; None if they stay as they are."""
    count = source.config.num_puzzle_identifiers
    path = request.source_identifiers or source.identifiers
    if path is None:
        if count == len(names) == 1:  # the blank one alone
            return None
        raise ConversionError(
            f"the {count} puzzle vectors of {source.path} have no names; "
            f"name the {IDENTIFIERS_FILE} of the data they were trained on with "
            "--source-identifiers FILE"
        )
    before = read_identifiers(path)
    if len(before) != count:
        raise ConversionError(
            f"{path} has {len(before)} names, {source.path} {count} puzzle vectors; "
            "choose the file of its training data"
        )
    files = str(path), str(request.identifiers)
    change = match_identifiers(before, names, request.mean_of, files)
    return None if list(before) == list(names) else change


def _account(
    source: Source, change: Change, to: Format, dtype: Dtype
) -> tuple[dict[str, Tensor], list[Row]]:
    """Return the tensors of the destination, and a row of the report for each of the source."""
    tensors, rows = {}, []
    for name, parameter in parameter_table(change.config).items():
        if name in source.tensors:
            old, stored = source.tensors[name], source.stored[name]
            tensor, resized = reshaped(name, old, source.config, change)
        else:  # of pictures, which the source does not look at
            old, stored = new_tensor(name, change), ""
            tensor, resized = old, (f"new: drawn from seed {change.seed}",)
        if tensor.shape != parameter.shape:
            raise AssertionError(f"{name} became {tensor.shape}, expected {parameter.shape}")
        tensors[name] = tensor
        written, final = name, dtype
        if to == "official":
            written = published_name(name)
            if parameter.role is Role.CONSTANT:
                final = FLOATS[change.config.forward_dtype]
        renaming = _renaming(name, stored, written) if stored else []
        actions = [*renaming, *resized]
        if old.dtype != final:
            actions.append(f"cast {old.dtype} -> {final}")
        shape = list(parameter.shape)
        rows.append(Row(name, stored, written, shape, final.name, tuple(actions)))
    unused = ("left out: the new data has no pictures",)
    for name in source.tensors.keys() - tensors.keys():
        shape = list(source.tensors[name].shape)
        rows.append(Row(name, source.stored[name], "", shape, "", unused))
    derived = ("derived: left out, it follows from the config",)
    rows += [Row(stored, stored, "", [], "", derived) for stored in source.left_out]
    return tensors, rows


def _renaming(name: str, stored: str, written: str) -> list[str]:
    """Describe the change of a tensor's prefix, if there is one."""
    if stored == written:
        return []
    was, now = stored.removesuffix(name), written.removesuffix(name)
    parts = []
    if was:
        parts.append(f"was {was}…")
    if now:
        parts.append(f"now {now}…")
    return [f"renamed: {', '.join(parts)}"]


def _task(source: Source, config: ModelConfig, data: Dataset | None) -> str:
    """Return the label of the task of the converted model."""
    if data is not None and data.label:
        return data.label
    if config.sizes == source.config.sizes:
        return source.task
    return name_of_shape(config.vocab_size, config.seq_len)


def _files(source: Source, task: str, data: Dataset | None) -> Mapping[str, str]:
    """Return the files that the task of the converted model needs: its own, or those of the data."""
    if task == source.task or data is None:
        return source.files if task == source.task else {}
    sizes = data.metadata.sizes
    found = task_of_shape(sizes.vocab_size, sizes.seq_len, task, sizes.num_chunks)
    if not isinstance(found, Equipped):
        return {}
    return {name: data.text_of(name) for name in found.file_names}


def _differences(before: ModelConfig, after: ModelConfig) -> dict[str, tuple[Any, Any]]:
    changed = {}
    for name, value in after:
        if value != getattr(before, name):
            changed[name] = (getattr(before, name), value)
    return changed


def _role_notes(before: ModelConfig, after: ModelConfig) -> list[str]:
    """Return a note on tensors that only one of the two models trains: the Q head."""
    old, new = parameter_table(before), parameter_table(after)
    shared = [name for name in new if name in old]
    names = [name for name in shared if old[name].role is not new[name].role]
    if not names:
        return []
    listed = " and ".join(names)
    if after.learns_to_halt:
        return [
            f"{listed} are kept, but were not trained while halting was fixed; "
            "train the model before it decides when to halt"
        ]
    return [f"{listed} are kept; a model with halting=fixed does not use them"]


def _travel_notes(source: Source, to: Format) -> list[str]:
    """Return notes on everything that is not converted."""
    notes = []
    if to == "official":
        notes.append(
            "weights only: optimizer state and carry do not travel, "
            "training cannot be resumed from it"
        )
        if source.training is None:
            notes.append(
                "training settings in all_config.yaml are those of the preset "
                f"{FALLBACK_PRESET}; the source does not know its own"
            )
        return notes
    if to == "checkpoint":
        notes.append(
            "weights only: it can be evaluated, solved with and trained from (--init), "
            "but not resumed"
        )
    elif source.format == "checkpoint":
        notes.append("weights only: optimizer state and carry do not travel")
    if source.format == "official":
        notes.append("training settings of all_config.yaml do not travel")
    return notes


def _rounding_notes(tensors: dict[str, Tensor], config: ModelConfig, to: Format) -> list[str]:
    """Return a note on initial states that lose bits in the dtype of published code."""
    if to != "official":
        return []
    dtype = FLOATS[config.forward_dtype]
    rounded = []
    for name, parameter in parameter_table(config).items():
        if parameter.role is Role.CONSTANT and _is_rounded(tensors[name], dtype):
            rounded.append(name)
    if not rounded:
        return []
    return [f"rounded to {dtype}, which published code starts from: {', '.join(rounded)}"]


def _is_rounded(tensor: Tensor, dtype: Dtype) -> bool:
    """Return True if the values of a tensor change in another dtype."""
    values = tensor.read(0, tensor.shape[0]).astype(FLOAT32)
    stored = values.astype(dtype).astype(FLOAT32)
    return not np.array_equal(stored, values, equal_nan=True)
