"""Draw a model at work, ACT step by ACT step, as frames, GIFs and PNGs.

Shapes: S cells, A ACT steps, F frames.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from hrm_core.files import replaced_whole
from hrm_core.pictures.grids import (
    MEANINGS,
    PAPER,
    TEXT_SIZE,
    Mark,
    beside,
    caption,
    legend,
    stack,
    text_line,
)

Tokens = npt.NDArray[np.integer[Any]]
Picture = Callable[[Tokens, Tokens], Image.Image]  # draws tokens (S,) with marks (S,)

PALETTE_SIZE = 256  # the most colours of a GIF
SPLIT = np.array([16, 8, 0], dtype=np.uint32)  # bits that red, green and blue are shifted by


def thinking_marks(
    given: npt.NDArray[np.bool_], inputs: Tokens, answers: Tokens
) -> npt.NDArray[np.int64]:
    """Mark each cell after each step.

    A given cell is GIVEN as long as the answer repeats it; one that the model overwrites is marked
    like any other.
    Shapes: given (S,), inputs (S,), answers (A, S) -> (A, S), values of `Mark`.
    """
    kept = given & (answers == inputs)
    changed = np.zeros_like(kept)
    changed[1:] = answers[1:] != answers[:-1]
    agrees = answers == answers[-1]
    choices = [Mark.GIVEN, Mark.CHANGED, Mark.AGREES]
    marks = np.select([kept, changed, agrees], choices, Mark.PLAIN)
    return marks.astype(np.int64)


def thinking_frames(
    picture: Picture,
    given: npt.NDArray[np.bool_],
    inputs: Tokens,
    answers: Tokens,
    explained: Sequence[Mark] = (Mark.GIVEN, Mark.CHANGED, Mark.AGREES),
    wrong: npt.NDArray[np.bool_] | None = None,
    verdict: str = "",
) -> list[Image.Image]:
    """Draw the question, then the answer after each ACT step.

    All frames have one size, a caption and the same legend of the marks `explained`. If no cell is
    given, as in ARC, each answer stands beside the question. The last frame carries the verdict and
    marks the wrong cells.
    Shapes: given (S,), True where the question already answers; inputs (S,); answers (A, S), A >= 1;
    wrong (S,), True for the cells of the last answer that are in conflict.
    Returns: A + 1 frames for `save_gif`.
    """
    marks = thinking_marks(given, inputs, answers)
    if wrong is not None and wrong.any():
        marks[-1, wrong] = Mark.WRONG
        explained = [*explained, Mark.WRONG]
    question = picture(inputs, np.where(given, Mark.GIVEN, Mark.PLAIN))
    grids = list(map(picture, answers, marks))
    size = _common_size([question, *grids])
    asked = _captioned(question, "question", size)
    steps = []
    for step, grid in enumerate(grids, start=1):
        steps.append(_captioned(grid, f"step {step} of {len(answers)}", size))
    pages = [asked, *steps]
    if not given.any():
        nothing = Image.new("RGB", steps[0].size, PAPER)
        pages = [beside([asked, page], gap=2 * TEXT_SIZE) for page in [nothing, *steps]]
    words = legend(explained, pages[0].width, {**MEANINGS, Mark.WRONG: "in conflict"})
    if verdict:
        *others, last = pages
        judged = text_line(verdict)
        unjudged = Image.new("RGB", judged.size, PAPER)
        pages = [_above(page, unjudged) for page in others] + [_above(last, judged)]
    return [_framed(page, words) for page in pages]


def _common_size(images: Sequence[Image.Image]) -> tuple[int, int]:
    """Return a width and a height that every image fits into."""
    return max(image.width for image in images), max(image.height for image in images)


def _above(page: Image.Image, words: Image.Image) -> Image.Image:
    return stack([page, words], gap=TEXT_SIZE // 2)


def _framed(page: Image.Image, words: Image.Image) -> Image.Image:
    """Put a legend below a page and paper around both."""
    return ImageOps.expand(_above(page, words), TEXT_SIZE, PAPER)


def _captioned(grid: Image.Image, text: str, size: tuple[int, int]) -> Image.Image:
    """Put a grid in the same corner of a page of `size` in every frame, below a caption."""
    page = Image.new("RGB", size, PAPER)
    page.paste(grid)
    return caption(page, text)


def save_gif(
    frames: Sequence[Image.Image], path: Path, seconds_a_frame: float = 0.6, hold_last: float = 2.5
) -> None:
    """Write frames as an endless GIF whose last frame is shown for `hold_last` seconds.

    Equal frames in a row become one.

    Raises: HRMError when the file cannot be written.
    """
    seconds = [seconds_a_frame] * (len(frames) - 1) + [hold_last]
    milliseconds = [round(1000 * each) for each in seconds]
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
    """Give all frames one palette and one size, with paper around smaller frames.

    The most frequent colours are kept exactly. The others, blends at the edges of letters, are
    replaced by close ones.
    """
    size = _common_size(frames)
    pixels = np.stack([_packed(frame, size) for frame in frames])  # (F, height, width)
    colours, inverse, counts = np.unique(pixels, return_inverse=True, return_counts=True)
    kept = np.argsort(-counts, kind="stable")[:PALETTE_SIZE]
    palette = Image.new("P", (1, 1))
    palette.putpalette(_channels(colours[kept]).tobytes())
    all_colours = Image.fromarray(_channels(colours)[None])  # one row
    close = all_colours.quantize(palette=palette, dither=Image.Dither.NONE)
    indices = np.array(close)[0]
    indices[kept] = np.arange(len(kept))  # Pillow's search is exact to 4 levels only
    indexed = indices[inverse.reshape(pixels.shape)]
    return [_with_palette(frame, palette) for frame in indexed]


def _packed(frame: Image.Image, size: tuple[int, int]) -> npt.NDArray[np.uint32]:
    """Pack the pixels of a frame on paper of `size`. Returns: (height, width) 0xRRGGBB."""
    width, height = size
    page = Image.new("RGB", size, PAPER)
    page.paste(frame, ((width - frame.width) // 2, (height - frame.height) // 2))
    channels = np.asarray(page, dtype=np.uint32)
    return channels @ (np.uint32(1) << SPLIT)


def _channels(colours: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint8]:
    """Split packed colours into red, green and blue. Shapes: (N,) -> (N, 3)."""
    shifted = colours[:, None] >> SPLIT
    return shifted.astype(np.uint8)  # keeps the lowest byte


def _with_palette(indices: npt.NDArray[np.uint8], palette: Image.Image) -> Image.Image:
    """Make an image of palette indices (height, width)."""
    image = Image.fromarray(indices)
    image.putpalette(palette.getpalette() or [])
    return image
