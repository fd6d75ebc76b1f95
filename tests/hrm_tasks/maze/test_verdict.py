from itertools import product

import numpy as np
import pytest

from hrm_tasks.maze.board import OPEN, PATH
from hrm_tasks.maze.verdict import are_shortest_paths, judge

TOKENS = {character: token for token, character in enumerate("?# SGo")} | {".": OPEN}

MAZE = """\
S...#
.##.#
.##..
...#G
##..."""


def tokens(drawing: str) -> np.ndarray:
    return np.array([TOKENS[character] for character in drawing.replace("\n", "")], np.uint8)


def verdict(answer: str, maze: str = MAZE) -> str:
    size = len(maze.splitlines())
    found = judge(tokens(maze), tokens(answer), size)
    assert found.is_optimal == are_shortest_paths(tokens(maze)[None], tokens(answer)[None])[0]
    return str(found)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Sooo#\n.##o#\n.##oo\n...#G\n##...", "optimal: 7 moves"),
        (
            "S...#\no##.#\no##..\nooo#G\n##ooo",
            "valid but longer: 9 moves, 2 more than the shortest path",
        ),
        ("Sooo#\n.##o#\n.##.o\n...#G\n##...", "broken: the path from S ends at row 2, column 4"),
        ("S...#\n.##.#\n.##..\n...#G\n##...", "broken: the path from S ends at row 1, column 1"),
        ("Sooo#\no##o#\n.##oo\n...#G\n##...", "broken: the path has a dead end at row 2, column 1"),
        (
            "Sooo#\n.##o#\n.##oo\n...#G\n##.o.",
            "broken: the mark at row 5, column 4 is not connected with S",
        ),
        ("Sooo#\no##o#\no##oo\nooo#G\n##ooo", "broken: the path forks at row 1, column 1"),
        (
            "Sooo#\n.##oo\n.##oo\n...#G\n##...",
            "broken: path at row 2, column 5, where the question has a wall",
        ),
        (
            "Sooo#\n.#.o#\n.##oo\n...#G\n##...",
            "broken: open at row 2, column 3, where the question has a wall",
        ),
        (
            "oooo#\n.##o#\n.##oo\n...#G\n##...",
            "broken: path at row 1, column 1, where the question has S",
        ),
        (
            "SoooG\n.##o#\n.##oo\n...#G\n##...",
            "broken: G at row 1, column 5, where the question has a wall",
        ),
        (
            "Sooo#\n.##o#\n.##oo\n.?.#G\n##...",
            "broken: a pad at row 4, column 2, where the question has open",
        ),
    ],
)
def test_verdict_says_what_and_where(answer: str, expected: str) -> None:
    assert verdict(answer) == expected


def test_longer_path_that_touches_itself_is_still_a_path() -> None:
    assert (
        verdict("Soo.\n.Go.\n....\n....", "S...\n.G..\n....\n....")
        == "valid but longer: 4 moves, 2 more than the shortest path"
    )


def test_question_that_is_no_maze_is_said_to_be_one() -> None:
    assert verdict("....", "..\n..") == "broken: the question has no S; expected one S and one G"
    assert verdict("SS.G", "SS\n.G").startswith(
        "broken: the question has 2 S, at row 1, column 1 and row 1, column 2; expected one"
    )
    assert verdict("S##G", "S#\n#G") == "broken: the question has no way from S to G"


def path_lengths(cells: frozenset[int], here: int, goal: int, size: int) -> set[int]:
    """The lengths of the ways from here to the goal that take all of these cells once."""
    if here == goal:
        return {0} if not cells else set()
    row, column = divmod(here, size)
    sides = {(row - 1, column), (row, column - 1), (row, column + 1), (row + 1, column)}
    onward = cells & {r * size + c for r, c in sides if 0 <= r < size and 0 <= c < size}
    return {
        1 + length for cell in onward for length in path_lengths(cells - {cell}, cell, goal, size)
    }


BOARDS = ["S..\n...\n..G", "...\nSG.\n...", "S...\n.#..\n....\n..G#", "S.#.\n....\nG..#\n#..."]


@pytest.mark.parametrize("drawing", BOARDS, ids=range(len(BOARDS)))
def test_verdict_of_every_possible_marking_is_that_of_trying_all_ways(drawing: str) -> None:
    maze, size = tokens(drawing), len(drawing.splitlines())
    open_cells = np.flatnonzero(maze == OPEN)
    answers = np.tile(maze, (2 ** len(open_cells), 1))
    answers[:, open_cells] = np.array(list(product((OPEN, PATH), repeat=len(open_cells))))
    start, goal = (int((maze == TOKENS[name]).argmax()) for name in "SG")
    lengths = [
        path_lengths(frozenset({goal, *np.flatnonzero(answer == PATH).tolist()}), start, goal, size)
        for answer in answers
    ]
    shortest = min(min(each) for each in lengths if each)
    is_shortest = are_shortest_paths(np.tile(maze, (len(answers), 1)), answers)
    for answer, found, accepted in zip(answers, lengths, is_shortest, strict=True):
        judged = judge(maze, answer, size)
        assert {judged.moves} == found if found else judged.fault
        assert judged.shortest in (0, shortest)
        assert accepted == judged.is_optimal == (found == {shortest})


def test_marking_everything_is_judged_quickly() -> None:
    maze = np.full(900, OPEN, np.uint8)
    maze[[0, 31]] = 3, 4
    answer = np.where(maze == OPEN, PATH, maze).astype(np.uint8)
    assert judge(maze, answer, 30).fault.startswith("the path forks at row 1, column 1")
