"""Sheets of many examples, judged by their pixels."""

import numpy as np
import pytest
from PIL import Image

from hrm_core.pictures.grids import PAINTS, PAPER, Mark
from hrm_core.pictures.sheets import MARGIN, sheet

HEADINGS = ["question", "answer", "prediction"]


def example(index, size=(60, 40)):
    """Three pictures, each of a colour that no other has."""
    return [Image.new("RGB", size, (10 + index, 100 + column, 50)) for column in range(3)]


def place(page, index, column):
    """Where a picture of `example` lies on a page: left, top, right, bottom."""
    rows, columns = np.nonzero((np.array(page) == (10 + index, 100 + column, 50)).all(axis=-1))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def test_each_example_stands_whole_in_one_row_and_each_heading_has_a_column():
    page = sheet([example(0), example(1), example(2)], HEADINGS, page_width=400)
    places = np.array([[place(page, index, column) for column in range(3)] for index in range(3)])
    assert (places[..., 2] - places[..., 0] == 60).all()
    assert (places[..., 3] - places[..., 1] == 40).all()
    assert (places[:, :, 0] == places[:1, :, 0]).all(), "columns are aligned"
    assert (places[:, :, 1] == places[:, :1, 1]).all(), "rows are aligned"
    assert (np.diff(places[0, :, 0]) > 60).all()
    assert (np.diff(places[:, 0, 1]) > 40).all()


def test_page_has_a_margin():
    pixels = np.array(
        sheet([example(0)], HEADINGS, captions=["puzzle 1"], title="sudoku", marks=list(Mark))
    )
    for edge in (pixels[:MARGIN], pixels[-MARGIN:], pixels[:, :MARGIN], pixels[:, -MARGIN:]):
        assert (edge == PAPER).all()


def test_examples_stand_side_by_side_read_line_by_line():
    page = sheet([example(index) for index in range(3)], HEADINGS, page_width=1000)
    first, second, third = (place(page, index, 0) for index in range(3))
    assert second[1] == first[1]
    assert second[0] > place(page, 0, 2)[2]
    assert third[0] == first[0]
    assert third[1] > first[3]


@pytest.mark.parametrize(("page_width", "across"), [(100, 1), (600, 1), (800, 2), (2000, 4)])
def test_as_many_examples_stand_side_by_side_as_the_page_has_room_for(page_width, across):
    page = sheet([example(index) for index in range(4)], HEADINGS, page_width=page_width)
    assert len({place(page, index, 0)[0] for index in range(4)}) == across
    assert page.width <= max(page_width, sheet([example(0)], HEADINGS).width)
    assert sheet([example(0)], HEADINGS, page_width=page_width).width < 500, (
        "no headings without examples"
    )


def test_title_captions_and_legend_take_room_of_their_own():
    bare = sheet([example(0)], HEADINGS)
    full = sheet([example(0)], HEADINGS, captions=["rating 3"], title="sudoku", marks=[Mark.WRONG])
    assert place(full, 0, 0)[1] > place(bare, 0, 0)[1] + 60
    assert PAINTS[Mark.WRONG].fill in {colour for _, colour in full.getcolors(maxcolors=1 << 16)}


def test_pictures_of_different_sizes_do_not_overlap():
    page = sheet([example(0, (20, 90)), example(1, (200, 30))], HEADINGS, page_width=400)
    assert [place(page, 0, column)[2] - place(page, 0, column)[0] for column in range(3)] == [
        20
    ] * 3
    assert place(page, 1, 0)[1] >= place(page, 0, 0)[3]


def test_long_caption_is_not_cut():
    text = "a caption that is a good deal longer than three small pictures are wide"
    page = sheet([example(0)], HEADINGS, captions=[text], page_width=200)
    assert page.width > 400


def test_caption_missing_for_an_example_is_noticed():
    with pytest.raises(ValueError, match="is longer than"):
        sheet([example(0), example(1)], HEADINGS, captions=["only one"])


def test_sheet_without_examples_shows_its_headings():
    assert sheet([], HEADINGS).width > 2 * MARGIN
