"""The network beyond the published one (SPEC.md, section 13), in both backends."""

import importlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hrm_core.backend import Backend, BackendOptions, Batch
from hrm_core.config import ArchConfig, ModelConfig, OptimConfig, validated
from hrm_core.data.store import load_split
from hrm_core.data.writer import Examples, Layout, write_dataset
from hrm_core.errors import ConfigError
from hrm_core.inference.evaluation import InferenceOptions, answer_step_by_step, evaluate
from hrm_core.parameters import initial_values
from hrm_core.schedule import rates
from hrm_core.sizing import flops_per_example
from hrm_parity.checks import backend_named
from hrm_parity.sides import MLXSide, TorchSide

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


def expected_patches(images: Any, chunk: int, config: ModelConfig) -> Any:
    """The patches of one chunk, pixel by pixel. Shapes: -> (B, n, p p)."""
    height, width = config.strip_size
    strips = config.num_chunks - (config.first_chunk == "overview")
    found = []
    for image in images:
        if image.ndim == 3:
            picture = image[chunk].astype(float)
        elif config.first_chunk == "overview" and chunk == 0:
            columns = [image[:, x * strips : (x + 1) * strips].mean(axis=1) for x in range(width)]
            picture = np.stack(columns, axis=1)
        else:
            strip = chunk - (config.first_chunk == "overview")
            picture = image[:, strip * width : (strip + 1) * width].astype(float)
        rows = [
            picture[y : y + 2, x : x + 2].ravel()
            for y in range(0, height, 2)
            for x in range(0, width, 2)
        ]
        found.append(rows)
    return np.array(found)


@pytest.fixture(params=["mlx", "torch"])
def side(request: pytest.FixtureRequest) -> Any:
    pytest.importorskip("torch" if request.param == "torch" else "mlx")
    kind = TorchSide if request.param == "torch" else MLXSide
    return lambda config: kind(config, drawn_weights(config), device="cpu")


@pytest.mark.parametrize("kind", PICTURES)
def test_patches_are_cut_row_by_row(side: Any, kind: str) -> None:
    config = looking(kind)
    images, made = drawn_images(config), side(config)
    act = importlib.import_module(made.layers.__name__.replace("layers", "act"))
    for step in range(config.halt_max_steps):
        steps = made.array(np.full(B, step, np.int32))
        found = made.evaluate(partial(act.patches_worked_on, steps=steps, config=config), images)
        chunk = min(step // K, config.num_chunks - 1)
        np.testing.assert_allclose(found, expected_patches(images, chunk, config), atol=1e-4)
    assert found.dtype == np.float32


def test_patches_are_added_to_their_tokens(side: Any) -> None:
    """Behind the puzzle slot; the tokens behind the patches are as they were."""
    config = looking("strips")
    made, weights = side(config), drawn_weights(config)
    tokens = drawn_batch().inputs
    patches = expected_patches(drawn_images(config), 0, config).astype(np.float32)
    assert patches.shape[1] == config.num_patches == 4
    vectors = np.zeros((B, 32), np.float32)
    given = made.array(tokens), made.array(vectors)
    found = made.evaluate(partial(made.model.embed, *given), patches)
    rows = weights["embed_tokens.embedding_weight"][tokens].astype(float)
    seen = (patches / 255.0 - 0.5) / 0.25 @ weights["embed_patches.weight"].T.astype(float)
    rows[:, :4] += 32**-0.5 * seen
    np.testing.assert_allclose(found[:, 1:], 32**0.5 * rows, atol=1e-4)


def test_weights_of_patches_are_drawn_last() -> None:
    plain, patched = config_with(), looking("one picture")
    values, others = initial_values(patched, seed=2), initial_values(plain, seed=2)
    assert list(values) == [*others, "embed_patches.weight"]
    for name, array in others.items():
        np.testing.assert_array_equal(values[name], array, err_msg=name)
    assert values["embed_patches.weight"].shape == (32, 4)
    assert values["embed_patches.weight"].std() == pytest.approx(0.5, rel=0.15)


@pytest.mark.parametrize("kind", PICTURES)
def test_pictures_go_on_with_their_slot(make: Make, kind: str) -> None:
    """In training, at inference and in a run that is resumed, micro-batches or not."""
    config = looking(kind)
    first, second, third = make(config), make(config), make(config, micro_batch=4)
    images, others = drawn_images(config), drawn_images(config, seed=4)
    chunks = config.num_chunks
    updated(first, replace(drawn_batch(1, chunks), images=images), 1)
    updated(third, replace(drawn_batch(1, chunks), images=images), 1)
    second.load_weights({name: weight.copy() for name, weight in first.weights().items()})
    second.load_state({name: array.copy() for name, array in first.state().items()})
    batch = replace(drawn_batch(2, chunks), images=others)
    traces = [updated(backend, batch, 2) for backend in (first, second, third)]
    halted = traces[0]["steps"] == 1
    expected = np.where(halted.reshape(-1, *[1] * (images.ndim - 1)), others, images)
    np.testing.assert_array_equal(traces[0]["current/images"], expected)
    for name, array in traces[0].items():
        np.testing.assert_array_equal(traces[1][name], array, err_msg=name)
    np.testing.assert_allclose(traces[2]["logits"], traces[0]["logits"], atol=1e-3)
    assert np.abs(traces[0]["grad/embed_patches.weight"]).max() > 0


def test_what_a_strip_shows_is_seen_in_its_chunk_and_later(make: Make) -> None:
    config = looking("strips")
    backend, batch = (
        make(config),
        replace(drawn_batch(0, 3), images=drawn_images(looking("strips"))),
    )
    assert batch.images is not None
    other = batch.images.copy()
    other[:, :, 4:8] = 255 - other[:, :, 4:8]  # the second strip
    said = []
    for images in (batch.images, other):
        carry, logits = backend.begin(replace(batch, images=images)), []
        for _ in range(config.halt_max_steps):
            carry, answers = backend.step(carry)
            logits.append(answers.logits.copy())
        said.append(np.stack(logits))
    differs = (said[0] != said[1]).any(axis=(1, 2, 3))
    np.testing.assert_array_equal(differs, [False] * K + [True] * (2 * K + 1))


WRONG_PICTURES = {
    "patches that do not fit": (
        {"image_size": [4, 10], "patch_size": 2, "num_chunks": 2, "halt_max_steps": 2},
        "image_size=[4, 10] in 2 strips cannot be cut into squares of patch_size=2",
    ),
    "strips that do not fit": (
        {"image_size": [4, 10], "patch_size": 2, "num_chunks": 3},
        "image_size=[4, 10] in 3 strips cannot be cut into squares of patch_size=2",
    ),
    "too many": (
        {"image_size": [8, 8], "patch_size": 2},
        "image_size=[8, 8] has 16 patches of patch_size=2 a chunk, seq_len=9 has no room",
    ),
    "other frames": (
        {"image_size": [4, 4, 4], "patch_size": 2, "num_chunks": 3},
        "image_size=4 frames, expected num_chunks=3",
    ),
    "overview of frames": (
        {"image_size": [3, 4, 4], "patch_size": 2, "num_chunks": 3, "first_chunk": "overview"},
        "first_chunk=overview takes one picture",
    ),
    "overview alone": (
        {"image_size": [4, 4], "patch_size": 2, "first_chunk": "overview"},
        "first_chunk=overview takes one picture",
    ),
    "no patch size": ({"image_size": [4, 4]}, "belong together: set patch_size"),
    "no picture": ({"patch_size": 2}, "belong together: set patch_size, and use data with images"),
}


@pytest.mark.parametrize("name", WRONG_PICTURES)
def test_pictures_that_do_not_fit_are_refused(name: str) -> None:
    changes, message = WRONG_PICTURES[name]
    with pytest.raises(ConfigError) as refused:
        validated(ModelConfig, {**SIZES, **changes}, "mine")
    assert message in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_questions_without_their_picture_are_refused(make: Make) -> None:
    backend = make(looking("one picture"))
    with pytest.raises(ConfigError, match=r"looks at images of size \(4, 8\)"):
        answer_step_by_step(backend, drawn_batch().inputs, np.zeros(B, np.int32))


@pytest.mark.parametrize("kind", PICTURES)
def test_pictures_are_read_through_a_map(make: Make, tmp_path: Path, kind: str) -> None:
    config = looking(kind)
    rng = np.random.default_rng(1)
    assert config.image_size is not None
    images = rng.integers(0, 256, (N, *config.image_size), np.uint8)
    inputs = rng.integers(0, V, (N, config.num_cells))
    layout = Layout(V, S, identifiers=("<blank>", "a", "b"), num_chunks=config.num_chunks)
    blocks = [
        Examples(inputs[rows], inputs[rows], images=images[rows])
        for rows in (slice(0, 5), slice(5, N))
    ]
    write_dataset(tmp_path / "data", layout, {"test": {"all": blocks}}, {"task": "pictures"})
    split = load_split(tmp_path / "data", "test")
    assert isinstance(split.sets["all"].images, np.memmap)
    assert config.seen(split.sizes) == config.sizes
    backend = make(config)
    _, answers = evaluate(backend, split, None, 4)
    ids = np.zeros(N, np.int32)
    found = answer_step_by_step(backend, inputs, ids, batch_size=4, images=images)
    np.testing.assert_array_equal(answers, found.final)


BRIGHT_SLOTS, BRIGHT_UPDATES = 64, 400
BRIGHT_OPTIM = OptimConfig(lr=3e-3, lr_warmup_steps=20, weight_decay=0.1, puzzle_emb_lr=0.0)


def bright_config(num_chunks: int) -> ModelConfig:
    """Strips of 8 x 8 pixels in patches of 4 x 4, one token behind them."""
    looks = {"seq_len": 5, "image_size": [8, 8 * num_chunks], "patch_size": 4}
    small = {"H_cycles": 1, "L_cycles": 1, "puzzle_emb_ndim": 0, "pos_encodings": "learned"}
    halts = {"halting": "fixed", "halt_max_steps": num_chunks, "num_chunks": num_chunks}
    return config_with(**looks, **small, **halts, loss_type="softmax_cross_entropy")


def bright_batch(rng: np.random.Generator, count: int, num_chunks: int) -> Batch:
    """Is the right half brighter than the left one? The last token says so; of one strip the right one is shown."""
    halves = rng.uniform(60, 196, (count, 2))
    noise = rng.normal(0, 10, (count, 8, 16))
    images = (np.repeat(halves, 8, axis=1)[:, None] + noise).clip(0, 255).astype(np.uint8)
    labels = np.full((count, 5 * num_chunks), -100, np.int32)
    labels[:, -1] = 2 + (halves[:, 1] > halves[:, 0])
    shown = np.ascontiguousarray(images[..., -8 * num_chunks :])
    return Batch(np.ones_like(labels), labels, np.zeros(count, np.int32), images=shown)


def auroc(scores: Any, truth: Any) -> float:
    """Share of pairs of a true and a false one that the scores order rightly."""
    ranks = np.argsort(np.argsort(scores))
    num_true = truth.sum()
    wins = ranks[truth].sum() - num_true * (num_true - 1) / 2
    return float(wins / (num_true * (len(truth) - num_true)))


def trained_to_compare(make: Make, num_chunks: int) -> Backend:
    backend = make(bright_config(num_chunks))
    backend.load_weights(initial_values(backend.config, seed=0))
    backend.begin_training(BRIGHT_OPTIM, BRIGHT_SLOTS)
    rng, floors = np.random.default_rng(0), np.zeros(BRIGHT_SLOTS, np.int32)
    for update in range(1, BRIGHT_UPDATES + 1):
        batch = bright_batch(rng, BRIGHT_SLOTS, num_chunks)
        backend.update(batch, floors, rates(update, BRIGHT_UPDATES, BRIGHT_OPTIM))
    return backend


def measured_auroc(backend: Backend, forgets: bool = False) -> float:
    """AUROC after the last chunk; `forgets` gives each chunk a fresh state."""
    num_chunks = backend.config.num_chunks
    batch = bright_batch(np.random.default_rng(1), 1000, num_chunks)
    carry = backend.begin(batch)
    for _ in range(num_chunks):
        if forgets:
            state = backend.carry_arrays(carry)
            noise_H, noise_L = moved_from_start(backend, batch, state)
            carry = backend.perturb(carry, -noise_H, -noise_L)
        carry, answers = backend.step(carry)
    chances = answers.probabilities(np.array([4], np.int32), np.array([2, 3], np.int32))
    return auroc(chances[:, 0, 1], batch.labels[:, -1] == 3)


def test_two_strips_are_compared_through_the_state(make: Make) -> None:
    """Of one strip alone no more than 5/6 can be told."""
    both = trained_to_compare(make, 2)
    assert measured_auroc(both) > 0.97  # 0.986
    assert measured_auroc(both, forgets=True) < 0.87  # 0.78
    assert measured_auroc(trained_to_compare(make, 1)) < 0.87


@pytest.mark.parametrize("kind", ["full", "causal", "prefix", *PICTURES])
def test_operations_of_a_forward_are_those_of_the_formula(kind: str) -> None:
    """One forward and the embedding, but for both heads, counted by PyTorch."""
    pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    config = looking(kind) if kind in PICTURES else seeing(kind, 32)
    backend = backend_named("torch")(config, BackendOptions(device="cpu", attention="eager"))
    backend.load_weights(drawn_weights(config))
    batch = replace(drawn_batch(0, config.num_chunks), prefix_len=PREFIX_LEN)
    if config.patch_size:
        batch = replace(batch, images=drawn_images(config))
    carry = backend.begin(batch)
    with FlopCounterMode(display=False) as counter:
        if config.num_chunks == 1:
            backend.begin(batch)
        backend.step(carry)
    heads = 2 * config.hidden_size * (config.total_len * V + 2)
    assert counter.get_total_flops() == B * (forward_flops(config) + heads)


def forward_flops(config: ModelConfig) -> float:
    """Those of one forward: a second one and the gradient of both levels and of the patches are taken away."""
    fixed = config.model_copy(update={"halting": "fixed"})
    D, T, I = config.hidden_size, config.total_len, config.intermediate_size  # noqa: E741
    layer = 2 * T * (4 * D * D + 3 * D * I) + 4 * T * T * D
    gradient = 2 * layer * (config.H_layers + config.L_layers)
    patches = 2 * config.num_patches * (config.patch_size or 0) ** 2 * D
    return flops_per_example(fixed) - gradient - patches
