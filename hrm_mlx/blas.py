"""A fast BLAS for MLX on Linux, where its CPU wheel is linked against the slow reference one.

A library that exports `cblas_sgemm` takes over if it stands in the process's global symbol scope before
`mlx.core` is imported. macOS has Accelerate and needs nothing of this.
"""

import ctypes
import os
import sys
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from hrm_core import process
from hrm_core.messages import warn


@dataclass(frozen=True)
class Blas:
    """The library that multiplies MLX's float32 matrices on the CPU."""

    name: str
    path: str
    set_num_threads: Callable[[int], None] | None = None  # None where the library cannot be told


@dataclass(frozen=True)
class _Candidate:
    name: str
    path: str
    threads_symbol: str | None


def load() -> Blas:
    """Put the first fast BLAS that is there into the global symbol scope; call it before the first import of MLX."""
    if sys.platform != "linux":
        return Blas("Accelerate", "system")
    if "mlx.core" in sys.modules:
        warn(
            "mlx was imported before hrm_mlx: a fast BLAS can no longer take over; import hrm_mlx first"
        )
        return REFERENCE
    for candidate in _candidates():
        try:
            library = ctypes.CDLL(candidate.path, mode=ctypes.RTLD_GLOBAL)
        except OSError:
            continue
        setter = getattr(library, candidate.threads_symbol) if candidate.threads_symbol else None
        return Blas(candidate.name, candidate.path, setter)
    return REFERENCE


REFERENCE = Blas("reference BLAS", "mlx")


def _candidates() -> Iterator[_Candidate]:
    yield _Candidate("OpenBLAS", "libopenblas.so.0", "openblas_set_num_threads")
    for path in sorted((Path(sysconfig.get_path("data")) / "lib").glob("libmkl_rt.so*")):
        os.environ.setdefault(
            "MKL_THREADING_LAYER", "GNU"
        )  # the Intel OpenMP runtime may clash with another package's
        process.limit_spinning()
        yield _Candidate("MKL", str(path), "MKL_Set_Num_Threads")
    torch = find_spec("torch")
    if torch and torch.submodule_search_locations:
        yield _Candidate(
            "torch's",
            str(Path(torch.submodule_search_locations[0]) / "lib" / "libtorch_cpu.so"),
            None,
        )
