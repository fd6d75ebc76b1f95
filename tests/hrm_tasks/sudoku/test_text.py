import re
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrm_core.errors import PuzzleError
from hrm_tasks.sudoku.board import BOARDS
from hrm_tasks.sudoku.task import Sudoku

LINE = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
SMALL = "1..4\n..1.\n.1..\n4..1"

Result = TypeVar("Result")
FUZZ = settings(deadline=None, derandomize=True, max_examples=300)


def refusal(size: int, text: str) -> str:
    with pytest.raises(PuzzleError) as refused:
        Sudoku(size).parse(text)
    message = str(refused.value)
    assert "\n" not in message
    return message


def result_or_refusal(function: Callable[[str], Result], text: str) -> Result | str:
    try:
        return function(text)
    except PuzzleError as error:
        return str(error)


def test_blanks_and_digits_become_tokens() -> None:
    tokens = Sudoku(9).parse(LINE)
    assert tokens.dtype == np.uint8
    np.testing.assert_array_equal(tokens[0, :6], [6, 4, 1, 1, 8, 1])
    np.testing.assert_array_equal(Sudoku(9).parse(LINE.replace(".", "0")), tokens)
    np.testing.assert_array_equal(Sudoku(9).parse(LINE.replace(".", "_")), tokens)


def test_one_puzzle_a_line_and_blank_lines_between_do_not_matter() -> None:
    assert Sudoku(9).parse(f"{LINE}\n{LINE}\r\n\n\n  {LINE} \n").shape == (3, 81)


def test_drawn_and_one_line_forms_mix_when_blank_lines_part_them() -> None:
    assert Sudoku(4).parse(f"{SMALL}\n\n1..4..1..1..4..1\n1..4..1..1..4..1\n\n\n{SMALL}").shape == (
        4,
        16,
    )


@pytest.mark.parametrize(
    "drawing",
    [
        "+-----+-----+\n| 1 . | . 4 |\n| . . | 1 . |\n+-----+-----+\n| . 1 | . . |\n| 4 . | . 1 |\n+-----+-----+",
        "╔═══╤═══╗\n║1 .│. 4║\n║. .│1 .║\n╟───┼───╢\n║. 1│. .║\n║4 .│. 1║\n╚═══╧═══╝",
        "| 1 | _ | _ | 4 |\n|:-:|:-:|:-:|:-:|\n| _ | _ | 1 | _ |\n| _ | 1 | _ | _ |\n| 4 | _ | _ | 1 |",
        "\ufeff1 0 0 4\r\n0 0 1 0\r\n0 1 0 0\r\n4 0 0 1\r\n",
    ],
    ids=["ascii", "box drawing", "markdown", "spaces"],
)
def test_frames_are_passed_over(drawing: str) -> None:
    np.testing.assert_array_equal(Sudoku(4).parse(drawing), Sudoku(4).parse(SMALL))


def test_wrong_number_of_cells_names_puzzle_and_line() -> None:
    assert refusal(9, LINE[:80]).startswith("puzzle 1 (line 1): 80 cells; expected 81")
    assert refusal(9, f"{LINE}\n\n{LINE}\n{LINE}.").startswith(
        "puzzle 3 (line 4): 82 cells; expected 81"
    )


def test_wrong_rows_of_a_drawing_are_named() -> None:
    assert "puzzle 2 (line 6): row 2 (line 7) has 3 cells; expected 4" in refusal(
        4, f"{SMALL}\n\n1..4\n...\n.1..\n4..1"
    )
    assert "puzzle 1 (line 1): 8 rows; expected 4" in refusal(4, f"{SMALL}\n{SMALL}")


def test_unknown_character_is_named_with_its_place() -> None:
    assert "unknown character 'x' at line 3, column 2" in refusal(4, "1..4\n..1.\n.x..\n4..1")
    assert "'x' at line 1, column 2" in refusal(4, "\ufeff1x.4\n..1.\n.1..\n4..1")
    assert r"unknown character '\x00'" in refusal(4, "\x00" + SMALL)


def test_digit_above_the_size_is_named_with_its_place() -> None:
    assert "digit 5 at row 2, column 3; expected 1 to 4" in refusal(4, "1..4\n..5.\n....\n....")


@pytest.mark.parametrize(
    ("text", "unit", "places"),
    [
        ("1..1............", "row 1", "row 1, column 1 and row 1, column 4"),
        ("..3...........3.", "column 3", "row 1, column 3 and row 4, column 3"),
        ("..........2....2", "box 4", "row 3, column 3 and row 4, column 4"),
    ],
)
def test_clashing_givens_are_named_with_their_unit(text: str, unit: str, places: str) -> None:
    assert f"is given twice in {unit}, at {places}" in refusal(4, text)


@pytest.mark.parametrize("text", ["", " \n\n", "+---+\n|\n"])
def test_text_without_a_puzzle_is_refused(text: str) -> None:
    assert "no puzzle found" in refusal(9, text)


@pytest.mark.parametrize("size", BOARDS)
def test_size_is_told_from_a_line_or_a_row(size: int) -> None:
    assert Sudoku.from_text("." * size**2).size == size
    assert Sudoku.from_text("\n+--+\n" + "| . " * size).size == size


def test_size_of_a_line_that_fits_no_board_is_refused() -> None:
    with pytest.raises(
        PuzzleError,
        match="80 cells in line 2; expected a row of 4, 6 or 9 or a puzzle of 16, 36 or 81",
    ):
        Sudoku.from_text("\n" + LINE[:80])


@FUZZ
@given(
    text=st.text(max_size=300) | st.text(alphabet="0123456789._|+- \n\r\t", max_size=300),
    size=st.sampled_from(list(BOARDS)),
)
def test_any_text_is_read_or_refused_in_one_line(text: str, size: int) -> None:
    outcome = result_or_refusal(Sudoku(size).parse, text)
    if isinstance(outcome, str):
        assert len(outcome.splitlines()) == 1
        assert re.match(r"puzzle \d+ \(line \d+\): |no puzzle found", outcome)
    else:
        assert outcome.shape[1] == size**2
        assert outcome.min() >= 1
        assert outcome.max() <= size + 1


@FUZZ
@given(text=st.text(max_size=100))
def test_size_of_any_text_is_told_or_refused(text: str) -> None:
    outcome = result_or_refusal(Sudoku.from_text, text)
    assert (
        "expected a row of 4, 6 or 9" in outcome
        if isinstance(outcome, str)
        else outcome.size in BOARDS
    )
