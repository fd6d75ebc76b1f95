"""Time `hrm --help` beside a Python that does nothing.

python -m benchmarks.startup
"""

import json
import statistics
import subprocess
import sys
import time


def seconds(*arguments: str) -> float:
    """Median wall time of a Python process over ten runs."""
    times = []
    for _ in range(10):
        started = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    """Print both as JSON."""
    print(
        json.dumps(
            {
                "python": round(seconds("-c", ""), 3),
                "hrm --help": round(seconds("-m", "hrm_cli.main", "--help"), 3),
            }
        )
    )


if __name__ == "__main__":
    main()
