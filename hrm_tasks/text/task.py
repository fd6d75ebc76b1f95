"""Text as a task: measures, generation, and n-grams beside a model.

Shapes: N windows, A ACT steps, V tokens.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from hrm_core.data.store import Dataset, Split
from hrm_core.errors import DataError
from hrm_core.pictures.charts import draw_steps
from hrm_core.tasks.capabilities import Continuation, Table
from hrm_core.tasks.contract import Metric, TokenArray
from hrm_core.tasks.predictions import Predictions
from hrm_core.tasks.token_losses import perplexity, token_loss
from hrm_tasks.text.tokenizer import FILE, BytePairs, Characters, Growing

BASELINE = "kneser_ney_5"  # key in build.json and --json, nats a token there
PERPLEXITY = Metric("perplexity", "perplexity a token", "perplexity", ".2f", higher_is_better=False)
NEXT_TOKEN = Metric("accuracy", "next token right", "next token")


def bits_metric(unit: str) -> Metric:
    """Return the headline: bits a character or byte."""
    return Metric(
        "bits",
        f"bits per {unit}",
        f"bits/{unit}",
        ".3f",
        higher_is_better=False,
        interval=("bits_low", "bits_high"),
    )


class Text:
    """Text of one vocabulary in windows of one length."""

    name = "text"
    num_chunks = 1
    things = "windows"
    headline = bits_metric("character or byte")
    metrics = (PERPLEXITY, NEXT_TOKEN)
    data_settings = ("bytes_per_token",)

    def __init__(
        self,
        vocab_size: int,
        seq_len: int,
        settings: Mapping[str, Any],
        tokenizer: Characters | BytePairs | None = None,
    ) -> None:
        self.vocab_size, self.seq_len, self.settings = vocab_size, seq_len, settings
        alphabet = settings.get("alphabet")
        self._is_characters = alphabet is not None
        self._tokenizer = Characters(alphabet) if alphabet is not None else tokenizer
        self.unit = "character" if self._is_characters else "byte"
        self.headline = bits_metric(self.unit)
        self.file_names: Sequence[str] = () if self._is_characters else (FILE,)

    @classmethod
    def for_shape(cls, vocab_size: int, seq_len: int, settings: Mapping[str, Any]) -> Self | None:
        """Return the task of these sizes and settings; None if they do not go together."""
        alphabet, sha256 = settings.get("alphabet"), settings.get("tokenizer")
        if isinstance(alphabet, str) and vocab_size == 1 + len(alphabet):
            return cls(vocab_size, seq_len, settings)
        bytes_per_token = settings.get("bytes_per_token")
        is_number = isinstance(bytes_per_token, int | float) and bytes_per_token > 0
        return cls(vocab_size, seq_len, settings) if isinstance(sha256, str) and is_number else None

    def bits(self, nats: float) -> float:
        """Convert a loss in nats a token to bits per character or byte."""
        return nats / math.log(2) / float(self.settings.get("bytes_per_token", 1))

    def measure(self, predictions: Predictions) -> Mapping[str, float]:
        """Compute bits, perplexity and the share of right tokens; every token weighs alike."""
        loss = token_loss(predictions)
        low, high = loss.interval
        return {
            "bits": self.bits(loss.nats),
            "bits_low": self.bits(low),
            "bits_high": self.bits(high),
            "perplexity": perplexity(loss.nats),
            "perplexity_error": perplexity(loss.nats) * loss.error,
            "nats": loss.nats,
            "nats_error": loss.error,
            "accuracy": loss.accuracy,
            "tokens": loss.num_tokens,
            "count": int(predictions.is_counted.sum()),
        }

    def compare(self, data: Dataset, split: Split, predictions: Predictions) -> "Comparison":
        """Put the 5-gram of the same text beside a model, and the loss after each ACT step."""
        values = self.measure(predictions)
        baselines = data.build.get("baselines")
        known = baselines.get(BASELINE) if isinstance(baselines, dict) else None
        is_test = split.folder.name == "test"
        ngram = self.bits(known) if is_test and isinstance(known, float) else None
        steps: list[float] = []
        if predictions.step_losses is not None:
            sums = predictions.step_losses.sum(axis=0, dtype=np.float64)
            steps = [self.bits(nats) for nats in (sums / max(values["tokens"], 1)).tolist()]
        return Comparison(self, values, ngram, steps)

    def draw(self, comparison: "Comparison", out: Path) -> None:
        """Draw the loss after each ACT step beside the n-gram's. Raises: HRMError, BackendError."""
        title = f"{self.headline.title} after each ACT step"
        baselines = {}
        if comparison.ngram is not None:
            baselines["Kneser-Ney 5-gram"] = comparison.ngram
        draw_steps(out, title, comparison.steps or [comparison.values["bits"]], baselines)

    @property
    def tokenizer(self) -> Characters | BytePairs:
        """Return its tokenizer. Raises: DataError if the model has none with it."""
        if self._tokenizer is None:
            raise DataError(f"{FILE} is not with this model; use a model that was trained by hrm")
        return self._tokenizer

    def with_files(self, files: Mapping[str, str]) -> Self:
        """Return the same task with its tokenizer. Raises: DataError if it is another one."""
        text = files.get(FILE)
        if self._is_characters or text is None:
            return self
        if hashlib.sha256(text.encode()).hexdigest() != self.settings["tokenizer"]:
            raise DataError(f"{FILE} is not the tokenizer of this model; use the one it came with")
        tokenizer = BytePairs(text)
        if tokenizer.vocab_size != self.vocab_size:
            raise DataError(
                f"{FILE} has {tokenizer.vocab_size:,} tokens, the model {self.vocab_size:,}; "
                "use the tokenizer it was trained with"
            )
        return type(self)(self.vocab_size, self.seq_len, self.settings, tokenizer)

    @property
    def token_texts(self) -> Sequence[str]:
        """Return the text of each token, (V,); "" for special ones and parts of a character.

        Raises: DataError if the model has no tokenizer with it.
        """
        return self.tokenizer.texts()

    @property
    def stop_token(self) -> int | None:
        """Return the token that ends a text, if there is one."""
        end = self.tokenizer.end
        return end[0] if end else None

    @property
    def banned_tokens(self) -> Sequence[int]:
        """Return the tokens that no text has: padding."""
        return (self.tokenizer.pad,)

    def encode(self, text: str) -> TokenArray:
        """Return the tokens of a prompt, with the one that begins a text. Raises: PuzzleError."""
        begin = np.array(self.tokenizer.begin, np.int32)
        return np.concatenate([begin, self.tokenizer.encode(text)])

    def decode(self, tokens: TokenArray) -> str:
        """Return the text of some tokens, without special ones."""
        return self.tokenizer.decode(tokens)

    def continuation(self) -> Continuation:
        """Return an empty text behind a prompt."""
        return Growing(self.tokenizer)


@dataclass(frozen=True)
class Comparison:
    """A model beside the n-gram of the same text."""

    task: Text
    values: Mapping[str, float]
    ngram: float | None  # bits, on the whole test
    steps: Sequence[float]  # bits after each ACT step; none if they were not measured

    def record(self) -> Mapping[str, Any]:
        """Return the numbers for scripts."""
        return {BASELINE: self.ngram, f"{self.task.headline.key}_by_step": list(self.steps)}

    def pages(self) -> Sequence[str | Table]:
        """Return the tables for a person."""
        heading = self.task.headline.heading
        values = self.values
        rows = [
            [
                "this model",
                f"{values['bits']:.3f}",
                f"{values['perplexity']:.2f} ± {values['perplexity_error']:.2f}",
            ]
        ]
        if self.ngram is not None:
            nats = self.ngram * math.log(2) * float(self.task.settings.get("bytes_per_token", 1))
            rows.append(
                ["Kneser-Ney 5-gram, whole test", f"{self.ngram:.3f}", f"{math.exp(nats):.2f}"]
            )
        pages: list[str | Table] = [
            Table("Beside it, from the same text", ["", heading, "perplexity a token"], rows)
        ]
        if len(self.steps) > 1:
            of_steps = [[str(step), f"{bits:.3f}"] for step, bits in enumerate(self.steps, start=1)]
            pages.append(Table("After each ACT step", ["ACT step", heading], of_steps))
        return pages


TASK = Text
