"""HRM in PyTorch: the reference that guarantees numerical parity, and the way to train on CUDA.

import hrm_torch_ref
model = hrm_torch_ref.load("runs/demo")
print(model.solve("1... ..2. .3.. ...4")[0])
"""

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from hrm_core import process
from hrm_core.errors import needs_package

__version__ = version("hrm-mlx")
process.keep_freed_memory()
process.limit_spinning()

with needs_package("torch", "PyTorch is not installed", "torch"):
    import torch as _torch  # noqa: F401

if TYPE_CHECKING:
    from hrm_core.backend import BackendOptions
    from hrm_core.inference.solving import Solver


def load(
    path: str | Path,
    options: "BackendOptions | None" = None,
    data: str | Path | None = None,
    *,
    backend: str = "torch",
    device: str | None = None,
) -> "Solver":
    """Load a trained model into PyTorch unless `backend` says mlx, all else as `hrm_mlx.load`."""
    from hrm_core.inference.loading import load_solver

    return load_solver(path, backend, options, data, device)
