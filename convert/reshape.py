"""Change the vocabulary, sequence length or puzzle identifiers of the tensors that have them as an axis.

Shapes: V vocabulary, T positions (P puzzle slots, S tokens), D hidden, N identifiers of the source,
M of the destination.
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
PATCHES = "embed_patches.weight"
NEW = -1  # stands for a row that the source lacks
SHOWN = 5  # names in a message

IntArray = npt.NDArray[np.int64]
HowPositions = Literal["auto", "cut", "interpolate"]


@dataclass(frozen=True, eq=False)
class IdentifierChange:
    """The source of each row of another puzzle table."""

    rows: IntArray  # (M,) row of the source, or NEW
    mean_of: IntArray  # (K,) rows of the source: new rows are their mean, or zero if K is 0

    @property
    def num_new(self) -> int:
        """Count the identifiers that the source has no vector for."""
        return int((self.rows == NEW).sum())


@dataclass(frozen=True, eq=False)
class Change:
    """Everything that a conversion may change; the rest of the config stays."""

    config: ModelConfig  # of the destination
    identifiers: IdentifierChange | None = None
    positions: HowPositions = "auto"  # cut where there are fewer, interpolated where there are more
    seed: int = 0  # of rows for new tokens
    tokens: IntArray | None = None  # (V,) row of the source, or NEW; None: numbers are kept


def reshaped(
    name: str, tensor: Tensor, source: ModelConfig, change: Change
) -> tuple[Tensor, tuple[str, ...]]:
    """Return a tensor in the shape of the destination, and a description of each action."""
    config = change.config
    if name in VOCABULARY and change.tokens is not None:
        return _with_tokens(name, tensor, change, change.tokens)
    if name in VOCABULARY and config.vocab_size != source.vocab_size:
        return _with_vocabulary(name, tensor, change)
    if name == POSITIONS and config.seq_len != source.seq_len:
        return _with_positions(tensor, source, change)
    if name == PATCHES and config.patch_size != source.patch_size:
        size = source.patch_size
        return new_tensor(name, change), (
            f"drawn from seed {change.seed}: patches of {config.patch_size}, not {size}",
        )
    if name == PUZZLE_TABLE and change.identifiers is not None:
        return _with_identifiers(tensor, change.identifiers)
    return tensor, ()


def new_tensor(name: str, change: Change) -> Tensor:
    """Draw a whole tensor as a new model of this seed does."""
    return of_array(_drawn(name, change))


def match_identifiers(
    before: Sequence[str], after: Sequence[str], mean_of: Sequence[str], sources: tuple[str, str]
) -> IdentifierChange:
    """Find each new identifier among the old ones by its name.

    `sources` names the files of the two lists. A trailing * in `mean_of` stands for any ending.

    Raises: ConversionError if a list has a name twice, or a name of `mean_of` is not in the first.
    """
    old_source, new_source = sources
    _refuse_repeated(before, old_source)
    _refuse_repeated(after, new_source)
    row = {name: i for i, name in enumerate(before)}
    rows = np.array([row.get(name, NEW) for name in after], np.int64)
    mean_rows = np.array(_rows_of(mean_of, row, old_source), np.int64)
    change = IdentifierChange(rows, mean_rows)
    if mean_of and not change.num_new:
        raise ConversionError(
            f"{new_source} names no identifier that {old_source} does not; leave out --mean-of"
        )
    return change


def _refuse_repeated(names: Sequence[str], source: str) -> None:
    """Refuse a list that has a name twice."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ConversionError(
            f"{source} names {_listed(twice)} twice; "
            "puzzle identifiers are matched by name, make them distinct"
        )


def _rows_of(patterns: Sequence[str], row: Mapping[str, int], source: str) -> list[int]:
    """Return the rows of the names that match any pattern, each once."""
    found: dict[int, None] = {}
    missing = []
    for pattern in patterns:
        matches = _matches(pattern, row)
        found.update(dict.fromkeys(matches))
        if not matches:
            missing.append(pattern)
    if missing:
        raise ConversionError(
            f"--mean-of names {_listed(missing)}, which {source} does not; "
            f"it names {_listed(list(row))}"
        )
    return list(found)


def _matches(pattern: str, row: Mapping[str, int]) -> list[int]:
    """Return the rows of the names that match a pattern."""
    if pattern.endswith("*"):
        start = pattern[:-1]
        return [i for name, i in row.items() if name.startswith(start)]
    return [row[pattern]] if pattern in row else []


def _with_vocabulary(name: str, tensor: Tensor, change: Change) -> tuple[Tensor, tuple[str, ...]]:
    """Keep the rows of common tokens; draw those of new ones as a new model of this seed does."""
    before, after = tensor.shape[0], change.config.vocab_size
    if after <= before:
        text = f"resized: {after} rows kept, {before - after} cut"
        return _cut(tensor, after), (text,)
    new = _drawn(name, change)[before:]
    text = f"resized: {before} rows kept, {len(new)} new, drawn from seed {change.seed}"
    return _joined(tensor, new), (text,)


def _with_tokens(
    name: str, tensor: Tensor, change: Change, tokens: IntArray
) -> tuple[Tensor, tuple[str, ...]]:
    """Take the rows of tokens with the same text; draw the others as a new model of this seed does."""
    is_kept = tokens != NEW
    whole = _drawn(name, change)
    whole[is_kept] = _gathered(tensor, tokens[is_kept])
    kept = int(is_kept.sum())
    left_out, new = tensor.shape[0] - kept, len(tokens) - kept
    text = f"resized: {kept} rows kept by text, {left_out} left out, {new} new"
    if new:
        text += f", drawn from seed {change.seed}"
    return of_array(whole), (text,)


def _drawn(name: str, change: Change) -> FloatArray:
    """Draw a whole tensor as a new model of this seed does."""
    table = parameter_table(change.config)
    parameter = table[name]
    rng = stream(change.seed, Purpose.INITIAL_WEIGHTS, list(table).index(name))
    return truncated_normal(rng, parameter.shape, parameter.std)


def _cut(tensor: Tensor, num_rows: int) -> Tensor:
    """Return the first rows of a tensor."""
    return Tensor((num_rows, *tensor.shape[1:]), tensor.dtype, tensor.read)


def _joined(kept: Tensor, new: FloatArray) -> Tensor:
    """Append new rows to a tensor."""
    end = kept.shape[0]

    def read(start: int, stop: int) -> AnyArray:
        if start >= end:
            return new[start - end : stop - end]
        old = kept.read(start, min(stop, end))
        num_new = max(stop - end, 0)
        return np.concatenate([old.astype(np.float32), new[:num_new]])

    return Tensor((end + len(new), *kept.shape[1:]), FLOAT32, read)


def _with_positions(
    tensor: Tensor, source: ModelConfig, change: Change
) -> tuple[Tensor, tuple[str, ...]]:
    """Keep the puzzle slots; cut positions of tokens at the end, or interpolate between them."""
    slots = source.puzzle_emb_len
    before = source.seq_len
    after = change.config.seq_len
    cut = change.positions == "cut" or (change.positions == "auto" and after < before)
    if cut and after > before:
        raise ConversionError(
            f"{before} learned positions cannot be cut to {after}; choose --positions interpolate"
        )
    if cut:
        text = f"resized: {slots} puzzle slots and {after} positions kept, {before - after} cut"
        return _cut(tensor, slots + after), (text,)
    whole = tensor.read(0, tensor.shape[0]).astype(np.float32)
    tokens = _interpolated(whole[slots:], after)
    rows = np.concatenate([whole[:slots], tokens])
    text = f"resized: {slots} puzzle slots kept, {after} positions interpolated between {before}"
    return of_array(rows), (text,)


def _interpolated(rows: FloatArray, count: int) -> FloatArray:
    """Interpolate between rows, first and last kept. Shapes: (R, D) -> (count, D)."""
    last = len(rows) - 1
    place = np.linspace(0, last, count)
    low = np.floor(place).astype(np.int64)
    high = np.minimum(low + 1, last)
    share = (place - low)[:, None]
    between = rows[low] * (1 - share) + rows[high] * share
    return between.astype(np.float32)


def _with_identifiers(tensor: Tensor, change: IdentifierChange) -> tuple[Tensor, tuple[str, ...]]:
    """Take rows by name; new ones are zero, as in a new run, or a mean. Shapes: (N, E) -> (M, E)."""
    start_value = _mean(tensor, change.mean_of)

    def read(start: int, stop: int) -> AnyArray:
        rows = change.rows[start:stop]
        is_new = rows == NEW
        block = np.empty((len(rows), *tensor.shape[1:]), np.float32)
        block[is_new] = start_value
        block[~is_new] = _gathered(tensor, rows[~is_new])
        return block

    num_rows = len(change.rows)
    num_averaged = len(change.mean_of)
    kept = num_rows - change.num_new
    left_out = tensor.shape[0] - kept
    actions = [f"resized: {kept} rows kept by name, {left_out} left out, {change.num_new} new"]
    if change.num_new:
        value = f"the mean of {num_averaged}" if num_averaged else "zero"
        actions.append(f"derived: new rows are {value}")
    return Tensor((num_rows, *tensor.shape[1:]), FLOAT32, read), tuple(actions)


def _mean(tensor: Tensor, rows: IntArray) -> FloatArray:
    """Return the mean of some rows, summed in float64; zero if there are none."""
    total = np.zeros(tensor.shape[1:], np.float64)
    for row in rows.tolist():
        (values,) = tensor.read(row, row + 1)
        total += values.astype(np.float64)
    mean = total / max(1, len(rows))
    return mean.astype(np.float32)


def _gathered(tensor: Tensor, rows: IntArray) -> FloatArray:
    """Read rows in any order, adjacent ones at once."""
    block = np.empty((len(rows), *tensor.shape[1:]), np.float32)
    steps = np.diff(rows, prepend=NEW - 1)
    starts = np.flatnonzero(steps != 1).tolist()
    ends = [*starts, len(rows)][1:]
    for start, end in zip(starts, ends, strict=True):
        first = int(rows[start])
        block[start:end] = tensor.read(first, first + end - start)
    return block


def _listed(names: Sequence[str]) -> str:
    """List the first names, each cut, and the number of the others."""
    shown = [name[:60] for name in names[:SHOWN]]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(shown) + more
