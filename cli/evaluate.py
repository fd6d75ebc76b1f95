"""`hrm eval`: measure a model on a data set."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from cli.models import open_model
from cli.options import DIRECTORY, FILE, backend_options, json_option


@click.command("eval")
@click.argument("model", type=DIRECTORY)
@click.option("--data", type=DIRECTORY, help="Data set; the one the run was trained on if not set.")
@click.option("--split", type=click.Choice(["train", "test"]), default="test", show_default=True)
@click.option("--halt", type=click.Choice(["fixed"]), default="fixed", expose_value=False, help="fixed, as published.")
@click.option("--limit", type=click.IntRange(1), help="Only the first examples of each set.")
@click.option("--batch-size", type=click.IntRange(1), default=256, show_default=True)
@click.option("--save-predictions", type=FILE, help="Write inputs, labels, answers and halting values as .npz.")
@json_option
@backend_options
def evaluate(
    model: Path,
    data: Path | None,
    split: str,
    limit: int | None,
    batch_size: int,
    save_predictions: Path | None,
    as_json: bool,
    make_backend: Callable[..., Any],
) -> None:
    """Measure a model: exact accuracy first, then cells, then by rating. Every puzzle takes all ACT steps, as published.

    \b
    Example:
        hrm eval runs/small --data data/sudoku-4x4
    """
    from rich.console import Console
    from rich.progress import Progress

    from hrm_core.data.store import load_split
    from hrm_core.tasks import task_of_shape
    from hrm_core.training.evaluation import check_fits, num_examples
    from hrm_core.training.evaluation import evaluate as evaluate_split
    from hrm_core.training.evaluation import save_predictions as save
    from hrm_core.training.scoring import by_band, summary

    loaded = open_model(model)
    opened = load_split(_data_of(model, data), split)
    check_fits(opened, loaded.config, loaded.source)
    task = task_of_shape(loaded.config.vocab_size, loaded.config.seq_len, loaded.task)
    backend = make_backend(loaded.config)
    backend.load_weights(loaded.weights)
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task("evaluating", total=num_examples(opened, limit))
        scores, answers = evaluate_split(
            backend, opened, task.given if task else None, batch_size, limit, lambda count: progress.advance(bar, count)
        )
    total, bands = summary(scores), by_band(scores, task.rating_bands) if task else {}
    if as_json:
        click.echo(json.dumps({"model": str(loaded.source), "split": split, **total, "bands": bands}))
    else:
        _print_table(str(loaded.source), total, bands)
    if save_predictions is not None:
        save(save_predictions, opened, scores, answers, limit)


def _data_of(model: Path, data: Path | None) -> Path:
    from hrm_core.training.run import CONFIG_FILE, run_config, run_of

    if data is not None:
        return data
    run = run_of(model)
    recorded = run_config(run).data if (run / CONFIG_FILE).is_file() else None
    if recorded is None:
        raise click.UsageError(f"{model} does not say what it was trained on; name a data set with --data")
    return Path(recorded.path)


def _print_table(source: str, total: dict[str, float], bands: dict[str, dict[str, float]]) -> None:
    from cli.tables import print_table

    rows = [(f"rating {name}", band) for name, band in bands.items()]
    print_table(
        source,
        ["", "exact", "all cells", "blank cells", "halting right", "settled at step", "puzzles"],
        [
            [
                name,
                f"{values['exact_accuracy']:.2%}",
                f"{values['accuracy']:.2%}",
                f"{values['blank_accuracy']:.2%}",
                f"{values['q_halt_accuracy']:.2%}",
                f"{values['settled_step']:.2f}",
                f"{values['count']:,.0f}",
            ]
            for name, values in [("all", total), *rows]
        ],
    )
