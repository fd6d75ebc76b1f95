"""Sheets: many examples on one page, each as large as it can be read at a glance.

Shapes: S cells.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from hrm_core.data.store import (
    IDENTIFIERS_FILE,
    ExampleSet,
    IntArray,
    Split,
    load_split,
    present_splits,
    read_identifiers,
)
from hrm_core.pictures.animations import save_png
from hrm_core.pictures.grids import Mark
from hrm_core.pictures.sheets import sheet
from hrm_core.tasks.contract import BoolArray, Task, TokenArray

if TYPE_CHECKING:
    from hrm_core.inference.answering import Outcome
    from hrm_core.inference.solving import Solution

LARGEST_CELL = 48  # pixels
PROBE_CELL = (
    24  # pixels of the cells that a grid is drawn with to learn its size; lines are narrower
)
EXAMPLE_ROOM, SOLUTION_ROOM = 240, 480  # pixels that the longer side of a grid may take


def cell_size(task: Task, grids: Iterable[TokenArray], room: int) -> int:
    """How large cells can be for each of these grids (S,) to be drawn within about `room` pixels."""
    plain = np.full(task.seq_len, Mark.PLAIN)
    cells = max(max(task.picture(tokens, plain, PROBE_CELL).size) // PROBE_CELL for tokens in grids)
    return max(1, min(LARGEST_CELL, room // cells))


@dataclass(frozen=True, eq=False)
class Example:
    """One example of a data set."""

    question: TokenArray  # (S,)
    solution: TokenArray  # (S,), pad where nothing is scored
    is_scored: BoolArray  # (S,)
    name: str  # "test 17, rating 5"


def dataset_sheet(directory: Path, task: Task, out: Path, num_rows: int) -> None:
    """Draw questions and answers, `num_rows` of each split, spread evenly over it.

    Raises: HRMError if the picture cannot be written.
    """
    rows, names, counts = [], [], []
    for split in (load_split(directory, name) for name in present_splits(directory)):
        count = sum(map(len, split.sets.values()))
        chosen = _spread(np.arange(count), num_rows)
        counts.append(f"{len(chosen)} of {count:,} {split.folder.name} examples")
        for example in _examples(split, chosen):
            rows.append(_drawn_alike(task, example.question, [example.solution], EXAMPLE_ROOM))
            names.append(example.name)
    save_png(
        sheet(
            rows,
            ["question", "answer"],
            names,
            f"{directory.resolve().name}, {task.name}: {', '.join(counts)}",
        ),
        out,
    )


def evaluation_sheet(
    split: Split,
    task: Task,
    outcome: "Outcome",
    out: Path,
    num_rows: int,
    title: str,
    limit: int | None = None,
) -> None:
    """Draw question, answer, prediction and differences of the first `limit` examples of each set of a split.

    Those that are wrong come first, as many as there is room for, spread evenly over them all; then those that are exact. Where no
    solution is known at all, any of them.
    Raises: HRMError if the picture cannot be written.
    """
    scores = outcome.scores
    counted = scores.num_labelled > 0
    wrong = _spread(np.flatnonzero(counted & ~scores.exact), num_rows)
    others = counted & scores.exact if counted.any() else ~counted
    chosen = np.concatenate([wrong, _spread(np.flatnonzero(others), num_rows - len(wrong))])
    rows, captions = [], []
    for number, example in zip(chosen.tolist(), _examples(split, chosen, limit), strict=True):
        rows.append(_comparison(task, example, outcome.answers[number].astype(np.uint8)))
        cells = int(scores.num_labelled[number])
        missed = cells - int(scores.num_right[number])
        steps = int(scores.steps[number])
        verdict = (
            f"{missed} of {cells} cells wrong"
            if missed
            else "exact"
            if cells
            else "no solution known"
        )
        captions.append(f"{example.name}: {verdict}, {steps} ACT step{'s' if steps > 1 else ''}")
    total = f"{int(scores.exact[counted].sum()):,} of {int(counted.sum()):,} {split.folder.name} examples exact"
    total = (
        total
        if counted.any()
        else f"no solution of {len(counted):,} {split.folder.name} examples is known"
    )
    order = ", wrong ones first" if len(wrong) else ""
    marks = [mark for mark in (Mark.GIVEN, Mark.WRONG) if mark == Mark.WRONG or mark in task.legend]
    save_png(
        sheet(
            rows,
            ["question", "answer", "prediction", "differences"],
            captions,
            f"{title}: {total}{order}",
            marks,
        ),
        out,
    )


def solutions_sheet(solutions: Sequence["Solution"]) -> Image.Image:
    """Draw questions and answers, of an ARC task all attempts, each with its verdict."""
    count = max((len(s.proposals) for s in solutions), default=1)
    rows = []
    for solution in solutions:
        missing = [np.zeros_like(solution.question)] * (count - len(solution.proposals))
        rows.append(
            _drawn_alike(
                solution.task, solution.question, [*solution.proposals, *missing], SOLUTION_ROOM
            )
        )
    headings = ["answer"] if count == 1 else [f"attempt {number}" for number in range(1, count + 1)]
    return sheet(
        rows,
        ["question", *headings],
        [f"{number}: {s.verdict}" for number, s in enumerate(solutions, start=1)],
    )


def _spread(numbers: IntArray, count: int) -> IntArray:
    """So many of these numbers, or all if there are fewer, evenly spread."""
    places = np.linspace(0, len(numbers) - 1, max(0, min(count, len(numbers))))
    return numbers[places.astype(np.intp)]


def _examples(split: Split, numbers: IntArray, limit: int | None = None) -> Iterable[Example]:
    """Examples by number, counted through the first `limit` of each set of a split."""
    path = split.folder.parent / IDENTIFIERS_FILE
    identifiers = read_identifiers(path) if path.is_file() else []
    sets = list(split.sets.values())
    ends = np.cumsum([min(len(examples), limit or len(examples)) for examples in sets])
    for number in numbers.tolist():
        place = int(np.searchsorted(ends, number, side="right"))
        yield _example(
            split, sets[place], number, number - int(ends[place - 1] if place else 0), identifiers
        )


def _example(
    split: Split, examples: ExampleSet, number: int, row: int, identifiers: Sequence[str]
) -> Example:
    question, label = (np.asarray(tokens[row]) for tokens in (examples.inputs, examples.labels))
    is_scored = ~np.isin(label, split.ignored_labels)
    identifier = int(examples.puzzle_identifiers[examples.puzzle_of(np.array([row]))[0]])
    is_named = identifier != split.metadata.blank_identifier_id and identifier < len(identifiers)
    name = [f"{split.folder.name} {number}", *([identifiers[identifier]] if is_named else [])]
    rating = [] if examples.ratings is None else [f"rating {examples.ratings[row]}"]
    solution = np.where(is_scored, label, split.metadata.pad_id)
    return Example(
        question.astype(np.uint8), solution.astype(np.uint8), is_scored, ", ".join([*name, *rating])
    )


def _drawn_alike(
    task: Task, question: TokenArray, answers: Sequence[TokenArray], room: int
) -> list[Image.Image]:
    """A question and answers to it, with cells of one size."""
    cell = cell_size(task, [question, *answers], room)
    return [_drawn(task, question, tokens, cell) for tokens in (question, *answers)]


def _comparison(task: Task, example: Example, prediction: TokenArray) -> list[Image.Image]:
    """Question, solution, prediction, and the prediction with its wrong cells marked and all others faded."""
    cell = cell_size(task, [example.question, example.solution, prediction], EXAMPLE_ROOM)
    judged = np.where(example.is_scored, prediction, example.solution)
    drawn = [
        _drawn(task, example.question, tokens, cell)
        for tokens in (example.question, example.solution, prediction)
    ]
    return [
        *drawn,
        task.picture(judged, np.where(judged == example.solution, Mark.RIGHT, Mark.WRONG), cell),
    ]


def _drawn(task: Task, question: TokenArray, tokens: TokenArray, cell: int) -> Image.Image:
    is_given = task.given(question) & (tokens == question)
    return task.picture(tokens, np.where(is_given, Mark.GIVEN, Mark.PLAIN), cell)
