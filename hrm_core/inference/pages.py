"""Pages of many examples, each drawn just large enough to read.

Shapes: S cells.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from hrm_core.data.arrays import IntArray
from hrm_core.data.store import Dataset, ExampleSet, Split
from hrm_core.errors import HRMError
from hrm_core.inference.answering import Outcome
from hrm_core.inference.evaluation import num_examples
from hrm_core.inference.solution import Solution, require_drawable
from hrm_core.pictures.animations import save_png
from hrm_core.pictures.curves import Panel, plot_runs
from hrm_core.pictures.grids import Mark
from hrm_core.pictures.sheets import cell_size, sheet
from hrm_core.runs.run import run_config
from hrm_core.tasks.capabilities import Captioned, Drawable, given_cells, swatches_of
from hrm_core.tasks.cells import UNKNOWN
from hrm_core.tasks.contract import BoolArray, Measures, TokenArray
from hrm_core.tasks.predictions import Predictions
from hrm_core.tasks.registry import measures_of

EXAMPLE_ROOM = 240  # pixels of the longer side of a grid
SOLUTION_ROOM = 480
COMPARED = ["question", "answer", "prediction", "differences"]
NO_HEADING = [""]


@dataclass(frozen=True, eq=False)
class Example:
    """One example of a data set."""

    question: TokenArray  # (S,)
    solution: TokenArray  # (S,), pad where nothing is scored
    is_scored: BoolArray  # (S,)
    name: str  # "test 17, rating 5"


def dataset_sheet(dataset: Dataset, task: Drawable | Captioned, out: Path, num_rows: int) -> None:
    """Draw questions and answers, `num_rows` of each split, evenly spread over it.

    Pictures that are no grids have their labels as captions.

    Raises: HRMError if the picture cannot be written.
    """
    rows, captions, counts = [], [], []
    for split in map(dataset.split, dataset.splits):
        count = num_examples(split)
        chosen = _spread(np.arange(count), num_rows)
        counts.append(f"{len(chosen)} of {count:,} {split.folder.name} examples")
        for pictures, caption in _drawn_examples(dataset, split, task, chosen):
            rows.append(pictures)
            captions.append(caption)
    folder = dataset.directory.resolve().name
    title = f"{folder}, {task.name}: {', '.join(counts)}"
    if isinstance(task, Captioned):
        page = sheet(rows, NO_HEADING, captions, _noted(title, task))
    else:
        headings = ["question", "answer"]
        page = sheet(rows, headings, captions, title, swatches=swatches_of(task))
    save_png(page, out)


def evaluation_sheet(
    dataset: Dataset,
    split: Split,
    task: Drawable | Captioned,
    outcome: Outcome,
    out: Path,
    num_rows: int,
    title: str,
    limit: int | None = None,
) -> None:
    """Draw question, answer, prediction and differences of some examples of a split.

    Only the first `limit` examples of each set are drawn from. Wrong answers come first, evenly
    spread over all of them, then exact ones. If no solution is known, any example may be drawn.
    Of pictures that are no grids the most confident mistakes come first.

    Raises: HRMError if the picture cannot be written.
    """
    if isinstance(task, Captioned):
        page = _captioned_sheet(dataset, split, task, outcome.predictions, num_rows, title)
        save_png(page, out)
        return
    wrong, others = _wrong_and_others(outcome.predictions)
    shown_wrong = _spread(wrong, num_rows)
    shown_others = _spread(others, num_rows - len(shown_wrong))
    chosen = np.concatenate([shown_wrong, shown_others])
    rows, captions = [], []
    examples = _examples(dataset, split, chosen, limit)
    for number, example in zip(chosen.tolist(), examples, strict=True):
        answer = outcome.answers[number]
        result = _result(outcome, number)
        rows.append(_comparison(task, example, answer))
        captions.append(f"{example.name}: {result}")
    order = ", wrong ones first" if len(wrong) else ""
    heading = f"{title}: {_total(outcome, split)}{order}"
    marks = [Mark.GIVEN] if Mark.GIVEN in task.legend else []
    marks.append(Mark.WRONG)
    page = sheet(rows, COMPARED, captions, heading, marks, swatches=swatches_of(task))
    save_png(page, out)


def _captioned_sheet(
    dataset: Dataset,
    split: Split,
    task: Captioned,
    predictions: Predictions,
    num_rows: int,
    title: str,
) -> Image.Image:
    """Draw the most confident mistakes, then other pictures, evenly spread over them."""
    wrong, others = task.ranked(dataset, split, predictions)
    shown_wrong = wrong[:num_rows]
    chosen = np.concatenate([shown_wrong, _spread(others, num_rows - len(shown_wrong))])
    shown = task.show(dataset, split, chosen, predictions)
    count = len(wrong) + len(others)
    order = ", the most confident mistakes first" if len(wrong) else ""
    heading = f"{title}: {len(wrong):,} of {count:,} {task.things} with a wrong answer{order}"
    rows = [[each.picture] for each in shown]
    return sheet(rows, NO_HEADING, [each.caption for each in shown], _noted(heading, task))


def _noted(title: str, task: Captioned) -> str:
    """Add the note of a task to a title."""
    return f"{title}; {task.note}" if task.note else title


def _wrong_and_others(predictions: Predictions) -> tuple[IntArray, IntArray]:
    """Return the numbers of the wrong examples and of the exact ones.

    If no solution is known, the second are all examples.
    """
    counted = predictions.is_counted
    exact = counted & predictions.exact
    wrong = counted & ~predictions.exact
    others = exact if counted.any() else ~counted
    return np.flatnonzero(wrong), np.flatnonzero(others)


def solutions_sheet(solutions: Sequence[Solution]) -> Image.Image:
    """Draw questions and answers, or all attempts where a task has several, with their verdicts."""
    most = max((len(solution.proposals) for solution in solutions), default=1)
    rows, captions = [], []
    for number, solution in enumerate(solutions, start=1):
        question = solution.question
        missing = [np.zeros_like(question)] * (most - len(solution.proposals))
        grids = [question, *solution.proposals, *missing]
        task = require_drawable(solution.task)
        rows.append(_drawn_alike(task, question, grids, SOLUTION_ROOM))
        captions.append(f"{number}: {solution.verdict}")
    headings = ["answer"]
    if most > 1:
        headings = [f"attempt {number}" for number in range(1, most + 1)]
    swatches = swatches_of(solutions[0].task) if solutions else ()
    return sheet(rows, ["question", *headings], captions, swatches=swatches)


def draw_curves(runs: Sequence[Path], out: Path) -> None:
    """Draw loss, the metrics of each run's task and ACT steps of runs over each other.

    Raises: as `plot_runs` does.
    """
    panels: dict[str, Panel] = {}
    for measures in map(_measures_of_run, runs):
        for metric in (measures.headline, *measures.metrics[:1]):
            panels[metric.key] = Panel(metric.key, metric.title, metric.is_share, from_zero=False)
    plot_runs(runs, out, list(panels.values()))


def _measures_of_run(run: Path) -> Measures:
    """Return the measures of a run's task; cell by cell where its config does not name one."""
    try:
        data = run_config(run).data
    except HRMError:  # its log can still be drawn
        return UNKNOWN
    return measures_of(data.task) if data else UNKNOWN


def _result(outcome: Outcome, number: int) -> str:
    """Describe the answer to one example."""
    predictions = outcome.predictions
    cells = int(predictions.num_labelled[number])
    missed = cells - int(predictions.num_right[number])
    steps = int(predictions.steps[number])
    verdict = "exact" if cells else "no solution known"
    if missed:
        verdict = f"{missed} of {cells} cells wrong"
    return f"{verdict}, {steps} ACT step{'s' if steps > 1 else ''}"


def _total(outcome: Outcome, split: Split) -> str:
    """Describe how many examples were answered exactly."""
    name = split.folder.name
    counted = outcome.predictions.is_counted
    num_counted = int(counted.sum())
    if not num_counted:
        return f"no solution of {len(counted):,} {name} examples is known"
    exact = int(outcome.predictions.exact[counted].sum())
    return f"{exact:,} of {num_counted:,} {name} examples exact"


def _spread(numbers: IntArray, count: int) -> IntArray:
    """Choose `count` of these numbers, evenly spread, or all if there are fewer."""
    num_chosen = max(0, min(count, len(numbers)))
    places = np.linspace(0, len(numbers) - 1, num_chosen)
    return numbers[places.astype(np.intp)]


def _examples(
    dataset: Dataset, split: Split, numbers: IntArray, limit: int | None = None
) -> Iterable[Example]:
    """Read examples by number, counted through the first `limit` of each set of a split."""
    names = dataset.names if dataset.has_names else []
    sets = list(split.sets.values())
    counts = [min(len(examples), limit or len(examples)) for examples in sets]
    starts = np.cumsum([0, *counts])
    for number in numbers.tolist():
        place = int(np.searchsorted(starts, number, side="right")) - 1
        row = number - int(starts[place])
        yield _example(split, sets[place], number, row, names)


def _drawn_examples(
    dataset: Dataset, split: Split, task: Drawable | Captioned, numbers: IntArray
) -> Iterable[tuple[list[Image.Image], str]]:
    """Draw examples by number, each with its caption."""
    if isinstance(task, Captioned):
        for shown in task.show(dataset, split, numbers):
            yield [shown.picture], f"{split.folder.name}: {shown.caption}"
        return
    for example in _examples(dataset, split, numbers):
        grids = [example.question, example.solution]
        yield _drawn_alike(task, example.question, grids, EXAMPLE_ROOM), example.name


def _example(
    split: Split, examples: ExampleSet, number: int, row: int, names: Sequence[str]
) -> Example:
    """Read one example and name it by its split, its puzzle and its rating."""
    metadata = split.metadata
    question = np.asarray(examples.inputs[row])
    label = np.asarray(examples.labels[row])
    is_scored = ~np.isin(label, split.ignored_labels)
    solution = np.where(is_scored, label, metadata.pad_id)
    words = [f"{split.folder.name} {number}"]
    (puzzle,) = examples.puzzle_of(np.array([row]))
    identifier = int(examples.puzzle_identifiers[puzzle])
    is_named = identifier != metadata.blank_identifier_id and identifier < len(names)
    if is_named:
        words.append(names[identifier])
    if examples.ratings is not None:
        words.append(f"rating {examples.ratings[row]}")
    return Example(question, solution, is_scored, ", ".join(words))


def _drawn_alike(
    task: Drawable, question: TokenArray, grids: Sequence[TokenArray], room: int
) -> list[Image.Image]:
    """Draw grids (S,) that belong to a question, with cells of one size."""
    cell = cell_size(task.picture, grids, room)
    return [_drawn(task, question, tokens, cell) for tokens in grids]


def _comparison(task: Drawable, example: Example, prediction: TokenArray) -> list[Image.Image]:
    """Draw question, solution, prediction, and the prediction with only its wrong cells marked."""
    grids = [example.question, example.solution, prediction]
    cell = cell_size(task.picture, grids, EXAMPLE_ROOM)
    drawn = [_drawn(task, example.question, tokens, cell) for tokens in grids]
    scored = np.where(example.is_scored, prediction, example.solution)
    marks = np.where(scored == example.solution, Mark.RIGHT, Mark.WRONG)
    differences = task.picture(scored, marks, cell)
    return [*drawn, differences]


def _drawn(task: Drawable, question: TokenArray, tokens: TokenArray, cell: int) -> Image.Image:
    """Draw one grid (S,), the cells that the question gives marked."""
    is_given = given_cells(task, question) & (tokens == question)
    marks = np.where(is_given, Mark.GIVEN, Mark.PLAIN)
    return task.picture(tokens, marks, cell)
