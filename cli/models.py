"""`hrm models`: list the trained models that came along."""

import json
from typing import Any

import click

from .options import json_option


@click.command()
@json_option
def models(as_json: bool) -> None:
    """List the trained models that came along: what each solves, its size and its card.

    \b
    Example:
        hrm models
    """
    from hrm_core.runs.shipped import shipped_models

    records = [_record(name) for name in shipped_models()]
    if as_json:
        click.echo(json.dumps(records))
        return
    for record in records:
        click.echo(
            f"{record['name']}: {record['about']}\n"
            f"  {record['parameters']:,} parameters, {record['megabytes']} MB: {record['file']}\n"
            f"  card: {record['card']}"
        )


def _record(name: str) -> dict[str, Any]:
    from hrm_core.parameters import num_trainable
    from hrm_core.runs.checkpoint import load_model
    from hrm_core.runs.shipped import card_of, shipped_models

    path = shipped_models()[name]
    model = load_model(path)
    card = card_of(path)
    return {
        "name": name,
        "about": card.about,
        "task": model.task.partition(" ")[0],
        "parameters": num_trainable(model.config),
        "megabytes": round(path.stat().st_size / 1e6, 1),
        "file": str(path),
        "card": card.place,
    }
