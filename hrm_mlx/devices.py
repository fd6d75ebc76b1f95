"""The device that computes, its number of streams, and its properties."""

import os
import time

import mlx.core as mx

import hrm_mlx
from hrm_core import launchers, process
from hrm_core.errors import BackendError, install_hint
from hrm_core.messages import warn
from hrm_mlx.blas import REFERENCE

MAX_WORKERS = 8
SLOW_BLAS = "only MLX's own slow BLAS is there; install OpenBLAS (libopenblas0), or"


def has_gpu() -> bool:
    """Return True if this MLX can compute on a GPU here."""
    return bool(mx.metal.is_available() or mx.cuda.is_available())


def choose_device(device: str) -> bool:
    """Make "gpu", "cpu" or, with "auto", the better of the two the default device. Returns: whether it is a GPU.

    Raises: BackendError if a GPU is asked for and there is none.
    """
    if device == "gpu" and not has_gpu():
        raise BackendError(
            "this MLX finds no GPU; use --device cpu, or on Linux with an NVIDIA GPU "
            f"{install_hint('cuda13')} (or cuda12)"
        )
    on_gpu = has_gpu() and device != "cpu"
    mx.set_default_device(mx.gpu if on_gpu else mx.cpu)
    if not on_gpu and hrm_mlx.BLAS is REFERENCE:
        warn(f"{SLOW_BLAS} {install_hint('blas')}")
    if on_gpu and mx.metal.is_available():
        working_set = int(mx.device_info()["max_recommended_working_set_size"])
        mx.set_wired_limit(working_set)
        mx.set_cache_limit(working_set // 8)  # freed buffers beyond it go back to the system
    return on_gpu


def num_workers(one_graph: bool) -> int:
    """Return the number of threads: one for a GPU or a compiled graph, else one for each core, up to eight.

    Processes of one run on one machine share its cores.
    The threads of the BLAS are shared out among them; where the BLAS cannot be told, it keeps the work to itself.
    """
    set_num_threads = hrm_mlx.BLAS.set_num_threads
    if set_num_threads is None:
        return 1
    cores = max(1, num_cores() // launchers.place().num_here)
    count = 1 if one_graph else min(cores, MAX_WORKERS)
    set_num_threads(cores // count)
    return count


def num_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_memory(on_gpu: bool) -> int:
    """Bytes that this process may still take: on CUDA what is free, on Metal what is recommended at most, else of the machine."""
    if not on_gpu:
        return process.available_memory()
    info = mx.device_info()
    for name in ("free_memory", "max_recommended_working_set_size", "total_memory"):
        if name in info:
            return int(info[name])
    return int(info["memory_size"])


def gemm_rate(dtype: mx.Dtype, one_graph: bool, size: int = 2048, repeats: int = 4) -> float:
    """FLOP/s of square matrix products, with all threads of the BLAS; they are shared out again afterwards.

    `one_graph` is as in `num_workers`.
    """
    if hrm_mlx.BLAS.set_num_threads is not None:
        hrm_mlx.BLAS.set_num_threads(num_cores())
    try:
        a, b = (mx.random.normal((size, size), key=mx.random.key(i)).astype(dtype) for i in (0, 1))
        mx.eval(a @ b)
        started = time.perf_counter()
        mx.eval([a @ b for _ in range(repeats)])  # at once: a GPU would wait for each order
        return repeats * 2 * size**3 / (time.perf_counter() - started)
    finally:
        num_workers(one_graph)


def facts() -> dict[str, str]:
    """Return the facts that `hrm doctor` shows about MLX."""
    device = mx.gpu if has_gpu() else mx.cpu
    info = mx.device_info(device)
    found = {
        "mlx device": f"{'gpu' if has_gpu() else 'cpu'} {info.get('device_name', '')}".strip(),
        "mlx metal": "available" if mx.metal.is_available() else "not available",
        "mlx cuda": "available" if mx.cuda.is_available() else "not available",
        "mlx blas": f"{SLOW_BLAS} {install_hint('blas')}"
        if hrm_mlx.BLAS is REFERENCE
        else f"{hrm_mlx.BLAS.name} ({hrm_mlx.BLAS.path})",
        "mlx attention": "sdpa (mx.fast.scaled_dot_product_attention)"
        if has_gpu()
        else "eager (written out; faster on a CPU)",
    }
    if "max_recommended_working_set_size" in info:
        found["mlx memory"] = (
            f"{int(info['max_recommended_working_set_size']) / 2**30:.1f} GiB recommended"
        )
    return found
