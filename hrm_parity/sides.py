"""Layers, losses and optimizers of each backend behind the same few calls, numpy in and numpy out.

The two packages are twins: the same classes under the same names. What differs is how arrays are made, how gradients are asked
for, and where the heads stand. Each framework is imported when its side is made.
Shapes: B sequences, T positions, N heads, h head size.
"""

from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any, Literal, NamedTuple, Protocol

from hrm_core.backend import AnyArray, Arrays
from hrm_core.config import ModelConfig, OptimConfig
from hrm_core.parameters import network_weights
from hrm_core.schedule import Rates

Function = Callable[[Any], Any]  # from one array of a framework to another
MakeSide = Callable[[ModelConfig, Arrays], "Side"]
Device = Literal["auto", "gpu", "cpu"]


class Moved(NamedTuple):
    """A weight after Adam-atan2, and its moments."""

    weight: AnyArray
    m: AnyArray
    v: AnyArray


class Side(Protocol):
    """The parts of one backend."""

    config: ModelConfig
    layers: ModuleType
    losses: ModuleType
    model: Any  # the package's HRM with weights bound
    rope: Any  # its RotaryEmbedding, or None

    def array(self, values: AnyArray) -> Any:
        """An array of the framework on the device, real numbers in the dtype of this side."""
        ...

    def heads(self, x: Any) -> Any:
        """(B, T, N, h) in the package's own order of axes, or back."""
        ...

    def evaluate(self, function: Function, x: AnyArray) -> AnyArray:
        """function(x)."""
        ...

    def pull_back(self, function: Function, x: AnyArray, cotangent: AnyArray) -> AnyArray:
        """The gradient of sum(cotangent * function(x))."""
        ...

    def adam_atan2(
        self,
        weight: AnyArray,
        m: AnyArray,
        v: AnyArray,
        gradient: AnyArray,
        optim: OptimConfig,
        rates: Rates,
    ) -> Moved:
        """One update of a weight."""
        ...

    def sign_sgd(
        self, rows: AnyArray, ids: AnyArray, gradients: AnyArray, optim: OptimConfig, rates: Rates
    ) -> AnyArray:
        """One update of rows of the puzzle table."""
        ...


class MLXSide:
    """The parts of `hrm_mlx`, float32."""

    def __init__(self, config: ModelConfig, weights: Arrays, device: Device = "auto") -> None:
        from hrm_mlx import arrays, devices, kernels, model, update

        self._mx = import_module("mlx.core")
        self.config, self._arrays = config, arrays
        self.layers, self.losses, self._optim = (
            import_module(f"hrm_mlx.{name}") for name in ("layers", "losses", "optim")
        )
        on_gpu = devices.choose_device(device)
        attention = kernels.choose_attention("auto", on_gpu, config.attention)[1]
        self.model = model.HRM(config, model.DTYPES["float32"], attention)
        update.bind(
            self.model, {name: self.array(weights[name]) for name in network_weights(config)}
        )
        self.rope: Any = self.model._rope[0]

    def array(self, values: AnyArray) -> Any:
        """An array of the framework on the device."""
        return self._arrays.from_numpy(values)

    def heads(self, x: Any) -> Any:
        """(B, T, N, h) to (B, N, T, h), or back."""
        return x.swapaxes(1, 2)

    def evaluate(self, function: Function, x: AnyArray) -> AnyArray:
        """function(x)."""
        return self._numpy(function(self.array(x)))

    def pull_back(self, function: Function, x: AnyArray, cotangent: AnyArray) -> AnyArray:
        """The gradient of sum(cotangent * function(x))."""
        _, (gradient,) = self._mx.vjp(function, [self.array(x)], [self.array(cotangent)])
        return self._numpy(gradient)

    def adam_atan2(
        self,
        weight: AnyArray,
        m: AnyArray,
        v: AnyArray,
        gradient: AnyArray,
        optim: OptimConfig,
        rates: Rates,
    ) -> Moved:
        """One update of a weight."""
        given = (self.array(array) for array in (weight, m, v, gradient))
        moved = self._optim.adam_atan2(*given, optim, self._optim.scalars(rates, optim))
        return Moved(*(self._numpy(array) for array in moved))

    def sign_sgd(
        self, rows: AnyArray, ids: AnyArray, gradients: AnyArray, optim: OptimConfig, rates: Rates
    ) -> AnyArray:
        """One update of rows of the puzzle table."""
        given = (self.array(array) for array in (rows, ids, gradients))
        return self._numpy(self._optim.sign_sgd(*given, self._optim.scalars(rates, optim)))

    def _numpy(self, array: Any) -> AnyArray:
        self._mx.eval(array)
        return self._arrays.to_numpy(array)


class TorchSide:
    """The parts of `hrm_torch_ref`, float32 or float64."""

    def __init__(
        self, config: ModelConfig, weights: Arrays, dtype: str = "float32", device: Device = "auto"
    ) -> None:
        from hrm_torch_ref import arrays, attention, devices, model

        self._torch = import_module("torch")
        self.config, self._arrays = config, arrays
        self._device, self._dtype = devices.choose_device(device), model.DTYPES[dtype]
        self.layers, self.losses, self._optim = (
            import_module(f"hrm_torch_ref.{name}") for name in ("layers", "losses", "optim")
        )
        kernel = attention.choose("auto", self._device, self._dtype, config.attention).kernel
        self.model = model.HRM(config, self._dtype, self._device, kernel)
        self.model.load_state_dict(
            {name: self.array(weights[name]) for name in network_weights(config)},
            assign=True,
            strict=not config.share_levels,  # then the tensors of L_level have two names
        )
        self.rope = self.model.rope

    def array(self, values: AnyArray) -> Any:
        """A tensor on the device, real numbers in the dtype of this side."""
        tensor = self._arrays.from_numpy(values, self._device)
        return tensor.to(self._dtype) if tensor.is_floating_point() else tensor

    def heads(self, x: Any) -> Any:
        """(B, T, N, h) is this package's own order."""
        return x

    def evaluate(self, function: Function, x: AnyArray) -> AnyArray:
        """function(x)."""
        with self._torch.no_grad():
            return self._arrays.to_numpy(function(self.array(x)))

    def pull_back(self, function: Function, x: AnyArray, cotangent: AnyArray) -> AnyArray:
        """The gradient of sum(cotangent * function(x))."""
        leaf = self.array(x).requires_grad_()
        value = function(leaf)
        (gradient,) = self._torch.autograd.grad(value, leaf, self.array(cotangent).to(value.dtype))
        return self._arrays.to_numpy(gradient)

    def adam_atan2(
        self,
        weight: AnyArray,
        m: AnyArray,
        v: AnyArray,
        gradient: AnyArray,
        optim: OptimConfig,
        rates: Rates,
    ) -> Moved:
        """One update of a weight."""
        moved, slope = [self.array(array) for array in (weight, m, v)], self.array(gradient)
        self._optim.adam_atan2(*moved, slope, optim, self._scalars(rates, optim))
        return Moved(*(self._arrays.to_numpy(tensor) for tensor in moved))

    def sign_sgd(
        self, rows: AnyArray, ids: AnyArray, gradients: AnyArray, optim: OptimConfig, rates: Rates
    ) -> AnyArray:
        """One update of rows of the puzzle table."""
        given = (self.array(array) for array in (rows, ids, gradients))
        return self._arrays.to_numpy(self._optim.sign_sgd(*given, self._scalars(rates, optim)))

    def _scalars(self, rates: Rates, optim: OptimConfig) -> Any:
        return self._optim.scalars(rates, optim, self._dtype, self._device)
