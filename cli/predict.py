"""`hrm predict`: ask a trained model for the outcomes of its task.

The task of the model decides which options there are, so MODEL stands first, like the name of a command.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import DIRECTORY, MODEL, backend_options, json_option, open_model

if TYPE_CHECKING:
    from hrm_core.runs.checkpoint import Model


class PredictGroup(click.Group):
    """A group whose commands are models."""

    def get_command(self, ctx: click.Context, name: str) -> click.Command:
        """Open a model and make the command of its task."""
        model = open_model(MODEL.convert(name, None, ctx))
        return _command_of(name, model)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List nothing: a model can have any name."""
        return []


@click.group(cls=PredictGroup, subcommand_metavar="MODEL FILE... [OPTIONS]")
def predict() -> None:
    """Predict outcomes with a trained model. MODEL stands first; `hrm predict MODEL --help` lists the options of its task.

    \b
    Examples:
        hrm predict runs/cricket match.json --at 2:14.3
        hrm predict runs/xray-28 image.png
    """


def _command_of(name: str, model: "Model") -> click.Command:
    """Make the command for a model. Raises: PuzzleError if its task predicts no outcomes."""
    from hrm_core.errors import PuzzleError
    from hrm_core.inference.loading import task_of
    from hrm_core.tasks.capabilities import Outcomes
    from hrm_core.tasks.registry import predictor

    from .evaluation_tables import print_pages
    from .fields import chosen, parameters

    task = task_of(model)
    found = predictor(task.name)
    if found is None or not isinstance(task, Outcomes):
        raise PuzzleError(f"{name} is a model of {task.name}, which has no outcomes to predict")
    files_argument = click.Argument(  # a task that takes no folders says so
        ["files"], type=DIRECTORY, nargs=-1, required=True, metavar="FILE..."
    )
    options = parameters(found.Options)

    @click.command(name, params=[files_argument, *options], help=found.predict.__doc__)
    @json_option
    @backend_options
    @click.pass_context
    def command(
        context: click.Context,
        /,
        files: tuple[Path, ...],
        as_json: bool,
        make_backend: Callable[..., Any],
        **typed: Any,
    ) -> None:
        from hrm_core.inference.predicting import ModelAsk

        given = chosen(found.Options, context)
        backend = make_backend(model.config)
        backend.load_weights(model.weights)
        report = found.predict(task, files, given, ModelAsk(backend, task))
        if as_json:
            click.echo(json.dumps(report.record()))
        else:
            print_pages(report.pages())

    return command
