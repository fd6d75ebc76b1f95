"""Who computes: one stream on a GPU, one stream and thread for each core on the CPU.

MLX's CPU backend runs the elementwise work of a stream on one core and evaluates one graph after the other. Cores work
side by side only if each is given a graph of its own, on a stream of its own, evaluated by a thread of its own.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import mlx.core as mx

Part = TypeVar("Part")
Result = TypeVar("Result")


class Workers:
    """One or several workers."""

    def __init__(self, count: int) -> None:
        self._streams = (
            [mx.new_thread_unsafe_stream(mx.cpu) for _ in range(count)] if count > 1 else []
        )
        # a thread for each stream: two threads that evaluate on one stream end the process
        self._threads = [ThreadPoolExecutor(1, "hrm-mlx") for _ in self._streams]

    def __len__(self) -> int:
        return max(1, len(self._streams))

    @property
    def are_threads(self) -> bool:
        """True if arguments must be evaluated before and results are evaluated after."""
        return bool(self._threads)

    def map(self, function: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
        """Compute `function(part)` for each part, at most one a worker. Graphs are built one by one, evaluated side by side."""
        if not self._threads:
            return [function(part) for part in parts]
        results = []
        for stream, part in zip(self._streams, parts, strict=False):
            with mx.stream(stream):
                results.append(function(part))
        workers = zip(self._threads, self._streams, results, strict=False)
        pending = [thread.submit(_evaluate, stream, result) for thread, stream, result in workers]
        for evaluated in pending:
            evaluated.result()
        return results


@cache
def shared_workers(count: int) -> Workers:
    """The workers of this process: its backends take turns with them, as streams and threads are never given back."""
    return Workers(count)


def _evaluate(stream: mx.Stream, result: object) -> None:
    with mx.stream(stream):
        mx.eval(result)


def split(slots: range, parts: int) -> list[range]:
    """Cut slots into consecutive parts whose sizes differ by one at most."""
    return [slots[len(slots) * i // parts : len(slots) * (i + 1) // parts] for i in range(parts)]
