"""`hrm data sudoku` with 1,000 augmentations of 1,000 puzzles: time, and memory above the imported process.

python -m benchmarks.augment --train-csv train.csv
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

from hrm_tasks.sudoku.build import build_from_csv

KIB = 1024


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train-csv", type=Path, required=True)
    parser.add_argument("--puzzles", type=int, default=1000)
    parser.add_argument("--augment", type=int, default=1000)
    arguments = parser.parse_args()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        build = build_from_csv(
            Path(folder) / "data",
            arguments.train_csv,
            None,
            subsample=arguments.puzzles,
            augment=arguments.augment,
        )
        seconds = time.perf_counter() - started
    boards = build["train_examples"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(
        json.dumps(
            {
                "boards": boards,
                "seconds": round(seconds, 2),
                "microseconds_a_board": round(seconds / boards * 1e6, 2),
                "peak_mb_above_imports": round(peak * KIB / 1e6, 1),
            }
        )
    )


if __name__ == "__main__":
    main()
