"""Data parallel training under torchrun: each process has a slice of the slots, all have the same weights.

Gradients are summed over the processes, as each has divided its loss by the global batch size already.
"""

import atexit
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

from hrm_core import launchers
from hrm_core.backend import Replica
from hrm_core.errors import BackendError, RunError

Value = TypeVar("Value")

PATIENCE = timedelta(minutes=30)  # one process may write a checkpoint while the others wait


# in the messages of gloo and nccl about a process that is gone
GONE = (
    "connection closed by peer",
    "connection reset by peer",
    "broken pipe",
    "timed out",
    "remote process exited",
)


def join(device: torch.device) -> Replica:
    """Meet the other processes that torchrun started. Returns: which of them this is.

    Raises: BackendError under mlx.launch.
    """
    replica = Replica.of_environment()
    if launchers.place().launcher == launchers.MLX_LAUNCH:
        raise BackendError(
            "mlx.launch starts MLX: use --backend mlx, or start PyTorch with "
            f"torchrun --nproc-per-node {replica.num_replicas} -m hrm_cli train"
        )
    if replica.num_replicas > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
        atexit.register(leave)
    return replica


def leave() -> None:
    """Let the other processes go."""
    if dist.is_initialized():
        dist.destroy_process_group()


@contextmanager
def _needing_all() -> Iterator[None]:
    """Name the cause if another process is gone. Raises: RunError."""
    try:
        yield
    except RuntimeError as error:
        found = [words for words in GONE if words in str(error).lower()]
        if not found:
            raise
        raise RunError(
            f"another process of this run has ended ({found[0]}); "
            "its own message says why, unless it was killed; continue with --resume"
        ) from error


def summed(tensors: dict[str, torch.Tensor], replica: Replica) -> dict[str, torch.Tensor]:
    """The sum of each tensor over the processes, all of them in one transfer."""
    if replica.num_replicas == 1:
        return tensors
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors.values()])
    with _needing_all():
        dist.all_reduce(flat)
    parts = torch.split(flat, [tensor.numel() for tensor in tensors.values()])
    return {
        name: part.view_as(tensor)
        for (name, tensor), part in zip(tensors.items(), parts, strict=True)
    }


def gathered(tensor: torch.Tensor, replica: Replica) -> torch.Tensor:
    """The rows of all processes, in their order. Shapes: (B, ...) -> (count B, ...)."""
    if replica.num_replicas == 1:
        return tensor
    mine = (
        tensor.contiguous().view(torch.uint8)
        if tensor.dtype in (torch.bool, torch.bfloat16)
        else tensor.contiguous()
    )
    parts = [torch.empty_like(mine) for _ in range(replica.num_replicas)]
    with _needing_all():
        dist.all_gather(parts, mine)
    return torch.cat(parts).view(tensor.dtype)


def gathered_values(value: Value, replica: Replica) -> list[Value]:
    """Return the values of all processes, in their order."""
    if replica.num_replicas == 1:
        return [value]
    values: list[Value | None] = [None] * replica.num_replicas
    with _needing_all():
        dist.all_gather_object(values, value)
    return values  # type: ignore[return-value]  # each is filled now
