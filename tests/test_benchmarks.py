"""The programs in benchmarks/: all of them can be started, and the short one is run."""

import json
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
NAMES = sorted(path.stem for path in (REPOSITORY / "benchmarks").glob("[!_]*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_finds_what_it_measures(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for needed in ("mlx", "torch", "sklearn"):
        if not find_spec(needed):
            pytest.skip(f"{needed} is missing: benchmarks may need it")
    monkeypatch.syspath_prepend(REPOSITORY)
    assert callable(import_module(f"benchmarks.{name}").main)


def test_operations_take_time_of_each_kind() -> None:
    pytest.importorskip("mlx")
    options = ["--preset", "sudoku-4x4", "--batch", "2", "--repeats", "1"]
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.operations", *options],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    found = json.loads(ran.stdout)
    assert found["share_of_gemm_rate"] > 0
    for kind in ("matrix products of the layers", "softmax", "heads and rotation", "optimizer"):
        assert found[kind] >= 0
