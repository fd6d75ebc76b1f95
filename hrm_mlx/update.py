"""One update as a pure function from state to state, cut into pieces of slots.

Micro-batches run one after the other; the workers share each of them. Each slot is computed on its own: only
gradients and metrics are summed over pieces, and over processes.
Shapes: B slots, E puzzle_emb_ndim.
"""

from collections.abc import Sequence
from functools import reduce
from typing import Any, Literal, NamedTuple

import mlx.core as mx
from mlx.utils import tree_map, tree_unflatten

from hrm_core.backend import Replica
from hrm_core.config import OptimConfig
from hrm_mlx.act import Carry, Data, Start, StepLoss, refill, step_loss
from hrm_mlx.distributed import gathered, summed
from hrm_mlx.model import HRM
from hrm_mlx.optim import Scalars, adam_atan2, averaged, sign_sgd
from hrm_mlx.workers import Workers, split

Tensors = dict[str, mx.array]
PUZZLE_VECTORS = "puzzle_vectors"  # stands among the weights while gradients are taken
METRIC = "metric."  # before the names of metrics that stand among gradients
NOTHING = mx.array(0.0)
Compiled = Literal["update", "optimizer", "nothing"]


def choose_compiled(option: str, on_gpu: bool, is_metal: bool) -> Compiled:
    """Choose what of an update is compiled: with "auto" all of it on Metal, the optimizer on CUDA.

    CUDA compiles each fused kernel 42 times, for as many forms of its arrays. A whole update has
    some 30 kernels, most of them of the loss and used once; the optimizer has one for all weights.
    """
    if option == "on" or (option == "auto" and on_gpu and is_metal):
        return "update"
    return "optimizer" if option == "auto" and on_gpu else "nothing"


class TrainState(NamedTuple):
    """All that one update hands to the next."""

    weights: Tensors  # float32, what Adam-atan2 moves
    m: Tensors
    v: Tensors
    average: Tensors  # of the weights, over updates; empty where none is asked for
    table: mx.array | None  # (R, E) puzzle vectors
    carry: Carry


class Piece(NamedTuple):
    """Contribution of some slots to an update."""

    gradients: Tensors  # float32; of the weights
    puzzle_gradients: mx.array | None  # (B, E)
    step: StepLoss


class Updated(NamedTuple):
    """One tensor after Adam-atan2, and the gradient that moved it."""

    weight: mx.array
    m: mx.array
    v: mx.array
    gradient: mx.array
    average: mx.array | None


class Updater:
    """Computes updates of one model with one choice of pieces."""

    def __init__(
        self,
        model: HRM,
        workers: Workers,
        start: Start,
        unmoved: Tensors,
        optim: OptimConfig,
        batch_size: int,
        micro_batch: int | None,
        compiled: Compiled,
        on_gpu: bool,
        replica: Replica,
    ) -> None:
        self._model, self._workers, self._start, self._optim, self._batch_size = (
            model,
            workers,
            start,
            optim,
            batch_size,
        )
        self._unmoved, self._replica = unmoved, replica
        self._staggered = model.config.slots_are_staggered
        self._slots = batch_size // replica.num_replicas
        self._groups = split(range(self._slots), -(-self._slots // (micro_batch or self._slots)))
        # not one graph: evaluated on the way
        self._in_steps = compiled != "update" or len(self._groups) > 1
        # a GPU is only handed the work: the host goes on building the graph
        self._evaluate = mx.async_eval if on_gpu else mx.eval
        self.run, self._piece, self._optimize = (
            self._run,
            self._compute_piece,
            self._compute_weights,
        )
        if not self._in_steps:
            self.run = mx.compile(self._run)
            return
        if compiled == "update":
            self._piece = mx.compile(self._compute_piece)
        if compiled != "nothing":
            self._optimize = mx.compile(self._compute_weights)

    def _run(
        self, state: TrainState, batch: Data, min_steps: mx.array, rates: Scalars
    ) -> tuple[TrainState, Piece]:
        working = working_weights(state.weights, self._model.dtype)
        if self._in_steps:
            self._evaluate(working, state, batch, min_steps, rates)
        pieces, gradients = self._compute_pieces(working, state, batch, min_steps)
        del working
        result = _join(pieces)
        table = state.table
        if table is not None:
            table = self._move_rows(
                table, result.step.carry.data.puzzle_identifiers, result.puzzle_gradients, rates
            )
        if self._replica.num_replicas > 1:
            gradients, metrics = self._sum_over_processes(gradients, result.step.metrics, table)
            result = result._replace(step=result.step._replace(metrics=metrics))
        updated = self._optimize(state, gradients, rates)
        weights = {name: each.weight for name, each in updated.items()}
        m = {name: each.m for name, each in updated.items()}
        v = {name: each.v for name, each in updated.items()}
        total = {name: each.gradient for name, each in updated.items()}
        average = {name: each.average for name, each in updated.items() if each.average is not None}
        state = TrainState(weights, m, v, average, table, result.step.carry)
        return state, result._replace(gradients=total)

    def _compute_pieces(
        self, working: Tensors, state: TrainState, batch: Data, min_steps: mx.array
    ) -> tuple[list[Piece], list[Tensors]]:
        """All slots, piece by piece. Returns: the pieces without gradients, and the sums of gradients, one a worker."""
        pieces: list[Piece] = []
        gradients: list[Tensors] = [{} for _ in range(len(self._workers))]

        def compute(part: tuple[Tensors, range]) -> Piece:
            so_far, slots = part
            carry, rows, floor = (
                _rows(tree, slots, self._slots) for tree in (state.carry, batch, min_steps)
            )
            piece = self._piece(working, state.table, carry, rows, floor)
            return piece._replace(gradients=_sum(so_far, piece.gradients))

        for group in self._groups:
            parts = split(group, min(len(self._workers), len(group)))
            new = self._workers.map(compute, list(zip(gradients, parts, strict=False)))
            if self._in_steps:
                self._evaluate(new)  # or the graphs of all micro-batches would be held at once
            gradients[: len(new)] = [piece.gradients for piece in new]
            pieces += [piece._replace(gradients={}) for piece in new]
        return pieces, list(filter(None, gradients))

    def _compute_piece(
        self,
        working: Tensors,
        table: mx.array | None,
        carry: Carry,
        batch: Data,
        min_steps: mx.array,
    ) -> Piece:
        carry = refill(carry, batch, self._start, self._staggered)

        def loss(leaves: Tensors) -> tuple[mx.array, StepLoss]:
            weights = dict(leaves)
            vectors = weights.pop(PUZZLE_VECTORS, None)
            bind(self._model, {**weights, **self._unmoved})
            step = step_loss(self._model, carry, vectors, min_steps, self._batch_size)
            return step.total, step

        leaves = (
            working
            if table is None
            else {**working, PUZZLE_VECTORS: table[carry.data.puzzle_identifiers]}
        )
        (_, step), gradients = mx.value_and_grad(loss)(leaves)
        puzzle_gradients = gradients.pop(PUZZLE_VECTORS, None)
        if puzzle_gradients is not None:
            puzzle_gradients = mx.contiguous(
                puzzle_gradients
            )  # not a view that keeps the gradient of all of x
        bind(
            self._model, dict.fromkeys(working, NOTHING)
        )  # or the model would keep the weights before the update alive
        return Piece(
            {name: g.astype(mx.float32) for name, g in gradients.items()}, puzzle_gradients, step
        )

    def _move_rows(
        self, table: mx.array, ids: mx.array, gradients: mx.array, rates: Scalars
    ) -> mx.array:
        """The puzzle table after sign-SGD on the rows in use, those of all processes, written in place.

        Shapes: (R, E), (B,), (B, E) -> (R, E).
        """
        if self._replica.num_replicas > 1:
            ids = gathered(ids, self._replica)
            gradients = gathered(_after(ids, gradients), self._replica)
            ids = mx.clip(ids, 0, len(table) - 1)  # anything stands there if the transfer failed
        rows = sign_sgd(table[ids], ids, gradients, rates)
        if self._in_steps:
            self._evaluate(rows, ids)  # a table still being read would be copied to be written
        table[ids] = rows  # equal ids write equal rows
        return table

    def _sum_over_processes(
        self, gradients: list[Tensors], metrics: Tensors, table: mx.array | None
    ) -> tuple[list[Tensors], Tensors]:
        """Sum over workers, then over processes, in one transfer after those of the puzzle table."""
        of_all: Tensors = reduce(_sum, gradients)
        total = dict(of_all)
        if table is not None:
            first = next(iter(total))
            total[first] = _after(table, total[first])
        total |= {METRIC + name: value for name, value in metrics.items()}
        total = summed(total, self._replica)
        if self._workers.are_threads:
            mx.eval(total)  # or each of them would transfer
        metrics = {name: total.pop(METRIC + name) for name in metrics}
        return [total], metrics

    def _compute_weights(
        self, state: TrainState, gradients: list[Tensors], rates: Scalars
    ) -> dict[str, Updated]:
        """Adam-atan2 and the average of every tensor, each worker taking about as many elements."""

        def optimize(names: list[str]) -> dict[str, Updated]:
            updated = {}
            for name in names:
                gradient = reduce(mx.add, [part.pop(name) for part in gradients])
                moved = adam_atan2(
                    state.weights[name], state.m[name], state.v[name], gradient, self._optim, rates
                )
                average = None
                if state.average:
                    average = averaged(state.average[name], moved[0], rates)
                updated[name] = Updated(*moved, gradient, average)
            return updated

        parts = self._workers.map(optimize, _balanced(state.weights, len(self._workers)))
        return {name: updated for part in parts for name, updated in part.items()}


def working_weights(weights: Tensors, dtype: mx.Dtype) -> Tensors:
    """Each weight in the dtype of activations; embeddings stay float32 so that their gradients sum in float32."""
    return {
        name: w if name.startswith("embed_") else w.astype(dtype) for name, w in weights.items()
    }


def bind(model: HRM, weights: Tensors) -> None:
    """Let a model compute with these weights."""
    model.update(tree_unflatten(list(weights.items())))


def _after(earlier: mx.array, array: mx.array) -> mx.array:
    """An array that is computed after another one: all processes must transfer in the same order."""
    later: mx.array = mx.depends(array, earlier)
    return later


def _rows(tree: Any, slots: range, num_slots: int) -> Any:
    if len(slots) == num_slots:
        return tree
    return tree_map(lambda array: None if array is None else array[slots.start : slots.stop], tree)


def _balanced(weights: Tensors, parts: int) -> list[list[str]]:
    """Names in groups of about the same number of elements."""
    groups: list[list[str]] = [[] for _ in range(parts)]
    sizes = [0] * parts
    for name in sorted(weights, key=lambda name: -weights[name].size):
        smallest = sizes.index(min(sizes))
        groups[smallest].append(name)
        sizes[smallest] += weights[name].size
    return groups


def _sum(total: Tensors, more: Tensors) -> Tensors:
    return {name: total[name] + array for name, array in more.items()} if total else more


def _join(trees: Sequence[Any]) -> Any:
    """One tree for all slots: arrays of slots side by side, scalars summed."""
    first = trees[0]
    if len(trees) == 1 or first is None:
        return first
    if isinstance(first, dict):
        return {key: _join([tree[key] for tree in trees]) for key in first}
    if isinstance(first, tuple):
        return type(first)(*(_join(column) for column in zip(*trees, strict=True)))
    return mx.concatenate(list(trees)) if first.ndim else reduce(mx.add, trees)
