"""Pool the answers to all augmentations of a test input, choose two attempts and score them.

An answer is cropped, its augmentation undone, and identical grids of a test input are pooled. Grids are
ranked by their number of answers, then by their mean sigmoid(q_halt). A task is solved at K if the
solution of each of its test inputs is among the first K.

    votes = Votes(names)                            names of the data set's identifiers
    votes.add(identifiers, inputs, answers, q)      once a batch
    questions = questions_of(split, names)          questions of the test split
    pass_at(votes, questions), submission(votes, questions)

Shapes: N examples, S = side · side cells of the canvas. Answers are pooled on the published canvas,
which holds every grid.
Source: sapientinc/HRM arc_eval.ipynb.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hrm_core.data.store import BLANK_IDENTIFIER, ExampleSet, Split
from hrm_core.errors import DataError
from hrm_core.tasks.capabilities import Candidate, FloatArray
from hrm_core.tasks.confidence import sigmoid
from hrm_core.tasks.contract import IntArray, TokenArray
from hrm_tasks.arc.augment import augmented, parse_names, task_of, undone
from hrm_tasks.arc.canvas import COLOUR, SIDE, decode, encode, side_of

KS = (1, 2, 10, 100, 1000)
BLOCK = 512  # canvases undone at once
NO_ATTEMPT = [[0, 0], [0, 0]]  # as in Kaggle's sample

Grid = list[list[int]]
Submission = dict[str, list[dict[str, Grid]]]


class Question(NamedTuple):
    """Test inputs of a task and their solutions."""

    inputs: list[TokenArray]  # grids of colours (height, width)
    solutions: list[TokenArray | None]  # None if it is not published

    @property
    def known(self) -> list[TokenArray]:
        """Return the solutions if all are known, else an empty list."""
        known = [solution for solution in self.solutions if solution is not None]
        if len(known) < len(self.inputs):
            return []
        return known


@dataclass(frozen=True, eq=False)
class PooledGrid:
    """One grid that was the answer to a test input, once or more often."""

    canvas: bytes  # tokens, pads at the end cut off; empty for an answer without any grid
    count: int  # answers
    confidence: float  # mean sigmoid(q_halt)

    @property
    def grid(self) -> TokenArray:
        """Return its colours (height, width), both 0 for an answer without any grid."""
        data = self.canvas.ljust(SIDE * SIDE, b"\0")
        tokens = np.frombuffer(data, np.uint8)
        return decode(tokens)


class Standing(NamedTuple):
    """Rank and votes of the solution of a test input."""

    rank: float  # among the different answers, from 1; infinite if it is none of them
    votes: int  # answers that are the solution
    answers: int  # all answers


class Pool:
    """Answers to one test input, equal ones together."""

    def __init__(self) -> None:
        self._given: dict[bytes, tuple[int, float]] = {}

    def add(self, canvas: bytes, confidence: float) -> None:
        """Add one answer, as `PooledGrid` has it."""
        count, total = self._given.get(canvas, (0, 0.0))
        self._given[canvas] = (count + 1, total + confidence)

    def ranked(self) -> list[PooledGrid]:
        """Return the different answers, the best first; of equals the first one added.

        An answer without any grid is ranked, too, as in the published evaluation.
        """
        candidates = [
            PooledGrid(canvas, count, total / count)
            for canvas, (count, total) in self._given.items()
        ]
        return sorted(candidates, key=lambda candidate: (-candidate.count, -candidate.confidence))


class Votes:
    """Answers to each test input of each task, pooled as they are added."""

    def __init__(self, names: Sequence[str]) -> None:
        """Begin without answers; `names` are those of the data set's identifiers."""
        self._names = names
        self._pools: dict[tuple[str, bytes], Pool] = {}

    def add(
        self,
        identifiers: IntArray,
        inputs: IntArray,
        answers: IntArray,
        q_halt_logits: FloatArray,
    ) -> None:
        """Add the answers to some examples; padding, which has the blank identifier, is ignored.

        Shapes: (N,), (N, S), (N, S), (N,). `inputs` are the tokens of the test split, unchanged.
        """
        confidences = sigmoid(q_halt_logits)
        for start in range(0, len(identifiers), BLOCK):
            rows = slice(start, start + BLOCK)
            names = [self._names[number] for number in identifiers[rows].tolist()]
            tasks, augmentations = parse_names(names)
            questions = _packed(undone(inputs[rows], augmentations))
            grids = _packed(undone(answers[rows], augmentations))
            block = zip(
                tasks,
                questions,
                grids,
                confidences[rows].tolist(),
                strict=True,
            )
            for task, question, grid, confidence in block:
                if task != BLANK_IDENTIFIER:
                    pool = self._pools.setdefault((task, question), Pool())
                    pool.add(grid, confidence)

    def ranked(self, task: str, question: TokenArray) -> list[PooledGrid]:
        """Return the answers to a test input (height, width), as `Pool` ranks them; [] for none."""
        key = task, _packed(encode([question]))[0]
        pool = self._pools.get(key)
        return pool.ranked() if pool else []


def attempts(answers: TokenArray, q_halt_logits: FloatArray) -> list[Candidate]:
    """Choose the two best of K answers to one test input, augmentations undone.

    Returns fewer if they do not differ or have no grid. Shapes: (K, S), (K,).
    """
    pool = Pool()
    confidences = sigmoid(q_halt_logits).tolist()
    for canvas, confidence in zip(_packed(answers), confidences, strict=True):
        pool.add(canvas, confidence)
    grids = list(map(decode, answers))
    side = side_of(answers)
    return [
        Candidate(
            encode([best.grid], side)[0],
            best.count,
            best.confidence,
            row=_surest(grids, best.grid, q_halt_logits),
        )
        for best in best_two(pool.ranked())
    ]


def best_two(candidates: Sequence[PooledGrid]) -> list[PooledGrid]:
    """Return the attempts among ranked candidates, without answers that have no grid."""
    return [candidate for candidate in candidates if candidate.canvas][:2]


def questions_of(split: Split, names: Sequence[str]) -> dict[str, Question]:
    """Return the questions of each task of a split in file order, from its puzzle without augmentation.

    Raises: DataError if an identifier has no name.
    """
    questions: dict[str, Question] = {}
    for examples in split.sets.values():
        for puzzle, identifier in enumerate(examples.puzzle_identifiers.tolist()):
            if identifier >= len(names):
                raise DataError(
                    f"{split.folder} uses puzzle identifier {identifier}, "
                    f"identifiers.json names {len(names)}; build it again"
                )
            name = names[identifier]
            if name != BLANK_IDENTIFIER and task_of(name) == name:
                questions[name] = _question(examples, puzzle)
    return questions


def _question(examples: ExampleSet, puzzle: int) -> Question:
    """Read the test inputs and solutions of one puzzle."""
    start, end = examples.puzzle_indices[puzzle : puzzle + 2].tolist()
    question = Question([], [])
    for row in range(start, end):
        solution = decode(np.asarray(examples.labels[row]))
        question.inputs.append(decode(np.asarray(examples.inputs[row])))
        question.solutions.append(solution if solution.size else None)
    return question


def identifiers_of(names: Sequence[str], task: str) -> IntArray:
    """Return the puzzle identifiers of a task and its augmentations, its own first.

    Returns an empty array if the task was never trained.
    """
    own = []
    for number, name in enumerate(names):
        if name.startswith(task) and task_of(name) == task:
            own.append(number)
    own.sort(key=lambda number: names[number] != task)
    return np.array(own, dtype=np.int32)


def asked_as(question: TokenArray, names: Sequence[str], side: int = SIDE) -> TokenArray:
    """Augment a test input (height, width) for each of N identifiers of its task, given their names.

    Returns: (N, S) tokens.
    """
    _, augmentations = parse_names(names)
    each = zip(augmentations.symmetries.tolist(), augmentations.colours, strict=True)
    grids = [augmented(question, symmetry, colours) for symmetry, colours in each]
    return encode(grids, side)


def standings(votes: Votes, questions: Mapping[str, Question]) -> dict[str, list[Standing]]:
    """Rank the solution of each test input of each task; tasks with unknown solutions are left out."""
    found = {}
    for task, question in questions.items():
        known = question.known
        if known:
            found[task] = [
                _standing(votes.ranked(task, grid), solution)
                for grid, solution in zip(question.inputs, known, strict=True)
            ]
    return found


def ranks(votes: Votes, questions: Mapping[str, Question]) -> dict[str, float]:
    """Return the K at which each task is solved, infinite if it never is.

    Tasks with unknown solutions are left out.
    """
    return {
        task: max(standing.rank for standing in inputs)
        for task, inputs in standings(votes, questions).items()
    }


def pass_at(
    votes: Votes, questions: Mapping[str, Question], ks: Iterable[int] = KS
) -> dict[int, float]:
    """Return the share of tasks that are solved at each K; 0 if no solution is known."""
    found = ranks(votes, questions).values()
    num_tasks = max(len(found), 1)
    return {k: sum(rank <= k for rank in found) / num_tasks for k in ks}


def submission(votes: Votes, questions: Mapping[str, Question]) -> Submission:
    """Return two attempts at every test input of every task, in the Kaggle ARC Prize format.

    A missing attempt is the 2x2 grid of Kaggle's sample; answers without any grid are no attempts.
    """
    return {
        task: [_attempts(votes.ranked(task, grid)) for grid in question.inputs]
        for task, question in questions.items()
    }


def solutions(questions: Mapping[str, Question]) -> dict[str, list[Grid]]:
    """Return the solutions of the tasks that have them all, in the Kaggle ARC Prize format."""
    found = {}
    for task, question in questions.items():
        if question.known:
            found[task] = [solution.tolist() for solution in question.known]
    return found


def _surest(grids: Sequence[TokenArray], wanted: TokenArray, q_halt_logits: FloatArray) -> int:
    """Find the place of a grid among K; of several the one with the highest q_halt (K,)."""
    places = [place for place, grid in enumerate(grids) if np.array_equal(grid, wanted)]
    return max(places, key=lambda place: float(q_halt_logits[place]))


def _attempts(candidates: Sequence[PooledGrid]) -> dict[str, Grid]:
    """Return the two attempts at one test input."""
    grids = [candidate.grid.tolist() for candidate in best_two(candidates)]
    first, second = [*grids, NO_ATTEMPT, NO_ATTEMPT][:2]
    return {"attempt_1": first, "attempt_2": second}


def _standing(candidates: Sequence[PooledGrid], solution: TokenArray) -> Standing:
    """Rank the solution of one test input."""
    canvas = _packed(encode([solution]))[0]
    num_answers = sum(candidate.count for candidate in candidates)
    for rank, candidate in enumerate(candidates, start=1):
        if candidate.canvas == canvas:
            return Standing(rank, candidate.count, num_answers)
    return Standing(math.inf, 0, num_answers)


def _packed(canvases: TokenArray) -> list[bytes]:
    """Pack canvases (N, S) into keys: only the colours, as they lie on the published canvas."""
    side = side_of(canvases)
    num_cells = SIDE * SIDE
    cells = canvases.reshape(-1, side, side)
    colours = np.zeros((len(cells), SIDE, SIDE), np.uint8)
    colours[:, :side, :side] = np.where(cells >= COLOUR, cells, 0)
    rows = colours.reshape(-1, num_cells)
    keys = rows.view(f"V{num_cells}").ravel()
    return [key.rstrip(b"\0") for key in keys.tolist()]
