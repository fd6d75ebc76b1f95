"""Answers reduced on the device, of both backends, against float64 on the host."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes
import mlx.core as mx
import numpy as np
import pytest

from hrm_core.backend import Answers, BackendOptions, Batch
from hrm_core.config import ModelConfig
from hrm_core.data.store import load_split
from hrm_core.inference.evaluation import evaluate
from hrm_core.parameters import initial_values
from hrm_core.runs.checkpoint import find_model, load_model
from hrm_mlx.answers import Answers as MLXAnswers
from hrm_mlx.arrays import from_numpy
from hrm_parity.checks import backend_named
from hrm_parity.golden import load_case
from hrm_parity.replays import token_losses

Say = Callable[..., Answers]

LOSSES = ["stablemax_cross_entropy", "softmax_cross_entropy"]
DTYPES = {"float32": np.float32, "bfloat16": ml_dtypes.bfloat16}
SMALL, LARGE = 12, 50265
AWKWARD: dict[str, Callable[[np.random.Generator, tuple[int, ...]], Any]] = {
    "usual": lambda rng, shape: 3 * rng.standard_normal(shape),
    "of every size": lambda rng, shape: (
        rng.choice([-1, 1], shape) * 10 ** rng.uniform(-4, 4, shape)
    ),
    "far apart": lambda rng, shape: rng.choice([-1e4, 1e4], shape),
    "few above all others": lambda rng, shape: np.where(
        rng.random(shape) < 1 / shape[-1], 1e4, -1e4
    ),
    "all the same": lambda rng, shape: np.full(shape, -1e4),
}
ONE_CYCLE = ModelConfig(
    vocab_size=7,
    seq_len=6,
    num_puzzle_identifiers=1,
    puzzle_emb_ndim=0,
    H_layers=1,
    L_layers=1,
    H_cycles=1,
    L_cycles=1,
    hidden_size=32,
    num_heads=2,
)
needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None, reason="mx.compile on a CPU needs g++"
)


def say_mlx(logits: np.ndarray, loss_type: str = LOSSES[1]) -> Answers:
    q = mx.zeros(len(logits))
    return MLXAnswers(from_numpy(logits), q, q, loss_type)


def say_torch(logits: np.ndarray, loss_type: str = LOSSES[1]) -> Answers:
    torch = pytest.importorskip("torch")
    from hrm_torch_ref import answers, arrays

    q = torch.zeros(len(logits))
    tensor = arrays.from_numpy(logits, torch.device("cpu"))
    return answers.Answers(tensor, q, q, loss_type)


@pytest.fixture(params=[say_mlx, say_torch], ids=["mlx", "torch"])
def say(request: pytest.FixtureRequest) -> Say:
    said: Say = request.param
    return said


def drawn_labels(rng: np.random.Generator, logits: np.ndarray) -> np.ndarray:
    """Labels of all kinds: any token, the likeliest one, none."""
    labels = rng.integers(0, logits.shape[-1], logits.shape[:2], dtype=np.int32)
    labels[:, ::3] = logits.astype(np.float32).argmax(axis=-1)[:, ::3]
    labels[:, ::7] = -100
    return labels


def beyond(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, in units of 1e-6 relative or 1e-6 nats."""
    return float((np.abs(found - expected) / (1e-6 * np.maximum(np.abs(expected), 1))).max())


@pytest.mark.parametrize("loss_type", LOSSES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", AWKWARD)
@pytest.mark.parametrize("vocab_size", [SMALL, LARGE])
def test_losses_are_those_of_float64(
    say: Say, vocab_size: int, kind: str, dtype: str, loss_type: str
) -> None:
    rng = np.random.default_rng(vocab_size)
    shape = (40, 50, vocab_size) if vocab_size == SMALL else (2, 20, vocab_size)
    logits = AWKWARD[kind](rng, shape).astype(DTYPES[dtype])
    labels = drawn_labels(rng, logits)
    found = say(logits, loss_type).label_losses(labels)
    assert found.dtype == np.float32
    assert (found[labels < 0] == 0).all()
    assert beyond(found, token_losses(logits, labels, loss_type)) <= 1


@pytest.mark.parametrize("loss_type", LOSSES)
def test_cells_without_a_label_count_for_nothing_even_if_broken(say: Say, loss_type: str) -> None:
    logits = np.zeros((1, 3, SMALL), np.float32)
    logits[0, :2] = np.nan
    losses = say(logits, loss_type).label_losses(np.array([[-100, 3, 4]], np.int32))
    assert losses[0, 0] == 0
    assert np.isnan(losses[0, 1])
    assert losses[0, 2] == pytest.approx(np.log(SMALL))


@pytest.mark.parametrize("loss_type", LOSSES)
def test_extreme_logits_give_finite_losses_without_a_warning(say: Say, loss_type: str) -> None:
    logits = np.array([[[1e38, -1e38, 0, 1, -1, 2]] * 6], np.float32)
    losses = say(logits, loss_type).label_losses(np.arange(6, dtype=np.int32)[None])
    assert np.isfinite(losses).all()
    assert losses[0, 0] == 0
    assert (losses[0, 1:] > 0).all()


def test_stablemax_is_the_formula(say: Say) -> None:
    logits = np.array([[[-3.0, -0.5, 0.0, 0.5, 2.0, 7.0]] * 6], np.float32)
    s, labels = np.array([1 / 4, 1 / 1.5, 1, 1.5, 3, 8]), np.arange(6, dtype=np.int32)[None]
    expected = -np.log(s / s.sum())
    assert token_losses(logits, labels, LOSSES[0])[0] == pytest.approx(expected, rel=1e-14)
    assert say(logits, LOSSES[0]).label_losses(labels)[0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", ["rope_stablemax_f32", "learned_softmax_f32"])
def test_loss_of_recorded_logits_is_the_recorded_loss(
    golden_dir: Path, say: Say, name: str
) -> None:
    case = load_case(golden_dir / name)
    recorded, loss_type = case.forward, case.config.loss_type
    labels = recorded["labels"]
    num_labelled = np.maximum((labels >= 0).sum(axis=1), 1)
    for step, logits in enumerate(recorded["logits"]):
        expected = float(recorded["metrics/lm_loss"][step])
        exact = token_losses(logits, labels, loss_type).sum(axis=1)
        assert (exact / num_labelled).sum() == pytest.approx(expected, rel=1e-7)
        found = say(logits, loss_type).label_losses(labels).sum(axis=1, dtype=np.float64)
        assert (found / num_labelled).sum() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("backend", ["mlx", "torch"])
def test_reported_losses_are_those_of_the_logits_in_float64(
    tiny_run: Path, tiny_data: Path, backend: str
) -> None:
    if backend == "torch":
        pytest.importorskip("torch")
    model, split = load_model(find_model(tiny_run)), load_split(tiny_data, "test")
    made = backend_named(backend)(model.config, BackendOptions(device="cpu"))
    made.load_weights(model.weights)
    examples = split.sets["all"]
    inputs, labels = (rows.astype(np.int32) for rows in (examples.inputs, examples.labels))
    carry = made.begin(Batch(inputs, labels, np.zeros(len(inputs), np.int32)))
    for _ in range(model.config.halt_max_steps):
        carry, answers = made.step(carry)
    exact = token_losses(answers.logits, labels, model.config.loss_type)
    scores, _ = evaluate(made, split, None, batch_size=len(inputs))
    assert beyond(scores.lm_loss, exact.mean(axis=1)) <= 1


@pytest.mark.parametrize("backend", [pytest.param("mlx", marks=needs_compiler), "torch"])
def test_losses_of_a_compiled_step_are_those_of_its_logits(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch's is traced into a graph, but not compiled to code, which would take a quarter of a minute."""
    if backend == "torch":
        torch = pytest.importorskip("torch")
        monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    options = BackendOptions(device="cpu", dtype="bfloat16", compile="on")
    made = backend_named(backend)(ONE_CYCLE, options)
    made.load_weights(initial_values(ONE_CYCLE, seed=0))
    tokens = np.arange(2 * ONE_CYCLE.seq_len, dtype=np.int32).reshape(2, -1) % 7
    _, answers = made.step(made.begin(Batch(tokens, tokens, np.zeros(2, np.int32))))
    exact = token_losses(answers.logits, tokens, ONE_CYCLE.loss_type)
    assert beyond(answers.label_losses(tokens), exact) <= 1


def test_probabilities_are_a_softmax_over_the_named_tokens_alone(say: Say) -> None:
    logits = 20 * np.random.default_rng(0).standard_normal((3, 5, SMALL)).astype(np.float32)
    positions, tokens = np.array([4, 0], np.int32), np.array([7, 2, 11], np.int32)
    shares = np.exp(logits[:, positions][..., tokens].astype(np.float64))
    expected = shares / shares.sum(axis=-1, keepdims=True)
    found = say(logits).probabilities(positions, tokens)
    assert (found.shape, found.dtype) == ((3, 2, 3), np.float32)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    of_each_slot = np.array([[4, 0], [1, 1], [2, 4]], np.int32)
    again = say(logits).probabilities(of_each_slot, tokens)
    np.testing.assert_array_equal(again[0], found[0])
    np.testing.assert_array_equal(again[2, 1], found[2, 0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_top_tokens_come_with_their_log_probabilities(say: Say, dtype: str) -> None:
    rng = np.random.default_rng(0)
    logits = (5 * rng.standard_normal((3, 4, LARGE))).astype(DTYPES[dtype])
    exact = logits[:, 2].astype(np.float64)
    order = np.argsort(-exact, axis=-1, kind="stable")[:, :40]
    normaliser = np.log(np.exp(exact).sum(axis=-1, keepdims=True))
    found = say(logits).top(2, 40)
    np.testing.assert_array_equal(found.tokens, order)
    assert (found.tokens.dtype, found.log_probabilities.dtype) == (np.int32, np.float32)
    expected = np.take_along_axis(exact, order, axis=-1) - normaliser
    np.testing.assert_allclose(found.log_probabilities, expected, rtol=1e-6, atol=1e-6)
    of_each_slot = say(logits).top(np.array([2, 0, 2], np.int32), 40)
    np.testing.assert_array_equal(of_each_slot.tokens[[0, 2]], order[[0, 2]])
    assert (of_each_slot.tokens[1] != order[1]).any()


def test_equally_likely_tokens_come_lowest_first(say: Say) -> None:
    logits = np.zeros((1, 1, LARGE), np.float32)
    logits[0, 0, [9, 5, 40000]] = 1
    assert say(logits).top(0, 5).tokens.tolist() == [[5, 9, 40000, 0, 1]]
    assert say(logits).top(0, 1).tokens[0, 0] == say(logits).tokens[0, 0]


def test_losses_of_a_large_vocabulary_take_less_than_64_mib_at_once() -> None:
    logits = mx.zeros((2, 200, LARGE))
    q = mx.zeros(2)
    mx.eval(logits, q)
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    MLXAnswers(logits, q, q, LOSSES[1]).label_losses(np.zeros((2, 200), np.int32))
    assert mx.get_peak_memory() - before <= 64 * 2**20
