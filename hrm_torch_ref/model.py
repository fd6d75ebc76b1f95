"""The HRM network: a slow level H and a fast level L that refine one answer together.

Shapes: B sequences, S tokens, P puzzle slots, T = P + S, D hidden, E puzzle_emb_ndim, V vocabulary.
"""

from collections.abc import Callable, Sequence
from threading import RLock
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from hrm_core.config import ModelConfig
from hrm_torch_ref.attention import Kernel
from hrm_torch_ref.layers import Block, Embedding, Linear, RotaryEmbedding
from hrm_torch_ref.sequences import KeyValues

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}


class Output(NamedTuple):
    """Result of one inner forward."""

    z_H: torch.Tensor  # (B, T, D)
    z_L: torch.Tensor  # (B, T, D)
    # (B, S, V), in the dtype of activations; of a large vocabulary (B, S, D), of which lm_head makes them
    logits: torch.Tensor
    q_halt_logits: torch.Tensor  # (B,) float32 or better
    q_continue_logits: torch.Tensor  # (B,) float32 or better


class ReasoningModule(nn.Module):
    """One level: adds what the other level says to its own state, then its blocks."""

    def __init__(self, config: ModelConfig, num_layers: int, kernel: Kernel) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Block(config, kernel) for _ in range(num_layers)])

    def forward(
        self,
        state: torch.Tensor,
        injection: torch.Tensor,
        rope: RotaryEmbedding | None,
        visible: torch.Tensor | None = None,
        memory: Sequence[KeyValues | None] | None = None,
    ) -> torch.Tensor:
        """Shapes: (B, T, D), (B, T, D), `visible` (B, 1, T, T) bool -> (B, T, D); `memory` has a part for each layer."""
        x = state + injection
        for layer, part in zip(self.layers, memory or [None] * len(self.layers), strict=True):
            x = layer(x, rope, visible, part)
        return x


class HRM(nn.Module):
    """The inner model: one ACT step without the halting."""

    def __init__(
        self, config: ModelConfig, dtype: torch.dtype, device: torch.device, kernel: Kernel
    ) -> None:
        super().__init__()
        self.lending = RLock()  # while weights are lent: threads would take them from each other
        self.config = config
        self.dtype = dtype
        with torch.device("meta"):  # the weights are bound when it computes
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
        is_rope = config.pos_encodings == "rope"
        self.rope = (
            RotaryEmbedding(config.head_dim, config.total_len, config.rope_theta, dtype, device)
            if is_rope
            else None
        )

    def embed(
        self,
        inputs: torch.Tensor,
        puzzle_vectors: torch.Tensor | None,
        patches: torch.Tensor | None = None,
        start: int = 0,
    ) -> torch.Tensor:
        """Token rows, the first with patches of a picture, behind the puzzle vector; from position `start` on.

        Shapes: (B, S) int, (B, E) float32, (B, n, p p) pixels from 0 to 255 -> (B, T, D).
        """
        config = self.config
        x = self.embed_tokens(inputs)
        if patches is not None:
            n = patches.shape[1]
            pixels = (patches.to(x.dtype) / 255 - 0.5) / 0.25
            seen = x[:, :n] + config.hidden_size**-0.5 * self.embed_patches(pixels)
            x = torch.cat([seen, x[:, n:]], dim=1)
        x = x.to(self.dtype)
        if puzzle_vectors is not None:
            B = len(inputs)
            padding = config.puzzle_emb_len * config.hidden_size - config.puzzle_emb_ndim
            slots = F.pad(puzzle_vectors.to(self.dtype), (0, padding))
            x = torch.cat([slots.view(B, config.puzzle_emb_len, config.hidden_size), x], dim=1)
        if config.pos_encodings == "learned":
            positions = self.embed_pos.embedding_weight[start : start + x.shape[1]]
            x = 0.707106781 * (x + positions.to(self.dtype))
        return config.hidden_size**0.5 * x

    def visible(self, prefix_len: torch.Tensor | None) -> torch.Tensor | None:
        """Return the positions that each one sees: those up to it, the puzzle slots and the prefix. None if rows do not differ.

        Shapes: (B,) -> (B, 1, T, T) bool.
        """
        if prefix_len is None:
            return None
        positions = torch.arange(self.config.total_len, device=prefix_len.device)
        ends = self.config.puzzle_emb_len + prefix_len[:, None, None, None]
        return (positions <= positions[:, None]) | (positions < ends)

    def forward(
        self,
        z_H: torch.Tensor,
        z_L: torch.Tensor,
        x: torch.Tensor,
        prefix_len: torch.Tensor | None = None,
    ) -> Output:
        """Think for all cycles; the last call of each level has a gradient, or those of the last H cycle.

        Shapes: (B, T, D) each, `prefix_len` (B,).
        """
        config, rope = self.config, self.rope
        visible = self.visible(prefix_len)
        with torch.no_grad():
            for _ in range(config.H_cycles - 1):
                for _ in range(config.L_cycles):
                    z_L = self.L_level(z_L, z_H + x, rope, visible)
                z_H = self.H_level(z_H, z_L, rope, visible)
            for _ in range(config.L_cycles - config.L_calls_with_gradient):
                z_L = self.L_level(z_L, z_H + x, rope, visible)
        for _ in range(config.L_calls_with_gradient):
            z_L = self.L_level(z_L, z_H + x, rope, visible)  # x at every cycle, not only the first
        z_H = self.H_level(z_H, z_L, rope, visible)
        return self.output(z_H, z_L)

    def output(self, z_H: torch.Tensor, z_L: torch.Tensor) -> Output:
        """Answers from the last states; the states go on without a gradient. Shapes: (B, T, D) each."""
        logits = self.head(z_H)[:, self.config.puzzle_emb_len :]
        q = self.q_head(z_H[:, 0])
        q = q.to(torch.promote_types(q.dtype, torch.float32))
        q_halt, q_continue = q[:, 0], q[:, 1]
        if not self.config.q_continue:
            q_continue = torch.zeros_like(q_halt)  # what q_halt is compared with
        return Output(z_H.detach(), z_L.detach(), logits, q_halt, q_continue)

    def head(self, z_H: torch.Tensor) -> torch.Tensor:
        """Logits (B, T, V), or what `Output.logits` holds of a large vocabulary. Shapes: (B, T, D)."""
        return z_H if self.config.has_large_vocabulary else self.lm_head(z_H)

    def trace(
        self,
        z_H: torch.Tensor,
        z_L: torch.Tensor,
        x: torch.Tensor,
        prefix_len: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, ...]:
        """Think as a call does, and keep the states of every cycle.

        Returns: the fields of Output, then the states (B, T, D) of each cycle of H, then of L.
        """
        config, rope = self.config, self.rope
        visible = self.visible(prefix_len)
        all_H, all_L = [], []
        for _ in range(config.H_cycles):
            for _ in range(config.L_cycles):
                z_L = self.L_level(z_L, z_H + x, rope, visible)
                all_L.append(z_L)
            z_H = self.H_level(z_H, z_L, rope, visible)
            all_H.append(z_H)
        return *self.output(z_H, z_L), *all_H, *all_L

    def decode(
        self, z_H: torch.Tensor, z_L: torch.Tensor, prefix_len: torch.Tensor | None = None
    ) -> Output:
        """Answers of a trial pass of H from any states. Shapes: (B, T, D) each, `prefix_len` (B,)."""
        rope = self.rope
        return self.output(self.H_level(z_H, z_L, rope, self.visible(prefix_len)), z_L)

    def extend(
        self,
        z_H: torch.Tensor,
        z_L: torch.Tensor,
        x: torch.Tensor,
        start: int,
        visible: torch.Tensor | None,
        memory: Sequence[Sequence[KeyValues]],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Think about n positions from `start` on, behind those in `memory`, which has a part for each call of a level.

        Shapes: (B, n, D) each, `visible` (1, 1, n, start + n) -> (B, n, D) for H and for L.
        """
        config, calls = self.config, iter(memory)
        whole = self.rope
        rope = whole and whole.part(start, start + x.shape[1])
        for _ in range(config.H_cycles):
            for _ in range(config.L_cycles):
                z_L = self.L_level(z_L, z_H + x, rope, visible, next(calls))
            z_H = self.H_level(z_H, z_L, rope, visible, next(calls))
        return z_H, z_L


class Lending(nn.Module):
    """Calls a function of the model with weights that are lent for the call."""

    def __init__(self, model: HRM, function: Callable[..., Any]) -> None:
        super().__init__()
        self.model = model
        self.function = function

    def forward(self, *arguments: Any) -> Any:
        """Call the function with the weights that are bound now."""
        return self.function(self.model, *arguments)

    def call(self, weights: dict[str, torch.Tensor], *arguments: Any) -> Any:
        """Call the function with these weights; one thread a model at a time, unless it is compiled."""
        lent = {f"model.{name}": weight for name, weight in weights.items()}
        if torch.compiler.is_compiling():  # into a graph that lends nothing
            return functional_call(self, lent, arguments)
        with self.model.lending:
            return functional_call(self, lent, arguments)
