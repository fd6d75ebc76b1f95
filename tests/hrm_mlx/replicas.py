"""What two processes do for test_distributed.py, under mlx.launch: first functions on arrays, then commands.

argv: a JSON list of commands, each {"name", "arguments", "without": functions that do nothing, "workers": how many, or null},
and a folder. Each process leaves there what it found: arrays in functions_<rank>.npz; status, stdout, stderr and the paths it
wrote to in <name>_<rank>.json.
"""

import json
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

import hrm_mlx  # noqa: F401 # isort: skip - before mlx, for its BLAS
import mlx.core as mx

from hrm_core.backend import Replica
from hrm_core.config import OptimConfig
from hrm_core.schedule import rates
from hrm_mlx import backend, distributed, update
from hrm_mlx.arrays import from_numpy, to_numpy
from hrm_mlx.optim import scalars

sys.path.insert(0, str(Path(__file__).parents[1]))  # tests are no packages

from two_processes import run_command

OPTIM = OptimConfig(lr=1e-3, lr_warmup_steps=2, puzzle_emb_lr=1e-2, puzzle_emb_weight_decay=0.1)
RATES = rates(5, 9, OPTIM)
ROWS, WIDTH, SLOTS = 9, 4, 5  # of the puzzle table; slots of one process
DTYPES: dict[str, Any] = {
    "float32": np.float32,
    "bfloat16": ml_dtypes.bfloat16,
    "int32": np.int32,
    "uint8": np.uint8,
    "bool": bool,
}


def given(dtype: str, rank: int) -> np.ndarray:
    """What a process holds before it gathers. Shapes: (2, 3, 2)."""
    values = np.random.default_rng(rank).standard_normal((2, 3, 2)) * 3
    return np.abs(values).astype(DTYPES[dtype])


def puzzles(rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Puzzle ids, some of them with both processes, and their gradients; those of row 7 cancel over the processes only."""
    ids = np.array([[3, 0, 3, 7, 2], [5, 3, 0, 7, 7]], np.int32)[rank]
    gradients = np.random.default_rng(rank + 5).standard_normal((SLOTS, WIDTH), np.float32)
    gradients[ids == 7] = [[[2.0] * WIDTH], [[-1.0] * WIDTH] * 2][rank]
    return ids, gradients


def table() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((ROWS, WIDTH), np.float32)


def moved_table(rank: int, replica: Replica, in_steps: bool) -> np.ndarray:
    """The puzzle table after one move of its rows."""
    ids, gradients = puzzles(rank)
    updater = object.__new__(update.Updater)
    updater._replica, updater._in_steps, updater._evaluate = replica, in_steps, mx.eval
    moved = updater._move_rows(
        mx.array(table()), mx.array(ids), mx.array(gradients), scalars(RATES, OPTIM)
    )
    mx.eval(moved)
    return np.array(moved)


def run_functions(folder: Path) -> None:
    mx.set_default_device(mx.cpu)
    replica = distributed.join()
    tensors = {name: from_numpy(given("float32", replica.rank)[i]) for i, name in enumerate("ab")}
    total = distributed.summed({**tensors, "c": mx.array(1.0 + replica.rank)}, replica)
    (alone,) = distributed.summed({"a": tensors["a"]}, replica).values()
    mx.eval(total, alone)
    value = "x" * replica.rank, {"rank": replica.rank}  # of another length in each process
    found = {
        "replica": np.array(replica),
        **{f"summed_{name}": np.array(tensor) for name, tensor in total.items()},
        "summed_alone": np.array(alone),
        "table": moved_table(replica.rank, replica, in_steps=True),
        "table_in_graph": moved_table(replica.rank, replica, in_steps=False),
        "table_alone": moved_table(replica.rank, Replica(), in_steps=True),
        "values": np.array(json.dumps(distributed.gathered_values(value, replica))),
    }
    for dtype in DTYPES:
        tensor = from_numpy(given(dtype, replica.rank)).transpose(0, 2, 1)  # not contiguous
        gathered = distributed.gathered(tensor, replica)
        mx.eval(gathered)
        array = to_numpy(gathered)
        assert array.dtype == DTYPES[dtype]
        found[f"gathered_{dtype}"] = array.astype(np.float32) if dtype == "bfloat16" else array
    np.savez(folder / f"functions_{replica.rank}.npz", **found)


def run_with_workers(command: dict[str, Any], folder: Path) -> None:
    """Run one command, with as many workers as it says."""
    num_workers = backend.num_workers
    if command["workers"]:
        backend.num_workers = lambda one_graph: command["workers"]
    run_command(command, folder, update)
    backend.num_workers = num_workers


if __name__ == "__main__":
    commands, folder = json.loads(sys.argv[1]), Path(sys.argv[2])
    run_functions(folder)
    for command in commands:
        run_with_workers(command, folder)
