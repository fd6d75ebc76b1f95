from collections.abc import Iterator
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

import hrm_mlx
from hrm_core.backend import BackendOptions, Batch
from hrm_core.config import ModelConfig, OptimConfig
from hrm_core.draws import Purpose, draw_min_steps, stream
from hrm_core.parameters import PUZZLE_TABLE, initial_values, parameter_table
from hrm_core.schedule import rates
from hrm_mlx import devices
from hrm_mlx.backend import MLXBackend

CONFIG = ModelConfig.model_validate(
    {
        "vocab_size": 7, "seq_len": 9, "num_puzzle_identifiers": 5, "puzzle_emb_ndim": 32, "hidden_size": 32, "num_heads": 2,
        "H_layers": 1, "L_layers": 1, "halt_max_steps": 3, "halt_exploration_prob": 0.5,
    }
)  # fmt: skip
OPTIM = OptimConfig(
    lr=1e-3, lr_warmup_steps=2, weight_decay=0.1, puzzle_emb_lr=1e-2, puzzle_emb_weight_decay=0.1
)
B, UPDATES = 6, 50


def made(dtype: str = "float32", seed: int = 0) -> MLXBackend:
    backend = MLXBackend(CONFIG, BackendOptions(device="cpu", dtype=dtype))  # type: ignore[arg-type]
    backend.load_weights(initial_values(CONFIG, seed))
    backend.begin_training(OPTIM, B)
    return backend


def batches() -> Iterator[Batch]:
    rng = np.random.default_rng(1)
    while True:
        tokens = rng.integers(0, CONFIG.vocab_size, (2, B, CONFIG.seq_len), dtype=np.int32)
        yield Batch(tokens[0], tokens[1], rng.integers(0, 5, B, dtype=np.int32))


def advance(
    backend: MLXBackend, source: Iterator[Batch], first: int, last: int
) -> dict[str, float]:
    for update in range(first, last + 1):
        floors = draw_min_steps(stream(0, Purpose.EXPLORATION, update), B, CONFIG)
        metrics = backend.update(next(source), floors, rates(update, UPDATES, OPTIM))
    return metrics.read()


def copied(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in arrays.items()}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_and_state_are_all_that_the_next_update_needs(dtype: str) -> None:
    source = batches()
    first = made(dtype)
    advance(first, source, 1, 4)
    weights, state = copied(dict(first.weights())), copied(dict(first.state()))
    following = [next(source) for _ in range(3)]
    expected = advance(first, iter(following), 5, 7)

    second = made(dtype, seed=9)
    second.load_weights(weights)
    second.begin_training(OPTIM, B)
    second.load_state(state)
    assert copied(dict(second.state())).keys() == state.keys()
    assert advance(second, iter(following), 5, 7) == expected
    for found, wanted in ((second.weights(), first.weights()), (second.state(), first.state())):
        for name in wanted:
            assert found[name].dtype == wanted[name].dtype
            assert found[name].tobytes() == wanted[name].tobytes(), name


def test_forgotten_carry_would_be_noticed() -> None:
    source = batches()
    first = made()
    advance(first, source, 1, 4)
    following = [next(source)]
    second = made()
    second.load_weights(copied(dict(first.weights())))
    second.load_state(
        {**copied(dict(first.state())), "carry.z_H": np.zeros_like(first.state()["carry.z_H"])}
    )
    assert advance(first, iter(following), 5, 5) != advance(second, iter(following), 5, 5)


def test_weights_come_back_as_they_went_in() -> None:
    values = {
        **initial_values(CONFIG, 3),
        PUZZLE_TABLE: np.random.default_rng(0).standard_normal((5, 32), np.float32),
    }
    backend = made()
    backend.load_weights(values)
    found = backend.weights()
    assert list(found) == list(parameter_table(CONFIG))
    for name, array in values.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_memory_stays_flat() -> None:
    backend, source = made(), batches()
    advance(backend, source, 1, 10)
    mx.reset_peak_memory()
    before = mx.get_active_memory()
    advance(backend, source, 11, 20)
    first_peak = mx.get_peak_memory()
    advance(backend, source, 21, UPDATES)
    assert mx.get_active_memory() <= before + 65536
    assert mx.get_peak_memory() <= 1.05 * first_peak
    assert backend.peak_memory() == mx.get_peak_memory()


def test_evaluation_leaves_training_alone() -> None:
    source = batches()
    first, second = made(), made()
    shared = [next(source) for _ in range(4)]
    advance(first, iter(shared[:2]), 1, 2)
    advance(second, iter(shared[:2]), 1, 2)
    carry = second.begin(shared[3])
    for _ in range(3):
        carry, answers = second.step(carry)
    assert answers.tokens.shape == (B, 9)
    assert advance(first, iter(shared[2:]), 3, 4) == advance(second, iter(shared[2:]), 3, 4)


def test_taken_slots_go_on_as_they_would_have() -> None:
    backend = made()
    carry, _ = backend.step(backend.begin(next(batches())))
    slots = np.array([4, 1], np.int32)
    whole, part = backend.step(carry)[1], backend.step(backend.take(carry, slots))[1]
    np.testing.assert_allclose(part.logits, whole.logits[slots], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        part.q_continue_logits, whole.q_continue_logits[slots], rtol=1e-5, atol=1e-5
    )


def test_noise_is_added_to_both_states() -> None:
    backend = made()
    carry = backend.begin(next(batches()))
    shape = (B, CONFIG.total_len, CONFIG.hidden_size)
    before = copied(dict(backend.carry_arrays(carry)))
    after = backend.carry_arrays(
        backend.perturb(carry, np.full(shape, 0.5, np.float32), np.full(shape, 0.25, np.float32))
    )
    np.testing.assert_array_equal(after["z_H"], before["z_H"] + np.float32(0.5))
    np.testing.assert_array_equal(after["z_L"], before["z_L"] + np.float32(0.25))


def test_environment_is_described() -> None:
    about = made().describe()
    assert (about["dtype"], about["device_type"], about["compiled"]) == ("float32", "cpu", "False")
    assert {"backend", "device", "blas", "threads"} <= about.keys()


def test_measured_products_leave_the_threads_of_the_blas_as_they_were(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts: list[int] = []
    told = replace(hrm_mlx.BLAS, set_num_threads=counts.append)
    monkeypatch.setattr(hrm_mlx, "BLAS", told)
    monkeypatch.setattr(devices, "num_cores", lambda: 6)
    for one_graph, share in ((False, 1), (True, 6)):
        counts.clear()
        devices.num_workers(one_graph)
        devices.gemm_rate(mx.float32, one_graph, size=8, repeats=1)
        assert counts == [share, 6, share]
