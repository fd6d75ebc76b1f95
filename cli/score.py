"""`hrm score`: score an ARC submission."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from .options import FILE, json_option


@click.command()
@click.argument("submission", type=FILE)
@click.argument("solutions", type=FILE)
@json_option
def score(submission: Path, solutions: Path, as_json: bool) -> None:
    """Score an ARC submission against solutions, both in the Kaggle ARC Prize format. One of two attempts has to be right.

    \b
    Example:
        hrm score submission.json solutions.json
    """
    from hrm_tasks.arc.submission import score_files

    found = score_files(submission, solutions)
    if as_json:
        click.echo(json.dumps(asdict(found)))
    else:
        outputs, tasks = (
            f"{found.outputs_solved:,} of {found.outputs:,}",
            f"{found.tasks_solved:,} of {found.tasks:,}",
        )
        click.echo(f"{found.score:.2%}: {outputs} test outputs; {tasks} tasks have all of theirs")
