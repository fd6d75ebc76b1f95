import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from hrm_core.backend import BackendOptions, Batch
from hrm_core.config import ModelConfig, OptimConfig
from hrm_core.draws import Purpose, draw_min_steps, stream
from hrm_core.errors import BackendError
from hrm_core.parameters import PUZZLE_TABLE, initial_values, parameter_table
from hrm_core.schedule import rates

torch = pytest.importorskip("torch", reason="torch is missing: the PyTorch reference is not tested")

import hrm_torch_ref  # noqa: E402
from hrm_torch_ref.arrays import from_numpy, to_numpy  # noqa: E402
from hrm_torch_ref.backend import TorchBackend  # noqa: E402

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
CPU = torch.device("cpu")


def made(dtype: str = "float32", seed: int = 0) -> TorchBackend:
    backend = TorchBackend(CONFIG, BackendOptions(device="cpu", dtype=dtype))  # type: ignore[arg-type]
    backend.load_weights(initial_values(CONFIG, seed))
    backend.begin_training(OPTIM, B)
    return backend


def batches() -> Iterator[Batch]:
    rng = np.random.default_rng(1)
    while True:
        tokens = rng.integers(0, CONFIG.vocab_size, (2, B, CONFIG.seq_len), dtype=np.int32)
        yield Batch(tokens[0], tokens[1], rng.integers(0, 5, B, dtype=np.int32))


def advance(
    backend: TorchBackend, source: Iterator[Batch], first: int, last: int
) -> dict[str, float]:
    for update in range(first, last + 1):
        floors = draw_min_steps(stream(0, Purpose.EXPLORATION, update), B, CONFIG)
        metrics = backend.update(next(source), floors, rates(update, UPDATES, OPTIM))
    return metrics.read()


def copied(arrays: Any) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in arrays.items()}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_weights_and_state_are_all_that_the_next_update_needs(dtype: str) -> None:
    source = batches()
    first = made(dtype)
    advance(first, source, 1, 4)
    weights, state = copied(first.weights()), copied(first.state())
    assert {array.dtype for array in weights.values()} == {
        np.dtype("float64" if dtype == "float64" else "float32")
    }
    assert state["carry.z_H"].dtype == np.dtype(dtype)
    following = [next(source) for _ in range(3)]
    expected = advance(first, iter(following), 5, 7)

    second = made(dtype, seed=9)
    second.load_weights(weights)
    second.begin_training(OPTIM, B)
    second.load_state(state)
    assert second.state().keys() == state.keys()
    assert advance(second, iter(following), 5, 7) == expected
    for found, wanted in ((second.weights(), first.weights()), (second.state(), first.state())):
        for name in wanted:
            assert found[name].dtype == wanted[name].dtype
            assert found[name].tobytes() == wanted[name].tobytes(), name


@pytest.mark.parametrize(
    "forgotten",
    ["carry.z_H", "carry.steps", "m.lm_head.weight", "v.lm_head.weight", "carry.labels"],
)
def test_forgotten_state_would_be_noticed(forgotten: str) -> None:
    source = batches()
    first = made()
    advance(first, source, 1, 4)
    following = [next(source), next(source)]
    second = made()
    second.load_weights(copied(first.weights()))
    second.load_state({**copied(first.state()), forgotten: np.zeros_like(first.state()[forgotten])})
    found, expected = (advance(backend, iter(following), 5, 6) for backend in (second, first))
    assert found != expected


def test_state_taken_over_is_a_copy() -> None:
    """The weights are written in place: nobody else's arrays may be."""
    first, second = made(), made()
    weights = copied(first.weights())
    given = copied(weights)
    second.load_weights(given)
    second.begin_training(OPTIM, B)
    second.load_state(state := copied(first.state()))
    kept = copied(state)
    advance(second, batches(), 1, 2)
    for arrays, before in ((given, weights), (state, kept)):
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, before[name], err_msg=name)


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


@pytest.mark.parametrize("dtype", [np.float32, np.float64, ml_dtypes.bfloat16, np.int32, bool])
def test_arrays_cross_without_a_change(dtype: Any) -> None:
    array = (np.arange(12).reshape(3, 4).T[::-1] - 5.3).astype(dtype)
    found = to_numpy(from_numpy(array, CPU))
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.tobytes() == array.tobytes()


def test_memory_stays_flat() -> None:
    """Of tensors: what one update leaves behind the next one leaves again."""
    import gc

    def held() -> int:
        gc.collect()
        return sum(
            tensor.numel() * tensor.element_size()
            for tensor in gc.get_objects()
            if type(tensor) is torch.Tensor
        )

    backend, source = made(), batches()
    advance(backend, source, 1, 3)
    before = held()
    advance(backend, source, 4, 10)
    assert held() <= before + 65536
    assert backend.peak_memory() > 10 * 2**20


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_evaluation_leaves_training_alone(dtype: str) -> None:
    source = batches()
    first, second = made(dtype), made(dtype)
    shared = [next(source) for _ in range(4)]
    advance(first, iter(shared[:2]), 1, 2)
    advance(second, iter(shared[:2]), 1, 2)
    carry = second.begin(shared[3])
    for _ in range(3):
        carry, answers = second.step(carry)
    assert answers.tokens.shape == (B, 9)
    assert advance(first, iter(shared[2:]), 3, 4) == advance(second, iter(shared[2:]), 3, 4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_evaluation_sees_the_newest_weights(dtype: str) -> None:
    """The weights in the dtype of activations are kept from step to step, but not over an update."""
    backend, source = made(dtype), batches()
    batch = next(source)
    before = backend.step(backend.begin(batch))[1].logits
    advance(backend, source, 1, 3)
    after = backend.step(backend.begin(batch))[1].logits
    assert not np.array_equal(before, after)
    fresh = made(dtype, seed=7)
    fresh.load_weights(copied(backend.weights()))
    np.testing.assert_array_equal(fresh.step(fresh.begin(batch))[1].logits, after)


def test_evaluation_is_that_of_training() -> None:
    """The first ACT step of an update answers as evaluation does."""
    backend, batch = made("float64"), next(batches())
    _, answers = backend.step(backend.begin(batch))
    trace = backend.trace_update(batch, np.zeros(B, np.int32), rates(1, UPDATES, OPTIM))
    for name in ("logits", "q_halt_logits", "q_continue_logits"):
        np.testing.assert_allclose(getattr(answers, name), trace[name], rtol=1e-12, atol=1e-12)
    assert answers.logits.dtype == np.float64


def test_carry_of_evaluation_starts_from_the_constants_and_counts() -> None:
    backend = made()
    carry = backend.begin(next(batches()))
    weights = backend.weights()
    for step in range(3):
        arrays = backend.carry_arrays(carry)
        assert arrays["steps"].tolist() == [step] * B
        assert not arrays["halted"].any()
        if step == 0:
            np.testing.assert_array_equal(
                arrays["z_H"], np.broadcast_to(weights["H_init"], arrays["z_H"].shape)
            )
            np.testing.assert_array_equal(
                arrays["z_L"], np.broadcast_to(weights["L_init"], arrays["z_L"].shape)
            )
        carry, _ = backend.step(carry)
    assert backend.carry_arrays(carry)["halted"].all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_taken_slots_go_on_as_they_would_have(dtype: str) -> None:
    backend = made(dtype)
    carry, _ = backend.step(backend.begin(next(batches())))
    slots = np.array([4, 1], np.int32)
    whole, part = backend.step(carry)[1], backend.step(backend.take(carry, slots))[1]
    limit = 1e-5 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(part.logits, whole.logits[slots], rtol=limit, atol=limit)
    np.testing.assert_allclose(
        part.q_continue_logits, whole.q_continue_logits[slots], rtol=limit, atol=limit
    )


def test_joined_carries_go_on_as_they_would_have() -> None:
    backend = made("float64")
    carry, _ = backend.step(backend.begin(next(batches())))
    parts = [backend.take(carry, np.array(slots, np.int32)) for slots in ([0, 1, 2, 3], [4, 5])]
    whole, again = backend.step(carry)[1], backend.step(backend.join(*parts))[1]
    np.testing.assert_allclose(again.logits, whole.logits, rtol=1e-13, atol=1e-13)


def test_noise_is_added_to_both_states() -> None:
    backend = made()
    carry = backend.begin(next(batches()))
    shape = (B, CONFIG.total_len, CONFIG.hidden_size)
    before = copied(backend.carry_arrays(carry))
    after = backend.carry_arrays(
        backend.perturb(carry, np.full(shape, 0.5, np.float32), np.full(shape, 0.25, np.float32))
    )
    np.testing.assert_array_equal(after["z_H"], before["z_H"] + np.float32(0.5))
    np.testing.assert_array_equal(after["z_L"], before["z_L"] + np.float32(0.25))
    np.testing.assert_array_equal(backend.carry_arrays(carry)["z_H"], before["z_H"])


def test_environment_is_described() -> None:
    about = made().describe()
    assert (about["dtype"], about["device_type"], about["compiled"], about["attention"]) == (
        "float32",
        "cpu",
        "False",
        "sdpa",
    )
    assert about["backend"] == f"torch {torch.__version__}"
    assert {"device", "blas", "threads", "micro_batch", "replicas"} <= about.keys()
    assert made("float64").describe()["attention"] == "eager"


def test_update_before_training_is_a_mistake_of_ours() -> None:
    backend = TorchBackend(CONFIG, BackendOptions(device="cpu"))
    with pytest.raises(RuntimeError, match="begin_training comes before the first update"):
        backend.update(next(batches()), np.zeros(B, np.int32), rates(1, UPDATES, OPTIM))


@pytest.mark.skipif(
    torch.cuda.is_available() or torch.backends.mps.is_available(), reason="there is a GPU"
)
def test_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(BackendError, match="this PyTorch finds no GPU; use --device cpu"):
        TorchBackend(CONFIG, BackendOptions(device="gpu"))


def test_model_is_loaded_by_one_line(tiny_run: Any) -> None:
    import hrm_mlx

    puzzle = "1... ..2. .3.. ...4"
    found, expected = (
        hrm_torch_ref.load(tiny_run).solve(puzzle)[0],
        hrm_mlx.load(tiny_run).solve(puzzle)[0],
    )
    np.testing.assert_array_equal(found.answer, expected.answer)
    np.testing.assert_allclose(found.q_halt_logits, expected.q_halt_logits, rtol=1e-4, atol=1e-4)


def test_missing_pytorch_is_one_line_and_another_failure_is_not() -> None:
    program = """
import sys
from hrm_core.errors import BackendError
sys.modules[{missing!r}] = None
try:
    import hrm_torch_ref.backend
except BackendError as error:
    print(error)
"""
    lines = {}
    for missing in ("torch", "hrm_torch_ref.devices"):
        ran = subprocess.run(
            [sys.executable, "-c", program.format(missing=missing)],
            capture_output=True,
            text=True,
            check=False,
        )
        lines[missing] = ran.stdout, ran.returncode
    assert lines["torch"] == ("PyTorch is not installed; pip install 'torch>=2.6'\n", 0)
    assert lines["hrm_torch_ref.devices"] == ("", 1)
