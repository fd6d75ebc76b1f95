"""Data parallel training under mlx.launch: each process has a slice of the slots, all have the same weights.

Gradients are summed over the processes, as each has divided its loss by the global batch size already.
Transfers are parts of a graph: all processes must build and evaluate them in the same order.
"""

import atexit
import os
import pickle
import secrets
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

import mlx.core as mx
import numpy as np

from hrm_core import launchers
from hrm_core.backend import AnyArray, Replica
from hrm_core.errors import BackendError, RunError
from hrm_core.messages import reason
from hrm_mlx.arrays import to_numpy

Value = TypeVar("Value")

CONNECTING = 60.0  # seconds
PATIENCE = 5.0  # seconds in which a transfer must end after another process has
KEEPALIVE = {  # a machine that is off is noticed after half a minute; macOS has another name for the first
    "TCP_KEEPIDLE": 15,
    "TCP_KEEPALIVE": 15,
    "TCP_KEEPINTVL": 5,
    "TCP_KEEPCNT": 3,
}

# in the messages of ring, jaccl and nccl about a process that is gone
GONE = (
    "connection to a peer was lost",
    "connection closed by peer",
    "connection reset by peer",
    "broken pipe",
    "timed out",
    "remote process exited",
)
ENDED = (
    "another process of this run has ended ({}); "
    "its own message says why, unless it was killed; continue with --resume"
)


class _Watch:
    """Connections between the first process and each other one, which break when one of them ends.

    Some transports of MLX wait forever for a process that is gone. A thread ends this process instead.
    """

    def __init__(self) -> None:
        self.connections: list[socket.socket] = []
        self.waiting_since: float | None = None  # second in which the main thread began to need all

    def begin(self, replica: Replica, host: str) -> None:
        """Connect the processes, and watch. Raises: BackendError if one cannot be reached."""
        server = socket.create_server(("", 0)) if replica.rank == 0 else None
        secret = secrets.token_bytes(16)  # tells the other processes from strangers
        port = server.getsockname()[1] if server else 0
        port, secret = gathered_values((port, secret), replica)[0]
        try:
            if server:
                self._accept(server, secret, replica.num_replicas - 1)
            else:
                connection = socket.create_connection((host, port), CONNECTING)
                connection.sendall(secret)
                self.connections = [connection]
        except OSError as error:
            raise BackendError(
                f"the processes of this run cannot connect to port {port} of {host} "
                f"({reason(error)}); let the firewall pass python"
            ) from error
        for connection in self.connections:
            connection.settimeout(None)
            _keep_alive(connection)
        threading.Thread(target=self._wait, name="hrm-mlx-watch", daemon=True).start()

    def _accept(self, server: socket.socket, secret: bytes, count: int) -> None:
        server.settimeout(CONNECTING)
        with server:
            while len(self.connections) < count:
                connection, _ = server.accept()
                connection.settimeout(CONNECTING)
                if connection.recv(len(secret), socket.MSG_WAITALL) == secret:
                    self.connections.append(connection)
                else:
                    connection.close()

    def _wait(self) -> None:
        """Wait until another process or the launcher ends."""
        launcher = os.getppid()
        while not select.select(self.connections, [], [], 1.0)[0]:
            if os.getppid() != launcher:
                launcher = os.getppid()
                os.kill(os.getpid(), signal.SIGTERM)  # save and stop
        while True:  # what the other one sent before may still complete a transfer
            time.sleep(PATIENCE / 10)
            began = self.waiting_since
            if began is not None and time.monotonic() - began > PATIENCE:
                print(f"hrm: {ENDED.format('connection closed')}", file=sys.stderr, flush=True)
                os._exit(RunError.exit_status)


_watch = _Watch()


def _keep_alive(connection: socket.socket) -> None:
    """Let the system notice a machine that is gone."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def join() -> Replica:
    """Meet the other processes that mlx.launch started. Returns: which of them this is.

    Raises: BackendError under torchrun, or if the processes cannot meet.
    """
    place, replica = launchers.place(), Replica.of_environment()
    if place.launcher == launchers.TORCHRUN:
        raise BackendError(
            "torchrun starts PyTorch: use --backend torch, or start MLX with "
            f"mlx.launch -n {replica.num_replicas} -- hrm train"
        )
    if replica.num_replicas > 1 and not _watch.connections:
        try:
            mx.distributed.init(strict=True, backend=place.transport)
        except (RuntimeError, ValueError) as error:
            raise BackendError(
                f"the processes of this run cannot meet over {place.transport} ({reason(error)}); "
                "start them with mlx.launch, with a free --starting-port"
            ) from error
        _watch.begin(replica, place.hosts[0])
        atexit.register(leave)
    return replica


def leave() -> None:
    """Let the other processes go."""
    for connection in _watch.connections:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def needing_all() -> Iterator[None]:
    """Evaluate transfers; name the cause if another process is gone. Raises: RunError."""
    _watch.waiting_since = time.monotonic()
    try:
        yield
    except RuntimeError as error:
        found = [words for words in GONE if words in str(error).lower()]
        if not found:
            raise
        raise RunError(ENDED.format(found[0])) from error
    finally:
        _watch.waiting_since = None


def summed(tensors: dict[str, mx.array], replica: Replica) -> dict[str, mx.array]:
    """The sum of each tensor over the processes, all of them in one transfer."""
    if replica.num_replicas == 1:
        return tensors
    flat = mx.concatenate([tensor.reshape(-1) for tensor in tensors.values()])
    flat = mx.distributed.all_sum(flat)
    ends = np.cumsum([tensor.size for tensor in tensors.values()])[:-1]
    parts = mx.split(flat, ends.tolist())
    return {
        name: part.reshape(tensor.shape)
        for (name, tensor), part in zip(tensors.items(), parts, strict=True)
    }


def gathered(tensor: mx.array, replica: Replica) -> mx.array:
    """The rows of all processes, in their order. Shapes: (B, ...) -> (count B, ...)."""
    if replica.num_replicas == 1:
        return tensor
    is_plain = tensor.dtype not in (mx.bool_, mx.bfloat16)
    mine = tensor if is_plain else tensor.view(mx.uint8)
    return mx.distributed.all_gather(mine).view(tensor.dtype)


def _evaluated(tensor: mx.array) -> AnyArray:
    """A tensor whose transfer is complete."""
    with needing_all():
        mx.eval(tensor)  # to_numpy would hide that it failed
    return to_numpy(tensor)


def gathered_values(value: Value, replica: Replica) -> list[Value]:
    """Return the values of all processes, in their order."""
    if replica.num_replicas == 1:
        return [value]
    mine = np.frombuffer(pickle.dumps(value), np.uint8)
    lengths = _evaluated(gathered(mx.array([len(mine)]), replica))
    padded = np.zeros((1, lengths.max()), np.uint8)
    padded[0, : len(mine)] = mine
    rows = _evaluated(gathered(mx.array(padded), replica))
    return [pickle.loads(row[:n].tobytes()) for row, n in zip(rows, lengths, strict=True)]
