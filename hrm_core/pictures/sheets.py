"""Many examples on one page: question, answer, prediction."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from hrm_core.pictures.grids import CAPTION_SIZE, PAPER, Mark, beside, legend, stack, text_line

Tokens = npt.NDArray[np.integer[Any]]
Picture = Callable[[Tokens, Tokens, int], Image.Image]

LARGEST_CELL = 48  # pixels
PROBE_CELL = (
    24  # pixels of the cells that a grid is drawn with to learn its size; lines are narrower
)

MARGIN = 32
COLUMN_GAP = 28
EXAMPLE_GAP = 64  # between examples that stand side by side
ROW_GAP = 24
TITLE_SIZE = 28
PAGE_WIDTH = 2320  # pixels


def cell_size(picture: Picture, grids: Iterable[Tokens], room: int) -> int:
    """Return how large cells can be for each of these grids (S,) to fit in about `room` pixels.

    `picture` draws tokens (S,) with marks (S,) and so many pixels a cell.
    """
    drawn = [picture(tokens, np.full(len(tokens), Mark.PLAIN), PROBE_CELL) for tokens in grids]
    cells = max(max(image.size) // PROBE_CELL for image in drawn)
    return max(1, min(LARGEST_CELL, room // cells))


def sheet(
    rows: Sequence[Sequence[Image.Image]],
    headings: Sequence[str],
    captions: Sequence[str] | None = None,
    title: str = "",
    marks: Sequence[Mark] = (),
    page_width: int = PAGE_WIDTH,
) -> Image.Image:
    """Lay out examples: a row of pictures each, one below each heading.

    `captions`, one an example, stand above it; `title` and a legend of `marks` stand above everything. As many examples stand
    side by side as `page_width` has room for, read line by line.
    """
    widths = _column_widths(rows, headings)
    head = _row([text_line(heading, CAPTION_SIZE) for heading in headings], widths)
    examples = [_row(row, widths) for row in rows]
    if captions is not None:
        examples = [
            stack([text_line(text), example], gap=ROW_GAP // 4)
            for text, example in zip(captions, examples, strict=True)
        ]
    body = _side_by_side(head, examples, page_width - 2 * MARGIN)
    page = stack([*_title_lines(title, marks, body.width), body], gap=ROW_GAP)
    return ImageOps.expand(page, MARGIN, PAPER)


def _column_widths(rows: Sequence[Sequence[Image.Image]], headings: Sequence[str]) -> list[int]:
    """As wide as the widest picture or heading of each column."""
    columns = zip(*rows, strict=True) if rows else ((),) * len(headings)
    words = (text_line(heading, CAPTION_SIZE) for heading in headings)
    return [
        max(image.width for image in (word, *column))
        for word, column in zip(words, columns, strict=True)
    ]


def _row(images: Sequence[Image.Image], widths: Sequence[int]) -> Image.Image:
    """Put images beside each other, each in the middle of its column."""
    return beside(
        (_widen(image, width, align=0.5) for image, width in zip(images, widths, strict=True)),
        gap=COLUMN_GAP,
    )


def _side_by_side(head: Image.Image, examples: Sequence[Image.Image], room: int) -> Image.Image:
    """Break examples into lines no wider than `room`, if one fits at all, below as many headings."""
    width = max(image.width for image in (head, *examples))
    across = max(1, min(len(examples), (room + EXAMPLE_GAP) // (width + EXAMPLE_GAP)))
    blocks = [_widen(image, width) for image in (*[head] * across, *examples)]
    lines = (blocks[start : start + across] for start in range(0, len(blocks), across))
    return stack((beside(line, gap=EXAMPLE_GAP) for line in lines), gap=ROW_GAP)


def _widen(image: Image.Image, width: int, align: float = 0.0) -> Image.Image:
    """Give an image paper at its sides until it is `width` pixels wide."""
    return stack([image, Image.new("RGB", (width, 0))], align=align)


def _title_lines(title: str, marks: Sequence[Mark], width: int) -> list[Image.Image]:
    """The title and the legend, where there are any."""
    lines = [text_line(title, TITLE_SIZE)] if title else []
    return [*lines, legend(marks, width)] if marks else lines
