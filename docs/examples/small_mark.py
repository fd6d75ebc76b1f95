"""Write pictures with much noise, half of them with a small bright mark somewhere, and a CSV of labels.

python docs/examples/small_mark.py marks
hrm data images data/strips --images marks --labels marks/labels.csv --size 24x72 --patch 8 --strips 3
hrm data images data/overview --images marks --labels marks/labels.csv --size 24x72 --patch 8 \
    --strips 3 --overview

The mark has 5 x 5 of the 24 x 72 pixels. In an overview, made of the means of 3 pixels side by side,
it keeps a third of its pixels.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

HEIGHT, WIDTH = 24, 72
MARK = 5  # pixels of a side
GREY, NOISE, BRIGHTER = 110, 20, 70


def picture(rng: np.random.Generator, has_mark: bool) -> npt.NDArray[np.uint8]:
    """Draw one picture, the mark in any place. Returns: (H, W)."""
    grey = rng.normal(GREY, NOISE, (HEIGHT, WIDTH))
    if has_mark:
        top, left = rng.integers(0, (HEIGHT - MARK + 1, WIDTH - MARK + 1))
        grey[top : top + MARK, left : left + MARK] += BRIGHTER
    return grey.clip(0, 255).astype(np.uint8)


def main() -> None:
    """Write the pictures and the table of their labels."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--train", type=int, default=4000)
    parser.add_argument("--test", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    rng = np.random.default_rng(chosen.seed)
    if chosen.out.exists():
        parser.error(f"{chosen.out} is already there; choose a new folder")
    chosen.out.mkdir(parents=True)
    with (chosen.out / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["file", "mark", "split"])
        for split, count in (("train", chosen.train), ("test", chosen.test)):
            for number in range(count):
                has_mark = bool(rng.integers(2))
                name = f"{split}-{number:05d}.png"
                Image.fromarray(picture(rng, has_mark)).save(chosen.out / name)
                table.writerow([name, int(has_mark), split])


if __name__ == "__main__":
    main()
