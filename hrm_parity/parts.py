"""Results of each layer, loss and optimizer of a backend for the same numbers.

Shapes: B sequences, S tokens, T positions, D hidden, N heads, h head size, E `puzzle_emb_ndim`, V vocabulary.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from hrm_core.backend import IGNORE_LABEL_ID, AnyArray, Arrays
from hrm_core.schedule import rates
from hrm_core.sizing import LOSS_BLOCK_VALUES
from hrm_parity.configurations import OPTIM, SEED, UPDATE, normal
from hrm_parity.sides import Function, Side

B = 2
HARD_LOGITS = (
    0.0,
    1.0,
    -1.0,
    30.0,
    -30.0,
    1e-6,
    -1e-6,
)  # 1.0 exactly: where a naive stablemax has no gradient
HARD_Q = (0.0, 1e-4, -5.0, 5.0, 30.0, -30.0)


class Part(NamedTuple):
    """One function to check, and where."""

    name: str
    function: Function
    x: AnyArray
    has_gradient: bool = True


def part_results(side: Side) -> Arrays:
    """Value and gradient of each layer and loss, and what the optimizers do. Names: <part>/value, <part>/gradient, …"""
    rng = np.random.default_rng(SEED)
    results: dict[str, AnyArray] = {}
    for part in [*_layers(side, rng), *_losses(side, rng)]:
        value = side.evaluate(part.function, part.x)
        results[f"{part.name}/value"] = value
        if part.has_gradient:
            results[f"{part.name}/gradient"] = side.pull_back(
                part.function, part.x, normal(rng, value.shape, 1.0)
            )
    return {**results, **_adam(side, rng), **_sign_sgd(side, rng)}


def _layers(side: Side, rng: np.random.Generator) -> Iterator[Part]:
    config, model, rope = side.config, side.model, side.rope
    x, other = (normal(rng, (B, config.total_len, config.hidden_size), 1.0) for _ in range(2))
    prefix_len = side.array(np.arange(B, dtype=np.int32)) if config.attention == "prefix" else None
    visible = model.visible(prefix_len)
    block, injection = model.L_level.layers[0], side.array(other)
    sizes = (10.0 ** rng.integers(-4, 4, (B, config.total_len, 1))).astype(
        np.float32
    )  # small ones show where eps stands
    yield Part("rms_norm", lambda x: side.layers.rms_norm(x, config.rms_norm_eps), x * sizes)
    if rope is not None:
        heads = x.reshape(B, config.total_len, config.num_heads, config.head_dim)
        yield Part("RoPE", lambda x: side.heads(rope(side.heads(x))), heads)
    yield Part("attention", lambda x: block.self_attn(x, rope, visible), x)
    yield Part("SwiGLU", block.mlp, x)
    yield Part("block", lambda x: block(x, rope, visible), x)
    yield Part("H level", lambda x: model.H_level(x, injection, rope, visible), x)
    yield Part("L level", lambda x: model.L_level(x, injection, rope, visible), x)
    tokens = rng.integers(0, config.vocab_size, (B, config.seq_len), np.int32)
    patches = None
    if config.patch_size:
        pixels = rng.integers(0, 256, (B, config.num_patches, config.patch_size**2))
        patches = side.array(pixels.astype(np.float32))
    if config.puzzle_emb_ndim:
        vectors = normal(rng, (B, config.puzzle_emb_ndim), 1.0)
        yield Part(
            "embedding", lambda vectors: model.embed(side.array(tokens), vectors, patches), vectors
        )
    else:
        yield Part(
            "embedding",
            lambda tokens: model.embed(tokens, None, patches),
            tokens,
            has_gradient=False,
        )


def _losses(side: Side, rng: np.random.Generator) -> Iterator[Part]:
    config = side.config
    if config.has_large_vocabulary:
        yield _loss_in_blocks(side, rng)
    else:
        yield from _token_losses(side, rng)
    q = np.repeat(np.array(HARD_Q, np.float32), 3)
    targets = np.tile(np.array([0, 1, 0.3], np.float32), len(HARD_Q))
    yield Part(
        "cross entropy of Q", lambda x: side.losses.binary_cross_entropy(x, side.array(targets)), q
    )


def _token_losses(side: Side, rng: np.random.Generator) -> Iterator[Part]:
    config = side.config
    logits = normal(rng, (B, config.seq_len, config.vocab_size), 3.0)
    logits[0, :2] = np.resize(HARD_LOGITS, (2, config.vocab_size))
    labels = rng.integers(0, config.vocab_size, (B, config.seq_len), np.int32)
    labels[1, ::3] = IGNORE_LABEL_ID
    for name in ("stablemax", "softmax"):
        yield Part(
            name,
            partial(_of_labels, getattr(side.losses, f"{name}_cross_entropy"), side.array(labels)),
            logits,
        )


def _loss_in_blocks(side: Side, rng: np.random.Generator) -> Part:
    """The loss of rows that fill more than one block, a third of them without a label, some of one token and sure of it."""
    vocab_size = side.config.vocab_size
    num_rows = LOSS_BLOCK_VALUES // vocab_size + 30
    hidden = normal(rng, (num_rows, side.config.hidden_size), 1.0)
    hidden[::5] *= 20
    labels = rng.integers(0, vocab_size, num_rows, np.int32)
    shares = np.where(np.arange(num_rows) % 3, np.float32(1 / num_rows), np.float32(0))
    given = side.model.lm_head.weight, side.array(labels), side.array(shares)
    return Part(
        "softmax in blocks",
        lambda hidden: side.losses.softmax_in_blocks(hidden, *given)[0],
        hidden,
    )


def _of_labels(loss: Callable[[Any, Any], Any], labels: Any, logits: Any) -> Any:
    return loss(logits, labels)


def _adam(side: Side, rng: np.random.Generator) -> Arrays:
    """Ordinary gradients, and extreme ones: zero on zero moments, huge, tiny, and both against moments of the usual size."""
    shape = (64, side.config.hidden_size)
    ordinary = (
        normal(rng, shape, 0.1),
        normal(rng, shape, 3e-4),
        (0.5 + rng.random(shape, np.float32)) * 1e-6,
        normal(rng, shape, 1e-3),
    )
    gradient = np.array([0, 0, 1e15, -1e15, 1e-15, -1e-18, 1e15, 1e-15], np.float32)
    m = np.array([0, 1e-3, 0, 0, 0, 0, 1e-3, 1e-3], np.float32)
    extreme = np.full_like(m, 0.1), m, np.square(m), gradient
    scalars = rates(UPDATE, 10, OPTIM)
    results: dict[str, AnyArray] = {}
    for kind, given in (("ordinary", ordinary), ("extreme", extreme)):
        weight, m, v, gradient = (np.asarray(array, np.float32) for array in given)
        moved = side.adam_atan2(weight, m, v, gradient, OPTIM, scalars)
        results |= {f"Adam-atan2/{kind}/{name}": array for name, array in moved._asdict().items()}
    return results


def _sign_sgd(side: Side, rng: np.random.Generator) -> Arrays:
    """Rows of three identifiers, two of them twice: gradients that are zero, that cancel exactly, huge and tiny."""
    ids = np.array([3, 1, 3, 0, 1], np.int32)
    table = normal(rng, (4, 8), 0.5)
    gradients = rng.integers(-4, 5, (5, 8)).astype(
        np.float32
    )  # whole numbers: their sums are exact in any order
    gradients[:, 0] = [1e20, 1e-30, 1e20, 0, 1e-30]
    gradients[0, 1], gradients[2, 1] = 1.5, -1.5
    return {
        "sign-SGD/rows": side.sign_sgd(table[ids], ids, gradients, OPTIM, rates(UPDATE, 10, OPTIM))
    }
