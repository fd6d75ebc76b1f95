"""Sequences that grow token by token: keys and values of what stands already are kept, not computed again.

For causal and prefix attention, where no position sees a later one. A chunk behind another begins with
the states of that one, as in training.

Shapes: B sequences, n new positions, t those before, N heads, h head size, T positions of a chunk, D hidden.
"""

from typing import NamedTuple, Self

import torch

from hrm_core.config import ModelConfig
from hrm_torch_ref.attention import Kernel

Pair = tuple[torch.Tensor, torch.Tensor]
Parts = tuple[list[torch.Tensor], list[torch.Tensor]]


class KeyValues:
    """Keys and values of one layer in one call of its level."""

    def __init__(
        self, kernel: Kernel, keys: torch.Tensor | None = None, values: torch.Tensor | None = None
    ) -> None:
        self._kernel, self.keys, self.values = kernel, keys, values  # (B, t, N, h) each

    def attend(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        scale: float,
        visible: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Add keys and values of new positions and attend to all. Shapes: (B, n, N, h), `visible` (1, 1, n, t + n)."""
        if self.keys is not None and self.values is not None:
            k = torch.cat([self.keys, k], dim=1)
            v = torch.cat([self.values, v], dim=1)
        self.keys, self.values = k, v
        return self._kernel(q, k, v, scale, visible)

    def copy(self) -> "KeyValues":
        """Return one that grows by itself from here on."""
        return KeyValues(self._kernel, self.keys, self.values)

    def take(self, rows: torch.Tensor) -> "KeyValues":
        """Return those of some sequences."""
        if self.keys is None or self.values is None:
            return self.copy()
        return KeyValues(self._kernel, self.keys[rows], self.values[rows])


class Sequences(NamedTuple):
    """Sequences of one length and all that their next positions need."""

    vectors: torch.Tensor | None  # (B, E) of the puzzle table
    size: int  # B
    chunk: int
    length: int  # positions that are there, puzzle slots included
    prefix_len: int  # first tokens that all see
    memory: list[list[list[KeyValues]]]  # by ACT step, call of a level and layer
    states: Pair | None  # z_H, z_L (B, T, D) that this chunk begins with
    final: Parts  # z_H, z_L of the positions so far

    def copy(self) -> Self:
        """Return sequences that grow by themselves from here on."""
        memory = [[[part.copy() for part in call] for call in step] for step in self.memory]
        return self._replace(memory=memory, final=(list(self.final[0]), list(self.final[1])))

    def take(self, rows: torch.Tensor) -> Self:
        """Return some of them, each as often as it is named."""
        memory = [[[part.take(rows) for part in call] for call in step] for step in self.memory]
        states = None if self.states is None else (self.states[0][rows], self.states[1][rows])
        final = [z[rows] for z in self.final[0]], [z[rows] for z in self.final[1]]
        vectors = None if self.vectors is None else self.vectors[rows]
        return self._replace(
            vectors=vectors, size=len(rows), memory=memory, states=states, final=final
        )


def empty_sequences(
    config: ModelConfig,
    kernel: Kernel,
    vectors: torch.Tensor | None,
    size: int,
    prefix_len: int = 0,
    after: Sequences | None = None,
    steps: int | None = None,
) -> Sequences:
    """Return sequences without a token; `after` is the chunk before this one, `steps` is set to take others than its ACT steps."""
    chunk, states = 0, None
    if after is not None:
        chunk = after.chunk + 1
        states = torch.cat(after.final[0], dim=1), torch.cat(after.final[1], dim=1)
    memory = [_no_memory(config, kernel) for _ in range(steps or config.steps_on(chunk))]
    return Sequences(vectors, size, chunk, 0, prefix_len, memory, states, ([], []))


def _no_memory(config: ModelConfig, kernel: Kernel) -> list[list[KeyValues]]:
    """Return an empty part for each layer of each call of a level."""
    sizes = config.layers_of_calls
    return [[KeyValues(kernel) for _ in range(num_layers)] for num_layers in sizes]


def begun_with(states: Pair | None, fresh: Pair, start: int) -> Pair:
    """Return the states that new positions begin with: those of the chunk before, fresh ones beyond it. Shapes: (B, n, D)."""
    if states is None:
        return fresh
    stop = start + fresh[0].shape[1]
    z_H, z_L = (_filled(z[:, start:stop], new) for z, new in zip(states, fresh, strict=True))
    return z_H, z_L


def _filled(known: torch.Tensor, fresh: torch.Tensor) -> torch.Tensor:
    if known.shape[1] == fresh.shape[1]:
        return known
    return torch.cat([known, fresh[:, known.shape[1] :]], dim=1)


def visible_to_new(
    config: ModelConfig, sequences: Sequences, count: int, device: torch.device
) -> torch.Tensor | None:
    """Return what `count` new positions see; None if each sees all that is there. Shapes: (1, 1, n, t + n) bool."""
    if count == 1:
        return None
    start = sequences.length
    own = torch.arange(start, start + count, device=device)[:, None]
    every = torch.arange(start + count, device=device)
    end = config.puzzle_emb_len + sequences.prefix_len if config.attention == "prefix" else 0
    return ((every <= own) | (every < end))[None, None]
