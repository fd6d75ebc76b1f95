"""A small trained model and some of its test puzzles, and the states that plain calls give."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hrm_analysis.asking import drawn_questions
from hrm_analysis.study import Study
from hrm_core.backend import Backend, BackendOptions
from hrm_core.backends import backend_named
from hrm_core.config import ModelConfig
from hrm_core.data.store import load_split
from hrm_core.inference.slots import batch_of
from hrm_core.runs.checkpoint import find_model, load_model
from hrm_tasks.sudoku.task import Sudoku

sys.path.insert(0, str(Path(__file__).parent))  # tests are no packages here

NUM_STEPS = 4
NUM_PUZZLES = 12


def mlx(config: ModelConfig) -> Backend:
    return backend_named("mlx")(config, BackendOptions(device="cpu"))


@pytest.fixture(scope="session")
def study(tiny_run: Path, tiny_data: Path) -> Study:
    model = load_model(find_model(tiny_run))
    questions = drawn_questions(load_split(tiny_data, "test"), NUM_PUZZLES, seed=1)
    shape = mlx, model.config, model.weights, Sudoku(4), questions, NUM_STEPS
    return Study(*shape, batch_size=5)  # does not divide the number of puzzles


@pytest.fixture(scope="session")
def states(study: Study) -> dict[str, Any]:
    """z_H and z_L (cycles, N, T, D) of all puzzles at once, the initial ones first, and tokens (A, N, S)."""
    backend = study.loaded(study.config, study.weights)
    carry = backend.begin(batch_of(study.questions, study.config))
    fresh = backend.carry_arrays(carry)
    z_H, z_L, tokens = [fresh["z_H"][None].copy()], [fresh["z_L"][None].copy()], []
    for _ in range(NUM_STEPS):
        carry, answers, cycles = backend.trace(carry)
        z_H.append(cycles.z_H)
        z_L.append(cycles.z_L)
        tokens.append(answers.tokens)
    return {"z_H": np.concatenate(z_H), "z_L": np.concatenate(z_L), "tokens": np.array(tokens)}


@pytest.fixture
def mistaken(study: Study) -> Callable[[str], Study]:
    """Make the same study of a backend that mixes something up in its traces."""

    def made(mistake: str) -> Study:
        def make(config: ModelConfig) -> Any:
            return MistakenBackend(mlx(config), mistake)

        return replace(study, make_backend=make)

    return made


class MistakenBackend:
    """A backend whose traces are wrong in one way."""

    def __init__(self, backend: Backend, mistake: str) -> None:
        self._backend, self._mistake = backend, mistake

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def trace(self, carry: Any) -> Any:
        carry, answers, cycles = self._backend.trace(carry)
        z_H, z_L = cycles.z_H, cycles.z_L
        every = len(z_L) // len(z_H)
        if self._mistake == "levels swapped":
            z_H, z_L = z_L[every - 1 :: every], np.repeat(z_H, every, axis=0)
        elif self._mistake == "cycles shifted":
            z_H, z_L = np.roll(z_H, 1, axis=0), np.roll(z_L, 1, axis=0)
        elif self._mistake == "puzzles swapped":
            order = np.array([1, 0, *range(2, z_H.shape[1])])
            z_H, z_L = z_H[:, order], z_L[:, order]
        return carry, answers, cycles._replace(z_H=z_H, z_L=z_L)
