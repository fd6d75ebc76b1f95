"""Write short videos of a square that moves up, down, left or right, as folders of frames and a CSV.

python docs/examples/moving_square.py clips
hrm data images data/clips --images clips --labels clips/labels.csv --frames 3 --size 12 --patch 4

The square leaves at one side and comes in at the other, and its first place is drawn from all places.
So each frame by itself shows a square in any place with equal chance, whichever way it moves: no
frame alone says more than a guess. `--frames 1` writes the last frame of each video as a picture.

Shapes: N videos, C frames, S side of a frame in pixels.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

WAYS = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}
NUM_FRAMES, SIDE = 3, 12
SQUARE = STEP = 4  # pixels: the side of the square, and its way from a frame to the next
DARK, BRIGHT, NOISE = 60, 180, 20


def videos(rng: np.random.Generator, count: int) -> tuple[npt.NDArray[np.uint8], list[str]]:
    """Draw videos (N, C, S, S) and the way of each."""
    chosen = rng.choice(list(WAYS), count)
    moves = STEP * np.array([WAYS[way] for way in chosen])  # (N, 2)
    starts = rng.integers(0, SIDE, (count, 1, 2))
    corners = starts + moves[:, None] * np.arange(NUM_FRAMES)[:, None]  # (N, C, 2)
    distance = (np.arange(SIDE) - corners[..., None]) % SIDE  # (N, C, 2, S)
    is_inside = distance < SQUARE
    is_square = is_inside[:, :, 0, :, None] & is_inside[:, :, 1, None, :]
    noisy = np.where(is_square, BRIGHT, DARK) + rng.normal(0, NOISE, is_square.shape)
    return noisy.clip(0, 255).astype(np.uint8), chosen.tolist()


def write(folder: Path, frames: npt.NDArray[np.uint8]) -> None:
    """Write one video as a folder of frames, or a single frame as a picture."""
    if len(frames) == 1:
        Image.fromarray(frames[0]).save(folder.with_suffix(".png"))
        return
    folder.mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{number}.png")


def main() -> None:
    """Write folders and the table of their labels."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--train", type=int, default=4000)
    parser.add_argument("--test", type=int, default=1000)
    parser.add_argument("--frames", type=int, choices=(1, NUM_FRAMES), default=NUM_FRAMES)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    rng = np.random.default_rng(chosen.seed)
    if chosen.out.exists():
        parser.error(f"{chosen.out} is already there; choose a new folder")
    chosen.out.mkdir(parents=True)
    with (chosen.out / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["file", "label", "split"])
        for split, count in (("train", chosen.train), ("test", chosen.test)):
            drawn, ways = videos(rng, count)
            for number, (frames, way) in enumerate(zip(drawn, ways, strict=True)):
                folder = chosen.out / f"{split}-{number:05d}"
                write(folder, frames[-chosen.frames :])
                name = folder.name if chosen.frames > 1 else f"{folder.name}.png"
                table.writerow([name, way, split])


if __name__ == "__main__":
    main()
