"""The PyTorch side of `hrm_core.backend.Backend`: where tensors live and how they cross.

Shapes: B slots, S tokens, T positions, D hidden, V vocabulary.
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch

from hrm_core import process
from hrm_core.backend import (
    AnyArray,
    Arrays,
    BackendOptions,
    Batch,
    Cycles,
    FloatArray,
    IntArray,
)
from hrm_core.config import ModelConfig, OptimConfig
from hrm_core.errors import BackendError
from hrm_core.parameters import INITIAL_STATES, PUZZLE_TABLE, Role, parameter_table
from hrm_core.schedule import Rates
from hrm_torch_ref import attention, distributed
from hrm_torch_ref.act import Carry, Data, Start, empty_carry, patches_worked_on, worked_on
from hrm_torch_ref.answers import Answers, LazyLogits
from hrm_torch_ref.arrays import at_least_float32, from_numpy, to_numpy
from hrm_torch_ref.compiling import compiled
from hrm_torch_ref.devices import (
    available_memory,
    choose_device,
    device_name,
    gemm_rate,
    peak_memory,
)
from hrm_torch_ref.model import DTYPES, HRM, Lending
from hrm_torch_ref.optim import scalars
from hrm_torch_ref.sequences import Sequences, begun_with, empty_sequences, visible_to_new
from hrm_torch_ref.update import Compiler, Piece, Tensors, TrainState, Updater, working_weights

HEAD = "lm_head.weight"

Value = TypeVar("Value")


class EvalCarry(NamedTuple):
    """State that evaluation hands from ACT step to ACT step."""

    z_H: torch.Tensor  # (B, T, D)
    z_L: torch.Tensor  # (B, T, D)
    x: torch.Tensor  # (B, T, D) the embedded input, which no step changes but the first on a chunk
    steps: torch.Tensor  # (B,) int32
    prefix_len: torch.Tensor | None = None  # (B,) int32
    inputs: torch.Tensor | None = None  # (B, C S) int32, of several chunks
    vectors: torch.Tensor | None = None  # (B, E), of several chunks
    images: torch.Tensor | None = None  # (B, H, W) or (B, C, H, W) uint8, of several chunks


class TorchMetrics:
    """Metrics of an update that may still be running, summed over all processes."""

    def __init__(self, metrics: Tensors) -> None:
        self._names = tuple(metrics)
        self._values: torch.Tensor | list[float] = torch.stack(list(metrics.values()))
        if self._values.device.type == "cpu":
            # they are there; small tensors that wait for a report would keep the heap from closing its holes
            self._values = self._values.tolist()

    def read(self) -> dict[str, float]:
        """Wait for the update and fetch its sums."""
        values = self._values
        if isinstance(values, torch.Tensor):
            values = values.tolist()
        return dict(zip(self._names, values, strict=True))


class TorchBackend:
    """One HRM on one device."""

    def __init__(self, config: ModelConfig, options: BackendOptions | None = None) -> None:
        process.refuse_fork()
        options = options or BackendOptions()
        self.config = config
        self._options = options
        self._device = choose_device(options.device)
        self.replica = distributed.join(self._device)
        on_gpu = self._device.type != "cpu"
        self._dtype_name = (
            options.dtype
            if options.dtype != "auto"
            else config.forward_dtype
            if on_gpu
            else "float32"
        )
        self._dtype = DTYPES[self._dtype_name]
        if self._dtype == torch.float64 and self._device.type == "mps":
            raise BackendError("Apple's GPUs have no float64; use --device cpu or another --dtype")
        self._weight_dtype = torch.promote_types(self._dtype, torch.float32)
        self.is_compiled = options.compile == "on" or (
            options.compile == "auto" and self._device.type == "cuda"
        )
        self._attention = attention.choose(
            options.attention, self._device, self._dtype, config.attention
        )
        self._compiler = self._choose_compiler()
        self._model = HRM(config, self._dtype, self._device, self._attention.kernel)
        self._roles = {name: parameter.role for name, parameter in parameter_table(config).items()}
        self._constants: Tensors = {}
        self._working: Tensors | None = None
        self._state = TrainState(
            {}, {}, {}, {}, None, empty_carry(config, 0, self._dtype, self._device)
        )
        self._updater: Updater | None = None
        self._embed, self._inner = (
            Lending(self._model, HRM.embed),
            Lending(self._model, HRM.__call__),
        )
        self._extend, self._head = Lending(self._model, HRM.extend), Lending(self._model, HRM.head)
        self._think = self._compiler(self._inner.call)
        self._decode = Lending(self._model, HRM.decode)
        self._trace = self._compiler(Lending(self._model, HRM.trace).call)

    def _choose_compiler(self) -> Compiler:
        """torch.compile, if it is wanted: into whole graphs or not at all, but where flash-attn's functions may break them."""
        if not self.is_compiled:
            return lambda function: function
        warnings.filterwarnings(
            "ignore", "TensorFloat32 tensor cores", UserWarning
        )  # float32 products are meant to be float32
        whole = self._attention.name not in attention.FLASH
        speaks = self.replica.rank == 0
        return lambda function: compiled(function, whole, speaks)

    def describe(self) -> dict[str, str]:
        """Describe what results may depend on."""
        return {
            "backend": f"torch {torch.__version__}",
            "device_type": "cpu" if self._device.type == "cpu" else "gpu",
            "device": device_name(self._device),
            "dtype": self._dtype_name,
            "compiled": str(self.is_compiled),
            "attention": self._attention.name,
            "blas": "none"
            if self._device.type != "cpu"
            else "MKL"
            if torch.backends.mkl.is_available()
            else "unknown",
            "threads": str(torch.get_num_threads()),
            "micro_batch": str(self._options.micro_batch or "all"),
            "replicas": str(self.replica.num_replicas),
        }

    def peak_memory(self) -> int:
        """Most bytes held so far: on a GPU those of tensors, on a CPU those of the process."""
        return peak_memory(self._device)

    def available_memory(self) -> int:
        """Bytes of memory that the device still has for this process."""
        return available_memory(self._device)

    def gemm_rate(self) -> float:
        """FLOP/s of products of 2048 x 2048 in the dtype of activations, measured now."""
        return gemm_rate(self._device, self._dtype)

    def gather(self, value: Value) -> list[Value]:
        """Return the values of all processes."""
        return distributed.gathered_values(value, self.replica)

    def weights(self) -> Arrays:
        """Every tensor of the weight table, float32; in a float64 backend float64."""
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
        tensors = {
            name: from_numpy(weights[name], self._device).to(self._weight_dtype)
            for name in self._roles
        }
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
        return Start(*(self._constants[name].to(self._dtype) for name in INITIAL_STATES))

    @property
    def _unmoved(self) -> Tensors:
        """Weights that a forward computes with and no update moves, in the dtype of activations: a Q head that is not trained."""
        unmoved = {name: w for name, w in self._constants.items() if name not in INITIAL_STATES}
        return working_weights(unmoved, self._dtype)

    def begin_training(self, optim: OptimConfig, batch_size: int) -> None:
        """Make fresh optimizer state and a carry in which every slot is halted."""
        process.refuse_fork()
        m, v = (
            {name: torch.zeros_like(weight) for name, weight in self._state.weights.items()}
            for _ in range(2)
        )
        slots = batch_size // self.replica.num_replicas
        first_slot = self.replica.rank * slots
        carry = empty_carry(self.config, slots, self._dtype, self._device, first_slot)
        self._optim = optim
        self._state = self._state._replace(m=m, v=v, carry=carry)
        self._updater = Updater(
            self._model,
            self._start,
            self._unmoved,
            optim,
            batch_size,
            self._options.micro_batch,
            self._compiler,
            self.replica,
        )

    def update(self, batch: Batch, min_steps: IntArray, rates: Rates) -> TorchMetrics:
        """One ACT step of every slot and one optimizer update. Nothing is waited for."""
        wide = (
            torch.float32 if self._device.type == "mps" else torch.float64
        )  # Apple's GPUs have no float64
        metrics = {
            name: value.to(wide)
            for name, value in self._advance(batch, min_steps, rates).step.metrics.items()
        }
        return TorchMetrics(distributed.summed(metrics, self.replica))

    def trace_update(self, batch: Batch, min_steps: IntArray, rates: Rates) -> Arrays:
        """The same update, with everything that went into it."""
        head = working_weights(self._state.weights, self._dtype)[HEAD].clone()
        result = self._advance(batch, min_steps, rates)
        step, data = result.step, result.step.carry.data
        logits = self._logits(step.output.logits, head)
        named = {
            "logits": at_least_float32(logits[:]),
            "q_halt_logits": step.output.q_halt_logits,
            "q_continue_logits": step.output.q_continue_logits,
            "target_q_continue": step.target_q_continue,
            "steps": step.carry.steps,
            "halted": step.carry.halted,
            "z_H": at_least_float32(step.carry.z_H),
            "z_L": at_least_float32(step.carry.z_L),
            "loss": step.total * len(batch.inputs),
            **{f"current/{name}": tensor for name, tensor in _present(data).items()},
            **{f"metrics/{name}": tensor for name, tensor in step.metrics.items()},
            **{f"grad/{name}": tensor for name, tensor in result.gradients.items()},
        }
        if result.puzzle_gradients is not None:
            named["puzzle_grad_local"] = result.puzzle_gradients
        return {
            name: to_numpy(tensor).copy() for name, tensor in named.items()
        }  # the carry is written in place

    def _advance(self, batch: Batch, min_steps: IntArray, rates: Rates) -> Piece:
        process.refuse_fork()
        if self._updater is None:
            raise RuntimeError("begin_training comes before the first update")
        self._working = None
        average = {}
        if rates.average_decay is not None:
            weights = self._state.weights
            average = self._state.average or {name: w.clone() for name, w in weights.items()}
        self._state = self._state._replace(average=average)
        factors = scalars(rates, self._optim, self._weight_dtype, self._device)
        return self._updater.run(self._state, self._data(batch), self._tensor(min_steps), factors)

    def state(self) -> Arrays:
        """Optimizer state, the carry of all processes and the data it works on; float64 weights too, as a checkpoint's are float32."""
        carry = self._state.carry
        slots = {
            **{f"carry.{name}": getattr(carry, name) for name in ("z_H", "z_L", "steps", "halted")},
            **{f"carry.{name}": tensor for name, tensor in _present(carry.data).items()},
        }
        named = {
            **{f"m.{name}": tensor for name, tensor in self._state.m.items()},
            **{f"v.{name}": tensor for name, tensor in self._state.v.items()},
            **{name: distributed.gathered(tensor, self.replica) for name, tensor in slots.items()},
        }
        average = self._state.average
        named |= {f"raw.{name}": self._state.weights[name] for name in average}
        if self._weight_dtype == torch.float64:
            table = {} if self._state.table is None else {PUZZLE_TABLE: self._state.table}
            model = {**(average or self._state.weights), **table}
            named |= {f"w.{name}": tensor for name, tensor in model.items()}
        return {name: to_numpy(tensor) for name, tensor in named.items()}

    def load_state(self, state: Arrays) -> None:
        """Continue from what `state` gave, with `averaged_weights` of then loaded, each process with its slots."""
        slots = len(self._state.carry.steps)
        mine = slice(self.replica.rank * slots, (self.replica.rank + 1) * slots)

        def tensor(name: str) -> torch.Tensor:
            return from_numpy(np.ascontiguousarray(state[f"carry.{name}"][mine]), self._device)

        rows: list[Any] = [
            tensor(name) if f"carry.{name}" in state else None for name in Data._fields
        ]
        if self._weight_dtype == torch.float64:
            weights = {
                name: array for name, array in self.weights().items() if f"w.{name}" not in state
            }
            self.load_weights(
                {
                    **weights,
                    **{name[2:]: array for name, array in state.items() if name.startswith("w.")},
                }
            )

        def tensors(kind: str) -> Tensors:
            return {
                name: from_numpy(state[f"{kind}.{name}"], self._device).to(self._weight_dtype)
                for name in self._state.weights
            }

        if any(name.startswith("raw.") for name in state):
            self._state = self._state._replace(weights=tensors("raw"), average=self._state.weights)
        self._working = None
        self._state = self._state._replace(
            m=tensors("m"),
            v=tensors("v"),
            carry=Carry(
                tensor("z_H").to(self._dtype),
                tensor("z_L").to(self._dtype),
                tensor("steps"),
                tensor("halted"),
                Data(*rows),
            ),
        )

    @torch.inference_mode()
    def begin(self, batch: Batch) -> EvalCarry:
        """A carry for evaluation, every slot at its first ACT step."""
        process.refuse_fork()
        ids = self._tensor(batch.puzzle_identifiers)
        vectors = self._state.table[ids] if self._state.table is not None else None
        inputs, steps = self._tensor(batch.inputs), torch.zeros_like(ids)
        images = self._images(batch)
        x = self._embedded(inputs, vectors, images, steps)
        z_H, z_L = (z.expand_as(x) for z in self._start)
        carry = EvalCarry(z_H, z_L, x, steps, self._prefix_len(batch))
        if self.config.num_chunks > 1:
            return carry._replace(inputs=inputs, vectors=vectors, images=images)
        return carry

    @torch.inference_mode()
    def step(self, carry: EvalCarry) -> tuple[EvalCarry, Answers]:
        """One ACT step of every slot, without halting."""
        carry, answers, _ = self._stepped(carry, self._think)
        return carry, answers

    @torch.inference_mode()
    def trace(self, carry: EvalCarry) -> tuple[EvalCarry, Answers, Cycles]:
        """The same ACT step, with the states of every cycle."""
        carry, answers, states = self._stepped(carry, self._trace)
        found = [to_numpy(at_least_float32(z)) for z in states]
        num_H = self.config.H_cycles
        return carry, answers, Cycles(np.stack(found[:num_H]), np.stack(found[num_H:]))

    @torch.inference_mode()
    def decode(self, carry: EvalCarry, z_H: FloatArray, z_L: FloatArray) -> Answers:
        """Answers that a trial pass of H gives from these states: lm_head(H(z_H, z_L))."""
        working = self._working_weights()
        state_H, state_L = (self._tensor(z).to(self._dtype) for z in (z_H, z_L))
        output = self._decode.call(working, state_H, state_L, carry.prefix_len)
        logits = self._logits(output.logits, working[HEAD])
        return Answers(
            logits, output.q_halt_logits, output.q_continue_logits, self.config.loss_type
        )

    def _stepped(
        self, carry: EvalCarry, think: Callable[..., tuple[torch.Tensor, ...]]
    ) -> tuple[EvalCarry, Answers, list[torch.Tensor]]:
        """One ACT step by a function whose result begins with the fields of Output; the rest comes last."""
        working = self._working_weights()
        if carry.inputs is not None:
            x = self._embedded(carry.inputs, carry.vectors, carry.images, carry.steps)
            carry = carry._replace(x=x)
        z_H, z_L, said, q_halt, q_continue, *rest = think(
            working, carry.z_H, carry.z_L, carry.x, carry.prefix_len
        )
        carry = carry._replace(z_H=z_H, z_L=z_L, steps=carry.steps + 1)
        logits = self._logits(said, working[HEAD])
        return carry, Answers(logits, q_halt, q_continue, self.config.loss_type), rest

    @torch.inference_mode()
    def take(self, carry: EvalCarry, slots: IntArray) -> EvalCarry:
        """The carry of these slots only."""
        chosen = self._tensor(slots)
        return _mapped(lambda tensor: tensor[chosen], carry)

    @torch.inference_mode()
    def join(self, first: EvalCarry, second: EvalCarry) -> EvalCarry:
        """One carry with the slots of both."""
        return _mapped(lambda *pair: torch.cat(pair), first, second)

    @torch.inference_mode()
    def perturb(self, carry: EvalCarry, noise_H: FloatArray, noise_L: FloatArray) -> EvalCarry:
        """Add noise (B, T, D) to z_H and z_L."""
        z_H, z_L = (
            z + self._tensor(noise).to(self._dtype)
            for z, noise in ((carry.z_H, noise_H), (carry.z_L, noise_L))
        )
        return carry._replace(z_H=z_H, z_L=z_L)

    def begin_sequences(
        self,
        puzzle_identifiers: IntArray,
        prefix_len: int = 0,
        after: Sequences | None = None,
        steps: int | None = None,
    ) -> Sequences:
        """Sequences (B,) without a token; `after` is the chunk before this one."""
        process.refuse_fork()
        ids = self._tensor(puzzle_identifiers)
        vectors = self._state.table[ids] if self._state.table is not None else None
        kernel = attention.eager if self._dtype == torch.float64 else attention.sdpa
        return empty_sequences(self.config, kernel, vectors, len(ids), prefix_len, after, steps)

    @torch.inference_mode()
    def extend(self, sequences: Sequences, tokens: IntArray) -> tuple[Sequences, Answers]:
        """All ACT steps of a chunk for tokens (B, n) behind those that are there."""
        working = self._working_weights()
        sequences, count = sequences.copy(), tokens.shape[1]
        start, is_first = sequences.length, sequences.length == 0
        vectors = sequences.vectors if is_first else None
        x = self._embed.call(working, self._tensor(tokens), vectors, None, start)
        stop = start + x.shape[1]
        fresh_H, fresh_L = (z.expand_as(x) for z in self._start)
        z_H, z_L = begun_with(sequences.states, (fresh_H, fresh_L), start)
        visible = visible_to_new(self.config, sequences, stop - start, self._device)
        for memory in sequences.memory:
            z_H, z_L = self._extend.call(working, z_H, z_L, x, start, visible, memory)
        sequences.final[0].append(z_H)
        sequences.final[1].append(z_L)
        said, none = self._head.call(working, z_H[:, -count:]), z_H.new_zeros(len(tokens))
        logits = self._logits(said, working[HEAD])
        answers = Answers(logits, none, none, self.config.loss_type)
        return sequences._replace(length=stop), answers

    @torch.inference_mode()
    def take_sequences(self, sequences: Sequences, rows: IntArray) -> Sequences:
        """Some sequences, each as often as it is named."""
        return sequences.take(self._tensor(rows))

    def carry_arrays(self, carry: EvalCarry) -> Arrays:
        """z_H, z_L (B, T, D), steps, halted (B,) of a carry."""
        named = {
            "z_H": at_least_float32(carry.z_H),
            "z_L": at_least_float32(carry.z_L),
            "steps": carry.steps,
            "halted": carry.steps >= self.config.halt_max_steps,
        }
        return {name: to_numpy(tensor) for name, tensor in named.items()}

    def _logits(self, said: torch.Tensor, head: torch.Tensor) -> torch.Tensor | LazyLogits:
        return LazyLogits(said, head) if self.config.has_large_vocabulary else said

    def _working_weights(self) -> Tensors:
        process.refuse_fork()
        if self._working is None:
            weights = self._state.average or self._state.weights
            self._working = {**working_weights(weights, self._dtype), **self._unmoved}
        return self._working

    def _tensor(self, array: AnyArray) -> torch.Tensor:
        """Values that the device reads; the caller may go on to write into the array on the host."""
        return torch.tensor(array).to(self._device, non_blocking=True)

    def _prefix_len(self, batch: Batch) -> torch.Tensor | None:
        if self.config.attention != "prefix":
            return None
        assert batch.prefix_len is not None, "Split.check_serves has seen to that"
        return self._tensor(batch.prefix_len)

    def _images(self, batch: Batch) -> torch.Tensor | None:
        if not self.config.patch_size:
            return None
        assert batch.images is not None, "Split.check_serves has seen to that"
        return self._tensor(batch.images)

    def _embedded(
        self,
        inputs: torch.Tensor,
        vectors: torch.Tensor | None,
        images: torch.Tensor | None,
        steps: torch.Tensor,
    ) -> torch.Tensor:
        """Embed the chunk that each slot works on. Shapes: (B, T, D)."""
        patches = patches_worked_on(images, steps, self.config)
        chunk = worked_on(inputs, steps, self.config)
        x: torch.Tensor = self._embed.call(self._working_weights(), chunk, vectors, patches)
        return x

    def _data(self, batch: Batch) -> Data:
        return Data(
            self._tensor(batch.inputs),
            self._tensor(batch.labels),
            self._tensor(batch.puzzle_identifiers),
            self._prefix_len(batch),
            self._images(batch),
        )


def _mapped(function: Callable[..., torch.Tensor], *carries: EvalCarry) -> EvalCarry:
    """A carry of what a function makes of each tensor of some; those that this model has not stay away."""
    columns = zip(*carries, strict=True)
    found: list[Any] = [None if column[0] is None else function(*column) for column in columns]
    return EvalCarry(*found)


def _present(data: Data) -> Tensors:
    """The tensors of rows that this model has, by name."""
    return {name: tensor for name, tensor in data._asdict().items() if tensor is not None}
