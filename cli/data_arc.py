"""`hrm data arc`: build an ARC data set, or add tasks to one."""

import json
import sys
import warnings
from collections.abc import Mapping, Sized
from pathlib import Path
from typing import Any

import click

from .options import DIRECTORY, json_option, seed_option

LEFT_OUT = ("dropped_pairs", "shared_tasks", "namesakes")  # of build.json


@click.command()
@click.argument("out", type=DIRECTORY)
@click.argument("more", metavar="[PATH]...", type=DIRECTORY, nargs=-1)
@click.option(
    "--tasks",
    type=DIRECTORY,
    metavar="PATH...",
    multiple=True,
    help="Folders, zips or files of task JSON; several may follow.",
)
@click.option(
    "--add",
    type=DIRECTORY,
    metavar="PATH...",
    multiple=True,
    help="Add tasks to a data set that is built; several may follow.",
)
@click.option(
    "--augment",
    type=click.IntRange(0, 10_000),
    metavar="N",
    help="Augmentations of each task, where it has so many. [default: 1000]",
)
@click.option(
    "--canvas",
    type=click.IntRange(2, 30),
    metavar="N",
    help="Side of the canvas; tasks with a larger grid are left out. [default: 30]",
)
@click.option("--subsample", type=click.IntRange(1), metavar="N", help="Choose N tasks at random.")
@seed_option
@json_option
@click.pass_context
def arc(
    ctx: click.Context,
    out: Path,
    more: tuple[Path, ...],
    tasks: tuple[Path, ...],
    add: tuple[Path, ...],
    augment: int | None,
    canvas: int | None,
    subsample: int | None,
    seed: int,
    as_json: bool,
) -> None:
    """Build an ARC data set from task JSON; test pairs of tasks in folders named `evaluation` are the test set, and never trained.

    \b
    Examples:
        hrm data arc data/arc-1 --tasks ARC-AGI-1.zip ConceptARC.zip
        hrm data arc data/small --tasks ARC-AGI-1.zip --canvas 12 --subsample 20 --augment 30
        hrm data arc data/arc-1 --add my-tasks
    """
    from rich.console import Console
    from rich.progress import Progress

    from hrm_tasks.arc import build as arc_build
    from hrm_tasks.arc import extend as arc_add

    if bool(tasks) == bool(add):
        raise click.UsageError("give either --tasks PATH… or --add PATH…")
    is_told = (augment, canvas, subsample) != (None, None, None) or ctx.get_parameter_source(
        "seed"
    ) != click.core.ParameterSource.DEFAULT
    if add and is_told:
        raise click.UsageError(
            "--augment, --canvas, --subsample and --seed go with --tasks; added tasks take those of the data set"
        )
    with Progress(
        console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()
    ) as progress:
        bar = progress.add_task("writing tasks", total=None)

        def on_task(name: str) -> None:
            progress.advance(bar)

        if add:
            build, left_out = arc_add.add(out, [*add, *more], on_task)
        else:
            build = left_out = arc_build.build(
                out,
                [*tasks, *more],
                side=canvas or 30,
                subsample=subsample,
                augment=1000 if augment is None else augment,
                seed=seed,
                on_task=on_task,
            )
    _report(out, build, left_out, as_json)


def _report(out: Path, build: dict[str, Any], left_out: Mapping[str, Any], as_json: bool) -> None:
    """Say what was built, and warn of what was left out by it, or by adding to it."""
    tasks, too_large = build["tasks"].values(), left_out.get("too_large", [])
    dropped, shared, namesakes = (left_out[kind] for kind in LEFT_OUT)
    if too_large:
        side = build["task_settings"]["canvas"]
        warnings.warn(
            f"tasks left out, with a grid larger than {side}x{side}: {len(too_large):,}, as {too_large[0]}",
            stacklevel=1,
        )
    if dropped:
        warnings.warn(
            f"not trained on, because the test has it: {dropped[0]}{_more(dropped)}", stacklevel=1
        )
    if shared:
        name, folders = next(iter(shared.items()))
        warnings.warn(
            f"in several folders and taken from one: {name}, from {folders[0]}{_more(shared)}",
            stacklevel=1,
        )
    if namesakes:
        name, (folder, other, *_) = next(iter(namesakes.items()))
        what = f"{name} of {other} (taken from {folder}){_more(namesakes)}"
        warnings.warn(
            f"left out, because a task of the same name but other contents was taken: {what}; rename its file",
            stacklevel=1,
        )
    if as_json:
        counts = {"tasks": len(tasks), "too_large": len(too_large)} | {
            kind: len(left_out[kind]) for kind in LEFT_OUT
        }
        click.echo(json.dumps({**build, **counts}))  # build.json has them whole
        return
    num_tests = sum(task["evaluation"] for task in tasks)
    examples = f"{build.get('train_examples', 0):,} training and {build.get('test_examples', 0):,} test examples"
    click.echo(
        f"{out}: {examples} of {len(tasks):,} tasks, {num_tests:,} of them to evaluate; {build['identifiers']:,} puzzle identifiers"
    )


def _more(things: Sized) -> str:
    return f"; and {len(things) - 1:,} more" if len(things) > 1 else ""
