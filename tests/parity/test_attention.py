"""Causal and prefix attention (SPEC.md, section 13.1), in both backends."""

import shutil
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from beyond import (
    NUM_STEPS,
    PREFIX_LEN,
    B,
    Make,
    V,
    config_with,
    drawn_batch,
    drawn_weights,
    seeing,
    updated,
)

from hrm_core.backend import Backend, Batch
from hrm_core.config import ModelConfig

CHANGED = 5  # the token that is changed; what stands before it must not see it


def logits_in_training(backend: Backend, batch: Batch) -> list[np.ndarray]:
    """Logits of each ACT step, with weights that stay as they are."""
    still = {"lr": 0.0, "puzzle_emb_lr": 0.0}
    return [updated(backend, batch, **still)["logits"] for _ in range(NUM_STEPS)]


def logits_in_evaluation(backend: Backend, batch: Batch) -> list[np.ndarray]:
    carry, logits = backend.begin(batch), []
    for _ in range(NUM_STEPS):
        carry, answers = backend.step(carry)
        logits.append(answers.logits.copy())
    return logits


LOGITS = {"training": logits_in_training, "evaluation": logits_in_evaluation}


def differing_cells(make: Make, config: ModelConfig, mode: str, **options: Any) -> Any:
    """Which cells of which ACT step change, to the last bit, with one token. Returns: (steps, B, S)."""
    batch = replace(drawn_batch(), prefix_len=PREFIX_LEN)
    inputs = batch.inputs.copy()
    inputs[:, CHANGED] = (inputs[:, CHANGED] + 1) % V
    found, other = (
        np.stack(LOGITS[mode](make(config, **options), asked))
        for asked in (batch, replace(batch, inputs=inputs))
    )
    return (found != other).any(axis=-1)


@pytest.mark.parametrize("mode", LOGITS)
@pytest.mark.parametrize("puzzle_emb_ndim", [0, 32])
@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
@pytest.mark.parametrize("attention", ["causal", "prefix"])
def test_no_position_sees_a_later_token(
    make: Make, attention: str, kernel: str, puzzle_emb_ndim: int, mode: str
) -> None:
    config = seeing(attention, puzzle_emb_ndim)
    differs = differing_cells(make, config, mode, attention=kernel)
    assert not differs[..., :CHANGED].any()
    assert differs[..., CHANGED:].all()


@pytest.mark.parametrize("mode", LOGITS)
def test_full_attention_would_be_noticed(make: Make, mode: str) -> None:
    assert differing_cells(make, seeing_everything(), mode)[..., :CHANGED].any()


def seeing_everything() -> ModelConfig:
    return config_with(halting="fixed", halt_max_steps=NUM_STEPS)


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile on a CPU needs g++")
@pytest.mark.parametrize(("attention", "mode"), [("causal", "evaluation"), ("prefix", "training")])
def test_compiled_model_sees_no_later_token(make: Make, attention: str, mode: str) -> None:
    """A compiler takes tens of seconds for each: both patterns and both modes, but not all pairs."""
    config = seeing(attention, 32).model_copy(update={"H_cycles": 1, "L_cycles": 1})
    differs = differing_cells(make, config, mode, compile="on")
    assert not differs[..., :CHANGED].any()
    assert differs[..., CHANGED:].all()


@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
@pytest.mark.parametrize("puzzle_emb_ndim", [0, 32])
def test_every_position_sees_the_prefix(make: Make, puzzle_emb_ndim: int, kernel: str) -> None:
    """The token that is changed is the last of row 5's prefix and behind that of row 4."""
    batch = replace(drawn_batch(), prefix_len=PREFIX_LEN)
    inputs = batch.inputs.copy()
    inputs[:, 4] = (inputs[:, 4] + 1) % V
    config = seeing("prefix", puzzle_emb_ndim)
    found, other = (
        logits_in_evaluation(make(config, attention=kernel), asked)[0]
        for asked in (batch, replace(batch, inputs=inputs))
    )
    differs = (found != other).any(axis=-1)
    assert not differs[:5, :4].any()
    assert differs[5].all()


def test_tokens_see_every_puzzle_slot(make: Make) -> None:
    """Two slots: the second half of the vector reaches even the first token, whose position follows it."""
    config = seeing("causal", 64)
    weights = drawn_weights(config)
    said = []
    for shift in (0.0, 1.0):
        backend = make(config)
        weights["puzzle_emb.weights"][:, 32:] += np.float32(shift)
        backend.load_weights(weights)
        said.append(logits_in_evaluation(backend, drawn_batch())[0])
    assert (said[0] != said[1]).any(axis=-1).all()


def test_causal_is_a_prefix_of_no_length(make: Make) -> None:
    batch = replace(drawn_batch(), prefix_len=np.zeros(B, np.int32))
    causal, prefix = (
        logits_in_evaluation(make(seeing(attention, 32)), batch)
        for attention in ("causal", "prefix")
    )
    np.testing.assert_allclose(causal, prefix, atol=1e-5)


def test_slots_of_a_prefix_model_are_taken_and_joined(make: Make) -> None:
    backend = make(seeing("prefix", 32))
    batch = replace(drawn_batch(), prefix_len=PREFIX_LEN)
    carry, _ = backend.step(backend.begin(batch))
    some, others = (np.array(slots, np.int32) for slots in ([3, 1], [0, 5, 2]))
    rejoined = backend.join(backend.take(carry, some), backend.take(carry, others))
    expected = backend.step(carry)[1].logits
    found = backend.step(rejoined)[1].logits
    np.testing.assert_allclose(found, expected[[3, 1, 0, 5, 2]], atol=1e-5)


def test_prefix_goes_on_with_its_slot(make: Make) -> None:
    """In the second step slots still work on the first batch; so does a run that is resumed there."""
    config = seeing("prefix", 32)
    first, second = make(config), make(config)
    batch = replace(drawn_batch(1), prefix_len=PREFIX_LEN)
    other = replace(drawn_batch(2), prefix_len=PREFIX_LEN[::-1].copy())
    updated(first, batch, 1)
    second.load_weights({name: weight.copy() for name, weight in first.weights().items()})
    second.load_state({name: array.copy() for name, array in first.state().items()})
    for backend in (first, second):
        trace = updated(backend, other, 2)
        np.testing.assert_array_equal(trace["current/prefix_len"], PREFIX_LEN)
    for name, weight in first.weights().items():
        np.testing.assert_array_equal(weight, second.weights()[name], err_msg=name)
