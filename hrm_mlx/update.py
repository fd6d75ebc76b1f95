"""One update as a pure function from state to state, cut into pieces of slots.

Micro-batches run one after the other; on the CPU, whose elementwise work uses one core a stream, the pieces
of a micro-batch run side by side on one stream a core. Each slot is computed on its own; only gradients and
metrics are summed over pieces.
Shapes: B slots, E puzzle_emb_ndim.
"""

from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Any, NamedTuple

import mlx.core as mx
from mlx.utils import tree_map, tree_unflatten

from hrm_core.config import OptimConfig
from hrm_mlx.act import Carry, Data, Start, StepLoss, refill, step_loss
from hrm_mlx.model import HRM
from hrm_mlx.optim import Scalars, adam_atan2, sign_sgd

Tensors = dict[str, mx.array]
PUZZLE_VECTORS = "puzzle_vectors"  # stands among the weights while gradients are taken


class TrainState(NamedTuple):
    """All that one update hands to the next."""

    weights: Tensors  # float32, what Adam-atan2 moves
    m: Tensors
    v: Tensors
    table: mx.array | None  # (R, E) puzzle vectors
    carry: Carry


class PieceResult(NamedTuple):
    """What a piece of the slots contributes."""

    gradients: Tensors  # float32; of the weights
    puzzle_gradients: mx.array | None  # (B, E)
    step: StepLoss


class Updater:
    """Computes updates of one model with one choice of pieces."""

    def __init__(
        self,
        model: HRM,
        start: Start,
        optim: OptimConfig,
        batch_size: int,
        streams: Sequence[mx.Stream],
        micro_batch: int | None,
        compiled: bool,
    ) -> None:
        self._model, self._start, self._optim = model, start, optim
        self._batch_size, self._streams = batch_size, streams
        self._groups = list(_split(range(batch_size), -(-batch_size // (micro_batch or batch_size))))
        whole = len(self._groups) == 1
        self._piece = mx.compile(self._piece) if compiled and not whole else self._piece  # type: ignore[method-assign]
        self._apply = mx.compile(self._apply) if compiled and not whole else self._apply  # type: ignore[method-assign]
        self.run = mx.compile(self._run) if compiled and whole else self._run

    def _run(self, state: TrainState, batch: Data, min_steps: mx.array, rates: Scalars) -> tuple[TrainState, PieceResult]:
        working = working_weights(state.weights, self._model.dtype)
        results = []
        gradients: Tensors = {}
        for group in self._groups:
            for stream, slots in zip(self._streams, _split(group, min(len(self._streams), len(group))), strict=False):
                with mx.stream(stream):
                    carry, rows, floor = (_rows(tree, slots, self._batch_size) for tree in (state.carry, batch, min_steps))
                    result = self._piece(working, state.table, carry, rows, floor)
                gradients = _sum(gradients, result.gradients)
                results.append(result._replace(gradients={}))
            if len(self._groups) > 1:
                mx.eval(gradients, results)  # or the graphs of all micro-batches would be held at once
        return self._apply(state, _joined(results)._replace(gradients=gradients), rates)

    def _piece(self, working: Tensors, table: mx.array | None, carry: Carry, batch: Data, min_steps: mx.array) -> PieceResult:
        carry = refill(carry, batch, self._start)

        def loss(leaves: Tensors) -> tuple[mx.array, StepLoss]:
            weights = dict(leaves)
            vectors = weights.pop(PUZZLE_VECTORS, None)
            bind(self._model, weights)
            step = step_loss(self._model, carry, vectors, min_steps, self._batch_size)
            return step.total, step

        leaves = working if table is None else {**working, PUZZLE_VECTORS: table[carry.data.puzzle_identifiers]}
        (_, step), gradients = mx.value_and_grad(loss)(leaves)
        puzzle_gradients = gradients.pop(PUZZLE_VECTORS, None)
        return PieceResult({name: g.astype(mx.float32) for name, g in gradients.items()}, puzzle_gradients, step)

    def _apply(self, state: TrainState, result: PieceResult, rates: Scalars) -> tuple[TrainState, PieceResult]:
        weights, m, v = {}, {}, {}
        for stream, names in zip(self._streams, _balanced(state.weights, len(self._streams)), strict=True):
            with mx.stream(stream):
                for name in names:
                    weights[name], m[name], v[name] = adam_atan2(
                        state.weights[name], state.m[name], state.v[name], result.gradients[name], self._optim, rates
                    )
        table = state.table
        if table is not None:
            table = sign_sgd(table, result.step.carry.data.puzzle_identifiers, result.puzzle_gradients, rates)
        bind(self._model, weights)  # lets go of the weights before, so that their memory is used again
        return TrainState(weights, m, v, table, result.step.carry), result


def working_weights(weights: Tensors, dtype: mx.Dtype) -> Tensors:
    """Each weight in the dtype of activations; embeddings stay float32 so that their gradients sum in float32."""
    return {name: w if name.startswith("embed_") else w.astype(dtype) for name, w in weights.items()}


def bind(model: HRM, weights: Tensors) -> None:
    """Let a model compute with these weights."""
    model.update(tree_unflatten(list(weights.items())))


def _split(slots: range, parts: int) -> Iterator[range]:
    """Consecutive parts whose sizes differ by one at most."""
    for i in range(parts):
        yield slots[len(slots) * i // parts : len(slots) * (i + 1) // parts]


def _rows(tree: Any, slots: range, batch_size: int) -> Any:
    if len(slots) == batch_size:
        return tree
    return tree_map(lambda array: array[slots.start : slots.stop], tree)


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


def _joined(results: list[PieceResult]) -> PieceResult:
    """One result for all slots: arrays of slots side by side, scalars summed."""
    return results[0] if len(results) == 1 else _join(results)


def _join(trees: list[Any]) -> Any:
    first = trees[0]
    if isinstance(first, dict):
        return {key: _join([tree[key] for tree in trees]) for key in first}
    if isinstance(first, tuple):
        return type(first)(*(_join(list(column)) for column in zip(*trees, strict=True)))
    if first is None:
        return None
    return mx.concatenate(trees) if first.ndim else reduce(mx.add, trees)
