"""Generate Sudoku puzzles, each with exactly one solution.

Givens are taken out of a random solution one by one, in random order, as long as the solution stays
the only one (a puzzle is "dug" from its solution). The 4x4 board has only 288 solutions, so a
thousand of its puzzles are dug at once: a puzzle has one solution if exactly one of the 288 fits.

Shapes: N puzzles, S cells. Grids hold digits, 0 for a blank.
"""

from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import numpy.typing as npt

from hrm_core.data.puzzles import Puzzles
from hrm_core.errors import PuzzleError
from hrm_tasks.sudoku.board import BOARDS, Board, BoolArray, ByteArray, IntArray
from hrm_tasks.sudoku.solver import Rules, State, count_solutions, rules_of, solutions, solve

BATCH = {4: 1024, 6: 64, 9: 16}  # puzzles dug at once
PATIENCE = 25  # batches in a row without a new puzzle

Keep = Callable[[ByteArray], BoolArray]  # (N, S) solutions -> (N,) True if it may become a puzzle


def generate(
    size: int,
    count: int,
    rng: np.random.Generator,
    *,
    givens: tuple[int, int] | None = None,
    min_rating: int = 0,
    keep: Keep | None = None,
) -> Puzzles:
    """Generate `count` different puzzles, the same ones for the same generator state.

    `givens` is the least and the largest number of givens; each puzzle draws its number from this
    range. With None a puzzle keeps as few as the order of digging allows, so that no given can be
    spared. Puzzles that the solver rates lower than `min_rating` are left out, and solutions that
    `keep` refuses do not become puzzles.

    Raises: PuzzleError if there are no such puzzles, or too few can be found.
    """
    batches = generate_batches(
        size,
        rng,
        givens=givens,
        min_rating=min_rating,
        keep=keep,
    )
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
    """Yield batches of different puzzles without end.

    Arguments and errors are those of `generate`.
    """
    _check_givens(size, givens)
    seen: set[bytes] = set()
    fruitless = 0
    while fruitless < PATIENCE:
        questions, answers = _draw_puzzles(
            BOARDS[size],
            BATCH[size],
            rng,
            givens,
            keep,
        )
        new = _take_unseen(questions, seen)
        questions = questions[new]
        answers = answers[new]
        ratings = np.array([solve(question).rating for question in questions], dtype=np.int32)
        puzzles = Puzzles(
            questions + np.uint8(1),
            answers + np.uint8(1),
            ratings,
        )
        puzzles = puzzles.select(ratings >= min_rating)
        fruitless += 1
        if len(puzzles.ratings):
            fruitless = 0
            yield puzzles
    num_drawn = PATIENCE * BATCH[size]
    raise PuzzleError(
        f"no new puzzle among the last {num_drawn} of {size}x{size} "
        f"with givens={givens}, min_rating={min_rating}; "
        "ask for fewer puzzles, more givens or a lower rating"
    )


def _check_givens(size: int, givens: tuple[int, int] | None) -> None:
    if size not in BOARDS:
        raise PuzzleError(f"size {size}; expected 4, 6 or 9")
    num_cells = size * size
    if givens is not None and not 0 <= givens[0] <= givens[1] <= num_cells:
        raise PuzzleError(
            f"givens={givens}; expected the least and the most of them, "
            f"in this order, between 0 and {num_cells}"
        )


def _take_unseen(questions: ByteArray, seen: set[bytes]) -> npt.NDArray[np.intp]:
    """Return the indices of the questions that are not in `seen`, and add them to it."""
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
    """Draw at most `count` questions and answers (N, S).

    Solutions that `keep` refuses and puzzles with more givens than asked for are dropped.
    """
    fewest, most = givens or (0, 0)
    targets = rng.integers(fewest, most + 1, size=count)
    orders = np.tile(np.arange(board.num_cells), (count, 1))
    orders = rng.permuted(orders, axis=1)
    answers = _draw_solutions(board, count, rng)
    if keep is not None:
        wanted = keep(answers)
        answers = answers[wanted]
        orders = orders[wanted]
        targets = targets[wanted]
    if board.size == 4:
        questions = _dig_small(answers, orders, targets)
    else:
        drawn = zip(answers, orders, targets.tolist(), strict=True)
        dug = [_dig(*each) for each in drawn]
        questions = np.array(dug, np.uint8).reshape(answers.shape)
    if givens is None:
        return questions, answers
    has_few = (questions > 0).sum(axis=1) <= most
    return questions[has_few], answers[has_few]


def _draw_solutions(board: Board, count: int, rng: np.random.Generator) -> ByteArray:
    """Draw random solutions: (count, S) digits."""
    if board.size == 4:
        every = _small_solutions()
        return every[rng.integers(len(every), size=count)]
    return np.stack([random_solution(board, rng) for _ in range(count)])


def random_solution(board: Board, rng: np.random.Generator) -> ByteArray:
    """Fill an empty board: place a random candidate, propagate, start again at a contradiction.

    Every solution can be drawn, but not uniformly; a random symmetry at the end removes most of the
    bias. Returns: (S,) digits.
    """
    rules = rules_of(board.size)
    state: State | None = None
    while state is None or not state.is_solved:
        state = _place_any(rules, state or State(rules.everything, 0), rng)
    cells = board.draw_cell_orders(rng, 1)[0]
    digits = board.draw_digit_orders(rng, 1)[0]
    solution: ByteArray = digits[rules.grid(state)[cells]]
    return solution


def _place_any(rules: Rules, state: State, rng: np.random.Generator) -> State | None:
    """Place a random candidate of the branching cell; return None at a contradiction."""
    trials = list(rules.trials(state))
    trial = trials[rng.integers(len(trials))]
    return rules.propagate(trial)


def _dig(answer: ByteArray, order: IntArray, target: int) -> ByteArray:
    """Blank the cells of one answer (S,) in this order down to `target` givens.

    A cell stays where the puzzle would have more than one solution without it.
    """
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
    """Return all solutions of the 4x4 board: (288, 16)."""
    empty = np.zeros(16, dtype=np.uint8)
    return np.stack(list(solutions(empty)))


def _as_bits(grids: ByteArray) -> npt.NDArray[np.uint64]:
    """Pack 4x4 grids into integers: one bit for each digit of each cell, no bit for a blank.

    Shapes: (N, 16) -> (N,).
    """
    bit_of = np.array([0, 1, 2, 4, 8], dtype=np.uint64)
    shifts = np.arange(0, 64, 4, dtype=np.uint64)
    cells = bit_of[grids] << shifts
    bits: npt.NDArray[np.uint64] = np.bitwise_or.reduce(cells, axis=1)
    return bits


def _dig_small(answers: ByteArray, orders: IntArray, targets: IntArray) -> ByteArray:
    """Dig many 4x4 answers at once, as `_dig` does. Shapes: (N, 16), (N, 16), (N,) -> (N, 16)."""
    contradictions = ~_as_bits(_small_solutions())
    each = np.arange(len(answers))
    questions = answers.copy()
    for cells in orders.T:
        trial = questions.copy()
        trial[each, cells] = 0
        fits = (_as_bits(trial)[:, None] & contradictions) == 0  # (N, 288)
        has_one_solution = fits.sum(axis=1) == 1
        has_more_givens = (questions > 0).sum(axis=1) > targets
        may_go = has_one_solution & has_more_givens
        questions[may_go] = trial[may_go]
    return questions
