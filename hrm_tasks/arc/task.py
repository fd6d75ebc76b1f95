"""The task of ARC: coloured grids on a square canvas, up to 30x30.

Demonstrations define the rule from input to output. A model knows them only by the puzzle identifier
that it was trained with, so a grid alone is no question. `pooling.py` asks every augmentation of a
task under its own identifier.

Shapes: N grids, S = side · side cells, V = 12 tokens.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hrm_core.data.encodings import read_text
from hrm_core.data.store import Split
from hrm_core.errors import PuzzleError
from hrm_core.pictures.grids import Mark
from hrm_core.tasks.capabilities import Asked, Candidate, FloatArray, Question, Score
from hrm_core.tasks.cells import CellMeasures
from hrm_core.tasks.contract import NO_SETTINGS, IntArray, TokenArray
from hrm_core.tasks.editing import OUTER, CellKind, Editor
from hrm_tasks.arc import picture as arc_picture
from hrm_tasks.arc import pooling
from hrm_tasks.arc.augment import parse_names, task_of, undone
from hrm_tasks.arc.canvas import (
    COLOUR,
    NUM_COLOURS,
    SIDE,
    SMALLEST,
    VOCAB_SIZE,
    decode,
    encode,
    window,
)
from hrm_tasks.arc.poll import ArcPoll
from hrm_tasks.arc.pooling import Submission
from hrm_tasks.arc.read import solutions_beside
from hrm_tasks.arc.submission import score_files
from hrm_tasks.arc.text import draw_grid, grid_word, read_grids, read_tests

NO_GRID = "(no grid)"


class Arc(CellMeasures):
    """Task of ARC on a canvas of `side` rows; with `digits` pictures show the number of each colour."""

    name: str = "arc"
    vocab_size: int = VOCAB_SIZE
    legend: Sequence[Mark] = (Mark.CHANGED,)
    votes: int = 100  # augmentations that a task is asked under

    def __init__(self, side: int = SIDE, digits: bool = False) -> None:
        self.side = side
        self.digits = digits
        self.seq_len = side * side
        self.settings: Mapping[str, Any] = NO_SETTINGS  # the published canvas needs none
        if side != SIDE:
            self.settings = {"canvas": side}

    def __repr__(self) -> str:
        return f"Arc({self.side})"

    @classmethod
    def for_shape(
        cls, vocab_size: int, seq_len: int, settings: Mapping[str, Any] = NO_SETTINGS
    ) -> "Arc | None":
        """Return the task on the canvas of these settings; None if it does not have this shape.

        Without settings it is the published canvas.
        """
        side = settings.get("canvas", SIDE)
        if type(side) is not int or not SMALLEST <= side <= SIDE:
            return None
        if (vocab_size, seq_len) != (VOCAB_SIZE, side * side):
            return None
        return cls(side)

    @property
    def token_texts(self) -> Sequence[str]:
        """Return the text of each token, (V,): the digits of colours; none for pad and end marker."""
        return ["", "", *map(str, range(NUM_COLOURS))]

    def parse(self, text: str) -> TokenArray:
        """Read every grid in a text: rows of digits, JSON lists of rows, or the JSON of a task.

        The grids of a task are its test inputs. Returns: (N, S) tokens.
        Raises: PuzzleError naming the grid and the place in it.
        """
        side = self.side
        grids = read_grids(text)
        for number, grid in enumerate(grids, start=1):
            height, width = grid.shape
            if max(height, width) > side:
                raise PuzzleError(
                    f"grid {number} is {height}x{width}, expected at most {side}x{side}; "
                    "a model with a larger canvas takes it"
                )
        return encode(grids, side)

    def read_file(self, path: Path) -> TokenArray:
        """Read every grid in a text file, as `parse` does."""
        return self.parse(read_text(path))

    def format(self, tokens: IntArray) -> str:
        """Draw the grid on one canvas (S,) as rows of digits, even if it is shifted.

        `parse` reads it back.
        """
        grid = self._grid(tokens)
        return draw_grid(grid) if grid.size else NO_GRID

    def line(self, tokens: IntArray) -> str:
        """Write the grid on one canvas (S,) as JSON without spaces; `parse` reads it back."""
        return grid_word(self._grid(tokens))

    def questions(self, text: str, name: str) -> list[Question]:
        """Read every question in a text; those of tasks have their solutions and names.

        `name` is that of a single task, whose JSON does not say it.

        Raises: PuzzleError naming the grid and the place in it.
        """
        return self._questions(text, name, None)

    def questions_in(self, path: Path) -> list[Question]:
        """Read every question in a file, with the solutions beside a challenges file."""
        beside = solutions_beside(path)
        solutions = read_text(beside) if beside else None
        return self._questions(read_text(path), path.stem, solutions)

    def puzzle_of(self, identifier: str) -> str:
        """Return the ARC task that an identifier's name belongs to."""
        return task_of(identifier)

    def identifiers_of(self, names: Sequence[str], puzzle: str) -> IntArray:
        """Return the identifiers of an ARC task and its augmentations, its own first."""
        return pooling.identifiers_of(names, puzzle)

    def how_to_add(self, puzzle: str) -> str:
        """Return the command that adds an ARC task to a data set, with DATA in its place."""
        return f"hrm data arc DATA --add evaluation/{puzzle}.json"

    def ask(self, question: TokenArray, names: Sequence[str]) -> Asked:
        """Return a test input (S,) under the augmentation of each of K identifiers."""
        _, augmentations = parse_names(names)

        def undo(k: int, answers: TokenArray) -> TokenArray:
            return undone(answers, augmentations.repeated(k, len(answers)))

        return Asked(pooling.asked_as(decode(question), names, self.side), undo)

    def attempts(
        self, question: TokenArray, answers: TokenArray, q_halt_logits: FloatArray
    ) -> list[Candidate]:
        """Return the two best of K answers (K, S) to a test input; fewer where they do not differ."""
        return pooling.attempts(answers, q_halt_logits)

    def poll(
        self, split: Split, names: Sequence[str], answered: Sequence[tuple[IntArray, FloatArray]]
    ) -> ArcPoll:
        """Pool the answers to all augmentations of each test input.

        Raises: DataError if an identifier has no name.
        """
        return ArcPoll(split, names, answered)

    def submission(self, poll: ArcPoll) -> Submission:
        """Return two attempts at every test input, in the Kaggle ARC Prize format."""
        return poll.submission()

    @staticmethod
    def score(submission: Path, solutions: Path) -> Score:
        """Score a submission in the Kaggle ARC Prize format against solutions."""
        return score_files(submission, solutions)

    def with_digits(self) -> "Arc":
        """Return the same task whose pictures show the number of each colour."""
        return Arc(self.side, digits=True)

    def editor(self) -> Editor:
        """Return the board to fill in: a grid of any size is painted in ten colours."""
        colours = [
            CellKind(str(number), name, colour)
            for number, (name, colour) in enumerate(
                zip(arc_picture.COLOUR_NAMES, arc_picture.PALETTE, strict=True)
            )
        ]
        return Editor(
            self.side,
            self.side,
            [OUTER, OUTER, *colours],
            COLOUR,
            is_painted=True,
            is_sized=True,
        )

    def picture(self, tokens: IntArray, marks: IntArray, cell: int = 48) -> Image.Image:
        """Draw the grid on one canvas (S,) with a mark for each cell (S,).

        `cell` is the pixels of a cell's side; digits may need more.
        """
        return arc_picture.draw_grid(tokens, marks, cell, self.digits)

    def _questions(self, text: str, name: str, solutions: str | None) -> list[Question]:
        inputs = self.parse(text)
        tests = read_tests(text, solutions)
        if not tests:
            return list(map(Question, inputs))
        questions = []
        for tokens, test in zip(inputs, tests, strict=True):
            solution = self._solution(test.pair.output)
            questions.append(Question(tokens, test.task or name, solution))
        return questions

    def _solution(self, grid: TokenArray | None) -> TokenArray | None:
        """Put a solution on the canvas, or on a larger one if it has no room for it."""
        if grid is None:
            return None
        side = max(self.side, *grid.shape)
        solution: TokenArray = encode([grid], side)[0]
        return solution

    def _grid(self, tokens: IntArray) -> TokenArray:
        """Return the colours (height, width) on a canvas, even if the grid is shifted.

        Height and width are 0 if there are none.
        """
        rows, columns = window(tokens)
        cells = tokens.reshape(self.side, self.side)[rows, columns]
        return cells.astype(np.uint8) - np.uint8(COLOUR)


TASK = Arc
