import shutil
from collections.abc import Mapping
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from hrm_core.backend import Arrays, BackendOptions, Batch
from hrm_core.config import ModelConfig, OptimConfig
from hrm_core.parameters import PUZZLE_TABLE, initial_values
from hrm_core.schedule import rates
from hrm_mlx.answers import Answers
from hrm_mlx.backend import MLXBackend
from hrm_mlx.update import choose_compiled
from hrm_mlx.workers import Workers

SIZES = {
    "vocab_size": 7,
    "seq_len": 9,
    "num_puzzle_identifiers": 5,
    "puzzle_emb_ndim": 32,
    "hidden_size": 32,
    "num_heads": 2,
}
OPTIM = OptimConfig(
    lr=1e-3, lr_warmup_steps=2, weight_decay=0.1, puzzle_emb_lr=1e-2, puzzle_emb_weight_decay=0.1
)
B, UPDATES = 6, 3


def small(**changes: Any) -> ModelConfig:
    return ModelConfig.model_validate(
        {
            **SIZES,
            "H_layers": 1,
            "L_layers": 1,
            "halt_max_steps": 3,
            "forward_dtype": "float32",
            **changes,
        }
    )


def batch(rng: np.random.Generator, config: ModelConfig) -> Batch:
    tokens = rng.integers(0, config.vocab_size, (2, B, config.seq_len), dtype=np.int32)
    tokens[1, 0] = -100  # a row without any label
    return Batch(
        tokens[0], tokens[1], rng.integers(0, config.num_puzzle_identifiers, B, dtype=np.int32)
    )


def weights(config: ModelConfig) -> dict[str, np.ndarray]:
    """Initial values, with a Q head that decides."""
    values = initial_values(config, seed=0)
    rng = np.random.default_rng(3)
    values["q_head.weight"] = rng.standard_normal(values["q_head.weight"].shape, np.float32)
    return {**values, "q_head.bias": np.zeros(2, np.float32)}


def run(config: ModelConfig, **options: Any) -> tuple[list[Arrays], Arrays]:
    """What a few updates trace, and the weights after them."""
    backend = MLXBackend(config, BackendOptions(**{"device": "cpu", "dtype": "float32", **options}))
    backend.load_weights(weights(config))
    backend.begin_training(OPTIM, B)
    rng = np.random.default_rng(1)
    traces = [
        {
            name: array.copy()
            for name, array in backend.trace_update(
                batch(rng, config), np.zeros(B, np.int32), rates(t, 9, OPTIM)
            ).items()
        }
        for t in range(1, UPDATES + 1)
    ]
    return traces, {name: array.copy() for name, array in backend.weights().items()}


def assert_agree(
    found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], atol: float
) -> None:
    assert found.keys() == expected.keys()
    for name in expected:
        assert (found[name].shape, found[name].dtype) == (
            expected[name].shape,
            expected[name].dtype,
        ), name
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=atol, err_msg=name)


@pytest.mark.parametrize("micro_batch", [1, 2, 4, 5])
def test_micro_batches_give_what_the_whole_batch_gives(micro_batch: int) -> None:
    whole, pieces = run(small()), run(small(), micro_batch=micro_batch)
    assert_agree(pieces[0][0], whole[0][0], atol=1e-6)
    np.testing.assert_array_equal(
        [trace["halted"] for trace in pieces[0]], [trace["halted"] for trace in whole[0]]
    )
    assert_agree(pieces[1], whole[1], atol=2e-5)


def test_forgotten_micro_batch_would_be_noticed() -> None:
    whole, half = run(small())[0][0], run(small(), micro_batch=3)[0][0]
    half = {**half, "grad/lm_head.weight": half["grad/lm_head.weight"] / 2}
    with pytest.raises(AssertionError, match=r"grad/lm_head\.weight"):
        assert_agree(half, whole, atol=1e-6)


@pytest.mark.skipif(shutil.which("g++") is None, reason="mx.compile on a CPU needs g++")
def test_compiled_update_is_the_eager_one() -> None:
    config = small(H_cycles=1, L_cycles=1)  # g++ takes a minute for two cycles
    eager, compiled = run(config, compile="off"), run(config, compile="on")
    assert_agree(compiled[0][0], eager[0][0], atol=1e-6)
    assert_agree(compiled[1], eager[1], atol=2e-5)


@pytest.mark.skipif(shutil.which("g++") is None, reason="mx.compile on a CPU needs g++")
def test_compiled_optimizer_is_the_eager_one(monkeypatch: pytest.MonkeyPatch) -> None:
    config, eager = small(), run(small())
    monkeypatch.setattr("hrm_mlx.backend.choose_compiled", lambda *_: "optimizer")
    monkeypatch.setattr("hrm_mlx.backend.shared_workers", lambda _: Workers(1))  # as on a GPU
    compiled = run(config)
    assert_agree(compiled[0][0], eager[0][0], atol=1e-6)
    assert_agree(compiled[1], eager[1], atol=2e-6)


def test_what_is_compiled_depends_on_option_and_device() -> None:
    cpu, cuda, metal = (False, False), (True, False), (True, True)
    chosen = [choose_compiled("auto", *device) for device in (cpu, cuda, metal)]
    assert chosen == ["nothing", "optimizer", "update"]
    assert {choose_compiled("on", *device) for device in (cpu, cuda, metal)} == {"update"}
    assert {choose_compiled("off", *device) for device in (cpu, cuda, metal)} == {"nothing"}


def waits_and_weights(on_gpu: bool, micro_batch: int | None) -> tuple[int, Arrays]:
    """Calls of mx.eval in a few updates with one worker, and the weights after them."""
    config, rng = small(), np.random.default_rng(1)
    options = BackendOptions(device="cpu", dtype="float32", micro_batch=micro_batch)
    calls: list[None] = []
    evaluate = mx.eval

    def counted(*trees: Any) -> None:
        calls.append(None)
        evaluate(*trees)

    with pytest.MonkeyPatch.context() as patched:
        backend = MLXBackend(config, options)
        patched.setattr(backend, "_on_gpu", on_gpu)
        patched.setattr(backend, "_workers", Workers(1))
        backend.load_weights(weights(config))
        patched.setattr(mx, "eval", counted)
        backend.begin_training(OPTIM, B)
        calls.clear()
        for t in range(1, UPDATES + 1):
            backend.update(batch(rng, config), np.zeros(B, np.int32), rates(t, 9, OPTIM))
    return len(calls), {name: array.copy() for name, array in backend.weights().items()}


@pytest.mark.parametrize("micro_batch", [None, 4])
def test_update_on_a_gpu_waits_for_nothing(micro_batch: int | None) -> None:
    on_gpu, on_cpu = (waits_and_weights(device, micro_batch) for device in (True, False))
    assert on_gpu[0] == 0
    assert on_cpu[0] >= 2 * UPDATES
    assert_agree(on_gpu[1], on_cpu[1], atol=1e-7)


def test_update_without_a_trace_is_the_same() -> None:
    config = small()
    backend = MLXBackend(config, BackendOptions(device="cpu", dtype="float32"))
    backend.load_weights(weights(config))
    backend.begin_training(OPTIM, B)
    rng = np.random.default_rng(1)
    for t in range(1, UPDATES + 1):
        metrics = backend.update(
            batch(rng, config), np.zeros(B, np.int32), rates(t, 9, OPTIM)
        ).read()
    traces, expected = run(config)
    for name, value in metrics.items():
        assert value == pytest.approx(float(traces[-1][f"metrics/{name}"]), rel=1e-6)
    assert_agree(
        {name: array.copy() for name, array in backend.weights().items()}, expected, atol=1e-7
    )


def test_state_continues_where_it_was_taken() -> None:
    config, rng = small(), np.random.default_rng(1)
    options = BackendOptions(device="cpu", dtype="float32")
    first, second = MLXBackend(config, options), MLXBackend(config, options)
    for backend in (first, second):
        backend.load_weights(weights(config))
        backend.begin_training(OPTIM, B)
    first.update(batch(rng, config), np.zeros(B, np.int32), rates(1, 9, OPTIM)).read()
    second.load_weights({name: array.copy() for name, array in first.weights().items()})
    second.load_state({name: array.copy() for name, array in first.state().items()})
    following = batch(rng, config)
    for backend in (first, second):
        backend.update(following, np.zeros(B, np.int32), rates(2, 9, OPTIM)).read()
    for name, array in first.weights().items():
        np.testing.assert_array_equal(second.weights()[name], array, err_msg=name)


def test_row_without_labels_counts_as_right_but_is_not_counted() -> None:
    trace = run(small(halt_max_steps=1))[0][0]
    assert trace["metrics/count"] == B - 1
    assert trace["metrics/q_continue_loss"] == 0
    q = trace["q_halt_logits"].astype(np.float64)
    right = np.array([1.0, *np.zeros(B - 1)])  # untrained: no other row is entirely right
    assert trace["metrics/q_halt_loss"] == pytest.approx(
        float((np.logaddexp(0, q) - q * right).sum()), rel=1e-5
    )


def test_puzzle_rows_that_are_not_in_use_stay_as_they_are() -> None:
    config = small()
    traces, after = run(config)
    unused = np.setdiff1d(
        np.arange(5), np.concatenate([trace["current/puzzle_identifiers"] for trace in traces])
    )
    used = np.setdiff1d(np.arange(5), unused)
    assert not after[PUZZLE_TABLE][unused].any()
    assert after[PUZZLE_TABLE][used].any(axis=1).all()


def test_constants_do_not_move() -> None:
    config = small()
    before, after = weights(config), run(config)[1]
    for name in ("H_init", "L_init"):
        np.testing.assert_array_equal(after[name], before[name])


def test_bfloat16_update_follows_float32() -> None:
    exact, rounded = run(small())[0][0], run(small(), dtype="bfloat16")[0][0]
    assert rounded["loss"] == pytest.approx(float(exact["loss"]), rel=2e-2)
    assert rounded["grad/lm_head.weight"].dtype == np.float32
    assert not np.array_equal(rounded["logits"], exact["logits"])


def test_tie_goes_to_the_lowest_token() -> None:
    logits = mx.array([[[1.0, 3.0, 3.0, 3.0], [2.0, 2.0, 2.0, 2.0]]])
    q = mx.zeros((1,))
    np.testing.assert_array_equal(Answers(logits, q, q, "softmax_cross_entropy").tokens, [[1, 0]])
    np.testing.assert_array_equal(
        Answers(logits.astype(mx.bfloat16), q, q, "softmax_cross_entropy").tokens, [[1, 0]]
    )
