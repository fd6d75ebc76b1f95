"""The parts of the network. Post-norm, no biases, no norm weights.

Shapes: B sequences, T positions (puzzle slots included), D hidden, N heads, h = D / N, I inside SwiGLU.
"""

from copy import copy

import mlx.core as mx
import mlx.nn as nn

from hrm_core.config import ModelConfig
from hrm_mlx.kernels import Kernel, packed, rotates_in_one_kernel, silu
from hrm_mlx.sequences import KeyValues


def rms_norm(x: mx.array, eps: float) -> mx.array:
    """Scale each position to unit root mean square, in float32, without a weight. Shapes: (..., D) -> (..., D)."""
    return mx.fast.rms_norm(x, None, eps)


class RotaryEmbedding:
    """Rotates the two halves of each head against each other by an angle that grows with the position.

    Source: Su et al. 2021, arXiv 2104.09864, in the rotate-half form of the published code.
    """

    def __init__(self, head_dim: int, total_len: int, theta: float) -> None:
        self.theta, self.start = theta, 0
        frequencies = 1.0 / theta ** (mx.arange(0, head_dim, 2, dtype=mx.float32) / head_dim)
        angles = mx.arange(total_len, dtype=mx.float32)[:, None] * frequencies  # (T, h/2)
        cos, sin = mx.cos(angles), mx.sin(angles)
        # (T, 2, h/2) each, for both halves
        self.cos, self.sin = mx.stack([cos, cos], axis=1), mx.stack([-sin, sin], axis=1)
        mx.eval(self.cos, self.sin)  # so that every stream may use them

    def part(self, start: int, stop: int) -> "RotaryEmbedding":
        """Return the rotations of some positions."""
        part = copy(self)
        part.start = self.start + start
        part.cos, part.sin = self.cos[start:stop], self.sin[start:stop]
        return part

    def __call__(self, x: mx.array) -> mx.array:
        """Rotate queries or keys, in float32. Shapes: (B, N, T, h) -> (B, N, T, h)."""
        if rotates_in_one_kernel(x):
            return mx.fast.rope(
                x,
                x.shape[-1],
                traditional=False,
                base=self.theta,
                scale=1.0,
                offset=self.start,
            )
        halves = x.astype(mx.float32).reshape(*x.shape[:-1], 2, -1)
        rotated = halves * self.cos + halves[..., ::-1, :] * self.sin
        return rotated.reshape(x.shape).astype(x.dtype)


class Embedding(nn.Module):
    """Rows of a table."""

    def __init__(self, num_embeddings: int, dims: int) -> None:
        super().__init__()
        self.embedding_weight = mx.zeros((num_embeddings, dims))

    def __call__(self, ids: mx.array) -> mx.array:
        """Shapes: (B, S) -> (B, S, D)."""
        return self.embedding_weight[ids]


class Linear(nn.Module):
    """x @ weight.T, with a bias on request."""

    def __init__(self, in_dims: int, out_dims: int, bias: bool = False) -> None:
        super().__init__()
        self.weight = mx.zeros((out_dims, in_dims))
        if bias:
            self.bias = mx.zeros((out_dims,))

    def __call__(self, x: mx.array) -> mx.array:
        """Shapes: (..., in) -> (..., out)."""
        if "bias" in self:
            return mx.addmm(self.bias, x, self.weight.T)
        return x @ self.weight.T


class Attention(nn.Module):
    """Every position attends to every position, or to those that the model's pattern lets it see."""

    def __init__(self, config: ModelConfig, kernel: Kernel) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.head_dim = config.head_dim
        self.kernel = kernel
        self.qkv_proj = Linear(config.hidden_size, 3 * config.hidden_size)
        self.o_proj = Linear(config.hidden_size, config.hidden_size)

    def __call__(
        self,
        x: mx.array,
        rope: RotaryEmbedding | None,
        visible: mx.array | None = None,
        memory: KeyValues | None = None,
    ) -> mx.array:
        """Shapes: (B, T, D), `visible` (B, 1, T, T) bool -> (B, T, D); with `memory` (B, n, D), behind what it holds."""
        B, T, D = x.shape
        shape = (B, T, self.num_heads, self.head_dim)
        q, k, v = (
            packed(part.reshape(shape).transpose(0, 2, 1, 3))  # (B, N, T, h)
            for part in mx.split(self.qkv_proj(x), 3, axis=-1)
        )
        if rope is not None:
            q, k = rope(q), rope(k)
        attend = self.kernel if memory is None else memory.attend
        heads = attend(q, k, v, self.head_dim**-0.5, visible)
        return self.o_proj(heads.transpose(0, 2, 1, 3).reshape(B, T, D))


class SwiGLU(nn.Module):
    """A gated feed-forward layer. Source: Shazeer 2020, arXiv 2002.05202."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_up_proj = Linear(config.hidden_size, 2 * config.intermediate_size)
        self.down_proj = Linear(config.intermediate_size, config.hidden_size)

    def __call__(self, x: mx.array) -> mx.array:
        """Shapes: (B, T, D) -> (B, T, D)."""
        gate, up = mx.split(self.gate_up_proj(x), 2, axis=-1)
        return self.down_proj(silu(gate) * up)


class Block(nn.Module):
    """Attention, then SwiGLU, each followed by its residual sum and norm."""

    def __init__(self, config: ModelConfig, kernel: Kernel) -> None:
        super().__init__()
        self.eps = config.rms_norm_eps
        self.self_attn = Attention(config, kernel)
        self.mlp = SwiGLU(config)

    def __call__(
        self,
        x: mx.array,
        rope: RotaryEmbedding | None,
        visible: mx.array | None = None,
        memory: KeyValues | None = None,
    ) -> mx.array:
        """Shapes: as attention."""
        x = rms_norm(x + self.self_attn(x, rope, visible, memory), self.eps)
        return rms_norm(x + self.mlp(x), self.eps)
