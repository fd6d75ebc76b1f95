"""`hrm eval`: measure a model on a data set."""

import json
import math
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .models import open_model
from .options import (
    DIRECTORY,
    FILE,
    MODEL,
    backend_options,
    digits_option,
    drawn_task,
    json_option,
    refuse_same,
    seed_option,
    write_then_show,
)

if TYPE_CHECKING:
    from hrm_core.backend import Backend
    from hrm_core.runs.checkpoint import Model
    from hrm_core.tasks.capabilities import Poll
    from hrm_core.tasks.contract import Task

HALTS: dict[str, list[Any]] = {"both": ["fixed", "q"]}


@click.command("eval")
@click.argument("models", metavar="MODEL...", type=MODEL, nargs=-1, required=True)
@click.option("--data", type=DIRECTORY, help="Data set; the one the run was trained on if not set.")
@click.option("--split", type=click.Choice(["train", "test"]), default="test", show_default=True)
@click.option(
    "--halt",
    type=click.Choice(["fixed", "q", "both"]),
    default="fixed",
    show_default=True,
    help="fixed: all ACT steps, as published. q: a puzzle is done when q_halt > q_continue. both: side by side.",
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
    type=click.Choice(["rules", "majority", "q"]),
    default="rules",
    show_default=True,
    help="Which of several answers counts; rules: one that they accept if they can tell, else the one given most often.",
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
    help="Write inputs, labels, answers and halting values as .npz.",
)
@click.option(
    "--sheet",
    type=FILE,
    help="Draw examples into this PNG, wrong ones first: question, answer, prediction, differences.",
)
@click.option(
    "--rows",
    type=click.IntRange(1, 100),
    default=12,
    show_default=True,
    help="Examples on the sheet.",
)
@digits_option
@seed_option
@json_option
@backend_options
def evaluate(
    models: tuple[Path, ...],
    data: Path | None,
    split: str,
    halt: str,
    votes: int,
    noise: float,
    rollouts: int,
    choose: Any,
    limit: int | None,
    batch_size: int,
    submission: Path | None,
    save_predictions: Path | None,
    sheet: Path | None,
    rows: int,
    digits: bool,
    seed: int,
    as_json: bool,
    make_backend: Callable[..., Any],
) -> None:
    """Measure a model: exact accuracy first, then cells, ACT steps, halting, by difficulty. Of several models each gives answers.

    \b
    Examples:
        hrm eval runs/small --data data/sudoku-4x4
        hrm eval runs/small --halt both --votes 9
        hrm eval runs/small --sheet mistakes.png
    """
    from rich.console import Console
    from rich.progress import Progress

    from hrm_core.data.store import Dataset
    from hrm_core.inference.answering import (
        answer,
        inference_options,
        open_for_models,
        polled,
        recorded_data,
    )
    from hrm_core.inference.evaluation import num_examples
    from hrm_core.inference.evaluation import save_predictions as save
    from hrm_core.inference.pages import evaluation_sheet
    from hrm_core.tasks.capabilities import Exports, Polled, bands_of
    from hrm_core.tasks.cells import UNKNOWN

    from .evaluation_tables import print_outcomes, print_pages, record

    _check_options(halt, noise, rollouts, limit, split, submission, save_predictions, sheet, digits)
    loaded = [open_model(model) for model in models]
    dataset = Dataset(data) if data else recorded_data(models, _warn)
    opened, task = open_for_models(dataset, split, models, loaded)
    _check_task(task, opened.folder, votes, submission)
    pools = task if isinstance(task, Polled) and split == "test" and limit is None else None
    if pools:
        dataset.names  # noqa: B018 - refused now if there are none, not after hours
    drawn = drawn_task(task, digits, dataset.directory) if sheet else None
    backends = [_loaded_backend(make_backend, model) for model in loaded]
    asked = {
        name: inference_options(task, name, votes, noise, rollouts, seed)
        for name in HALTS.get(halt, [halt])
    }
    total = num_examples(opened, limit) * len(backends) * sum(map(len, asked.values()))
    stderr = Console(stderr=True)
    with Progress(console=stderr, transient=True, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task("evaluating", total=total)
        advance = partial(progress.advance, bar)
        outcomes = {
            name: answer(backends, opened, task, options, choose, batch_size, limit, advance)
            for name, options in asked.items()
        }
    sources, bands, measures = [str(m.source) for m in loaded], bands_of(task), task or UNKNOWN
    polls: dict[str, Poll] = {}
    if pools:
        polls = {name: polled(pools, dataset, opened, each) for name, each in outcomes.items()}

    def show() -> None:
        if as_json:
            more = {name: poll.record() for name, poll in polls.items()}
            click.echo(json.dumps(record(sources, split, outcomes, bands, measures, more)))
            return
        print_outcomes(sources, outcomes, bands, measures)
        for name, poll in polls.items():
            print_pages(poll.pages(), title=f"Halting: {name}" if len(polls) > 1 else "")

    files: list[Callable[[], None]] = []
    if submission is not None and isinstance(task, Exports):
        files.append(partial(_write_json, submission, task.submission(polls[halt])))
    if save_predictions is not None:
        chosen = outcomes[halt]
        files.append(
            partial(save, save_predictions, opened, chosen.predictions, chosen.answers, limit)
        )
    if sheet is not None and drawn is not None:
        title = f"{', '.join(map(str, models))} on {dataset.directory}"
        files.append(
            partial(
                evaluation_sheet, dataset, opened, drawn, outcomes[halt], sheet, rows, title, limit
            )
        )
    write_then_show(files, show)


def _check_options(
    halt: str,
    noise: float,
    rollouts: int,
    limit: int | None,
    split: str,
    submission: Path | None,
    predictions: Path | None,
    sheet: Path | None,
    digits: bool,
) -> None:
    """Refuse what does not go together, before anything is computed."""
    from hrm_core.files import check_writable

    if not math.isfinite(noise):
        raise click.UsageError(f"--noise {noise} is no standard deviation; try 0.1")
    if rollouts > 1 and not noise:
        raise click.UsageError("rollouts differ by their noise; add --noise, e.g. --noise 0.1")
    if submission is not None and limit is not None:
        raise click.UsageError("a submission answers every task; leave out --limit")
    if submission is not None and split != "test":
        raise click.UsageError("a submission answers the test inputs; leave out --split train")
    if digits and sheet is None:
        raise click.UsageError("--digits are written into pictures; add --sheet, or leave it out")
    outputs = [
        (path, suffix)
        for path, suffix in ((submission, ""), (predictions, ""), (sheet, ".png"))
        if path is not None
    ]
    for path, suffix in outputs:
        if halt == "both":
            raise click.UsageError(
                f"--halt both gives two answers to each puzzle; choose fixed or q to write {path}"
            )
        check_writable(path, suffix)
    refuse_same([path for path, _ in outputs])


def _check_task(task: "Task | None", data: Path, votes: int, submission: Path | None) -> None:
    """Refuse what the task cannot do, before anything is computed."""
    from hrm_core.tasks.capabilities import Exports, Symmetric
    from hrm_core.tasks.registry import titles_with

    if votes > 1 and not isinstance(task, Symmetric):
        raise click.UsageError(
            f"{data} has no symmetries to vote with, {_no_symmetries(task)}; leave out --votes"
        )
    if submission is not None and not isinstance(task, Exports):
        what = task.name if task else "of an unknown task"
        raise click.UsageError(f"--submission is for {titles_with('submission')}, {data} is {what}")


def _no_symmetries(task: "Task | None") -> str:
    """Say why a task cannot be asked under symmetries."""
    from hrm_core.tasks.capabilities import Polled

    if task is None:
        return "its task is not known"
    if isinstance(task, Polled):
        return f"{task.name.upper()} votes with the augmentations of its data set"
    return f"{task.name} has none"


def _loaded_backend(make_backend: Callable[..., Any], model: "Model") -> "Backend":
    backend: Backend = make_backend(model.config)
    backend.load_weights(model.weights)
    return backend


def _write_json(path: Path, content: object) -> None:
    """Write JSON at once or not at all. Raises: HRMError if the file cannot be written."""
    from hrm_core.files import replaced_whole

    with replaced_whole(path) as draft:
        draft.write_text(json.dumps(content))


def _warn(message: str) -> None:
    click.echo(f"warning: {message}", err=True)
