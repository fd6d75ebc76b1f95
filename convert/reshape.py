"""Another vocabulary, sequence length or set of puzzle identifiers on the way: what becomes of the tensors that have it as an axis.

Shapes: V vocabulary, T positions (P puzzle slots, S tokens), D hidden, N identifiers of the source, M of the destination.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from hrm_core.config import ModelConfig
from hrm_core.draws import Purpose, stream
from hrm_core.parameters import PUZZLE_TABLE, FloatArray, parameter_table, truncated_normal

from .tensors import FLOAT32, AnyArray, ConversionError, Tensor, of_array

VOCABULARY = ("embed_tokens.embedding_weight", "lm_head.weight")  # the tensors with one row a token
POSITIONS = "embed_pos.embedding_weight"
NEW = -1  # in the place of a source row
SHOWN = 5  # names in a message

IntArray = npt.NDArray[np.int64]
HowPositions = Literal["auto", "cut", "interpolate"]


@dataclass(frozen=True, eq=False)
class IdentifierChange:
    """Where the rows of another puzzle table come from."""

    rows: IntArray  # (M,) row of the source, or NEW
    mean_of: IntArray  # (K,) rows of the source whose mean new identifiers start from; none: they start from zero

    @property
    def num_new(self) -> int:
        """Identifiers that the source has no vector for."""
        return int((self.rows == NEW).sum())


@dataclass(frozen=True, eq=False)
class Change:
    """Everything that may change on the way; the rest of the config stays."""

    config: ModelConfig  # of the destination
    identifiers: IdentifierChange | None = None
    positions: HowPositions = "auto"  # cut where there are fewer, interpolated where there are more
    seed: int = 0  # of rows for new tokens


def reshaped(
    name: str, tensor: Tensor, source: ModelConfig, change: Change
) -> tuple[Tensor, tuple[str, ...]]:
    """A tensor in the shape of the destination, and what was done to it."""
    config = change.config
    if name in VOCABULARY and config.vocab_size != source.vocab_size:
        return _with_vocabulary(name, tensor, change)
    if name == POSITIONS and config.seq_len != source.seq_len:
        return _with_positions(tensor, source, change)
    if name == PUZZLE_TABLE and change.identifiers is not None:
        return _with_identifiers(tensor, change.identifiers)
    return tensor, ()


def match_identifiers(
    before: Sequence[str], after: Sequence[str], mean_of: Sequence[str], sources: tuple[str, str]
) -> IdentifierChange:
    """Find each new identifier among the old ones by its name. `sources` says where the two lists come from.

    Raises: ConversionError if a name stands twice in a list, or one of `mean_of` (a trailing * stands for any ending) is not there.
    """
    for names, source in zip((before, after), sources, strict=True):
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise ConversionError(
                f"{source} names {_listed(twice)} twice; puzzle identifiers are matched by name, make them distinct"
            )
    row = {name: i for i, name in enumerate(before)}
    rows = np.array([row.get(name, NEW) for name in after], np.int64)
    change = IdentifierChange(rows, np.array(_rows_of(mean_of, row, sources[0]), np.int64))
    if mean_of and not change.num_new:
        raise ConversionError(
            f"{sources[1]} names no identifier that {sources[0]} does not; leave out --mean-of"
        )
    return change


def _rows_of(patterns: Sequence[str], row: Mapping[str, int], source: str) -> list[int]:
    found: dict[int, None] = {}
    missing = []
    for pattern in patterns:
        if pattern.endswith("*"):
            matches = [i for name, i in row.items() if name.startswith(pattern[:-1])]
        else:
            matches = [row[pattern]] if pattern in row else []
        found.update(dict.fromkeys(matches))
        missing += [] if matches else [pattern]
    if missing:
        raise ConversionError(
            f"--mean-of names {_listed(missing)}, which {source} does not; it names {_listed(list(row))}"
        )
    return list(found)


def _with_vocabulary(name: str, tensor: Tensor, change: Change) -> tuple[Tensor, tuple[str, ...]]:
    """Kept rows copied; rows of new tokens as a model of this size starts with them from this seed."""
    vocab_size, kept = change.config.vocab_size, min(tensor.shape[0], change.config.vocab_size)
    if kept == vocab_size:
        text = f"resized: {kept} rows kept, {tensor.shape[0] - kept} cut"
        return Tensor((vocab_size, *tensor.shape[1:]), tensor.dtype, tensor.read), (text,)
    table = parameter_table(change.config)
    rng = stream(change.seed, Purpose.INITIAL_WEIGHTS, list(table).index(name))
    new = truncated_normal(rng, table[name].shape, table[name].std)[kept:]
    return _joined(tensor, new), (
        f"resized: {kept} rows kept, {len(new)} new, drawn from seed {change.seed}",
    )


def _joined(kept: Tensor, new: FloatArray) -> Tensor:
    """The rows of a tensor and new ones after them."""
    end = kept.shape[0]

    def read(start: int, stop: int) -> AnyArray:
        first = kept.read(start, min(stop, end)).astype(np.float32) if start < end else new[:0]
        return np.concatenate([first, new[max(start - end, 0) : max(stop - end, 0)]])

    return Tensor((end + len(new), *kept.shape[1:]), FLOAT32, read)


def _with_positions(
    tensor: Tensor, source: ModelConfig, change: Change
) -> tuple[Tensor, tuple[str, ...]]:
    """Puzzle slots stay; positions of tokens are cut off at the end, or read off between the old ones, first and last kept."""
    slots, before, after = source.puzzle_emb_len, source.seq_len, change.config.seq_len
    cut = change.positions == "cut" or (change.positions == "auto" and after < before)
    if cut and after > before:
        raise ConversionError(
            f"{before} learned positions cannot be cut to {after}; choose --positions interpolate"
        )
    if cut:
        text = f"resized: {slots} puzzle slots and {after} positions kept, {before - after} cut"
        return Tensor((slots + after, *tensor.shape[1:]), tensor.dtype, tensor.read), (text,)
    whole = tensor.read(0, tensor.shape[0]).astype(np.float32)
    place = np.linspace(0, before - 1, after)
    low = np.floor(place).astype(np.int64)
    share = (place - low)[:, None]
    tokens = whole[slots:]
    between = tokens[low] * (1 - share) + tokens[np.minimum(low + 1, before - 1)] * share
    rows = np.concatenate([whole[:slots], between.astype(np.float32)])
    text = f"resized: {slots} puzzle slots kept, {after} positions interpolated between {before}"
    return of_array(rows), (text,)


def _with_identifiers(tensor: Tensor, change: IdentifierChange) -> tuple[Tensor, tuple[str, ...]]:
    """Rows matched by name; the rest start from zero, as published runs start, or from a mean. Shapes: (N, E) -> (M, E)."""
    start_value = _mean(tensor, change.mean_of)

    def read(start: int, stop: int) -> AnyArray:
        rows = change.rows[start:stop]
        block = np.empty((len(rows), *tensor.shape[1:]), np.float32)
        block[rows == NEW] = start_value
        block[rows != NEW] = _gathered(tensor, rows[rows != NEW])
        return block

    kept = len(change.rows) - change.num_new
    actions = [
        f"resized: {kept} rows kept by name, {tensor.shape[0] - kept} left out, {change.num_new} new"
    ]
    if change.num_new:
        actions.append(
            f"derived: new rows are {f'the mean of {len(change.mean_of)}' if len(change.mean_of) else 'zero'}"
        )
    return Tensor((len(change.rows), *tensor.shape[1:]), FLOAT32, read), tuple(actions)


def _mean(tensor: Tensor, rows: IntArray) -> FloatArray:
    """The mean of some rows, summed in float64; zero of none."""
    total = np.zeros(tensor.shape[1:], np.float64)
    for row in rows.tolist():
        total += tensor.read(row, row + 1)[0].astype(np.float64)
    return (total / max(1, len(rows))).astype(np.float32)


def _gathered(tensor: Tensor, rows: IntArray) -> FloatArray:
    """Rows in any order, neighbours read at once."""
    block = np.empty((len(rows), *tensor.shape[1:]), np.float32)
    starts = np.flatnonzero(np.diff(rows, prepend=NEW - 1) != 1).tolist()
    for start, end in zip(starts, [*starts, len(rows)][1:], strict=True):
        first = int(rows[start])
        block[start:end] = tensor.read(first, first + end - start)
    return block


def _listed(names: Sequence[str]) -> str:
    """Some names as one short text."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(name[:60] for name in names[:SHOWN]) + more
