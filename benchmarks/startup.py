"""Time `hrm --help` and `hrm solve`, beside a Python that does nothing and one that imports torch, taken in turn.

python -m benchmarks.startup
"""

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time

ROUNDS = 10  # after one that is not counted: it writes the bytecode
PUZZLE = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
SOLVE = ("-m", "hrm_cli", "solve", "sudoku-9x9", PUZZLE)
COMMANDS = {
    "python": ("-c", ""),
    "hrm --help": ("-m", "hrm_cli", "--help"),
    "hrm solve": SOLVE,
}
OF_TORCH = {
    "import torch": ("-c", "import torch"),
    "hrm solve --backend torch": (*SOLVE, "--backend", "torch"),
}


def seconds(arguments: tuple[str, ...]) -> float:
    """Wall time of a Python process, which may keep its bytecode."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, env=kept)
    return time.perf_counter() - started


def main() -> None:
    """Print median, smallest and largest seconds as JSON, and what `hrm solve` takes besides importing torch."""
    commands = {**COMMANDS, **(OF_TORCH if importlib.util.find_spec("torch") else {})}
    rounds = [
        {name: seconds(arguments) for name, arguments in commands.items()}
        for _ in range(ROUNDS + 1)
    ][1:]
    times = {name: [each[name] for each in rounds] for name in commands}
    if OF_TORCH.keys() <= times.keys():
        imported, solved = (times[name] for name in OF_TORCH)
        times["besides import torch"] = [b - a for a, b in zip(imported, solved, strict=True)]
    found = {
        name: [round(f(each), 3) for f in (statistics.median, min, max)]
        for name, each in times.items()
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
