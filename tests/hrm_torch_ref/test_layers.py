from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from hrm_core.config import ModelConfig
from hrm_core.parameters import Role, initial_values, parameter_table

torch = pytest.importorskip("torch", reason="torch is missing: the PyTorch reference is not tested")

from hrm_torch_ref import attention  # noqa: E402
from hrm_torch_ref.layers import Attention, RotaryEmbedding, SwiGLU, rms_norm  # noqa: E402
from hrm_torch_ref.model import DTYPES, HRM, Lending  # noqa: E402
from hrm_torch_ref.update import working_weights  # noqa: E402

SIZES = {
    "vocab_size": 7,
    "seq_len": 9,
    "num_puzzle_identifiers": 3,
    "puzzle_emb_ndim": 48,
    "hidden_size": 32,
    "num_heads": 4,
}
CONFIG = ModelConfig.model_validate({**SIZES, "H_layers": 2, "L_layers": 1, "halt_max_steps": 3})
CPU = torch.device("cpu")
PRECISE = pytest.mark.parametrize(
    ("dtype", "limit"), [("float32", 2e-6), ("float64", 1e-12)]
)  # relative to the largest entry

F64 = NDArray[np.float64]


def normal(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(len(shape)).standard_normal(shape, np.float32)


def tensor(array: NDArray[Any], dtype: str = "float32") -> Any:
    return torch.tensor(array).to(DTYPES[dtype])


def assert_near(found: Any, expected: F64, limit: float) -> None:
    """Hold a tensor against float64, off by a share of the largest entry at most."""
    assert tuple(found.shape) == expected.shape
    np.testing.assert_allclose(
        found.detach().double().numpy(), expected, rtol=0, atol=limit * np.abs(expected).max()
    )


def softmax(x: F64) -> F64:
    scores = np.exp(x - x.max(axis=-1, keepdims=True))
    return scores / scores.sum(axis=-1, keepdims=True)


def silu(x: F64) -> F64:
    return x / (1 + np.exp(-x))


def reference_rms_norm(x: F64) -> F64:
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-5)


def reference_rope(x: F64, theta: float) -> F64:
    """The two halves of a head as real and imaginary parts, turned by position times frequency. Shapes: (B, T, N, h)."""
    half = x.shape[-1] // 2
    frequencies = theta ** (-2 * np.arange(half) / (2 * half))
    turned = (x[..., :half] + 1j * x[..., half:]) * np.exp(
        1j * np.arange(x.shape[1])[:, None, None] * frequencies
    )
    return np.concatenate([turned.real, turned.imag], axis=-1)


def reference_attention(
    x: F64, qkv_weight: F64, o_weight: F64, num_heads: int, theta: float | None
) -> F64:
    B, T, D = x.shape
    q, k, v = (part.reshape(B, T, num_heads, -1) for part in np.split(x @ qkv_weight.T, 3, axis=-1))
    if theta is not None:
        q, k = reference_rope(q, theta), reference_rope(k, theta)
    q, k, v = (part.transpose(0, 2, 1, 3) for part in (q, k, v))
    heads = softmax(q @ k.transpose(0, 1, 3, 2) / np.sqrt(D / num_heads)) @ v
    return heads.transpose(0, 2, 1, 3).reshape(B, T, D) @ o_weight.T


def reference_swiglu(x: F64, gate_up: F64, down: F64) -> F64:
    gate, up = np.split(x @ gate_up.T, 2, axis=-1)
    return (silu(gate) * up) @ down.T


@PRECISE
def test_rms_norm_is_that_of_float64(dtype: str, limit: float) -> None:
    x = normal(2, 5, 32)
    assert_near(rms_norm(tensor(x, dtype), 1e-5), reference_rms_norm(x.astype(np.float64)), limit)


def test_rms_norm_of_bfloat16_is_taken_in_float32() -> None:
    """Rounded once, at its end: in bfloat16 the mean of 4,096 squares would be off by percents."""
    x = tensor(normal(3, 4096), "bfloat16")
    found = rms_norm(x, 1e-5)
    assert found.dtype == torch.bfloat16
    np.testing.assert_allclose(
        found.double().numpy(), reference_rms_norm(x.double().numpy()), rtol=2**-8
    )
    assert torch.equal(found, rms_norm(x.float(), 1e-5).bfloat16())


def test_rms_norm_of_zeros_and_its_gradient_are_zero() -> None:
    """A norm has no gradient at zero, a mean of squares has."""
    x = torch.zeros(2, 8, requires_grad=True)
    found = rms_norm(x, 1e-5)
    (gradient,) = torch.autograd.grad(found.sum(), x)
    assert not found.any()
    np.testing.assert_allclose(gradient.numpy(), np.full((2, 8), 1e-5**-0.5), rtol=1e-6)


def test_gradient_of_rms_norm_is_that_of_float64() -> None:
    x, direction = (
        tensor(normal(3, 16), "float64").requires_grad_(),
        tensor(normal(3, 16)[::-1].copy(), "float64"),
    )
    (gradient,) = torch.autograd.grad((rms_norm(x, 1e-5) * direction).sum(), x)
    values, d = x.detach().numpy(), direction.numpy()
    scale = 1 / np.sqrt((values**2).mean(axis=-1, keepdims=True) + 1e-5)
    expected = scale * d - scale**3 * values * (d * values).mean(axis=-1, keepdims=True)
    assert_near(gradient, expected, 1e-12)


@PRECISE
def test_rope_turns_the_halves_of_a_head(dtype: str, limit: float) -> None:
    x = normal(2, 10, 4, 8)
    found = RotaryEmbedding(8, 10, 10000.0, DTYPES[dtype], CPU)(tensor(x, dtype))
    assert_near(found, reference_rope(x.astype(np.float64), 10000.0), limit)
    np.testing.assert_array_equal(found[:, 0].numpy(), x[:, 0])


def test_even_and_odd_pairs_would_be_noticed() -> None:
    """The control of the test above: the other common form of RoPE."""
    x = normal(2, 10, 4, 8)
    pairs = np.concatenate([x[..., ::2], x[..., 1::2]], axis=-1)
    found = RotaryEmbedding(8, 10, 10000.0, torch.float32, CPU)(tensor(pairs))
    with pytest.raises(AssertionError):
        assert_near(found, reference_rope(x.astype(np.float64), 10000.0), 1e-2)


def test_rope_of_bfloat16_is_rounded_once() -> None:
    x = tensor(normal(1, 10, 2, 8), "bfloat16")
    rope = RotaryEmbedding(8, 10, 10000.0, torch.bfloat16, CPU)
    found = rope(x)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, rope(x.float()).bfloat16())


def test_rope_leaves_its_argument_alone() -> None:
    x = tensor(normal(1, 10, 2, 8))
    before = x.clone()
    RotaryEmbedding(8, 10, 10000.0, torch.float32, CPU)(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("with_rope", [True, False], ids=["rope", "without"])
@pytest.mark.parametrize("kernel", [attention.eager, attention.sdpa])
@PRECISE
def test_attention_is_that_of_float64(
    with_rope: bool, kernel: Callable[..., Any], dtype: str, limit: float
) -> None:
    layer, x = Attention(CONFIG, kernel), normal(2, 11, 32)
    qkv_weight, o_weight = normal(96, 32), normal(32, 32)[::-1].copy()
    layer.qkv_proj.weight, layer.o_proj.weight = (
        torch.nn.Parameter(tensor(w, dtype)) for w in (qkv_weight, o_weight)
    )
    found = layer(
        tensor(x, dtype), RotaryEmbedding(8, 11, 10000.0, DTYPES[dtype], CPU) if with_rope else None
    )
    arrays = (array.astype(np.float64) for array in (x, qkv_weight, o_weight))
    assert_near(
        found,
        reference_attention(*arrays, num_heads=4, theta=10000.0 if with_rope else None),
        10 * limit,
    )


@PRECISE
def test_swiglu_gates_with_the_first_half(dtype: str, limit: float) -> None:
    layer, x = SwiGLU(CONFIG), normal(2, 5, 32)
    gate_up, down = normal(512, 32), normal(32, 256)
    layer.gate_up_proj.weight, layer.down_proj.weight = (
        torch.nn.Parameter(tensor(w, dtype)) for w in (gate_up, down)
    )
    arrays = (array.astype(np.float64) for array in (x, gate_up, down))
    assert_near(layer(tensor(x, dtype)), reference_swiglu(*arrays), limit)


def values_of(config: ModelConfig) -> dict[str, NDArray[np.float32]]:
    table = parameter_table(config)
    return {
        name: array
        for name, array in initial_values(config, seed=0).items()
        if table[name].role is Role.TRAINED
    }


def forward(
    config: ModelConfig, dtype: str, inputs: NDArray[np.int32], vectors: NDArray[np.float32]
) -> tuple[Any, Any]:
    """The embedded input, and what the model makes of it when it starts from it, too."""
    hrm = HRM(config, DTYPES[dtype], CPU, attention.eager)
    wide = torch.promote_types(DTYPES[dtype], torch.float32)
    weights = working_weights(
        {name: torch.tensor(array).to(wide) for name, array in values_of(config).items()},
        DTYPES[dtype],
    )
    x = Lending(hrm, HRM.embed).call(weights, torch.tensor(inputs), torch.tensor(vectors).to(wide))
    return x, Lending(hrm, HRM.__call__).call(weights, x, x, x)


def reference_forward(
    config: ModelConfig, inputs: NDArray[np.int32], vectors: NDArray[np.float32]
) -> tuple[F64, F64, F64, F64]:
    """The published forward in float64, from x as z_H and z_L. Returns: z_H, z_L, logits, q."""
    weights = {name: array.astype(np.float64) for name, array in values_of(config).items()}
    D, P = config.hidden_size, config.puzzle_emb_len
    slots = np.zeros((len(inputs), P * D))
    slots[:, : config.puzzle_emb_ndim] = vectors
    x = np.concatenate(
        [slots.reshape(-1, P, D), weights["embed_tokens.embedding_weight"][inputs]], axis=1
    )
    if config.pos_encodings == "learned":
        x = 0.707106781 * (x + weights["embed_pos.embedding_weight"])
    x = np.sqrt(D) * x

    def level(name: str, state: F64, injection: F64) -> F64:
        u = state + injection
        for i in range(config.H_layers if name == "H" else config.L_layers):
            w = {
                key.rpartition(f"{name}_level.layers.{i}.")[2]: array
                for key, array in weights.items()
                if f"{name}_level.layers.{i}." in key
            }
            theta = config.rope_theta if config.pos_encodings == "rope" else None
            attended = reference_attention(
                u,
                w["self_attn.qkv_proj.weight"],
                w["self_attn.o_proj.weight"],
                config.num_heads,
                theta,
            )
            u = reference_rms_norm(u + attended)
            u = reference_rms_norm(
                u + reference_swiglu(u, w["mlp.gate_up_proj.weight"], w["mlp.down_proj.weight"])
            )
        return u

    z_H, z_L = x, x
    for _ in range(config.H_cycles):
        for _ in range(config.L_cycles):
            z_L = level("L", z_L, z_H + x)
        z_H = level("H", z_H, z_L)
    return (
        z_H,
        z_L,
        (z_H @ weights["lm_head.weight"].T)[:, P:],
        z_H[:, 0] @ weights["q_head.weight"].T + weights["q_head.bias"],
    )


INPUTS = np.arange(18, dtype=np.int32).reshape(2, 9) % 7


@pytest.mark.parametrize("pos_encodings", ["rope", "learned"])
@pytest.mark.parametrize("cycles", [(2, 2), (1, 3)], ids=str)
@pytest.mark.parametrize(("dtype", "limit"), [("float32", 2e-5), ("float64", 1e-12)])
def test_forward_is_that_of_float64(
    pos_encodings: str, cycles: tuple[int, int], dtype: str, limit: float
) -> None:
    config = CONFIG.model_copy(
        update={"pos_encodings": pos_encodings, "H_cycles": cycles[0], "L_cycles": cycles[1]}
    )
    _, output = forward(config, dtype, INPUTS, normal(2, 48))
    z_H, z_L, logits, q = reference_forward(config, INPUTS, normal(2, 48))
    for found, expected in zip(output, (z_H, z_L, logits, q[:, 0], q[:, 1]), strict=True):
        assert_near(found, expected, limit)


def test_swapped_levels_would_be_noticed() -> None:
    """The control of the test above."""
    _, output = forward(CONFIG, "float64", INPUTS, normal(2, 48))
    z_H, z_L, *_ = reference_forward(CONFIG, INPUTS, normal(2, 48))
    with pytest.raises(AssertionError):
        assert_near(output.z_L, z_H, 1e-2)
    with pytest.raises(AssertionError):
        assert_near(output.z_H, z_L, 1e-2)


@pytest.mark.parametrize("dtype", DTYPES)
def test_forward_stays_in_its_dtype(dtype: str) -> None:
    x, output = forward(CONFIG, dtype, INPUTS, normal(2, 48))
    assert x.shape == (2, 11, 32)  # 48 values of the puzzle vector take two slots of 32
    assert {x.dtype, output.z_H.dtype, output.z_L.dtype, output.logits.dtype} == {DTYPES[dtype]}
    assert (
        output.q_halt_logits.dtype
        == output.q_continue_logits.dtype
        == torch.promote_types(DTYPES[dtype], torch.float32)
    )
    assert output.logits.shape == (2, 9, 7)


def test_puzzle_vector_is_padded_with_zeros() -> None:
    vector = normal(1, 48)
    x, _ = forward(CONFIG, "float64", np.zeros((1, 9), np.int32), vector)
    np.testing.assert_allclose(
        x[0, :2].numpy().ravel() / np.sqrt(32), np.append(vector[0], np.zeros(16)), atol=1e-15
    )


def test_bfloat16_forward_follows_float32() -> None:
    exact, rounded = (
        forward(CONFIG, dtype, INPUTS, normal(2, 48))[1].logits.float()
        for dtype in ("float32", "bfloat16")
    )
    assert 0 < (exact - rounded).square().mean().sqrt() < 0.05


@pytest.mark.parametrize("pos_encodings", ["rope", "learned"])
def test_scalars_are_not_rounded_to_bfloat16(pos_encodings: str) -> None:
    """The embedded input is a product in float32 that is rounded once a factor: sqrt(32) itself has no bfloat16."""
    config = CONFIG.model_copy(update={"pos_encodings": pos_encodings})
    x, _ = forward(config, "bfloat16", INPUTS, normal(2, 48))
    weights = values_of(config)
    rounded = weights["embed_tokens.embedding_weight"].astype(ml_dtypes.bfloat16)[INPUTS]
    if pos_encodings == "learned":
        rounded = rounded + weights["embed_pos.embedding_weight"][2:].astype(ml_dtypes.bfloat16)
        rounded = (rounded.astype(np.float32) * np.float32(0.707106781)).astype(ml_dtypes.bfloat16)
    expected = (rounded.astype(np.float32) * np.float32(32**0.5)).astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(x[:, 2:].float().numpy(), expected.astype(np.float32))


def test_gradient_goes_through_the_last_call_of_each_level_only() -> None:
    """The one-step gradient: with more cycles before it nothing that is before it gets a gradient."""
    hrm = HRM(CONFIG, torch.float64, CPU, attention.eager)
    weights = {
        name: torch.tensor(array).double().requires_grad_()
        for name, array in values_of(CONFIG).items()
    }
    start = [torch.tensor(normal(2, 11, 32)).double().requires_grad_() for _ in range(2)]
    x = torch.tensor(normal(2, 11, 32)[::-1].copy()).double().requires_grad_()
    output = Lending(hrm, HRM.__call__).call(weights, *start, x)
    assert not output.z_H.requires_grad
    assert not output.z_L.requires_grad
    assert torch.autograd.grad(
        output.logits.sum(), start, retain_graph=True, allow_unused=True
    ) == (None, None)

    inner = HRM(
        CONFIG.model_copy(update={"H_cycles": 1, "L_cycles": 1}),
        torch.float64,
        CPU,
        attention.eager,
    )
    with torch.no_grad():  # the states that the last calls begin with
        z_H, z_L = start
        z_L = Lending(hrm, lambda model, *args: model.L_level(*args, model.rope)).call(
            weights, z_L, z_H + x
        )
        z_L = Lending(hrm, lambda model, *args: model.L_level(*args, model.rope)).call(
            weights, z_L, z_H + x
        )
        z_H = Lending(hrm, lambda model, *args: model.H_level(*args, model.rope)).call(
            weights, z_H, z_L
        )
        z_L = Lending(hrm, lambda model, *args: model.L_level(*args, model.rope)).call(
            weights, z_L, z_H + x
        )
    last = Lending(inner, HRM.__call__).call(weights, z_H, z_L, x)
    leaves = [
        weight for name, weight in weights.items() if name.startswith(("H_", "L_", "lm_"))
    ] + [x]
    for found, expected in zip(
        torch.autograd.grad(output.logits.square().sum(), leaves),
        torch.autograd.grad(last.logits.square().sum(), leaves),
        strict=True,
    ):
        assert torch.equal(found, expected)
