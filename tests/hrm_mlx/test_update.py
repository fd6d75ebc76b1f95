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


@pytest.mark.parametrize("micro_batch", [None, 4])
def test_update_on_a_gpu_waits_for_nothing(
    monkeypatch: pytest.MonkeyPatch, micro_batch: int | None
) -> None:
    """The same numbers as on a CPU, and no call of mx.eval before the metrics are read."""
    config, rng = small(), np.random.default_rng(1)
    rows = [batch(rng, config) for _ in range(UPDATES)]
    floors = np.zeros(B, np.int32)
    waits: dict[bool, int] = {}
    found: dict[bool, dict[str, np.ndarray]] = {}
    for on_gpu in (True, False):
        backend = MLXBackend(
            config, BackendOptions(device="cpu", dtype="float32", micro_batch=micro_batch)
        )
        backend._on_gpu, backend._workers = on_gpu, Workers(1)
        backend.load_weights(weights(config))
        backend.begin_training(OPTIM, B)
        calls: list[object] = []
        evaluate = mx.eval
        with monkeypatch.context() as patched:
            patched.setattr(mx, "eval", lambda *trees: (calls.append(trees), evaluate(*trees)))
            # the updater took its function when it was made
            if not on_gpu:
                assert backend._updater is not None
                patched.setattr(backend._updater, "_evaluate", mx.eval)
            for t, row in enumerate(rows, start=1):
                backend.update(row, floors, rates(t, 9, OPTIM))
        waits[on_gpu] = len(calls)
        found[on_gpu] = {name: array.copy() for name, array in backend.weights().items()}
    assert waits[True] == 0
    assert waits[False] > 0
    assert_agree(found[True], found[False], atol=1e-7)


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
