import re
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrm_core.errors import PuzzleError
from hrm_tasks.maze.generator import MazeGenerator
from hrm_tasks.maze.task import Maze

SMALL = "S #\n. #\n  G"
TOKENS = [3, 2, 1, 2, 2, 1, 2, 2, 4]
Result = TypeVar("Result")
FUZZ = settings(deadline=None, derandomize=True, max_examples=300)


def refusal(text: str, size: int = 3) -> str:
    with pytest.raises(PuzzleError) as refused:
        Maze(size).parse(text)
    message = str(refused.value)
    assert "\n" not in message
    return message


def result_or_refusal(function: Callable[[str], Result], text: str) -> Result | str:
    try:
        return function(text)
    except PuzzleError as error:
        return str(error)


def test_characters_become_tokens() -> None:
    tokens = Maze(3).parse(SMALL)
    assert tokens.dtype == np.uint8
    np.testing.assert_array_equal(tokens, [TOKENS])


@pytest.mark.parametrize(
    "text",
    ["S #. #  G", "S.#..#..G\n", "\ufeffS #\r\n. #\r\n  G\r\n", "\n\n \nS #\n. #\n  G\n\n    \n"],
)
def test_other_ways_to_write_the_same(text: str) -> None:
    np.testing.assert_array_equal(Maze(3).parse(text), [TOKENS])


def test_drawn_and_one_line_mazes_mix_when_empty_lines_part_them() -> None:
    assert Maze(3).parse(f"{SMALL}\n\n{SMALL}\n\n\nS #. #  G\nS.#..#..G\n\n{SMALL}").shape == (5, 9)


def test_row_of_blanks_is_a_row() -> None:
    np.testing.assert_array_equal(Maze(3).parse("S..\n   \n##G"), [[3, 2, 2, 2, 2, 2, 1, 1, 4]])
    np.testing.assert_array_equal(
        Maze(3).parse("   \nS.G\n###\n   \n   \nS.G\n###")[1], [2, 2, 2, 3, 2, 4, 1, 1, 1]
    )


@pytest.mark.parametrize("size", [5, 10, 11, 30])
def test_questions_read_back_as_drawn_and_as_lines(size: int) -> None:
    task, mazes = Maze(size), MazeGenerator(size, np.random.default_rng(0), min_path=2).generate(9)
    for write, gap in ((task.format, "\n\n"), (task.line, "\n")):
        written = [write(tokens) for tokens in mazes.inputs]
        np.testing.assert_array_equal(task.parse(gap.join(written)), mazes.inputs)
        assert Maze.from_text(written[0]).size == size
    assert all(re.fullmatch(r"[#.SG]+", task.line(tokens)) for tokens in mazes.inputs)


def test_answers_and_pads_are_drawn() -> None:
    assert Maze(3).format(np.array([3, 5, 1, 2, 5, 0, 2, 5, 4], np.uint8)) == "So#\n o?\n oG"
    assert Maze(3).line(np.array([3, 5, 1, 2, 5, 0, 2, 5, 4], np.uint8)) == "So#.o?.oG"


def test_size_is_told_from_a_drawing_or_a_line() -> None:
    sizes = {
        SMALL: 3,
        "S #. #  G": 3,
        "." * 16: 4,
        "\n".join(["." * 16] * 16): 16,
        "\n   \n\nSG\n..": 2,
    }
    assert {text: Maze.from_text(text).size for text in sizes} == sizes


@pytest.mark.parametrize(("text", "cells"), [("", 0), ("\n\n", 0), ("S", 1), ("." * 130, 130)])
def test_line_that_fits_no_board_is_refused(text: str, cells: int) -> None:
    with pytest.raises(
        PuzzleError,
        match=f"{cells} cells in line 1; expected a row of 2 to 128, or a square number of them",
    ):
        Maze.from_text(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "S #\n. x\n  G",
            "maze 1 (line 1): unknown character 'x' at line 2, column 3; expected # for a wall",
        ),
        ("S #\n. #\n ^G", "maze 1 (line 1): unknown character '^' at line 3, column 2"),
        (
            "So#\n o#\n oG",
            "unknown character 'o' at line 1, column 2; expected # for a wall, a blank or . for an open cell, S and G; a question",
        ),
        ("S\t#\n. #\n  G", r"unknown character '\t' at line 1, column 2"),
        (
            f"{SMALL}\n\n\nS #\n.\n  G",
            "maze 2 (line 6): row 2 (line 7) has 1 cells; expected 3; blanks at its end may be lost",
        ),
        ("S #.\n. #\n  G", "row 1 (line 1) has 4 cells; expected 3"),
        ("S #\n  #\n  #\n  G", "4 rows; expected 3, then an empty line before the next maze"),
        (f"{SMALL}\n{SMALL}", "6 rows; expected 3"),
        ("S.#..#..", "8 cells; expected 9 in a line, or 3 lines of 3"),
        ("..#\n..#\n..G", "maze 1 (line 1): no S; expected one S and one G"),
        ("S.#\n..#\n...", "no G; expected one S and one G"),
        ("S.#\n..#\nSG.", "2 S, at row 1, column 1 and row 3, column 1; expected one S and one G"),
        ("SG#\n.G#\n.G.", "3 G, at row 1, column 2 and row 2, column 2; expected"),
        (
            "S##\n###\n..G",
            "no way from S at row 1, column 1 to G at row 3, column 3; open a wall between them",
        ),
    ],
)
def test_bad_maze_is_named_with_what_was_expected(text: str, message: str) -> None:
    assert message in refusal(text)


@pytest.mark.parametrize("text", ["", " \n\n", "\n     \n"])
def test_text_without_a_maze_is_refused(text: str) -> None:
    assert refusal(text).startswith(
        f"no maze found in {len(text)} characters of text; expected 3 lines of 3 cells"
    )


@pytest.mark.filterwarnings("ignore:maze ")
@FUZZ
@given(
    text=st.text(max_size=200) | st.text(alphabet="SG#. o\n\r", max_size=60),
    size=st.sampled_from([2, 3, 4, 10]),
)
def test_any_text_is_read_or_refused_in_one_line(text: str, size: int) -> None:
    for outcome in (
        result_or_refusal(Maze(size).parse, text),
        result_or_refusal(Maze.from_text, text),
    ):
        if isinstance(outcome, str):
            assert len(outcome.splitlines()) == 1
        else:
            assert isinstance(outcome, Maze) or outcome.shape[1] == size**2


@FUZZ
@given(cells=st.lists(st.sampled_from("SG#."), min_size=9, max_size=9))
def test_any_nine_cells_mean_the_same_drawn_and_in_a_line(cells: list[str]) -> None:
    drawn, line = "\n".join("".join(cells[row : row + 3]) for row in (0, 3, 6)), "".join(cells)
    first, second = (result_or_refusal(Maze(3).parse, text) for text in (drawn, line))
    assert first == second if isinstance(first, str) else (first == second).all()
