import mlx.core as mx
import numpy as np
import pytest
from numpy.typing import NDArray

from hrm_mlx.losses import (
    TOKEN_LOSSES,
    binary_cross_entropy,
    softmax_cross_entropy,
    stablemax_cross_entropy,
)

F64 = NDArray[np.float64]


def stablemax_scores(logits: F64) -> tuple[F64, F64]:
    """s(a) and its derivative."""
    below = 1 / (1 - np.minimum(logits, 0))
    return np.where(logits < 0, below, logits + 1), np.where(logits < 0, below**2, 1.0)


def softmax_scores(logits: F64) -> tuple[F64, F64]:
    scores = np.exp(logits)
    return scores, scores


SCORES = {"stablemax_cross_entropy": stablemax_scores, "softmax_cross_entropy": softmax_scores}


def reference(name: str, logits: F64, labels: NDArray[np.int32]) -> tuple[F64, F64]:
    """Loss (B, S) and its gradient (B, S, V) in float64, from the definition: -log s(a)[label] / sum of s."""
    scores, slopes = SCORES[name](logits.astype(np.float64))
    total = scores.sum(axis=-1, keepdims=True)
    chosen = np.eye(logits.shape[-1])[np.maximum(labels, 0)]
    valid = labels >= 0
    losses = np.where(valid, -np.log((scores * chosen).sum(axis=-1) / total[..., 0]), 0)
    return losses, np.where(valid[..., None], slopes / total - chosen * slopes / scores, 0)


def mlx_loss(name: str, logits: F64, labels: NDArray[np.int32]) -> tuple[F64, F64]:
    loss, given = TOKEN_LOSSES[name], mx.array(labels)
    gradient = mx.grad(lambda logits: loss(logits, given).sum())(
        mx.array(logits.astype(np.float32))
    )
    return np.array(loss(mx.array(logits.astype(np.float32)), given)), np.array(gradient)


@pytest.mark.parametrize("name", TOKEN_LOSSES)
@pytest.mark.parametrize("scale", [0.1, 3.0, 30.0])
def test_loss_and_gradient_are_those_of_float64(name: str, scale: float) -> None:
    rng = np.random.default_rng(0)
    logits = (rng.standard_normal((3, 5, 7)) * scale).astype(np.float32)
    labels = rng.integers(-1, 7, (3, 5)).astype(np.int32)
    labels[labels < 0] = -100
    losses, gradients = reference(name, logits, labels)
    found_losses, found_gradients = mlx_loss(name, logits, labels)
    np.testing.assert_allclose(found_losses, losses, rtol=2e-6, atol=1e-6)
    np.testing.assert_allclose(found_gradients, gradients, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("logit", [1.0, 0.0, -0.0, -1.0, 1e30, -1e30])
def test_stablemax_gradient_is_finite_where_its_branches_meet(logit: float) -> None:
    """1 / (1 - a) is infinite at a = 1; it must not leak out of the branch that is not taken."""
    logits = np.full((1, 1, 3), logit, np.float32)
    losses, gradients = mlx_loss("stablemax_cross_entropy", logits, np.zeros((1, 1), np.int32))
    assert np.isfinite(losses).all()
    assert np.isfinite(gradients).all()


def test_naive_stablemax_fails_at_one() -> None:
    """The control of the test above."""

    def naive(a: mx.array) -> mx.array:
        return mx.log(mx.where(a < 0, 1 / (1 - a), a + 1)).sum()

    assert np.isnan(np.array(mx.grad(naive)(mx.array([1.0])))).all()


def test_ignored_label_adds_nothing() -> None:
    logits, labels = mx.ones((1, 2, 3)), mx.array([[-100, 1]])
    for loss in (stablemax_cross_entropy, softmax_cross_entropy):
        assert loss(logits, labels)[0, 0].item() == 0


def test_loss_of_bfloat16_logits_is_float32() -> None:
    logits = mx.ones((1, 2, 3), mx.bfloat16)
    for loss in (stablemax_cross_entropy, softmax_cross_entropy):
        assert loss(logits, mx.array([[0, 1]])).dtype == mx.float32


@pytest.mark.parametrize("target", [0.0, 1.0, 0.3])
def test_binary_cross_entropy_is_that_of_float64(target: float) -> None:
    q = np.linspace(-40, 40, 81, dtype=np.float32)
    expected = np.logaddexp(0, q.astype(np.float64)) - q.astype(np.float64) * np.float64(
        np.float32(target)
    )
    np.testing.assert_allclose(
        np.array(binary_cross_entropy(mx.array(q), mx.full(q.shape, target))),
        expected,
        rtol=1e-6,
        atol=1e-6,
    )


def test_gradient_of_binary_cross_entropy_is_exact() -> None:
    q = mx.array(np.linspace(-8, 8, 33, dtype=np.float32))
    target = mx.sigmoid(q[::-1])
    gradient = mx.grad(lambda q: binary_cross_entropy(q, target).sum())(q)
    np.testing.assert_array_equal(np.array(gradient), np.array(mx.sigmoid(q) - target))
    at_target = mx.grad(lambda q: binary_cross_entropy(q, mx.stop_gradient(mx.sigmoid(q))).sum())(q)
    assert not np.array(at_target).any()
