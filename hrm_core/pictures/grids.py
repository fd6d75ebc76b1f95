"""One grid of symbols as an image, and the words that stand around it.

Shapes: R rows, C columns. Sizes are in pixels. Every image is RGB on `PAPER`.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]

PAPER: Colour = (255, 255, 255)
INK: Colour = (28, 30, 36)
THIN_LINE: Colour = (150, 155, 164)
TEXT_SIZE = 16
CAPTION_SIZE = 20
SYMBOL_SHARE = 0.66  # of a cell's height
CAPITAL_SHARE = 0.68  # of a symbol's size: how high digits and capitals are in Pillow's own font
BOLD_SHIFT = (
    0.03  # of a symbol's size: Pillow's own font has one weight, so a bold symbol is set twice
)
MIN_SYMBOL_SIZE = 6  # smaller ones are only dirt on the colour
NO_GLYPH = "\uffff"  # a noncharacter: no font has a glyph for it
FADING = 0.75  # share of paper in a faded colour


class Mark(IntEnum):
    """What a cell's colour says about it."""

    PLAIN = 0
    GIVEN = 1  # part of the question
    AGREES = 2  # already what the final answer says
    CHANGED = 3  # another answer than in the step before
    WRONG = 4  # not what the solution says; pictures show such a cell even outside of the grid
    RIGHT = 5  # as the solution says: faded, so that what is wrong stands out


def faded(colour: Colour) -> Colour:
    """A paler one."""
    red, green, blue = (
        round(FADING * white + (1 - FADING) * own) for white, own in zip(PAPER, colour, strict=True)
    )
    return red, green, blue


class Paint(NamedTuple):
    """The two colours of a cell."""

    fill: Colour
    ink: Colour

    @property
    def faded(self) -> "Paint":
        """The same, paler: of a cell that is right."""
        return Paint(faded(self.fill), faded(self.ink))


# No two fills are told apart by red against green alone; given cells are bold besides.
PAINTS: Mapping[Mark, Paint] = {
    Mark.PLAIN: Paint(fill=PAPER, ink=(70, 74, 84)),
    Mark.GIVEN: Paint(fill=(208, 211, 217), ink=(12, 13, 16)),
    Mark.AGREES: Paint(fill=(183, 226, 247), ink=(0, 76, 128)),
    Mark.CHANGED: Paint(fill=(255, 176, 46), ink=(74, 38, 0)),
    Mark.WRONG: Paint(fill=(190, 30, 50), ink=PAPER),
    Mark.RIGHT: Paint(fill=PAPER, ink=(182, 186, 194)),
}

MEANINGS: Mapping[Mark, str] = {
    Mark.PLAIN: "answered",
    Mark.GIVEN: "given",
    Mark.AGREES: "as in the final answer",
    Mark.CHANGED: "just changed",
    Mark.WRONG: "wrong",
    Mark.RIGHT: "right",
}


def draw_board(
    symbols: Sequence[Sequence[str]],
    marks: npt.NDArray[np.integer[Any]],
    box_height: int,
    box_width: int,
    cell: int = 48,
) -> Image.Image:
    """Draw a board: a coloured cell for each mark, thin lines between cells, heavy ones around boxes.

    Shapes: symbols R lists of C, "" for an empty cell; marks (R, C), values of `Mark`; `box_height` and `box_width` in cells.
    Returns: (C * cell + line, R * cell + line) pixels, line being the width of a heavy line.
    """
    rows, columns = marks.shape
    board = Image.new(
        "RGB", (columns * cell + line_width(cell), rows * cell + line_width(cell)), PAPER
    )
    draw = ImageDraw.Draw(board)
    for (row, column), mark in np.ndenumerate(marks):
        _draw_cell(draw, cell_box(row, column, cell), symbols[row][column], Mark(mark))
    _draw_lines(draw, board.size, (cell, cell), line_width(cell), 1, THIN_LINE)
    _draw_lines(
        draw,
        board.size,
        (box_width * cell, box_height * cell),
        line_width(cell),
        line_width(cell),
        INK,
    )
    draw.rectangle((0, 0, board.width - 1, board.height - 1), outline=INK, width=line_width(cell))
    return board


def line_width(cell: int) -> int:
    """How wide a heavy line is on a board whose cells are `cell` pixels."""
    return max(2, cell // 14)


def cell_box(row: int, column: int, cell: int) -> tuple[int, int, int, int]:
    """Where a cell lies on a board, lines included: left, top, right and bottom pixel, all inside it."""
    left, top = (line_width(cell) // 2 + position * cell for position in (column, row))
    return left, top, left + cell - 1, top + cell - 1


def draw_symbol(
    draw: ImageDraw.ImageDraw,
    box: tuple[int, int, int, int],
    symbol: str,
    ink: Colour,
    shift: float = 0.0,
) -> None:
    """Set a symbol in the middle of a cell, or `shift` of its size to the right; left out if too small to read or not in the font."""
    left, top, right, bottom = box
    size = round((right - left + 1) * SYMBOL_SHARE)
    if symbol.strip() and size >= MIN_SYMBOL_SIZE and all(map(_has_glyph, symbol)):
        across, baseline = (left + right + 1) / 2, (top + bottom + 1 + CAPITAL_SHARE * size) / 2
        draw.text((across + shift * size, baseline), symbol, fill=ink, font=font(size), anchor="ms")


def _draw_cell(
    draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], symbol: str, mark: Mark
) -> None:
    """Fill one cell and set its symbol in the middle, bold where it is given."""
    draw.rectangle(box, fill=PAINTS[mark].fill)
    for shift in (-BOLD_SHIFT, BOLD_SHIFT) if mark == Mark.GIVEN else (0.0,):
        draw_symbol(draw, box, symbol, PAINTS[mark].ink, shift)


def _draw_lines(
    draw: ImageDraw.ImageDraw,
    size: tuple[int, int],
    pitch: tuple[int, int],
    room: int,
    width: int,
    colour: Colour,
) -> None:
    """Draw a line of `width` every `pitch` (across, down) pixels, each in the middle of the `room` a heavy line takes."""
    offset = (room - width) // 2
    for left in range(offset, size[0], pitch[0]):
        draw.rectangle((left, 0, left + width - 1, size[1]), fill=colour)
    for top in range(offset, size[1], pitch[1]):
        draw.rectangle((0, top, size[0], top + width - 1), fill=colour)


@lru_cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font Pillow brings along: the same picture on every machine."""
    return ImageFont.load_default(size=size)


@cache
def _has_glyph(character: str) -> bool:
    """Whether Pillow's own font knows a character; it sets the same crossed box for all others."""
    return bytes(font(TEXT_SIZE).getmask(character)) != bytes(font(TEXT_SIZE).getmask(NO_GLYPH))


def text_line(text: str, size: int = TEXT_SIZE) -> Image.Image:
    """Set one line of text. Returns: as wide as the text, as high as any line of this size."""
    line = Image.new("RGB", (round(font(size).getlength(text)) + 2, round(size * 1.25)), PAPER)
    draw = ImageDraw.Draw(line)
    draw.text((1, line.height / 2), text, fill=INK, font=font(size), anchor="lm")
    return line


def stack(images: Iterable[Image.Image], gap: int = 0, align: float = 0.0) -> Image.Image:
    """Put images below each other, `align` from 0 (flush left) to 1 (flush right)."""
    column = list(images)
    page = Image.new(
        "RGB",
        (max(image.width for image in column), sum(image.height + gap for image in column) - gap),
        PAPER,
    )
    top = 0
    for image in column:
        page.paste(image, (round((page.width - image.width) * align), top))
        top += image.height + gap
    return page


def beside(images: Iterable[Image.Image], gap: int = 0, align: float = 0.0) -> Image.Image:
    """Put images beside each other, `align` from 0 (flush at the top) to 1 (at the bottom)."""
    row = list(images)
    page = Image.new(
        "RGB",
        (sum(image.width + gap for image in row) - gap, max(image.height for image in row)),
        PAPER,
    )
    left = 0
    for image in row:
        page.paste(image, (left, round((page.height - image.height) * align)))
        left += image.width + gap
    return page


def caption(image: Image.Image, text: str) -> Image.Image:
    """Put a line of text above an image, in the middle; a longer text widens it."""
    return stack([text_line(text, CAPTION_SIZE), image], gap=CAPTION_SIZE // 2, align=0.5)


def legend(
    marks: Iterable[Mark], width: int, meanings: Mapping[Mark, str] = MEANINGS
) -> Image.Image:
    """Say what each mark's colour means, in as many lines as `width` asks for."""
    lines: list[list[Image.Image]] = [[]]
    for entry in (_legend_entry(mark, meanings[mark]) for mark in marks):
        if lines[-1] and beside([*lines[-1], entry], gap=TEXT_SIZE).width > width:
            lines.append([])
        lines[-1].append(entry)
    return stack((beside(line, gap=TEXT_SIZE) for line in lines), gap=TEXT_SIZE // 4)


def _legend_entry(mark: Mark, meaning: str) -> Image.Image:
    """A swatch of the mark's colour with what it means."""
    swatch = Image.new("RGB", (TEXT_SIZE, TEXT_SIZE), PAINTS[mark].fill)
    ImageDraw.Draw(swatch).rectangle((0, 0, TEXT_SIZE - 1, TEXT_SIZE - 1), outline=THIN_LINE)
    return beside([swatch, text_line(meaning)], gap=TEXT_SIZE // 3, align=0.5)
