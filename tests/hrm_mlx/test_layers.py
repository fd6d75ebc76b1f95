import mlx.core as mx
import numpy as np
import pytest
from numpy.typing import NDArray

from hrm_core.config import ModelConfig
from hrm_core.parameters import Role, initial_values, parameter_table
from hrm_mlx import kernels
from hrm_mlx.layers import Attention, RotaryEmbedding, SwiGLU, rms_norm
from hrm_mlx.model import DTYPES, HRM, scaled
from hrm_mlx.update import bind, working_weights

SIZES = {
    "vocab_size": 7,
    "seq_len": 9,
    "num_puzzle_identifiers": 3,
    "puzzle_emb_ndim": 48,
    "hidden_size": 32,
    "num_heads": 4,
}
CONFIG = ModelConfig.model_validate({**SIZES, "H_layers": 2, "L_layers": 1, "halt_max_steps": 3})

F64 = NDArray[np.float64]


def normal(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(len(shape)).standard_normal(shape, np.float32)


def softmax(x: F64) -> F64:
    scores = np.exp(x - x.max(axis=-1, keepdims=True))
    return scores / scores.sum(axis=-1, keepdims=True)


def reference_rope(x: F64, theta: float) -> F64:
    """The two halves of a head as real and imaginary parts, turned by position times frequency. Shapes: (B, N, T, h)."""
    half = x.shape[-1] // 2
    frequencies = theta ** (-2 * np.arange(half) / (2 * half))
    turned = (x[..., :half] + 1j * x[..., half:]) * np.exp(
        1j * np.arange(x.shape[-2])[:, None] * frequencies
    )
    return np.concatenate([turned.real, turned.imag], axis=-1)


def test_rms_norm_is_that_of_float64() -> None:
    x = normal(2, 5, 32)
    expected = x / np.sqrt((x.astype(np.float64) ** 2).mean(axis=-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(np.array(rms_norm(mx.array(x), 1e-5)), expected, atol=2e-6)


def test_rms_norm_of_bfloat16_is_taken_in_float32() -> None:
    """Rounded once, at its end: in bfloat16 the mean of 4,096 squares would be off by percents."""
    x = mx.array(normal(3, 4096)).astype(mx.bfloat16)
    found = rms_norm(x, 1e-5)
    assert found.dtype == mx.bfloat16
    exact = np.array(x.astype(mx.float32)).astype(np.float64)
    exact = exact / np.sqrt((exact**2).mean(axis=-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(np.array(found.astype(mx.float32)), exact, rtol=2**-8)


def test_rope_turns_the_halves_of_a_head() -> None:
    x = normal(2, 4, 10, 8)
    found = np.array(RotaryEmbedding(8, 10, 10000.0)(mx.array(x)))
    np.testing.assert_allclose(found, reference_rope(x.astype(np.float64), 10000.0), atol=1e-5)
    np.testing.assert_array_equal(found[:, :, 0], x[:, :, 0])


def test_rope_of_bfloat16_is_rounded_once() -> None:
    x = mx.array(normal(1, 2, 10, 8)).astype(mx.bfloat16)
    rope = RotaryEmbedding(8, 10, 10000.0)
    assert mx.array_equal(rope(x), rope(x.astype(mx.float32)).astype(mx.bfloat16))


@pytest.mark.parametrize("start", [0, 4])
def test_rope_in_one_kernel_is_that_of_the_table(
    monkeypatch: pytest.MonkeyPatch, start: int
) -> None:
    rope = RotaryEmbedding(8, 90, 10000.0).part(start, 90)
    x, cotangent = (mx.array(normal(2, 4, 90 - start, 8)) for _ in range(2))

    def rotated() -> tuple[mx.array, mx.array]:
        outputs, gradients = mx.vjp(lambda q: [rope(q)], [x], [cotangent])
        return outputs[0], gradients[0]

    table = rotated()
    monkeypatch.setattr("hrm_mlx.layers.rotates_in_one_kernel", lambda _: True)
    one_kernel = rotated()
    for found, expected in zip(one_kernel, table, strict=True):
        np.testing.assert_allclose(np.array(found), np.array(expected), atol=1e-4)
    rope.start += 1
    assert np.abs(np.array(rotated()[0] - table[0])).max() > 0.1


def test_rope_in_one_kernel_is_for_bfloat16_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    x = mx.zeros((1, 1, 2, 4), mx.bfloat16)
    assert not kernels.rotates_in_one_kernel(x)
    monkeypatch.setattr(mx, "default_device", lambda: mx.gpu)
    assert kernels.rotates_in_one_kernel(x)
    assert not kernels.rotates_in_one_kernel(x.astype(mx.float32))


@pytest.mark.parametrize("with_rope", [True, False])
def test_attention_is_that_of_float64(with_rope: bool) -> None:
    layer, x = Attention(CONFIG, kernels.eager), normal(2, 11, 32)
    qkv_weight, o_weight = normal(96, 32), normal(32, 32)[::-1].copy()
    layer.qkv_proj.weight, layer.o_proj.weight = mx.array(qkv_weight), mx.array(o_weight)
    found = layer(mx.array(x), RotaryEmbedding(8, 11, 10000.0) if with_rope else None)

    q, k, v = np.split(x.astype(np.float64) @ qkv_weight.T.astype(np.float64), 3, axis=-1)
    q, k, v = (part.reshape(2, 11, 4, 8).transpose(0, 2, 1, 3) for part in (q, k, v))
    if with_rope:
        q, k = reference_rope(q, 10000.0), reference_rope(k, 10000.0)
    heads = softmax(q @ k.transpose(0, 1, 3, 2) / np.sqrt(8)) @ v
    expected = heads.transpose(0, 2, 1, 3).reshape(2, 11, 32) @ o_weight.T
    np.testing.assert_allclose(
        np.array(found), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max()
    )


def test_swiglu_gates_with_the_first_half() -> None:
    layer, x = SwiGLU(CONFIG), normal(2, 5, 32)
    gate_up, down = normal(512, 32), normal(32, 256)
    layer.gate_up_proj.weight, layer.down_proj.weight = mx.array(gate_up), mx.array(down)
    gate, up = np.split(x.astype(np.float64) @ gate_up.T.astype(np.float64), 2, axis=-1)
    expected = (gate / (1 + np.exp(-gate)) * up) @ down.T
    np.testing.assert_allclose(
        np.array(layer(mx.array(x))), expected, atol=1e-5 * np.abs(expected).max()
    )


def test_silu_and_its_gradient_are_those_of_float64() -> None:
    """Off by what float32 cannot tell apart in the sigmoid, times x."""
    x = np.concatenate([np.linspace(-100, 100, 2001), np.linspace(-1, 1, 201)]).astype(np.float32)
    s = 1 / (1 + np.exp(-x.astype(np.float64)))
    gradient = mx.grad(lambda x: kernels.silu(x).sum())(mx.array(x))
    limit = 3e-7 * np.maximum(1, np.abs(x))
    assert (np.abs(np.array(kernels.silu(mx.array(x))) - x * s) <= limit).all()
    assert (np.abs(np.array(gradient) - s * (1 + x * (1 - s))) <= limit).all()


def test_scalar_is_not_rounded_to_bfloat16() -> None:
    x = mx.array([3.0], mx.bfloat16)
    assert scaled(x, 0.707106781).item() == mx.array(3 * 0.707106781).astype(mx.bfloat16).item()


def model(config: ModelConfig, dtype: str) -> HRM:
    hrm = HRM(config, DTYPES[dtype], kernels.eager)
    values = initial_values(config, seed=0)
    trained = {
        name
        for name, parameter in parameter_table(config).items()
        if parameter.role is Role.TRAINED
    }
    bind(hrm, working_weights({name: mx.array(values[name]) for name in trained}, hrm.dtype))
    return hrm


@pytest.mark.parametrize("pos_encodings", ["rope", "learned"])
def test_trainable_weights_are_those_of_the_table(pos_encodings: str) -> None:
    """MLX takes every array attribute for a weight: tables of cosines must not be among them."""
    from mlx.utils import tree_flatten

    config = CONFIG.model_copy(update={"pos_encodings": pos_encodings})
    found = {
        name: weight.shape
        for name, weight in tree_flatten(HRM(config, mx.float32, kernels.eager).parameters())
    }
    table = parameter_table(config).items()
    assert found == {
        name: parameter.shape for name, parameter in table if parameter.role is Role.TRAINED
    }


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_forward_stays_in_its_dtype(dtype: str) -> None:
    hrm = model(CONFIG, dtype)
    x = hrm.embed(mx.zeros((2, 9), mx.int32), mx.array(normal(2, 48)))
    output = hrm(x, x, x)
    assert x.shape == (2, 11, 32)  # 48 values of the puzzle vector take two slots of 32
    assert {x.dtype, output.z_H.dtype, output.z_L.dtype, output.logits.dtype} == {DTYPES[dtype]}
    assert output.q_halt_logits.dtype == output.q_continue_logits.dtype == mx.float32
    assert output.logits.shape == (2, 9, 7)


def test_puzzle_vector_is_padded_with_zeros() -> None:
    vector = normal(1, 48)
    x = np.array(
        model(CONFIG, "float32").embed(mx.zeros((1, 9), mx.int32), mx.array(vector))
    ) / np.sqrt(32)
    np.testing.assert_allclose(x[0, :2].ravel(), np.append(vector[0], np.zeros(16)), atol=1e-6)


def test_bfloat16_forward_follows_float32() -> None:
    outputs = {}
    for dtype in DTYPES:
        hrm = model(CONFIG, dtype)
        x = hrm.embed(mx.array(np.arange(18).reshape(2, 9) % 7), mx.array(normal(2, 48)))
        outputs[dtype] = np.array(hrm(x, x, x).logits.astype(mx.float32))
    difference = outputs["float32"] - outputs["bfloat16"]
    assert 0 < np.sqrt((difference**2).mean()) < 0.05
