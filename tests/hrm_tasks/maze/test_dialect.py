"""Mazes as others draw them: characters, matrices of digits, rectangles, CSV files."""

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrm_core.errors import PuzzleError
from hrm_tasks.maze.csv_rows import read_csv
from hrm_tasks.maze.generator import MazeGenerator
from hrm_tasks.maze.task import Maze

OURS = """\
##########
#S       #
# ###### #
# #    # #
# # ## # #
# # ## # #
# #    # #
# ###### #
#       G#
##########"""
ENDS = [("S", "G"), ("S", "E"), ("s", "g"), ("s", "e"), ("A", "B"), ("a", "b"), ("2", "3")]


def written(text: str, wall: str, open_cell: str, start: str, goal: str) -> str:
    return text.translate(str.maketrans({"#": wall, " ": open_cell, "S": start, "G": goal}))


def read(text: str, size: int = 10) -> tuple[np.ndarray, list[str]]:
    with warnings.catch_warnings(record=True, action="always") as said:
        mazes = Maze(size).parse(text)
    return mazes, [str(warning.message) for warning in said]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("blocks", ["maze 1 (line 1): █ is a wall"]),
        ("lower", ["maze 1 (line 1): s is the start, g is the goal"]),
        ("mazelib", ["maze 1 (line 1): E is the goal"]),
        ("rect", ["maze 1 (line 1): 8 rows of 10 cells, padded with walls to 10x10"]),
    ],
)
def test_given_files_are_read_as_they_are_meant(
    cases_dir: Path, name: str, said: list[str]
) -> None:
    mazes, found = read((cases_dir / "maze_text" / f"{name}.txt").read_text())
    rows = OURS.splitlines()
    expected = "\n".join(rows if name != "rect" else [*rows[1:-1], rows[0], rows[0]])
    assert [Maze(10).format(maze) for maze in mazes] == [expected]
    assert found == said


def test_file_may_be_in_utf_16(tmp_path: Path) -> None:
    path = tmp_path / "maze.txt"
    path.write_text(OURS.replace("#", "█"), encoding="utf-16")
    with pytest.warns(UserWarning, match="█ is a wall"):
        (maze,) = Maze(10).read_file(path)
    assert Maze(10).format(maze) == OURS


def test_given_quoted_file_is_read(cases_dir: Path) -> None:
    found = read_csv(cases_dir / "maze_text" / "quoted.csv")
    assert found.mazes.inputs.shape == (1, 900)
    assert Maze(30).accepts_all(found.mazes.inputs, found.mazes.labels).all()
    np.testing.assert_array_equal(
        Maze(30).read_file(cases_dir / "maze_text" / "quoted.csv"), found.mazes.inputs
    )


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    wall=st.sampled_from("#█Xx*1"),
    open_cell=st.sampled_from(" .0"),
    ends=st.sampled_from(ENDS),
    seed=st.integers(0, 99),
    gap=st.sampled_from(["\n", "\n\n"]),
)
def test_mazes_read_back_in_every_dialect(
    wall: str, open_cell: str, ends: tuple[str, str], seed: int, gap: str
) -> None:
    task = Maze(6)
    mazes = MazeGenerator(6, np.random.default_rng(seed), min_path=2).generate(3).inputs
    drawn = [task.format(maze) for maze in mazes]
    if gap == "\n":
        drawn = [text.replace("\n", "") for text in drawn]
    text = gap.join(drawn)
    found, said = read(written(text, wall, open_cell, *ends), 6)
    np.testing.assert_array_equal(found, mazes)
    assert len(said) == ((wall, open_cell in " .", *ends) != ("#", True, "S", "G"))


@pytest.mark.parametrize("template", ["{}", "[{}]"], ids=["apart", "in brackets"])
@pytest.mark.parametrize("between", [" ", ",", ", ", "\t"])
def test_digits_may_be_apart(template: str, between: str) -> None:
    digits = written(OURS, "1", "0", "2", "3")
    rows = [template.format(between.join(row)) for row in digits.splitlines()]
    found, _ = read("\n".join(rows))
    assert Maze(10).format(found[0]) == OURS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("S #\n. X\n  G", "unknown character 'X' at line 2, column 3; expected # for a wall"),
        ("S #\n. E\n  G", "unknown character 'E' at line 2, column 3"),
        ("S #\n0 #\n  G", "unknown character '0' at line 2, column 1"),
        ("XXX\n X*\nS G", "unknown character '*' at line 2, column 3"),
        ("S #\n  #\n  B", "unknown character 'B' at line 3, column 3"),
        ("  #\n  #\n  E", "no S; expected one S and one G"),
        ("A #\n  #\nA B", "2 S, at row 1, column 1 and row 3, column 1"),
        ("S..\n..", "row 2 (line 2) has 2 cells; expected 3; blanks at its end may be lost"),
    ],
)
def test_where_two_readings_fit_it_is_refused(text: str, message: str) -> None:
    with pytest.raises(PuzzleError) as refused:
        Maze(3).parse(text)
    assert message in str(refused.value)


def test_smaller_mazes_are_padded_and_said_once_a_shape() -> None:
    small = "S.#\n..G"
    found, said = read(f"{small}\n\n{small}\n\nS.\n.G", 4)
    rows = ["S.##", "..G#", "####", "####"]
    assert Maze(4).line(found[0]) == "".join(rows)
    assert Maze(4).line(found[2]) == "S.##.G##########"
    assert said == [
        "maze 1 (line 1): 2 rows of 3 cells, padded with walls to 4x4",
        "maze 3 (line 7): 2 rows of 2 cells, padded with walls to 4x4",
    ]
    with pytest.raises(PuzzleError, match="has 5 cells; expected 4"):
        Maze(4).parse("S....\n....G")


@pytest.mark.parametrize(
    "meanings",
    [
        {},
        {"#": "█", " ": "."},
        {"#": "1", " ": "0", "S": "2", "G": "3"},
        {"S": "A", "G": "B"},
    ],
)
@pytest.mark.parametrize("header", ["maze,solution", "source;question;answer;rating"])
def test_csv_files_of_other_dialects(
    tmp_path: Path, header: str, meanings: Mapping[str, str]
) -> None:
    table = str.maketrans(dict(meanings))
    question, answer = ("S ## ## G".translate(table), "So##o##oG".translate(table))
    path = tmp_path / "mazes.csv"
    is_rated = "rating" in header
    row = f"me;{question};{answer};9" if is_rated else f"{question},{answer}"
    path.write_text(f"{header}\n{row}\n{row}\n")
    meant = [f"{path}:2: {said.rpartition(': ')[2]}" for said in read(question, 3)[1]]
    assert len(meant) == (len(meanings) > 0)  # once, of both mazes
    with warnings.catch_warnings(record=True, action="always") as said:
        mazes = read_csv(path).mazes
        np.testing.assert_array_equal(Maze(3).read_file(path), mazes.inputs)
    found = [str(warning.message) for warning in said]
    rating = [message for message in found if "rated by the moves of its shortest path" in message]
    assert len(rating) == (not is_rated)
    assert [message for message in found if message not in rating] == meant * 2
    np.testing.assert_array_equal(mazes.inputs, [[3, 2, 1, 1, 2, 1, 1, 2, 4]] * 2)
    np.testing.assert_array_equal(mazes.labels, [[3, 5, 1, 1, 5, 1, 1, 5, 4]] * 2)
    assert mazes.ratings.tolist() == ([9, 9] if is_rated else [4, 4])
