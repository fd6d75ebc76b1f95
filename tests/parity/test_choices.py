"""Halting alone, the gradient of a cycle and shared levels (SPEC.md, section 13.7), in both backends."""

import shutil
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from beyond import OPTIM, B, Make, config_with, drawn_batch, drawn_weights, updated

from hrm_core.backend import BackendOptions
from hrm_core.backends import backend_named
from hrm_core.config import ModelConfig, validated
from hrm_core.errors import ConfigError
from hrm_core.inference.slots import Questions, think
from hrm_core.parameters import parameter_table
from hrm_core.sizing import activation_bytes, flops_per_example


def with_bias(weights: dict[str, Any], halt: float, go_on: float) -> dict[str, Any]:
    """A Q head that says the same of every state."""
    zeros = np.zeros_like(weights["q_head.weight"])
    return {**weights, "q_head.weight": zeros, "q_head.bias": np.float32([halt, go_on])}


@pytest.mark.parametrize(
    ("q_halt", "halts"), [(1e-3, True), (0.0, False), (-1e-3, False)], ids=["+", "tie", "-"]
)
def test_halting_alone_asks_only_if_q_halt_is_above_0(
    make: Make, q_halt: float, halts: bool
) -> None:
    """The value of going on, above or below, changes nothing."""
    for go_on in (-1.0, 1.0):
        config = config_with(q_continue=False)
        backend = make(config)
        backend.load_weights(with_bias(drawn_weights(config), q_halt, go_on))
        assert (updated(backend, drawn_batch())["halted"] == halts).all()
        backend.load_weights(with_bias(drawn_weights(config), q_halt, go_on))
        batch = drawn_batch()
        questions = Questions.unlabelled(batch.inputs, batch.puzzle_identifiers)
        last = list(think(backend, iter([questions]), B, "q"))[-1]
        assert (last.steps == (1 if halts else config.halt_max_steps)).all()


def test_halting_alone_has_no_second_forward_and_no_loss_of_q_continue(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, alone = (make(config_with(q_continue=value), compile="off") for value in (True, False))
    calls = counted_forwards(monkeypatch, type(alone).__module__.partition(".")[0])
    of_both = updated(both, drawn_batch())
    num_of_both = len(calls)
    calls.clear()
    of_alone = updated(alone, drawn_batch())
    assert num_of_both == 2 * len(calls) > 0
    losses = [{name for name in trace if name.endswith("_loss")} for trace in (of_both, of_alone)]
    assert losses[0] - losses[1] == {"metrics/q_continue_loss"}
    np.testing.assert_array_equal(of_alone["target_q_continue"], np.zeros(B))
    expected = of_alone["metrics/lm_loss"] + 0.5 * of_alone["metrics/q_halt_loss"]
    assert of_alone["loss"] == pytest.approx(expected, rel=1e-6)


def counted_forwards(monkeypatch: pytest.MonkeyPatch, package: str) -> list[int]:
    """Note every call of the model of a backend."""
    model = import_module(f"{package}.model").HRM
    method = "__call__" if package == "hrm_mlx" else "forward"
    call, calls = getattr(model, method), []

    def noted(self: Any, *arguments: Any) -> Any:
        calls.append(1)
        return call(self, *arguments)

    monkeypatch.setattr(model, method, noted)
    return calls


def test_halting_alone_only_decays_the_row_of_q_continue(make: Make) -> None:
    backend = make(config_with(q_continue=False))
    before = {name: weight.copy() for name, weight in backend.weights().items()}
    trace = updated(backend, drawn_batch(), lr=0.01)
    after = backend.weights()
    keep = 1 - 0.01 * OPTIM.weight_decay
    for name in ("q_head.weight", "q_head.bias"):
        assert not trace[f"grad/{name}"][1].any()
        assert trace[f"grad/{name}"][0].any()
        np.testing.assert_allclose(after[name][1], before[name][1] * np.float32(keep), rtol=1e-6)


def test_halting_alone_changes_nothing_where_halting_is_fixed(make: Make) -> None:
    traces = [
        updated(make(config_with(halting="fixed", q_continue=value)), drawn_batch())
        for value in (True, False)
    ]
    assert traces[0].keys() == traces[1].keys()
    for name, array in traces[0].items():
        if name != "q_continue_logits":
            np.testing.assert_array_equal(array, traces[1][name], err_msg=name)


def test_gradient_of_a_cycle_is_that_of_finite_differences() -> None:
    """With one H cycle the gradient of a cycle is the whole one; that of a step is not."""
    pytest.importorskip("torch")
    config = config_with(H_cycles=1, L_cycles=3, q_continue=False, puzzle_emb_ndim=0)
    weights = drawn_weights(config)
    names = [name for name in weights if name.startswith("L_level")]
    entries = {name: tuple(np.array(weights[name].shape) // 2) for name in names}

    def loss(changes: dict[str, float], gradient: str = "cycle") -> dict[str, Any]:
        options = BackendOptions(device="cpu", dtype="float64")
        model = config.model_copy(update={"gradient": gradient})
        backend = backend_named("torch")(model, options)
        moved = {name: weight.astype(np.float64) for name, weight in weights.items()}
        for name, change in changes.items():
            moved[name][entries[name]] += change
        backend.load_weights(moved)
        backend.begin_training(OPTIM, B)
        return updated(backend, drawn_batch())

    step, cycle, of_step = 1e-5, loss({}), loss({}, "step")
    for name in names:
        higher, lower = loss({name: step}), loss({name: -step})
        slope = (higher["loss"] - lower["loss"]) / (2 * step)
        found = cycle[f"grad/{name}"][entries[name]] * B
        assert found == pytest.approx(slope, rel=1e-4, abs=1e-6), name
        of_last_call = of_step[f"grad/{name}"][entries[name]] * B
        assert of_last_call != pytest.approx(slope, rel=1e-2), name


def test_gradient_of_a_cycle_changes_no_answer(make: Make) -> None:
    step, cycle = (
        updated(make(config_with(L_cycles=3, gradient=gradient)), drawn_batch())
        for gradient in ("step", "cycle")
    )
    np.testing.assert_array_equal(step["logits"], cycle["logits"])
    np.testing.assert_array_equal(step["q_halt_logits"], cycle["q_halt_logits"])
    name = "grad/L_level.layers.0.mlp.down_proj.weight"
    assert np.abs(step[name] - cycle[name]).max() > 0.01 * np.abs(step[name]).max()


def test_shared_levels_are_two_levels_of_the_same_weights(make: Make) -> None:
    """Same answers; the gradient of the shared weights is the sum of those of both levels."""
    shared_config = config_with(share_levels=True)
    weights = drawn_weights(shared_config)
    assert not any(name.startswith("H_level") for name in weights)
    both = dict(weights)
    for name in weights:
        if name.startswith("L_level"):
            both[name.replace("L_level", "H_level")] = weights[name].copy()
    shared, apart = make(shared_config), make(config_with())
    for backend, loaded in ((shared, weights), (apart, both)):
        backend.load_weights(loaded)
        backend.begin_training(OPTIM, B)
    found, wanted = updated(shared, drawn_batch()), updated(apart, drawn_batch())
    np.testing.assert_array_equal(found["logits"], wanted["logits"])
    np.testing.assert_array_equal(found["halted"], wanted["halted"])
    for name in weights:
        if name.startswith("L_level"):
            of_both = wanted[f"grad/{name}"] + wanted[f"grad/{name.replace('L_', 'H_', 1)}"]
            largest = np.abs(of_both).max()
            np.testing.assert_allclose(found[f"grad/{name}"], of_both, atol=1e-5 * largest)


def test_shared_levels_are_resumed(make: Make) -> None:
    config = config_with(share_levels=True, q_continue=False, gradient="cycle")
    first, second = make(config), make(config)
    updated(first, drawn_batch(1), 1)
    assert list(first.weights()) == list(parameter_table(config))
    second.load_weights({name: weight.copy() for name, weight in first.weights().items()})
    second.load_state({name: array.copy() for name, array in first.state().items()})
    for backend in (first, second):
        updated(backend, drawn_batch(2), 2)
    for name, weight in first.weights().items():
        np.testing.assert_array_equal(weight, second.weights()[name], err_msg=name)


@pytest.mark.skipif(shutil.which("g++") is None, reason="mx.compile on a CPU needs g++")
def test_compiled_update_is_the_eager_one() -> None:
    """In MLX, which returns no constant twice from a compiled function."""
    config = config_with(share_levels=True, q_continue=False, gradient="cycle")
    eager, compiled = (
        backend_named("mlx")(config, BackendOptions(device="cpu", dtype="float32", compile=how))
        for how in ("off", "on")
    )
    for backend in (eager, compiled):
        backend.load_weights(drawn_weights(config))
        backend.begin_training(OPTIM, B)
    for update in (1, 2):
        expected = updated(eager, drawn_batch(update), update)
        found = updated(compiled, drawn_batch(update), update)
        for name, array in expected.items():
            np.testing.assert_allclose(found[name], array, atol=2e-5, err_msg=name)


def test_shared_levels_need_as_many_layers() -> None:
    config = config_with().model_dump()
    with pytest.raises(ConfigError, match="H_layers=1 and L_layers=2 differ, make them equal"):
        validated(ModelConfig, {**config, "share_levels": True, "L_layers": 2}, "model")


def test_sizes_count_what_is_computed() -> None:
    """An update without q_continue has one forward; the gradient of a cycle passes three calls more."""
    plain = config_with(H_cycles=2, L_cycles=2, puzzle_emb_ndim=0)
    layer = flops_per_example(plain) / (
        2 * 6 + 2 * 2
    )  # two forwards of six calls, a gradient of two
    alone = plain.model_copy(update={"q_continue": False})
    cycle = alone.model_copy(update={"gradient": "cycle"})
    assert flops_per_example(alone) == pytest.approx(layer * (6 + 2 * 2))
    assert flops_per_example(cycle) == pytest.approx(layer * (6 + 2 * 3))
    memory = [activation_bytes(config, 4, "float32") for config in (plain, alone, cycle)]
    assert memory[0] == memory[1] < memory[2]
