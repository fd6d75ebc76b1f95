"""Models beyond the published network (SPEC.md, section 13), and what they are given."""

from collections.abc import Callable
from typing import Any

import numpy as np

from hrm_core.backend import Backend, Batch
from hrm_core.config import ModelConfig, OptimConfig
from hrm_core.parameters import initial_values
from hrm_core.schedule import rates

B, S, V = 6, 9, 7
C, K = 3, 2  # chunks, steps on each
N = 11  # examples, more than slots
NUM_STEPS = 4
PREFIX_LEN = np.array([0, 1, 2, 3, 4, 5], np.int32)
OPTIM = OptimConfig(
    lr=1e-2, lr_warmup_steps=0, weight_decay=0.5, puzzle_emb_lr=1e-2, puzzle_emb_weight_decay=0.1
)
SIZES: dict[str, Any] = {
    "vocab_size": V,
    "seq_len": S,
    "num_puzzle_identifiers": 3,
    "puzzle_emb_ndim": 32,
    "hidden_size": 32,
    "num_heads": 2,
    "H_layers": 1,
    "L_layers": 1,
    "halt_max_steps": 3,
    "forward_dtype": "float32",
}

Make = Callable[..., Backend]


def config_with(**changes: Any) -> ModelConfig:
    return ModelConfig.model_validate({**SIZES, **changes})


def drawn_weights(config: ModelConfig) -> dict[str, Any]:
    """Initial values, with a Q head and a puzzle table that say something."""
    rng = np.random.default_rng(7)
    weights: dict[str, Any] = dict(initial_values(config, seed=0))
    for name in ("q_head.weight", "q_head.bias", "puzzle_emb.weights"):
        if name in weights:
            weights[name] = rng.standard_normal(weights[name].shape, np.float32)
    return weights


def drawn_batch(seed: int = 0, num_chunks: int = 1) -> Batch:
    rng = np.random.default_rng(seed)
    inputs, labels = rng.integers(0, V, (2, B, num_chunks * S), dtype=np.int32)
    return Batch(inputs, labels, rng.integers(0, 3, B, dtype=np.int32))


def updated(backend: Backend, batch: Batch, update: int = 1, **changes: float) -> Any:
    scalars = rates(update, 20, OPTIM)._replace(**changes)
    trace = backend.trace_update(batch, np.zeros(len(batch.inputs), np.int32), scalars)
    return {name: array.copy() for name, array in trace.items()}


def seeing(attention: str, puzzle_emb_ndim: int) -> ModelConfig:
    return config_with(
        attention=attention,
        halting="fixed",
        puzzle_emb_ndim=puzzle_emb_ndim,
        halt_max_steps=NUM_STEPS,
    )


def chunk_at(steps: Any) -> Any:
    return np.minimum(steps // K, C - 1)


def chunks_of(rows: Any, steps: Any) -> Any:
    """The chunk of each row (B, C S) that is worked on after so many steps (B,)."""
    return rows.reshape(B, C, S)[np.arange(B), chunk_at(steps)]


def moved_from_start(backend: Backend, batch: Batch, state: Any) -> tuple[Any, Any]:
    """The noise that makes a fresh state this one."""
    fresh = backend.carry_arrays(backend.begin(batch))
    return state["z_H"] - fresh["z_H"], state["z_L"] - fresh["z_L"]


PICTURES: dict[str, dict[str, Any]] = {
    "strips": {"image_size": [4, 12], "num_chunks": 3},
    "overview": {"image_size": [4, 8], "num_chunks": 3, "first_chunk": "overview"},
    "frames": {"image_size": [3, 4, 4], "num_chunks": 3},
    "one picture": {"image_size": [4, 8], "num_chunks": 1},
}


def looking(kind: str, **changes: Any) -> ModelConfig:
    steps = PICTURES[kind]["num_chunks"] * K + 1
    return config_with(
        **PICTURES[kind], patch_size=2, steps_per_chunk=K, halt_max_steps=steps, **changes
    )


def drawn_images(config: ModelConfig, seed: int = 3) -> Any:
    assert config.image_size is not None
    return np.random.default_rng(seed).integers(0, 256, (B, *config.image_size), np.uint8)
