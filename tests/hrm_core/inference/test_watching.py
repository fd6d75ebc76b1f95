"""Steps are told as they come, of every puzzle and of its first form."""

import numpy as np
import pytest

import hrm_mlx
from hrm_core.backend import BackendOptions
from hrm_core.inference.reading import read_text
from hrm_core.inference.solving import Solver
from hrm_core.inference.watching import Moment

PUZZLE = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
HARD = ".4.......23.....6...521.4....7....4.....2...389...3....2.7...15.7.1.5.......3.7.9"

SLOW = "73.....514.8...9.7..........1..8..4.....6....9.3...8.6..49.31...918.762.8...4...3"
HARDEST = "8..........36......7..9.2...5...7.......457.....1...3...1....68..85...1..9....4.."


@pytest.fixture(scope="module")
def solver() -> Solver:
    return hrm_mlx.load("sudoku-9x9", BackendOptions("cpu", "float32"))


def test_every_step_of_every_puzzle_is_told_once(solver: Solver) -> None:
    questions = read_text(solver.task, f"{PUZZLE}\n{HARD}")
    moments: list[Moment] = []
    solutions = solver.solve_puzzles(questions, watch=moments.append)
    lengths = [len(solution.answers) for solution in solutions]
    assert lengths[0] < lengths[1]  # so that slots are given up on the way
    assert [moment.num_thinking for moment in moments] == [2] * lengths[0] + [1] * (
        lengths[1] - lengths[0]
    )
    for number, solution in enumerate(solutions):
        told = [each for moment in moments for each in moment.thoughts if each.puzzle == number]
        assert [each.step for each in told] == list(range(1, lengths[number] + 1))
        assert np.array_equal([each.answer for each in told], solution.answers)
        logits = [each.q_halt_logit for each in told]
        assert np.array_equal(np.float32(logits), solution.q_halt_logits)


def test_the_first_form_is_the_puzzle_as_it_is(solver: Solver) -> None:
    questions = read_text(solver.task, HARDEST)
    moments: list[Moment] = []
    (alone,) = solver.solve_puzzles(questions, halt="fixed", steps=2)
    solver.solve_puzzles(questions, halt="fixed", steps=2, votes=3, watch=moments.append)
    assert [moment.num_thinking for moment in moments] == [1] * 6  # one form after the other
    told = [each.answer for moment in moments for each in moment.thoughts]
    assert np.array_equal(told, alone.answers)


def test_an_accepted_answer_ends_the_asking(solver: Solver) -> None:
    questions = read_text(solver.task, f"{PUZZLE}\n{HARDEST}")
    (easy, hard) = solver.solve_puzzles(questions, votes=4)
    (alone, first) = solver.solve_puzzles(questions)
    assert alone.accepted
    assert not first.accepted  # so that it is asked again
    assert (easy.num_answers, easy.num_agreeing) == (1, 1)
    np.testing.assert_array_equal(easy.answers, alone.answers)
    assert 1 < hard.num_answers <= 4
    assert hard.accepted or hard.num_answers == 4


def test_a_puzzle_gets_twice_the_steps_of_training_if_the_model_halts_within_them(
    solver: Solver,
) -> None:
    questions = read_text(solver.task, f"{SLOW}\n{HARDEST}")
    trained = solver.backend.config.halt_max_steps
    fixed = solver.solve_puzzles(questions, halt="fixed")
    by_q = solver.solve_puzzles(questions, steps=2 * trained)
    slow, hardest = solver.solve_puzzles(questions)
    assert trained < len(by_q[0].answers) < 2 * trained == len(by_q[1].answers)
    assert slow.accepted
    assert not fixed[0].accepted
    np.testing.assert_array_equal(slow.answers, by_q[0].answers)
    np.testing.assert_array_equal(hardest.answers, fixed[1].answers)
    assert hardest.settled_step == fixed[1].settled_step


def test_an_exception_of_the_watcher_ends_the_thinking(solver: Solver) -> None:
    seen = []

    def watch(moment: Moment) -> None:
        seen.append(moment)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        solver.solve_puzzles(read_text(solver.task, HARD), watch=watch)
    assert len(seen) == 1
