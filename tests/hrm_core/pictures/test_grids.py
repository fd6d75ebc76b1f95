"""Boards, legends and captions, judged by their pixels."""

from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from hrm_core.pictures.grids import (
    INK,
    PAINTS,
    PAPER,
    THIN_LINE,
    Mark,
    Paint,
    caption,
    cell_box,
    draw_board,
    legend,
    line_width,
    stack,
)

VIVID = [
    mark for mark in Mark if mark != Mark.RIGHT
]  # that one fades on purpose, and is never seen beside PLAIN
BOARDS = {
    "4x4": (4, 2, 2, 48),
    "6x6": (6, 2, 3, 48),
    "9x9": (9, 3, 3, 48),
    "small 9x9": (9, 3, 3, 16),
    "30x30": (30, 30, 30, 12),
}

# Machado et al. 2009, severity 1: what linear RGB looks like without red or without green cones.
COLOUR_BLIND = {
    "red": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "green": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}


@pytest.fixture(params=BOARDS.values(), ids=BOARDS.keys())
def board(request):
    """A board with random marks, its marks and its cell size."""
    size, box_height, box_width, cell = request.param
    marks = np.random.default_rng(0).integers(0, len(Mark), (size, size))
    return draw_board([["5"] * size] * size, marks, box_height, box_width, cell), marks, cell


def fill_of(image, row, column, cell):
    """The colour in the upper left of a cell, right of its line and above its symbol."""
    left, top, _, _ = cell_box(row, column, cell)
    return image.getpixel((left + cell // 8 + 1, top + cell // 8 + 1))


def run_length(image, position, step, colour):
    """How many pixels of one colour follow each other from a position on."""
    length = 0
    while (
        image.getpixel((position[0] + length * step[0], position[1] + length * step[1])) == colour
    ):
        length += 1
    return length


def luminance(colour):
    """Relative luminance. Source: WCAG 2.1."""
    return linear(colour) @ [0.2126, 0.7152, 0.0722]


def linear(colour):
    """Linear RGB of an sRGB colour, approximately."""
    return (np.array(colour) / 255) ** 2.2


def test_every_cell_has_the_colour_of_its_mark(board):
    image, marks, cell = board
    for (row, column), mark in np.ndenumerate(marks):
        assert fill_of(image, row, column, cell) == PAINTS[Mark(mark)].fill


def test_board_has_the_size_of_its_cells_and_one_line(board):
    image, marks, cell = board
    assert image.size == (
        marks.shape[1] * cell + line_width(cell),
        marks.shape[0] * cell + line_width(cell),
    )


def test_border_goes_all_around(board):
    image, _, cell = board
    pixels = np.array(image)
    width = line_width(cell)
    for edge in (pixels[:width], pixels[-width:], pixels[:, :width], pixels[:, -width:]):
        assert (edge == INK).all()


def test_box_lines_are_heavier_than_cell_lines():
    cell = 48
    image = draw_board(
        [[""] * 6] * 6, np.zeros((6, 6), dtype=int), box_height=2, box_width=3, cell=cell
    )
    height = cell_box(2, 0, cell)[1] + cell // 4  # away from every horizontal line
    widths = {
        column: line_after(image, column * cell - cell // 2, height) for column in range(1, 6)
    }
    assert widths == {column: line_width(cell) if column == 3 else 1 for column in widths}
    assert line_width(cell) >= 3


def line_after(image, left, height):
    """How wide the first line is that a ray from `left` rightwards meets."""
    left += run_length(image, (left, height), (1, 0), PAPER)
    return run_length(image, (left, height), (1, 0), image.getpixel((left, height)))


def test_boxes_are_higher_or_wider_as_asked():
    image = draw_board(
        [[""] * 6] * 6, np.zeros((6, 6), dtype=int), box_height=2, box_width=3, cell=48
    )
    middle_of_line = line_width(48) // 2
    assert image.getpixel((20, 2 * 48 + middle_of_line)) == INK
    assert image.getpixel((20, 3 * 48 + middle_of_line)) == THIN_LINE
    assert image.getpixel((3 * 48 + middle_of_line, 20)) == INK
    assert image.getpixel((2 * 48 + middle_of_line, 20)) == THIN_LINE


@pytest.mark.parametrize("mark", Mark)
@pytest.mark.parametrize("cell", [24, 48, 96])
def test_symbol_stands_in_the_middle_of_its_cell(mark, cell):
    marks = np.full((1, 1), mark)
    drawn, empty = (
        np.array(draw_board([[symbol]], marks, 1, 1, cell), dtype=int) for symbol in ("8", "")
    )
    rows, columns = np.nonzero((drawn != empty).any(axis=-1))
    assert abs((columns.min() + columns.max() + 1) / 2 - drawn.shape[1] / 2) <= cell / 24
    assert abs((rows.min() + rows.max() + 1) / 2 - drawn.shape[0] / 2) <= cell / 24
    assert np.ptp(rows) > 0.35 * cell


def test_given_symbols_are_bolder():
    boards = [
        draw_board([[symbol]], np.full((1, 1), mark), 1, 1)
        for mark in (Mark.PLAIN, Mark.GIVEN)
        for symbol in ("8", "")
    ]
    plain, empty, given, empty_given = map(dark_pixels, boards)
    assert given - empty_given > 1.2 * (plain - empty)


def dark_pixels(image):
    return (np.array(image.convert("L")) < 100).sum()


def test_symbols_too_small_to_read_are_left_out():
    marks = np.zeros((2, 2), dtype=int)
    assert draw_board([["8"] * 2] * 2, marks, 2, 2, cell=6) == draw_board(
        [[""] * 2] * 2, marks, 2, 2, cell=6
    )


@pytest.mark.parametrize(
    "symbol",
    ["\N{GRINNING FACE}", "\N{CJK UNIFIED IDEOGRAPH-4E2D}", "\uffff", "A\N{GRINNING FACE}"],
)
@pytest.mark.parametrize("mark", [Mark.PLAIN, Mark.GIVEN])
def test_symbol_that_the_font_lacks_is_shown_by_colour_alone(symbol, mark):
    shown, empty, letter = (
        draw_board([[each]], np.full((1, 1), mark), 1, 1) for each in (symbol, "", "A")
    )
    assert shown == empty != letter


@pytest.mark.parametrize("symbol", [chr(code) for code in range(ord("!"), 127)])
def test_symbol_on_a_keyboard_is_drawn(symbol):
    shown, empty = (
        draw_board([[each]], np.zeros((1, 1), dtype=int), 1, 1) for each in (symbol, "")
    )
    assert shown != empty


@pytest.mark.parametrize("mark", VIVID)
def test_symbols_stand_out_from_their_cell(mark):
    darker, lighter = sorted(map(luminance, PAINTS[mark]))
    assert (lighter + 0.05) / (darker + 0.05) > 4.5  # WCAG AA


@pytest.mark.parametrize("kind", COLOUR_BLIND)
@pytest.mark.parametrize(("one", "other"), list(combinations(VIVID, 2)))
def test_marks_differ_for_the_colour_blind(kind, one, other):
    seen = [
        np.clip(COLOUR_BLIND[kind] @ linear(PAINTS[mark].fill), 0, 1) ** (1 / 2.2) * 255
        for mark in (one, other)
    ]
    assert np.abs(seen[0] - seen[1]).max() > 20


def test_wrong_cell_stands_out_from_all_others_when_they_are_right():
    right, wrong = (
        abs(np.subtract(linear(PAINTS[mark].fill), linear(PAPER))).max()
        for mark in (Mark.RIGHT, Mark.WRONG)
    )
    assert right < 0.05
    assert wrong > 0.9
    paint = Paint(fill=(0, 116, 217), ink=PAPER)
    assert paint.faded == Paint(fill=(191, 220, 246), ink=PAPER)


def test_legend_shows_the_colour_of_each_mark_asked_for():
    strip = legend([Mark.GIVEN, Mark.WRONG], width=400)
    colours = {colour for _, colour in strip.getcolors(maxcolors=1 << 16)}
    assert {PAINTS[Mark.GIVEN].fill, PAINTS[Mark.WRONG].fill} <= colours
    assert PAINTS[Mark.CHANGED].fill not in colours


def test_legend_breaks_into_lines_where_it_is_too_wide():
    wide, narrow = legend(Mark, width=2000), legend(Mark, width=200)
    assert narrow.width <= 200 < wide.width
    assert narrow.height > 3 * wide.height


def test_caption_stands_above_the_image():
    image = Image.new("RGB", (200, 50), PAINTS[Mark.WRONG].fill)
    captioned = caption(image, "step 3 of 16")
    assert captioned.width == 200
    assert captioned.crop((0, captioned.height - 50, 200, captioned.height)) == image
    assert dark_pixels(captioned.crop((0, 0, 200, captioned.height - 50))) > 0


def test_caption_longer_than_the_image_is_not_cut():
    assert caption(Image.new("RGB", (10, 10)), "step 3 of 16").width > 50


def test_stacked_images_keep_their_pixels():
    red, blue = Image.new("RGB", (4, 2), (255, 0, 0)), Image.new("RGB", (2, 2), (0, 0, 255))
    page = stack([red, blue], gap=1, align=1.0)
    assert page.size == (4, 5)
    assert [page.getpixel((3, row)) for row in range(5)] == [(255, 0, 0)] * 2 + [PAPER] + [
        (0, 0, 255)
    ] * 2
    assert page.getpixel((0, 4)) == PAPER
