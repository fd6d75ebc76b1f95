"""The network beyond the published one (SPEC.md, section 13), in both backends."""

import shutil
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


CHANGED = 5  # the token that is changed; what stands before it must not see it
NUM_STEPS = 4
PREFIX_LEN = np.array([0, 1, 2, 3, 4, 5], np.int32)


def seeing(attention: str, puzzle_emb_ndim: int) -> ModelConfig:
    return config_with(
        attention=attention,
        halting="fixed",
        puzzle_emb_ndim=puzzle_emb_ndim,
        halt_max_steps=NUM_STEPS,
    )


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
