"""From the published initialisation the Q head says -5 twice: nothing halts, and its continue row only decays."""

import mlx.core as mx
import numpy as np
import pytest

from hrm_core.backend import BackendOptions, Batch
from hrm_core.config import ModelConfig, OptimConfig
from hrm_core.parameters import initial_values
from hrm_core.schedule import rates
from hrm_mlx.backend import MLXBackend
from hrm_parity.controls import inexact_cross_entropy, patched

OPTIM = OptimConfig(lr=1e-3, lr_warmup_steps=10, weight_decay=1.0, puzzle_emb_lr=1e-3)


def continue_rows(config: ModelConfig, dtype: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Continue row of the Q head, bias included, after one update, and where decay alone puts it. Shapes: (D + 1,) each."""
    backend = MLXBackend(config, BackendOptions(dtype=dtype))
    weights = initial_values(config, seed)
    backend.load_weights(weights)
    backend.begin_training(OPTIM, batch_size=8)
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, config.vocab_size, (2, 8, config.seq_len), dtype=np.int32)
    scalars = rates(1, 100, OPTIM)
    backend.trace_update(
        Batch(tokens[0], tokens[1], np.zeros(8, np.int32)), np.zeros(8, np.int32), scalars
    )
    keep = np.float32(1 - scalars.lr * OPTIM.weight_decay)
    after, before = backend.weights(), weights
    return tuple(
        np.append(w["q_head.weight"][1], w["q_head.bias"][1]) * k
        for w, k in ((after, np.float32(1)), (before, keep))
    )


def small(**changes: object) -> ModelConfig:
    sizes = {
        "vocab_size": 6,
        "seq_len": 16,
        "num_puzzle_identifiers": 1,
        "puzzle_emb_ndim": 64,
        "hidden_size": 64,
        "num_heads": 2,
    }
    return ModelConfig.model_validate(
        {**sizes, "H_layers": 1, "L_layers": 1, "halt_max_steps": 4, **changes}
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"loss_type": "softmax_cross_entropy", "pos_encodings": "learned"},
        {"puzzle_emb_ndim": 0},
    ],
    ids=str,
)
def test_continue_row_only_decays(changes: dict[str, object], dtype: str) -> None:
    found, expected = continue_rows(small(**changes), dtype, seed=1)
    np.testing.assert_array_equal(found, expected)


def test_gradient_of_1e_8_is_a_full_step() -> None:
    with patched("hrm_mlx.act:binary_cross_entropy", inexact_cross_entropy):
        found, expected = continue_rows(small(), "float32", seed=1)
    assert np.abs(found - expected).max() > 1e-5


def test_library_cross_entropy_would_be_noticed() -> None:
    """The cross entropy that MLX brings leaves such a gradient (docs/parity.md, "Controls")."""
    from mlx.nn.losses import binary_cross_entropy

    q, target = mx.array([-5.0]), mx.sigmoid(mx.array([-5.0]))
    gradient = mx.grad(
        lambda q: binary_cross_entropy(q, target, with_logits=True, reduction="sum")
    )(q)
    assert gradient.item() != 0
