"""Adaptive computation time: the carry from ACT step to ACT step, its loss and its metrics.

A slot works on one example until it halts, then takes its row of the next batch.
Shapes: B slots, C chunks, S tokens of one, T positions, D hidden, E puzzle_emb_ndim, V vocabulary.
"""

from functools import reduce
from operator import add
from typing import NamedTuple

import mlx.core as mx

from hrm_core.config import ModelConfig
from hrm_mlx.losses import TOKEN_LOSSES, binary_cross_entropy, softmax_in_blocks
from hrm_mlx.model import HRM, Output


class Data(NamedTuple):
    """One row for each slot."""

    inputs: mx.array  # (B, C S) int32
    labels: mx.array  # (B, C S) int32
    puzzle_identifiers: mx.array  # (B,) int32
    prefix_len: mx.array | None = None  # (B,) int32, of prefix attention
    images: mx.array | None = None  # (B, H, W) or (B, C, H, W) uint8, of patches


class Carry(NamedTuple):
    """State that one ACT step hands to the next."""

    z_H: mx.array  # (B, T, D)
    z_L: mx.array  # (B, T, D)
    steps: mx.array  # (B,) int32; of a slot that has not worked yet, minus the step it begins with
    halted: mx.array  # (B,) bool
    data: Data


class Start(NamedTuple):
    """The constants a slot begins with, in the dtype of activations."""

    H_init: mx.array  # (D,)
    L_init: mx.array  # (D,)


def empty_carry(
    config: ModelConfig, batch_size: int, dtype: mx.Dtype, first_slot: int = 0
) -> Carry:
    """A carry in which every slot is halted, so the first step fills it; `first_slot` counts those of other replicas."""
    z = mx.zeros((batch_size, config.total_len, config.hidden_size), dtype)
    cells = mx.zeros((batch_size, config.num_cells), mx.int32)
    slots = mx.zeros((batch_size,), mx.int32)
    prefix_len = slots if config.attention == "prefix" else None
    images = mx.zeros((batch_size, *(config.image_size or ())), mx.uint8)
    data = Data(cells, cells, slots, prefix_len, images if config.patch_size else None)
    steps = slots
    if config.slots_are_staggered:
        numbers = mx.arange(first_slot, first_slot + batch_size, dtype=mx.int32)
        steps = -config.steps_per_chunk * (numbers % config.num_chunks)
    return Carry(z, z, steps, mx.ones((batch_size,), mx.bool_), data)


def refill(carry: Carry, batch: Data, start: Start, staggered: bool = False) -> Carry:
    """Give each halted slot its row of the new batch and a fresh state; the others keep theirs.

    Where slots are staggered, the first row of each begins on another chunk.
    """
    halted = carry.halted
    first = mx.maximum(-carry.steps, 0) if staggered else 0
    state, row = halted[:, None, None], halted[:, None]
    return Carry(
        z_H=mx.where(state, start.H_init, carry.z_H),
        z_L=mx.where(state, start.L_init, carry.z_L),
        steps=mx.where(halted, first, carry.steps),
        halted=halted,
        data=Data(
            mx.where(row, batch.inputs, carry.data.inputs),
            mx.where(row, batch.labels, carry.data.labels),
            mx.where(halted, batch.puzzle_identifiers, carry.data.puzzle_identifiers),
            _taken(halted, batch.prefix_len, carry.data.prefix_len),
            _taken(halted, batch.images, carry.data.images),
        ),
    )


def _taken(halted: mx.array, new: mx.array | None, old: mx.array | None) -> mx.array | None:
    """Rows that not every model has. Shapes: (B,), (B, ...) -> (B, ...)."""
    if new is None or old is None:
        return None
    return mx.where(halted.reshape(-1, *[1] * (new.ndim - 1)), new, old)


def halting(
    output: Output, steps: mx.array, min_steps: mx.array, config: ModelConfig
) -> tuple[mx.array, mx.array]:
    """Return the slots that halt after this training step, and those at their last step. Shapes: (B,) bool each."""
    last = steps >= config.halt_max_steps
    if config.halt_max_steps == 1 or not config.learns_to_halt:
        return last, last
    wants = output.q_halt_logits > output.q_continue_logits
    if config.num_chunks > 1:
        wants = wants & (steps > config.steps_before_last_chunk)
    wants = last | wants
    return wants & (steps >= min_steps), last


def chunk_number(steps: mx.array, config: ModelConfig) -> mx.array:
    """The chunk that a slot works on after so many steps. Shapes: (B,) -> (B,)."""
    return mx.minimum(steps // config.steps_per_chunk, config.num_chunks - 1)


def patches_worked_on(
    images: mx.array | None, steps: mx.array, config: ModelConfig
) -> mx.array | None:
    """The patches of each slot's chunk, row by row, their pixels too; those of the overview are means.

    Shapes: (B, H, W) or (B, C, H, W), (B,) -> (B, n, p p) float32, from 0 to 255.
    """
    if images is None or config.patch_size is None:
        return None
    (height, width), p, B = config.strip_size, config.patch_size, len(images)
    slots, chunk = mx.arange(B), chunk_number(steps, config)
    if images.ndim == 4:
        picture = images[slots, chunk].astype(mx.float32)
    else:
        strips = images.reshape(B, height, config.num_strips, width)
        is_overview = config.first_chunk == "overview"
        shown = mx.maximum(chunk - 1, 0) if is_overview else chunk
        picture = strips[slots, :, shown].astype(mx.float32)
        if is_overview:
            blocks = images.reshape(B, height, width, config.num_strips).astype(mx.float32)
            picture = mx.where((chunk == 0)[:, None, None], blocks.mean(axis=-1), picture)
    squares = picture.reshape(B, height // p, p, width // p, p).transpose(0, 1, 3, 2, 4)
    return squares.reshape(B, config.num_patches, p * p)


def worked_on(rows: mx.array, steps: mx.array, config: ModelConfig) -> mx.array:
    """The chunk of each row that a slot works on after so many steps. Shapes: (B, C ...), (B,) -> (B, ...)."""
    if config.num_chunks == 1:
        return rows
    chunk = chunk_number(steps, config)
    chunks = rows.reshape(len(rows), config.num_chunks, -1)
    return chunks[mx.arange(len(rows)), chunk]


class StepLoss(NamedTuple):
    """The loss of one ACT step and what it was made of."""

    total: (
        mx.array
    )  # () summed over the slots, divided by the global batch size: what the gradient is taken of
    carry: Carry
    output: Output
    target_q_continue: mx.array  # (B,)
    metrics: dict[str, mx.array]  # () sums over slots


def step_loss(
    model: HRM,
    carry: Carry,
    puzzle_vectors: mx.array | None,
    min_steps: mx.array,
    global_batch_size: int,
) -> StepLoss:
    """One ACT step in training from a refilled carry. Source: arXiv 2506.21734, section 2; sapientinc/HRM models/losses.py."""
    config, data = model.config, carry.data
    inputs, labels = (worked_on(rows, carry.steps, config) for rows in data[:2])
    patches = patches_worked_on(data.images, carry.steps, config)
    x = model.embed(inputs, puzzle_vectors, patches)
    output = model(carry.z_H, carry.z_L, x, data.prefix_len)
    steps = carry.steps + 1
    halted, last = halting(output, steps, min_steps, config)

    valid = labels >= 0
    count = valid.sum(axis=-1)
    divisor = mx.maximum(count, 1)
    is_of_tokens = config.loss_average == "token"
    cells = mx.full(count.shape, config.seq_len) if is_of_tokens else divisor
    lm_loss, tokens = _answer_loss(model, output, labels, cells)
    right = (tokens == labels) & valid
    num_right = right.sum(axis=-1)
    seq_correct = num_right == count

    counted = _ends(halted, steps, config) & (count > 0)
    finished, asked = counted, counted
    if config.num_chunks > 1:  # an example ends once, its chunks each
        finished, asked = halted, halted & (count > 0)
    total, target = lm_loss, mx.zeros_like(output.q_continue_logits)
    q_accuracy: dict[str, mx.array] = {}
    q_losses: dict[str, mx.array] = {}
    if config.learns_to_halt:
        says_right = (output.q_halt_logits >= 0) == seq_correct
        q_accuracy = {"q_halt_accuracy": (asked & says_right).sum().astype(mx.float32)}
        judged = _is_judged(steps, count, config)
        target, q_losses = _q_losses(model, output, x, seq_correct, steps, last, judged)
        total = lm_loss + 0.5 * reduce(add, q_losses.values())
    metrics = {
        "count": counted.sum().astype(mx.float32),
        "accuracy": mx.where(counted, num_right / divisor, 0).sum(),
        "exact_accuracy": (counted & seq_correct).sum().astype(mx.float32),
        **q_accuracy,
        "steps": mx.where(finished, steps, 0).sum().astype(mx.float32),
        "lm_loss": lm_loss,
        **q_losses,
    }
    if config.num_chunks > 1:
        metrics |= {
            "halts": finished.sum().astype(mx.float32),
            "judged_halts": asked.sum().astype(mx.float32),
        }
    return StepLoss(
        total / global_batch_size,
        Carry(output.z_H, output.z_L, steps, halted, data),
        output,
        target,
        metrics,
    )


def _answer_loss(
    model: HRM, output: Output, labels: mx.array, divisor: mx.array
) -> tuple[mx.array, mx.array]:
    """The loss of the answers, that of each sequence divided by `divisor`, and the likeliest tokens.

    Shapes: (B, S), (B,) -> (), (B, S).
    """
    if not model.config.has_large_vocabulary:
        token_losses = TOKEN_LOSSES[model.config.loss_type](output.logits, labels)
        tokens = mx.argmax(output.logits, axis=-1)
        return (token_losses.sum(axis=-1) / divisor).sum(), tokens
    hidden = output.logits.reshape(-1, model.config.hidden_size)
    shares = ((labels >= 0) / divisor[:, None]).reshape(-1)
    loss, tokens = softmax_in_blocks(hidden, model.lm_head.weight, labels.reshape(-1), shares)
    return loss, tokens.reshape(labels.shape)


def _q_losses(
    model: HRM,
    output: Output,
    x: mx.array,
    seq_correct: mx.array,
    steps: mx.array,
    last: mx.array,
    judged: mx.array | None,
) -> tuple[mx.array, dict[str, mx.array]]:
    """The target of q_continue, and the losses of Q summed over the judged slots.

    Shapes: `x` (B, T, D); `seq_correct`, `steps`, `last` and `judged` (B,); the target (B,), each loss ().
    """
    config = model.config
    halt_losses = binary_cross_entropy(output.q_halt_logits, seq_correct.astype(mx.float32))
    losses = {"q_halt_loss": _sum_where(judged, halt_losses)}
    if config.q_continue:
        losses["q_continue_loss"] = mx.array(0.0)
    if not config.learns_to_continue:
        nothing = 0 * mx.stop_gradient(halt_losses)  # mx.compile returns no constant twice
        return nothing, losses
    target = _target_q_continue(model, output, mx.stop_gradient(x), last)
    if config.num_chunks > 1:
        target = mx.where(steps > config.steps_before_last_chunk, target, 0)
    continue_losses = binary_cross_entropy(output.q_continue_logits, target)
    losses["q_continue_loss"] = _sum_where(judged, continue_losses)
    return target, losses


def _target_q_continue(model: HRM, output: Output, x: mx.array, last: mx.array) -> mx.array:
    """Return the value of going on: that of the better choice one step later, from the new carry."""
    next_step = model(output.z_H, output.z_L, x)
    better = mx.maximum(next_step.q_halt_logits, next_step.q_continue_logits)
    return mx.stop_gradient(mx.sigmoid(mx.where(last, next_step.q_halt_logits, better)))


def _ends(halted: mx.array, steps: mx.array, config: ModelConfig) -> mx.array:
    """Return the slots that took the last step on their chunk. Shapes: (B,) -> (B,) bool."""
    if config.num_chunks == 1:
        return halted
    is_early = steps <= config.steps_before_last_chunk
    return halted | (is_early & (steps % config.steps_per_chunk == 0))


def _is_judged(steps: mx.array, count: mx.array, config: ModelConfig) -> mx.array | None:
    """Return the slots with a Q loss: those on their last chunk, if it has labels. None: all. Shapes: (B,) -> (B,) bool."""
    if config.num_chunks == 1:
        return None
    return (steps > config.steps_before_last_chunk) & (count > 0)


def _sum_where(judged: mx.array | None, losses: mx.array) -> mx.array:
    return losses.sum() if judged is None else mx.where(judged, losses, 0).sum()
