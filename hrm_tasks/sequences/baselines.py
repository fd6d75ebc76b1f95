"""Baselines of sequences: how often each event occurs, and n-grams with Kneser-Ney smoothing.

An n-gram predicts an event from the n - 1 events before it. Where there is context, it sees that of
the event itself, too, and that of the events before.

Shapes: L events of a sequence, C columns of context.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from hrm_core.data.ngrams import fit
from hrm_core.tasks.capabilities import Table
from hrm_core.tasks.contract import IntArray
from hrm_core.tasks.token_losses import perplexity
from hrm_tasks.sequences.alphabet import PAD, Alphabet

PRIOR, CONTEXT = "prior", "context"
NGRAMS = {"bigram": 2, "kneser_ney_3": 3, "kneser_ney_5": 5}  # order, in events
ORDERS = {CONTEXT: 1, **NGRAMS}
TITLES = {
    PRIOR: "frequency of each event",
    CONTEXT: "frequency of each event in its context",
    "bigram": "bigram",
    "kneser_ney_3": "3-gram, Kneser-Ney",
    "kneser_ney_5": "5-gram, Kneser-Ney",
}
BASELINES, SCORED_EVENTS = "baselines", "scored_events"  # keys of build.json


def measure_baselines(
    alphabet: Alphabet, train: Sequence[IntArray], test: Sequence[IntArray]
) -> dict[str, float]:
    """Measure the loss in nats per event of each baseline: fitted to `train`, scored on `test`."""
    outcomes = alphabet.event_tokens
    losses = {PRIOR: _loss(train, test, alphabet.vocab_size, 1, outcomes)}
    if not alphabet.columns:
        for name in NGRAMS:
            losses[name] = _loss(train, test, alphabet.vocab_size, ORDERS[name], outcomes)
        return losses
    merged, vocab_size = _merge(alphabet, [*train, *test])
    for name, num_events in ORDERS.items():
        documents = [_histories(each, num_events) for each in merged]
        learned = list(np.concatenate(documents[: len(train)]))
        asked = list(np.concatenate(documents[len(train) :]))
        losses[name] = _loss(learned, asked, vocab_size, num_events + 1, outcomes)
    return losses


def _loss(
    train: Sequence[IntArray],
    test: Sequence[IntArray],
    vocab_size: int,
    order: int,
    outcomes: IntArray,
) -> float:
    """Fit n-grams and return their mean loss on the outcomes of `test`."""
    predicted = np.concatenate([document[1:] for document in test])
    losses = fit(train, vocab_size, order, outcomes).losses_of_all(test)
    return float(losses[np.isin(predicted, outcomes)].mean())


class _Merged(NamedTuple):
    """A sequence with one token for all columns of an event.

    Kneser-Ney counts different tokens before an n-gram; columns that imply each other have none.
    """

    events: IntArray  # (L,) with their context
    contexts: IntArray  # (L,)
    outcomes: IntArray  # (L,) events without their context


def _merge(alphabet: Alphabet, sequences: Sequence[IntArray]) -> tuple[list[_Merged], int]:
    """Merge the tokens of each event. Returns: the sequences, and the size of their vocabulary."""
    rows = np.concatenate(sequences).reshape(-1, alphabet.event_length)
    first = 1 + len(alphabet.events)
    contexts = first + _numbered(rows[:, :-1])
    first = int(contexts.max()) + 1
    events = first + _numbered(rows)
    ends = np.cumsum([len(sequence) // alphabet.event_length for sequence in sequences])
    parts = [np.split(column, ends[:-1]) for column in (events, contexts, rows[:, -1])]
    merged = [_Merged(*each) for each in zip(*parts, strict=True)]
    return merged, int(events.max()) + 1


def _numbered(rows: IntArray) -> IntArray:
    """Number the different rows of a table. Shapes: (N, columns) -> (N,)."""
    _, numbers = np.unique(rows, axis=0, return_inverse=True)
    of_rows: IntArray = numbers.reshape(-1)
    return of_rows


def _histories(sequence: _Merged, num_events: int) -> IntArray:
    """Write each event as a document: `num_events` - 1 events before, its context, the event.

    Returns: (L, num_events + 1); `PAD` stands before the first event.
    """
    padded = np.concatenate([np.full(num_events, PAD), sequence.events])
    before = sliding_window_view(padded, num_events)[: len(sequence.events), 1:]
    return np.column_stack([before, sequence.contexts, sequence.outcomes])


class Comparison(NamedTuple):
    """A model beside the baselines."""

    nats: float  # of the model, per event
    baselines: Mapping[str, float]  # the same of each; empty if `remark` says why
    remark: str = ""

    @classmethod
    def of(cls, build: Mapping[str, Any], split: str, nats: float, num_events: int) -> Self:
        """Compare a model with the baselines in build.json, if both are of the same events."""
        baselines = build.get(BASELINES)
        if not isinstance(baselines, dict) or not _are_losses(baselines):
            return cls(nats, {}, "build.json of the data set has no baselines to compare with")
        if split != "test" or build.get(SCORED_EVENTS) != num_events:
            return cls(nats, {}, "baselines are those of the whole test, so none is shown here")
        return cls(nats, baselines)

    def record(self) -> dict[str, Any]:
        """Return the losses of the baselines, and what the model gains on each, in nats per event."""
        gains = {name: loss - self.nats for name, loss in self.baselines.items()}
        return {"baselines": dict(self.baselines), "gains": gains}

    def pages(self) -> list[str | Table]:
        """Return a table of the model and the baselines, the worst first."""
        if self.remark:
            return [f"{self.remark}\n"]
        named = {TITLES[name]: loss for name, loss in self.baselines.items()}
        ordered = sorted([*named.items(), ("this model", self.nats)], key=lambda each: -each[1])
        rows = []
        for title, loss in ordered:
            gain = "" if title == "this model" else f"{loss - self.nats:+.4f}"
            rows.append([title, f"{loss:.4f}", f"{perplexity(loss):.3f}", gain])
        columns = ["", "nats per event", "perplexity", "gain of the model"]
        return [Table("Beside n-grams of the training sequences", columns, rows)]


def _are_losses(baselines: Mapping[str, Any]) -> bool:
    """Return True if these are losses of baselines."""
    are_numbers = all(isinstance(loss, float | int) for loss in baselines.values())
    return baselines.keys() <= TITLES.keys() and are_numbers
