"""The ARC protocol: from answers to every augmentation of a test input to two attempts at it, and what they are worth.

An answer is cropped, its augmentation undone, and identical grids of a test input are pooled. They rank by how often they were
given, then by their mean sigmoid(q_halt). A task is solved at K if for every one of its test inputs the solution is among the
first K.

    votes = Votes(names)                            names of the data set's identifiers
    votes.add(identifiers, inputs, answers, q)      once a batch
    questions = questions_of(split, names)          what the test split asks
    pass_at(votes, questions), submission(votes, questions)

Shapes: N examples, S = side · side cells of the canvas. Answers are pooled on the published one, which holds every grid.
Source: sapientinc/HRM arc_eval.ipynb.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hrm_core.data.store import BLANK_IDENTIFIER, Split
from hrm_core.errors import DataError
from hrm_core.tasks.capabilities import Candidate, FloatArray
from hrm_core.tasks.confidence import sigmoid
from hrm_core.tasks.contract import IntArray, TokenArray
from hrm_tasks.arc.augment import Augmentations, augmented, parse_names, task_of, undone
from hrm_tasks.arc.canvas import COLOUR, SIDE, decode, encode, side_of

KS = (1, 2, 10, 100, 1000)
BLOCK = 512  # canvases undone at once
NOTHING = [[0, 0], [0, 0]]  # an attempt where there is none, as in Kaggle's sample

Grid = list[list[int]]
Submission = dict[str, list[dict[str, Grid]]]


class Question(NamedTuple):
    """What a task asks in a test."""

    inputs: list[TokenArray]  # grids of colours (height, width)
    solutions: list[TokenArray | None]  # None where only others know it


@dataclass(frozen=True, eq=False)
class PooledGrid:
    """One grid that was given as the answer to a test input."""

    canvas: bytes  # tokens, pads at the end cut off; empty for an answer without any grid
    count: int  # how often
    confidence: float  # mean sigmoid(q_halt)

    @property
    def grid(self) -> TokenArray:
        """Its colours (height, width), both 0 for an answer without any grid."""
        return decode(np.frombuffer(self.canvas.ljust(SIDE * SIDE, b"\0"), np.uint8))


class Standing(NamedTuple):
    """How a test input was answered."""

    rank: float  # of its solution among the answers, from 1; infinite where it is none of them
    votes: int  # answers that are its solution
    answers: int  # all of them


class Pool:
    """The answers to one test input, equal ones together."""

    def __init__(self) -> None:
        self._given: dict[bytes, tuple[int, float]] = {}

    def add(self, canvas: bytes, confidence: float) -> None:
        """Add one answer, as `PooledGrid` has it."""
        count, total = self._given.get(canvas, (0, 0.0))
        self._given[canvas] = (count + 1, total + confidence)

    def ranked(self) -> list[PooledGrid]:
        """The best first; of equals the one that came first.

        An answer without any grid takes its place among them, as in the published evaluation.
        """
        candidates = [
            PooledGrid(canvas, count, total / count)
            for canvas, (count, total) in self._given.items()
        ]
        return sorted(candidates, key=lambda candidate: (-candidate.count, -candidate.confidence))


class Votes:
    """The answers to each test input of each task, pooled as they come in."""

    def __init__(self, names: Sequence[str]) -> None:
        """`names` are those of the data set's identifiers."""
        self._names = names
        self._pools: dict[tuple[str, bytes], Pool] = {}

    def add(
        self,
        identifiers: IntArray,
        inputs: IntArray,
        answers: IntArray,
        q_halt_logits: FloatArray,
    ) -> None:
        """Add the answers to some examples; those of the blank identifier, which is padding, are passed over.

        Shapes: (N,), (N, S), (N, S), (N,). `inputs` are the tokens of the test split, as they are there.
        """
        confidence = sigmoid(q_halt_logits)
        for start in range(0, len(identifiers), BLOCK):
            rows = slice(start, start + BLOCK)
            tasks, augmentations = parse_names(
                [self._names[number] for number in identifiers[rows].tolist()]
            )
            questions, grids = (
                _packed(undone(inputs[rows], augmentations)),
                _packed(undone(answers[rows], augmentations)),
            )
            for task, question, grid, sure in zip(
                tasks, questions, grids, confidence[rows].tolist(), strict=True
            ):
                if task != BLANK_IDENTIFIER:
                    self._pools.setdefault((task, question), Pool()).add(grid, sure)

    def ranked(self, task: str, question: TokenArray) -> list[PooledGrid]:
        """The answers to a test input (height, width) of a task, as `Pool` ranks them. None: empty."""
        return self._pools.get((task, _packed(encode([question]))[0]), Pool()).ranked()


def attempts(answers: TokenArray, q_halt_logits: FloatArray) -> list[Candidate]:
    """The two best of K answers to one test input, augmentations undone.

    Fewer where they do not differ or have no grid. Shapes: (K, S), (K,).
    """
    pool = Pool()
    for canvas, sure in zip(_packed(answers), sigmoid(q_halt_logits).tolist(), strict=True):
        pool.add(canvas, sure)
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
    """The attempts among ranked candidates: answers without any grid are passed over."""
    return [candidate for candidate in candidates if candidate.canvas][:2]


def questions_of(split: Split, names: Sequence[str]) -> dict[str, Question]:
    """What a split asks of each task, in file order: the examples of its puzzle that is not augmented.

    Raises: DataError if an identifier has no name.
    """
    questions: dict[str, Question] = {}
    for examples in split.sets.values():
        for puzzle, identifier in enumerate(examples.puzzle_identifiers.tolist()):
            if identifier >= len(names):
                raise DataError(
                    f"{split.folder} uses puzzle identifier {identifier}, identifiers.json names {len(names)}; build it again"
                )
            name = names[identifier]
            if name != BLANK_IDENTIFIER and task_of(name) == name:
                rows = range(*examples.puzzle_indices[puzzle : puzzle + 2].tolist())
                inputs = [decode(np.asarray(examples.inputs[row])) for row in rows]
                labels = [decode(np.asarray(examples.labels[row])) for row in rows]
                questions[name] = Question(
                    inputs, [label if label.size else None for label in labels]
                )
    return questions


def identifiers_of(names: Sequence[str], task: str) -> IntArray:
    """The puzzle identifiers of a task and its augmentations, itself first; empty for a task that was never trained."""
    own = [
        number
        for number, name in enumerate(names)
        if name.startswith(task) and task_of(name) == task
    ]
    return np.array(sorted(own, key=lambda number: names[number] != task), dtype=np.int32)


def asked_as(question: TokenArray, names: Sequence[str], side: int = SIDE) -> TokenArray:
    """A test input (height, width) as each of N identifiers of its task asks it, given their names. Returns: (N, S) tokens."""
    _, augmentations = parse_names(names)
    return encode(
        [
            augmented(question, symmetry, colours)
            for symmetry, colours in zip(*_listed(augmentations), strict=True)
        ],
        side,
    )


def standings(votes: Votes, questions: Mapping[str, Question]) -> dict[str, list[Standing]]:
    """How each test input of each task was answered. Tasks without all solutions are left out."""
    found = {}
    for task, (inputs, solutions) in questions.items():
        known = [solution for solution in solutions if solution is not None]
        if len(known) == len(inputs):
            found[task] = [
                _standing(votes.ranked(task, question), solution)
                for question, solution in zip(inputs, known, strict=True)
            ]
    return found


def ranks(votes: Votes, questions: Mapping[str, Question]) -> dict[str, float]:
    """The K at which each task is solved, infinite where it never is. Tasks without all solutions are left out."""
    return {
        task: max(standing.rank for standing in each)
        for task, each in standings(votes, questions).items()
    }


def pass_at(
    votes: Votes, questions: Mapping[str, Question], ks: Iterable[int] = KS
) -> dict[int, float]:
    """The share of tasks that are solved at each K; 0 where there are none whose solutions are known."""
    found = ranks(votes, questions).values()
    return {k: sum(rank <= k for rank in found) / max(len(found), 1) for k in ks}


def submission(votes: Votes, questions: Mapping[str, Question]) -> Submission:
    """Two attempts at every test input of every task, in the Kaggle ARC Prize format.

    Where there is one candidate or none, the rest is the 2x2 grid of Kaggle's sample; answers without any grid are passed over.
    """
    return {
        task: [_attempts(votes.ranked(task, question)) for question in inputs]
        for task, (inputs, _) in questions.items()
    }


def solutions(questions: Mapping[str, Question]) -> dict[str, list[Grid]]:
    """The solutions of the tasks that have them all, in the Kaggle ARC Prize format."""
    return {
        task: [solution.tolist() for solution in known]
        for task, (inputs, found) in questions.items()
        if len(known := [solution for solution in found if solution is not None]) == len(inputs)
    }


def _surest(grids: Sequence[TokenArray], wanted: TokenArray, q_halt_logits: FloatArray) -> int:
    """The place of a grid among K; of several the one of highest q_halt (K,)."""
    places = [place for place, grid in enumerate(grids) if np.array_equal(grid, wanted)]
    return max(places, key=lambda place: float(q_halt_logits[place]))


def _attempts(candidates: Sequence[PooledGrid]) -> dict[str, Grid]:
    grids = [candidate.grid.tolist() for candidate in best_two(candidates)]
    first, second = [*grids, NOTHING, NOTHING][:2]
    return {"attempt_1": first, "attempt_2": second}


def _standing(candidates: Sequence[PooledGrid], solution: TokenArray) -> Standing:
    canvas, answers = (
        _packed(encode([solution]))[0],
        sum(candidate.count for candidate in candidates),
    )
    places = (
        Standing(rank, candidate.count, answers)
        for rank, candidate in enumerate(candidates, start=1)
        if candidate.canvas == canvas
    )
    return next(places, Standing(math.inf, 0, answers))


def _packed(canvases: TokenArray) -> list[bytes]:
    """Canvases (N, S) as keys: the colours in the corner of the published canvas, nothing else."""
    side = side_of(canvases)
    cells = canvases.reshape(-1, side, side)
    colours = np.zeros((len(cells), SIDE, SIDE), np.uint8)
    colours[:, :side, :side] = np.where(cells >= COLOUR, cells, 0)
    return [
        row.rstrip(b"\0")
        for row in colours.reshape(-1, SIDE * SIDE).view(f"V{SIDE * SIDE}").ravel().tolist()
    ]


def _listed(augmentations: Augmentations) -> tuple[list[int], list[TokenArray]]:
    return augmentations.symmetries.tolist(), list(augmentations.colours)
