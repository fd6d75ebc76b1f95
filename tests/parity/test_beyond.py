"""The network beyond the published one (SPEC.md, section 13), in both backends."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hrm_core.backend import Backend, BackendOptions, Batch
from hrm_core.config import ModelConfig, OptimConfig
from hrm_core.parameters import initial_values
from hrm_core.schedule import rates
from hrm_parity.checks import backend_named

B, S, V = 6, 9, 7
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


@pytest.fixture(params=["mlx", "torch"])
def make(request: pytest.FixtureRequest) -> Make:
    """Make a backend with weights of which none is zero, ready to train."""
    pytest.importorskip("torch" if request.param == "torch" else "mlx")
    named = backend_named(request.param)

    def made(config: ModelConfig, batch_size: int = B, **options: Any) -> Backend:
        backend = named(config, BackendOptions(device="cpu", dtype="float32", **options))
        backend.load_weights(drawn_weights(config))
        backend.begin_training(OPTIM, batch_size)
        return backend

    return made


def drawn_weights(config: ModelConfig) -> dict[str, Any]:
    """Initial values, with a Q head and a puzzle table that say something."""
    rng = np.random.default_rng(7)
    weights: dict[str, Any] = dict(initial_values(config, seed=0))
    for name in ("q_head.weight", "q_head.bias", "puzzle_emb.weights"):
        if name in weights:
            weights[name] = rng.standard_normal(weights[name].shape, np.float32)
    return weights


def drawn_batch(seed: int = 0, config: ModelConfig | None = None) -> Batch:
    config = config or config_with()
    rng = np.random.default_rng(seed)
    inputs, labels = rng.integers(0, V, (2, B, S), dtype=np.int32)
    return Batch(inputs, labels, rng.integers(0, 3, B, dtype=np.int32))


def updated(backend: Backend, batch: Batch, update: int = 1, **changes: float) -> Any:
    scalars = rates(update, 20, OPTIM)._replace(**changes)
    trace = backend.trace_update(batch, np.zeros(len(batch.inputs), np.int32), scalars)
    return {name: array.copy() for name, array in trace.items()}


def test_fixed_halting_takes_every_step_and_no_other(make: Make) -> None:
    """The drawn Q head would let slots halt at once."""
    fixed, free = make(config_with(halting="fixed")), make(config_with())
    for update in range(1, 8):
        trace = updated(fixed, drawn_batch(update), update)
        step = (update - 1) % 3 + 1
        np.testing.assert_array_equal(trace["steps"], [step] * B)
        np.testing.assert_array_equal(trace["halted"], [step == 3] * B)
    assert updated(free, drawn_batch())["halted"].any()


def test_fixed_halting_has_no_q_loss_and_leaves_the_q_head_alone(make: Make) -> None:
    config = config_with(halting="fixed")
    backend = make(config)
    before = {name: weight.copy() for name, weight in backend.weights().items()}
    trace = updated(backend, drawn_batch())
    after = backend.weights()
    assert list(after) == list(before)
    for name in ("q_head.weight", "q_head.bias"):
        np.testing.assert_array_equal(after[name], before[name])
        assert not {f"grad/{name}", f"m.{name}"} & {*trace, *backend.state()}
    assert not np.array_equal(after["lm_head.weight"], before["lm_head.weight"])
    assert [name for name in trace if name.startswith("metrics/") and "q_" in name] == []
    assert trace["loss"] == pytest.approx(trace["metrics/lm_loss"], rel=1e-6)
    np.testing.assert_array_equal(trace["target_q_continue"], np.zeros(B))


def test_fixed_halting_answers_with_the_q_head_it_was_given(make: Make) -> None:
    batch = drawn_batch()
    said = []
    for config in (config_with(halting="fixed"), config_with()):
        backend = make(config)
        said.append(backend.step(backend.begin(batch))[1].q_halt_logits)
    np.testing.assert_array_equal(*said)


def test_resumed_with_fixed_halting_is_the_same_run(make: Make) -> None:
    config = config_with(halting="fixed")
    first, second = make(config), make(config)
    updated(first, drawn_batch(1), 1)
    second.load_weights({name: weight.copy() for name, weight in first.weights().items()})
    second.load_state({name: array.copy() for name, array in first.state().items()})
    for backend in (first, second):
        updated(backend, drawn_batch(2), 2)
    for name, weight in first.weights().items():
        np.testing.assert_array_equal(weight, second.weights()[name], err_msg=name)


def test_token_average_divides_by_the_length(make: Make) -> None:
    """Of two rows with the same losses the one with fewer labels weighs less."""
    batch = drawn_batch()
    labels = batch.labels.copy()
    labels[:, 3:] = -100
    batch = replace(batch, labels=labels)
    by_label, by_cell = (
        updated(make(config_with(loss_average=average)), batch)["metrics/lm_loss"]
        for average in ("example", "token")
    )
    assert by_cell == pytest.approx(by_label * 3 / S, rel=1e-5)
