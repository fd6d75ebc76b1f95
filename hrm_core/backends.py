"""Choose a backend by name, here alone; its framework is not loaded before."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from hrm_core.errors import BackendError

if TYPE_CHECKING:
    from hrm_core.backend import Backend, BackendOptions
    from hrm_core.config import ModelConfig

    Factory = Callable[[ModelConfig, BackendOptions | None], Backend]


class _Home(NamedTuple):
    package: str
    class_name: str  # in backend.py


BACKENDS = {  # the preferred one first
    "mlx": _Home("hrm_mlx", "MLXBackend"),
    "torch": _Home("hrm_torch_ref", "TorchBackend"),
}


def backend_named(name: str) -> "Factory":
    """Import a backend's class.

    Raises: BackendError if there is none of this name or its package is missing.
    """
    if name not in BACKENDS:
        raise BackendError(f"unknown backend {name}; use {' or '.join(BACKENDS)}")
    package, class_name = BACKENDS[name]
    factory: Factory = getattr(import_module(f"{package}.backend"), class_name)
    return factory


def installed_backend() -> str:
    """Return the preferred backend that is installed. Raises: BackendError if none is."""
    missing: list[BackendError] = []
    for name in BACKENDS:
        try:
            backend_named(name)
        except BackendError as error:
            missing.append(error)
        else:
            return name
    raise missing[0]


def device_facts(name: str) -> dict[str, str]:
    """Describe the device of a backend. Raises: BackendError if its package is missing."""
    facts: dict[str, str] = import_module(f"{BACKENDS[name].package}.devices").facts()
    return facts


@dataclass(frozen=True)
class BackendMaker:
    """Makes the backend that the user chose; its framework is loaded only then."""

    backend: str = "mlx"
    device: Any = "auto"
    dtype: Any = "auto"
    compile: Any = "auto"
    attention: Any = "auto"
    micro_batch: int | None = None

    def __call__(self, config: "ModelConfig") -> "Backend":
        """Make a backend for a model.

        Raises: BackendError if its package is missing or it does not support an option.
        """
        from hrm_core.backend import BackendOptions

        options = BackendOptions(
            self.device, self.dtype, self.compile, self.attention, self.micro_batch
        )
        return backend_named(self.backend)(config, options)

    @property
    def arguments(self) -> str:
        """Return the command-line options of this choice, each with a space before it."""
        arguments = ""
        for name, value in vars(self).items():
            if value not in ("mlx", "auto", None):
                arguments += f" --{name.replace('_', '-')} {value}"
        return arguments
