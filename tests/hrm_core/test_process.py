"""What is asked of glibc."""

import platform
import resource
import subprocess
import sys
from types import SimpleNamespace

import pytest

from hrm_core import process

HOLES = """
import resource

import numpy as np
from hrm_core import process

def resident_mb():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() // 2**20

process.keep_freed_memory()
before = resident_mb()
arrays = [np.ones(8 * 2**20, np.uint8) for _ in range(40)]
full = resident_mb() - before
del arrays[:-1]  # the last lies above the holes, so that the top of the heap cannot be cut off
kept = resident_mb() - before
process.give_back_freed_memory()
print(full, kept, resident_mb() - before, arrays[0].sum())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is asked for anything")
def test_freed_memory_is_kept_until_it_is_given_back() -> None:
    ran = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True)
    full, kept, given_back, intact = map(int, ran.stdout.split())
    assert full >= 320
    assert kept >= 300
    assert given_back <= 20
    assert intact == 8 * 2**20


def test_peak_memory_is_in_bytes() -> None:
    assert 20e6 < process.peak_memory() < 100e9  # of a Python with numpy, here or on a Mac


@pytest.mark.parametrize(("system", "expected"), [("linux", 7 * 1024), ("darwin", 7)])
def test_system_counts_kib_on_linux_and_bytes_on_macos(
    system: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=7))
    assert process.peak_memory() == expected
