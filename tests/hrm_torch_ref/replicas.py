"""What two processes do for test_distributed.py, under torchrun: first functions on arrays, then commands.

argv: a JSON list of commands, each {"name", "arguments", "without": functions that do nothing}, and a folder. Each process leaves
there what it found: arrays in functions_<rank>.npz; status, stdout, stderr and the paths it wrote to in <name>_<rank>.json.
"""

import json
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

import hrm_torch_ref  # noqa: F401 # isort: skip - before torch
import torch

from hrm_core.backend import Replica
from hrm_core.config import OptimConfig
from hrm_core.schedule import rates
from hrm_torch_ref import distributed, update
from hrm_torch_ref.arrays import from_numpy, to_numpy
from hrm_torch_ref.optim import scalars

sys.path.insert(0, str(Path(__file__).parents[1]))  # tests are no packages

from two_processes import run_command

CPU = torch.device("cpu")
OPTIM = OptimConfig(lr=1e-3, lr_warmup_steps=2, puzzle_emb_lr=1e-2, puzzle_emb_weight_decay=0.1)
RATES = rates(5, 9, OPTIM)
ROWS, WIDTH, SLOTS = 9, 4, 5  # of the puzzle table; slots of one process
DTYPES: dict[str, Any] = {
    "float32": np.float32,
    "float64": np.float64,
    "bfloat16": ml_dtypes.bfloat16,
    "int32": np.int32,
    "bool": bool,
}


def given(dtype: str, rank: int) -> np.ndarray:
    """What a process holds before it gathers. Shapes: (2, 3, 2)."""
    return (np.random.default_rng(rank).standard_normal((2, 3, 2)) * 3).astype(DTYPES[dtype])


def puzzles(rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Puzzle ids, some of them with both processes, and their gradients; those of row 7 cancel over the processes only."""
    ids = np.array([[3, 0, 3, 7, 2], [5, 3, 0, 7, 7]], np.int32)[rank]
    gradients = np.random.default_rng(rank + 5).standard_normal((SLOTS, WIDTH), np.float32)
    gradients[ids == 7] = [[[2.0] * WIDTH], [[-1.0] * WIDTH] * 2][rank]
    return ids, gradients


def table() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((ROWS, WIDTH), np.float32)


def moved_table(rank: int, replica: Replica) -> np.ndarray:
    """The puzzle table after one move of its rows."""
    ids, gradients = puzzles(rank)
    updater = object.__new__(update.Updater)
    updater._replica = replica
    moved = torch.tensor(table())
    updater._move_rows(
        moved, torch.tensor(ids), torch.tensor(gradients), scalars(RATES, OPTIM, torch.float32, CPU)
    )
    return moved.numpy()


def run_functions(folder: Path) -> None:
    replica = distributed.join(CPU)
    tensors = {
        name: from_numpy(given("float32", replica.rank)[i], CPU) for i, name in enumerate("ab")
    }
    total = distributed.summed({**tensors, "c": torch.tensor(1.0 + replica.rank)}, replica)
    found = {
        "replica": np.array(replica),
        **{f"summed_{name}": tensor.numpy() for name, tensor in total.items()},
        "table": moved_table(replica.rank, replica),
        "table_alone": moved_table(replica.rank, Replica()),
        "values": np.array(distributed.gathered_values(f"rank {replica.rank}", replica)),
    }
    for dtype in DTYPES:
        tensor = from_numpy(given(dtype, replica.rank), CPU).transpose(1, 2)  # not contiguous
        gathered = to_numpy(distributed.gathered(tensor, replica))
        found[f"gathered_{dtype}"] = (
            gathered.astype(np.float32) if dtype == "bfloat16" else gathered
        )
    np.savez(folder / f"functions_{replica.rank}.npz", **found)


if __name__ == "__main__":
    commands, folder = json.loads(sys.argv[1]), Path(sys.argv[2])
    run_functions(folder)
    for command in commands:
        run_command(command, folder, update)
