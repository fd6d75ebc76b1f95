"""Lay out many examples on one page: question, answer, prediction."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from hrm_core.pictures.grids import (
    CAPTION_SIZE,
    PAPER,
    Mark,
    Swatch,
    beside,
    legend,
    stack,
    text_line,
)

Tokens = npt.NDArray[np.integer[Any]]
Picture = Callable[[Tokens, Tokens, int], Image.Image]

LARGEST_CELL = 48  # pixels
PROBE_CELL = 24  # pixels a cell when a grid is drawn to measure it; lines are narrower

MARGIN = 32
COLUMN_GAP = 28
EXAMPLE_GAP = 64  # between examples that stand side by side
ROW_GAP = 24
TITLE_SIZE = 28
PAGE_WIDTH = 2320  # pixels


def cell_size(picture: Picture, grids: Iterable[Tokens], room: int) -> int:
    """Return the largest cell, in pixels, with which each of these grids (S,) fits into `room`.

    `picture` draws tokens (S,) with marks (S,) and a number of pixels a cell.
    """
    num_cells = 0
    for tokens in grids:
        marks = np.full(len(tokens), Mark.PLAIN)
        drawn = picture(tokens, marks, PROBE_CELL)
        num_cells = max(num_cells, max(drawn.size) // PROBE_CELL)
    return max(1, min(LARGEST_CELL, room // num_cells))


def sheet(
    rows: Sequence[Sequence[Image.Image]],
    headings: Sequence[str],
    captions: Sequence[str] | None = None,
    title: str = "",
    marks: Sequence[Mark] = (),
    page_width: int = PAGE_WIDTH,
    swatches: Sequence[Swatch] = (),
) -> Image.Image:
    """Lay out examples: each is a row of pictures, one below each heading.

    Each example has one of `captions` above it, of one or more lines; `title` and a legend of `swatches` and `marks` head
    the page. As many examples as fit into `page_width` stand side by side, read line by line.
    """
    words = [text_line(heading, CAPTION_SIZE) for heading in headings]
    widths = _column_widths([words, *rows])
    head = _row(words, widths)
    examples = [_row(row, widths) for row in rows]
    if captions is not None:
        pairs = zip(captions, examples, strict=True)
        examples = [_captioned(text, example) for text, example in pairs]
    body = _side_by_side(head, examples, page_width - 2 * MARGIN)
    title_lines = [text_line(title, TITLE_SIZE)] if title else []
    if marks or swatches:
        title_lines.append(legend(marks, body.width, others=swatches))
    page = stack([*title_lines, body], gap=ROW_GAP)
    return ImageOps.expand(page, MARGIN, PAPER)


def _captioned(text: str, example: Image.Image) -> Image.Image:
    """Put a caption above an example, each of its lines below the other."""
    lines = map(text_line, text.split("\n"))
    return stack([stack(lines), example], gap=ROW_GAP // 4)


def _column_widths(rows: Sequence[Sequence[Image.Image]]) -> list[int]:
    """Return the width of the widest image of each column."""
    widths = []
    for column in zip(*rows, strict=True):
        widest = max(column, key=lambda image: image.width)
        widths.append(widest.width)
    return widths


def _row(images: Sequence[Image.Image], widths: Sequence[int]) -> Image.Image:
    """Put images beside each other, each in the middle of its column."""
    columns = [_widen(image, width, align=0.5) for image, width in zip(images, widths, strict=True)]
    return beside(columns, gap=COLUMN_GAP)


def _side_by_side(head: Image.Image, examples: Sequence[Image.Image], room: int) -> Image.Image:
    """Break examples into lines no wider than `room`, each column of them below a heading.

    A line holds at least one example.
    """
    width = max(image.width for image in (head, *examples))
    num_fitting = (room + EXAMPLE_GAP) // (width + EXAMPLE_GAP)
    across = max(1, min(len(examples), num_fitting))
    blocks = [_widen(image, width) for image in (*[head] * across, *examples)]
    groups = [blocks[start : start + across] for start in range(0, len(blocks), across)]
    lines = [beside(group, gap=EXAMPLE_GAP) for group in groups]
    return stack(lines, gap=ROW_GAP)


def _widen(image: Image.Image, width: int, align: float = 0.0) -> Image.Image:
    """Add paper at the sides of an image until it is `width` pixels wide."""
    strut = Image.new("RGB", (width, 0))
    return stack([image, strut], align=align)
