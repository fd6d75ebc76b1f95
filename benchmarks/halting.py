"""Halting by q against all ACT steps on the same puzzles: time should follow the steps that are taken.

python -m benchmarks.halting
python -m benchmarks.halting --backend torch

Generated 9x9 puzzles, the shipped model. Blocks of puzzles are answered both ways in turn; the ratio of
their times is held against the ratio of their steps: 1.0 means that a step left out costs nothing.
Processor time counts where other programs run too; on a GPU only wall time says something.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

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


class Cost(NamedTuple):
    """Cost of answering some puzzles in one way."""

    wall: float  # seconds
    processor: float  # seconds, of all threads
    steps: float  # ACT steps


def answered(backend: Backend, inputs: IntArray, halt: Halt, slots: int) -> Cost:
    """Answer some puzzles (N, S)."""
    wall, processor = time.perf_counter(), time.process_time()
    ids = np.zeros(len(inputs), np.int32)
    found = answer_step_by_step(backend, inputs, ids, slots, halt)
    steps = float(found.steps.sum())
    return Cost(time.perf_counter() - wall, time.process_time() - processor, steps)


def pairs(backend: Backend, inputs: IntArray, block: int, slots: int) -> Iterator[Cost]:
    """Ratios of q over fixed, of each block of puzzles."""
    for number, start in enumerate(range(0, len(inputs), block)):
        rows = inputs[start : start + block]
        ways: tuple[Halt, ...] = ("q", "fixed") if number % 2 else ("fixed", "q")
        found = {way: answered(backend, rows, way, slots) for way in ways}
        ratios = Cost(*(q / fixed for q, fixed in zip(found["q"], found["fixed"], strict=True)))
        shown = {name: round(ratio, 3) for name, ratio in ratios._asdict().items()}
        print(json.dumps({"puzzles": start + len(rows), **shown}), file=sys.stderr, flush=True)
        yield ratios


def main() -> None:
    """Print each block on stderr, then medians and ranges as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", choices=["mlx", "torch"], default="mlx")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--puzzles", type=int, default=1000)
    parser.add_argument("--block", type=int, default=200)
    parser.add_argument("--slots", type=int, default=256)
    chosen = parser.parse_args()
    model = load_model(model_path(MODEL))
    backend = BackendMaker(chosen.backend, chosen.device)(model.config)
    backend.load_weights(model.weights)
    inputs, _ = Sudoku(9).invent(np.random.default_rng(0), chosen.puzzles)
    answered(backend, inputs[: chosen.slots], "q", chosen.slots)  # not counted: it compiles
    ratios = list(pairs(backend, inputs, chosen.block, chosen.slots))
    found = {
        "step_ratio": [each.steps for each in ratios],
        "time_ratio": [each.wall for each in ratios],
        "processor_ratio": [each.processor for each in ratios],
        "time_over_steps": [each.wall / each.steps for each in ratios],
        "processor_over_steps": [each.processor / each.steps for each in ratios],
    }
    figures = {
        name: [round(f(values), 3) for f in (statistics.median, min, max)]
        for name, values in found.items()
    }
    print(json.dumps({**vars(chosen), **figures}))


if __name__ == "__main__":
    main()
