"""The MLX side of `hrm_core.backend.Backend`: where arrays live and how they cross.

Shapes: B slots, S tokens, T positions, D hidden, V vocabulary.
"""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any, NamedTuple, TypeVar

import mlx.core as mx
import numpy as np

import hrm_mlx
from hrm_core import process
from hrm_core.backend import Arrays, BackendOptions, Batch, Cycles, FloatArray, IntArray
from hrm_core.config import ModelConfig, OptimConfig
from hrm_core.errors import BackendError
from hrm_core.parameters import INITIAL_STATES, PUZZLE_TABLE, Role, parameter_table
from hrm_core.schedule import Rates
from hrm_mlx import distributed
from hrm_mlx.act import Carry, Data, Start, empty_carry, patches_worked_on, worked_on
from hrm_mlx.answers import Answers, LazyLogits
from hrm_mlx.arrays import from_numpy, to_numpy
from hrm_mlx.devices import (
    available_memory,
    choose_device,
    gemm_rate,
    num_cores,
    num_workers,
)
from hrm_mlx.kernels import choose_attention
from hrm_mlx.model import DTYPES, HRM
from hrm_mlx.optim import scalars
from hrm_mlx.sequences import Sequences, begun_with, empty_sequences, visible_to_new
from hrm_mlx.update import (
    Piece,
    Tensors,
    TrainState,
    Updater,
    bind,
    choose_compiled,
    working_weights,
)
from hrm_mlx.workers import shared_workers, split

HEAD = "lm_head.weight"

Value = TypeVar("Value")


class EvalCarry(NamedTuple):
    """State that evaluation hands from ACT step to ACT step."""

    z_H: mx.array  # (B, T, D)
    z_L: mx.array  # (B, T, D)
    x: mx.array  # (B, T, D) the embedded input, which no step changes but the first on a chunk
    steps: mx.array  # (B,) int32
    prefix_len: mx.array | None = None  # (B,) int32
    inputs: mx.array | None = None  # (B, C S) int32, of several chunks
    vectors: mx.array | None = None  # (B, E), of several chunks
    images: mx.array | None = None  # (B, H, W) or (B, C, H, W) uint8, of several chunks


class MLXMetrics:
    """Metrics of an update that may still be running."""

    def __init__(self, metrics: Tensors) -> None:
        self._metrics = metrics

    def read(self) -> dict[str, float]:
        """Wait for the update and fetch its sums."""
        with distributed.needing_all():
            mx.eval(self._metrics)
        return {name: float(to_numpy(value)) for name, value in self._metrics.items()}


class MLXBackend:
    """One HRM on one device."""

    def __init__(self, config: ModelConfig, options: BackendOptions | None = None) -> None:
        process.refuse_fork()
        options = options or BackendOptions()
        self.config = config
        self._options = options
        if options.dtype == "float64":
            raise BackendError(
                "float64 is there to check with, on --backend torch; use --dtype float32 with MLX"
            )
        self._on_gpu = choose_device(options.device)
        self.replica = distributed.join()
        self._dtype_name = (
            options.dtype
            if options.dtype != "auto"
            else config.forward_dtype
            if self._on_gpu
            else "float32"
        )
        self._compiled = choose_compiled(options.compile, self._on_gpu, mx.metal.is_available())
        self.is_compiled = self._compiled == "update"
        self._one_graph = self._on_gpu or self.is_compiled
        self._workers = shared_workers(num_workers(self._one_graph))
        self._attention, kernel = choose_attention(
            options.attention, self._on_gpu, config.attention
        )
        self._model = HRM(config, DTYPES[self._dtype_name], kernel)
        self._roles = {name: parameter.role for name, parameter in parameter_table(config).items()}
        self._constants: Tensors = {}
        self._working: Tensors | None = None
        self._state = TrainState({}, {}, {}, {}, None, empty_carry(config, 0, self._model.dtype))
        self._updater: Updater | None = None
        self._think = self._maybe_compiled(HRM.__call__)
        self._trace = self._maybe_compiled(HRM.trace)

    def describe(self) -> dict[str, str]:
        """Describe what results may depend on."""
        return {
            "backend": f"mlx {version('mlx')}",
            "device_type": "gpu" if self._on_gpu else "cpu",
            "device": str(mx.device_info().get("device_name", mx.default_device())),
            "dtype": self._dtype_name,
            "compiled": "optimizer" if self._compiled == "optimizer" else str(self.is_compiled),
            "attention": self._attention,
            "blas": "none" if self._on_gpu else f"{hrm_mlx.BLAS.name} ({hrm_mlx.BLAS.path})",
            "threads": f"{len(self._workers)} on {num_cores()} cores",
            "micro_batch": str(self._options.micro_batch or "all"),
            "replicas": str(self.replica.num_replicas),
        }

    def peak_memory(self) -> int:
        """Most bytes held on the device so far."""
        return int(mx.get_peak_memory())

    def available_memory(self) -> int:
        """Bytes of memory that the device still has for this process."""
        return available_memory(self._on_gpu)

    def gemm_rate(self) -> float:
        """FLOP/s of products of 2048 x 2048 in the dtype of activations, measured now."""
        return gemm_rate(self._model.dtype, self._one_graph)

    def gather(self, value: Value) -> list[Value]:
        """Return the values of all processes."""
        return distributed.gathered_values(value, self.replica)

    def weights(self) -> Arrays:
        """Every tensor of the weight table, float32."""
        return self._table_of(self._state.weights)

    def averaged_weights(self) -> Arrays:
        """The same, with the average of the weights where updates make one."""
        return self._table_of(self._state.average or self._state.weights)

    def _table_of(self, weights: Tensors) -> Arrays:
        everything = {**weights, **self._constants}
        if self._state.table is not None:
            everything[PUZZLE_TABLE] = self._state.table
        return {name: to_numpy(everything[name]) for name in self._roles}

    def load_weights(self, weights: Arrays) -> None:
        """Take over weights that fit the weight table."""
        process.refuse_fork()
        tensors = {name: from_numpy(weights[name]) for name in self._roles}
        self._constants = {
            name: tensors[name] for name, role in self._roles.items() if role is Role.CONSTANT
        }
        trained = {
            name: tensors[name] for name, role in self._roles.items() if role is Role.TRAINED
        }
        self._state = self._state._replace(
            weights=trained, average={}, table=tensors.get(PUZZLE_TABLE)
        )
        self._working = None

    @property
    def _start(self) -> Start:
        start = Start(*(self._constants[name].astype(self._model.dtype) for name in INITIAL_STATES))
        mx.eval(start)
        return start

    @property
    def _unmoved(self) -> Tensors:
        """Weights that a forward computes with and no update moves, in the dtype of activations: a Q head that is not trained."""
        unmoved = {name: w for name, w in self._constants.items() if name not in INITIAL_STATES}
        unmoved = working_weights(unmoved, self._model.dtype)
        mx.eval(unmoved)
        return unmoved

    def begin_training(self, optim: OptimConfig, batch_size: int) -> None:
        """Make fresh optimizer state and a carry in which every slot is halted."""
        process.refuse_fork()
        zeros = {name: mx.zeros_like(weight) for name, weight in self._state.weights.items()}
        slots = batch_size // self.replica.num_replicas
        first_slot = self.replica.rank * slots
        carry = empty_carry(self.config, slots, self._model.dtype, first_slot)
        self._optim = optim
        self._state = self._state._replace(m=zeros, v=dict(zeros), carry=carry)
        self._updater = Updater(
            self._model,
            self._workers,
            self._start,
            self._unmoved,
            optim,
            batch_size,
            self._options.micro_batch,
            self._compiled,
            self._on_gpu,
            self.replica,
        )

    def update(self, batch: Batch, min_steps: IntArray, rates: Rates) -> MLXMetrics:
        """One ACT step of every slot and one optimizer update. Nothing is waited for."""
        with distributed.needing_all():
            metrics = self._advance(
                batch, min_steps, rates
            ).step.metrics  # all else of the result is let go before it is computed
            (mx.eval if self._workers.are_threads else mx.async_eval)(self._state, metrics)
        return MLXMetrics(metrics)

    def trace_update(self, batch: Batch, min_steps: IntArray, rates: Rates) -> Arrays:
        """The same update, with everything that went into it."""
        head = working_weights(self._state.weights, self._model.dtype)[HEAD]
        result = self._advance(batch, min_steps, rates)
        step, data = result.step, result.step.carry.data
        logits = self._logits(step.output.logits, head)
        named = {
            "logits": logits[:].astype(mx.float32),
            "q_halt_logits": step.output.q_halt_logits,
            "q_continue_logits": step.output.q_continue_logits,
            "target_q_continue": step.target_q_continue,
            "steps": step.carry.steps,
            "halted": step.carry.halted,
            "z_H": step.carry.z_H.astype(mx.float32),
            "z_L": step.carry.z_L.astype(mx.float32),
            "loss": step.total * len(batch.inputs),
            **{f"current/{name}": array for name, array in _present(data).items()},
            **{f"metrics/{name}": array for name, array in step.metrics.items()},
            **{f"grad/{name}": array for name, array in result.gradients.items()},
        }
        if result.puzzle_gradients is not None:
            named["puzzle_grad_local"] = result.puzzle_gradients
        mx.eval(self._state, named)
        return {name: to_numpy(array) for name, array in named.items()}

    def _advance(self, batch: Batch, min_steps: IntArray, rates: Rates) -> Piece:
        process.refuse_fork()
        if self._updater is None:
            raise RuntimeError("begin_training comes before the first update")
        self._working = None
        average = {}
        if rates.average_decay is not None:
            average = self._state.average or self._state.weights
        self._state, result = self._updater.run(
            self._state._replace(average=average),
            self._data(batch),
            mx.array(min_steps),
            scalars(rates, self._optim),
        )
        return result

    def state(self) -> Arrays:
        """Optimizer state, the carry of all processes and the data it works on."""
        carry = self._state.carry
        slots = {
            **{f"carry.{name}": getattr(carry, name) for name in ("z_H", "z_L", "steps", "halted")},
            **{f"carry.{name}": array for name, array in _present(carry.data).items()},
        }
        with distributed.needing_all():
            for name, array in slots.items():
                slots[name] = distributed.gathered(array, self.replica)
                mx.eval(slots[name])  # one after the other: the same order in all processes
        named = {
            **{f"m.{name}": array for name, array in self._state.m.items()},
            **{f"v.{name}": array for name, array in self._state.v.items()},
            **{f"raw.{name}": self._state.weights[name] for name in self._state.average},
            **slots,
        }
        return {name: to_numpy(array) for name, array in named.items()}

    def load_state(self, state: Arrays) -> None:
        """Continue from what `state` gave, with `averaged_weights` of then loaded, each process with its slots."""
        slots = len(self._state.carry.steps)
        mine = slice(self.replica.rank * slots, (self.replica.rank + 1) * slots)
        carry = {
            name.removeprefix("carry."): from_numpy(array[mine])
            for name, array in state.items()
            if name.startswith("carry.")
        }
        rows: list[Any] = [carry.get(name) for name in Data._fields]
        z_H, z_L = (carry[name].astype(self._model.dtype) for name in ("z_H", "z_L"))

        def tensors(kind: str) -> Tensors:
            return {
                name: from_numpy(state[f"{kind}.{name}"].astype(np.float32, copy=False))
                for name in self._state.weights
            }

        if any(name.startswith("raw.") for name in state):
            self._state = self._state._replace(weights=tensors("raw"), average=self._state.weights)
        self._working = None
        self._state = self._state._replace(
            m=tensors("m"),
            v=tensors("v"),
            carry=Carry(z_H, z_L, carry["steps"], carry["halted"], Data(*rows)),
        )

    def begin(self, batch: Batch) -> EvalCarry:
        """A carry for evaluation, every slot at its first ACT step."""
        process.refuse_fork()
        bind(self._model, self._working_weights())
        ids = mx.array(batch.puzzle_identifiers)
        vectors = self._state.table[ids] if self._state.table is not None else None
        inputs, steps = mx.array(batch.inputs), mx.zeros((len(ids),), mx.int32)
        images = self._images(batch)
        x = self._embedded(inputs, vectors, images, steps)
        z_H, z_L = (mx.broadcast_to(z, x.shape) for z in self._start)
        carry = EvalCarry(z_H, z_L, x, steps, self._prefix_len(batch))
        if self.config.num_chunks > 1:
            return carry._replace(inputs=inputs, vectors=vectors, images=images)
        return carry

    def step(self, carry: EvalCarry) -> tuple[EvalCarry, Answers]:
        """One ACT step of every slot, without halting."""
        carry, answers, _ = self._stepped(carry, self._think)
        return carry, answers

    def trace(self, carry: EvalCarry) -> tuple[EvalCarry, Answers, Cycles]:
        """The same ACT step, with the states of every cycle."""
        carry, answers, states = self._stepped(carry, self._trace)
        found = [to_numpy(z.astype(mx.float32)) for z in states]
        num_H = self.config.H_cycles
        return carry, answers, Cycles(np.stack(found[:num_H]), np.stack(found[num_H:]))

    def decode(self, carry: EvalCarry, z_H: FloatArray, z_L: FloatArray) -> Answers:
        """Answers that a trial pass of H gives from these states: lm_head(H(z_H, z_L))."""
        working = self._working_weights()
        bind(self._model, working)
        state_H, state_L = (mx.array(z).astype(self._model.dtype) for z in (z_H, z_L))
        output = self._model.decode(state_H, state_L, carry.prefix_len)
        mx.eval(output)
        logits = self._logits(output.logits, working[HEAD])
        return Answers(
            logits, output.q_halt_logits, output.q_continue_logits, self.config.loss_type
        )

    def _stepped(
        self, carry: EvalCarry, think: Callable[..., tuple[mx.array, ...]]
    ) -> tuple[EvalCarry, Answers, list[mx.array]]:
        """One ACT step by a function whose result begins with the fields of Output; the rest comes last."""
        working = self._working_weights()
        if carry.inputs is not None:
            bind(self._model, working)
            x = self._embedded(carry.inputs, carry.vectors, carry.images, carry.steps)
            carry = carry._replace(x=x)
        mx.eval(working, carry)

        def think_about(slots: range) -> tuple[mx.array, ...]:
            rows = slice(slots.start, slots.stop)
            prefix_len = None if carry.prefix_len is None else carry.prefix_len[rows]
            return think(working, carry.z_H[rows], carry.z_L[rows], carry.x[rows], prefix_len)

        size = len(carry.steps)
        parts = self._workers.map(think_about, split(range(size), min(len(self._workers), size)))
        z_H, z_L, said, q_halt, q_continue, *rest = (
            mx.concatenate(list(column)) for column in zip(*parts, strict=True)
        )
        carry = carry._replace(z_H=z_H, z_L=z_L, steps=carry.steps + 1)
        mx.eval(carry, said, q_halt, q_continue, rest)
        logits = self._logits(said, working[HEAD])
        return carry, Answers(logits, q_halt, q_continue, self.config.loss_type), rest

    def take(self, carry: EvalCarry, slots: IntArray) -> EvalCarry:
        """The carry of these slots only."""
        chosen = mx.array(slots)
        return _mapped(lambda array: array[chosen], carry)

    def join(self, first: EvalCarry, second: EvalCarry) -> EvalCarry:
        """One carry with the slots of both."""
        return _mapped(lambda *pair: mx.concatenate(list(pair)), first, second)

    def perturb(self, carry: EvalCarry, noise_H: FloatArray, noise_L: FloatArray) -> EvalCarry:
        """Add noise (B, T, D) to z_H and z_L."""
        dtype = self._model.dtype
        return carry._replace(
            z_H=carry.z_H + mx.array(noise_H).astype(dtype),
            z_L=carry.z_L + mx.array(noise_L).astype(dtype),
        )

    def begin_sequences(
        self,
        puzzle_identifiers: IntArray,
        prefix_len: int = 0,
        after: Sequences | None = None,
        steps: int | None = None,
    ) -> Sequences:
        """Sequences (B,) without a token; `after` is the chunk before this one."""
        process.refuse_fork()
        ids = mx.array(puzzle_identifiers)
        vectors = self._state.table[ids] if self._state.table is not None else None
        _, kernel = choose_attention(self._options.attention, self._on_gpu, "prefix")
        return empty_sequences(self.config, kernel, vectors, len(ids), prefix_len, after, steps)

    def extend(self, sequences: Sequences, tokens: IntArray) -> tuple[Sequences, Answers]:
        """All ACT steps of a chunk for tokens (B, n) behind those that are there."""
        working = self._working_weights()
        bind(self._model, working)
        sequences, count = sequences.copy(), tokens.shape[1]
        start, is_first = sequences.length, sequences.length == 0
        vectors = sequences.vectors if is_first else None
        x = self._model.embed(mx.array(tokens), vectors, start=start)
        stop = start + x.shape[1]
        fresh_H, fresh_L = (mx.broadcast_to(z, x.shape) for z in self._start)
        z_H, z_L = begun_with(sequences.states, (fresh_H, fresh_L), start)
        visible = visible_to_new(self.config, sequences, stop - start)
        for memory in sequences.memory:
            z_H, z_L = self._model.extend(z_H, z_L, x, start, visible, memory)
        sequences.final[0].append(z_H)
        sequences.final[1].append(z_L)
        said, none = self._model.head(z_H[:, -count:]), mx.zeros((len(tokens),))
        mx.eval(said, z_H, z_L)
        logits = self._logits(said, working[HEAD])
        answers = Answers(logits, none, none, self.config.loss_type)
        return sequences._replace(length=stop), answers

    def take_sequences(self, sequences: Sequences, rows: IntArray) -> Sequences:
        """Some sequences, each as often as it is named."""
        return sequences.take(mx.array(rows))

    def carry_arrays(self, carry: EvalCarry) -> Arrays:
        """z_H, z_L (B, T, D), steps, halted (B,) of a carry."""
        named = {
            "z_H": carry.z_H.astype(mx.float32),
            "z_L": carry.z_L.astype(mx.float32),
            "steps": carry.steps,
            "halted": carry.steps >= self.config.halt_max_steps,
        }
        return {name: to_numpy(array) for name, array in named.items()}

    def _working_weights(self) -> Tensors:
        process.refuse_fork()
        if self._working is None:
            weights = self._state.average or self._state.weights
            self._working = {**working_weights(weights, self._model.dtype), **self._unmoved}
        return self._working

    def _logits(self, said: mx.array, head: mx.array) -> mx.array | LazyLogits:
        return LazyLogits(said, head) if self.config.has_large_vocabulary else said

    def _maybe_compiled(
        self, function: Callable[..., tuple[mx.array, ...]]
    ) -> Callable[..., tuple[mx.array, ...]]:
        """A function of the model that is given the weights it computes with."""

        def call(working: Tensors, *arguments: mx.array | None) -> tuple[mx.array, ...]:
            bind(self._model, working)
            return tuple(function(self._model, *arguments))

        return mx.compile(call) if self.is_compiled else call

    def _prefix_len(self, batch: Batch) -> mx.array | None:
        if self.config.attention != "prefix":
            return None
        assert batch.prefix_len is not None, "Split.check_serves has seen to that"
        return mx.array(batch.prefix_len)

    def _images(self, batch: Batch) -> mx.array | None:
        if not self.config.patch_size:
            return None
        assert batch.images is not None, "Split.check_serves has seen to that"
        return mx.array(batch.images)

    def _embedded(
        self,
        inputs: mx.array,
        vectors: mx.array | None,
        images: mx.array | None,
        steps: mx.array,
    ) -> mx.array:
        """Embed the chunk that each slot works on. Shapes: (B, T, D)."""
        patches = patches_worked_on(images, steps, self.config)
        return self._model.embed(worked_on(inputs, steps, self.config), vectors, patches)

    def _data(self, batch: Batch) -> Data:
        return Data(
            mx.array(batch.inputs),
            mx.array(batch.labels),
            mx.array(batch.puzzle_identifiers),
            self._prefix_len(batch),
            self._images(batch),
        )


def _mapped(function: Callable[..., mx.array], *carries: EvalCarry) -> EvalCarry:
    """A carry of what a function makes of each array of some; those that this model has not stay away."""
    columns = zip(*carries, strict=True)
    found: list[Any] = [None if column[0] is None else function(*column) for column in columns]
    return EvalCarry(*found)


def _present(data: Data) -> Tensors:
    """The arrays of rows that this model has, by name."""
    return {name: array for name, array in data._asdict().items() if array is not None}
