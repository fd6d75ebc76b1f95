"""The HRM network: a slow level H and a fast level L that refine one answer together.

Shapes: B sequences, S tokens, P puzzle slots, T = P + S, D hidden, E puzzle_emb_ndim, V vocabulary.
"""

from collections.abc import Sequence
from typing import NamedTuple

import mlx.core as mx
import mlx.nn as nn

from hrm_core.config import ModelConfig
from hrm_mlx.kernels import Kernel
from hrm_mlx.layers import Block, Embedding, Linear, RotaryEmbedding
from hrm_mlx.sequences import KeyValues

DTYPES = {"float32": mx.float32, "bfloat16": mx.bfloat16}


class Output(NamedTuple):
    """Result of one inner forward."""

    z_H: mx.array  # (B, T, D)
    z_L: mx.array  # (B, T, D)
    # (B, S, V), in the dtype of activations; of a large vocabulary (B, S, D), of which lm_head makes them
    logits: mx.array
    q_halt_logits: mx.array  # (B,) float32
    q_continue_logits: mx.array  # (B,) float32


class ReasoningModule(nn.Module):
    """One level: adds what the other level says to its own state, then its blocks."""

    def __init__(self, config: ModelConfig, num_layers: int, kernel: Kernel) -> None:
        super().__init__()
        self.layers = [Block(config, kernel) for _ in range(num_layers)]

    def __call__(
        self,
        state: mx.array,
        injection: mx.array,
        rope: RotaryEmbedding | None,
        visible: mx.array | None = None,
        memory: Sequence[KeyValues | None] | None = None,
    ) -> mx.array:
        """Shapes: (B, T, D), (B, T, D), `visible` (B, 1, T, T) bool -> (B, T, D); `memory` has a part for each layer."""
        x = state + injection
        for layer, part in zip(self.layers, memory or [None] * len(self.layers), strict=True):
            x = layer(x, rope, visible, part)
        return x


class HRM(nn.Module):
    """The inner model: one ACT step without the halting."""

    def __init__(self, config: ModelConfig, dtype: mx.Dtype, kernel: Kernel) -> None:
        super().__init__()
        self.config = config
        self.dtype = dtype
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size)
        if config.pos_encodings == "learned":
            self.embed_pos = Embedding(config.total_len, config.hidden_size)
        if not config.share_levels:
            self.H_level = ReasoningModule(config, config.H_layers, kernel)
        self.L_level = ReasoningModule(config, config.L_layers, kernel)
        if config.share_levels:
            self.H_level = self.L_level
        self.lm_head = Linear(config.hidden_size, config.vocab_size)
        self.q_head = Linear(config.hidden_size, 2, bias=True)
        if config.patch_size:  # last, as in the weight table
            self.embed_patches = Linear(config.patch_size**2, config.hidden_size)
        # A tuple, not attributes of their own: MLX would take an array attribute for a weight
        self._rope = (
            (RotaryEmbedding(config.head_dim, config.total_len, config.rope_theta),)
            if config.pos_encodings == "rope"
            else (None,)
        )

    def embed(
        self,
        inputs: mx.array,
        puzzle_vectors: mx.array | None,
        patches: mx.array | None = None,
        start: int = 0,
    ) -> mx.array:
        """Token rows, the first with patches of a picture, behind the puzzle vector; from position `start` on.

        Shapes: (B, S) int, (B, E) float32, (B, n, p p) pixels from 0 to 255 -> (B, T, D).
        """
        config = self.config
        x = self.embed_tokens(inputs)
        if patches is not None:
            n = patches.shape[1]
            pixels = (patches / 255 - 0.5) / 0.25
            seen = x[:, :n] + config.hidden_size**-0.5 * self.embed_patches(pixels)
            x = mx.concatenate([seen, x[:, n:]], axis=1)
        x = x.astype(self.dtype)
        if puzzle_vectors is not None:
            B = len(inputs)
            padding = config.puzzle_emb_len * config.hidden_size - config.puzzle_emb_ndim
            slots = mx.pad(puzzle_vectors.astype(self.dtype), [(0, 0), (0, padding)])
            x = mx.concatenate(
                [slots.reshape(B, config.puzzle_emb_len, config.hidden_size), x], axis=1
            )
        if config.pos_encodings == "learned":
            positions = self.embed_pos.embedding_weight[start : start + x.shape[1]]
            x = scaled(x + positions.astype(self.dtype), 0.707106781)
        return scaled(x, config.hidden_size**0.5)

    def visible(self, prefix_len: mx.array | None) -> mx.array | None:
        """Return the positions that each one sees: those up to it, the puzzle slots and the prefix. None if rows do not differ.

        Shapes: (B,) -> (B, 1, T, T) bool.
        """
        if prefix_len is None:
            return None
        positions = mx.arange(self.config.total_len)
        ends = self.config.puzzle_emb_len + prefix_len[:, None, None, None]
        return (positions <= positions[:, None]) | (positions < ends)

    def __call__(
        self, z_H: mx.array, z_L: mx.array, x: mx.array, prefix_len: mx.array | None = None
    ) -> Output:
        """Think for all cycles; the last call of each level has a gradient, or those of the last H cycle.

        Shapes: (B, T, D) each, `prefix_len` (B,).
        """
        config, (rope,) = self.config, self._rope
        visible = self.visible(prefix_len)
        constant_x = mx.stop_gradient(x)
        for _ in range(config.H_cycles - 1):
            for _ in range(config.L_cycles):
                z_L = self.L_level(z_L, z_H + constant_x, rope, visible)
            z_H = self.H_level(z_H, z_L, rope, visible)
        for _ in range(config.L_cycles - config.L_calls_with_gradient):
            z_L = self.L_level(z_L, z_H + constant_x, rope, visible)
        z_H, z_L = mx.stop_gradient(z_H), mx.stop_gradient(z_L)
        for _ in range(config.L_calls_with_gradient):
            z_L = self.L_level(z_L, z_H + x, rope, visible)  # x at every cycle, not only the first
        z_H = self.H_level(z_H, z_L, rope, visible)
        return self.output(z_H, z_L)

    def output(self, z_H: mx.array, z_L: mx.array) -> Output:
        """Answers from the last states; the states go on without a gradient. Shapes: (B, T, D) each."""
        logits = self.head(z_H)[:, self.config.puzzle_emb_len :]
        q = self.q_head(z_H[:, 0]).astype(mx.float32)
        q_halt, q_continue = q[:, 0], q[:, 1]
        if not self.config.q_continue:
            q_continue = mx.zeros_like(q_halt)  # what q_halt is compared with
        return Output(mx.stop_gradient(z_H), mx.stop_gradient(z_L), logits, q_halt, q_continue)

    def head(self, z_H: mx.array) -> mx.array:
        """Logits (B, T, V), or what `Output.logits` holds of a large vocabulary. Shapes: (B, T, D)."""
        return z_H if self.config.has_large_vocabulary else self.lm_head(z_H)

    def trace(
        self, z_H: mx.array, z_L: mx.array, x: mx.array, prefix_len: mx.array | None = None
    ) -> tuple[mx.array, ...]:
        """Think as a call does, and keep the states of every cycle.

        Returns: the fields of Output, then the states (B, T, D) of each cycle of H, then of L.
        """
        config, (rope,) = self.config, self._rope
        visible = self.visible(prefix_len)
        all_H, all_L = [], []
        for _ in range(config.H_cycles):
            for _ in range(config.L_cycles):
                z_L = self.L_level(z_L, z_H + x, rope, visible)
                all_L.append(z_L)
            z_H = self.H_level(z_H, z_L, rope, visible)
            all_H.append(z_H)
        return *self.output(z_H, z_L), *all_H, *all_L

    def decode(self, z_H: mx.array, z_L: mx.array, prefix_len: mx.array | None = None) -> Output:
        """Answers of a trial pass of H from any states. Shapes: (B, T, D) each, `prefix_len` (B,)."""
        (rope,) = self._rope
        return self.output(self.H_level(z_H, z_L, rope, self.visible(prefix_len)), z_L)

    def extend(
        self,
        z_H: mx.array,
        z_L: mx.array,
        x: mx.array,
        start: int,
        visible: mx.array | None,
        memory: Sequence[Sequence[KeyValues]],
    ) -> tuple[mx.array, mx.array]:
        """Think about n positions from `start` on, behind those in `memory`, which has a part for each call of a level.

        Shapes: (B, n, D) each, `visible` (1, 1, n, start + n) -> (B, n, D) for H and for L.
        """
        config, calls = self.config, iter(memory)
        (whole,) = self._rope
        rope = whole and whole.part(start, start + x.shape[1])
        for _ in range(config.H_cycles):
            for _ in range(config.L_cycles):
                z_L = self.L_level(z_L, z_H + x, rope, visible, next(calls))
            z_H = self.H_level(z_H, z_L, rope, visible, next(calls))
        return z_H, z_L


def scaled(x: mx.array, factor: float) -> mx.array:
    """Multiply in float32 and round once: MLX would round the factor itself to bfloat16 first."""
    return (x.astype(mx.float32) * factor).astype(x.dtype)
