"""Build data sets of sequences: split whole sequences, write their tokens as windows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hrm_core.data.events import windows
from hrm_core.data.sources import escaped
from hrm_core.data.writer import Examples, Layout, refuse_used, write_dataset
from hrm_core.draws import Purpose, stream
from hrm_core.errors import DataError
from hrm_core.messages import first_few, quoted
from hrm_core.tasks.building import Built, Watch, unwatched
from hrm_core.tasks.contract import IntArray
from hrm_tasks.sequences.alphabet import PAD, Alphabet, Encoder, UnknownValueError, alphabet_of
from hrm_tasks.sequences.baselines import BASELINES, SCORED_EVENTS, measure_baselines
from hrm_tasks.sequences.options import Options
from hrm_tasks.sequences.read import Source, read_source
from hrm_tasks.sequences.task import Sequences

SET = "all"
SPLIT = 0  # index of the random stream
LONGEST = 128  # tokens of a window, if the user does not say
MAX_VOCABULARY = 1 << 16


class Part(NamedTuple):
    """Sequences of one split as tokens."""

    sequences: list[IntArray]  # those with something to predict
    num_events: int
    num_short: int  # sequences left out


def build(out: Path, options: Options, watch: Watch = unwatched) -> Built:
    """Build a data set of your own sequences from a CSV file: columns id, token and, if you have any, columns of context.

    \b
    Examples:
        hrm data sequences data/visits visits.csv
        hrm data sequences data/visits visits.csv.gz --test newer.csv --unknown 5
    """
    refuse_used(out)
    source = read_source(options.source)
    parts = _split(source, options)
    alphabet = alphabet_of(parts["train"], options.unknown or 0)
    _check_size(alphabet, options.source)
    written = {}
    for split, part in parts.items():
        written[split] = _encode(part, alphabet, bool(options.unknown))
    seq_len = options.seq_len or _window_length(written["train"], alphabet)
    _check_windows(alphabet, seq_len)
    task = Sequences(alphabet, seq_len)
    record = _write(
        out, task, written, {**_about(task, options, parts), **_measured(task, written)}
    )
    return Built(record, _summary(record), tuple(_remarks(record)))


def _split(source: Source, options: Options) -> dict[str, Source]:
    """Read the test sequences, or draw them: a share of the ids, at least one."""
    if options.test:
        test = read_source(options.test)
        _check_columns(source, test)
        return {"train": source, "test": test}
    if not options.test_share:
        return {"train": source}
    ids = list(source.sequences)
    num_test = max(1, round(options.test_share * len(ids)))
    if num_test >= len(ids):
        raise DataError(
            f"{source.path}: {len(ids):,} sequences, too few to test with {num_test:,}; "
            "give --test FILE or --test-share 0"
        )
    drawn = stream(options.seed, Purpose.PUZZLES, SPLIT).permutation(len(ids))[:num_test]
    test_ids = {ids[place] for place in drawn.tolist()}
    return {
        "train": _chosen(source, [each for each in ids if each not in test_ids]),
        "test": _chosen(source, [each for each in ids if each in test_ids]),
    }


def _chosen(source: Source, ids: Sequence[str]) -> Source:
    """Return the source with some of its sequences."""
    return source._replace(sequences={each: source.sequences[each] for each in ids})


def _check_columns(train: Source, test: Source) -> None:
    """Refuse test sequences with other context, or with the same in another order."""
    if train.columns != test.columns:
        raise DataError(
            f"{test.path}: columns of context {quoted(','.join(test.columns))}; "
            f"expected {quoted(','.join(train.columns))} as in {train.path}"
        )


def _check_size(alphabet: Alphabet, path: Path) -> None:
    """Refuse more tokens than a model can learn."""
    if alphabet.vocab_size <= MAX_VOCABULARY:
        return
    sizes = [f"token {len(alphabet.events):,}"]
    sizes += [f"{column.name} {len(column.values):,}" for column in alphabet.columns]
    raise DataError(
        f"{path}: {alphabet.vocab_size:,} different values ({', '.join(sizes)}); expected at most "
        f"{MAX_VOCABULARY:,}, so leave a column out, round its values or give --unknown 5"
    )


def _encode(source: Source, alphabet: Alphabet, with_unknown: bool) -> Part:
    """Write sequences as tokens; those without anything to predict are counted."""
    encoder = Encoder(alphabet, with_unknown)
    try:
        encoded = [encoder.encode(sequence) for sequence in source.sequences.values()]
    except UnknownValueError as unknown:
        raise DataError(_unknown(source.path, alphabet, unknown)) from unknown
    kept = [tokens for tokens in encoded if len(tokens) > 1]
    if not kept:
        raise DataError(
            f"{source.path}: no sequence has two events; expected the events of a sequence "
            "under one id"
        )
    num_events = sum(map(len, encoded)) // alphabet.event_length
    return Part(kept, num_events, len(encoded) - len(kept))


def _unknown(path: Path, alphabet: Alphabet, unknown: UnknownValueError) -> str:
    """Write the message for a value of the test that does not occur in training."""
    columns = {column.name: column.values for column in alphabet.columns}
    known = columns.get(unknown.column, alphabet.events)
    return (
        f"{path}:{unknown.line}: the {unknown.column} {quoted(unknown.value)} does not occur in "
        f"training; expected {first_few([quoted(each) for each in known])}; give --unknown 2 to "
        "turn rare values into one"
    )


def _window_length(train: Part, alphabet: Alphabet) -> int:
    """Return the length of windows: that of the longest sequence, if there is room."""
    longest = max(map(len, train.sequences)) - 1
    return min(max(longest, 2 * alphabet.event_length), LONGEST)


def _check_windows(alphabet: Alphabet, seq_len: int) -> None:
    """Refuse windows whose half holds no whole event."""
    fewest = 2 * alphabet.event_length
    if seq_len < fewest:
        raise DataError(
            f"--seq-len {seq_len} holds less than two events of {alphabet.event_length} tokens, "
            f"context included; use {fewest} or more"
        )


def _about(task: Sequences, options: Options, parts: Mapping[str, Source]) -> dict[str, Any]:
    """Return what build.json says of the sources."""
    sources = {}
    for split, part in parts.items():
        name = escaped(part.path.resolve().name)
        sources[split] = {"name": name, "sha256": part.sha256, "sequences": len(part.sequences)}
    return {
        "task": task.name,
        "task_settings": dict(task.settings),
        "seed": options.seed,
        "test_share": None if options.test else options.test_share,
        "seq_len": task.seq_len,
        "unknown": options.unknown,
        "sources": sources,
    }


def _measured(task: Sequences, parts: Mapping[str, Part]) -> dict[str, Any]:
    """Return counts of events and, of a test, the losses of the baselines."""
    counts: dict[str, Any] = {}
    for split, part in parts.items():
        counts[f"{split}_sequences"] = len(part.sequences)
        counts[f"{split}_events"] = part.num_events
        counts[f"{split}_sequences_too_short"] = part.num_short
    if "test" not in parts:
        return counts
    train, test = parts["train"].sequences, parts["test"].sequences
    trained = {tokens.tobytes() for tokens in train}
    counts["test_sequences_in_training"] = sum(tokens.tobytes() in trained for tokens in test)
    predicted = np.concatenate([tokens[1:] for tokens in test])
    counts[SCORED_EVENTS] = int(np.isin(predicted, task.alphabet.event_tokens).sum())
    counts[BASELINES] = measure_baselines(task.alphabet, train, test)
    return counts


def _write(
    out: Path, task: Sequences, parts: Mapping[str, Part], about: dict[str, Any]
) -> dict[str, Any]:
    """Write the windows of all splits. Returns: build.json."""
    layout = Layout(task.vocab_size, task.seq_len, pad_id=PAD, ignore_label_id=PAD)
    splits = {}
    for split, part in parts.items():
        splits[split] = {SET: _blocks(task, part.sequences, split == "test")}
    return write_dataset(out, layout, splits, about)


def _blocks(task: Sequences, sequences: Sequence[IntArray], test: bool) -> Iterator[Examples]:
    """Yield windows with labels on events only."""
    last_event = int(task.alphabet.event_tokens[-1])
    for block in windows(sequences, task.seq_len, PAD, PAD, test):
        labels = np.where(block.labels <= last_event, block.labels, PAD)
        yield replace(block, labels=labels)


def _summary(record: Mapping[str, Any]) -> str:
    """Describe a data set in one line."""
    settings = record["task_settings"]
    parts = []
    for split, title in (("train", "training"), ("test", "test")):
        if f"{split}_sequences" in record:
            events = record[f"{split}_events"]
            parts.append(f"{record[f'{split}_sequences']:,} {title} sequences ({events:,} events)")
    kinds = f"{len(settings['events']):,} kinds of events"
    contexts = [f"{name} ({len(values):,})" for name, values in settings["contexts"]]
    if contexts:
        kinds += f", context {', '.join(contexts)}"
    return f"{', '.join(parts)}; {kinds}; windows of {record['seq_len']} tokens"


def _remarks(record: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each thing that the user should know about the data."""
    remarks = []
    short = sum(record.get(f"{split}_sequences_too_short", 0) for split in ("train", "test"))
    if short:
        remarks.append(f"{short:,} sequences are left out: they have one event, nothing to predict")
    repeated = record.get("test_sequences_in_training", 0)
    if repeated:
        remarks.append(
            f"{repeated:,} of {record['test_sequences']:,} test sequences are also trained on; "
            "the loss on them is no loss on new sequences"
        )
    return remarks
