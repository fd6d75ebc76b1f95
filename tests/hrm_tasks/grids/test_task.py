import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrm_core.data.dihedral import NUM_VIEWS, turned
from hrm_core.errors import PuzzleError
from hrm_core.pictures.animations import thinking_frames
from hrm_core.pictures.grids import PAINTS, Mark
from hrm_core.tasks.capabilities import Judged, given_cells
from hrm_core.tasks.contract import Task
from hrm_tasks.grids.canvas import MAX_CHARACTERS, OUTSIDE, Canvas
from hrm_tasks.grids.task import Grids
from hrm_tasks.grids.text import row_sign

FUZZ = settings(deadline=None, derandomize=True, max_examples=300)
VISIBLE = st.characters(codec="utf-8").filter(str.isprintable)


@pytest.fixture
def task() -> Grids:
    return Grids(" #.ab", 4, 5)


def text_of(task: Grids, tokens: Any) -> str:
    return task.format(np.asarray(tokens, np.uint8))


def refusal(task: Grids, text: str) -> str:
    with pytest.raises(PuzzleError) as refused:
        task.parse(text)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@st.composite
def tasks_with_grids(draw: st.DrawFn) -> tuple[Grids, list[str]]:
    alphabet = "".join(sorted(set(draw(st.text(VISIBLE, min_size=1, max_size=12)))))
    height, width = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    grids = []
    for _ in range(draw(st.integers(1, 4))):
        rows, columns = draw(st.integers(1, height)), draw(st.integers(1, width))
        cells = draw(
            st.text(st.sampled_from(alphabet), min_size=rows * columns, max_size=rows * columns)
        )
        grids.append("\n".join(cells[row * columns : (row + 1) * columns] for row in range(rows)))
    return Grids(alphabet, height, width), grids


def test_grids_are_a_task(task: Grids) -> None:
    assert isinstance(task, Task)
    assert (task.name, task.vocab_size, task.seq_len, task.rating_bands) == ("grids", 7, 20, (0,))
    assert repr(task) == "Grids(' #.ab', 4, 5)"


def test_grid_lies_in_the_top_left_corner_with_its_characters_in_code_point_order(
    task: Grids,
) -> None:
    np.testing.assert_array_equal(
        task.parse("a#.\nb .\n").reshape(4, 5),
        [[5, 3, 4, 1, 1], [6, 2, 4, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1]],
    )


@FUZZ
@given(tasks_with_grids())
def test_drawing_and_word_are_read_back(drawn: tuple[Grids, list[str]]) -> None:
    task, grids = drawn
    canvases = task.canvas.place(grids)
    assert [task.format(canvas) for canvas in canvases] == grids
    np.testing.assert_array_equal(task.parse("\n".join(map(task.line, canvases))), canvases)
    np.testing.assert_array_equal(
        task.parse("\n\n".join(grids))
        if row_sign(task.canvas.alphabet) not in "".join(grids)
        else canvases,
        canvases,
    )


@FUZZ
@given(
    tasks_with_grids(),
    st.text(st.sampled_from("#. ab/\n\r\t\u2028\ufeff\ud800é"), max_size=40) | st.text(max_size=40),
)
def test_any_text_is_read_or_refused_in_one_line(drawn: tuple[Grids, list[str]], text: str) -> None:
    for task in (drawn[0], Grids(" #.ab", 4, 5)):
        try:
            canvases = task.parse(text)
        except PuzzleError as error:
            refused = str(error)
        else:
            assert canvases.shape[1:] == (task.seq_len,)
            assert OUTSIDE <= canvases.min() <= canvases.max() < task.vocab_size
            continue
        assert "\n" not in refused


@FUZZ
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_any_answer_is_shown(height: int, width: int, seed: int) -> None:
    task = Grids("#?", height, width)
    answer = np.random.default_rng(seed).integers(task.vocab_size, size=task.seq_len)
    rows = text_of(task, answer).split("\n")
    found_height, found_width = task.canvas.sizes(answer[None])[0]
    if found_height and found_width:
        assert (len(rows), {len(row) for row in rows}) == (found_height, {found_width})
        assert (found_height == height) or answer.reshape(height, width)[found_height, 0] <= OUTSIDE
    else:
        assert (rows, task.line(answer)) == (["(no grid)"], "")
    assert task.picture(answer, np.arange(task.seq_len) % 5, cell=9).width > 9


def test_answer_is_cut_where_its_first_row_and_column_leave_the_grid(task: Grids) -> None:
    answer = np.array([[5, 5, 1, 5, 5], [5, 1, 5, 5, 5], [0, 5, 5, 5, 5], [5, 5, 5, 5, 5]]).reshape(
        -1
    )
    assert text_of(task, answer) == "aa\na?"
    assert task.line(answer) == "aa/a?"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no grid found in 0 characters of text; expected rows of ' #.ab'"),
        (
            "ab\nax",
            "grid 1 (line 1): unknown character 'x' at row 2, column 2; expected one of ' #.ab'",
        ),
        ("ab\n\n\na\tb", "grid 2 (line 4): unknown character '\\t' at row 1, column 2"),
        (
            "ab\na",
            "grid 1 (line 1): row 2 has 1 characters, row 1 has 2; expected rows of one length; blanks at its end may be lost",
        ),
        (
            "a\nab",
            "grid 1 (line 1): row 2 has 2 characters, row 1 has 1; expected rows of one length",
        ),
        ("aaaaaa", "grid 1 (line 1): 1 rows of 6 characters; expected at most 4 of 5"),
        ("a\n" * 5, "grid 1 (line 1): 5 rows of 1 characters; expected at most 4 of 5"),
        ("ab/aa\nab/a", "grid 2 (line 2): row 2 has 1 characters"),
        ("/", "grid 1 (line 1): there is no first row"),
    ],
)
def test_bad_grid_is_named_with_what_was_expected(task: Grids, text: str, message: str) -> None:
    assert refusal(task, text).startswith(message)


def test_line_of_blanks_is_a_row_only_where_a_blank_is_a_character(task: Grids) -> None:
    assert text_of(task, task.parse("ab\n  \nba")[0]) == "ab\n  \nba"
    assert len(Grids("ab", 4, 5).parse("ab\n  \nba")) == 2


def test_line_ends_of_windows_and_a_byte_order_mark_are_passed_over(task: Grids) -> None:
    np.testing.assert_array_equal(task.parse("\ufeffab\r\n..\r\n\r\n#"), task.parse("ab\n..\n\n#"))


def test_sign_between_rows_is_not_in_the_alphabet() -> None:
    assert [row_sign(alphabet) for alphabet in ("ab", "/a", ",/:;\\|")] == ["/", "|", "!"]
    everything = "".join(sorted(map(chr, [*range(33, 127), *range(161, 161 + 160)])))[
        :MAX_CHARACTERS
    ]
    everything = "".join(filter(str.isprintable, everything))
    assert row_sign(everything) not in everything


def test_nothing_is_given_and_only_the_solution_can_tell(task: Grids) -> None:
    question = task.parse("ab\n..")
    assert not given_cells(task, question).any()
    assert not isinstance(task, Judged)


def test_settings_survive_json_and_make_the_task_again(task: Grids) -> None:
    rated = Grids("ab", 3, 3, rating_bands=(0, 5, 9), symmetric=True)
    for each in (task, rated):
        again = Grids.for_shape(
            each.vocab_size, each.seq_len, json.loads(json.dumps(each.settings))
        )
        assert again is not None
        assert again.settings == each.settings
    assert Grids.for_shape(7, 20, {"alphabet": " #.ab", "height": 4, "width": 5}) is not None


@pytest.mark.parametrize(
    "damage",
    [
        {"alphabet": "ba"},
        {"alphabet": "ab\n"},
        {"alphabet": ["a", "b"]},
        {"alphabet": "abc"},
        {"alphabet": ""},
        {"height": 4},
        {"height": 0},
        {"height": True},
        {"height": 10**9, "width": 10**9},
        {"width": "3"},
        {"rating_bands": [5]},
        {"rating_bands": [0, 9, 5]},
        {"rating_bands": [0, "a"]},
        {"symmetric": 1},
        {"typo": 1},
    ],
    ids=str,
)
def test_other_settings_or_another_shape_are_no_task(damage: dict[str, Any]) -> None:
    task = Grids("ab", 3, 3)
    assert Grids.for_shape(task.vocab_size, task.seq_len, {**task.settings, **damage}) is None
    assert Grids.for_shape(task.vocab_size, task.seq_len, {}) is None


@pytest.mark.parametrize(
    ("alphabet", "height", "width", "message"),
    [
        (
            "ba",
            1,
            1,
            "'ba' is no alphabet; expected visible characters or a blank, in code-point order, each once",
        ),
        ("a\u00a0", 1, 1, "is no alphabet"),
        (
            "".join(map(chr, range(0x4E00, 0x4E00 + 255))),
            1,
            1,
            "255 different characters; expected at most 254",
        ),
        ("a", 0, 5, "a canvas of 0x5 has 0 cells; expected 1 to 16,384"),
        (
            "a",
            200,
            200,
            "a canvas of 200x200 has 40,000 cells; expected 1 to 16,384; leave out larger grids",
        ),
    ],
)
def test_canvas_that_cannot_be_is_refused(
    alphabet: str, height: int, width: int, message: str
) -> None:
    with pytest.raises(PuzzleError) as refused:
        Grids(alphabet, height, width)
    assert message in str(refused.value)


def test_254_characters_are_bytes() -> None:
    task = Grids("".join(map(chr, range(0x4E00, 0x4E00 + 254))), 2, 127)
    assert task.parse("".join(map(chr, range(0x4E00, 0x4E00 + 127)))).max() == 128
    assert task.vocab_size == 256


def test_views_are_those_of_the_grid_wherever_the_canvas_ends() -> None:
    canvas = Canvas("abcdef", 4, 4)
    grids = ["abc\ndef", "a", "abcd", "ab\ncd", "abcd\nbcde\ncdef\ndefa"]
    for view in range(NUM_VIEWS):
        found = canvas.turn(canvas.place(grids), np.full(len(grids), view))
        expected = [
            "\n".join(map("".join, turned(np.array([list(row) for row in grid.split("\n")]), view)))
            for grid in grids
        ]
        np.testing.assert_array_equal(found, canvas.place(expected))
    assert (
        text_of(Grids("abcdef", 4, 4), canvas.turn(canvas.place(["abc\ndef"]), np.array([1]))[0])
        == "cf\nbe\nad"
    )


def test_canvas_that_is_no_square_keeps_height_and_width() -> None:
    canvas = Canvas("abc", 2, 3)
    assert canvas.views == (0, 2, 4, 5)
    for view in canvas.views:
        np.testing.assert_array_equal(
            canvas.sizes(canvas.turn(canvas.place(["abc\nbca"]), np.array([view]))), [[2, 3]]
        )


@pytest.mark.parametrize(("height", "width", "count"), [(3, 3, 8), (2, 3, 4)])
def test_symmetries_turn_grids_that_fill_the_canvas(height: int, width: int, count: int) -> None:
    task = Grids("abcdefghi", height, width, symmetric=True)
    question = task.canvas.place(
        ["\n".join("abcdefghi"[row * width : (row + 1) * width] for row in range(height))]
    )
    symmetry = task.draw_symmetries(np.random.default_rng(0), 200)
    found = symmetry.apply(np.repeat(question, 200, axis=0))
    views = task.canvas.turn(np.repeat(question, count, axis=0), np.array(task.canvas.views))
    assert {bytes(row) for row in found} == {bytes(row) for row in views}
    np.testing.assert_array_equal(symmetry.inverse().apply(found), np.repeat(question, 200, axis=0))


def test_task_without_symmetries_says_so(task: Grids) -> None:
    with pytest.raises(
        PuzzleError,
        match=r"no symmetries to vote with; they need data built with --augment.*leave out votes",
    ):
        task.draw_symmetries(np.random.default_rng(0), 5)


def test_picture_shows_characters_in_colours_and_marks_as_frames(task: Grids) -> None:
    question = task.parse("ab#\n. a")[0]
    picture = task.picture(question, np.zeros(20, int), cell=20)
    assert picture.size == (3 * 20 + 2, 2 * 20 + 2)
    colours = {
        picture.getpixel((4 + 20 * column, 4 + 20 * row)) for row in range(2) for column in range(3)
    }
    assert len(colours) == 4  # a, b, # and the paper of . and blank
    framed = task.picture(question, np.full(20, Mark.WRONG), cell=20)
    assert framed.getpixel((2, 2)) == PAINTS[Mark.WRONG].fill
    frames = thinking_frames(
        task.picture, given_cells(task, question), question, np.stack([question, question])
    )
    assert len(frames) == 3
