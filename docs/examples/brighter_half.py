"""Brighten each half of the images of a MedMNIST file by a random offset; ask whether the left is brighter.

python docs/examples/brighter_half.py pneumoniamnist.npz both.npz
hrm data xray data/both --npz both.npz --findings Left_brighter --strips 2 --augment 0
python docs/examples/brighter_half.py pneumoniamnist.npz left.npz --keep left
hrm data xray data/left --npz left.npz --findings Left_brighter --size 28x14 --augment 0

What the halves show says nothing of the offsets, so only a model that keeps the first half in its
state while it sees the second can compare them.
"""

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt

OFFSET = 50.0  # grey levels
KEPT = {"both": slice(None), "left": slice(None, 14), "right": slice(14, None)}


def brightened(
    images: npt.NDArray[np.uint8], rng: np.random.Generator
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Brighten or darken both halves. Shapes: (N, 28, 28) -> the same, (N, 1) left is brighter."""
    offsets = rng.uniform(-OFFSET, OFFSET, (len(images), 2))
    grey = images + np.repeat(offsets, 14, axis=1)[:, None, :]
    is_left = (offsets[:, :1] > offsets[:, 1:]).astype(np.int64)
    return grey.round().clip(0, 255).astype(np.uint8), is_left


def main() -> None:
    """Write a file of the same form."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--keep", choices=KEPT, default="both")
    parser.add_argument("--times", type=int, default=8, help="offsets of each training image")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    rng = np.random.default_rng(chosen.seed)
    written = {}
    with np.load(chosen.source) as source:
        for part, times in (("train", chosen.times), ("val", 1)):
            images, labels = brightened(np.repeat(source[f"{part}_images"], times, axis=0), rng)
            written[f"{part}_images"] = images[:, :, KEPT[chosen.keep]]
            written[f"{part}_labels"] = labels
    np.savez(chosen.out, **written)


if __name__ == "__main__":
    main()
