"""`hrm convert`: seconds for the paper's model, imports included, and memory for a table of a million puzzle vectors.

python -m benchmarks.convert --scratch /tmp/convert
Memory is the peak above that of the process with everything imported, over the size of the table; needs 7 GB of disk.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from hrm_convert.conversion import Request, convert
from hrm_convert.safetensors_file import write_model
from hrm_convert.tensors import FLOAT32, Tensor, of_array

from hrm_core.config import DataSizes, load_config
from hrm_core.draws import Purpose, stream
from hrm_core.parameters import PUZZLE_TABLE, initial_values, parameter_table
from hrm_core.process import peak_memory

ROUTES = (
    ("model.safetensors", "official"),
    ("official", "checkpoint"),
    ("checkpoint", "again.safetensors"),
    ("official", "official-again"),
)


def write_source(path: Path, identifiers: int, layers: int) -> int:
    """Write a model whose puzzle table is drawn block by block. Returns: bytes of the table."""
    arch = load_config("sudoku-extreme-1k").model.model_copy(
        update={"H_layers": layers, "L_layers": layers, "num_puzzle_identifiers": None}
    )
    config = arch.sized(DataSizes(11, 81, identifiers))
    tensors = {
        name: of_array(array)
        for name, array in initial_values(arch.sized(DataSizes(11, 81, 1)), 0).items()
    }
    shape = parameter_table(config)[PUZZLE_TABLE].shape
    tensors[PUZZLE_TABLE] = Tensor(
        shape,
        FLOAT32,
        lambda start, stop: stream(0, Purpose.NOISE, start).standard_normal(
            (stop - start, shape[1]), np.float32
        ),
    )
    write_model(path, config, "sudoku", tensors, FLOAT32)
    return shape[0] * shape[1] * FLOAT32.itemsize


def seconds_of(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
    return round(time.perf_counter() - started, 2)


def measure_time(folder: Path) -> dict[str, float]:
    """Wall time of each command in a process of its own; beside it what importing torch takes."""
    write_source(folder / "model.safetensors", 1, 4)
    times = {"import torch": seconds_of(["-c", "import torch"])}
    for source, dest in ROUTES:
        to = (
            "official"
            if dest.startswith("official")
            else "safetensors"
            if dest.endswith(".safetensors")
            else "checkpoint"
        )
        times[f"{source} -> {dest}"] = seconds_of(
            ["-m", "hrm_cli.main", "convert", str(folder / source), str(folder / dest), "--to", to]
        )
    return times


def measure_memory(folder: Path, identifiers: int) -> dict[str, float]:
    """Peak memory of each route above that of the imported process, over the size of the table."""
    table = write_source(folder / "model.safetensors", identifiers, 1)
    ratios = {}
    for source, dest in ROUTES:
        command = [
            sys.executable,
            "-m",
            "benchmarks.convert",
            "--one",
            str(folder / source),
            str(folder / dest),
        ]
        done = json.loads(
            subprocess.run(command, check=True, capture_output=True, text=True).stdout
        )
        ratios[f"{source} -> {dest}"] = round(done["peak_bytes"] / table, 3)
        ratios[f"{source} -> {dest}, seconds"] = done["seconds"]
    return ratios


def convert_one(source: str, dest: Path) -> None:
    """One conversion in this process, with everything imported before."""
    import torch

    torch.zeros(1)
    before, started = peak_memory(), time.perf_counter()
    to = (
        "official"
        if dest.name.startswith("official")
        else "safetensors"
        if dest.suffix
        else "checkpoint"
    )
    convert(source, dest, Request(to=to))  # type: ignore[arg-type]
    seconds = round(time.perf_counter() - started, 1)
    print(json.dumps({"peak_bytes": peak_memory() - before, "seconds": seconds}))


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--identifiers", type=int, default=1_000_000)
    parser.add_argument("--one", nargs=2)
    arguments = parser.parse_args()
    if arguments.one:
        convert_one(arguments.one[0], Path(arguments.one[1]))
        return
    arguments.scratch.mkdir(parents=True, exist_ok=True)
    for name, measure in (
        ("seconds", measure_time),
        ("memory_over_table", lambda folder: measure_memory(folder, arguments.identifiers)),
    ):
        folder = Path(tempfile.mkdtemp(dir=arguments.scratch))
        try:
            print(json.dumps({name: measure(folder)}))
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
