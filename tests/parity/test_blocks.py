"""Large vocabularies in blocks of rows, in both backends: the same numbers as with all logits at once, without them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import ml_dtypes
import mlx.core as mx
import numpy as np
import pytest

from hrm_core import config as configs
from hrm_core.backend import Backend, BackendOptions, Batch
from hrm_core.backends import backend_named
from hrm_core.config import (
    ArchConfig,
    DataSizes,
    ModelConfig,
    OptimConfig,
    TrainConfig,
    load_config,
)
from hrm_core.errors import ConfigError
from hrm_core.parameters import initial_values
from hrm_core.schedule import rates
from hrm_core.sizing import (
    LOSS_BLOCK_VALUES,
    flops_per_example,
    row_blocks,
    state_bytes,
    update_bytes,
)
from hrm_mlx import losses as mlx_losses
from hrm_mlx.answers import Answers as MLXAnswers
from hrm_mlx.answers import LazyLogits as MLXLogits
from hrm_mlx.arrays import from_numpy, to_numpy
from hrm_mlx.kernels import exp_of_fractions, sum_of_many

LARGE, D = 50265, 32
ROWS = LOSS_BLOCK_VALUES // LARGE  # of one block
SIZES = {"num_puzzle_identifiers": 3, "puzzle_emb_ndim": 32, "hidden_size": 32, "num_heads": 2}
CONFIG = ModelConfig.model_validate(
    {
        **SIZES,
        "vocab_size": 300,
        "seq_len": 9,
        "H_layers": 1,
        "L_layers": 1,
        "halt_max_steps": 3,
        "loss_type": "softmax_cross_entropy",
        "forward_dtype": "float32",
    }
)
CHUNKS = ModelConfig.model_validate(
    {**CONFIG.model_dump(), "num_chunks": 2, "loss_average": "token"}
)
PICTURES = ModelConfig.model_validate(
    {
        **CHUNKS.model_dump(),
        "halting": "fixed",
        "attention": "prefix",
        "image_size": (4, 8),
        "patch_size": 2,
    }
)
OPTIM = OptimConfig(lr=1e-3, lr_warmup_steps=0, puzzle_emb_lr=1e-2)
B = 6


class Found(NamedTuple):
    """What a backend makes of some rows."""

    loss: float
    tokens: np.ndarray
    of_hidden: np.ndarray
    of_weight: np.ndarray


class Given(NamedTuple):
    """Rows of one token each."""

    hidden: np.ndarray
    weight: np.ndarray
    labels: np.ndarray
    shares: np.ndarray


def on_mlx(given: Given) -> Found:
    hidden, weight, labels, shares = map(from_numpy, given)

    def loss(hidden: mx.array, weight: mx.array) -> tuple[mx.array, mx.array]:
        return mlx_losses.softmax_in_blocks(hidden, weight, labels, shares)

    (value, tokens), gradients = mx.value_and_grad(loss, argnums=(0, 1))(hidden, weight)
    return Found(value.item(), to_numpy(tokens), *(to_numpy(g) for g in gradients))


def on_torch(given: Given) -> Found:
    torch = pytest.importorskip("torch")
    from hrm_torch_ref import arrays, losses

    hidden, weight, labels, shares = (arrays.from_numpy(a, torch.device("cpu")) for a in given)
    leaves = hidden.requires_grad_(), weight.requires_grad_()
    loss, tokens = losses.softmax_in_blocks(*leaves, labels, shares)
    gradients = torch.autograd.grad(loss, leaves)
    return Found(loss.item(), arrays.to_numpy(tokens), *map(arrays.to_numpy, gradients))


Compute = Callable[[Given], Found]


@pytest.fixture(params=[on_mlx, on_torch], ids=["mlx", "torch"])
def compute(request: pytest.FixtureRequest) -> Compute:
    function: Compute = request.param
    return function


def drawn(num_rows: int, size: float, vocab_size: int = LARGE) -> Given:
    """Rows of every certainty, a fifth of them without a label."""
    rng = np.random.default_rng(num_rows)
    hidden = size * rng.standard_normal((num_rows, D)).astype(np.float32)
    weight = 0.2 * rng.standard_normal((vocab_size, D)).astype(np.float32)
    labels = rng.integers(0, vocab_size, num_rows, np.int32)
    labels[::7] = (hidden @ weight.T).argmax(axis=1)[::7]
    labels[::5] = -100
    shares = np.where(labels >= 0, rng.random(num_rows) / num_rows, 0).astype(np.float32)
    return Given(hidden, weight, labels, shares)


def exact(given: Given) -> Found:
    """The same in float64, all logits at once."""
    hidden, weight, shares = (np.asarray(a, np.float64) for a in (given[0], given[1], given[3]))
    logits = hidden @ weight.T
    largest = logits.max(axis=1, keepdims=True)
    scores = np.exp(logits - largest)
    sums = scores.sum(axis=1, keepdims=True)
    rows, labels = np.arange(len(logits)), np.maximum(given.labels, 0)
    losses = np.log(sums[:, 0]) + largest[:, 0] - logits[rows, labels]
    slopes = scores / sums
    slopes[rows, labels] -= 1
    slopes *= shares[:, None]
    tokens = logits.argmax(axis=1)
    return Found((losses * shares).sum(), tokens, slopes @ weight, slopes.T @ hidden)


def beyond(found: Any, expected: Any) -> float:
    """The largest difference, in units of 1e-6 relative or 1e-6 nats."""
    return float((np.abs(found - expected) / (1e-6 * np.maximum(np.abs(expected), 1))).max())


@pytest.mark.parametrize("size", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("num_rows", [1, ROWS, 2 * ROWS + 30])
def test_loss_and_gradients_are_those_of_all_logits(
    compute: Compute, num_rows: int, size: float
) -> None:
    given = drawn(num_rows, size)
    found, expected = compute(given), exact(given)
    assert beyond(found.loss, expected.loss) <= 1
    # logits of float32 are themselves uncertain by their size
    allowed = 1e-6 + 2e-7 * float(np.abs(given.hidden @ given.weight.T).max())
    for name in ("of_hidden", "of_weight"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert (ours.shape, ours.dtype) == (theirs.shape, np.float32)
        assert np.abs(ours - theirs).max() <= allowed * np.abs(theirs).max(), name
    assert found.tokens.dtype == np.int32
    agree = found.tokens == expected.tokens
    assert agree.mean() > 0.99  # two tokens may be alike to float32


def test_gradient_follows_what_the_loss_is_multiplied_with() -> None:
    torch = pytest.importorskip("torch")
    from hrm_torch_ref import losses

    given = drawn(40, 1.0, 300)
    hidden, weight, labels, shares = map(from_numpy, given)
    whole = on_mlx(given)

    def tripled(hidden: mx.array) -> mx.array:
        return 3 * mlx_losses.softmax_in_blocks(hidden, weight, labels, shares)[0]

    np.testing.assert_allclose(
        to_numpy(mx.grad(tripled)(hidden)), 3 * whole.of_hidden, rtol=1e-5, atol=1e-9
    )
    leaf = torch.tensor(given.hidden, requires_grad=True)
    others = (torch.tensor(array) for array in given[1:])
    (3 * losses.softmax_in_blocks(leaf, *others)[0]).backward()
    np.testing.assert_allclose(leaf.grad, 3 * whole.of_hidden, rtol=1e-4, atol=1e-8)


def test_rows_without_a_label_have_no_gradient(compute: Compute) -> None:
    given = drawn(50, 1.0, 300)
    found = compute(given)
    assert (found.of_hidden[given.labels < 0] == 0).all()
    assert (np.abs(found.of_hidden[given.labels >= 0]).max(axis=1) > 0).all()


def test_bfloat16_stays_bfloat16(compute: Compute) -> None:
    given = drawn(2 * ROWS, 1.0)
    rounded = given._replace(
        hidden=given.hidden.astype(ml_dtypes.bfloat16),
        weight=given.weight.astype(ml_dtypes.bfloat16),
    )
    found, expected = compute(rounded), exact(rounded)
    assert found.of_hidden.dtype == found.of_weight.dtype == ml_dtypes.bfloat16
    assert found.loss == pytest.approx(expected.loss, rel=1e-3)
    for ours, theirs in zip(found[2:], expected[2:], strict=True):
        gap = np.abs(ours.astype(np.float64) - theirs).max()
        assert gap < 0.03 * np.abs(theirs).max()


def test_loss_that_is_not_finite_is_told(compute: Compute) -> None:
    given = drawn(40, 1.0, 300)
    given.hidden[7] = np.nan
    given.shares[7] = 0.1
    assert np.isnan(compute(given).loss)


def test_memory_does_not_grow_with_the_rows() -> None:
    """All logits of the second would be 336 MiB more than those of the first."""
    peaks = []
    for num_blocks in (2, 16):
        given = drawn(num_blocks * ROWS, 1.0)
        arrays = [from_numpy(array) for array in given]
        mx.eval(arrays)
        before = mx.get_active_memory()
        mx.reset_peak_memory()
        on_mlx(given)
        peaks.append(mx.get_peak_memory() - before)
        del arrays
    assert peaks[1] - peaks[0] < 64 * 2**20


def test_no_tensor_of_an_update_or_an_evaluation_is_larger_than_64_mb() -> None:
    torch = pytest.importorskip("torch")
    from torch.utils._python_dispatch import TorchDispatchMode

    sizes = [0]

    class Watching(TorchDispatchMode):
        def __torch_dispatch__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            result = function(*args, **(kwargs or {}))
            made = result if isinstance(result, tuple | list) else [result]
            sizes.extend(t.nbytes for t in made if isinstance(t, torch.Tensor))
            return result

    config = CONFIG.model_copy(update={"vocab_size": LARGE, "seq_len": 127})
    backend, batch = trained("torch", config), random_batch(config)
    assert B * 127 * LARGE * 4 > 2 * 64e6
    with Watching():
        backend.update(batch, np.zeros(B, np.int32), rates(1, 9, OPTIM)).read()
        _, answers = backend.step(backend.begin(batch))
        answers.tokens, answers.label_losses(batch.labels)
        answers.top(3, 5), answers.probabilities(np.arange(4), np.arange(9))
    assert 6e6 < max(sizes) <= 64e6


def test_exponential_and_sum_are_those_of_float64() -> None:
    x = np.linspace(-20, 0, 100001, dtype=np.float32)
    found = to_numpy(exp_of_fractions(from_numpy(x)))
    np.testing.assert_allclose(found, np.exp(x.astype(np.float64)), rtol=2e-6)
    assert exp_of_fractions(mx.array([0.0])).item() == 1
    assert 0 <= exp_of_fractions(mx.array([-1e4])).item() < 1e-37
    assert np.isnan(exp_of_fractions(mx.array([np.nan])).item())
    for count in (1, 2, 3, 11, LARGE):
        values = np.random.default_rng(count).random((3, count), np.float32)
        total = values.sum(axis=1, dtype=np.float64)
        np.testing.assert_allclose(to_numpy(sum_of_many(from_numpy(values))), total, rtol=3e-7)


def trained(name: str, config: ModelConfig = CONFIG, dtype: str = "float32") -> Backend:
    options = BackendOptions(device="cpu", dtype=dtype)  # type: ignore[arg-type]
    backend = backend_named(name)(config, options)
    weights = initial_values(config, 0)
    rng = np.random.default_rng(0)
    weights["q_head.weight"] = rng.standard_normal((2, config.hidden_size), np.float32)
    backend.load_weights(weights)
    backend.begin_training(OPTIM, B)
    return backend


def random_batch(config: ModelConfig = CONFIG) -> Batch:
    rng = np.random.default_rng(1)
    tokens = rng.integers(0, config.vocab_size, (2, B, config.num_cells), np.int32)
    tokens[1, :, ::4] = -100
    tokens[1, 2, :9] = -100  # a chunk without labels
    identifiers = rng.integers(0, 3, B, np.int32)
    images = rng.integers(0, 256, (B, *(config.image_size or ())), np.uint8)
    return Batch(tokens[0], tokens[1], identifiers, np.arange(B, dtype=np.int32), images)


@pytest.fixture(params=["mlx", "torch"])
def name(request: pytest.FixtureRequest) -> str:
    if request.param == "torch":
        pytest.importorskip("torch")
    return str(request.param)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Called, it lets every vocabulary take the path of small ones."""
    return lambda: monkeypatch.setattr(configs, "SMALL_VOCABULARY", 1000)


@pytest.mark.parametrize("config", [CONFIG, CHUNKS, PICTURES], ids=["plain", "chunks", "pictures"])
def test_update_is_that_of_all_logits_at_once(
    name: str, config: ModelConfig, at_once: Callable[[], None]
) -> None:
    batch, scalars = random_batch(config), rates(1, 9, OPTIM)
    found = trained(name, config).trace_update(batch, np.zeros(B, np.int32), scalars)
    at_once()
    expected = trained(name, config).trace_update(batch, np.zeros(B, np.int32), scalars)
    assert found.keys() == expected.keys()
    for key, array in expected.items():
        assert (found[key].shape, found[key].dtype) == (array.shape, array.dtype), key
        largest = np.abs(array).max()
        gap = np.abs(found[key].astype(np.float64) - array).max()
        assert gap <= 2e-5 * max(largest, 1e-9), key


def test_micro_batches_add_up(name: str) -> None:
    options = BackendOptions(device="cpu", micro_batch=2)
    pieces = backend_named(name)(CONFIG, options)
    pieces.load_weights(trained(name).weights())
    pieces.begin_training(OPTIM, B)
    given = random_batch(), np.zeros(B, np.int32), rates(1, 9, OPTIM)
    found, expected = pieces.trace_update(*given), trained(name).trace_update(*given)
    for key in (key for key in expected if key.startswith(("grad/", "logits"))):
        np.testing.assert_allclose(found[key], expected[key], rtol=1e-4, atol=1e-6, err_msg=key)


@pytest.mark.parametrize("config", [CHUNKS, PICTURES], ids=["chunks", "pictures"])
def test_answers_of_each_chunk_are_those_of_all_logits_at_once(
    name: str, config: ModelConfig, at_once: Callable[[], None]
) -> None:
    batch = random_batch(config)

    def logits() -> list[np.ndarray]:
        backend = trained(name, config)
        carry, found = backend.begin(batch), []
        for _ in range(config.num_chunks):
            carry, answers = backend.step(carry)
            found.append(answers.logits)
        return found

    found = logits()
    at_once()
    np.testing.assert_allclose(found, logits(), rtol=1e-5, atol=1e-6)
    assert np.abs(found[1] - found[0]).max() > 0.01


def test_answers_are_those_of_the_average_of_the_weights(name: str) -> None:
    backend, batch = trained(name), random_batch()
    backend.update(batch, np.zeros(B, np.int32), rates(1, 9, OPTIM, ema=0.9)).read()
    model, raw = trained(name), trained(name)
    model.load_weights(backend.averaged_weights())
    raw.load_weights(backend.weights())
    found, expected, other = (
        each.step(each.begin(batch))[1].logits for each in (backend, model, raw)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    assert np.abs(found - other).max() > 1e-4


def test_answers_are_those_of_all_logits_at_once(name: str, at_once: Callable[[], None]) -> None:
    batch = random_batch()
    backend = trained(name)
    _, lazy = backend.step(backend.begin(batch))
    of_each, tokens = np.arange(2 * B).reshape(B, 2) % 9, np.array([7, 299, 0])
    positions = np.arange(B) % 9
    found = [
        lazy.tokens,
        lazy.label_losses(batch.labels),
        lazy.probabilities(of_each, tokens),
        lazy.probabilities(np.array([8, 1]), tokens),
        *lazy.top(positions, 5),
        *lazy.top(4, 5),
        lazy.logits,
    ]
    at_once()
    backend = trained(name)
    _, whole = backend.step(backend.begin(batch))
    expected = [
        whole.tokens,
        whole.label_losses(batch.labels),
        whole.probabilities(of_each, tokens),
        whole.probabilities(np.array([8, 1]), tokens),
        *whole.top(positions, 5),
        *whole.top(4, 5),
        whole.logits,
    ]
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_top_of_many_slots_is_made_block_by_block() -> None:
    rng = np.random.default_rng(0)
    hidden = rng.standard_normal((ROWS + 9, 1, D), np.float32)
    weight = rng.standard_normal((LARGE, D), np.float32)
    q = mx.zeros(len(hidden))
    lazy = MLXLogits(from_numpy(hidden), from_numpy(weight))
    found = MLXAnswers(lazy, q, q, "softmax_cross_entropy").top(0, 3)
    expected = np.argsort(-(hidden[:, 0] @ weight.T), axis=1)[:, :3]
    assert (found.tokens == expected).mean() > 0.99


def test_rows_are_parted_without_gap_or_overlap() -> None:
    for num_rows, vocab_size in ((1, 10), (1000, LARGE), (7, LOSS_BLOCK_VALUES + 1)):
        rows = np.arange(num_rows)
        parts = [rows[block] for block in row_blocks(num_rows, vocab_size)]
        np.testing.assert_array_equal(np.concatenate(parts), rows)
        assert max(map(len, parts)) * vocab_size <= max(LOSS_BLOCK_VALUES, vocab_size)


def test_stablemax_of_a_large_vocabulary_is_refused() -> None:
    unsized = dict.fromkeys(("vocab_size", "seq_len", "num_puzzle_identifiers"))
    stablemax = {"loss_type": "stablemax_cross_entropy"}
    arch = ArchConfig.model_validate({**CONFIG.model_dump(), **unsized, **stablemax})
    assert arch.sized(DataSizes(256, 81, 1)).vocab_size == 256
    words = (
        "loss_type=stablemax_cross_entropy is for up to 256 tokens, vocab_size=257; "
        "use loss_type=softmax_cross_entropy"
    )
    with pytest.raises(ConfigError) as refused:
        arch.sized(DataSizes(257, 81, 1))
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
    with pytest.raises(ConfigError) as refused:
        load_config("sudoku-4x4", ["model.vocab_size=257"])
    assert words in str(refused.value)
    softmax = ArchConfig.model_validate({**arch.model_dump(), "loss_type": "softmax_cross_entropy"})
    assert softmax.sized(DataSizes(LARGE, 81, 1)).has_large_vocabulary


def test_memory_counts_the_blocks_of_a_large_vocabulary() -> None:
    train = TrainConfig(global_batch_size=B, epochs=1, eval_interval=1)
    small = CONFIG.model_copy(update={"vocab_size": 256})
    more = update_bytes(CONFIG, train, "float32") - update_bytes(small, train, "float32")
    more_state = state_bytes(CONFIG) - state_bytes(small)
    assert more - more_state == 6 * 4 * LOSS_BLOCK_VALUES


def test_operations_count_the_head_of_a_large_vocabulary() -> None:
    small = CONFIG.model_copy(update={"vocab_size": 256})
    assert flops_per_example(CONFIG) - flops_per_example(small) == 6 * 9 * 32 * 300
