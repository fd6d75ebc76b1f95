"""Options that several commands share."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from hrm_core.backend import Backend
    from hrm_core.config import ModelConfig

Command = Callable[..., Any]

DIRECTORY = click.Path(path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
seed_option = click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Seed of all random draws.")


@dataclass(frozen=True)
class BackendMaker:
    """Makes the backend that the user chose; only then is its framework loaded."""

    device: Any
    dtype: Any
    compile: Any
    micro_batch: int | None

    def __call__(self, config: "ModelConfig") -> "Backend":
        """Make a backend for a model."""
        from hrm_core.backend import BackendOptions
        from hrm_mlx.backend import MLXBackend

        return MLXBackend(config, BackendOptions(**vars(self)))

    @property
    def arguments(self) -> str:
        """What to type to choose the same again, a space in front of each option."""
        chosen = {name: value for name, value in vars(self).items() if value not in ("auto", None)}
        return "".join(f" --{name.replace('_', '-')} {value}" for name, value in chosen.items())


def backend_options(command: Command) -> Command:
    """Add --backend, --device, --dtype and --compile; the command gets `make_backend`."""

    @click.option("--backend", type=click.Choice(["mlx"]), default="mlx", show_default=True, help="Framework that computes.")
    @click.option("--device", type=click.Choice(["auto", "gpu", "cpu"]), default="auto", show_default=True)
    @click.option(
        "--dtype",
        type=click.Choice(["auto", "float32", "bfloat16"]),
        default="auto",
        show_default=True,
        help="auto: bfloat16 on a GPU, float32 on a CPU.",
    )
    @click.option(
        "--compile", "compiled", type=click.Choice(["auto", "on", "off"]), default="auto", show_default=True, help="auto: on a GPU."
    )
    @functools.wraps(command)
    def wrapped(*args: Any, backend: str, device: Any, dtype: Any, compiled: Any, micro_batch: int | None = None, **kwargs: Any) -> Any:
        return command(*args, make_backend=BackendMaker(device, dtype, compiled, micro_batch), **kwargs)

    return wrapped
