"""The few calls that training, evaluation and parity make on a backend.

Batches and draws go in as numpy arrays, metrics and answers come out as numpy arrays. Carry, weights and
optimizer state stay on the backend's device and cross only as named arrays. No backend draws random
numbers or reads files.

Shapes: B slots, S `seq_len`, P puzzle slots, T = P + S, D hidden, V vocabulary.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

from hrm_core import launchers
from hrm_core.config import ModelConfig, OptimConfig
from hrm_core.schedule import Rates

AnyArray = npt.NDArray[Any]
Arrays = Mapping[str, AnyArray]
IntArray = npt.NDArray[np.int32]
FloatArray = npt.NDArray[np.float32]

Value = TypeVar("Value")

IGNORE_LABEL_ID = -100  # the label of a cell that is not scored, whatever the data set calls it

Sequences = Any  # the backend's own: sequences that grow, with keys and values of their positions
Carry = Any  # the backend's own: z_H, z_L, steps, halted and the batch each slot is working on


@dataclass(frozen=True, eq=False)
class Batch:
    """One row for each slot."""

    inputs: IntArray  # (B, S) tokens
    labels: IntArray  # (B, S) tokens; IGNORE_LABEL_ID where there is none
    puzzle_identifiers: IntArray  # (B,)
    prefix_len: IntArray | None = None  # (B,) first tokens that all see; of attention "prefix"
    images: npt.NDArray[np.uint8] | None = None  # (B, H, W), or (B, C, H, W), a frame a chunk


Device = Literal["auto", "gpu", "cpu"]


@dataclass(frozen=True)
class BackendOptions:
    """Options of a backend. "auto" is bf16, compiled (MLX: on Metal only), on a GPU; f32, eager, on a CPU."""

    device: Device = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float64"] = (
        "auto"  # of activations; float64 only in PyTorch
    )
    compile: Literal["auto", "on", "off"] = "auto"
    attention: Literal["auto", "eager", "sdpa", "flash2", "flash3", "flash4"] = (
        "auto"  # flash-attn only in PyTorch
    )
    micro_batch: int | None = (
        None  # slots that go through the network at once in an update; all if not set
    )


class Replica(NamedTuple):
    """One of the processes that train one model together, each with its slice of the slots."""

    rank: int = 0
    num_replicas: int = 1

    @classmethod
    def of_environment(cls) -> Self:
        """Return the place of this process under torchrun or mlx.launch; else it is the only one."""
        place = launchers.place()
        return cls(place.rank, place.num_processes)


class Top(NamedTuple):
    """The k most likely tokens of each slot at one position, the likeliest first."""

    tokens: IntArray  # (B, k); of equally likely ones the lowest first
    log_probabilities: FloatArray  # (B, k) natural logs of a softmax over the whole vocabulary


class Answers(Protocol):
    """Answers of a model after one ACT step, reduced on the device; each is fetched when it is read."""

    @property
    def tokens(self) -> IntArray:
        """(B, S) the most likely token of each cell; the lowest on a tie."""
        ...

    @property
    def q_halt_logits(self) -> FloatArray:
        """(B,)."""
        ...

    @property
    def q_continue_logits(self) -> FloatArray:
        """(B,)."""
        ...

    def label_losses(self, labels: IntArray) -> FloatArray:
        """Cross entropy of each labelled cell in nats, by the model's loss; 0 where the label is below zero.

        Shapes: (B, S) -> (B, S).
        """
        ...

    def probabilities(self, positions: IntArray, tokens: IntArray) -> FloatArray:
        """Softmax over `tokens` alone at some positions, of all slots or of each.

        Shapes: (P,) or (B, P), (C,) -> (B, P, C).
        """
        ...

    def top(self, position: int | IntArray, k: int) -> Top:
        """The k most likely tokens of each slot at a position, of all slots or of each (B,)."""
        ...

    @property
    def logits(self) -> FloatArray:
        """(B, S, V), for checks alone: everything else takes a reduced answer."""
        ...


class Cycles(NamedTuple):
    """States of every cycle of one ACT step, in order of time, float32 (float64 in a float64 backend)."""

    z_H: FloatArray  # (H_cycles, B, T, D) after each cycle of H
    z_L: FloatArray  # (H_cycles * L_cycles, B, T, D) after each cycle of L


class PendingMetrics(Protocol):
    """Metrics of an update that may still be running."""

    def read(self) -> dict[str, float]:
        """Wait for the sums over the slots: count, accuracy, exact_accuracy, q_halt_accuracy, steps and the losses."""
        ...


class Backend(Protocol):
    """One HRM on one device."""

    config: ModelConfig
    replica: Replica
    is_compiled: bool  # for the shapes it has met: another number of slots is compiled anew

    def describe(self) -> dict[str, str]:
        """Describe what results may depend on.

        Keys: backend and version, device, device_type ("cpu" or "gpu"), dtype, BLAS, threads,
        micro-batch.
        """
        ...

    def peak_memory(self) -> int:
        """Most bytes held on the device so far."""
        ...

    def available_memory(self) -> int:
        """Bytes of memory that the device still has for this process."""
        ...

    def gemm_rate(self) -> float:
        """FLOP/s of products of 2048 x 2048 in the dtype of activations, measured now."""
        ...

    def gather(self, value: Value) -> list[Value]:
        """Return the values of all replicas. All of them must ask."""
        ...

    def weights(self) -> Arrays:
        """Every tensor of the weight table, float32 (float64 in a float64 backend).

        Views where that is possible: read them before the next update.
        """
        ...

    def averaged_weights(self) -> Arrays:
        """The same, with the average of the weights where updates make one (`Rates.average_decay`): a model to be used.

        The puzzle table and constants are not averaged. `begin` and `step` compute with these weights.
        """
        ...

    def load_weights(self, weights: Arrays) -> None:
        """Take over weights that fit the weight table."""
        ...

    def begin_training(self, optim: OptimConfig, batch_size: int) -> None:
        """Make fresh optimizer state and a carry in which every slot is halted, for the weights that were loaded before.

        `batch_size` counts the slots of all replicas; `update` takes those of this one.
        """
        ...

    def update(self, batch: Batch, min_steps: IntArray, rates: Rates) -> PendingMetrics:
        """One ACT step of every slot and one optimizer update. Nothing is waited for.

        An average of the weights begins with the weights before the first update whose rates have a decay of it.
        """
        ...

    def trace_update(self, batch: Batch, min_steps: IntArray, rates: Rates) -> Arrays:
        """The same update, with everything that went into it: see hrm_parity/recorded/README.md for the names.

        logits, q_halt_logits, q_continue_logits, target_q_continue, steps, halted, z_H, z_L (B, T, D), loss, metrics/<name>,
        grad/<weight>, puzzle_grad_local (B, puzzle_emb_ndim), current/<field of Batch>.
        """
        ...

    def state(self) -> Arrays:
        """Optimizer state, carry and the data it works on, of all replicas; with `averaged_weights` all that the next update needs.

        raw.<weight> are the weights beside their average, where there is one. All replicas must ask.
        """
        ...

    def load_state(self, state: Arrays) -> None:
        """Continue from what `state` gave, with `averaged_weights` of then loaded."""
        ...

    def begin(self, batch: Batch) -> Carry:
        """A carry for evaluation, every slot at its first ACT step."""
        ...

    def step(self, carry: Carry) -> tuple[Carry, Answers]:
        """One ACT step of every slot, without halting."""
        ...

    def trace(self, carry: Carry) -> tuple[Carry, Answers, Cycles]:
        """The same ACT step, with the states of every cycle; the last ones are those of the new carry.

        Without compilation all numbers are bit for bit those of `step`.
        """
        ...

    def decode(self, carry: Carry, z_H: FloatArray, z_L: FloatArray) -> Answers:
        """Answers that a trial pass of H gives from these states: lm_head(H(z_H, z_L)).

        The carry, that of an ACT step on the same slots, stays as it is. Shapes: (B, T, D) each.
        Source: arXiv 2506.21734, intermediate answers.
        """
        ...

    def take(self, carry: Carry, slots: IntArray) -> Carry:
        """The carry of these slots only."""
        ...

    def join(self, first: Carry, second: Carry) -> Carry:
        """One carry with the slots of both."""
        ...

    def perturb(self, carry: Carry, noise_H: FloatArray, noise_L: FloatArray) -> Carry:
        """Add noise (B, T, D) to z_H and z_L."""
        ...

    def begin_sequences(
        self,
        puzzle_identifiers: IntArray,
        prefix_len: int = 0,
        after: Sequences | None = None,
        steps: int | None = None,
    ) -> Sequences:
        """Sequences (B,) without a token, for a model whose positions see none behind them.

        `after` is the chunk before this one: each position begins with the states of its own there,
        with fresh ones beyond them. The first `prefix_len` tokens come together. A token takes
        `steps` ACT steps, those of its chunk if that is not set.
        """
        ...

    def extend(self, sequences: Sequences, tokens: IntArray) -> tuple[Sequences, Answers]:
        """All ACT steps of a chunk for tokens (B, n) behind those that are there; answers are those at the new ones.

        The sequences that are given stay as they are.
        """
        ...

    def take_sequences(self, sequences: Sequences, rows: IntArray) -> Sequences:
        """Some sequences, each as often as it is named."""
        ...

    def carry_arrays(self, carry: Carry) -> Arrays:
        """z_H, z_L (B, T, D), steps, halted (B,) of a carry, for checks."""
        ...
