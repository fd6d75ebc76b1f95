"""`hrm data NAME`: examples a second, and the most memory the process ever held.

python -m benchmarks.building sudoku --train-csv train.csv --subsample 1000 --augment 1000
python -m benchmarks.building arc --tasks ARC-AGI-1.zip --tasks ConceptARC.zip --augment 1000

All that follows the name are options of `hrm data NAME`. Imports count too, in time and in memory.
"""

import argparse
import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path

from hrm_cli.main import hrm

from hrm_core.process import peak_memory


def main() -> None:
    """Build a data set, throw it away, and print the figures as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="of a task")
    parser.add_argument("options", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "data"
        command = ["data", arguments.name, str(out), *arguments.options]
        started, cpu_started = time.perf_counter(), time.process_time()
        with contextlib.redirect_stdout(sys.stderr):
            hrm.main(command, prog_name="hrm", standalone_mode=False)
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
        built = json.loads((out / "build.json").read_text())
        size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    examples = built["train_examples"] + built.get("test_examples", 0)
    figures = {
        "command": f"hrm data {arguments.name} {' '.join(arguments.options)}",
        "examples": examples,
        "seconds": round(seconds, 2),
        "examples_a_second": round(examples / seconds),
        "cpu_seconds": round(cpu_seconds, 2),  # what counts where others compute, too
        "peak_memory_gb": round(peak_memory() / 1e9, 3),
        "gb_on_disk": round(size / 1e9, 3),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
