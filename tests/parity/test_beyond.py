"""The network beyond the published one (SPEC.md, section 13), in both backends."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hrm_core.backend import Backend, BackendOptions, Batch
from hrm_core.config import ArchConfig, ModelConfig, OptimConfig
from hrm_core.data.store import load_split
from hrm_core.data.writer import Examples, Layout, write_dataset
from hrm_core.errors import ConfigError
from hrm_core.inference.evaluation import InferenceOptions, answer_step_by_step, evaluate
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


def drawn_batch(seed: int = 0, num_chunks: int = 1) -> Batch:
    rng = np.random.default_rng(seed)
    inputs, labels = rng.integers(0, V, (2, B, num_chunks * S), dtype=np.int32)
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


C, K = 3, 2  # chunks, steps on each


def in_chunks(**changes: Any) -> ModelConfig:
    return config_with(
        **{"num_chunks": C, "steps_per_chunk": K, "halt_max_steps": C * K + 1, **changes}
    )


def chunk_at(steps: Any) -> Any:
    return np.minimum(steps // K, C - 1)


def chunks_of(rows: Any, steps: Any) -> Any:
    """The chunk of each row (B, C S) that is worked on after so many steps (B,)."""
    return rows.reshape(B, C, S)[np.arange(B), chunk_at(steps)]


def test_slots_begin_on_different_chunks_where_halting_is_fixed(make: Make) -> None:
    config = in_chunks(halting="fixed")
    backend = make(config)
    began = K * (np.arange(B) % C)
    for update in range(1, 9):
        trace = updated(backend, drawn_batch(update, C), update, lr=0.0)
        steps = began + update
        later = (steps - 1) % config.halt_max_steps + 1
        np.testing.assert_array_equal(trace["steps"], np.where(steps <= 7, steps, later))
        np.testing.assert_array_equal(trace["halted"], trace["steps"] == config.halt_max_steps)


def test_slots_that_learn_to_halt_begin_together(make: Make) -> None:
    trace = updated(make(in_chunks()), drawn_batch(1, C))
    np.testing.assert_array_equal(trace["steps"], np.ones(B))


def test_each_chunk_goes_on_from_the_state_of_the_one_before(make: Make) -> None:
    """What a step on a chunk makes is what a model of single chunks makes of it from the same state."""
    batch = drawn_batch(0, C)
    backend, single = make(in_chunks()), make(config_with(halt_max_steps=C * K + 1))
    carry = backend.begin(batch)
    for step in range(C * K + 1):
        before = backend.carry_arrays(carry)
        carry, answers = backend.step(carry)
        rows = replace(
            batch, inputs=np.ascontiguousarray(chunks_of(batch.inputs, np.full(B, step)))
        )
        own = single.perturb(single.begin(rows), *moved_from_start(single, rows, before))
        _, expected = single.step(own)
        np.testing.assert_allclose(answers.logits, expected.logits, atol=2e-5)


def moved_from_start(backend: Backend, batch: Batch, state: Any) -> tuple[Any, Any]:
    """The noise that makes a fresh state this one."""
    fresh = backend.carry_arrays(backend.begin(batch))
    return state["z_H"] - fresh["z_H"], state["z_L"] - fresh["z_L"]


def halting_head(config: ModelConfig) -> dict[str, Any]:
    """Weights whose Q head always wants to halt."""
    weights = drawn_weights(config)
    weights["q_head.weight"][:] = 0
    weights["q_head.bias"][:] = [1, -1]
    return weights


def test_no_slot_halts_before_its_last_chunk(make: Make) -> None:
    config = in_chunks()
    backend = make(config)
    backend.load_weights(halting_head(config))
    backend.begin_training(OPTIM, B)
    for update in range(1, 7):
        trace = updated(backend, drawn_batch(update, C), update, lr=0.0)
        np.testing.assert_array_equal(trace["steps"], [(update - 1) % 5 + 1] * B)
        np.testing.assert_array_equal(trace["halted"], [update == 5] * B)


def test_q_is_learned_on_labelled_last_chunks_alone(make: Make) -> None:
    config = in_chunks()
    batch = drawn_batch(0, C)
    labels = batch.labels.copy()
    labels[1, -S:] = -100  # the last chunk of row 1
    labels[2] = -100
    batch = replace(batch, labels=labels)
    backend = make(config)
    for update in range(1, (C - 1) * K + 2):
        trace = updated(backend, batch, update, lr=0.0)
        losses = trace["metrics/q_halt_loss"], trace["metrics/q_continue_loss"]
        on_last = update > (C - 1) * K
        if not on_last:
            assert losses == (0, 0)
            np.testing.assert_array_equal(trace["target_q_continue"], np.zeros(B))
            continue
        right = (trace["logits"].argmax(-1) == labels[:, -S:]).all(axis=1)
        q, rows = trace["q_halt_logits"].astype(float), [0, 3, 4, 5]
        expected = np.logaddexp(0, np.where(right, -q, q))[rows].sum()
        assert losses[0] == pytest.approx(expected, rel=1e-5)
        assert trace["target_q_continue"].min() > 0


def test_metrics_count_each_labelled_chunk_at_its_last_step(make: Make) -> None:
    config = in_chunks(halting="fixed")
    batch = drawn_batch(0, C)
    labels = batch.labels.copy()
    labels[0, S : 2 * S] = -100
    labels[3, 2 * S :] = -100
    batch = replace(batch, labels=labels)
    backend = make(config)
    for update in range(1, 15):
        trace = updated(backend, batch, update, lr=0.0)
        steps = trace["steps"]
        ends = trace["halted"] | ((steps <= 4) & (steps % 2 == 0))
        valid = chunks_of(labels, steps - 1) >= 0
        right = (trace["logits"].argmax(-1) == chunks_of(labels, steps - 1)) & valid
        counted = ends & valid.any(axis=1)
        assert trace["metrics/count"] == counted.sum()
        accuracy = right.sum(axis=1) / np.maximum(valid.sum(axis=1), 1)
        assert trace["metrics/accuracy"] == pytest.approx(accuracy[counted].sum(), abs=1e-5)
        assert trace["metrics/steps"] == steps[trace["halted"]].sum()
        assert trace["metrics/halts"] == trace["halted"].sum()


def test_chunks_resume_in_the_middle_and_are_taken_and_joined(make: Make) -> None:
    config = in_chunks(halting="fixed", attention="prefix")
    lengths = np.arange(B, dtype=np.int32)
    first, second = make(config), make(config)
    for update in range(1, 4):
        updated(first, replace(drawn_batch(update, C), prefix_len=lengths), update)
    second.load_weights({name: weight.copy() for name, weight in first.weights().items()})
    second.load_state({name: array.copy() for name, array in first.state().items()})
    for update in range(4, 9):
        batch = replace(drawn_batch(update, C), prefix_len=lengths)
        traces = [updated(backend, batch, update) for backend in (first, second)]
        for name, array in traces[0].items():
            np.testing.assert_array_equal(array, traces[1][name], err_msg=name)
    carry = first.begin(batch)
    for _ in range(3):
        carry, _ = first.step(carry)
    some, others = (np.array(slots, np.int32) for slots in ([3, 1], [0, 5, 2]))
    rejoined = first.join(first.take(carry, some), first.take(carry, others))
    found, expected = first.step(rejoined)[1].logits, first.step(carry)[1].logits
    np.testing.assert_allclose(found, expected[[3, 1, 0, 5, 2]], atol=1e-5)


def test_micro_batches_of_chunks_change_rounding_only(make: Make) -> None:
    config = in_chunks(halting="fixed")
    whole, parts = make(config), make(config, micro_batch=2)
    for update in range(1, 4):
        traces = [updated(each, drawn_batch(update, C), update, lr=0.0) for each in (whole, parts)]
        np.testing.assert_array_equal(traces[0]["steps"], traces[1]["steps"])
        np.testing.assert_allclose(traces[0]["logits"], traces[1]["logits"], atol=1e-5)


N = 11  # examples, more than slots


def written(tmp_path: Path, **more: Any) -> Any:
    """A data set of three chunks; the last chunk of example 2 and all of example 4 have no label."""
    rng = np.random.default_rng(5)
    inputs, labels = rng.integers(0, V, (2, N, C * S))
    labels[2, -S:] = labels[4] = 0
    layout = Layout(V, S, identifiers=("<blank>", "a", "b"), num_chunks=C)
    identifiers = np.arange(N) % 3
    examples = Examples(inputs, labels, puzzle_identifiers=identifiers, **more)
    write_dataset(tmp_path / "data", layout, {"test": {"all": [examples]}}, {"task": "chunks"})
    return load_split(tmp_path / "data", "test")


@pytest.mark.parametrize("halt", ["fixed", "q"])
def test_answer_takes_each_chunk_from_its_last_step(make: Make, tmp_path: Path, halt: Any) -> None:
    """The Q head wants to halt at once: on the last chunk it may."""
    split = written(tmp_path)
    config = in_chunks()
    backend = make(config)
    backend.load_weights(halting_head(config))
    predictions, answers = evaluate(backend, split, None, 4, options=InferenceOptions(halt))
    examples = split.sets["all"]
    ids = examples.puzzle_identifiers.astype(np.int32)
    inputs = np.array(examples.inputs, np.int32)
    carry, said, losses = backend.begin(Batch(inputs, inputs, ids)), {}, {}
    labels = np.where(examples.labels == 0, -100, examples.labels.astype(np.int32))
    num_steps = C * K + 1 if halt == "fixed" else (C - 1) * K + 1
    for step in range(num_steps):
        carry, step_answers = backend.step(carry)
        chunk = min(step // K, C - 1)
        said[chunk] = step_answers.tokens
        own = np.ascontiguousarray(labels[:, chunk * S : (chunk + 1) * S])
        losses[chunk] = step_answers.label_losses(own)
    expected = np.concatenate([said[chunk] for chunk in range(C)], axis=1)
    np.testing.assert_array_equal(answers, expected)
    np.testing.assert_array_equal(predictions.steps, [num_steps] * N)
    right = (expected == labels) & (labels >= 0)
    np.testing.assert_array_equal(predictions.num_right, right.sum(axis=1))
    np.testing.assert_array_equal(predictions.num_labelled, (labels >= 0).sum(axis=1))
    sums = sum(losses.values()).sum(axis=1)
    means = sums / np.maximum((labels >= 0).sum(axis=1), 1)
    np.testing.assert_allclose(predictions.lm_loss, means, rtol=1e-4, atol=1e-5)
    steps = answer_step_by_step(backend, inputs, ids, batch_size=4, halt=halt)
    np.testing.assert_array_equal(steps.final, expected)
    np.testing.assert_array_equal(steps.settled_step, predictions.settled_step)
    assert (steps.settled_steps >= 1 + K * np.arange(C)).all()
    assert (steps.settled_steps[:, :-1] <= K * np.arange(1, C)).all()


def test_chunks_of_a_data_set_are_those_of_the_model(tmp_path: Path) -> None:
    metadata = written(tmp_path).metadata
    assert (metadata.seq_len, metadata.num_chunks) == (S, C)
    arch = {name: value for name, value in SIZES.items() if name not in metadata.sizes._asdict()}
    model = ArchConfig.model_validate({**arch, "steps_per_chunk": 1})
    assert model.sized(metadata.sizes).num_cells == C * S
    with pytest.raises(ConfigError, match=r"model\.num_chunks=2 but the data has num_chunks=3"):
        model.model_copy(update={"num_chunks": 2}).sized(metadata.sizes)
    short = model.model_copy(update={"halt_max_steps": 2})
    with pytest.raises(ConfigError) as refused:
        short.sized(metadata.sizes)
    assert str(refused.value) == (
        "model: halt_max_steps=2 does not reach the end of the last chunk: "
        "num_chunks=3 of steps_per_chunk=1 take 3"
    )
