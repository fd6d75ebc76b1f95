"""MODEL on the command line: a run, a checkpoint folder, a .safetensors file or a shipped model by name."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from hrm_core.runs.checkpoint import Model


def open_model(path: Path) -> "Model":
    """Load the model that a user means; each damaged checkpoint that is passed over is named.

    Raises: CheckpointError if there is no whole one.
    """
    from hrm_core.runs.checkpoint import find_model, load_model

    return load_model(find_model(path, lambda message: click.echo(f"warning: {message}", err=True)))
