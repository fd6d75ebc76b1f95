"""The task of sequences: predict each event from the events before it and from its context.

Shapes: N windows, S = `seq_len` tokens. Tokens are those of an `Alphabet`; labels stand on events
only, each one token before the event.
"""

from collections.abc import Mapping
from typing import Any, Self

from hrm_core.data.store import Dataset, Split
from hrm_core.tasks.contract import Metric
from hrm_core.tasks.predictions import Predictions
from hrm_core.tasks.token_losses import perplexity, token_loss
from hrm_tasks.sequences.alphabet import Alphabet
from hrm_tasks.sequences.baselines import Comparison

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
        """Compute all numbers of a report; every event weighs alike."""
        loss = token_loss(predictions)
        low, high = loss.interval
        return {
            "nats": loss.nats,
            "nats_low": low,
            "nats_high": high,
            "perplexity": perplexity(loss.nats),
            "accuracy": loss.accuracy,
            "lm_loss": loss.nats,
            "events": loss.num_tokens,
            "count": int(predictions.is_counted.sum()),
        }

    def compare(self, data: Dataset, split: Split, predictions: Predictions) -> Comparison:
        """Compare the loss with that of n-grams, which `hrm data sequences` measured on the test."""
        values = self.measure(predictions)
        return Comparison.of(data.build, split.folder.name, values["nats"], int(values["events"]))


TASK = Sequences
