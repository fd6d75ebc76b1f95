"""Examples/s of two processes of mlx.launch over those of one, on one machine, runs taken in turn.

hrm data sudoku data/9x9 --generate 200 --test 20 --augment 20
python -m benchmarks.processes sudoku-9x9 --data data/9x9
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

LAUNCH = (
    "import sys; from mlx._distributed_utils.launch import main; sys.exit(main())"  # mlx.launch
)
WARM_UP = 3  # updates


def examples_per_second(
    count: int, preset: str, data: Path, updates: int, more: list[str]
) -> float:
    """Train in so many processes. Returns: the median over its updates."""
    launch = [sys.executable, "-c", LAUNCH, "-n", str(count), "--"]
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        given = ["train", preset, "--data", str(data), "--run", str(run), *more]
        settings = ["--max-updates", str(updates), "--set", "train.report_every=1"]
        settings += ["--set", "train.eval_examples=1"]
        command = [sys.executable, "-m", "hrm_cli", *given, *settings]
        launched = subprocess.Popen(
            [*launch, *command] if count > 1 else command,
            stdin=subprocess.PIPE,  # mlx.launch would read an empty file over and over
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        _, err = launched.communicate()
        if not (run / "log.jsonl").exists():
            sys.exit(err)
        records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    rates = [line["examples_per_second"] for line in records if line["kind"] == "train"]
    if len(rates) != updates:
        sys.exit(err)
    return statistics.median(rates[WARM_UP:])


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("preset")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=3)
    arguments, more = parser.parse_known_args()
    given = arguments.preset, arguments.data, arguments.updates, more
    pairs = [
        (examples_per_second(1, *given), examples_per_second(2, *given))
        for _ in range(arguments.pairs)
    ]
    one, two = (statistics.median(column) for column in zip(*pairs, strict=True))
    found = {
        "one": one,
        "two": two,
        "ratios": [round(second / first, 3) for first, second in pairs],
        "ratio": round(statistics.median(second / first for first, second in pairs), 3),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
