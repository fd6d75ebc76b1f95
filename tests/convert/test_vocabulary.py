"""Tokens of two tasks are matched by the text that they stand for."""

from typing import Any

import pytest
from hrm_convert.vocabulary import match_tokens

from hrm_tasks.arc.task import Arc
from hrm_tasks.grids.task import Grids
from hrm_tasks.maze.task import Maze
from hrm_tasks.sudoku.task import Sudoku
from hrm_tasks.text.task import Text

NEW = -1
GRIDS = Grids(".AB", 3, 3)
CHARACTERS = Text(5, 8, {"alphabet": "\n14b"})


class Silent:
    """A task whose tokens stand for no text."""


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (Sudoku(9), CHARACTERS, [NEW, NEW, 2, 5, NEW]),
        (CHARACTERS, Sudoku(4), [NEW, NEW, 2, NEW, NEW, 3]),
        (Sudoku(4), Maze(4), [NEW] * 6),
        (Sudoku(9), Arc(), [NEW, NEW, NEW, *range(2, 11)]),
        (GRIDS, Grids("#.B", 3, 3), [NEW, NEW, NEW, 2, 4]),
        (Sudoku(9), Sudoku(4), None),
        (Sudoku(4), Sudoku(9), None),
        (GRIDS, Grids(".AB", 5, 2), None),
        (Silent(), Arc(), None),
        (Arc(), Silent(), None),
        (None, None, None),
    ],
)
def test_tokens_are_matched_by_text_where_numbers_do_not_agree(
    before: Any, after: Any, expected: list[int] | None
) -> None:
    found = match_tokens(before, after)
    assert (found if found is None else found.tolist()) == expected


def test_of_tokens_with_one_text_the_first_are_matched() -> None:
    class Repeating(Silent):
        def __init__(self, *texts: str) -> None:
            self.token_texts = texts

    before: Any = Repeating("", "a", "b", "a")
    after: Any = Repeating("b", "a", "", "a", "b")
    assert match_tokens(before, after).tolist() == [2, 1, NEW, NEW, NEW]  # type: ignore[union-attr]
