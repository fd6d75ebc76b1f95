import mlx.core as mx
import numpy as np
import pytest
from numpy.typing import NDArray

from hrm_core.config import OptimConfig
from hrm_core.schedule import rates
from hrm_mlx.optim import adam_atan2, scalars, sign_sgd

OPTIM = OptimConfig(
    lr=1e-3,
    lr_min_ratio=0.1,
    lr_warmup_steps=3,
    weight_decay=0.1,
    puzzle_emb_lr=1e-2,
    puzzle_emb_weight_decay=0.1,
)
UPDATES = 12

F64 = NDArray[np.float64]


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


def mlx_adam_atan2(weight: F64, gradients: F64) -> F64:
    w, m, v = mx.array(weight.astype(np.float32)), mx.zeros(weight.shape), mx.zeros(weight.shape)
    for t, gradient in enumerate(gradients, start=1):
        w, m, v = adam_atan2(
            w,
            m,
            v,
            mx.array(gradient.astype(np.float32)),
            OPTIM,
            scalars(rates(t, UPDATES, OPTIM), OPTIM),
        )
    return np.array(w).astype(np.float64)


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1e6])
def test_adam_atan2_is_that_of_float64(scale: float) -> None:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal(500)
    gradients = rng.standard_normal((UPDATES, 500)) * scale
    np.testing.assert_allclose(
        mlx_adam_atan2(weight, gradients), reference_adam_atan2(weight, gradients), atol=2e-6
    )


def test_weight_without_gradient_only_decays() -> None:
    found = mlx_adam_atan2(np.ones(3), np.zeros((UPDATES, 3)))
    expected = np.prod(
        [1 - rates(t, UPDATES, OPTIM).lr * OPTIM.weight_decay for t in range(1, UPDATES + 1)]
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_first_step_is_that_of_the_published_kernel() -> None:
    """At t = 1 m = (1 - β1) g and v / c2 = g², so each weight moves by lr/c1 · atan(1 - β1), whatever its gradient."""
    rate = rates(1, UPDATES, OPTIM)
    moved = adam_atan2(
        mx.zeros((2,)),
        mx.zeros((2,)),
        mx.zeros((2,)),
        mx.array([5.0, -1e-6]),
        OPTIM,
        scalars(rate, OPTIM),
    )[0]
    step = rate.lr / 0.1 * np.arctan2(0.1, 1.0)
    np.testing.assert_allclose(np.array(moved), [-step, step], rtol=1e-6)


def reference_sign_sgd(table: F64, ids: NDArray[np.int32], gradients: F64, lr: float) -> F64:
    table = table.copy()
    for row in np.unique(ids):
        total = gradients[ids == row].sum(axis=0)
        table[row] = table[row] * (1 - lr * OPTIM.puzzle_emb_weight_decay) - lr * np.sign(total)
    return table


def test_sign_sgd_moves_each_row_in_use_once() -> None:
    rng = np.random.default_rng(1)
    table = rng.standard_normal((9, 4)).astype(np.float32)
    ids = np.array([3, 0, 3, 7, 3, 0], np.int32)
    gradients = rng.standard_normal((6, 4)).astype(np.float32)
    rate = rates(2, UPDATES, OPTIM)
    found = table.copy()
    found[ids] = np.array(
        sign_sgd(mx.array(table[ids]), mx.array(ids), mx.array(gradients), scalars(rate, OPTIM))
    )
    expected = reference_sign_sgd(
        table.astype(np.float64), ids, gradients.astype(np.float64), rate.puzzle_emb_lr
    )
    np.testing.assert_allclose(found, expected, atol=1e-6)
    untouched = np.setdiff1d(np.arange(9), ids)
    np.testing.assert_array_equal(found[untouched], table[untouched])


def test_gradients_of_equal_ids_that_cancel_only_decay() -> None:
    gradients = mx.array([[0.5, 1.0], [-0.5, 2.0]])
    rate = rates(3, UPDATES, OPTIM)
    found = np.array(sign_sgd(mx.ones((2, 2)), mx.array([1, 1]), gradients, scalars(rate, OPTIM)))
    keep = 1 - rate.puzzle_emb_lr * OPTIM.puzzle_emb_weight_decay
    np.testing.assert_allclose(found[1], [keep, keep - rate.puzzle_emb_lr], rtol=1e-6)
