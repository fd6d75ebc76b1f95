"""`hrm data maze`: build a maze data set."""

import json
import warnings
from pathlib import Path
from typing import Any

import click

from .options import (
    DIRECTORY,
    FILE,
    csv_files,
    json_option,
    seed_option,
    source_option,
    warn_of_repeats,
)


@click.command()
@click.argument("out", type=DIRECTORY)
@source_option
@click.option(
    "--train-csv",
    type=FILE,
    help="Training mazes in the published format: source,question,answer,rating.",
)
@click.option("--test-csv", type=FILE, help="Test mazes in the same format.")
@click.option(
    "--generate", type=click.IntRange(1), metavar="N", help="Generate N training mazes instead."
)
@click.option(
    "--size",
    type=click.IntRange(4, 128),
    metavar="N",
    help="Rows of the generated mazes; 30 if not set.",
)
@click.option(
    "--kind",
    type=click.Choice(["perfect", "loops", "obstacles", "mixed"]),
    help="What is generated; mixed if not set.",
)
@click.option(
    "--test",
    "num_test",
    type=click.IntRange(0),
    metavar="N",
    help="Generate N test mazes; 1000 if not set.",
)
@click.option(
    "--min-path",
    type=click.IntRange(1),
    metavar="MOVES",
    help="Least moves of a generated path; by size and kind if not set.",
)
@click.option(
    "--subsample", type=click.IntRange(1), metavar="N", help="Choose N training mazes at random."
)
@click.option(
    "--augment",
    type=click.IntRange(0, 7),
    default=0,
    show_default=True,
    metavar="N",
    help="Rotated or reflected copies of each.",
)
@click.option("--min-rating", type=click.IntRange(0), help="Leave out easier mazes of a CSV file.")
@seed_option
@json_option
def maze(
    out: Path,
    source: str | None,
    train_csv: Path | None,
    test_csv: Path | None,
    generate: int | None,
    size: int | None,
    kind: str | None,
    num_test: int | None,
    min_path: int | None,
    subsample: int | None,
    augment: int,
    min_rating: int | None,
    seed: int,
    as_json: bool,
) -> None:
    """Build a maze data set from published mazes or CSV files, or generate one.

    \b
    Examples:
        hrm data maze data/maze --source hf://sapientinc/maze-30x30-hard-1k
        hrm data maze data/mine --train-csv train.csv --test-csv test.csv
        hrm data maze data/10x10 --generate 2000 --size 10 --augment 7
    """
    from hrm_tasks.maze import build as maze_build

    if [source, train_csv, generate].count(None) != 2:
        raise click.UsageError(
            "give one of --source hf://OWNER/NAME, --train-csv FILE and --generate N"
        )
    if generate is not None:
        if test_csv or subsample or min_rating is not None:
            raise click.UsageError(
                "--subsample and --min-rating go with --source or --train-csv, --test-csv with --train-csv; "
                "generated mazes take --test and --min-path"
            )
        build = maze_build.build_generated(
            out,
            size or 30,
            generate,
            1000 if num_test is None else num_test,
            kind=kind or "mixed",
            min_path=min_path,
            augment=augment,
            seed=seed,
        )
    else:
        if size or kind or min_path or num_test is not None:
            raise click.UsageError(
                "--size, --kind, --test and --min-path go with --generate; test mazes come with --source or from --test-csv"
            )
        build = maze_build.build_from_csv(
            out,
            *csv_files(out, source, train_csv, test_csv),
            subsample=subsample,
            augment=augment,
            min_rating=min_rating or 0,
            seed=seed,
        )
    _warn(build)
    if as_json:
        click.echo(json.dumps(build))
    else:
        training = (
            f"{build['train_examples']:,} training examples of {build['train_puzzles']:,} mazes"
        )
        click.echo(
            f"{out}: {training}, {build.get('test_puzzles', 0):,} test mazes of {build['size']}x{build['size']}"
        )


def _warn(build: dict[str, Any]) -> None:
    """Warn of what makes results doubtful."""
    warn_of_repeats(build)
    longer = sum(file["longer_than_shortest"] for file in build.get("sources", {}).values())
    if longer:
        warnings.warn(f"answers that are paths, but not shortest ones: {longer:,}", stacklevel=1)
