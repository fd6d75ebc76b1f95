"""Record the states of a model while it thinks about puzzles.

A cycle is one pass of level L; level H passes once after every `L_cycles` of them.

Shapes: N puzzles, M of them whose states are kept, B of a batch, A ACT steps, h = H_cycles,
l = H_cycles * L_cycles, S tokens of a chunk, T positions, D hidden.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from hrm_core.backend import Backend, Cycles
from hrm_core.config import ModelConfig
from hrm_core.errors import NotFiniteError
from hrm_core.inference.slots import Questions, batch_of

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.integer]
Advance = Callable[[int], None]

KEPT_BYTES = 256 * 2**20  # of states after each ACT step
PATH_BYTES = 512 * 2**20  # of states after every cycle


@dataclass(frozen=True, eq=False)
class Recording:
    """A model on N puzzles, cycle by cycle."""

    residuals_H: FloatArray  # (A h, N) root mean square change of z_H by each cycle of H
    residuals_L: FloatArray  # (A l, N) the same of z_L
    ends_H: FloatArray  # (A, M, T, D) z_H after each ACT step
    ends_L: FloatArray  # (A, M, T, D)
    tokens: IntArray  # (A, N, S) answers after each ACT step
    q_halt_logits: FloatArray  # (A, N)
    q_continue_logits: FloatArray  # (A, N)
    trials: IntArray  # (A l, N, S) answers of a trial pass of H after each cycle of L; (0, N, S) if not decoded

    @property
    def num_steps(self) -> int:
        """Return A."""
        return len(self.tokens)

    @property
    def num_kept(self) -> int:
        """Return M."""
        return int(self.ends_H.shape[1])


@dataclass(frozen=True, eq=False)
class Paths:
    """States of a few puzzles after every cycle."""

    z_H: FloatArray  # (A h, K, T, D)
    z_L: FloatArray  # (A l, K, T, D)


def num_kept(config: ModelConfig, num_puzzles: int, num_steps: int) -> int:
    """Return the number M of puzzles whose states after each ACT step fit into memory, at least one."""
    one = 2 * 4 * num_steps * config.total_len * config.hidden_size
    return max(1, min(num_puzzles, KEPT_BYTES // one))


def num_paths(config: ModelConfig, num_steps: int) -> int:
    """Return the number of puzzles whose states after every cycle fit into memory, at least one."""
    cycles = num_steps * config.H_cycles * (1 + config.L_cycles)
    return max(1, PATH_BYTES // (4 * cycles * config.total_len * config.hidden_size))


def record(
    backend: Backend,
    questions: Questions,
    num_steps: int,
    batch_size: int,
    decodes: bool = True,
    mixing: np.random.Generator | None = None,
    advance: Advance = lambda num_steps: None,
) -> Recording:
    """Let a model think about puzzles and measure every cycle.

    `mixing` exchanges the states of all puzzles of a batch before they are measured, otherwise at
    each cycle: a control. `advance` receives the number of ACT steps that were taken.

    Raises: NotFiniteError if a state is.
    """
    kept = num_kept(backend.config, len(questions), num_steps)
    parts, start = [], 0
    while start < len(questions):
        end = start + batch_size
        if mixing and end == len(questions) - 1:
            end += 1  # a last puzzle by itself has no other to exchange with
        batch = questions.select(slice(start, end))
        parts.append(
            _record_batch(backend, batch, num_steps, max(0, kept - start), decodes, mixing, advance)
        )
        start = end
    return _joined(parts)


def record_paths(
    backend: Backend,
    questions: Questions,
    num_steps: int,
    mixing: np.random.Generator | None = None,
) -> Paths:
    """Let a model think about a few puzzles at once and keep the states after every cycle."""
    cycles = [step.cycles for step in _steps(backend, questions, num_steps, mixing)]
    z_H, z_L = (np.concatenate(column) for column in zip(*cycles, strict=True))
    return Paths(z_H, z_L)


@dataclass(frozen=True, eq=False)
class _Step:
    """One ACT step of a batch."""

    before: Cycles  # (1, B, T, D) each: the states it starts from
    cycles: Cycles
    tokens: IntArray  # (B, S)
    q_halt_logits: FloatArray  # (B,)
    q_continue_logits: FloatArray  # (B,)
    trials: list[IntArray]  # (B, S) after each cycle of L


def _steps(
    backend: Backend,
    questions: Questions,
    num_steps: int,
    mixing: np.random.Generator | None,
    decodes: bool = False,
) -> Iterator[_Step]:
    """Take ACT steps and hand out each."""
    carry = backend.begin(batch_of(questions, backend.config))
    fresh = backend.carry_arrays(carry)
    before = Cycles(fresh["z_H"][None].copy(), fresh["z_L"][None].copy())
    for _ in range(num_steps):
        carry, answers, cycles = backend.trace(carry)
        trials: list[IntArray] = []
        if decodes:
            every = backend.config.L_cycles
            for cycle, z_L in enumerate(cycles.z_L):
                turn = cycle // every
                z_H = cycles.z_H[turn - 1] if turn else before.z_H[-1]
                trials.append(backend.decode(carry, z_H, z_L).tokens)
        q = answers.q_halt_logits, answers.q_continue_logits
        step = _Step(before, cycles, answers.tokens, *q, trials)
        before = Cycles(cycles.z_H[-1:], cycles.z_L[-1:])
        yield _mixed(step, mixing) if mixing else step


def _mixed(step: _Step, rng: np.random.Generator) -> _Step:
    """Give each puzzle the states and answers of another, drawn anew for every cycle."""
    size = len(step.tokens)

    def exchanged(arrays: Any) -> Any:
        return np.stack([array[others(rng, size)] for array in arrays])

    order = others(rng, size)
    return _Step(
        Cycles(exchanged(step.before.z_H), exchanged(step.before.z_L)),
        Cycles(exchanged(step.cycles.z_H), exchanged(step.cycles.z_L)),
        step.tokens[order],
        step.q_halt_logits[order],
        step.q_continue_logits[order],
        [tokens[others(rng, size)] for tokens in step.trials],
    )


def others(rng: np.random.Generator, size: int) -> IntArray:
    """Draw another puzzle for each of some (B,): a random order in one ring."""
    ring = rng.permutation(size)
    order = np.empty_like(ring)
    order[ring] = np.roll(ring, 1)
    return order


def _record_batch(
    backend: Backend,
    questions: Questions,
    num_steps: int,
    kept: int,
    decodes: bool,
    mixing: np.random.Generator | None,
    advance: Advance,
) -> Recording:
    rows: dict[str, list[Array]] = {field.name: [] for field in fields(Recording)}
    for step in _steps(backend, questions, num_steps, mixing, decodes):
        residuals_H = changes(step.before.z_H, step.cycles.z_H)
        residuals_L = changes(step.before.z_L, step.cycles.z_L)
        if not (np.isfinite(residuals_H).all() and np.isfinite(residuals_L).all()):
            raise NotFiniteError(
                "the model's states are not finite; choose another checkpoint or --dtype float32"
            )
        rows["residuals_H"].append(residuals_H)
        rows["residuals_L"].append(residuals_L)
        rows["ends_H"].append(step.cycles.z_H[-1:, :kept].astype(np.float32))
        rows["ends_L"].append(step.cycles.z_L[-1:, :kept].astype(np.float32))
        rows["tokens"].append(step.tokens[None])
        rows["q_halt_logits"].append(step.q_halt_logits[None])
        rows["q_continue_logits"].append(step.q_continue_logits[None])
        empty = np.empty((0, *step.tokens.shape), np.int32)
        rows["trials"].append(np.stack(step.trials) if step.trials else empty)
        advance(len(questions))
    return Recording(**{name: np.concatenate(parts) for name, parts in rows.items()})


def changes(before: FloatArray, states: FloatArray) -> FloatArray:
    """Root mean square change of states by each cycle. Shapes: (1, B, T, D), (c, B, T, D) -> (c, B)."""
    squares = []
    for previous, state in pairwise([*before, *states]):
        squares.append(np.square(state - previous).mean(axis=(1, 2), dtype=np.float64))
    found: FloatArray = np.sqrt(squares)
    return found


def _joined(parts: list[Recording]) -> Recording:
    """Join recordings of other puzzles: the second axis counts them."""
    arrays = {}
    for field in fields(Recording):
        arrays[field.name] = np.concatenate([getattr(part, field.name) for part in parts], axis=1)
    return Recording(**arrays)
