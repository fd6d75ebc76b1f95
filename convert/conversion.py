"""One model from one form into another: the only function that anybody needs of this package."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hrm_core import hub
from hrm_core.config import ModelConfig
from hrm_core.data.store import (
    IDENTIFIERS_FILE,
    load_split,
    present_splits,
    read_identifiers,
    task_label,
)
from hrm_core.parameters import Role, parameter_table
from hrm_core.tasks.registry import name_of_shape

from .destinations import Written, chosen_format, refuse_used, write
from .names import published_name
from .published_config import FALLBACK_PRESET, published_training
from .report import Report, Row
from .reshape import Change, HowPositions, IdentifierChange, match_identifiers, reshaped
from .sources import Format, Source, open_source
from .tensors import FLOAT32, FLOATS, ConversionError, Dtype, Tensor

StoredDtype = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Request:
    """What a user may ask for besides source and destination."""

    to: Format | None = None
    dtype: StoredDtype = "float32"
    force: bool = False
    vocab_size: int | None = None
    seq_len: int | None = None
    positions: HowPositions = "auto"
    identifiers: Path | None = None  # names of the puzzle identifiers of the destination
    source_identifiers: Path | None = None
    mean_of: tuple[str, ...] = ()
    data: Path | None = None  # a data set whose sizes and identifiers the destination is to have
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Conversion:
    """What was done."""

    report: Report
    identifiers: (
        IdentifierChange | None
    )  # where each row of the puzzle table comes from, if it was changed


def convert(source: str, dest: Path, request: Request) -> Conversion:
    """Convert a model and account for every tensor of it. What is written is there as a whole or not at all.

    Raises: HRMError subclasses: the source cannot be read, the destination may not be written, or the request does not fit.
    """
    request = _with_data(request)
    with open_source(source, request.seq_len) as opened:
        to = chosen_format(dest, request.to, opened.format)
        if to == "official" and request.dtype != "float32":
            raise ConversionError(
                f"--dtype {request.dtype} goes with safetensors and checkpoint; published code takes float32 weights"
            )
        refuse_used(
            dest, None if source.startswith(hub.PREFIX) else Path(source), to, request.force
        )
        change = _change(opened, request)
        tensors, rows = _account(opened, change, to, FLOATS[request.dtype])
        task = (
            opened.task
            if change.config.sizes == opened.config.sizes
            else _new_task(change.config, request)
        )
        notes = [
            *opened.notes,
            *_travel_notes(opened, to),
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
        written = Written(change.config, task, tensors, FLOATS[request.dtype], training, source)
        write(dest, to, written, request.force)
        return Conversion(report, change.identifiers)


def _with_data(request: Request) -> Request:
    """The request with the sizes of its data set filled in."""
    if request.data is None:
        return request
    metadata = load_split(request.data, present_splits(request.data)[0]).metadata
    for name in ("vocab_size", "seq_len"):
        if getattr(request, name) not in (None, getattr(metadata, name)):
            raise ConversionError(
                f"{request.data} has {name} {getattr(metadata, name)}, not {getattr(request, name)}; leave one of them out"
            )
    names = request.data / IDENTIFIERS_FILE
    count = len(read_identifiers(request.identifiers or names))
    if count != metadata.num_puzzle_identifiers:
        raise ConversionError(
            f"{request.data} has {metadata.num_puzzle_identifiers} puzzle identifiers, {count} have names; build it again"
        )
    return replace(
        request,
        vocab_size=metadata.vocab_size,
        seq_len=metadata.seq_len,
        identifiers=request.identifiers or names,
    )


def _change(source: Source, request: Request) -> Change:
    """What is to change, checked against the source."""
    config, identifiers = source.config, None
    sizes = {
        "vocab_size": request.vocab_size or config.vocab_size,
        "seq_len": request.seq_len or config.seq_len,
        "num_puzzle_identifiers": config.num_puzzle_identifiers,
    }
    if request.mean_of and (request.identifiers is None or not config.puzzle_emb_ndim):
        raise ConversionError(
            "--mean-of makes vectors for new puzzle identifiers; name those with --identifiers FILE or --data DIR"
        )
    if request.identifiers is not None:
        names = read_identifiers(request.identifiers)
        sizes["num_puzzle_identifiers"] = len(names)
        if config.puzzle_emb_ndim:
            identifiers = _identifier_change(source, request, names)
    return Change(
        ModelConfig.model_validate({**config.model_dump(), **sizes}),
        identifiers,
        request.positions,
        request.seed,
    )


def _identifier_change(
    source: Source, request: Request, names: Sequence[str]
) -> IdentifierChange | None:
    count, path = (
        source.config.num_puzzle_identifiers,
        request.source_identifiers or source.identifiers,
    )
    if path is None:
        if count == len(names) == 1:  # the blank one alone
            return None
        raise ConversionError(
            f"the {count} puzzle vectors of {source.path} have no names; name the {IDENTIFIERS_FILE} of the data they were trained on with "
            "--source-identifiers FILE"
        )
    before = read_identifiers(path)
    if len(before) != count:
        raise ConversionError(
            f"{path} has {len(before)} names, {source.path} {count} puzzle vectors; choose the file of its training data"
        )
    change = match_identifiers(
        before, names, request.mean_of, (str(path), str(request.identifiers))
    )
    return None if list(before) == list(names) else change


def _account(
    source: Source, change: Change, to: Format, dtype: Dtype
) -> tuple[dict[str, Tensor], list[Row]]:
    """The tensors of the destination, and what becomes of each."""
    tensors, rows = {}, []
    for name, parameter in parameter_table(change.config).items():
        written = published_name(name) if to == "official" else name
        final = (
            dtype
            if to != "official" or parameter.role is not Role.CONSTANT
            else FLOATS[change.config.forward_dtype]
        )
        tensors[name], resized = reshaped(name, source.tensors[name], source.config, change)
        if tensors[name].shape != parameter.shape:
            raise AssertionError(f"{name} became {tensors[name].shape}, expected {parameter.shape}")
        actions = [*_renaming(name, source.stored[name], written), *resized]
        if source.tensors[name].dtype != final:
            actions.append(f"cast {source.tensors[name].dtype} -> {final}")
        rows.append(
            Row(
                name,
                source.stored[name],
                written,
                list(parameter.shape),
                final.name,
                tuple(actions),
            )
        )
    rows += [
        Row(stored, stored, "", [], "", ("derived: left out, it follows from the config",))
        for stored in source.left_out
    ]
    return tensors, rows


def _renaming(name: str, stored: str, written: str) -> list[str]:
    if stored == written:
        return []
    was, now = stored.removesuffix(name), written.removesuffix(name)
    return [
        "renamed: "
        + ", ".join([*([f"was {was}…"] if was else []), *([f"now {now}…"] if now else [])])
    ]


def _new_task(config: ModelConfig, request: Request) -> str:
    """The task of a model whose sizes were changed."""
    built_for = task_label(request.data) if request.data else None
    return built_for or name_of_shape(config.vocab_size, config.seq_len)


def _differences(before: ModelConfig, after: ModelConfig) -> dict[str, tuple[Any, Any]]:
    old, new = before.model_dump(), after.model_dump()
    return {name: (old[name], new[name]) for name in new if old[name] != new[name]}


def _travel_notes(source: Source, to: Format) -> list[str]:
    """What does not travel."""
    notes = []
    if to == "official":
        notes.append(
            "weights only: optimizer state and carry do not travel, training cannot be resumed from it"
        )
        if source.training is None:
            notes.append(
                f"training settings in all_config.yaml are those of the preset {FALLBACK_PRESET}; the source does not know its own"
            )
        return notes
    if to == "checkpoint":
        notes.append(
            "weights only: it can be evaluated, solved with and trained from (--init), but not resumed"
        )
    elif source.format == "checkpoint":
        notes.append("weights only: optimizer state and carry do not travel")
    if source.format == "official":
        notes.append("training settings of all_config.yaml do not travel")
    return notes


def _rounding_notes(tensors: dict[str, Tensor], config: ModelConfig, to: Format) -> list[str]:
    """Initial states that published code stores in fewer bits than they have."""
    if to != "official":
        return []
    dtype = FLOATS[config.forward_dtype]
    constants = [
        name
        for name, parameter in parameter_table(config).items()
        if parameter.role is Role.CONSTANT
    ]
    values = {
        name: tensors[name].read(0, tensors[name].shape[0]).astype(FLOAT32) for name in constants
    }
    rounded = [
        name
        for name, value in values.items()
        if not np.array_equal(value.astype(dtype).astype(FLOAT32), value, equal_nan=True)
    ]
    return (
        [f"rounded to {dtype}, which published code starts from: {', '.join(rounded)}"]
        if rounded
        else []
    )
