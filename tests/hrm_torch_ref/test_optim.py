from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hrm_core.config import OptimConfig
from hrm_core.schedule import rates

torch = pytest.importorskip("torch", reason="torch is missing: the PyTorch reference is not tested")

from hrm_torch_ref.model import DTYPES  # noqa: E402
from hrm_torch_ref.optim import Scalars, adam_atan2, scalars, sign_sgd  # noqa: E402

OPTIM = OptimConfig(
    lr=1e-3,
    lr_min_ratio=0.1,
    lr_warmup_steps=3,
    weight_decay=0.1,
    puzzle_emb_lr=1e-2,
    puzzle_emb_weight_decay=0.1,
)
UPDATES = 12
CPU = torch.device("cpu")
PRECISE = pytest.mark.parametrize(("dtype", "limit"), [("float32", 2e-6), ("float64", 1e-13)])

F64 = NDArray[np.float64]


def factors(update: int, dtype: str = "float32") -> Scalars:
    return scalars(rates(update, UPDATES, OPTIM), OPTIM, DTYPES[dtype], CPU)


def reference_adam_atan2(weight: F64, gradients: F64) -> F64:
    """Adam-atan2 as published, in float64. Shapes: (n,), (UPDATES, n) -> (n,)."""
    m, v = np.zeros_like(weight), np.zeros_like(weight)
    for t, gradient in enumerate(gradients, start=1):
        lr = rates(t, UPDATES, OPTIM).lr
        c1, c2 = 1 - OPTIM.beta1**t, 1 - OPTIM.beta2**t
        weight = weight * (1 - lr * OPTIM.weight_decay)
        m = m + (1 - OPTIM.beta1) * (gradient - m)
        v = OPTIM.beta2 * v + (1 - OPTIM.beta2) * gradient**2
        weight = weight - lr / c1 * np.arctan2(m, np.sqrt(v) / np.sqrt(c2))
    return weight


def torch_adam_atan2(weight: F64, gradients: F64, dtype: str = "float32") -> F64:
    w = torch.tensor(weight).to(DTYPES[dtype])
    m, v = torch.zeros_like(w), torch.zeros_like(w)
    for t, gradient in enumerate(gradients, start=1):
        adam_atan2(w, m, v, torch.tensor(gradient).to(w.dtype), OPTIM, factors(t, dtype))
    return w.double().numpy()


@PRECISE
@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1e6])
def test_adam_atan2_is_that_of_float64(scale: float, dtype: str, limit: float) -> None:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal(500)
    gradients = rng.standard_normal((UPDATES, 500)) * scale
    np.testing.assert_allclose(
        torch_adam_atan2(weight, gradients, dtype),
        reference_adam_atan2(weight, gradients),
        rtol=0,
        atol=limit,
    )


def test_decay_after_the_step_would_be_noticed() -> None:
    """The control of the test above, in float64: a step that is decayed, too."""
    weight, gradient = np.zeros(3), np.ones((UPDATES, 3))
    rate = rates(1, UPDATES, OPTIM)
    once = reference_adam_atan2(weight, gradient[:1])
    found = torch_adam_atan2(weight, gradient[:1], "float64")
    np.testing.assert_allclose(found, once, rtol=0, atol=1e-18)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(
            found * (1 - rate.lr * OPTIM.weight_decay), once, rtol=0, atol=1e-9
        )


def test_weight_without_gradient_only_decays() -> None:
    found = torch_adam_atan2(np.ones(3), np.zeros((UPDATES, 3)), "float64")
    expected = np.prod(
        [1 - rates(t, UPDATES, OPTIM).lr * OPTIM.weight_decay for t in range(1, UPDATES + 1)]
    )
    np.testing.assert_allclose(found, expected, rtol=1e-15)


def test_first_step_is_that_of_the_published_kernel() -> None:
    """At t = 1 m = (1 - β1) g and v / c2 = g², so each weight moves by lr/c1 · atan(1 - β1), whatever its gradient."""
    moved = torch_adam_atan2(np.zeros(2), np.array([[5.0, -1e-6]]), "float64")
    step = rates(1, UPDATES, OPTIM).lr / 0.1 * np.arctan2(0.1, 1.0)
    np.testing.assert_allclose(moved, [-step, step], rtol=1e-12)


def test_adam_atan2_writes_in_place_and_spares_the_gradient() -> None:
    w, m, v, g = torch.ones(4), torch.zeros(4), torch.zeros(4), torch.arange(4.0)
    pointers = [tensor.data_ptr() for tensor in (w, m, v)]
    assert adam_atan2(w, m, v, g, OPTIM, factors(1)) is None
    assert [tensor.data_ptr() for tensor in (w, m, v)] == pointers
    assert torch.equal(g, torch.arange(4.0))
    np.testing.assert_allclose(m.numpy(), 0.1 * g.numpy(), rtol=1e-6)
    np.testing.assert_allclose(v.numpy(), 0.05 * g.numpy() ** 2, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_scalars_are_computed_in_double_precision_and_rounded_once(dtype: str) -> None:
    rate = rates(2, UPDATES, OPTIM, ema=0.9)
    found = scalars(rate, OPTIM, DTYPES[dtype], CPU)
    expected = (
        1 - rate.lr * 0.1,
        rate.lr / (1 - 0.9**2),
        1 / np.sqrt(1 - 0.95**2),
        1 - rate.puzzle_emb_lr * 0.1,
        rate.puzzle_emb_lr,
        1 - 3 / 12,
    )
    for scalar, value in zip(found, expected, strict=True):
        assert (scalar.shape, scalar.dtype) == ((), DTYPES[dtype])
        np.testing.assert_allclose(
            scalar.item(), np.dtype(dtype).type(value), rtol=0 if dtype == "float32" else 1e-15
        )


def reference_sign_sgd(table: F64, ids: NDArray[np.int32], gradients: F64, lr: float) -> F64:
    table = table.copy()
    for row in np.unique(ids):
        total = gradients[ids == row].sum(axis=0)
        table[row] = table[row] * (1 - lr * OPTIM.puzzle_emb_weight_decay) - lr * np.sign(total)
    return table


def moved(
    table: NDArray[Any], ids: NDArray[np.int32], gradients: NDArray[Any], update: int, dtype: str
) -> F64:
    """The table after sign-SGD on rows of it, put back as the update does."""
    found, rows = torch.tensor(table).to(DTYPES[dtype]), torch.tensor(ids)
    found[rows] = sign_sgd(
        found[rows], rows, torch.tensor(gradients).to(found.dtype), factors(update, dtype)
    )
    return found.double().numpy()


@PRECISE
def test_sign_sgd_moves_each_row_in_use_once(dtype: str, limit: float) -> None:
    rng = np.random.default_rng(1)
    table = rng.standard_normal((9, 4))
    ids = np.array([3, 0, 3, 7, 3, 0], np.int32)
    gradients = rng.standard_normal((6, 4))
    found = moved(table, ids, gradients, 2, dtype)
    expected = reference_sign_sgd(table, ids, gradients, rates(2, UPDATES, OPTIM).puzzle_emb_lr)
    np.testing.assert_allclose(found, expected, rtol=0, atol=limit)
    untouched = np.setdiff1d(np.arange(9), ids)
    np.testing.assert_array_equal(found[untouched], table[untouched].astype(dtype))


def test_row_by_row_signs_would_be_noticed() -> None:
    """The control of the test above: the sign of the sum is not the sign of the last gradient, nor a sum of signs."""
    table, ids, gradients = (
        np.ones((2, 1)),
        np.array([1, 1, 1], np.int32),
        np.array([[-1.0], [-1.0], [5.0]]),
    )
    lr = rates(3, UPDATES, OPTIM).puzzle_emb_lr
    found = moved(table, ids, gradients, 3, "float64")[1, 0]
    keep = 1 - lr * OPTIM.puzzle_emb_weight_decay
    assert found == pytest.approx(keep - lr, abs=1e-15)
    assert found != pytest.approx(keep + lr, abs=1e-6)  # sum of signs, whose sign is negative


def test_gradients_of_equal_ids_that_cancel_only_decay() -> None:
    gradients = np.array([[0.5, 1.0], [-0.5, 2.0]])
    rate = rates(3, UPDATES, OPTIM)
    found = moved(np.ones((2, 2)), np.array([1, 1], np.int32), gradients, 3, "float64")
    keep = 1 - rate.puzzle_emb_lr * OPTIM.puzzle_emb_weight_decay
    np.testing.assert_allclose(found, [[1, 1], [keep, keep - rate.puzzle_emb_lr]], rtol=1e-15)
