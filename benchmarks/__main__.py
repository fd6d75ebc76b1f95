"""All measurements that need no files, one after the other: one table, and JSON to send in.

python -m benchmarks
python -m benchmarks --only update halting --out figures.json
python -m benchmarks --device gpu --dtype bfloat16

Each has a process of its own. On two CPU cores all take most of an hour; nothing else should run meanwhile.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

BACKENDS = ["mlx", "torch"]
BY_BACKEND = ["update", "vocabulary", "table", "halting", "fitting"]
ALONE = ["startup"]
OF_MLX = ["operations"]
TAKES_DEVICE = ("update", "halting", "fitting")
TAKES_DTYPE = ("update", "fitting")


def commands(only: Sequence[str], device: str, dtype: str) -> dict[str, list[str]]:
    """The words of each measurement, by its name in the table."""
    alone = [*ALONE, *(OF_MLX if find_spec("mlx") else [])]
    found = {name: [name] for name in alone if name in only}
    for name in BY_BACKEND:
        for backend in BACKENDS:
            if name in only and find_spec(backend):
                words = [name, "--backend", backend]
                words += ["--device", device] if name in TAKES_DEVICE else []
                words += ["--dtype", dtype] if name in TAKES_DTYPE else []
                found[f"{name}, {backend}"] = words
    return found


def output(*words: str) -> Any:
    """Parse the JSON that a module prints; the last line of its errors if it fails."""
    found = subprocess.run(
        [sys.executable, "-m", *words], check=False, capture_output=True, text=True
    )
    if found.returncode:
        return {"failed": found.stderr.strip().splitlines()[-1:]}
    return json.loads(found.stdout)


def rows(name: str, figures: Any) -> list[str]:
    """Lines of the table, one for each option and figure."""
    return [f"| {name} | {key} | {json.dumps(value)} |" for key, value in figures.items()]


def main() -> None:
    """Print the table, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = [*ALONE, *OF_MLX, *BY_BACKEND]
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--device", choices=["cpu", "gpu", "auto"], default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--out", type=Path, help="also write machine, versions and figures as JSON")
    chosen = parser.parse_args()
    machine = output("hrm_cli.main", "doctor", "--json")
    found = {"machine": machine}
    print("| measurement | figure | value |\n|---|---|---|")
    print("\n".join(rows("machine", machine)), flush=True)
    for name, words in commands(chosen.only, chosen.device, chosen.dtype).items():
        module, *options = words
        found[name] = output(f"benchmarks.{module}", *options)
        print("\n".join(rows(name, found[name])), flush=True)
    if chosen.out:
        chosen.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
