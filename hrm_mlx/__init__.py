"""HRM in MLX: the whole ACT model, its training update, and what evaluation needs of it."""

from hrm_core.errors import BackendError
from hrm_mlx import allocator, blas

BLAS = blas.load()
allocator.keep_freed_memory()

try:
    import mlx.core as _mlx  # noqa: F401 - after the BLAS, before everything else
except ModuleNotFoundError as error:
    if error.name is None or not error.name.startswith("mlx"):
        raise
    raise BackendError("MLX is not installed; pip install 'hrm-mlx[cpu]' on Linux ([cuda12], [cuda13] for a GPU), 'hrm-mlx' on a Mac") from error
