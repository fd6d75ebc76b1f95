"""What a process asks of the system, most of it before a framework is loaded.

glibc maps each large array anew and unmaps it when it is freed, so the kernel clears every page once more: adding two
arrays of 64 MB takes 49 ms, 6 ms of it for the sum. GPUs have caches of their own; so has MLX on macOS.

The threads of GNU OpenMP wait by spinning. On two cores that something else uses too, a small update took 6 s instead of 0.2 s.
"""

import ctypes
import os
import resource
import sys

# Source: mallopt(3)
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_LARGEST = 2**31 - 1


def keep_freed_memory() -> None:
    """Tell glibc to serve large arrays from its heap and to keep what is freed. Does nothing elsewhere."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 2**30)
        mallopt(_M_TRIM_THRESHOLD, _LARGEST)
        mallopt(_M_ARENA_MAX, 1)  # what one thread frees the other may use: a quarter less memory


def give_back_freed_memory() -> None:
    """Tell glibc to give the system what is freed, also between what is in use. Does nothing elsewhere.

    The holes that freed arrays leave seldom fit the next ones to the byte, so the heap grows with the number of micro-batches.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def wait_without_spinning() -> None:
    """Let threads that wait give their core away, unless the user has said otherwise."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def peak_memory() -> int:
    """Most bytes of memory that this process ever held at once."""
    unit = 1 if sys.platform == "darwin" else 1024  # Source: getrusage(2) of macOS and of Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
