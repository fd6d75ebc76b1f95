"""Losses in float32, per sequence. Labels below zero are ignored.

Shapes: B sequences, S tokens, V vocabulary.
"""

import mlx.core as mx


def stablemax_cross_entropy(logits: mx.array, labels: mx.array) -> mx.array:
    """-log of stablemax, where s(a) = a + 1 for a >= 0 and 1 / (1 - a) below. Shapes: (B, S, V), (B, S) -> (B, S).

    Written with n = min(a, 0), so that neither branch can overflow where the other one is meant.
    Source: Prieto et al. 2025, arXiv 2501.04697.
    """
    logits = logits.astype(mx.float32)
    n = mx.minimum(logits, 0)
    log_sum = mx.log((logits - n + 1 / (1 - n)).sum(axis=-1))
    chosen = _chosen(logits, labels)
    n = mx.minimum(chosen, 0)
    return _where_labelled(log_sum - mx.log1p(chosen - n) + mx.log1p(-n), labels)


def softmax_cross_entropy(logits: mx.array, labels: mx.array) -> mx.array:
    """-log of softmax. Shapes: (B, S, V), (B, S) -> (B, S)."""
    logits = logits.astype(mx.float32)
    return _where_labelled(mx.logsumexp(logits, axis=-1) - _chosen(logits, labels), labels)


TOKEN_LOSSES = {
    "stablemax_cross_entropy": stablemax_cross_entropy,
    "softmax_cross_entropy": softmax_cross_entropy,
}


def binary_cross_entropy(logits: mx.array, targets: mx.array) -> mx.array:
    """Cross entropy of sigmoid(logits), whose gradient is exactly sigmoid(logits) - targets. Shapes: (B,), (B,) -> (B,).

    Exactly: at initialisation both are sigmoid(-5), and Adam-atan2 would make a full step of a difference of 1e-9.
    """
    value = mx.maximum(logits, 0) - logits * targets + mx.log1p(mx.exp(-mx.abs(logits)))
    slope = mx.stop_gradient(mx.sigmoid(logits) - targets)
    return mx.stop_gradient(value) + slope * (logits - mx.stop_gradient(logits))


def _chosen(logits: mx.array, labels: mx.array) -> mx.array:
    return mx.take_along_axis(logits, mx.maximum(labels, 0)[..., None], axis=-1).squeeze(-1)


def _where_labelled(losses: mx.array, labels: mx.array) -> mx.array:
    return mx.where(labels >= 0, losses, 0)
