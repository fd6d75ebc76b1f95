"""What is asked of glibc."""

import os
import platform
import resource
import subprocess
import sys
from pathlib import Path
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


MEMINFO = "MemTotal:  16000 kB\nMemFree:  100 kB\nMemAvailable:  8000 kB\nHugePages_Total:  0\n"


def machine(root: Path, groups: str, files: dict[str, str]) -> Path:
    """Write /proc and /sys of a machine below a folder."""
    contents = {"proc/meminfo": MEMINFO, "proc/self/cgroup": groups}
    contents |= {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    for name, text in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("groups", "files", "kibibytes"),
    [
        ("", {}, 8000),
        ("0::/\n", {"memory.max": "max\n", "memory.current": "5\n"}, 8000),
        (  # in a container
            "0::/\n",
            {
                "memory.max": f"{4096 * 1024}\n",
                "memory.current": f"{1024 * 1024}\n",
                "memory.stat": f"anon 7\ninactive_file {512 * 1024}\n",
            },
            4096 - 512,
        ),
        (  # a service inside a slice that is limited
            "0::/a.slice/b.service\n",
            {
                "a.slice/memory.max": f"{3000 * 1024}\n",
                "a.slice/memory.current": f"{1000 * 1024}\n",
                "a.slice/b.service/memory.max": "max\n",
            },
            2000,
        ),
        (  # the first version, of which a container shows its own group as the root
            "5:cpu:/\n4:memory:/docker/1\n0::/\n",
            {
                "memory/memory.limit_in_bytes": f"{6000 * 1024}\n",
                "memory/memory.usage_in_bytes": f"{2000 * 1024}\n",
                "memory/memory.stat": f"total_inactive_file {1000 * 1024}\n",
            },
            5000,
        ),
        ("0::/\n", {"memory.max": "1024\n", "memory.current": "4096\n"}, 0),
    ],
)
def test_available_memory_is_within_the_limits_of_a_container(
    tmp_path: Path, groups: str, files: dict[str, str], kibibytes: int
) -> None:
    assert process.available_memory(machine(tmp_path, groups, files)) == kibibytes * 1024


def test_memory_of_the_machine_counts_where_nothing_else_is_said(tmp_path: Path) -> None:
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert process.available_memory(tmp_path) == whole
    assert 0 < process.available_memory() <= whole


@pytest.mark.parametrize(
    ("chosen", "policy", "spins"),
    [
        ({}, "PASSIVE", process.SPINS),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE", None),
        ({"GOMP_SPINCOUNT": "7"}, "PASSIVE", "7"),
    ],
)
def test_threads_spin_briefly_unless_the_user_has_chosen(
    monkeypatch: pytest.MonkeyPatch, chosen: dict[str, str], policy: str, spins: str | None
) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    process.limit_spinning()
    assert (os.environ["OMP_WAIT_POLICY"], os.environ.get("GOMP_SPINCOUNT")) == (policy, spins)
