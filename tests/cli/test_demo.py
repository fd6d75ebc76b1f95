"""The demo shows the hardest puzzle that was solved first, and a failure as one."""

import numpy as np
import pytest
from hrm_cli.demo import _described, chosen

from hrm_core.inference.solution import Solution
from hrm_core.pictures.grids import PAINTS, Mark
from hrm_tasks.sudoku.task import Sudoku

TASK = Sudoku(4)
RIGHT = TASK.parse("1234341221434321")[0]
QUESTION = TASK.parse("1...34122143432.")[0]
WRONG = RIGHT.copy()
WRONG[2] = RIGHT[1]  # a second 2 in the first row, third column and second box
IN_CONFLICT = [1, 2, 7, 14]


def solution(answer: np.ndarray, settled: int) -> Solution:
    answers = np.array([WRONG] * (settled - 1) + [answer])
    return Solution(TASK, QUESTION, answers, np.zeros(settled, np.float32), settled)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([(True, 2), (True, 4), (False, 8), (True, 1), (True, 4), (False, 7)], [1, 3, 2]),
        ([(True, 2), (False, 8)], [0, 1]),
        ([(False, 3), (False, 8)], [0]),
        ([(True, 3)], [0]),
    ],
)
def test_hardest_easiest_and_a_failure_are_chosen(
    steps: list[tuple[bool, int]], expected: list[int]
) -> None:
    solutions = [solution(RIGHT if is_right else WRONG, settled) for is_right, settled in steps]
    found = [
        next(i for i, each in enumerate(solutions) if each is one) for one in chosen(solutions)
    ]
    assert found == expected


def test_success_and_failure_are_told_apart() -> None:
    assert "settled after step 2 of 2, accepted by the rules:" in _described(solution(RIGHT, 2))
    said = _described(solution(WRONG, 1))
    assert "settled after step 1 of 1, NOT a solution, 4 cells in conflict:" in said


def test_solution_is_two_lines_in_python_and_its_grid_has_digits() -> None:
    found = solution(RIGHT, 2)
    assert repr(found) == (
        "<Solution of sudoku: accepted by the rules, settled after ACT step 2 of 2\n"
        " 1234341221434321>"
    )
    assert "NOT a solution" in repr(solution(WRONG, 1))
    assert found.grid.tolist() == [[1, 2, 3, 4], [3, 4, 1, 2], [2, 1, 4, 3], [4, 3, 2, 1]]
    assert (found.answer == found.grid.reshape(-1) + 1).all()


def test_conflicting_cells_of_a_failure_are_red_in_the_last_frame() -> None:
    crimson = PAINTS[Mark.WRONG].fill
    for answer, is_red in ((WRONG, True), (RIGHT, False)):
        last = solution(answer, 2).frames()[-1]
        colours = {colour for _, colour in last.getcolors(1 << 16) or ()}
        assert (crimson in colours) == is_red
    assert solution(WRONG, 1).conflicts.nonzero()[0].tolist() == IN_CONFLICT
