"""Settings of the process: memory and threads, most of them made before a framework is loaded.

glibc maps each large array anew and unmaps it when it is freed, so the kernel clears every page
again: adding two arrays of 64 MB takes 49 ms, 6 ms of it for the sum. GPUs have caches of their
own; so has MLX on macOS.

The threads of GNU OpenMP wait by spinning, for some milliseconds each time. On two cores that another
program uses too, a small update took 6 s instead of 0.2 s. A short spin is faster than none where cores
are idle: docs/performance.md.

A fork copies memory and one thread. Threads of a framework that have begun to compute do not come
along, and a child that waits for them waits for ever.
"""

import ctypes
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hrm_core.errors import BackendError

# Source: mallopt(3)
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_LARGEST = 2**31 - 1

SPINS = "10000"  # rounds that a waiting thread spins before it sleeps; GNU's own choice is 300,000

_computing: set[int] = set()  # the process in which a backend was made first


def keep_freed_memory() -> None:
    """Tell glibc to serve large arrays from its heap and to keep freed ones. Else do nothing."""
    mallopt = _glibc("mallopt")
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 2**30)
        mallopt(_M_TRIM_THRESHOLD, _LARGEST)
        mallopt(_M_ARENA_MAX, 1)  # one arena for all threads: a quarter less memory


def give_back_freed_memory() -> None:
    """Tell glibc to return freed memory to the system, also between arrays in use. Else do nothing.

    The holes that freed arrays leave seldom fit the next ones to the byte, so the heap grows with
    the number of micro-batches.
    """
    trim = _glibc("malloc_trim")
    if trim is not None:
        trim(0)


def _glibc(function: str) -> Any:
    """Return a function of glibc; None on other systems."""
    if sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None), function, None)


def limit_spinning() -> None:
    """Let threads that wait for each other give up their core soon, unless the user has chosen how they wait.

    GNU's OpenMP, which torch brings on Linux, can be told for how long to spin; others stop at once.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


def refuse_fork() -> None:
    """Refuse to compute in a child of a process that has a model; backends call this first.

    Raises: BackendError.
    """
    here = os.getpid()
    if not _computing:
        _computing.add(here)
    if here not in _computing:
        raise BackendError(
            "a model was loaded before this process was forked, and the threads that compute did "
            "not come along; load in the child, or start it by spawn: after a fork, a child can "
            "load a model only if its parent has loaded none"
        )


def peak_memory() -> int:
    """Return the largest number of bytes of memory that this process has held at once."""
    unit = 1 if sys.platform == "darwin" else 1024  # Source: getrusage(2) of macOS and of Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def available_memory(root: Path = Path("/")) -> int:
    """Return the bytes of memory that this process may still take, within the limits of its container.

    All of the machine's where the system does not say what is in use, as on macOS. `root` is the
    folder that holds /proc and /sys.
    """
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    facts = _counts(root / "proc/meminfo")
    if "MemAvailable:" in facts:
        available = 1024 * facts["MemAvailable:"]
    return max(0, min([available, *_rooms(root)]))


def _rooms(root: Path) -> Iterator[int]:
    """Yield what each limit on the control groups of this process leaves, in bytes.

    Source: cgroups(7); "Memory" in admin-guide/cgroup-v2 and cgroup-v1/memory of the kernel.
    """
    groups = root / "proc/self/cgroup"
    if not groups.is_file():
        return
    for line in groups.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            home, limit, usage, cache = "", "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            home, limit, usage = "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            cache = "total_inactive_file"
        else:
            continue
        own = Path(path.lstrip("/"))
        for group in (own, *own.parents):
            folder = root / "sys/fs/cgroup" / home / group
            bound = _number(folder / limit)
            if bound is not None:
                used = (_number(folder / usage) or 0) - _counts(folder / "memory.stat").get(
                    cache, 0
                )
                yield bound - used


def _number(path: Path) -> int | None:
    """Return the number in a file; None if there is no such file, or no number in it."""
    text = path.read_text().strip() if path.is_file() else ""
    return int(text) if text.isdigit() else None


def _counts(path: Path) -> dict[str, int]:
    """Return the numbers in a file of names and numbers; none if there is no such file."""
    lines = path.read_text().splitlines() if path.is_file() else []
    words = [line.split() for line in lines]
    return {line[0]: int(line[1]) for line in words if len(line) > 1 and line[1].isdigit()}
