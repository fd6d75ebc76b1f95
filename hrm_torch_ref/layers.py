"""The parts of the network. Post-norm, no biases, no norm weights.

Shapes: B sequences, T positions (puzzle slots included), D hidden, N heads, h = D / N, I inside SwiGLU.
"""

from copy import copy

import torch
import torch.nn.functional as F
from torch import nn

from hrm_core.config import ModelConfig
from hrm_torch_ref.attention import Kernel
from hrm_torch_ref.sequences import KeyValues


def rms_norm(x: torch.Tensor, eps: float) -> torch.Tensor:
    """Scale each position to unit root mean square, in float32 or better, without a weight. Shapes: (..., D) -> (..., D)."""
    wide = torch.promote_types(x.dtype, torch.float32)
    norm = torch.linalg.vector_norm(
        x, dim=-1, keepdim=True, dtype=wide
    )  # one pass over x, where a mean of squares takes three
    return (x * torch.rsqrt(norm * norm / x.shape[-1] + eps)).to(x.dtype)


class RotaryEmbedding:
    """Rotates the two halves of each head against each other by an angle that grows with the position.

    Source: Su et al. 2021, arXiv 2104.09864, in the rotate-half form of the published code.
    """

    def __init__(
        self, head_dim: int, total_len: int, theta: float, dtype: torch.dtype, device: torch.device
    ) -> None:
        dtype = torch.promote_types(dtype, torch.float32)
        frequencies = 1.0 / theta ** (
            torch.arange(0, head_dim, 2, dtype=dtype, device=device) / head_dim
        )
        angles = (
            torch.arange(total_len, dtype=dtype, device=device)[:, None, None] * frequencies
        )  # (T, 1, h/2)
        self.cos, self.sin = angles.cos().repeat(1, 1, 2), angles.sin()

    def part(self, start: int, stop: int) -> "RotaryEmbedding":
        """Return the rotations of some positions."""
        part = copy(self)
        part.cos, part.sin = self.cos[start:stop], self.sin[start:stop]
        return part

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Rotate queries or keys, in float32 or better. Shapes: (B, T, N, h) -> (B, T, N, h)."""
        half, wide = x.shape[-1] // 2, x.to(self.cos.dtype)
        rotated = wide * self.cos
        rotated[..., :half].addcmul_(
            wide[..., half:], self.sin, value=-1
        )  # in place: two passes over x instead of four
        rotated[..., half:].addcmul_(wide[..., :half], self.sin)
        return rotated.to(x.dtype)


class Embedding(nn.Module):
    """Rows of a table."""

    def __init__(self, num_embeddings: int, dims: int) -> None:
        super().__init__()
        self.embedding_weight = nn.Parameter(torch.empty(num_embeddings, dims))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Shapes: (B, S) -> (B, S, D)."""
        return F.embedding(ids, self.embedding_weight)


class Linear(nn.Module):
    """x @ weight.T, with a bias on request."""

    def __init__(self, in_dims: int, out_dims: int, bias: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_dims, in_dims))
        self.bias = nn.Parameter(torch.empty(out_dims)) if bias else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shapes: (..., in) -> (..., out)."""
        return F.linear(x, self.weight, self.bias)


class Attention(nn.Module):
    """Every position attends to every position, or to those that the model's pattern lets it see."""

    def __init__(self, config: ModelConfig, kernel: Kernel) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.head_dim = config.head_dim
        self.kernel = kernel
        self.qkv_proj = Linear(config.hidden_size, 3 * config.hidden_size)
        self.o_proj = Linear(config.hidden_size, config.hidden_size)

    def forward(
        self,
        x: torch.Tensor,
        rope: RotaryEmbedding | None,
        visible: torch.Tensor | None = None,
        memory: KeyValues | None = None,
    ) -> torch.Tensor:
        """Shapes: (B, T, D), `visible` (B, 1, T, T) bool -> (B, T, D); with `memory` (B, n, D), behind what it holds."""
        B, T, D = x.shape
        q, k, v = (
            self.qkv_proj(x).view(B, T, 3, self.num_heads, self.head_dim).unbind(2)
        )  # (B, T, N, h) each
        if rope is not None:
            q, k = rope(q), rope(k)
        attend = self.kernel if memory is None else memory.attend
        heads = attend(q, k, v, self.head_dim**-0.5, visible)
        return self.o_proj(heads.reshape(B, T, D))


class SwiGLU(nn.Module):
    """A gated feed-forward layer. Source: Shazeer 2020, arXiv 2002.05202."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_up_proj = Linear(config.hidden_size, 2 * config.intermediate_size)
        self.down_proj = Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shapes: (B, T, D) -> (B, T, D)."""
        gate, up = self.gate_up_proj(x).chunk(2, dim=-1)
        return self.down_proj(F.silu(gate) * up)


class Block(nn.Module):
    """Attention, then SwiGLU, each followed by its residual sum and norm."""

    def __init__(self, config: ModelConfig, kernel: Kernel) -> None:
        super().__init__()
        self.eps = config.rms_norm_eps
        self.self_attn = Attention(config, kernel)
        self.mlp = SwiGLU(config)

    def forward(
        self,
        x: torch.Tensor,
        rope: RotaryEmbedding | None,
        visible: torch.Tensor | None = None,
        memory: KeyValues | None = None,
    ) -> torch.Tensor:
        """Shapes: as attention."""
        x = rms_norm(x + self.self_attn(x, rope, visible, memory), self.eps)
        return rms_norm(x + self.mlp(x), self.eps)
