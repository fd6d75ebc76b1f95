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
    from hrm_core.data.store import Split
    from hrm_core.inference.answering import Outcome
    from hrm_core.runs.checkpoint import Model
    from hrm_core.tasks.contract import Task

    from .evaluation_arc import Pooled


@click.command("eval")
@click.argument("models", metavar="MODEL...", type=DIRECTORY, nargs=-1, required=True)
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

    from hrm_core.inference.answering import answer, ways
    from hrm_core.inference.evaluation import num_examples
    from hrm_core.inference.evaluation import save_predictions as save
    from hrm_core.inference.pages import evaluation_sheet

    from .evaluation_tables import print_outcomes, record

    _check_options(halt, noise, rollouts, limit, split, submission, save_predictions, sheet, digits)
    loaded = [open_model(model) for model in models]
    opened, task = _open_data(_data_of(models, data), split, models, loaded)
    is_pooled = _is_arc(task) and split == "test" and limit is None
    _check_task(task, opened, votes, submission, is_pooled)
    drawn = drawn_task(task, digits, opened.folder.parent) if sheet else None
    backends = [_loaded_backend(make_backend, model) for model in loaded]
    halts = ["fixed", "q"] if halt == "both" else [halt]
    asked: dict[str, Any] = {name: ways(task, name, votes, noise, rollouts, seed) for name in halts}  # type: ignore[arg-type]
    total = num_examples(opened, limit) * len(backends) * sum(map(len, asked.values()))
    with Progress(
        console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()
    ) as progress:
        bar = progress.add_task("evaluating", total=total)
        outcomes = {
            name: answer(
                backends,
                opened,
                task,
                chosen_ways,
                choose,
                batch_size,
                limit,
                lambda count: progress.advance(bar, count),
            )
            for name, chosen_ways in asked.items()
        }
    sources, bands = [str(model.source) for model in loaded], task.rating_bands if task else (0,)
    pooled = _pooled(opened, outcomes) if is_pooled else {}

    def show() -> None:
        if as_json:
            click.echo(
                json.dumps(
                    record(
                        sources,
                        split,
                        outcomes,
                        bands,
                        {name: pool.record() for name, pool in pooled.items()},
                    )
                )
            )
            return
        print_outcomes(sources, outcomes, bands)
        for name, pool in pooled.items():
            pool.print(title=f"Halting: {name}" if len(pooled) > 1 else "")

    files: list[Callable[[], None]] = []
    if submission is not None:
        files.append(partial(pooled[halt].write_submission, submission))
    if save_predictions is not None:
        files.append(
            partial(
                save, save_predictions, opened, outcomes[halt].scores, outcomes[halt].answers, limit
            )
        )
    if sheet is not None and drawn is not None:
        title = f"{', '.join(map(str, models))} on {opened.folder.parent}"
        files.append(
            partial(evaluation_sheet, opened, drawn, outcomes[halt], sheet, rows, title, limit)
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
    from hrm_core.pictures.animations import check_writable

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


def _check_task(
    task: "Task | None", opened: "Split", votes: int, submission: Path | None, is_pooled: bool
) -> None:
    """Refuse what the task cannot do. Raises: DataError where answers cannot be pooled for want of names."""
    from hrm_core.data.store import IDENTIFIERS_FILE, read_identifiers

    if votes > 1 and (task is None or _is_arc(task)):
        why = (
            "its task is not known"
            if task is None
            else "ARC votes with the augmentations of its data set"
        )
        raise click.UsageError(
            f"{opened.folder} has no symmetries to vote with, {why}; leave out --votes"
        )
    if is_pooled:
        read_identifiers(opened.folder.parent / IDENTIFIERS_FILE)
    if submission is not None and not _is_arc(task):
        raise click.UsageError(
            f"--submission is for ARC, {opened.folder} is {task.name if task else 'of an unknown task'}"
        )


def _is_arc(task: "Task | None") -> bool:
    return task is not None and task.name == "arc"


def _open_data(
    data: Path, split: str, paths: tuple[Path, ...], models: "list[Model]"
) -> "tuple[Split, Task | None]":
    """The data, and its task; that of the first model where the data do not say. Raises: DataError if it does not fit every model."""
    from hrm_core.data.store import load_split, task_label
    from hrm_core.inference.evaluation import check_fits, check_task
    from hrm_core.runs.identifiers import check_identifiers
    from hrm_core.tasks.registry import find_task, task_of_shape

    opened = load_split(data, split)
    for path, model in zip(paths, models, strict=True):
        check_fits(opened, model.config, model.source)
        check_task(data, model)
        check_identifiers(path, model.config.num_puzzle_identifiers, data)
    sizes = models[0].config.vocab_size, models[0].config.seq_len
    return opened, find_task(data, *sizes) if task_label(data) else task_of_shape(
        *sizes, models[0].task
    )


def _pooled(split: "Split", outcomes: "dict[str, Outcome]") -> "dict[str, Pooled]":
    from .evaluation_arc import Pooled

    return {name: Pooled(split, outcome) for name, outcome in outcomes.items()}


def _loaded_backend(make_backend: Callable[..., Any], model: "Model") -> "Backend":
    backend: Backend = make_backend(model.config)
    backend.load_weights(model.weights)
    return backend


def _data_of(models: tuple[Path, ...], data: Path | None) -> Path:
    """The data set: the one named, or the one the first model was trained on. Raises: DataError if that has changed since."""
    from hrm_core.data.store import dataset_hash
    from hrm_core.errors import DataError
    from hrm_core.runs.run import CONFIG_FILE, run_config, run_of

    if data is not None:
        return data
    runs = [run_of(model) for model in models]
    recorded = [run_config(run).data if (run / CONFIG_FILE).is_file() else None for run in runs]
    first = recorded[0]
    if first is None:
        raise click.UsageError(
            f"{models[0]} does not say what it was trained on; name a data set with --data"
        )
    for model, other in zip(models, recorded, strict=True):
        if other is None or other.sha256 != first.sha256:
            click.echo(
                f"warning: {model} was trained on other data than {models[0]}; its training puzzles may be among these",
                err=True,
            )
    if dataset_hash(Path(first.path)) != first.sha256:
        raise DataError(
            f"{first.path} has changed since {models[0]} was trained on it; name a data set with --data"
        )
    return Path(first.path)
