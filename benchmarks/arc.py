"""`hrm data arc`: examples a second, and the most memory the process ever held.

python -m benchmarks.arc --tasks ARC-AGI-1.zip --tasks ConceptARC.zip --augment 1000
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

from hrm_tasks.arc.build import build

UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=Path, action="append", required=True)
    parser.add_argument("--augment", type=int, default=50)
    parser.add_argument("--out", type=Path, help="keep the data set here; thrown away if not set")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = arguments.out or Path(folder) / "data"
        started = time.perf_counter()
        built = build(out, arguments.tasks, augment=arguments.augment)
        seconds = time.perf_counter() - started
        usage = resource.getrusage(resource.RUSAGE_SELF)
        size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    examples = built["train_examples"] + built.get("test_examples", 0)
    print(
        json.dumps(
            {
                "augment": arguments.augment,
                "tasks": len(built["tasks"]),
                "identifiers": built["identifiers"],
                "examples": examples,
                "seconds": round(seconds, 2),
                "examples_a_second": round(examples / seconds),
                "cpu_seconds": round(
                    usage.ru_utime + usage.ru_stime, 2
                ),  # imports included; what counts where others compute, too
                "peak_rss_gb": round(usage.ru_maxrss * UNIT / 1e9, 3),
                "gb_on_disk": round(size / 1e9, 3),
            }
        )
    )


if __name__ == "__main__":
    main()
