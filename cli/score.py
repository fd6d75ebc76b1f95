"""`hrm score`: score an ARC submission."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import FILE, json_option

if TYPE_CHECKING:
    from hrm_core.tasks.capabilities import Exports


@click.command()
@click.argument("submission", type=FILE)
@click.argument("solutions", type=FILE)
@click.option("--task", hidden=True, help="Task of the submission, where several have them.")
@json_option
def score(submission: Path, solutions: Path, task: str | None, as_json: bool) -> None:
    """Score an ARC submission against solutions, both in the Kaggle ARC Prize format. One of two attempts has to be right.

    \b
    Example:
        hrm score submission.json solutions.json
    """
    found = _exporter(task).score(submission, solutions)
    click.echo(json.dumps(found.record) if as_json else found.text)


def _exporter(name: str | None) -> "Exports":
    """Return the task whose submissions are scored. Raises: UsageError if it is not clear."""
    from hrm_core.tasks.registry import kinds_with

    kinds = kinds_with("submission")
    known = ", ".join(kinds)
    if name is None and len(kinds) > 1:
        raise click.UsageError(f"choose the task with --task: {known}")
    if name is not None and name not in kinds:
        raise click.UsageError(f"{name} has no submissions; those that have: {known}")
    name = name or next(iter(kinds))
    chosen: Exports = kinds[name]
    return chosen
