"""`hrm eval`: measure a model on a data set."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .evaluation_options import (
    EvalOptions,
    check_options,
    check_symmetric,
    check_task,
    is_table,
    usual_choice,
    usual_halt,
)
from .options import (
    DIRECTORY,
    FILE,
    MODEL,
    backend_options,
    digits_option,
    json_option,
    open_model,
    print_warning,
    seed_option,
    sheet_task,
    steps_option,
    write_then_show,
)
from .progress import showing

if TYPE_CHECKING:
    from hrm_core.backend import Backend
    from hrm_core.data.store import Dataset, Split
    from hrm_core.inference.answering import Outcome
    from hrm_core.runs.checkpoint import Model
    from hrm_core.tasks.capabilities import Captioned, Drawable, Poll, Report
    from hrm_core.tasks.contract import Task

HALTS: dict[str, list[Any]] = {"both": ["fixed", "q"]}


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Models, the data they were measured on, and the results for each way to halt."""

    models: tuple[Path, ...]
    sources: list[str]  # the model files
    dataset: "Dataset"
    split: "Split"
    task: "Task | None"
    outcomes: dict[str, "Outcome"]
    polls: dict[str, "Poll"]  # of a polled task
    comparisons: dict[str, "Report"]  # of a task with baselines
    stateful: "Report | None"  # both ways of generation, if they were asked for

    def reports(self, halt: str) -> list["Report"]:
        """Return what the task says of one way to halt beside its metrics."""
        found = (self.polls.get(halt), self.comparisons.get(halt), self.stateful)
        return [report for report in found if report is not None]


@click.command("eval")
@click.argument("models", metavar="MODEL...", type=MODEL, nargs=-1, required=True)
@click.option("--data", type=DIRECTORY, help="Data set; the one the run was trained on if not set.")
@click.option("--split", type=click.Choice(["train", "test"]), default="test", show_default=True)
@click.option(
    "--halt",
    type=click.Choice(["fixed", "q", "both"]),
    help="fixed: all ACT steps, as published. q: a puzzle is done when q_halt > q_continue. "
    "both: side by side.  [default: both where models have learned when to halt; fixed where a "
    "file is written]",
)
@steps_option
@click.option(
    "--budget",
    type=click.IntRange(1),
    metavar="N",
    help="Halting by q: N ACT steps at most for each batch of --batch-size puzzles, which share "
    "them: easy ones stop, hard ones get what is left. --steps limits what one may take.",
)
@click.option(
    "--votes",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Ask each puzzle under so many symmetries.",
)
@click.option(
    "--noise",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="Standard deviation of noise on z at every ACT step.",
)
@click.option(
    "--rollouts",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Answers with different noise.",
)
@click.option(
    "--choose",
    type=click.Choice(["first", "rules", "majority", "q"]),
    help="Which of several answers counts; first: ask until the rules accept one; rules: ask for "
    "all, one that they accept if they can tell, else the one given most often.  "
    "[default: first where a task has rules, else rules]",
)
@click.option("--limit", type=click.IntRange(1), help="Only the first examples of each set.")
@click.option("--batch-size", type=click.IntRange(1), default=256, show_default=True)
@click.option(
    "--submission",
    type=FILE,
    help="ARC: write two attempts for every test input, in the Kaggle ARC Prize format.",
)
@click.option(
    "--save-predictions",
    type=FILE,
    help="Write inputs, labels, answers and halting values as .npz; "
    "of pictures as .csv: file, patient, chance and truth of each label.",
)
@click.option(
    "--sheet",
    type=FILE,
    help="Draw examples into this PNG, wrong ones first: question, answer, prediction, "
    "differences.",
)
@click.option(
    "--rows",
    type=click.IntRange(1, 100),
    default=12,
    show_default=True,
    help="Examples on the sheet.",
)
@click.option(
    "--stateful",
    is_flag=True,
    help="Text, an experiment: also measure generation that keeps the carry while the text grows, "
    "on the first 64 windows if --limit is not set.",
)
@click.option(
    "--chart",
    type=FILE,
    help="Draw what the task has to draw into this PNG: the loss after each ACT step, calibration.",
)
@digits_option
@seed_option
@json_option
@backend_options
def evaluate(
    models: tuple[Path, ...], as_json: bool, make_backend: Callable[..., Any], **typed: Any
) -> None:
    """Measure a model: exact accuracy first, then cells, ACT steps, halting, by difficulty. Of several models each gives answers.

    \b
    Examples:
        hrm eval runs/small --data data/sudoku-4x4
        hrm eval runs/small --halt both --votes 9
        hrm eval runs/small --steps 64
        hrm eval runs/small --budget 1024
        hrm eval runs/small --sheet mistakes.png
    """
    from hrm_core.data.store import Dataset
    from hrm_core.inference.answering import (
        check_names,
        open_for_models,
        polled,
        recorded_data,
    )
    from hrm_core.inference.evaluation import check_budget, full_batch
    from hrm_core.inference.slots import check_halt, check_steps
    from hrm_core.inference.stateful import check_stateful
    from hrm_core.runs.identifiers import warn_of_numbering
    from hrm_core.tasks.capabilities import Polled

    options = EvalOptions(**typed)
    check_options(options, len(models))
    loaded = [open_model(model) for model in models]
    options = replace(options, halt=options.halt or usual_halt(loaded, options))
    for model in loaded:
        if options.budget is None:
            check_halt(options.halt, model.config)
        check_steps(options.max_steps, model.config)
    dataset = Dataset(options.data) if options.data else recorded_data(models, print_warning)
    split, task = open_for_models(dataset, options.split, models, loaded)
    if options.budget is not None:
        num_sharing = full_batch(split, options.batch_size, options.limit)
        check_budget(options.budget, loaded[0].config, num_sharing)
    check_task(task, split.folder, options)
    if options.votes > 1:
        check_symmetric(task, split, options.limit)
    options = replace(options, choose=options.choose or usual_choice(task))
    if options.stateful:
        check_stateful(task, loaded[0].config)
    pools = task if isinstance(task, Polled) and _is_whole_test(options) else None
    if pools:
        check_names(pools, dataset, split)  # an error here comes now, not after hours
    drawn = sheet_task(task, options.digits, dataset.directory) if options.sheet else None
    backends = [_loaded_backend(make_backend, model) for model in loaded]
    for path, model in zip(models, loaded, strict=True):
        warn_of_numbering(path, model.config.num_puzzle_identifiers, dataset)
    outcomes = _answer_all(backends, split, task, options)
    polls: dict[str, Poll] = {}
    if pools:
        polls = {name: polled(pools, dataset, split, each) for name, each in outcomes.items()}
    sources = [str(model.source) for model in loaded]
    comparisons = _compared(task, dataset, split, outcomes)
    stateful = _stateful(backends[0], split, task, options) if options.stateful else None
    found = Evaluation(
        models, sources, dataset, split, task, outcomes, polls, comparisons, stateful
    )
    write_then_show(_files(found, options, drawn), partial(_show, found, options, as_json))


def _compared(
    task: "Task | None", dataset: "Dataset", split: "Split", outcomes: dict[str, "Outcome"]
) -> dict[str, "Report"]:
    """Return the baselines beside each way to halt, of a task that has some."""
    from hrm_core.tasks.capabilities import Compared

    if not isinstance(task, Compared):
        return {}
    return {
        halt: task.compare(dataset, split, outcome.predictions)
        for halt, outcome in outcomes.items()
    }


def _stateful(
    backend: "Backend", split: "Split", task: "Task | None", options: EvalOptions
) -> "Report":
    """Measure both ways of generation on the first windows, with a progress bar on a terminal."""
    from hrm_core.inference.evaluation import num_examples
    from hrm_core.inference.stateful import DEFAULT_LIMIT, measure_stateful

    assert task is not None, "check_stateful refuses unknown tasks"
    limit = options.limit or DEFAULT_LIMIT
    count = num_examples(split, limit)
    if options.limit is None:
        click.echo(
            f"stateful: measured on the first {count:,} {task.things}; --limit takes others",
            err=True,
        )
    with showing("measuring stateful generation", count) as advance:
        return measure_stateful(backend, split, task, options.batch_size, limit, advance)


def _is_whole_test(options: EvalOptions) -> bool:
    return options.split == "test" and options.limit is None


def _answer_all(
    backends: Sequence["Backend"], split: "Split", task: "Task | None", options: EvalOptions
) -> dict[str, "Outcome"]:
    """Answer the split for each way to halt, with a progress bar on a terminal."""
    from hrm_core.inference.answering import answer, inference_options
    from hrm_core.inference.evaluation import num_examples
    from hrm_core.tasks.capabilities import Compared

    limit = options.limit
    asked = {}
    for halt in HALTS.get(options.halt, [options.halt]):
        asked[halt] = inference_options(
            task,
            halt,
            options.votes,
            options.noise,
            options.rollouts,
            options.seed,
            options.max_steps,
            each_step=isinstance(task, Compared),
            budget=options.budget,
        )
    num_asked = sum(map(len, asked.values()))
    total = num_examples(split, limit) * len(backends) * num_asked
    with showing("evaluating", total) as advance:
        return {
            halt: answer(
                backends, split, task, each, options.choose, options.batch_size, limit, advance
            )
            for halt, each in asked.items()
        }


def _show(found: Evaluation, options: EvalOptions, as_json: bool) -> None:
    """Print results as tables, or as JSON."""
    from hrm_core.tasks.capabilities import bands_of
    from hrm_core.tasks.cells import UNKNOWN

    from .evaluation_tables import print_outcomes, print_pages, record

    bands, measures = bands_of(found.task), found.task or UNKNOWN
    if as_json:
        more = {}
        for halt in found.outcomes:
            records = [report.record() for report in found.reports(halt)]
            more[halt] = {name: value for each in records for name, value in each.items()}
        content = record(
            found.sources,
            options.split,
            found.outcomes,
            bands,
            measures,
            more,
            options.limits,
        )
        click.echo(json.dumps(content))
        return
    print_outcomes(found.sources, found.outcomes, bands, measures, options.limits)
    for halt in found.outcomes:
        title = f"Halting: {halt}" if len(found.outcomes) > 1 else ""
        for report in found.reports(halt):
            print_pages(report.pages(), title=title)


def _files(
    found: Evaluation, options: EvalOptions, drawn: "Drawable | Captioned | None"
) -> list[Callable[[], None]]:
    """Return a function for each file that was asked for, which writes it."""
    from hrm_core.inference.evaluation import save_predictions, save_table
    from hrm_core.inference.pages import evaluation_sheet
    from hrm_core.tasks.capabilities import Charted, Exports, Tabled

    dataset, split, limit, path = found.dataset, found.split, options.limit, options.sheet
    files: list[Callable[[], None]] = []
    if options.submission is not None and isinstance(found.task, Exports):
        content = found.task.submission(found.polls[options.halt])
        files.append(partial(_write_json, options.submission, content))
    if is_table(options.save_predictions) and isinstance(found.task, Tabled):
        predictions = found.outcomes[options.halt].predictions
        table = found.task.prediction_table(dataset, split, predictions)
        files.append(partial(save_table, options.save_predictions, table))
    elif options.save_predictions is not None:
        chosen = found.outcomes[options.halt]
        save = partial(save_predictions, options.save_predictions, split)
        files.append(partial(save, chosen.predictions, chosen.answers, limit))
    if path is not None and drawn is not None:
        title = f"{', '.join(map(str, found.models))} on {dataset.directory}"
        draw = partial(evaluation_sheet, dataset, split, drawn, found.outcomes[options.halt])
        files.append(partial(draw, path, options.rows, title, limit))
    if options.chart is not None and isinstance(found.task, Charted):
        comparison = found.comparisons[options.halt]
        files.append(partial(found.task.draw, comparison, options.chart))
    return files


def _loaded_backend(make_backend: Callable[..., Any], model: "Model") -> "Backend":
    backend: Backend = make_backend(model.config)
    backend.load_weights(model.weights)
    return backend


def _write_json(path: Path, content: object) -> None:
    """Write JSON at once or not at all. Raises: HRMError if the file cannot be written."""
    from hrm_core.files import replaced_whole

    with replaced_whole(path) as draft:
        draft.write_text(json.dumps(content))
