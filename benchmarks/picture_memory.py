"""Most anonymous memory of building, inspecting and training on many pictures.

python -m benchmarks.picture_memory 20000
python -m benchmarks.picture_memory 20000 --task xray --keep /tmp/pictures

Synthetic pictures of 224x224 pixels in a ZIP file, and a table of two labels. Each command has a
process of its own, whose RssAnon is read every 20 ms: pages of files that are mapped do not count,
the system takes them back whenever it wants. Linux only.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

CONFIG = "images-small"
UPDATES = 10
STRIPE = 16  # pixels; noise in blocks packs as well as photographs do
SIDE = 224


def write_pictures(folder: Path, count: int) -> None:
    """Write a ZIP file of pictures, and a table of which are bright on the left."""
    rng = np.random.default_rng(0)
    lines = ["file,Mass,Nodule"]
    with zipfile.ZipFile(folder / "pictures.zip", "w") as archive:
        for number in range(count):
            blocks = rng.integers(0, 200, (SIDE // STRIPE, SIDE // STRIPE), np.uint8)
            is_bright, other = rng.integers(0, 2, 2).tolist()
            pixels = blocks.repeat(STRIPE, axis=0).repeat(STRIPE, axis=1)
            pixels[:, : SIDE // 2] += np.uint8(50 * is_bright)
            file = BytesIO()
            Image.fromarray(pixels).save(file, "PNG", compress_level=1)
            archive.writestr(f"{number}.png", file.getvalue())
            lines.append(f"{number}.png,{is_bright},{other}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")


def measured(*words: object) -> dict[str, object]:
    """Run a command of hrm and watch its memory until it ends."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "hrm_cli", *map(str, words)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    most = 0
    while process.poll() is None:
        most = max(most, anonymous(process.pid))
        time.sleep(0.02)
    output = process.communicate()[0]
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: {output[-2000:]}")
    seconds = round(time.perf_counter() - started, 1)
    name = " ".join(map(str, words[:2]))
    return {"command": name, "seconds": seconds, "most_anonymous_gb": round(most / 1e9, 3)}


def anonymous(pid: int) -> int:
    """Read the anonymous memory of a process in bytes; 0 if it has ended. Source: proc(5)."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = [line.split()[1] for line in status.splitlines() if line.startswith("RssAnon")]
    return 1024 * int(found[0]) if found else 0


def main() -> None:
    """Print what each command held as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("count", type=int, help="of pictures")
    parser.add_argument("--task", choices=["images", "xray"], default="images")
    parser.add_argument("--keep", type=Path, help="folder for pictures that another run may use")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.keep or Path(scratch)
        folder.mkdir(exist_ok=True)
        if not (folder / "labels.csv").exists():
            write_pictures(folder, chosen.count)
        data, run = Path(scratch) / "data", Path(scratch) / "run"
        words = ("--images", folder / "pictures.zip", "--labels", folder / "labels.csv")
        print(json.dumps(measured("data", chosen.task, data, *words, "--size", SIDE)), flush=True)
        print(json.dumps(measured("data", "inspect", data)), flush=True)
        words = ("--data", data, "--run", run, "--max-updates", UPDATES)
        words = (*words, "--set", "train.eval_examples=64", "--device", "cpu")
        print(json.dumps(measured("train", CONFIG, *words)), flush=True)


if __name__ == "__main__":
    main()
