"""The device that computes, and its properties."""

import os
import time

import torch

from hrm_core import process
from hrm_core.errors import BackendError
from hrm_torch_ref import attention


def choose_device(device: str) -> torch.device:
    """The device of "gpu", "cpu" or, with "auto", the better of the two. Under torchrun each process has a GPU of its own.

    Raises: BackendError if a GPU is asked for and there is none.
    """
    if device != "cpu" and torch.cuda.is_available():
        rank, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if rank >= count:
            raise BackendError(
                f"process {rank + 1} of this machine has no GPU, there are {count}; use torchrun --nproc-per-node {count}"
            )
        torch.cuda.set_device(rank)
        return torch.device("cuda", torch.cuda.current_device())
    if device != "cpu" and torch.backends.mps.is_available():
        return torch.device("mps")
    if device == "gpu":
        raise BackendError(
            "this PyTorch finds no GPU; use --device cpu, or install a PyTorch with CUDA (pytorch.org)"
        )
    return torch.device("cpu")


def device_name(device: torch.device) -> str:
    """Return the name of the device."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return "Apple GPU" if device.type == "mps" else str(torch.backends.cpu.get_cpu_capability())


def peak_memory(device: torch.device) -> int:
    """Most bytes held so far: on a GPU those of tensors, on a CPU those of the process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if device.type == "mps":
        return int(torch.mps.driver_allocated_memory())
    return process.peak_memory()


def available_memory(device: torch.device) -> int:
    """Bytes that this process may still take: on CUDA what is free, on Metal what is recommended at most, else of the machine."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory())
    return process.available_memory()


def gemm_rate(
    device: torch.device, dtype: torch.dtype, size: int = 2048, repeats: int = 4
) -> float:
    """FLOP/s of square matrix products."""
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, size, size, generator=generator).to(device, dtype)
    float((a @ b)[0, 0])  # read, so that the device is done
    started = time.perf_counter()
    for _ in range(repeats):
        product = a @ b
    float(product[0, 0])
    return repeats * 2 * size**3 / (time.perf_counter() - started)


def facts() -> dict[str, str]:
    """Return the facts that `hrm doctor` shows about PyTorch."""
    device = choose_device("auto")
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    choice = attention.choose("auto", device, dtype)
    return {
        "torch device": f"{device.type} {device_name(device)}",
        "torch blas": "MKL" if torch.backends.mkl.is_available() else "OpenBLAS or Accelerate",
        "torch attention": f"{choice.name} ({choice.reason})",
    }
