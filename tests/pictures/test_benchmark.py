"""benchmarks/pictures.py: logistic regression and a small CNN beside models, on the same pictures."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch is missing: the CNN is not trained")
pytest.importorskip("sklearn", reason="needs scikit-learn")

REPOSITORY = Path(__file__).parents[2]


def benchmark(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.pictures", *map(str, arguments)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)


def test_baselines_and_models_are_measured_on_the_same_pictures(
    hrm: Callable[..., Any], trained: Any
) -> None:
    done = benchmark(trained.data, "--seconds", 1, "--runs", trained.run, trained.run, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    evaluated = json.loads(hrm("eval", trained.run, "--json").out)
    (first, second), names = found["HRM"]["each"], ("auroc", "accuracy", "balanced_accuracy", "ece")
    for name in names:
        assert first[name][0] == pytest.approx(evaluated[name], abs=1e-6)
    assert first == second
    (regression,) = found["logistic regression"]["each"]
    compared = evaluated["macro"]["auroc"]["logistic regression"]
    assert regression["auroc"] == pytest.approx([compared[name] for name in compared])
    (network,) = found["CNN"]["each"]
    assert network["auroc"][0] > 0.95  # squares of 4 x 4 pixels on noise
    assert 1 <= found["CNN"]["seconds"][0] < 3
    for values in (first, regression, network):
        assert all(low <= high and not math.isnan(low) for _, low, high in values.values())


def test_other_data_are_refused(tiny_data: Path) -> None:
    done = benchmark(tiny_data)
    assert done.returncode == 1
    assert "is no data set of pictures" in done.stderr
