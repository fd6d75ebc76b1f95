from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="torch is missing: the PyTorch reference is not tested")

from hrm_torch_ref.losses import (  # noqa: E402
    TOKEN_LOSSES,
    binary_cross_entropy,
    softmax_cross_entropy,
    stablemax_cross_entropy,
)
from hrm_torch_ref.model import DTYPES  # noqa: E402

F64 = NDArray[np.float64]
LIMITS = {  # of losses and of gradients, absolute and relative
    ("stablemax_cross_entropy", "float32"): (
        1e-14,
        1e-7,
    ),  # taken in float64, its gradient rounded to float32
    ("softmax_cross_entropy", "float32"): (4e-6, 2e-5),
    ("stablemax_cross_entropy", "float64"): (1e-14, 1e-14),
    ("softmax_cross_entropy", "float64"): (1e-14, 1e-13),
}


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
    scores, slopes = SCORES[name](logits)
    total = scores.sum(axis=-1, keepdims=True)
    chosen = np.eye(logits.shape[-1])[np.maximum(labels, 0)]
    valid = labels >= 0
    losses = np.where(valid, -np.log((scores * chosen).sum(axis=-1) / total[..., 0]), 0)
    return losses, np.where(valid[..., None], slopes / total - chosen * slopes / scores, 0)


def torch_loss(name: str, logits: NDArray[Any], labels: NDArray[np.int32]) -> tuple[F64, F64]:
    leaf = torch.tensor(logits, requires_grad=True)
    losses = TOKEN_LOSSES[name](leaf, torch.tensor(labels))
    (gradient,) = torch.autograd.grad(losses.sum(), leaf)
    assert gradient.dtype == leaf.dtype
    return losses.detach().numpy(), gradient.numpy()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", TOKEN_LOSSES)
@pytest.mark.parametrize("scale", [0.1, 3.0, 30.0])
def test_loss_and_gradient_are_those_of_float64(name: str, scale: float, dtype: str) -> None:
    rng = np.random.default_rng(0)
    logits = (rng.standard_normal((3, 5, 7)) * scale).astype(dtype)
    labels = rng.integers(-1, 7, (3, 5)).astype(np.int32)
    labels[labels < 0] = -100
    losses, gradients = reference(name, logits.astype(np.float64), labels)
    found_losses, found_gradients = torch_loss(name, logits, labels)
    loss_limit, gradient_limit = LIMITS[name, dtype]
    np.testing.assert_allclose(found_losses, losses, rtol=loss_limit, atol=loss_limit)
    np.testing.assert_allclose(
        found_gradients, gradients, rtol=gradient_limit, atol=min(gradient_limit, 1e-6)
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("logit", [1.0, 0.0, -0.0, -1.0, 1e30, -1e30])
def test_stablemax_gradient_is_finite_where_its_branches_meet(logit: float, dtype: str) -> None:
    """1 / (1 - a) is infinite at a = 1; it must not leak out of the branch that is not taken."""
    losses, gradients = torch_loss(
        "stablemax_cross_entropy", np.full((1, 1, 3), logit, dtype), np.zeros((1, 1), np.int32)
    )
    np.testing.assert_allclose(losses, np.log(3), rtol=1e-12)
    assert np.isfinite(gradients).all()


@pytest.mark.parametrize("label", [0, 1])
def test_stablemax_gradient_at_one_is_that_of_the_branch_taken(label: int) -> None:
    """s(1) = 2 with slope 1, s(0) = 1 with slope 1: of scores 2 and 1 a third each, less one over the chosen score."""
    _, gradients = torch_loss(
        "stablemax_cross_entropy", np.array([[[1.0, 0.0]]]), np.array([[label]], np.int32)
    )
    np.testing.assert_allclose(gradients[0, 0], 1 / 3 - np.eye(2)[label] / [2, 1], rtol=1e-15)


def test_naive_stablemax_fails_at_one() -> None:
    """The control of the tests above."""
    a = torch.tensor([1.0], requires_grad=True)
    torch.where(a < 0, 1 / (1 - a), a + 1).log().sum().backward()
    assert a.grad.isnan().all()


@pytest.mark.parametrize("loss", TOKEN_LOSSES.values())
def test_ignored_label_adds_nothing(loss: Any) -> None:
    logits = torch.ones(1, 2, 3, requires_grad=True)
    losses = loss(logits, torch.tensor([[-100, 1]]))
    assert losses[0, 0] == 0
    assert losses[0, 1] > 1
    (gradient,) = torch.autograd.grad(losses.sum(), logits)
    assert not gradient[0, 0].any()
    assert gradient[0, 1].any()


def test_loss_of_bfloat16_logits_is_wide() -> None:
    """Stablemax in float64, as published; softmax in float32. Widening is exact, so the loss is that of the rounded logits."""
    logits, labels = (
        torch.tensor(np.random.default_rng(0).standard_normal((1, 2, 3))).bfloat16(),
        torch.tensor([[0, 1]]),
    )
    for loss, wide in (
        (stablemax_cross_entropy, torch.float64),
        (softmax_cross_entropy, torch.float32),
    ):
        found = loss(logits, labels)
        assert found.dtype == wide
        assert torch.equal(found, loss(logits.to(wide), labels))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("target", [0.0, 1.0, 0.3])
def test_binary_cross_entropy_is_that_of_float64(target: float, dtype: str) -> None:
    q = np.linspace(-40, 40, 81, dtype=dtype)
    targets = np.full_like(q, target)
    expected = np.logaddexp(0, q.astype(np.float64)) - q.astype(np.float64) * targets.astype(
        np.float64
    )
    found = binary_cross_entropy(torch.tensor(q), torch.tensor(targets))
    assert found.dtype == DTYPES[dtype]
    limit = 1e-6 if dtype == "float32" else 1e-14
    np.testing.assert_allclose(found.numpy(), expected, rtol=limit, atol=limit)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradient_of_binary_cross_entropy_is_exact(dtype: str) -> None:
    """At initialisation both are sigmoid(-5), and Adam-atan2 would make a full step of a difference of 1e-9."""
    q = torch.tensor(np.append(np.linspace(-8, 8, 33), -5.0).astype(dtype), requires_grad=True)
    target = q.detach().flip(0).sigmoid()
    (gradient,) = torch.autograd.grad(binary_cross_entropy(q, target).sum(), q)
    assert torch.equal(gradient, q.detach().sigmoid() - target)
    (at_target,) = torch.autograd.grad(binary_cross_entropy(q, q.detach().sigmoid()).sum(), q)
    assert not at_target.any()


def test_gradient_of_another_form_is_not_exact() -> None:
    """The control of the test above: softplus(q) - q·t, the same function, leaves 6e-8."""
    q = torch.linspace(-8, 8, 33, requires_grad=True)
    losses = torch.nn.functional.softplus(q) - q * q.detach().sigmoid()
    (gradient,) = torch.autograd.grad(losses.sum(), q)
    assert 0 < gradient.abs().max() < 1e-6
