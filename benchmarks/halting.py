"""Halting by q against all ACT steps on the same puzzles: time should follow the steps that are taken.

python -m benchmarks.halting
python -m benchmarks.halting --backend torch --puzzles 1000

Generated 9x9 puzzles, the shipped model. Blocks of puzzles are answered both ways in turn; the ratio of
their times is held against the ratio of their steps: 1.0 means that a step left out costs nothing.
"""

import argparse
import json
import statistics
import time
from collections.abc import Iterator

import numpy as np

from hrm_core.backend import Backend
from hrm_core.backends import BackendMaker
from hrm_core.inference.evaluation import answer_step_by_step
from hrm_core.inference.slots import Halt
from hrm_core.runs.checkpoint import load_model
from hrm_core.runs.shipped import model_path
from hrm_core.tasks.contract import IntArray
from hrm_tasks.sudoku.task import Sudoku

MODEL = "sudoku-9x9"


def answered(backend: Backend, inputs: IntArray, halt: Halt) -> tuple[float, int]:
    """Seconds and ACT steps of answering some puzzles (N, S)."""
    started = time.perf_counter()
    found = answer_step_by_step(backend, inputs, np.zeros(len(inputs), np.int32), halt=halt)
    return time.perf_counter() - started, int(found.steps.sum())


def pairs(backend: Backend, inputs: IntArray, block: int) -> Iterator[tuple[float, float]]:
    """Ratios of time and of steps, q over fixed, of each block of puzzles."""
    for number, start in enumerate(range(0, len(inputs), block)):
        rows = inputs[start : start + block]
        ways: tuple[Halt, ...] = ("q", "fixed") if number % 2 else ("fixed", "q")
        found = {way: answered(backend, rows, way) for way in ways}
        seconds, steps = (found["q"][i] / found["fixed"][i] for i in (0, 1))
        yield seconds, steps


def main() -> None:
    """Print medians and ranges as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", choices=["mlx", "torch"], default="mlx")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--puzzles", type=int, default=1000)
    parser.add_argument("--block", type=int, default=200)
    chosen = parser.parse_args()
    model = load_model(model_path(MODEL))
    backend = BackendMaker(chosen.backend, chosen.device)(model.config)
    backend.load_weights(model.weights)
    inputs, _ = Sudoku(9).invent(np.random.default_rng(0), chosen.puzzles)
    answered(backend, inputs[: chosen.block], "q")  # not counted: it allocates and compiles
    seconds, steps = zip(*pairs(backend, inputs, chosen.block), strict=True)
    excess = [s / n for s, n in zip(seconds, steps, strict=True)]
    found = {"time_ratio": seconds, "step_ratio": steps, "time_over_steps": excess}
    figures = {
        name: [round(f(values), 3) for f in (statistics.median, min, max)]
        for name, values in found.items()
    }
    print(json.dumps({**vars(chosen), **figures}))


if __name__ == "__main__":
    main()
