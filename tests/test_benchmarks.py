"""The programs in benchmarks/: all of them can be started, and the short one is run."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
NAMES = sorted(path.stem for path in (REPOSITORY / "benchmarks").glob("[!_]*.py"))


KINDS = {
    "matrix products of the layers",
    "products of attention",
    "softmax",
    "gate of SwiGLU",
    "heads and rotation",
    "norms and sums",
    "optimizer",
}
OF_OTHERS = {"mlx", "torch", "sklearn", "matplotlib"}


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_can_be_imported(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(REPOSITORY)
    try:
        benchmark = import_module(f"benchmarks.{name}")
    except ModuleNotFoundError as error:
        if error.name not in OF_OTHERS:
            raise
        pytest.skip(f"{error.name} is missing: benchmarks.{name} needs it")
    assert callable(benchmark.main)


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
    settings = {"preset", "batch", "repeats", "gemm_gflops", "share_of_gemm_rate"}
    assert found.keys() - settings == KINDS
    assert found["share_of_gemm_rate"] > 0
