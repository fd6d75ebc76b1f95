"""Examples/s of two processes over those of one, on one machine, runs taken in turn.

hrm data sudoku data/9x9 --generate 200 --test 20 --augment 20
python -m benchmarks.processes sudoku-9x9 --data data/9x9
python -m benchmarks.processes sudoku-9x9 --data data/9x9 --no-launcher

mlx.launch keeps more than a core busy with waiting; --no-launcher starts the two with MLX's variables instead.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

LAUNCH = (
    "import sys; from mlx._distributed_utils.launch import main; sys.exit(main())"  # mlx.launch
)
LAUNCHED = [sys.executable, "-c", LAUNCH, "-n", "2", "--"]
WARM_UP = 3  # updates

Process = subprocess.Popen[str]


def start(command: list[str], **variables: str) -> Process:
    """Start one process."""
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,  # mlx.launch would read an empty file over and over
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env={**os.environ, **variables},
        text=True,
    )


def start_two(command: list[str], folder: Path) -> list[Process]:
    """Start two processes as MLX documents it for a ring without mlx.launch."""
    with socket.socket() as first, socket.socket() as second:
        for listener in (first, second):
            listener.bind(("127.0.0.1", 0))
        ports = [listener.getsockname()[1] for listener in (first, second)]
    hosts = folder / "hosts.json"
    hosts.write_text(json.dumps([[f"127.0.0.1:{port}"] for port in ports]))
    return [start(command, MLX_RANK=str(rank), MLX_HOSTFILE=str(hosts)) for rank in range(2)]


def examples_per_second(way: str, preset: str, data: Path, updates: int, more: list[str]) -> float:
    """Train in one process, or in two with or without the launcher. Returns: the median over its updates."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        given = ["train", preset, "--data", str(data), "--run", str(run), *more]
        settings = ["--max-updates", str(updates), "--set", "train.report_every=1"]
        settings += ["--set", "train.eval_examples=1"]
        command = [sys.executable, "-m", "hrm_cli", *given, *settings]
        if way == "no launcher":
            started = start_two(command, Path(folder))
        else:
            started = [start([*LAUNCHED, *command] if way == "launcher" else command)]
        with ThreadPoolExecutor() as readers:  # a full pipe would hold a process up
            said = list(readers.map(lambda process: process.communicate()[1], started))
        log = run / "log.jsonl"
        lines = log.read_text().splitlines() if log.exists() else []
    records = [json.loads(line) for line in lines]
    rates = [line["examples_per_second"] for line in records if line["kind"] == "train"]
    if len(rates) != updates:
        sys.exit("\n".join(said))
    return statistics.median(rates[WARM_UP:])


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("preset")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--no-launcher", action="store_true")
    arguments, more = parser.parse_known_args()
    given = arguments.preset, arguments.data, arguments.updates, more
    together = "no launcher" if arguments.no_launcher else "launcher"
    pairs = [
        (examples_per_second("alone", *given), examples_per_second(together, *given))
        for _ in range(arguments.pairs)
    ]
    one, two = (statistics.median(column) for column in zip(*pairs, strict=True))
    found = {
        "together": together,
        "one": one,
        "two": two,
        "ratios": [round(second / first, 3) for first, second in pairs],
        "ratio": round(statistics.median(second / first for first, second in pairs), 3),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
