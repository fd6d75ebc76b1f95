"""ARC grids as pictures, judged by their pixels."""

import numpy as np
import pytest
from PIL import Image

from hrm_core.pictures.grids import PAINTS, PAPER, Mark, cell_box
from hrm_core.tasks.contract import IntArray, TokenArray
from hrm_tasks.arc.canvas import encode
from hrm_tasks.arc.picture import MIN_DIGIT_CELL, PALETTE
from hrm_tasks.arc.task import Arc

ARC = Arc()
PLAIN = np.zeros(900, int)
CELL = 20


def marked(mark: Mark, *places: tuple[int, int], others: Mark = Mark.PLAIN) -> IntArray:
    """The marks of a canvas, some cells (row, column) of their own."""
    marks = np.full((30, 30), others)
    for place in places:
        marks[place] = mark
    return marks.ravel()


def canvas(*rows: str) -> TokenArray:
    return ARC.parse("\n".join(rows))[0]


def changed_cells(one: Image.Image, other: Image.Image) -> set[tuple[int, int]]:
    """The cells (row, column) in which two pictures of a size differ."""
    assert one.size == other.size
    places = np.argwhere((np.asarray(one) != np.asarray(other)).any(axis=-1))
    return {((row - 1) // CELL, (column - 1) // CELL) for row, column in places.tolist()}


def ring(picture: Image.Image, row: int, column: int) -> object:
    """The colour at the upper left of a cell."""
    left, top, _, _ = cell_box(row, column, CELL)
    return picture.getpixel((left + 1, top + 1))


def middle(picture: Image.Image, row: int, column: int) -> object:
    left, top, _, _ = cell_box(row, column, CELL)
    return picture.getpixel((left + CELL // 2, top + CELL // 2))


def test_picture_is_cropped_and_has_the_usual_colours() -> None:
    grid = np.arange(10, dtype=np.uint8).reshape(2, 5)
    picture = ARC.picture(encode([grid])[0], PLAIN, CELL)
    assert picture.size == (5 * CELL + 2, 2 * CELL + 2)
    assert [middle(picture, row, column) for row in range(2) for column in range(5)] == list(
        PALETTE
    )
    shifted = np.zeros((30, 30), np.uint8)
    shifted[7:9, 4:9] = grid + 2
    assert ARC.picture(shifted.reshape(900), PLAIN, CELL).tobytes() == picture.tobytes()


@pytest.mark.parametrize("mark", Mark)
def test_only_the_marked_cell_changes_and_its_colour_is_seen_inside_the_ring(mark: Mark) -> None:
    tokens = canvas("123", "456")
    plain, picture = (
        ARC.picture(tokens, PLAIN, CELL),
        ARC.picture(tokens, marked(mark, (1, 1)), CELL),
    )
    if mark in (Mark.CHANGED, Mark.WRONG):
        assert changed_cells(plain, picture) == {(1, 1)}
        assert (ring(picture, 1, 1), middle(picture, 1, 1)) == (PAINTS[mark].fill, PALETTE[5])
    elif mark != Mark.RIGHT:
        assert picture.tobytes() == plain.tobytes()


def test_right_cells_fade() -> None:
    picture = ARC.picture(canvas("0123456789"), marked(Mark.RIGHT, others=Mark.RIGHT), CELL)
    for colour in range(10):
        faded = middle(picture, 0, colour)
        assert faded == tuple(round(255 - (255 - channel) / 4) for channel in PALETTE[colour])


@pytest.mark.parametrize("colour", range(10))
def test_digits_are_drawn_in_every_cell_on_request(colour: int) -> None:
    tokens = canvas(str(colour) * 3)
    plain, numbered = (
        ARC.picture(tokens, PLAIN, CELL),
        ARC.with_digits().picture(tokens, PLAIN, CELL),
    )
    assert changed_cells(plain, numbered) == {(0, 0), (0, 1), (0, 2)}
    contrast = np.abs(np.asarray(numbered, int) - np.asarray(plain, int)).max(axis=-1)
    assert contrast.max() > 90, "a digit can be read on its colour"
    other = ARC.with_digits().picture(canvas(str((colour + 1) % 10) * 3), PLAIN, CELL)
    shape = np.abs(np.asarray(numbered, int) - PALETTE[colour]).sum(axis=-1) > 200
    assert (
        shape != (np.abs(np.asarray(other, int) - PALETTE[(colour + 1) % 10]).sum(axis=-1) > 200)
    ).any(), "each has its number"


def test_cells_are_large_enough_for_digits() -> None:
    tokens = canvas("12", "34")
    small = ARC.with_digits().picture(tokens, PLAIN, 4)
    assert small.tobytes() == ARC.with_digits().picture(tokens, PLAIN, MIN_DIGIT_CELL).tobytes()
    assert max(ARC.picture(tokens, PLAIN, 4).size) < 12
    assert ARC.with_digits().settings == ARC.settings


def test_wrong_cells_outside_of_the_grid_are_seen_with_paper_inside() -> None:
    """As where an answer is too small, or its end markers are missing."""
    picture = ARC.picture(canvas("12", "34"), marked(Mark.WRONG, (0, 2), (2, 0)), CELL)
    assert picture.size == (3 * CELL + 2, 3 * CELL + 2)
    for place in ((0, 2), (2, 0)):
        assert (ring(picture, *place), middle(picture, *place)) == (PAINTS[Mark.WRONG].fill, PAPER)
    assert [ring(picture, *place) for place in ((1, 2), (2, 1), (2, 2))] == [PAPER] * 3
    assert middle(picture, 1, 1) == PALETTE[4]


def test_right_cells_are_seen_whatever_hole_is_in_the_grid() -> None:
    tokens = canvas("11111", "11111")
    tokens[1] = 1  # an end marker: what is decoded is only a part
    assert ARC.picture(tokens, PLAIN, CELL).width < 5 * CELL
    picture = ARC.picture(tokens, marked(Mark.WRONG, (0, 1), others=Mark.RIGHT), CELL)
    assert picture.size == (5 * CELL + 2, 2 * CELL + 2)
    assert ring(picture, 0, 1) == PAINTS[Mark.WRONG].fill


def test_answer_without_any_grid_is_one_cell_of_paper() -> None:
    assert np.unique(ARC.picture(np.ones(900, np.uint8), PLAIN, CELL)).tolist() == [255]
