"""Occlusion maps: which parts of a picture a model's answer depends on.

Each block of `patch` pixels is replaced by the mean of the picture, and the model is asked again.
What the log-odds of a label lose is what the block said for it.
Source: Zeiler and Fergus 2014, Visualizing and Understanding Convolutional Networks, 2.

Shapes: H, W pixels; C frames; A, B blocks down and across.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from hrm_core.pictures.grids import PAPER, beside, stack, text_line
from hrm_core.tasks.picture_scores import FloatArray

ORANGE, BLUE = (
    (213, 94, 0),
    (0, 114, 178),
)  # for and against; colour-blind people can tell them apart
ROOM = 448  # pixels of the longer side of a picture
GAP = 12
MOST_COLOUR = 0.65  # opacity of the block that matters most

UintArray = npt.NDArray[np.uint8]


class Occlusion(NamedTuple):
    """How much each block says for a label, in log-odds."""

    label: str
    chance: float  # of the whole picture
    evidence: FloatArray  # (C, A, B) what the odds lose without the block

    @property
    def strongest(self) -> float:
        """Return the largest change, for or against."""
        return float(np.abs(self.evidence).max())

    def text(self) -> str:
        """Say what the map shows in one line."""
        return (
            f"{self.label} ({self.chance:.1%}); orange speaks for it, blue against it; "
            f"the strongest block changes the log-odds by {self.strongest:.2f}"
        )


def blocks_of(shape: tuple[int, ...], side: int) -> list[tuple[int, slice, slice]]:
    """Return frame, rows and columns of each block of a picture (C, H, W), row by row."""
    frames, height, width = shape
    tops, lefts = range(0, height, side), range(0, width, side)
    return [
        (frame, slice(top, top + side), slice(left, left + side))
        for frame in range(frames)
        for top in tops
        for left in lefts
    ]


def without_block(picture: UintArray, block: tuple[int, slice, slice]) -> UintArray:
    """Return frames (C, H, W) with one block replaced by the mean of its frame."""
    hidden = picture.copy()
    hidden[block] = round(float(picture[block[0]].mean()))
    return hidden


def evidence_of(
    odds: FloatArray, without: FloatArray, shape: tuple[int, ...], side: int
) -> FloatArray:
    """Arrange what the odds lose without each block. Returns: (C, A, B)."""
    frames, height, width = shape
    return (odds - without).reshape(frames, -(-height // side), -(-width // side))


def draw(picture: UintArray, side: int, found: Occlusion, title: str, note: str) -> Image.Image:
    """Draw a picture (C, H, W) and beside it, or below it, the same under the map."""
    plain = [_enlarged(frame, len(picture)) for frame in picture]
    mapped = []
    for frame, evidence in zip(plain, found.evidence, strict=True):
        scale = frame.height / picture.shape[1]
        mapped.append(_under(frame, evidence / max(found.strongest, 1e-9), side * scale))
    join = beside if len(picture) == 1 else stack
    body = join([beside(plain, gap=GAP), beside(mapped, gap=GAP)], gap=GAP)
    lines = [text_line(text) for text in (title, found.text(), note) if text]
    return ImageOps.expand(stack([*lines, body], gap=GAP // 2), GAP, PAPER)


def _enlarged(frame: UintArray, num_frames: int) -> Image.Image:
    """Return a frame with whole pixels, as large as the page has room for."""
    room = max(64, 2 * ROOM // max(num_frames, 2))
    factor = max(1, room // max(frame.shape))
    height, width = frame.shape
    image = Image.fromarray(frame).resize(
        (width * factor, height * factor), Image.Resampling.NEAREST
    )
    return image.convert("RGB")


def _under(frame: Image.Image, evidence: FloatArray, side: float) -> Image.Image:
    """Colour a frame by evidence (A, B) from -1 to 1, `side` pixels a block."""
    pixels = np.asarray(frame).astype(np.float64)
    rows = (np.arange(frame.height) // side).astype(np.intp)
    columns = (np.arange(frame.width) // side).astype(np.intp)
    of_pixels = evidence[rows][:, columns][..., None]
    colour = np.where(of_pixels > 0, ORANGE, BLUE)
    opacity = MOST_COLOUR * np.abs(of_pixels)
    mixed = (1 - opacity) * pixels + opacity * colour
    return Image.fromarray(np.rint(mixed).astype(np.uint8))
