"""A model at work, ACT step by ACT step, as frames, GIFs and PNGs.

Shapes: S cells, A ACT steps, F frames.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from hrm_core.files import replaced_whole
from hrm_core.pictures.grids import PAPER, TEXT_SIZE, Mark, beside, caption, legend, stack

Tokens = npt.NDArray[np.integer[Any]]
Picture = Callable[[Tokens, Tokens], Image.Image]  # draws tokens (S,) with marks (S,)

PALETTE_SIZE = 256  # all a GIF can hold


def thinking_marks(
    given: npt.NDArray[np.bool_], inputs: Tokens, answers: Tokens
) -> npt.NDArray[np.int64]:
    """Say of each cell at each step what the model is doing with it.

    A given cell stays GIVEN as long as the answer repeats it; one that the model overwrites is marked like any other.
    Shapes: given (S,), inputs (S,), answers (A, S) -> (A, S), values of `Mark`.
    """
    kept = given & (answers == inputs)
    changed = np.zeros_like(kept)
    changed[1:] = answers[1:] != answers[:-1]
    agrees = answers == answers[-1]
    return np.select(
        [kept, changed, agrees], [Mark.GIVEN, Mark.CHANGED, Mark.AGREES], Mark.PLAIN
    ).astype(np.int64)


def thinking_frames(
    picture: Picture,
    given: npt.NDArray[np.bool_],
    inputs: Tokens,
    answers: Tokens,
    explained: Sequence[Mark] = (Mark.GIVEN, Mark.CHANGED, Mark.AGREES),
) -> list[Image.Image]:
    """Draw the question, then the answer after each ACT step, all frames alike in size, with a caption and the same legend.

    An answer that keeps nothing of the question, as ARC's, stands beside it.
    Shapes: given (S,), True where the question already answers; inputs (S,); answers (A, S), A >= 1. `explained` are the marks of
    the legend.
    Returns: A + 1 frames for `save_gif`.
    """
    question = picture(inputs, np.where(given, Mark.GIVEN, Mark.PLAIN))
    grids = [
        picture(*each) for each in zip(answers, thinking_marks(given, inputs, answers), strict=True)
    ]
    size = (
        max(grid.width for grid in [question, *grids]),
        max(grid.height for grid in [question, *grids]),
    )
    steps = [
        _captioned(grid, f"step {step} of {len(answers)}", size)
        for step, grid in enumerate(grids, start=1)
    ]
    asked, nothing = _captioned(question, "question", size), Image.new("RGB", steps[0].size, PAPER)
    pages = (
        [asked, *steps]
        if given.any()
        else [beside([asked, page], gap=2 * TEXT_SIZE) for page in [nothing, *steps]]
    )
    words = legend(explained, width=pages[0].width)
    return [
        ImageOps.expand(stack([page, words], gap=TEXT_SIZE // 2), TEXT_SIZE, PAPER)
        for page in pages
    ]


def _captioned(grid: Image.Image, text: str, size: tuple[int, int]) -> Image.Image:
    """A grid in the corner of a page of `size`, where it is in every frame, below a caption."""
    page = Image.new("RGB", size, PAPER)
    page.paste(grid)
    return caption(page, text)


def save_gif(
    frames: Sequence[Image.Image], path: Path, seconds_a_frame: float = 0.6, hold_last: float = 2.5
) -> None:
    """Write frames as an endless GIF, the last one shown for `hold_last` seconds. Frames alike in a row become one.

    Raises: HRMError when the file cannot be written.
    """
    milliseconds = [
        round(1000 * seconds) for seconds in [*[seconds_a_frame] * (len(frames) - 1), hold_last]
    ]
    first, *others = share_palette(frames)
    with replaced_whole(path) as draft:
        first.save(
            draft,
            format="GIF",
            save_all=True,
            append_images=others,
            duration=milliseconds,
            loop=0,
            optimize=False,
        )


def save_png(image: Image.Image, path: Path) -> None:
    """Write an image as PNG.

    Raises: HRMError when the file cannot be written.
    """
    with replaced_whole(path) as draft:
        image.save(draft, format="PNG", optimize=True)


def share_palette(frames: Sequence[Image.Image]) -> list[Image.Image]:
    """Give all frames one palette, so that a colour is the same in each; smaller frames get paper around them.

    The most frequent colours are kept exactly. What is left, blends at the edges of letters, goes to one close by.
    """
    size = max(frame.width for frame in frames), max(frame.height for frame in frames)
    pixels = np.stack([_packed(frame, size) for frame in frames])  # (F, height, width)
    colours, inverse, counts = np.unique(pixels, return_inverse=True, return_counts=True)
    kept = np.argsort(-counts, kind="stable")[:PALETTE_SIZE]
    palette = Image.new("P", (1, 1))
    palette.putpalette(_channels(colours[kept]).tobytes())
    close = Image.fromarray(_channels(colours)[None]).quantize(
        palette=palette, dither=Image.Dither.NONE
    )
    indices = np.array(close)[0]
    indices[kept] = np.arange(len(kept))  # Pillow's search is exact to 4 levels only
    return [_with_palette(frame, palette) for frame in indices[inverse.reshape(pixels.shape)]]


def _packed(frame: Image.Image, size: tuple[int, int]) -> npt.NDArray[np.uint32]:
    """A frame's pixels on paper of `size`, one number a colour. Returns: (height, width) 0xRRGGBB."""
    page = Image.new("RGB", size, PAPER)
    page.paste(frame, ((size[0] - frame.width) // 2, (size[1] - frame.height) // 2))
    return np.asarray(page, dtype=np.uint32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.uint32)


def _channels(colours: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint8]:
    """Split packed colours. Shapes: (N,) -> (N, 3)."""
    return (colours[:, None] >> np.array([16, 8, 0], dtype=np.uint32)).astype(
        np.uint8
    )  # keeps the lowest byte


def _with_palette(indices: npt.NDArray[np.uint8], palette: Image.Image) -> Image.Image:
    """An image of palette indices (height, width)."""
    image = Image.fromarray(indices)
    image.putpalette(palette.getpalette() or [])
    return image
