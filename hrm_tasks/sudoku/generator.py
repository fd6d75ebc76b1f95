"""New Sudoku puzzles, each with exactly one solution.

Givens are taken out of a random solution one by one, in random order, as long as the solution stays the only one.
The 4x4 board has just 288 solutions, so thousands of its puzzles are dug at once: a puzzle has one solution where
one of the 288 fits.

Shapes: N puzzles, S cells. Grids hold digits, 0 for a blank.
"""

from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import numpy.typing as npt

from hrm_core.data.puzzles import Puzzles
from hrm_core.errors import PuzzleError
from hrm_tasks.sudoku.board import BOARDS, Board, ByteArray, IntArray
from hrm_tasks.sudoku.solver import Rules, State, count_solutions, rules_of, solutions, solve

BATCH = {4: 1024, 6: 64, 9: 16}  # puzzles dug at once
PATIENCE = 25  # batches in a row that bring nothing new

Keep = Callable[
    [ByteArray], npt.NDArray[np.bool_]
]  # (N, S) solutions -> (N,) those that may become puzzles


def generate(
    size: int,
    count: int,
    rng: np.random.Generator,
    *,
    givens: tuple[int, int] | None = None,
    min_rating: int = 0,
    keep: Keep | None = None,
) -> Puzzles:
    """Make `count` different puzzles, the same ones for the same generator state.

    `givens` is how many cells are given, at least and at most; each puzzle draws its number from this range. None
    leaves as few as the order of digging allows, so that no given can be spared. Puzzles that the solver rates lower
    than `min_rating` are left out, and solutions that `keep` refuses do not become puzzles.

    Raises: PuzzleError where there are no such puzzles, or too few to be found.
    """
    batches = generate_batches(size, rng, givens=givens, min_rating=min_rating, keep=keep)
    puzzles = next(batches)
    parts = [puzzles]
    num_found = len(puzzles.ratings)
    while num_found < count:
        parts.append(next(batches))
        num_found += len(parts[-1].ratings)
    return Puzzles.join(parts).select(np.arange(count))


def generate_batches(
    size: int,
    rng: np.random.Generator,
    *,
    givens: tuple[int, int] | None = None,
    min_rating: int = 0,
    keep: Keep | None = None,
) -> Iterator[Puzzles]:
    """Yield batches of puzzles without end, none of them twice. Arguments and errors are those of `generate`."""
    _check_givens(size, givens)
    seen: set[bytes] = set()
    fruitless = 0
    while fruitless < PATIENCE:
        questions, answers = _draw_puzzles(BOARDS[size], BATCH[size], rng, givens, keep)
        new = _first_sights(questions, seen)
        ratings = np.array([solve(question).rating for question in questions[new]], dtype=np.int32)
        puzzles = Puzzles(questions[new] + np.uint8(1), answers[new] + np.uint8(1), ratings).select(
            ratings >= min_rating
        )
        fruitless = 0 if len(puzzles.ratings) else fruitless + 1
        if not fruitless:
            yield puzzles
    raise PuzzleError(
        f"no new puzzle among the last {PATIENCE * BATCH[size]} of {size}x{size} with givens={givens}, min_rating={min_rating}; "
        "ask for fewer puzzles, more givens or a lower rating"
    )


def _check_givens(size: int, givens: tuple[int, int] | None) -> None:
    if size not in BOARDS:
        raise PuzzleError(f"size {size}; expected 4, 6 or 9")
    if givens is not None and not 0 <= givens[0] <= givens[1] <= size * size:
        raise PuzzleError(
            f"givens={givens}; expected the least and the most of them, in this order, between 0 and {size * size}"
        )


def _first_sights(questions: ByteArray, seen: set[bytes]) -> npt.NDArray[np.intp]:
    """The indices of the questions that were not seen before; they are now."""
    new = []
    for index, question in enumerate(map(bytes, questions)):
        if question not in seen:
            seen.add(question)
            new.append(index)
    return np.array(new, dtype=np.intp)


def _draw_puzzles(
    board: Board,
    count: int,
    rng: np.random.Generator,
    givens: tuple[int, int] | None,
    keep: Keep | None,
) -> tuple[ByteArray, ByteArray]:
    """Draw questions and answers (N, S), at most `count`: unwanted solutions and those that keep more givens than asked for are dropped."""
    low, high = givens or (0, 0)
    targets = rng.integers(low, high + 1, size=count)
    orders = rng.permuted(np.tile(np.arange(board.num_cells), (count, 1)), axis=1)
    if board.size == 4:
        answers = _small_solutions()[rng.integers(len(_small_solutions()), size=count)]
    else:
        answers = np.stack([random_solution(board, rng) for _ in range(count)])
    if keep is not None:
        wanted = keep(answers)
        answers, orders, targets = answers[wanted], orders[wanted], targets[wanted]
    if board.size == 4:
        questions = _dig_small(answers, orders, targets)
    else:
        dug = [_dig(*each) for each in zip(answers, orders, targets.tolist(), strict=True)]
        questions = np.array(dug, np.uint8).reshape(answers.shape)
    kept = (questions > 0).sum(axis=1) <= (high if givens else board.num_cells)
    return questions[kept], answers[kept]


def random_solution(board: Board, rng: np.random.Generator) -> ByteArray:
    """Fill an empty board: place a random candidate, draw the consequences, start again at a contradiction.

    Returns: (S,) digits. Every grid can come up; a random symmetry on top takes most of what bias there is.
    """
    rules = rules_of(board.size)
    state: State | None = None
    while state is None or not state.is_solved:
        state = _place_any(rules, state or State(rules.everything, 0), rng)
    cells, digits = board.draw_cell_orders(rng, 1)[0], board.draw_digit_orders(rng, 1)[0]
    solution: ByteArray = digits[rules.grid(state)[cells]]
    return solution


def _place_any(rules: Rules, state: State, rng: np.random.Generator) -> State | None:
    trials = list(rules.trials(state))
    return rules.propagate(trials[rng.integers(len(trials))])


def _dig(answer: ByteArray, order: IntArray, target: int) -> ByteArray:
    """Blank cells of one answer (S,) in this order down to `target` givens, where the solution stays the only one."""
    question = answer.copy()
    num_givens = len(answer)
    for cell in order.tolist():
        if num_givens <= target:
            break
        question[cell] = 0
        if count_solutions(question) == 1:
            num_givens -= 1
        else:
            question[cell] = answer[cell]
    return question


@cache
def _small_solutions() -> ByteArray:
    """All solutions of the 4x4 board. Returns: (288, 16)."""
    return np.stack(list(solutions(np.zeros(16, dtype=np.uint8))))


def _as_bits(grids: ByteArray) -> npt.NDArray[np.uint64]:
    """One bit for each digit of each cell of 4x4 grids, none for a blank. Shapes: (N, 16) -> (N,)."""
    digit = np.array([0, 1, 2, 4, 8], dtype=np.uint64)[grids]
    bits: npt.NDArray[np.uint64] = np.bitwise_or.reduce(
        digit << np.arange(0, 64, 4, dtype=np.uint64), axis=1
    )
    return bits


def _dig_small(answers: ByteArray, orders: IntArray, targets: IntArray) -> ByteArray:
    """`_dig` for many 4x4 answers at once. Shapes: (N, 16), (N, 16), (N,) -> (N, 16)."""
    every, each = ~_as_bits(_small_solutions()), np.arange(len(answers))
    questions = answers.copy()
    for cells in orders.T:
        trial = questions.copy()
        trial[each, cells] = 0
        fits = (
            _as_bits(trial)[:, None] & every
        ) == 0  # (N, 288): no given that the solution contradicts
        may_go = (fits.sum(axis=1) == 1) & ((questions > 0).sum(axis=1) > targets)
        questions[may_go] = trial[may_go]
    return questions
