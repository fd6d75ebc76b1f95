"""Losses per sequence. Labels below zero are ignored.

Shapes: B sequences, S tokens, V vocabulary.
"""

import torch
import torch.nn.functional as F


def stablemax_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """-log of stablemax, where s(a) = a + 1 for a >= 0 and 1 / (1 - a) below. Shapes: (B, S, V), (B, S) -> (B, S).

    In float64 as published; Apple's GPUs have none. Written with n = min(a, 0), so that neither branch can overflow where
    the other one is meant. Source: Prieto et al. 2025, arXiv 2501.04697.
    """
    logits = logits.to(torch.float32 if logits.device.type == "mps" else torch.float64)
    n = logits.clamp(max=0)
    log_sum = (logits - n + 1 / (1 - n)).sum(dim=-1).log()
    chosen = _chosen(logits, labels)
    n = chosen.clamp(max=0)
    return _where_labelled(log_sum - torch.log1p(chosen - n) + torch.log1p(-n), labels)


def softmax_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """-log of softmax, in float32 or better. Shapes: (B, S, V), (B, S) -> (B, S)."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return _where_labelled(torch.logsumexp(logits, dim=-1) - _chosen(logits, labels), labels)


TOKEN_LOSSES = {
    "stablemax_cross_entropy": stablemax_cross_entropy,
    "softmax_cross_entropy": softmax_cross_entropy,
}


def binary_cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross entropy of sigmoid(logits), whose gradient is exactly sigmoid(logits) - targets. Shapes: (B,), (B,) -> (B,)."""
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none")


def _chosen(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return logits.gather(-1, labels.clamp(min=0).long()[..., None]).squeeze(-1)


def _where_labelled(losses: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return torch.where(labels >= 0, losses, 0)
