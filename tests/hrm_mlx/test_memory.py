"""What the backward pass keeps, counted in bytes."""

import gc
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from hrm_core.backend import BackendOptions, Batch
from hrm_core.config import ModelConfig, OptimConfig, TrainConfig
from hrm_core.parameters import initial_values
from hrm_core.schedule import rates
from hrm_core.sizing import LONG, update_bytes
from hrm_mlx import kernels
from hrm_mlx.backend import MLXBackend
from hrm_mlx.layers import RotaryEmbedding
from hrm_mlx.model import ReasoningModule

SIZES = {
    "vocab_size": 7,
    "num_puzzle_identifiers": 3,
    "puzzle_emb_ndim": 0,
    "hidden_size": 32,
    "num_heads": 8,
}
OPTIM = OptimConfig(lr=1e-3, puzzle_emb_lr=1e-2)
SCORES = 4 * SIZES["num_heads"] * LONG * LONG  # bytes of the attention weights of one layer


def config(seq_len: int, **changes: Any) -> ModelConfig:
    return ModelConfig.model_validate(
        {**SIZES, "seq_len": seq_len, "H_layers": 1, "L_layers": 1, "halt_max_steps": 2, **changes}
    )


def peak(compute: Callable[[], object]) -> int:
    """Most bytes held by a computation, over what was held before."""
    gc.collect()  # a backend of an earlier test, freed meanwhile, would count as given back
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    mx.eval(compute())
    return mx.get_peak_memory() - before


def gradient_bytes(kernel: kernels.Kernel, num_layers: int) -> int:
    """Peak of a gradient through a level over one long sequence."""
    level = ReasoningModule(config(LONG), num_layers, kernel)
    gradient = nn.value_and_grad(level, lambda x, z: level(x, z, None).square().sum())
    x, z = (
        mx.random.normal((1, LONG, SIZES["hidden_size"]), key=mx.random.key(seed))
        for seed in range(2)
    )
    mx.eval(level.parameters(), x, z)
    return peak(lambda: gradient(x, z))


def bytes_a_layer(kernel: kernels.Kernel) -> float:
    return (gradient_bytes(kernel, 8) - gradient_bytes(kernel, 4)) / 4


def test_no_layer_keeps_the_attention_weights_of_long_sequences() -> None:
    assert bytes_a_layer(kernels.choose_attention("auto", on_gpu=False)[1]) < 0.5 * SCORES
    assert bytes_a_layer(kernels.choose_attention("sdpa", on_gpu=False)[1]) < 0.5 * SCORES


def test_kept_attention_weights_would_be_noticed() -> None:
    assert bytes_a_layer(kernels.eager) > SCORES


@pytest.mark.parametrize(("seq_len", "times"), [(LONG - 1, 1), (LONG, 2)])
def test_short_sequences_are_computed_once(seq_len: int, times: int) -> None:
    lengths = []

    def counting(
        q: mx.array, k: mx.array, v: mx.array, scale: float, visible: mx.array | None
    ) -> mx.array:
        lengths.append(q.shape[2])
        return kernels.eager(q, k, v, scale, visible)

    level = ReasoningModule(config(seq_len), 1, kernels.recomputed(counting))
    x = mx.zeros((1, seq_len, SIZES["hidden_size"]))
    nn.value_and_grad(level, lambda x: level(x, x, None).sum())(x)
    assert lengths == [seq_len] * times


def test_gradient_of_recomputed_attention_is_the_same_to_the_bit() -> None:
    q, k, v, direction = (
        mx.random.normal((2, 4, 9, 8), key=mx.random.key(seed)) for seed in range(4)
    )
    rope = RotaryEmbedding(8, 9, 10000.0)
    found, expected = (
        mx.grad(
            lambda *qkv, kernel=kernel: (
                kernel(rope(qkv[0]), qkv[1], qkv[2], 0.3) * direction
            ).sum(),
            argnums=(0, 1, 2),
        )(q, k, v)
        for kernel in (kernels.recomputed(kernels.eager, length=0), kernels.eager)
    )
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(np.array(ours), np.array(theirs))


BEYOND: dict[str, dict[str, Any]] = {
    "causal": {"attention": "causal", "halting": "fixed"},
    "prefix": {"attention": "prefix", "halting": "fixed"},
    "chunks": {"num_chunks": 3, "halt_max_steps": 4},
    "strips": {
        "num_chunks": 2,
        "halt_max_steps": 4,
        "image_size": (64, 128),
        "patch_size": 8,
    },
    "frames of prefix": {
        "attention": "prefix",
        "halting": "fixed",
        "num_chunks": 2,
        "halt_max_steps": 4,
        "image_size": (2, 64, 64),
        "patch_size": 8,
    },
}


def measured_over_estimated(seq_len: int, slots: int, micro_batch: int, **fields: Any) -> float:
    """Bytes that an update takes over those that `hrm train --dry-run` says."""
    sizes = {"hidden_size": 64, "H_layers": 2, "L_layers": 2, "H_cycles": 1, "L_cycles": 1}
    model = config(seq_len, **{**sizes, **fields})
    train = TrainConfig(
        global_batch_size=slots, micro_batch_size=micro_batch, epochs=1, eval_interval=1
    )
    backend = MLXBackend(
        model, BackendOptions(device="cpu", dtype="float32", micro_batch=micro_batch)
    )
    backend.load_weights(initial_values(model, seed=0))
    backend.begin_training(OPTIM, slots)
    batch = blank_batch(model, slots)
    held = sum(array.nbytes for array in (*backend.weights().values(), *backend.state().values()))
    no_minimum = np.zeros(slots, np.int32)
    found = held + peak(lambda: backend.update(batch, no_minimum, rates(1, 9, OPTIM)).read())
    return found / update_bytes(model, train, "float32")


def blank_batch(model: ModelConfig, slots: int) -> Batch:
    """Rows of token 0, with the prefix and the picture that the model wants."""
    tokens = np.zeros((slots, model.num_chunks * model.seq_len), np.int32)
    prefix_len = np.full(slots, 5, np.int32) if model.attention == "prefix" else None
    images = np.zeros((slots, *model.image_size), np.uint8) if model.image_size else None
    return Batch(tokens, tokens, np.zeros(slots, np.int32), prefix_len, images)


@pytest.mark.parametrize(("seq_len", "slots", "micro_batch"), [(81, 24, 12), (LONG, 4, 2)])
def test_estimate_of_an_update_is_what_it_takes(seq_len: int, slots: int, micro_batch: int) -> None:
    assert measured_over_estimated(seq_len, slots, micro_batch) == pytest.approx(1, rel=0.25)


@pytest.mark.parametrize("fields", BEYOND.values(), ids=BEYOND)
@pytest.mark.parametrize(("seq_len", "slots", "micro_batch"), [(81, 24, 12), (LONG, 4, 2)])
def test_estimate_holds_beyond_the_published_network(
    seq_len: int, slots: int, micro_batch: int, fields: dict[str, Any]
) -> None:
    found = measured_over_estimated(seq_len, slots, micro_batch, **fields)
    # within 20 % where both threads reach their peaks together; beside other work they may not
    assert 0.65 < found < 1.2
