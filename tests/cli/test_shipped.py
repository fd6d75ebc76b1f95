"""The shipped model by its name, in every command and both backends."""

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hrm_core.backend import BackendOptions
from hrm_core.config import load_config
from hrm_core.errors import CheckpointError
from hrm_core.runs.checkpoint import find_model, load_model
from hrm_core.runs.shipped import shipped_models
from hrm_tasks.sudoku.build import Options, build

Hrm = Callable[..., Any]

NAME = "sudoku-9x9"
PUZZLE = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
CONFIG = Path(__file__).parents[2] / "models" / f"{NAME}.yaml"


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("data") / "9x9"
    build(directory, Options(generate=4, size=9, test=2, givens=(50, 60)))
    return directory


def test_solve_takes_the_name(hrm: Hrm) -> None:
    outcome = hrm("solve", NAME, PUZZLE, "--device", "cpu", "--json")
    record = json.loads(outcome.out)
    assert (outcome.status, record["accepted"]) == (0, True)
    assert "flaw" not in record


@pytest.mark.parametrize(
    ("puzzle", "flaw", "status"),
    [
        (PUZZLE.replace("..7", "1.7", 1), "the puzzle has no solution", 1),
        (PUZZLE.replace("419", "...", 1), "the puzzle has several solutions", 0),
    ],
)
def test_solve_tells_the_flaw_of_a_puzzle(hrm: Hrm, puzzle: str, flaw: str, status: int) -> None:
    outcome = hrm("solve", NAME, puzzle, "--device", "cpu", "--json")
    record = json.loads(outcome.out)
    assert (outcome.status, record["flaw"], record["accepted"]) == (status, flaw, status == 0)
    shown = hrm("solve", NAME, puzzle, "--device", "cpu").out.splitlines()[-1]
    assert shown.startswith(f"{record['verdict']}; {flaw}; settled after ACT step ")
    (solution,) = importlib.import_module("hrm_mlx").load(NAME).solve(puzzle)
    assert flaw in repr(solution)


def test_eval_takes_the_name(hrm: Hrm, data: Path) -> None:
    outcome = hrm("eval", NAME, "--data", data, "--device", "cpu", "--json")
    assert outcome.status == 0, outcome.err
    assert str(shipped_models()[NAME]) in outcome.out


def test_train_starts_from_the_name(hrm: Hrm, data: Path) -> None:
    settings = ("--max-updates", 1, "--set", "train.global_batch_size=2", "--device", "cpu")
    outcome = hrm("train", CONFIG, "--init", NAME, "--data", data, "--run", "run", *settings)
    assert outcome.status == 0, outcome.err
    init = load_config("run/config.yaml").init
    assert init is not None
    assert init.crc32 == load_model(shipped_models()[NAME]).crc32


def test_convert_takes_the_name_even_for_a_folder_so_called(hrm: Hrm) -> None:
    outcome = hrm("convert", NAME, NAME, "--to", "checkpoint", "--verify")
    assert outcome.status == 0, outcome.err
    assert f"{shipped_models()[NAME]} (safetensors) -> {NAME} (checkpoint)" in outcome.out
    assert load_model(find_model(Path(NAME))).config == load_model(shipped_models()[NAME]).config


def test_models_are_listed_with_what_they_solve_and_their_cards(hrm: Hrm) -> None:
    records = {record["name"]: record for record in json.loads(hrm("models", "--json").out)}
    assert list(records) == list(shipped_models())
    for name, record in records.items():
        assert record["about"].endswith("."), f"{name} has no sentence in models/README.md"
        weights = load_model(shipped_models()[name]).weights
        trained = [each.size for key, each in weights.items() if not key.endswith("_init")]
        assert record["parameters"] == sum(trained)
    assert records[NAME]["about"] == "Solves 9x9 Sudokus of easy to medium difficulty."
    listed = hrm("models").out
    assert f"{NAME}: Solves 9x9 Sudokus" in listed
    assert f"{records[NAME]['parameters']:,} parameters, 3.9 MB: {shipped_models()[NAME]}" in listed


def test_python_says_of_a_missing_file_that_it_is_missing(tmp_path: Path) -> None:
    hrm_mlx = importlib.import_module("hrm_mlx")
    with pytest.raises(CheckpointError) as error:
        hrm_mlx.load("models/x.safetensors")
    assert str(error.value).startswith(f"models/x.safetensors does not exist (in {tmp_path}); ")


@pytest.mark.parametrize("backend", ["hrm_mlx", "hrm_torch_ref"])
def test_python_loads_the_name(backend: str) -> None:
    if backend == "hrm_torch_ref":
        pytest.importorskip("torch", reason="torch is missing: its load is not tested")
    solver = importlib.import_module(backend).load(NAME, BackendOptions("cpu", "float32"))
    assert solver.solve(PUZZLE)[0].accepted
