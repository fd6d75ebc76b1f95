from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from hrm_core.backend import Arrays, BackendOptions, Batch
from hrm_core.config import ModelConfig, OptimConfig
from hrm_core.parameters import PUZZLE_TABLE, Role, initial_values, parameter_table
from hrm_core.schedule import rates
from hrm_core.sizing import LONG

torch = pytest.importorskip("torch", reason="torch is missing: the PyTorch reference is not tested")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from hrm_torch_ref import layers, update  # noqa: E402
from hrm_torch_ref.answers import Answers  # noqa: E402
from hrm_torch_ref.backend import TorchBackend  # noqa: E402
from hrm_torch_ref.model import DTYPES  # noqa: E402

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
NO_FLOOR = np.zeros(B, np.int32)


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


def begun(config: ModelConfig, **options: Any) -> TorchBackend:
    backend = TorchBackend(
        config, BackendOptions(**{"device": "cpu", "dtype": "float32", **options})
    )
    backend.load_weights(weights(config))
    backend.begin_training(OPTIM, B)
    return backend


def run(config: ModelConfig, **options: Any) -> tuple[list[Arrays], Arrays]:
    """What a few updates trace, and the weights after them."""
    backend, rng = begun(config, **options), np.random.default_rng(1)
    traces = [
        {
            name: array.copy()
            for name, array in backend.trace_update(
                batch(rng, config), NO_FLOOR, rates(t, 9, OPTIM)
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


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("micro_batch", [1, 4, 5])
def test_micro_batches_give_what_the_whole_batch_gives(micro_batch: int, dtype: str) -> None:
    whole, pieces = run(small(), dtype=dtype), run(small(), micro_batch=micro_batch, dtype=dtype)
    scale = 1 if dtype == "float32" else 1e-8
    for found, expected in zip(pieces[0], whole[0], strict=True):
        np.testing.assert_array_equal(found["halted"], expected["halted"])
        np.testing.assert_array_equal(found["steps"], expected["steps"])
    assert_agree(pieces[0][0], whole[0][0], atol=5e-6 * scale)
    assert_agree(pieces[1], whole[1], atol=2e-5 * scale)


def test_forgotten_micro_batch_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control of the test above: the gradients of the last piece alone."""
    whole = run(small())[0][0]
    monkeypatch.setattr(torch.Tensor, "add_", lambda self, other: other)
    with pytest.raises(AssertionError, match="grad/"):
        assert_agree(run(small(), micro_batch=3)[0][0], whole, atol=1e-6)


@pytest.mark.parametrize("micro_batch", [None, 4])
def test_carry_is_written_where_it_was(micro_batch: int | None) -> None:
    """No slot has its states in memory twice; what was traced is a copy."""
    config, rng = small(), np.random.default_rng(1)
    backend = begun(config, micro_batch=micro_batch)
    before = {name: array for name, array in backend.state().items() if name.startswith("carry.")}
    trace = backend.trace_update(batch(rng, config), NO_FLOOR, rates(1, 9, OPTIM))
    after = backend.state()
    for name, array in before.items():
        assert np.shares_memory(array, after[name]), name
    np.testing.assert_array_equal(before["carry.z_L"], trace["z_L"])
    kept = {name: array.copy() for name, array in trace.items()}
    backend.update(batch(rng, config), NO_FLOOR, rates(2, 9, OPTIM)).read()
    assert not np.array_equal(before["carry.z_L"], trace["z_L"])
    assert_agree(trace, kept, atol=0)


@pytest.mark.parametrize(
    ("micro_batch", "seq_len", "times"),
    [(None, LONG, 0), (4, LONG, 2), (2, LONG, 3), (2, LONG - 2, 0)],
)
def test_what_a_micro_batch_freed_is_given_back(
    monkeypatch: pytest.MonkeyPatch, micro_batch: int | None, seq_len: int, times: int
) -> None:
    """Or the heap would grow with their number; short sequences, and a batch that goes through at once, keep their pages for the next."""
    calls: list[None] = []
    monkeypatch.setattr(update.process, "give_back_freed_memory", lambda: calls.append(None))
    config = small(seq_len=seq_len, H_cycles=1, L_cycles=1)
    begun(config, micro_batch=micro_batch).update(
        batch(np.random.default_rng(1), config), NO_FLOOR, rates(1, 9, OPTIM)
    ).read()
    assert len(calls) == times


def test_update_without_a_trace_is_the_same() -> None:
    config = small()
    backend, rng = begun(config), np.random.default_rng(1)
    for t in range(1, UPDATES + 1):
        metrics = backend.update(batch(rng, config), NO_FLOOR, rates(t, 9, OPTIM)).read()
    traces, expected = run(config)
    for name, value in metrics.items():
        assert value == float(traces[-1][f"metrics/{name}"])
    assert_agree(backend.weights(), expected, atol=0)


def test_row_without_labels_counts_as_right_but_is_not_counted() -> None:
    trace = run(small(halt_max_steps=1))[0][0]
    assert trace["metrics/count"] == B - 1
    assert trace["metrics/q_continue_loss"] == 0
    q = trace["q_halt_logits"].astype(np.float64)
    right = np.array([1.0, *np.zeros(B - 1)])  # untrained: no other row is entirely right
    assert trace["metrics/q_halt_loss"] == pytest.approx(
        float((np.logaddexp(0, q) - q * right).sum()), rel=1e-5
    )


def test_constants_do_not_move() -> None:
    config = small()
    before, after = weights(config), run(config)[1]
    for name in ("H_init", "L_init"):
        np.testing.assert_array_equal(after[name], before[name])
    for name in before.keys() - {"H_init", "L_init", PUZZLE_TABLE}:
        assert (after[name] != before[name]).any(), name


def test_first_update_from_the_published_initialisation_leaves_q_continue_alone() -> None:
    """q is -5 everywhere and so is its target: a gradient of 1e-9 would make Adam-atan2 take a whole step."""
    config = small(halt_max_steps=4)
    backend = begun(config)
    values = initial_values(config, seed=0)
    backend.load_weights(values)
    backend.begin_training(OPTIM, B)
    trace = backend.trace_update(
        batch(np.random.default_rng(1), config), NO_FLOOR, rates(2, 9, OPTIM)
    )
    assert trace["grad/q_head.bias"][1] == 0
    assert not trace["grad/q_head.weight"][1].any()
    assert trace["grad/q_head.bias"][0] != 0
    decayed = np.float32(-5) * np.float32(1 - rates(2, 9, OPTIM).lr * OPTIM.weight_decay)
    assert backend.weights()["q_head.bias"][1] == decayed
    assert backend.weights()["q_head.bias"][0] != decayed


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_moments_and_table_are_written_in_place(dtype: str) -> None:
    backend, rng = begun(small(), dtype=dtype), np.random.default_rng(1)

    def addresses() -> dict[str, int]:
        state = backend._state
        trees = {"weights": state.weights, "m": state.m, "v": state.v, "table": {"": state.table}}
        return {
            f"{tree}.{name}": tensor.data_ptr()
            for tree, tensors in trees.items()
            for name, tensor in tensors.items()
        }

    before = addresses()
    assert len(set(before.values())) == len(before)
    for t in range(1, UPDATES + 1):
        backend.update(batch(rng, small()), NO_FLOOR, rates(t, 9, OPTIM)).read()
    assert addresses() == before


def test_puzzle_rows_that_are_not_in_use_stay_as_they_are() -> None:
    """Nor do they decay."""
    config = small(num_puzzle_identifiers=40)
    table = np.random.default_rng(0).standard_normal((40, 32)).astype(np.float32)
    backend, rng = begun(config), np.random.default_rng(1)
    backend.load_weights({**weights(config), PUZZLE_TABLE: table})
    backend.begin_training(OPTIM, B)
    used: set[int] = set()
    for t in range(1, UPDATES + 1):
        trace = backend.trace_update(batch(rng, config), NO_FLOOR, rates(t, 9, OPTIM))
        used |= set(trace["current/puzzle_identifiers"].tolist())
    after = backend.weights()[PUZZLE_TABLE]
    unused = np.setdiff1d(np.arange(40), list(used))
    np.testing.assert_array_equal(after[unused], table[unused])
    assert (after[list(used)] != table[list(used)]).all(axis=1).all()
    assert len(used) < 20


def test_puzzle_rows_are_those_the_slots_work_on() -> None:
    """Not those of the new batch: the second update moves the rows of the first where no slot has halted."""
    config = small(halt_max_steps=16, num_puzzle_identifiers=12)
    backend, rng = begun(config), np.random.default_rng(1)
    tokens = batch(rng, config)
    first = Batch(tokens.inputs, tokens.labels, np.arange(B, dtype=np.int32))
    second = Batch(tokens.inputs, tokens.labels, np.arange(B, 2 * B, dtype=np.int32))
    never = np.full(B, 16, np.int32)
    backend.update(first, never, rates(1, 9, OPTIM)).read()
    after_first = backend.weights()[PUZZLE_TABLE].copy()
    backend.update(second, never, rates(2, 9, OPTIM)).read()
    after_second = backend.weights()[PUZZLE_TABLE]
    assert not after_second[B:].any()
    assert (after_second[:B] != after_first[:B]).any(axis=1).all()


def test_model_without_puzzle_vectors_trains() -> None:
    config = small(puzzle_emb_ndim=0)
    backend, rng = begun(config), np.random.default_rng(1)
    trace = backend.trace_update(batch(rng, config), NO_FLOOR, rates(1, 9, OPTIM))
    assert "puzzle_grad_local" not in trace
    assert PUZZLE_TABLE not in backend.weights()
    assert trace["logits"].shape == (B, 9, 7)


def test_bfloat16_update_follows_float32() -> None:
    exact, rounded = run(small())[0][0], run(small(), dtype="bfloat16")[0][0]
    assert rounded["loss"] == pytest.approx(float(exact["loss"]), rel=2e-2)
    assert rounded["grad/lm_head.weight"].dtype == np.float32
    assert not np.array_equal(rounded["logits"], exact["logits"])


def test_float32_update_follows_float64() -> None:
    rounded, exact = run(small()), run(small(), dtype="float64")
    assert {array.dtype for name, array in exact[1].items()} == {np.dtype("float64")}
    for found, expected in zip(rounded[0], exact[0], strict=True):
        np.testing.assert_array_equal(found["halted"], expected["halted"])
    for name, expected in exact[0][0].items():
        limit = 2e-5 if name.startswith(("z_", "logits", "q_", "grad", "puzzle")) else 1e-5
        scale = (
            max(1.0, np.abs(expected).max())
            if not name.startswith("grad")
            else np.abs(expected).max()
        )
        np.testing.assert_allclose(
            rounded[0][0][name], expected, rtol=0, atol=limit * scale, err_msg=name
        )


def test_gradient_is_the_slope_of_the_loss_in_float64() -> None:
    """Central differences along a random direction, with one cycle a level, where the one-step gradient is the whole one."""
    config = small(H_cycles=1, L_cycles=1, halt_max_steps=1)
    rng = np.random.default_rng(5)
    values = {name: array.astype(np.float64) for name, array in weights(config).items()}
    moved = [
        name
        for name, parameter in parameter_table(config).items()
        if parameter.role is not Role.CONSTANT
    ]
    rows = batch(np.random.default_rng(1), config)
    ids = np.arange(B, dtype=np.int32) % 5
    directions = {name: rng.standard_normal(values[name].shape) for name in moved}

    def traced(distance: float) -> Arrays:
        backend = begun(config, dtype="float64")
        backend.load_weights(
            {
                name: array + distance * directions[name] if name in moved else array
                for name, array in values.items()
            }
        )
        backend.begin_training(OPTIM, B)
        return backend.trace_update(
            Batch(rows.inputs, rows.labels, ids), NO_FLOOR, rates(1, 9, OPTIM)
        )

    here = traced(0.0)
    slope = sum(
        (here[f"grad/{name}"] * directions[name]).sum() for name in moved if name != PUZZLE_TABLE
    )
    slope += (here["puzzle_grad_local"] * directions[PUZZLE_TABLE][ids]).sum()
    step = 1e-6
    difference = (float(traced(step)["loss"]) - float(traced(-step)["loss"])) / (2 * step) / B
    assert difference == pytest.approx(slope, rel=1e-7)


class Casts(TorchDispatchMode):
    """Counts the casts to bfloat16 by shape."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if (
            func is torch.ops.aten._to_copy.default
            and result.dtype == torch.bfloat16
            and args[0].dtype == torch.float32
        ):
            self.shapes.append(tuple(result.shape))
        return result


def casts_of_weights(backend: TorchBackend, config: ModelConfig) -> dict[str, int]:
    """How often tensors of the shape of each weight are cast in one update."""
    counted = Casts()
    with counted:
        backend.update(batch(np.random.default_rng(1), config), NO_FLOOR, rates(1, 9, OPTIM)).read()
    return {
        name: counted.shapes.count(tuple(tensor.shape))
        for name, tensor in backend._state.weights.items()
    }


@pytest.mark.parametrize("micro_batch", [None, 3])
def test_each_weight_is_cast_once_an_update(micro_batch: int | None) -> None:
    """Not once a call of it: each level is called six times in two ACT steps. Embeddings stay float32, only their rows are cast."""
    config = small()
    found = casts_of_weights(begun(config, dtype="bfloat16", micro_batch=micro_batch), config)
    shapes = {name: parameter.shape for name, parameter in parameter_table(config).items()}
    for name, times in found.items():
        same_shape = [
            other
            for other in found
            if shapes[other] == shapes[name] and not other.startswith("embed_")
        ]
        assert times == len(same_shape), name
    assert begun(config)._state.weights["lm_head.weight"].dtype == torch.float32


def test_cast_at_every_call_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control of the test above."""
    monkeypatch.setattr(update, "working_weights", lambda weights, dtype: dict(weights))

    def casting(self: layers.Linear, x: Any) -> Any:
        return torch.nn.functional.linear(
            x, self.weight.to(x.dtype), None if self.bias is None else self.bias.to(x.dtype)
        )

    monkeypatch.setattr(layers.Linear, "forward", casting)
    found = casts_of_weights(begun(small(), dtype="bfloat16"), small())
    assert found["H_level.layers.0.mlp.down_proj.weight"] > 2 * 2


@pytest.mark.parametrize("dtype", DTYPES)
def test_working_weights_are_in_the_dtype_of_activations_but_embeddings(dtype: str) -> None:
    wide = {"embed_tokens.embedding_weight": torch.ones(2), "lm_head.weight": torch.ones(2)}
    found = update.working_weights(wide, DTYPES[dtype])
    assert found["embed_tokens.embedding_weight"] is wide["embed_tokens.embedding_weight"]
    assert found["lm_head.weight"].dtype == DTYPES[dtype]


def test_gradient_of_a_token_is_summed_in_float32() -> None:
    """In bfloat16 the sum over 54 cells of one token would be off by percents."""
    config = small(vocab_size=2)
    tokens = np.zeros((B, 9), np.int32)
    backend = begun(config, dtype="bfloat16")
    trace = backend.trace_update(
        Batch(tokens, tokens, np.zeros(B, np.int32)), NO_FLOOR, rates(1, 9, OPTIM)
    )
    gradient = trace["grad/embed_tokens.embedding_weight"][0]
    assert gradient.dtype == np.float32
    rounded = torch.tensor(gradient).bfloat16().float().numpy()
    assert (gradient != rounded).mean() > 0.5


def test_tie_goes_to_the_lowest_token() -> None:
    logits = torch.tensor([[[1.0, 3.0, 3.0, 3.0], [2.0, 2.0, 2.0, 2.0]]])
    q = torch.zeros(1)
    for dtype in DTYPES.values():
        np.testing.assert_array_equal(
            Answers(logits.to(dtype), q, q, "softmax_cross_entropy").tokens, [[1, 0]]
        )
    assert Answers(logits, q, q, "softmax_cross_entropy").tokens.dtype == np.int32


def test_caller_may_write_into_its_arrays_after_the_update() -> None:
    """Nothing is waited for, so what is read later must have been copied."""
    config = small()
    losses = []
    for clear in (False, True):
        backend, rng = begun(config), np.random.default_rng(1)
        rows, floor = batch(rng, config), NO_FLOOR.copy()
        pending = backend.update(rows, floor, rates(1, 9, OPTIM))
        if clear:
            for array in (rows.inputs, rows.labels, rows.puzzle_identifiers, floor):
                array[:] = 0
        losses.append(
            (pending.read(), backend.update(batch(rng, config), floor, rates(2, 9, OPTIM)).read())
        )
    assert losses[0] == losses[1]
