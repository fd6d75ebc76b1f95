"""Answers of one ACT step, reduced on the device: no array of (B, S, V) crosses to the host.

Losses here are those of evaluation: exact to float32's last digits, whatever the size of logits and vocabulary.
Those of training are in `losses.py`.

Shapes: B slots, S tokens, V vocabulary, P positions, C outcomes.
"""

from functools import cached_property
from typing import Any

import mlx.core as mx
import numpy as np

from hrm_core.backend import FloatArray, IntArray, Top
from hrm_core.sizing import cell_blocks, row_blocks
from hrm_mlx.arrays import to_numpy


def softmax_losses(logits: mx.array, labels: mx.array) -> mx.array:
    """-log of softmax, of logits of any size. Shapes: (..., V), (...) labels >= 0 -> (...)."""
    logits = logits.astype(mx.float32)
    largest = logits.max(axis=-1)
    shares = mx.exp(logits - largest[..., None])
    return mx.log(accurate_sum(shares)) + (largest - _chosen(logits, labels))


def stablemax_losses(logits: mx.array, labels: mx.array) -> mx.array:
    """-log of stablemax, of logits of any size. Shapes: (..., V), (...) labels >= 0 -> (...).

    With p = max(a, 0) and n = min(a, 0), s(a) = p + 1 / (1 - n) and log s(a) = log1p(p) - log1p(-n).
    """
    p, n = (part.astype(mx.float32) for part in (mx.maximum(logits, 0), mx.minimum(logits, 0)))
    largest_p, largest_n = p.max(axis=-1), n.max(axis=-1)
    scores = p + 1 / (1 - n)
    shares = scores / scores.max(axis=-1, keepdims=True)
    chosen_p, chosen_n = _chosen(p, labels), _chosen(n, labels)
    above = mx.log1p((largest_p - chosen_p) / (1 + chosen_p))
    below = mx.log1p((largest_n - chosen_n) / (1 - largest_n))
    return mx.log(accurate_sum(shares)) + (above + below)


EVALUATION_LOSSES = {
    "stablemax_cross_entropy": stablemax_losses,
    "softmax_cross_entropy": softmax_losses,
}


def log_softmax(logits: mx.array) -> mx.array:
    """The log of softmax over the last axis, in float32."""
    logits = logits.astype(mx.float32)
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - mx.log(accurate_sum(mx.exp(shifted)))[..., None]


def accurate_sum(values: mx.array) -> mx.array:
    """The sum over the last axis, of halves of halves: one running float32 sum of 50,265 may miss 5e-4 of it."""
    while (count := values.shape[-1]) > 1:
        if count % 2:
            values = mx.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, 1)])
        half = values.shape[-1] // 2
        values = values[..., :half] + values[..., half:]
    return values[..., 0]


class LazyLogits:
    """Logits (B, S, V) of a large vocabulary: those of some cells are made when they are asked for."""

    def __init__(self, hidden: mx.array, weight: mx.array) -> None:
        self._hidden, self._weight = hidden, weight  # (B, S, D), (V, D)
        self.shape = (*hidden.shape[:-1], len(weight))

    def __len__(self) -> int:
        return len(self._hidden)

    def __getitem__(self, cells: Any) -> mx.array:
        return self._hidden[cells] @ self._weight.T

    def of_tokens(self, cells: Any, tokens: mx.array) -> mx.array:
        """Logits of these tokens (C,) alone. Returns: (..., C)."""
        return self._hidden[cells] @ self._weight[tokens].T


class Answers:
    """Answers that are fetched when they are read."""

    def __init__(
        self,
        logits: mx.array | LazyLogits,
        q_halt_logits: mx.array,
        q_continue_logits: mx.array,
        loss_type: str,
    ) -> None:
        self._logits, self._q_halt, self._q_continue = logits, q_halt_logits, q_continue_logits
        self._loss_type = loss_type

    @cached_property
    def tokens(self) -> IntArray:
        """(B, S) the most likely token of each cell."""
        tokens = np.zeros(self._logits.shape[:2], np.int32)
        for block in cell_blocks(self._logits.shape):
            tokens[block] = to_numpy(mx.argmax(self._logits[block], axis=-1).astype(mx.int32))
        return tokens

    @cached_property
    def q_halt_logits(self) -> FloatArray:
        """(B,)."""
        return to_numpy(self._q_halt)

    @cached_property
    def q_continue_logits(self) -> FloatArray:
        """(B,)."""
        return to_numpy(self._q_continue)

    def label_losses(self, labels: IntArray) -> FloatArray:
        """(B, S) cross entropy of each labelled cell, in blocks of rows."""
        losses = np.zeros(labels.shape, np.float32)
        for block in cell_blocks(self._logits.shape):
            chosen = mx.array(np.maximum(labels[block], 0))
            found = EVALUATION_LOSSES[self._loss_type](self._logits[block], chosen)
            losses[block] = to_numpy(found)
        return np.where(labels >= 0, losses, np.float32(0))

    def probabilities(self, positions: IntArray, tokens: IntArray) -> FloatArray:
        """(B, P, C) softmax over `tokens` alone, at each position."""
        cells = mx.arange(len(self._logits))[:, None], mx.array(positions)
        if isinstance(self._logits, LazyLogits):
            chosen = self._logits.of_tokens(cells, mx.array(tokens))
        else:
            chosen = self._logits[cells[0][..., None], cells[1][..., None], mx.array(tokens)]
        return to_numpy(mx.exp(log_softmax(chosen)))

    def top(self, position: int | IntArray, k: int) -> Top:
        """The k most likely tokens of each slot at a position."""
        num_slots, _, vocab_size = self._logits.shape
        positions = mx.broadcast_to(mx.array(position), (num_slots,))
        parts = []
        for slots in row_blocks(num_slots, vocab_size):
            logits = self._logits[mx.arange(num_slots)[slots], positions[slots]]  # (b, V)
            tokens = mx.argsort(-logits, axis=-1)[:, :k]
            found = mx.take_along_axis(log_softmax(logits), tokens, axis=-1)
            parts.append((to_numpy(tokens.astype(mx.int32)), to_numpy(found)))
        return Top(*map(np.concatenate, zip(*parts, strict=True)))

    @cached_property
    def logits(self) -> FloatArray:
        """(B, S, V)."""
        return to_numpy(self._logits[:].astype(mx.float32))


def _chosen(values: mx.array, labels: mx.array) -> mx.array:
    return mx.take_along_axis(values, labels[..., None], axis=-1).squeeze(-1)
