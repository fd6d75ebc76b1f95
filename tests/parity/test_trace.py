"""States of every cycle of one ACT step, of both backends (SPEC.md, section 10)."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from beyond import (
    NUM_STEPS,
    PREFIX_LEN,
    B,
    C,
    K,
    Make,
    S,
    config_with,
    drawn_batch,
    drawn_images,
    drawn_weights,
    looking,
)

from hrm_core.backend import Backend, BackendOptions, Batch, Cycles
from hrm_core.config import ModelConfig
from hrm_parity.checks import backend_named

LIMITS = {"logits": 5e-5, "q": 1e-5, "z_H": 1e-4, "z_L": 1e-4}  # of one ACT step
MODELS: dict[str, ModelConfig] = {
    "plain": config_with(puzzle_emb_ndim=0),
    "puzzle slots": config_with(puzzle_emb_ndim=48),
    "learned positions": config_with(pos_encodings="learned"),
    "three cycles of H, one of L": config_with(H_cycles=3, L_cycles=1),
    "prefix": config_with(attention="prefix", halting="fixed"),
    "chunks": config_with(num_chunks=C, steps_per_chunk=K, halt_max_steps=C * K + 1),
    "pictures": looking("strips"),
    "large vocabulary": config_with(vocab_size=300, loss_type="softmax_cross_entropy"),
}


def batch_of(config: ModelConfig) -> Batch:
    batch = drawn_batch(1, config.num_chunks)
    images = drawn_images(config) if config.patch_size else None
    return replace(batch, prefix_len=PREFIX_LEN, images=images)


def made(name: str, config: ModelConfig, dtype: Any = "float32") -> Backend:
    backend = backend_named(name)(config, BackendOptions(device="cpu", dtype=dtype))
    weights = drawn_weights(config)
    weights["q_head.weight"] *= config.hidden_size**-0.5  # as a linear layer: SPEC.md, section 2
    backend.load_weights(weights)
    return backend


def same_bits(found: Any, expected: Any) -> None:
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_array_equal(found, expected)


def gaps(mine: dict[str, Any], other: dict[str, Any]) -> dict[str, float]:
    for name in LIMITS:
        assert mine[name].shape == other[name].shape
    return {name: float(np.abs(mine[name] - other[name]).max()) for name in LIMITS}


def broken(mine: dict[str, Any], other: dict[str, Any]) -> set[str]:
    return {name for name, gap in gaps(mine, other).items() if not gap <= LIMITS[name]}


def traced(backend: Backend, batch: Batch) -> dict[str, Any]:
    _, answers, cycles = backend.trace(backend.begin(batch))
    q = np.stack([answers.q_halt_logits, answers.q_continue_logits])
    return {"logits": answers.logits, "q": q, **cycles._asdict()}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("model", MODELS)
def test_the_last_states_of_a_trace_are_those_of_a_step(make: Make, model: str, dtype: str) -> None:
    config = MODELS[model]
    name = "mlx" if type(make(config)).__name__ == "MLXBackend" else "torch"
    backend = made(name, config, dtype)
    stepped = traced_carry = backend.begin(batch_of(config))
    for _ in range(config.halt_max_steps):
        stepped, expected = backend.step(stepped)
        traced_carry, answers, cycles = backend.trace(traced_carry)
        wanted, found = backend.carry_arrays(stepped), backend.carry_arrays(traced_carry)
        for field in ("z_H", "z_L"):
            same_bits(found[field], wanted[field])
            same_bits(getattr(cycles, field)[-1], wanted[field])
        same_bits(found["steps"], wanted["steps"])
        same_bits(answers.logits, expected.logits)
        same_bits(answers.q_halt_logits, expected.q_halt_logits)
        same_bits(answers.q_continue_logits, expected.q_continue_logits)
    shape = B, config.total_len, config.hidden_size
    assert cycles.z_H.shape == (config.H_cycles, *shape)
    assert cycles.z_L.shape == (config.H_cycles * config.L_cycles, *shape)
    assert cycles.z_H.dtype == cycles.z_L.dtype == np.float32


def test_states_between_are_those_of_shorter_steps(make: Make) -> None:
    """A step of one H cycle ends where the first H cycle of a longer one does."""
    whole, first = config_with(H_cycles=3, L_cycles=2), config_with(H_cycles=1, L_cycles=2)
    cycles = traced(make(whole), batch_of(whole))
    expected = traced(make(first), batch_of(first))
    np.testing.assert_allclose(cycles["z_H"][0], expected["z_H"][0], atol=1e-5)
    np.testing.assert_allclose(cycles["z_L"][:2], expected["z_L"], atol=1e-5)
    assert np.abs(cycles["z_H"][1] - expected["z_H"][0]).max() > 0.1


@pytest.mark.parametrize("model", MODELS)
def test_trial_pass_after_the_last_cycle_gives_the_answers_of_the_step(
    make: Make, model: str
) -> None:
    config = MODELS[model]
    backend = make(config)
    carry, _, _ = backend.trace(backend.begin(batch_of(config)))
    before = backend.carry_arrays(carry)["z_H"].copy()
    after, answers, cycles = backend.trace(carry)
    start = cycles.z_H[-2] if config.H_cycles > 1 else before
    found = backend.decode(after, start, cycles.z_L[-1])
    np.testing.assert_allclose(found.logits, answers.logits, atol=LIMITS["logits"])
    np.testing.assert_allclose(found.q_halt_logits, answers.q_halt_logits, atol=LIMITS["q"])
    other = backend.decode(after, cycles.z_H[-1], cycles.z_L[-1])
    assert np.abs(other.logits - answers.logits).max() > 100 * LIMITS["logits"]


@pytest.mark.parametrize("model", MODELS)
def test_both_backends_trace_the_same_states(model: str) -> None:
    pytest.importorskip("torch")
    config, batch = MODELS[model], batch_of(MODELS[model])
    mlx, torch = (traced(made(name, config), batch) for name in ("mlx", "torch"))
    assert not broken(mlx, torch), gaps(mlx, torch)
    referee = traced(made("torch", config, "float64"), batch)
    assert referee["z_H"].dtype == np.float64
    assert not broken(mlx, referee), gaps(mlx, referee)


def swapped_levels(cycles: Cycles) -> Cycles:
    every = len(cycles.z_L) // len(cycles.z_H)
    return Cycles(cycles.z_L[every - 1 :: every], np.repeat(cycles.z_H, every, axis=0))


def shifted(cycles: Cycles) -> Cycles:
    return Cycles(np.roll(cycles.z_H, 1, axis=0), np.roll(cycles.z_L, 1, axis=0))


def swapped_puzzles(cycles: Cycles) -> Cycles:
    order = np.array([1, 0, *range(2, B)])
    return Cycles(cycles.z_H[:, order], cycles.z_L[:, order])


@pytest.mark.parametrize("mistake", [swapped_levels, shifted, swapped_puzzles])
def test_a_mistake_in_the_states_is_noticed(mistake: Any) -> None:
    pytest.importorskip("torch")
    config, batch = MODELS["puzzle slots"], batch_of(MODELS["puzzle slots"])
    mlx, torch = (traced(made(name, config), batch) for name in ("mlx", "torch"))
    wrong = {**torch, **mistake(Cycles(torch["z_H"], torch["z_L"]))._asdict()}
    assert broken(mlx, wrong) == {"z_H", "z_L"}


def test_trial_passes_agree(make: Make) -> None:
    pytest.importorskip("torch")
    config = config_with(attention="prefix", halting="fixed", halt_max_steps=NUM_STEPS)
    batch = batch_of(config)
    rng = np.random.default_rng(5)
    z_H, z_L = rng.standard_normal((2, B, config.total_len, config.hidden_size), np.float32)
    found = [
        backend.decode(backend.begin(batch), z_H, z_L).logits
        for backend in (made("mlx", config), made("torch", config))
    ]
    assert found[0].shape == (B, S, config.vocab_size)
    np.testing.assert_allclose(*found, atol=LIMITS["logits"])
    unseen = replace(batch, prefix_len=np.zeros(B, np.int32))
    backend = make(config)
    blind = backend.decode(backend.begin(unseen), z_H, z_L).logits
    assert np.abs(blind[1:] - found[0][1:]).max() > 100 * LIMITS["logits"]
