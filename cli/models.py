"""Open MODEL: a run, a checkpoint folder, a .safetensors file or a shipped model by name."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from hrm_core.runs.checkpoint import Model


def open_model(path: Path) -> "Model":
    """Load the model that a user means, with a warning for each damaged checkpoint.

    Raises: CheckpointError if there is no whole one.
    """
    from hrm_core.runs.checkpoint import find_model, load_model

    file = find_model(path, print_warning)
    return load_model(file)


def print_warning(message: str) -> None:
    """Print a warning on stderr."""
    click.echo(f"warning: {message}", err=True)
