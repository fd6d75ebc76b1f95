"""Losses per sequence. Labels below zero are ignored.

Shapes: B sequences, S tokens, N rows of one token each, D hidden, V vocabulary.
"""

from typing import Any

import torch
import torch.nn.functional as F

from hrm_core.sizing import row_blocks

Tensors = tuple[torch.Tensor, ...]
BLOCK_BYTES = 48 * 2**20  # of the logits that are held at once
GROUP = 128  # logits of which the largest is found at once
CACHED_VALUES = 400 * 2**10  # logits that stay in the cache of a core: 1.6 MiB in float32


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


class _InBlocks(torch.autograd.Function):
    """`_in_blocks` for autograd."""

    @staticmethod
    def forward(context: Any, *given: torch.Tensor) -> Tensors:
        loss, tokens, *gradients = _in_blocks(*given)
        context.save_for_backward(*gradients)
        context.mark_non_differentiable(tokens)
        return loss, tokens

    @staticmethod
    def backward(context: Any, slope: torch.Tensor, _: torch.Tensor) -> Any:
        of_hidden, of_weight = context.saved_tensors
        return slope * of_hidden, slope * of_weight, None, None


def softmax_in_blocks(
    hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor, shares: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The sum of shares · softmax cross entropy, and the likeliest token of each row, of logits that are never whole.

    The gradient is computed with the loss: each block of logits is needed once. Where a share is 0 the label is ignored.
    Shapes: (N, D), (V, D), (N,), (N,) float32 or better -> (), (N,) int32.
    """
    loss, tokens = _InBlocks.apply(hidden, weight, labels, shares)
    return loss, tokens


def binary_cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross entropy of sigmoid(logits), whose gradient is exactly sigmoid(logits) - targets. Shapes: (B,), (B,) -> (B,)."""
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none")


def _in_blocks(
    hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor, shares: torch.Tensor
) -> Tensors:
    """Loss (), tokens (N,), and the gradients of hidden (N, D) and weight (V, D), one block after the other."""
    wide = torch.promote_types(weight.dtype, torch.float32)
    loss = torch.zeros((), dtype=wide, device=weight.device)
    of_weight = torch.zeros_like(weight.T, dtype=wide, memory_format=torch.contiguous_format)
    tokens: list[torch.Tensor] = []
    of_hidden: list[torch.Tensor] = []
    blocks = list(row_blocks(len(hidden), len(weight), BLOCK_BYTES // weight.itemsize))
    # one array for the logits of all blocks: a new one each time costs more than a product does
    room = weight.new_empty((len(hidden[blocks[0]]), len(weight)))
    for rows in blocks:
        logits = room[: len(hidden[rows])]
        result = _block(hidden[rows], weight, labels[rows], shares[rows], logits, of_weight)
        loss = loss + result[0]
        tokens.append(result[1])
        of_hidden.append(result[2])
    return loss, torch.cat(tokens), torch.cat(of_hidden), of_weight.T.to(weight.dtype).contiguous()


def _block(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    labels: torch.Tensor,
    shares: torch.Tensor,
    logits: torch.Tensor,
    of_weight: torch.Tensor,
) -> Tensors:
    """The same for one block, whose logits are written into `logits`; the gradient of weight is added to `of_weight` (D, V)."""
    torch.mm(hidden, weight.T, out=logits)
    largest, tokens = _largest(logits)
    largest = largest.to(of_weight.dtype)
    chosen = labels.clamp(min=0).long()[:, None]
    likelihoods = logits.gather(-1, chosen)
    sums = _slopes_of(logits, largest, chosen)
    losses = sums.log() + (largest - likelihoods)
    factors = shares[:, None] / sums  # what makes slopes of softmax of them
    of_hidden = (logits @ weight * factors).to(hidden.dtype)
    scaled = (hidden * factors).to(hidden.dtype)
    _added(of_weight, scaled.T.contiguous(), logits)
    return (shares * losses[:, 0]).sum(), tokens[:, 0].int(), of_hidden


def _largest(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest logit (N, 1) of each row and where it stands (N, 1).

    The largest of each group of logits is found first: on a CPU that takes a seventh of the time of one search for places.
    """
    num_groups = logits.shape[1] // GROUP
    grouped = logits[:, : num_groups * GROUP].unflatten(1, (num_groups, GROUP))
    tops = [grouped.amax(dim=-1)]
    if logits.shape[1] % GROUP:
        tops.append(logits[:, num_groups * GROUP :].amax(dim=-1, keepdim=True))
    largest, group = torch.cat(tops, dim=1).max(dim=-1, keepdim=True)
    first = group * GROUP
    places = first + torch.arange(GROUP, device=logits.device)
    inside = logits.gather(-1, places.clamp(max=logits.shape[1] - 1)).argmax(dim=-1, keepdim=True)
    return largest, first + inside


def _slopes_of(logits: torch.Tensor, largest: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Turn logits (N, V) in their place into slopes: exp(logit - largest), less the row's sum where the label stands.

    Returns: (N, 1) the sums. On a CPU a few rows at a time, which stay in its cache from the one operation to the next.
    """
    sums = torch.empty_like(largest)
    at_once = CACHED_VALUES if logits.device.type == "cpu" else logits.numel()
    for part in row_blocks(len(logits), logits.shape[1], at_once):
        scores = logits[part].to(largest.dtype).sub_(largest[part]).exp_()
        torch.sum(scores, dim=-1, keepdim=True, out=sums[part])
        scores.scatter_add_(-1, chosen[part], -sums[part])
        if scores.dtype != logits.dtype:  # else they are the same memory
            logits[part] = scores
    return sums


def _added(total: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Total + a @ b, in the dtype of `total` and in its place."""
    if a.dtype == total.dtype:
        return total.addmm_(a, b)
    return total.add_(a @ b)


def _chosen(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return logits.gather(-1, labels.clamp(min=0).long()[..., None]).squeeze(-1)


def _where_labelled(losses: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return torch.where(labels >= 0, losses, 0)
