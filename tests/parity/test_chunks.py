"""Examples in chunks (SPEC.md, section 13.3), in both backends."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from beyond import (
    OPTIM,
    SIZES,
    B,
    C,
    K,
    Make,
    N,
    S,
    V,
    chunks_of,
    config_with,
    drawn_batch,
    drawn_weights,
    moved_from_start,
    updated,
)

from hrm_core.backend import Batch
from hrm_core.config import ArchConfig, ModelConfig
from hrm_core.data.store import load_split
from hrm_core.data.writer import Examples, Layout, write_dataset
from hrm_core.errors import ConfigError
from hrm_core.inference.evaluation import InferenceOptions, answer_step_by_step, evaluate


def in_chunks(**changes: Any) -> ModelConfig:
    return config_with(
        **{"num_chunks": C, "steps_per_chunk": K, "halt_max_steps": C * K + 1, **changes}
    )


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
        # 1.9e-5 after three steps on one processor, below 1e-5 on another
        np.testing.assert_allclose(traces[0]["logits"], traces[1]["logits"], atol=5e-5)


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
        "num_chunks=3 of steps_per_chunk=1 take 3; set halt_max_steps to 3 or more"
    )
