"""Measure the stateful way of generation: the carry is kept while a text grows, one more ACT step a token.

An experiment beside the stateless way, which is the one that models are trained for.

Shapes: N windows, B of one batch, S = `seq_len`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hrm_core.backend import Backend
from hrm_core.config import ModelConfig
from hrm_core.data.batches import evaluation_batches
from hrm_core.data.store import Split
from hrm_core.errors import ConfigError, PuzzleError
from hrm_core.inference.evaluation import evaluate
from hrm_core.tasks.capabilities import Generative, Table
from hrm_core.tasks.contract import Metric, Task
from hrm_core.tasks.token_losses import token_loss

DEFAULT_LIMIT = 64  # windows: one of S tokens takes S forwards

IntArray = npt.NDArray[np.int32]
FloatArray = npt.NDArray[np.float64]


class Loss(NamedTuple):
    """Loss of all tokens of some windows."""

    headline: float  # of the task: bits per character
    nats: float  # a token


@dataclass(frozen=True)
class StatefulReport:
    """Losses of both ways on the same windows, and their paired difference."""

    metric: Metric
    things: str
    count: int
    stateless: Loss
    stateful: Loss
    error: float | None  # of the difference in nats, over windows; None of a single one

    @property
    def difference(self) -> Loss:
        """Return the losses of the stateful way less those of the stateless one."""
        pairs = zip(self.stateful, self.stateless, strict=True)
        return Loss(*(other - one for other, one in pairs))

    @property
    def headline_error(self) -> float | None:
        """Return the standard error of the difference of headlines, which are in proportion to nats."""
        if self.error is None or not self.stateless.nats:
            return None
        return self.error * self.stateless.headline / self.stateless.nats

    def record(self) -> Mapping[str, Any]:
        """Return the numbers for scripts."""
        key = self.metric.key
        difference = self.difference
        found = {
            "count": self.count,
            f"{key}_stateless": self.stateless.headline,
            f"{key}_stateful": self.stateful.headline,
            f"{key}_difference": difference.headline,
            f"{key}_difference_error": self.headline_error,
            "nats_stateless": self.stateless.nats,
            "nats_stateful": self.stateful.nats,
            "nats_difference": difference.nats,
            "nats_difference_error": self.error,
        }
        return {"stateful": found}

    def pages(self) -> Sequence[str | Table]:
        """Return the table for a person."""
        rows = [
            ["stateless, as trained", *self._texts(self.stateless)],
            ["stateful, an experiment", *self._texts(self.stateful)],
            ["difference ± standard error", *self._texts_of_difference()],
        ]
        title = (
            "Stateful, an experiment: the carry is kept while the text grows; "
            f"{self.count:,} {self.things}"
        )
        return [Table(title, ["", self.metric.heading, "nats a token"], rows)]

    def _texts(self, loss: Loss) -> list[str]:
        return [self.metric.text(loss.headline), f"{loss.nats:.4f}"]

    def _texts_of_difference(self) -> list[str]:
        headline, nats = (f"{value:+.4f}" for value in self.difference)
        if self.error is None or self.headline_error is None:
            return [headline, nats]
        return [f"{headline} ± {self.headline_error:.4f}", f"{nats} ± {self.error:.4f}"]


def check_stateful(task: Task | None, config: ModelConfig) -> None:
    """Refuse a model whose text cannot grow token by token. Raises: PuzzleError, ConfigError."""
    if not isinstance(task, Generative):
        found = "of an unknown task" if task is None else task.name
        raise PuzzleError(f"--stateful is for models of text, this one is {found}; leave it out")
    is_causal = config.attention != "full" and not config.learns_to_halt
    if not is_causal or config.num_chunks > 1:
        raise ConfigError(
            f"--stateful needs causal or prefix attention, fixed halting and one chunk; this model "
            f"has attention={config.attention}, halting={config.halting}, "
            f"num_chunks={config.num_chunks}; leave it out"
        )


def measure_stateful(
    backend: Backend,
    split: Split,
    task: Task,
    batch_size: int,
    limit: int,
    on_batch: Callable[[int], None] = lambda num_windows: None,
) -> StatefulReport:
    """Measure the first `limit` windows of each set both ways. Raises: as `check_stateful` does."""
    check_stateful(task, backend.config)
    stateless, _ = evaluate(backend, split, task, batch_size, limit)
    sums = _loss_sums(backend, split, batch_size, limit, on_batch)
    losses = sums / np.maximum(stateless.num_labelled, 1)
    stateful = replace(stateless, lm_loss=losses)
    paired = replace(stateless, lm_loss=losses - stateless.lm_loss)
    metric, between = task.headline, token_loss(paired)
    one, other = (task.measure(each)[metric.key] for each in (stateless, stateful))
    count = int(stateless.is_counted.sum())
    return StatefulReport(
        metric,
        task.things,
        count,
        stateless=Loss(one, token_loss(stateless).nats),
        stateful=Loss(other, token_loss(stateful).nats),
        error=between.error if count > 1 else None,
    )


def _loss_sums(
    backend: Backend,
    split: Split,
    batch_size: int,
    limit: int,
    on_batch: Callable[[int], None],
) -> FloatArray:
    """Sum the losses of all labels of each window, in file order. Returns: (N,) nats."""
    parts = [np.empty(0)]
    for batch in evaluation_batches(split, batch_size, limit=limit):
        is_window = batch.example_index >= 0  # the others are padding
        inputs, labels = batch.inputs[is_window], batch.labels[is_window]
        ids = batch.puzzle_identifiers[is_window]
        prefix_len = np.zeros(len(inputs), np.int32)
        if batch.prefix_len is not None and backend.config.attention == "prefix":
            prefix_len = batch.prefix_len[is_window]
        sums = np.zeros(len(inputs))
        for length in np.unique(prefix_len).tolist():  # of one length at a time
            rows = np.flatnonzero(prefix_len == length)
            asked = inputs[rows], labels[rows], ids[rows]
            for losses in stateful_losses(backend, *asked, length):
                sums[rows] += losses
            on_batch(len(rows))
        parts.append(sums)
    return np.concatenate(parts)


def stateful_losses(
    backend: Backend, inputs: IntArray, labels: IntArray, ids: IntArray, prefix_len: int = 0
) -> Iterator[FloatArray]:
    """Yield the losses (B,) in nats at each position that has a label, 0 where a window has none.

    The first token, or the whole prefix, takes the ACT steps that the model was trained for. With
    every further one all tokens so far take one more from the states they had. Shapes: (B, S), (B, S), (B,).
    """
    is_labelled = np.any(labels >= 0, axis=0, keepdims=False)
    num_needed = int(np.flatnonzero(is_labelled).max(initial=-1)) + 1
    before, steps = None, None
    for length in range(max(prefix_len, 1), num_needed + 1):
        begun = backend.begin_sequences(ids, prefix_len, before, steps)
        before, answers = backend.extend(begun, inputs[:, :length])
        steps = 1
        if is_labelled[length - 1]:
            losses = answers.label_losses(labels[:, :length])[:, -1]
            yield losses.astype(np.float64)
