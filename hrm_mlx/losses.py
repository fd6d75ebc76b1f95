"""Losses in float32, per sequence. Labels below zero are ignored.

Shapes: B sequences, S tokens, N rows of one token each, D hidden, V vocabulary.
"""

from typing import Any

import mlx.core as mx

from hrm_core.sizing import row_blocks
from hrm_mlx.kernels import exp, sum_of_many

Arrays = tuple[mx.array, ...]


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


def softmax_in_blocks(
    hidden: mx.array, weight: mx.array, labels: mx.array, shares: mx.array
) -> tuple[mx.array, mx.array]:
    """The sum of shares · softmax cross entropy, and the likeliest token of each row, of logits that are never whole.

    The gradient is computed with the loss: each block of logits is needed once. Where a share is 0 the label is ignored.
    Shapes: (N, D), (V, D), (N,), (N,) float32 -> (), (N,) int32.
    """

    @mx.custom_function
    def loss_and_gradients(hidden: mx.array, weight: mx.array) -> Arrays:
        return _in_blocks(hidden, weight, labels, shares)

    @loss_and_gradients.vjp
    def pull_back(_: object, cotangents: Arrays, outputs: Arrays) -> Arrays:
        return tuple((cotangents[0] * gradient).astype(gradient.dtype) for gradient in outputs[2:])

    found: Any = loss_and_gradients(hidden, weight)
    return found[0], found[1]


def binary_cross_entropy(logits: mx.array, targets: mx.array) -> mx.array:
    """Cross entropy of sigmoid(logits), whose gradient is exactly sigmoid(logits) - targets. Shapes: (B,), (B,) -> (B,).

    Exactly: at initialisation both are sigmoid(-5), and Adam-atan2 would make a full step of a difference of 1e-9.
    """
    value = mx.maximum(logits, 0) - logits * targets + mx.log1p(mx.exp(-mx.abs(logits)))
    slope = mx.stop_gradient(mx.sigmoid(logits) - targets)
    return mx.stop_gradient(value) + slope * (logits - mx.stop_gradient(logits))


def _in_blocks(hidden: mx.array, weight: mx.array, labels: mx.array, shares: mx.array) -> Arrays:
    """Loss (), tokens (N,), and the gradients of hidden (N, D) and weight (V, D), one block after the other."""
    loss = mx.array(0.0)
    of_weight = mx.zeros(weight.shape)  # float32: a sum over blocks
    tokens: list[mx.array] = []
    of_hidden: list[mx.array] = []
    for rows in row_blocks(len(hidden), len(weight)):
        # after the block before it, or the logits of all of them would be held at once
        (block,) = mx.depends([hidden[rows]], [loss, of_weight, *tokens[-1:], *of_hidden[-1:]])
        result = _block(block, weight, labels[rows], shares[rows], of_weight)
        loss, of_weight = loss + result[0], result[3]
        tokens.append(result[1])
        of_hidden.append(result[2])
    return (
        loss,
        mx.concatenate(tokens),
        mx.concatenate(of_hidden),
        of_weight.astype(weight.dtype),
    )


def _block(
    hidden: mx.array, weight: mx.array, labels: mx.array, shares: mx.array, of_weight: mx.array
) -> Arrays:
    """The same for one block; the gradient of weight is added to that of the blocks before."""
    logits = (hidden @ weight.T).astype(mx.float32)
    tokens = mx.argmax(logits, axis=-1)
    chosen = mx.maximum(labels, 0)
    largest = mx.take_along_axis(logits, tokens[:, None], axis=-1)
    scores = exp(logits - largest)
    sums = sum_of_many(scores)
    losses = mx.log(sums) + (largest.squeeze(-1) - _chosen(logits, chosen))
    slopes = scores.at[mx.arange(len(labels)), chosen].add(-sums).astype(hidden.dtype)
    factors = (shares / sums)[:, None]  # what makes slopes of softmax of them
    of_hidden = ((slopes @ weight) * factors).astype(hidden.dtype)
    scaled = (hidden * factors).astype(hidden.dtype)
    of_weight = _added(of_weight, slopes.T, scaled)
    return (shares * losses).sum(), tokens.astype(mx.int32), of_hidden, of_weight


def _added(total: mx.array, a: mx.array, b: mx.array) -> mx.array:
    """Total + a @ b, in the dtype of `total`."""
    if a.dtype == total.dtype:
        return mx.addmm(total, a, b)
    return total + a @ b


def _chosen(logits: mx.array, labels: mx.array) -> mx.array:
    return mx.take_along_axis(logits, mx.maximum(labels, 0)[..., None], axis=-1).squeeze(-1)


def _where_labelled(losses: mx.array, labels: mx.array) -> mx.array:
    return mx.where(labels >= 0, losses, 0)
