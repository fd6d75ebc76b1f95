"""The program that started this process, alone or as one of several that train one model.

torchrun and mlx.launch say by variables of the environment which process this is.
"""

import json
import os
from pathlib import Path
from typing import NamedTuple

from hrm_core.errors import BackendError

TORCHRUN, MLX_LAUNCH = "torchrun", "mlx.launch"
LOCAL = "127.0.0.1"  # where mlx.launch starts processes without ssh


class Place(NamedTuple):
    """The place of one process among those of a run."""

    launcher: str = ""  # TORCHRUN or MLX_LAUNCH; empty for a process that is alone
    rank: int = 0
    num_processes: int = 1
    num_machines: int = 1  # of torchrun
    transport: str = ""  # of mlx.launch: ring, jaccl or nccl
    hosts: tuple[str, ...] = ()  # of mlx.launch: that of each rank, or of the first rank alone

    @property
    def num_here(self) -> int:
        """Return the number of processes on this host, as far as it is known."""
        if self.rank >= len(self.hosts):
            return 1
        return self.hosts.count(self.hosts[self.rank])

    def command(self, run: str) -> str:
        """Return the beginning of the command that trains a run in as many processes."""
        if self.launcher == TORCHRUN:
            where = f"--nproc-per-node {self.num_processes // self.num_machines}"
            if self.num_machines > 1:
                meeting = "--rdzv-backend c10d --rdzv-endpoint HOST"
                where = f"--nnodes {self.num_machines} {where} {meeting}"
            return f"torchrun {where} -m hrm_cli train --run-directory {run}"
        if self.launcher == MLX_LAUNCH:
            is_here = set(self.hosts) == {LOCAL}
            others = f"-n {self.num_processes}" if is_here else "--hostfile HOSTFILE"
            backend = "" if self.transport == "ring" else f" --backend {self.transport}"
            return f"mlx.launch {others}{backend} -- hrm train --run {run}"
        return f"hrm train --run {run}"


def place() -> Place:
    """Return the place of this process. Raises: BackendError if mlx.launch's own files are damaged."""
    num_processes = int(os.environ.get("WORLD_SIZE") or 1)
    if num_processes > 1:
        num_here = int(os.environ.get("LOCAL_WORLD_SIZE") or num_processes)
        rank = int(os.environ.get("RANK") or 0)
        return Place(TORCHRUN, rank, num_processes, num_processes // num_here)
    return _place_of_mlx()


def _place_of_mlx() -> Place:
    """Read what mlx.launch sets, other variables for each transport.

    Source: MLX's documentation, "Distributed Without mlx.launch".
    """
    rank = int(os.environ.get("MLX_RANK") or 0)
    nodes = _read_list("MLX_HOSTFILE")  # of each rank the addresses that it listens at
    devices = _read_list("MLX_IBV_DEVICES")  # of each rank the devices to the others
    if len(nodes) > 1:
        hosts = tuple(_host(node if isinstance(node, str) else node[0]) for node in nodes)
        return Place(MLX_LAUNCH, rank, len(nodes), 1, "ring", hosts)
    if len(devices) > 1:
        first = _host(os.environ.get("MLX_JACCL_COORDINATOR", ""))
        return Place(MLX_LAUNCH, rank, len(devices), 1, "jaccl", (first,))
    num_processes = int(os.environ.get("MLX_WORLD_SIZE") or 1)
    if num_processes > 1:
        first = os.environ.get("NCCL_HOST_IP", "")
        return Place(MLX_LAUNCH, rank, num_processes, 1, "nccl", (first,))
    return Place()


def _read_list(variable: str) -> list[list[str] | str]:
    """Read the file that a variable names: JSON, or nothing for a process that is alone."""
    path = os.environ.get(variable)
    if not path:
        return []
    try:
        found = json.loads(Path(path).read_text().strip() or "[]")
    except (OSError, ValueError):
        found = None
    if not isinstance(found, list):
        raise BackendError(
            f"{variable}={path} is no list of processes; start them with mlx.launch, or unset {variable}"
        )
    return found


def _host(address: str) -> str:
    """The host of an address with a port."""
    return address.rpartition(":")[0]
