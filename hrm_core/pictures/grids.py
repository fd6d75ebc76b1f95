"""Draw one grid of symbols as an image, and the captions and legend around it.

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
CAPITAL_SHARE = 0.68  # of a symbol's size: height of digits and capitals in Pillow's own font
BOLD_SHIFT = 0.03  # of a symbol's size: the font has one weight, a bold symbol is drawn twice
MIN_SYMBOL_SIZE = 8  # smaller symbols cannot be read
NO_GLYPH = "\uffff"  # a noncharacter: no font has a glyph for it
FADING = 0.75  # share of paper in a faded colour


class Mark(IntEnum):
    """Meaning of a cell's colour."""

    PLAIN = 0
    GIVEN = 1  # part of the question
    AGREES = 2  # already equal to the final answer
    CHANGED = 3  # another answer than in the step before
    WRONG = 4  # differs from the solution; pictures show such a cell even outside of the grid
    RIGHT = 5  # equal to the solution: faded, so that wrong cells stand out


def faded(colour: Colour) -> Colour:
    """Return a paler colour."""
    red, green, blue = map(_mixed_with_paper, colour, PAPER)
    return red, green, blue


def _mixed_with_paper(own: int, paper: int) -> int:
    return round(FADING * paper + (1 - FADING) * own)


class Paint(NamedTuple):
    """The two colours of a cell."""

    fill: Colour
    ink: Colour

    @property
    def faded(self) -> "Paint":
        """Return the same colours, paler: those of a cell that is right."""
        return Paint(faded(self.fill), faded(self.ink))


class Swatch(NamedTuple):
    """A colour with what it stands for."""

    colour: Colour
    meaning: str


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
    """Draw a board: a coloured cell for each mark, thin lines between cells, heavy ones at boxes.

    Shapes: symbols R lists of C, "" for an empty cell; marks (R, C), values of `Mark`;
    `box_height` and `box_width` in cells.
    Returns: (C * cell + line, R * cell + line) pixels, line being the width of a heavy line.
    """
    rows, columns = marks.shape
    heavy = line_width(cell)
    width = columns * cell + heavy
    height = rows * cell + heavy
    board = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(board)
    for (row, column), mark in np.ndenumerate(marks):
        box = cell_box(row, column, cell)
        symbol = symbols[row][column]
        _draw_cell(draw, box, symbol, Mark(mark))
    box_pitch = (box_width * cell, box_height * cell)
    _draw_lines(draw, board.size, (cell, cell), heavy, 1, THIN_LINE)
    _draw_lines(draw, board.size, box_pitch, heavy, heavy, INK)
    draw.rectangle((0, 0, width - 1, height - 1), outline=INK, width=heavy)
    return board


def line_width(cell: int) -> int:
    """Return the width of a heavy line on a board whose cells are `cell` pixels."""
    return max(2, cell // 14)


def cell_box(row: int, column: int, cell: int) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom pixel of a cell on a board, all inside it."""
    margin = line_width(cell) // 2
    left = margin + column * cell
    top = margin + row * cell
    return left, top, left + cell - 1, top + cell - 1


def draw_symbol(
    draw: ImageDraw.ImageDraw,
    box: tuple[int, int, int, int],
    symbol: str,
    ink: Colour,
    shift: float = 0.0,
) -> None:
    """Draw a symbol in the middle of a cell, or `shift` of its size to the right.

    A symbol that is too small to read, or not in the font, is left out.
    """
    left, top, right, bottom = box
    cell = right - left + 1
    size = round(cell * SYMBOL_SHARE)
    if not symbol.strip() or size < MIN_SYMBOL_SIZE:
        return
    if not all(map(_has_glyph, symbol)):
        return
    middle = (left + right + 1) / 2
    baseline = (top + bottom + 1 + CAPITAL_SHARE * size) / 2
    place = (middle + shift * size, baseline)
    draw.text(place, symbol, fill=ink, font=font(size), anchor="ms")


def _draw_cell(
    draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], symbol: str, mark: Mark
) -> None:
    """Fill one cell and draw its symbol in the middle, bold where it is given."""
    paint = PAINTS[mark]
    draw.rectangle(box, fill=paint.fill)
    shifts = (-BOLD_SHIFT, BOLD_SHIFT) if mark == Mark.GIVEN else (0.0,)
    for shift in shifts:
        draw_symbol(draw, box, symbol, paint.ink, shift)


def _draw_lines(
    draw: ImageDraw.ImageDraw,
    size: tuple[int, int],
    pitch: tuple[int, int],
    room: int,
    width: int,
    colour: Colour,
) -> None:
    """Draw a line of `width` every `pitch` (across, down) pixels.

    Each is in the middle of the `room` pixels of a heavy line.
    """
    image_width, image_height = size
    across, down = pitch
    offset = (room - width) // 2
    for left in range(offset, image_width, across):
        draw.rectangle((left, 0, left + width - 1, image_height), fill=colour)
    for top in range(offset, image_height, down):
        draw.rectangle((0, top, image_width, top + width - 1), fill=colour)


@lru_cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return Pillow's own font: the same picture on every machine."""
    return ImageFont.load_default(size=size)


@cache
def _has_glyph(character: str) -> bool:
    """Return True if Pillow's own font has a character; it draws one crossed box for all others."""
    return _mask(character) != _mask(NO_GLYPH)


@cache
def _mask(character: str) -> bytes:
    return bytes(font(TEXT_SIZE).getmask(character))


def text_line(text: str, size: int = TEXT_SIZE) -> Image.Image:
    """Draw one line of text. Returns: as wide as the text, as high as any line of this size."""
    width = round(font(size).getlength(text)) + 2
    height = round(size * 1.25)
    line = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(line)
    draw.text((1, height / 2), text, fill=INK, font=font(size), anchor="lm")
    return line


def stack(images: Iterable[Image.Image], gap: int = 0, align: float = 0.0) -> Image.Image:
    """Put images below each other, `align` from 0 (flush left) to 1 (flush right)."""
    column = list(images)
    width = max(image.width for image in column)
    height = sum(image.height + gap for image in column) - gap
    page = Image.new("RGB", (width, height), PAPER)
    top = 0
    for image in column:
        left = round((width - image.width) * align)
        page.paste(image, (left, top))
        top += image.height + gap
    return page


def beside(images: Iterable[Image.Image], gap: int = 0, align: float = 0.0) -> Image.Image:
    """Put images beside each other, `align` from 0 (flush at the top) to 1 (at the bottom)."""
    row = list(images)
    width = sum(image.width + gap for image in row) - gap
    height = max(image.height for image in row)
    page = Image.new("RGB", (width, height), PAPER)
    left = 0
    for image in row:
        top = round((height - image.height) * align)
        page.paste(image, (left, top))
        left += image.width + gap
    return page


def caption(image: Image.Image, text: str) -> Image.Image:
    """Put a centred line of text above an image; a longer text widens it."""
    return stack([text_line(text, CAPTION_SIZE), image], gap=CAPTION_SIZE // 2, align=0.5)


def legend(
    marks: Iterable[Mark],
    width: int,
    meanings: Mapping[Mark, str] = MEANINGS,
    others: Iterable[Swatch] = (),
) -> Image.Image:
    """Explain `others` and the colour of each mark, broken into lines no wider than `width`."""
    swatches = [*others, *(Swatch(PAINTS[mark].fill, meanings[mark]) for mark in marks)]
    lines: list[list[Image.Image]] = [[]]
    for swatch in swatches:
        entry = _legend_entry(swatch)
        longer = beside([*lines[-1], entry], gap=TEXT_SIZE)
        if lines[-1] and longer.width > width:
            lines.append([])
        lines[-1].append(entry)
    rows = [beside(line, gap=TEXT_SIZE) for line in lines]
    return stack(rows, gap=TEXT_SIZE // 4)


def _legend_entry(swatch: Swatch) -> Image.Image:
    """Draw a square of a colour beside its meaning."""
    square = Image.new("RGB", (TEXT_SIZE, TEXT_SIZE), swatch.colour)
    outline = (0, 0, TEXT_SIZE - 1, TEXT_SIZE - 1)
    ImageDraw.Draw(square).rectangle(outline, outline=THIN_LINE)
    return beside([square, text_line(swatch.meaning)], gap=TEXT_SIZE // 3, align=0.5)
