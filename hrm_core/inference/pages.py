"""Sheets: many examples on one page, each as large as it can be read at a glance.

Shapes: S cells.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from hrm_core.data.store import Dataset, ExampleSet, IntArray, Split
from hrm_core.errors import HRMError
from hrm_core.inference.answering import Outcome
from hrm_core.inference.solving import Solution, require_drawable
from hrm_core.pictures.animations import save_png
from hrm_core.pictures.curves import Panel, plot_runs
from hrm_core.pictures.grids import Mark
from hrm_core.pictures.sheets import cell_size, sheet
from hrm_core.runs.run import run_config
from hrm_core.tasks.capabilities import Drawable, given_cells
from hrm_core.tasks.cells import UNKNOWN
from hrm_core.tasks.contract import BoolArray, Measures, TokenArray
from hrm_core.tasks.registry import measures_of

EXAMPLE_ROOM, SOLUTION_ROOM = 240, 480  # pixels that the longer side of a grid may take
COMPARED = ["question", "answer", "prediction", "differences"]


@dataclass(frozen=True, eq=False)
class Example:
    """One example of a data set."""

    question: TokenArray  # (S,)
    solution: TokenArray  # (S,), pad where nothing is scored
    is_scored: BoolArray  # (S,)
    name: str  # "test 17, rating 5"


def dataset_sheet(dataset: Dataset, task: Drawable, out: Path, num_rows: int) -> None:
    """Draw questions and answers, `num_rows` of each split, spread evenly over it.

    Raises: HRMError if the picture cannot be written.
    """
    rows, names, counts = [], [], []
    for split in map(dataset.split, dataset.splits):
        count = sum(map(len, split.sets.values()))
        chosen = _spread(np.arange(count), num_rows)
        counts.append(f"{len(chosen)} of {count:,} {split.folder.name} examples")
        for example in _examples(dataset, split, chosen):
            rows.append(_drawn_alike(task, example.question, [example.solution], EXAMPLE_ROOM))
            names.append(example.name)
    title = f"{dataset.directory.resolve().name}, {task.name}: {', '.join(counts)}"
    save_png(sheet(rows, ["question", "answer"], names, title), out)


def evaluation_sheet(
    dataset: Dataset,
    split: Split,
    task: Drawable,
    outcome: Outcome,
    out: Path,
    num_rows: int,
    title: str,
    limit: int | None = None,
) -> None:
    """Draw question, answer, prediction and differences of some examples of a split.

    They are among the first `limit` of each set. Those that are wrong come first, as many as there
    is room for, spread evenly over them all; then those that are exact. Where no solution is known
    at all, any of them.

    Raises: HRMError if the picture cannot be written.
    """
    predictions = outcome.predictions
    counted = predictions.is_counted
    wrong = _spread(np.flatnonzero(counted & ~predictions.exact), num_rows)
    others = counted & predictions.exact if counted.any() else ~counted
    chosen = np.concatenate([wrong, _spread(np.flatnonzero(others), num_rows - len(wrong))])
    rows, captions = [], []
    examples = _examples(dataset, split, chosen, limit)
    for number, example in zip(chosen.tolist(), examples, strict=True):
        rows.append(_comparison(task, example, outcome.answers[number]))
        captions.append(f"{example.name}: {_result(outcome, number)}")
    order = ", wrong ones first" if len(wrong) else ""
    heading = f"{title}: {_total(outcome, split)}{order}"
    marks = [mark for mark in (Mark.GIVEN, Mark.WRONG) if mark == Mark.WRONG or mark in task.legend]
    save_png(sheet(rows, COMPARED, captions, heading, marks), out)


def solutions_sheet(solutions: Sequence[Solution]) -> Image.Image:
    """Draw questions and answers, or all attempts where a task has several, with their verdicts."""
    count = max((len(solution.proposals) for solution in solutions), default=1)
    rows = []
    for solution in solutions:
        missing = [np.zeros_like(solution.question)] * (count - len(solution.proposals))
        answers = [*solution.proposals, *missing]
        task = require_drawable(solution.task)
        rows.append(_drawn_alike(task, solution.question, answers, SOLUTION_ROOM))
    headings = ["answer"] if count == 1 else [f"attempt {number}" for number in range(1, count + 1)]
    captions = [f"{number}: {each.verdict}" for number, each in enumerate(solutions, start=1)]
    return sheet(rows, ["question", *headings], captions)


def draw_curves(runs: Sequence[Path], out: Path) -> None:
    """Draw loss, the metrics of each run's task and ACT steps of runs over each other.

    Raises: as `plot_runs` does.
    """
    shown: dict[str, Panel] = {}
    for measures in map(_measures_of_run, runs):
        for metric in (measures.headline, *measures.metrics[:1]):
            shown[metric.key] = Panel(metric.key, metric.title, metric.is_share)
    plot_runs(runs, out, list(shown.values()))


def _measures_of_run(run: Path) -> Measures:
    """Return how a run is measured; cell by cell where its config does not say."""
    try:
        data = run_config(run).data
    except HRMError:  # its log can be drawn all the same
        return UNKNOWN
    return measures_of(data.task) if data else UNKNOWN


def _result(outcome: Outcome, number: int) -> str:
    """Say how one example was answered."""
    predictions = outcome.predictions
    cells = int(predictions.num_labelled[number])
    missed = cells - int(predictions.num_right[number])
    steps = int(predictions.steps[number])
    verdict = "exact" if cells else "no solution known"
    if missed:
        verdict = f"{missed} of {cells} cells wrong"
    return f"{verdict}, {steps} ACT step{'s' if steps > 1 else ''}"


def _total(outcome: Outcome, split: Split) -> str:
    """Say how many examples were answered exactly."""
    predictions, name = outcome.predictions, split.folder.name
    counted = predictions.is_counted
    if not counted.any():
        return f"no solution of {len(counted):,} {name} examples is known"
    exact = int(predictions.exact[counted].sum())
    return f"{exact:,} of {int(counted.sum()):,} {name} examples exact"


def _spread(numbers: IntArray, count: int) -> IntArray:
    """Choose so many of these numbers, or all if there are fewer, evenly spread."""
    places = np.linspace(0, len(numbers) - 1, max(0, min(count, len(numbers))))
    return numbers[places.astype(np.intp)]


def _examples(
    dataset: Dataset, split: Split, numbers: IntArray, limit: int | None = None
) -> Iterable[Example]:
    """Read examples by number, counted through the first `limit` of each set of a split."""
    names = dataset.names if dataset.has_names else []
    sets = list(split.sets.values())
    ends = np.cumsum([min(len(examples), limit or len(examples)) for examples in sets])
    for number in numbers.tolist():
        place = int(np.searchsorted(ends, number, side="right"))
        row = number - int(ends[place - 1] if place else 0)
        yield _example(split, sets[place], number, row, names)


def _example(
    split: Split, examples: ExampleSet, number: int, row: int, names: Sequence[str]
) -> Example:
    question, label = (np.asarray(tokens[row]) for tokens in (examples.inputs, examples.labels))
    is_scored = ~np.isin(label, split.ignored_labels)
    solution = np.where(is_scored, label, split.metadata.pad_id)
    identifier = int(examples.puzzle_identifiers[examples.puzzle_of(np.array([row]))[0]])
    words = [f"{split.folder.name} {number}"]
    if identifier != split.metadata.blank_identifier_id and identifier < len(names):
        words.append(names[identifier])
    if examples.ratings is not None:
        words.append(f"rating {examples.ratings[row]}")
    return Example(question, solution, is_scored, ", ".join(words))


def _drawn_alike(
    task: Drawable, question: TokenArray, answers: Sequence[TokenArray], room: int
) -> list[Image.Image]:
    """Draw a question and answers to it, with cells of one size."""
    cell = cell_size(task.picture, [question, *answers], room)
    return [_drawn(task, question, tokens, cell) for tokens in (question, *answers)]


def _comparison(task: Drawable, example: Example, prediction: TokenArray) -> list[Image.Image]:
    """Draw question, solution, prediction, and the prediction with only its wrong cells marked."""
    grids = [example.question, example.solution, prediction]
    cell = cell_size(task.picture, grids, EXAMPLE_ROOM)
    drawn = [_drawn(task, example.question, tokens, cell) for tokens in grids]
    judged = np.where(example.is_scored, prediction, example.solution)
    marks = np.where(judged == example.solution, Mark.RIGHT, Mark.WRONG)
    return [*drawn, task.picture(judged, marks, cell)]


def _drawn(task: Drawable, question: TokenArray, tokens: TokenArray, cell: int) -> Image.Image:
    is_given = given_cells(task, question) & (tokens == question)
    return task.picture(tokens, np.where(is_given, Mark.GIVEN, Mark.PLAIN), cell)
