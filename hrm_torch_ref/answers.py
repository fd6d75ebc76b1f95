"""Answers of one ACT step, reduced on the device: no array of (B, S, V) crosses to the host.

Losses here are those of evaluation: exact to float32's last digits, whatever the size of logits and vocabulary.
Those of training are in `losses.py`.

Shapes: B slots, S tokens, V vocabulary, P positions, C outcomes.
"""

from functools import cached_property
from typing import Any

import numpy as np
import torch

from hrm_core.backend import FloatArray, IntArray, Top
from hrm_core.sizing import cell_blocks, row_blocks
from hrm_torch_ref.arrays import at_least_float32, to_numpy


def softmax_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """-log of softmax, of logits of any size. Shapes: (..., V), (...) labels >= 0 -> (...)."""
    logits = _exact(logits)
    largest = logits.amax(dim=-1)
    shares = torch.exp(logits - largest[..., None])
    return torch.log(shares.sum(dim=-1)) + (largest - _chosen(logits, labels))


def stablemax_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """-log of stablemax, of logits of any size. Shapes: (..., V), (...) labels >= 0 -> (...).

    With p = max(a, 0) and n = min(a, 0), s(a) = p + 1 / (1 - n) and log s(a) = log1p(p) - log1p(-n).
    """
    p, n = (_exact(part) for part in (logits.clamp(min=0), logits.clamp(max=0)))
    largest_p, largest_n = p.amax(dim=-1), n.amax(dim=-1)
    scores = p + 1 / (1 - n)
    shares = scores / scores.amax(dim=-1, keepdim=True)
    chosen_p, chosen_n = _chosen(p, labels), _chosen(n, labels)
    above = torch.log1p((largest_p - chosen_p) / (1 + chosen_p))
    below = torch.log1p((largest_n - chosen_n) / (1 - largest_n))
    return torch.log(shares.sum(dim=-1)) + (above + below)


EVALUATION_LOSSES = {
    "stablemax_cross_entropy": stablemax_losses,
    "softmax_cross_entropy": softmax_losses,
}


def log_softmax(logits: torch.Tensor) -> torch.Tensor:
    """The log of softmax over the last axis."""
    logits = _exact(logits)
    shifted = logits - logits.amax(dim=-1, keepdim=True)
    return shifted - torch.log(torch.exp(shifted).sum(dim=-1, keepdim=True))


class LazyLogits:
    """Logits (B, S, V) of a large vocabulary: those of some cells are made when they are asked for."""

    def __init__(self, hidden: torch.Tensor, weight: torch.Tensor) -> None:
        self._hidden, self._weight = hidden, weight  # (B, S, D), (V, D)
        self.device = hidden.device
        self.shape = (*hidden.shape[:-1], len(weight))

    def __len__(self) -> int:
        return len(self._hidden)

    def __getitem__(self, cells: Any) -> torch.Tensor:
        return self._hidden[cells] @ self._weight.T

    def of_tokens(self, cells: Any, tokens: torch.Tensor) -> torch.Tensor:
        """Logits of these tokens (C,) alone. Returns: (..., C)."""
        return self._hidden[cells] @ self._weight[tokens].T


class Answers:
    """Answers that are fetched when they are read."""

    def __init__(
        self,
        logits: torch.Tensor | LazyLogits,
        q_halt_logits: torch.Tensor,
        q_continue_logits: torch.Tensor,
        loss_type: str,
    ) -> None:
        self._logits, self._q_halt, self._q_continue = logits, q_halt_logits, q_continue_logits
        self._loss_type = loss_type

    @cached_property
    @torch.inference_mode()
    def tokens(self) -> IntArray:
        """(B, S) the most likely token of each cell."""
        tokens = np.zeros(self._logits.shape[:2], np.int32)
        for block in cell_blocks(self._logits.shape):
            tokens[block] = to_numpy(self._logits[block].argmax(dim=-1).int())
        return tokens

    @cached_property
    def q_halt_logits(self) -> FloatArray:
        """(B,)."""
        return to_numpy(self._q_halt)

    @cached_property
    def q_continue_logits(self) -> FloatArray:
        """(B,)."""
        return to_numpy(self._q_continue)

    @torch.inference_mode()
    def label_losses(self, labels: IntArray) -> FloatArray:
        """(B, S) cross entropy of each labelled cell, in blocks of rows."""
        losses = np.zeros(labels.shape, np.float32)
        for block in cell_blocks(self._logits.shape):
            chosen = self._tensor(np.maximum(labels[block], 0))
            found = EVALUATION_LOSSES[self._loss_type](self._logits[block], chosen)
            losses[block] = to_numpy(found.float())
        return np.where(labels >= 0, losses, np.float32(0))

    @torch.inference_mode()
    def probabilities(self, positions: IntArray, tokens: IntArray) -> FloatArray:
        """(B, P, C) softmax over `tokens` alone, at each position."""
        slots = torch.arange(len(self._logits), device=self._logits.device)
        cells = slots[:, None], self._tensor(positions)
        if isinstance(self._logits, LazyLogits):
            chosen = self._logits.of_tokens(cells, self._tensor(tokens))
        else:
            chosen = self._logits[cells[0][..., None], cells[1][..., None], self._tensor(tokens)]
        return to_numpy(torch.exp(log_softmax(chosen)).float())

    @torch.inference_mode()
    def top(self, position: int | IntArray, k: int) -> Top:
        """The k most likely tokens of each slot at a position."""
        num_slots, _, vocab_size = self._logits.shape
        numbers = torch.arange(num_slots, device=self._logits.device)
        positions = self._tensor(position).expand(num_slots)
        parts = []
        for slots in row_blocks(num_slots, vocab_size):
            logits = self._logits[numbers[slots], positions[slots]]  # (b, V)
            tokens = torch.argsort(logits, dim=-1, descending=True, stable=True)[:, :k]
            found = log_softmax(logits).gather(-1, tokens)
            parts.append((to_numpy(tokens.int()), to_numpy(found.float())))
        return Top(*map(np.concatenate, zip(*parts, strict=True)))

    @cached_property
    @torch.inference_mode()
    def logits(self) -> FloatArray:
        """(B, S, V)."""
        return to_numpy(at_least_float32(self._logits[:]))

    def _tensor(self, numbers: int | IntArray) -> torch.Tensor:
        return torch.as_tensor(numbers, dtype=torch.int64).to(self._logits.device)


def _chosen(values: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return values.gather(-1, labels[..., None]).squeeze(-1)


def _exact(values: torch.Tensor) -> torch.Tensor:
    """In float64; Apple's GPUs have none, and sum in short pieces."""
    return values.to(torch.float32 if values.device.type == "mps" else torch.float64)
