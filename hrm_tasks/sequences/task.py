"""The task of sequences: predict each event from the events before it and from its context.

Shapes: N windows, S = `seq_len` tokens. Tokens are those of an `Alphabet`; labels stand on events
only, each one token before the event.
"""

import math
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from hrm_core.data.store import Dataset, Split
from hrm_core.tasks.contract import Metric
from hrm_core.tasks.predictions import Predictions
from hrm_tasks.sequences.alphabet import Alphabet
from hrm_tasks.sequences.baselines import Comparison, perplexity

NATS = Metric(
    "nats",
    "loss in nats per event",
    "nats per event",
    ".4f",
    higher_is_better=False,
    interval=("nats_low", "nats_high"),
)
PERPLEXITY = Metric("perplexity", "perplexity", "perplexity", ".3f", higher_is_better=False)
FIRST_GUESS = Metric("accuracy", "accuracy of the likeliest event", "likeliest right")
NORMAL_95 = 1.96  # standard errors


class Sequences:
    """Task of sequences of events over an alphabet, in windows of `seq_len` tokens."""

    name: str = "sequences"
    num_chunks: int = 1
    things = "windows"
    headline = NATS
    metrics = (PERPLEXITY, FIRST_GUESS)

    def __init__(self, alphabet: Alphabet, seq_len: int) -> None:
        self.alphabet = alphabet
        self.vocab_size = alphabet.vocab_size
        self.seq_len = seq_len
        self.settings: Mapping[str, Any] = alphabet.settings()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.alphabet!r}, {self.seq_len})"

    @classmethod
    def for_shape(cls, vocab_size: int, seq_len: int, settings: Mapping[str, Any]) -> Self | None:
        """Return the task with these settings; None if they are incomplete or not of this shape."""
        if settings.keys() != {"events", "contexts"}:
            return None
        alphabet = Alphabet.of_settings(settings["events"], settings["contexts"])
        if alphabet is None or alphabet.vocab_size != vocab_size:
            return None
        return cls(alphabet, seq_len)

    def measure(self, predictions: Predictions) -> dict[str, float]:
        """Compute all numbers of a report; every event weighs alike.

        The interval is that of a ratio over windows: the events of one are not independent.
        Source: Cochran 1977, Sampling Techniques, 6.4.
        """
        counted = predictions.select(predictions.is_counted)
        num_events = counted.num_labelled
        total = max(int(num_events.sum()), 1)
        sums = counted.lm_loss * num_events
        nats = float(sums.sum()) / total
        spread = float(np.square(sums - nats * num_events).sum())
        scale = len(counted) / max(len(counted) - 1, 1)
        error = math.sqrt(scale * spread) / total
        return {
            "nats": nats,
            "nats_low": nats - NORMAL_95 * error,
            "nats_high": nats + NORMAL_95 * error,
            "perplexity": perplexity(nats),
            "accuracy": int(counted.num_right.sum()) / total,
            "lm_loss": nats,
            "events": int(num_events.sum()),
            "count": len(counted),
        }

    def compare(self, data: Dataset, split: Split, predictions: Predictions) -> Comparison:
        """Compare the loss with that of n-grams, which `hrm data sequences` measured on the test."""
        values = self.measure(predictions)
        return Comparison.of(data.build, split.folder.name, values["nats"], int(values["events"]))


TASK = Sequences
