"""Operations with one form for a GPU and another for MLX's CPU backend.

The CPU backend adds and divides 30 times faster than it takes an exponential, so there silu is a sum of
fractions, and so is an exponential of many numbers. Measured figures: docs/performance.md.
"""

from collections.abc import Callable
from functools import partial

import mlx.core as mx

from hrm_core.errors import BackendError
from hrm_core.sizing import LONG

# softmax attention: q, k, v (B, N, T, h), scale and, on request, which positions each one sees (B, 1, T, T)
Kernel = Callable[..., mx.array]

# sigmoid(x) - 1/2 = tanh(x/2)/2 = sum over odd k of 2x / (x² + (kπ)²): the first two poles are those of the series, the
# others and the constant are fitted to its rest. Largest error of sigmoid in float32: 1.4e-7 (exp: 0.9e-7).
_LIMIT = 17.0  # beyond it float32 cannot tell sigmoid from 0 or 1
_CONSTANT = 0.004365835450705732
_POLES = ((9.869645973461486, 2.000022184128726), (89.15230842203293, 2.0313623862394685),
          (283.7874119222555, 3.091687199463597), (1269.829412870501, 11.823011740910774))  # fmt: skip


# 2^f on |f| <= 1/2 is (q + f) / (q - f) with q = f coth(f ln 2 / 2), here the best a + b f². Largest error of exp: 4.4e-7.
_A, _B = 2.885407960566378, 0.11523694101377865
_BITS = (
    1.5 * 2**23 + 127
)  # added to a number it leaves, in the last bits, its whole part and the bias of exponents
_SMALLEST = -127.0  # the exponent of 0 in float32


def eager(
    q: mx.array,
    k: mx.array,
    v: mx.array,
    scale: float,
    visible: mx.array | None = None,
    *,
    causal: bool = False,
) -> mx.array:
    """Attention written out."""
    scores = (q * scale) @ k.swapaxes(-1, -2)
    if causal:
        visible = mx.tri(q.shape[2], dtype=mx.bool_)
    if visible is not None:
        scores = mx.where(visible, scores, -mx.inf)
    return mx.softmax(scores, axis=-1, precise=True) @ v


def sdpa(
    q: mx.array,
    k: mx.array,
    v: mx.array,
    scale: float,
    visible: mx.array | None = None,
    *,
    causal: bool = False,
) -> mx.array:
    """Attention by MLX."""
    mask = "causal" if causal else visible
    return mx.fast.scaled_dot_product_attention(q, k, v, scale=scale, mask=mask)


def recomputed(kernel: Kernel, length: int = LONG) -> Kernel:
    """The same attention, to the bit; from so many positions on the backward pass gets its weights by computing them again.

    Else each layer would keep (B, N, T, T) of them until then: MLX has no fused backward pass on a CPU and on Metal.
    """

    def attend(
        q: mx.array, k: mx.array, v: mx.array, scale: float, visible: mx.array | None = None
    ) -> mx.array:
        if q.shape[2] < length:
            return kernel(q, k, v, scale, visible)
        return mx.checkpoint(lambda q, k, v: kernel(q, k, v, scale, visible))(q, k, v)

    return attend


def choose_attention(name: str, on_gpu: bool, pattern: str = "full") -> tuple[str, Kernel]:
    """The kernel of this name and its name; with "auto" the faster one: on a CPU the fused form is a fifth slower.

    `pattern` is the model's: of "prefix" the kernel is told which positions each one sees.

    Raises: BackendError if MLX has no such kernel.
    """
    found = ("sdpa" if on_gpu else "eager") if name == "auto" else name
    kernels = {"eager": eager, "sdpa": sdpa}
    if found not in kernels:
        raise BackendError(
            f"--attention {name} is not for MLX, which has {', '.join(kernels)}; use --backend torch"
        )
    kernel = kernels[found]
    return found, recomputed(partial(kernel, causal=True) if pattern == "causal" else kernel)


def packed(x: mx.array) -> mx.array:
    """The same values; on a CPU without gaps between them, as it reads a view three times slower."""
    return mx.contiguous(x) if mx.default_device() == mx.cpu else x


def rotates_in_one_kernel(x: mx.array) -> bool:
    """Return True if `mx.fast.rope` should rotate these queries or keys: in bfloat16 on a GPU.

    It takes the place of ten kernels. In float32 the table of angles stays: MLX computes the
    angles again in each kernel, on Metal with its fast cosine.
    """
    return bool(mx.default_device() == mx.gpu) and x.dtype == mx.bfloat16


def silu(x: mx.array) -> mx.array:
    """The gate x * sigmoid(x), any shape."""
    if mx.default_device() == mx.cpu and x.dtype == mx.float32:
        return _silu_of_fractions(x)  # type: ignore[return-value]  # MLX types custom functions as object
    return x * mx.sigmoid(x)


def exp(x: mx.array) -> mx.array:
    """e^x of x <= 0, any shape; below 2^-126 it is 0."""
    if mx.default_device() == mx.cpu and x.dtype == mx.float32:
        return exp_of_fractions(x)
    return mx.exp(x)


def exp_of_fractions(x: mx.array) -> mx.array:
    """e^x of x <= 0 from additions, products, quotients and shifts only, float32."""
    power = mx.maximum(x * 1.4426950408889634, _SMALLEST)
    shifted = power + _BITS
    f = power - (shifted - _BITS)
    q = f * f * _B + _A
    whole = mx.left_shift(shifted.view(mx.int32), 23).view(mx.float32)
    return (q + f) / (q - f) * whole


def sum_of_many(values: mx.array) -> mx.array:
    """The sum over a long last axis, of halves of halves: one running float32 sum of 50,265 may miss 5e-4 of it."""
    odd = mx.zeros(values.shape[:-1])
    while (count := values.shape[-1]) > 1:
        half = count // 2
        if count % 2:
            odd = odd + values[..., -1]
        values = values[..., :half] + values[..., half : 2 * half]
    return odd + values[..., 0]


def sigmoid_of_fractions(x: mx.array) -> mx.array:
    """Sigmoid from additions, products and quotients only, float32."""
    y = mx.clip(x, -_LIMIT, _LIMIT)
    square = y * y
    total = mx.array(_CONSTANT)
    for pole, residue in _POLES:
        total = residue / (square + pole) + total
    return y * total + 0.5


@mx.custom_function
def _silu_of_fractions(x: mx.array) -> mx.array:
    return x * sigmoid_of_fractions(x)


@_silu_of_fractions.vjp
def _silu_vjp(x: mx.array, cotangent: mx.array, _: mx.array) -> mx.array:
    s = sigmoid_of_fractions(x)
    return cotangent * (s + x * s * (1 - s))
