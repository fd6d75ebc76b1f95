"""One update, cut into micro-batches of slots.

Each slot is computed on its own: only gradients and metrics are summed over micro-batches, and over processes.
Shapes: B slots, E puzzle_emb_ndim.
"""

from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any, NamedTuple

import torch

from hrm_core import process
from hrm_core.backend import Replica
from hrm_core.config import OptimConfig
from hrm_core.sizing import LONG
from hrm_torch_ref.act import Carry, Data, Start, StepLoss, refill, step_loss
from hrm_torch_ref.distributed import gathered, summed
from hrm_torch_ref.model import HRM, Lending
from hrm_torch_ref.optim import Scalars, adam_atan2, averaged, sign_sgd

Tensors = dict[str, torch.Tensor]
Compiler = Callable[
    [Callable[..., Any]], Callable[..., Any]
]  # what makes a function faster, or leaves it as it is


class TrainState(NamedTuple):
    """All that one update hands to the next, written in place."""

    weights: Tensors  # float32 or better, what Adam-atan2 moves
    m: Tensors
    v: Tensors
    average: Tensors  # of the weights, over updates; empty where none is asked for
    table: torch.Tensor | None  # (R, E) puzzle vectors
    carry: Carry


class Piece(NamedTuple):
    """Contribution of some slots to an update."""

    gradients: Tensors  # in the dtype of the weights
    puzzle_gradients: torch.Tensor | None  # (B, E)
    step: StepLoss


class Updater:
    """Computes updates of one model with one choice of micro-batches."""

    def __init__(
        self,
        model: HRM,
        start: Start,
        unmoved: Tensors,
        optim: OptimConfig,
        batch_size: int,
        micro_batch: int | None,
        compiler: Compiler,
        replica: Replica,
    ) -> None:
        self._dtype, self._start, self._optim, self._replica = model.dtype, start, optim, replica
        self._unmoved = unmoved
        self._staggered = model.config.slots_are_staggered
        self._step_loss = Lending(model, partial(step_loss, global_batch_size=batch_size))
        slots = range(batch_size // replica.num_replicas)
        self._groups = [
            slots[i : i + (micro_batch or len(slots))]
            for i in range(0, len(slots), micro_batch or len(slots))
        ]
        self._loss, self._optimize = compiler(self._compute_loss), compiler(self._move_weights)

    def run(self, state: TrainState, batch: Data, min_steps: torch.Tensor, rates: Scalars) -> Piece:
        """One ACT step of every slot and one optimizer update; `state` is afterwards that of the next."""
        working = {
            name: w.detach().requires_grad_()
            for name, w in working_weights(state.weights, self._dtype).items()
        }
        gradients: Tensors = {}
        pieces = []
        for slots in self._groups:
            carry, rows, floor = (_rows(tree, slots) for tree in (state.carry, batch, min_steps))
            piece = self._compute_piece(working, state.table, carry, rows, floor)
            gradients = {
                name: gradients[name].add_(g) if gradients else g
                for name, g in piece.gradients.items()
            }
            pieces.append(piece._replace(gradients={}, step=_written(piece.step, carry)))
            if (
                len(self._groups) > 1
                and state.carry.z_H.device.type == "cpu"
                and state.carry.z_H.shape[1] >= LONG
            ):
                process.give_back_freed_memory()
        del working
        gradients, result = summed(gradients, self._replica), _join(pieces)
        with torch.no_grad():
            if state.table is not None:
                self._move_rows(
                    state.table, state.carry.data.puzzle_identifiers, result.puzzle_gradients, rates
                )
            self._optimize(state.weights, state.m, state.v, state.average, gradients, rates)
        return result._replace(gradients=gradients, step=result.step._replace(carry=state.carry))

    def _compute_piece(
        self,
        working: Tensors,
        table: torch.Tensor | None,
        carry: Carry,
        batch: Data,
        min_steps: torch.Tensor,
    ) -> Piece:
        carry = refill(carry, batch, self._start, self._staggered)
        vectors = None if table is None else table[carry.data.puzzle_identifiers].requires_grad_()
        step = self._loss(working, carry, vectors, min_steps)
        leaves = working if vectors is None else {**working, "": vectors}
        gradients = dict(
            zip(leaves, torch.autograd.grad(step.total, list(leaves.values())), strict=True)
        )
        puzzle_gradients = (
            None if vectors is None else gradients.pop("").clone()
        )  # not a view that keeps the gradient of all of x
        step = step._replace(
            total=step.total.detach(),
            output=type(step.output)(*(tensor.detach() for tensor in step.output)),
        )
        return Piece(
            {
                name: g.to(torch.promote_types(g.dtype, torch.float32))
                for name, g in gradients.items()
            },
            puzzle_gradients,
            step,
        )

    def _compute_loss(
        self, working: Tensors, carry: Carry, vectors: torch.Tensor | None, min_steps: torch.Tensor
    ) -> StepLoss:
        lent = {**working, **self._unmoved}
        loss: StepLoss = self._step_loss.call(lent, carry, vectors, min_steps)
        return loss

    def _move_rows(
        self, table: torch.Tensor, ids: torch.Tensor, gradients: torch.Tensor, rates: Scalars
    ) -> None:
        """Sign-SGD on the rows in use, those of all processes, in place. Shapes: (R, E), (B,), (B, E)."""
        ids, gradients = gathered(ids, self._replica), gathered(gradients, self._replica)
        table[ids] = sign_sgd(table[ids], ids, gradients, rates)  # equal ids write equal rows

    def _move_weights(
        self,
        weights: Tensors,
        m: Tensors,
        v: Tensors,
        average: Tensors,
        gradients: Tensors,
        rates: Scalars,
    ) -> None:
        """Adam-atan2 and the average of every tensor, in place."""
        for name, weight in weights.items():
            adam_atan2(weight, m[name], v[name], gradients[name], self._optim, rates)
            if average:
                averaged(average[name], weight, rates)


def working_weights(weights: Tensors, dtype: torch.dtype) -> Tensors:
    """Each weight in the dtype of activations; embeddings stay float32 so that their gradients sum in float32."""
    return {name: w if name.startswith("embed_") else w.to(dtype) for name, w in weights.items()}


def _rows(tree: Any, slots: range) -> Any:
    """The rows of these slots of every tensor in a tuple of tuples."""
    if tree is None:
        return None
    if isinstance(tree, torch.Tensor):
        return tree[slots.start : slots.stop]
    return type(tree)(*(_rows(child, slots) for child in tree))


def _written(step: StepLoss, carry: Carry) -> StepLoss:
    """A step without its states and data, which are written over those it came from: no slot has them in memory twice."""
    _copy(step.carry, carry)
    nothing = step.output.z_H.new_empty(
        (0, *step.output.z_H.shape[1:])
    )  # a view would keep all of it
    return step._replace(
        carry=_rows(carry, range(0)), output=step.output._replace(z_H=nothing, z_L=nothing)
    )


def _copy(source: Any, target: Any) -> None:
    """Write every tensor in a tuple of tuples over that in another."""
    if source is None:
        return
    if isinstance(source, torch.Tensor):
        target.copy_(source)
        return
    for new, old in zip(source, target, strict=True):
        _copy(new, old)


def _join(trees: Sequence[Any]) -> Any:
    """One tree for all slots: tensors of slots side by side, scalars summed."""
    first = trees[0]
    if len(trees) == 1 or first is None:
        return first
    if isinstance(first, dict):
        return {key: _join([tree[key] for tree in trees]) for key in first}
    if isinstance(first, tuple):
        return type(first)(*(_join(column) for column in zip(*trees, strict=True)))
    return torch.cat(list(trees)) if first.ndim else reduce(torch.add, trees)
