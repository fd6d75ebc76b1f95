"""HRM in MLX: the whole ACT model, its training update, and what evaluation needs of it.

import hrm_mlx
model = hrm_mlx.load("runs/demo")
print(model.solve("1... ..2. .3.. ...4")[0])
"""

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from hrm_core import process
from hrm_core.errors import BackendError, install_hint
from hrm_mlx import blas

__version__ = version("hrm-mlx")
BLAS = blas.load()
process.keep_freed_memory()

try:
    import mlx.core as _mlx  # noqa: F401 - after the BLAS, before everything else
except ImportError as error:
    if error.name is not None and not error.name.startswith("mlx"):
        raise
    found = (
        "not installed"
        if isinstance(error, ModuleNotFoundError)
        else f"installed, but cannot be loaded ({error})"
    )
    raise BackendError(
        f"MLX is {found}; on a Mac pip install mlx, on Linux {install_hint('cpu')} "
        "(mlx[cuda12] or mlx[cuda13] for a GPU), or use --backend torch"
    ) from error

if TYPE_CHECKING:
    from hrm_core.backend import BackendOptions
    from hrm_core.inference.solving import Solver


def load(
    path: str | Path,
    options: "BackendOptions | None" = None,
    data: str | Path | None = None,
    *,
    backend: str = "mlx",
    device: str | None = None,
) -> "Solver":
    """Load a trained model: a run, a checkpoint folder, a .safetensors file or a shipped model by name.

    Its `solve(puzzles)` gives solutions. `backend` is mlx or torch; `device` is auto, gpu or cpu.

    A damaged checkpoint that is passed over is warned of. `data` is the data set it was trained on, where a model of several puzzles
    does not know them by name.

    Raises: CheckpointError if there is no whole model; PuzzleError if its task is not known; DataError if `data` is another one.
    """
    from hrm_core.inference.loading import load_solver

    return load_solver(path, backend, options, data, device)
