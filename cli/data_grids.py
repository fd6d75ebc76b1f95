"""`hrm data grids`: build a data set of anybody's own task."""

import json
import math
import warnings
from pathlib import Path
from typing import Any

import click

from hrm_core.messages import first_few

from .options import DIRECTORY, json_option, seed_option, warn_of_repeats


@click.command()
@click.argument("out", type=DIRECTORY)
@click.argument("source", type=DIRECTORY)
@click.option(
    "--test",
    type=DIRECTORY,
    metavar="FILE|FOLDER",
    help="Test examples; without it a share of SOURCE is drawn for them.",
)
@click.option(
    "--test-share",
    type=click.FloatRange(0, 1, max_open=True),
    metavar="SHARE",
    help="Share of the examples that is not trained on. [default: 0.1]",
)
@click.option(
    "--max-size",
    type=click.IntRange(1),
    nargs=2,
    metavar="ROWS COLUMNS",
    help="Largest grid there can be; that of the data if not set.",
)
@click.option(
    "--augment",
    type=click.IntRange(0, 7),
    default=0,
    show_default=True,
    metavar="N",
    help="Rotated or reflected copies of each.",
)
@seed_option
@json_option
def grids(
    out: Path,
    source: Path,
    test: Path | None,
    test_share: float | None,
    max_size: tuple[int, int] | None,
    augment: int,
    seed: int,
    as_json: bool,
) -> None:
    """Build a data set of your own task from text grids: a CSV file input,output[,name][,rating], JSON Lines, or a folder.

    \b
    Examples:
        hrm data grids data/mine mine.csv --augment 7
        hrm data grids data/mine train.jsonl --test test.jsonl --max-size 12 12
    """
    from hrm_tasks.grids import build as grids_build

    if test is not None and test_share is not None:
        raise click.UsageError("give either --test or --test-share")
    share = 0.1 if test_share is None else test_share
    if math.isnan(share):
        raise click.UsageError("--test-share nan is no share; try 0.1")
    build = grids_build.build(
        out, source, test=test, test_share=share, max_size=max_size, augment=augment, seed=seed
    )
    for remark in _remarks(build):
        warnings.warn(remark, stacklevel=1)
    warn_of_repeats(build)
    click.echo(json.dumps(build) if as_json else f"{out}: {_described(build)}")


def _described(build: dict[str, Any]) -> str:
    settings, originals = build["task_settings"], build["train_originals"]
    training = f"{build['train_examples']:,} training examples" + (
        f" ({originals:,} in {build['augment'] + 1} views)" if build["augment"] else ""
    )
    canvas = (
        f"{len(settings['alphabet'])} characters on {settings['height']}x{settings['width']} cells"
    )
    puzzles = f", {build['puzzle_names']:,} named puzzles" if build["puzzle_names"] else ""
    return f"{training}, {build.get('test_examples', 0):,} test examples{puzzles}; {canvas}"


def _remarks(build: dict[str, Any]) -> list[str]:
    """What the user should know of the data, a sentence each."""
    new_names, new_characters = build["names_only_in_test"], build["characters_only_in_test"]
    remarks = {
        f"{build['repeats_dropped']:,} examples stand there twice and were taken once": build[
            "repeats_dropped"
        ],
        f"{build['questions_with_several_answers']:,} questions come with another answer, too: no model can know which is meant": build[
            "questions_with_several_answers"
        ],
        f"{len(new_names):,} names occur only in the test, nothing is learned of their puzzles: {first_few(new_names)}": new_names,
        f"{len(new_characters):,} characters occur only in the test: {new_characters!r}": new_characters,
    }
    return [remark for remark, is_so in remarks.items() if is_so]
