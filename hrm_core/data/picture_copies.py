"""Changed copies of training pictures: shifted a little, brighter or darker, of other contrast.

Shapes: H, W pixels; C frames, which are changed alike.
"""

import numpy as np
import numpy.typing as npt

MAX_SHIFT = 1 / 12  # of a side
MAX_BRIGHTNESS = 25.0  # of 255, added
MAX_CONTRAST = 1.25  # factor about the mean; the least is 1 / MAX_CONTRAST

UintArray = npt.NDArray[np.uint8]


def changed(pixels: UintArray, rng: np.random.Generator, flip: bool = False) -> UintArray:
    """Return a changed copy of a picture (H, W) or of frames (C, H, W).

    Pixels on the edge are repeated where the picture is shifted in. `flip` mirrors every other copy
    from left to right, by chance.
    """
    height, width = pixels.shape[-2:]
    rows = _shifted(height, rng)
    columns = _shifted(width, rng)
    if flip and rng.random() < 0.5:
        columns = columns[::-1]
    moved = pixels[..., rows[:, None], columns].astype(np.float32)
    contrast = MAX_CONTRAST ** rng.uniform(-1, 1)
    brightness = rng.uniform(-MAX_BRIGHTNESS, MAX_BRIGHTNESS)
    mean = moved.mean()
    seen = (moved - mean) * np.float32(contrast) + mean + np.float32(brightness)
    copy: UintArray = np.rint(np.clip(seen, 0, 255)).astype(np.uint8)
    return copy


def _shifted(side: int, rng: np.random.Generator) -> npt.NDArray[np.integer]:
    """Return where each row or column of a shifted picture comes from."""
    most = max(1, round(side * MAX_SHIFT))
    by = int(rng.integers(-most, most + 1))
    return np.clip(np.arange(side) - by, 0, side - 1)
