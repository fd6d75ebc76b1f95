"""Halting after a fixed number of steps, and the average of the loss (SPEC.md, sections 13.2 and 13.6), in both backends."""

from dataclasses import replace

import numpy as np
import pytest
from beyond import (
    B,
    Make,
    S,
    config_with,
    drawn_batch,
    updated,
)


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
