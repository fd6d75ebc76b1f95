"""`hrm data`: build data sets and look into them."""

import json
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .data_arc import arc
from .data_grids import grids
from .data_maze import maze
from .options import (
    DIRECTORY,
    FILE,
    csv_files,
    digits_option,
    drawn_task,
    json_option,
    seed_option,
    source_option,
    warn_of_repeats,
)

if TYPE_CHECKING:
    from hrm_core.data.summary import DatasetSummary


@click.group()
def data() -> None:
    """Build data sets and look into them."""


data.add_command(maze)
data.add_command(arc)
data.add_command(grids)


@data.command()
@click.argument("out", type=DIRECTORY)
@source_option
@click.option(
    "--train-csv",
    type=FILE,
    help="Training puzzles in the published format: source,question,answer,rating.",
)
@click.option("--test-csv", type=FILE, help="Test puzzles in the same format.")
@click.option(
    "--generate", type=click.IntRange(1), metavar="N", help="Generate N training puzzles instead."
)
@click.option(
    "--size",
    type=click.Choice(["4", "6", "9"]),
    help="Board of the generated puzzles; 9 if not set.",
)
@click.option(
    "--test",
    "num_test",
    type=click.IntRange(0),
    metavar="N",
    help="Generate N test puzzles; 1000 if not set.",
)
@click.option(
    "--givens",
    type=click.IntRange(0),
    nargs=2,
    metavar="LEAST MOST",
    help="Givens of the generated puzzles; as few as can be if not set.",
)
@click.option(
    "--subsample", type=click.IntRange(1), metavar="N", help="Choose N training puzzles at random."
)
@click.option(
    "--augment",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="N",
    help="Extra copies of each training puzzle.",
)
@click.option(
    "--min-rating",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Leave out easier puzzles.",
)
@seed_option
@json_option
def sudoku(
    out: Path,
    source: str | None,
    train_csv: Path | None,
    test_csv: Path | None,
    generate: int | None,
    size: str | None,
    num_test: int | None,
    givens: tuple[int, int] | None,
    subsample: int | None,
    augment: int,
    min_rating: int,
    seed: int,
    as_json: bool,
) -> None:
    """Build a Sudoku data set from published puzzles or CSV files, or generate one.

    \b
    Examples:
        hrm data sudoku data/extreme --source hf://sapientinc/sudoku-extreme --subsample 1000 --augment 1000
        hrm data sudoku data/9x9 --train-csv train.csv --test-csv test.csv --subsample 1000 --augment 1000
        hrm data sudoku data/6x6 --generate 2000 --size 6 --augment 100
    """
    from hrm_tasks.sudoku import build as sudoku_build

    if [source, train_csv, generate].count(None) != 2:
        raise click.UsageError(
            "give one of --source hf://OWNER/NAME, --train-csv FILE and --generate N"
        )
    if generate is not None:
        if test_csv or subsample:
            raise click.UsageError(
                "--subsample goes with --source or --train-csv, --test-csv with --train-csv; generated puzzles take --test N"
            )
        build = sudoku_build.build_generated(
            out,
            int(size or 9),
            generate,
            1000 if num_test is None else num_test,
            givens=givens,
            augment=augment,
            min_rating=min_rating,
            seed=seed,
        )
    else:
        if givens or size or num_test is not None:
            raise click.UsageError(
                "--givens, --size and --test go with --generate; test puzzles come with --source or from --test-csv"
            )
        build = sudoku_build.build_from_csv(
            out,
            *csv_files(out, source, train_csv, test_csv),
            subsample=subsample,
            augment=augment,
            min_rating=min_rating,
            seed=seed,
        )
    warn_of_repeats(build)
    if as_json:
        click.echo(json.dumps(build))
    else:
        training = (
            f"{build['train_examples']:,} training examples of {build['train_puzzles']:,} puzzles"
        )
        click.echo(f"{out}: {training}, {build.get('test_puzzles', 0):,} test puzzles")


@data.command()
@click.argument("directory", type=DIRECTORY)
@click.option("--sheet", type=FILE, help="Draw examples from all over each split into this PNG.")
@click.option(
    "--rows",
    type=click.IntRange(1, 100),
    default=8,
    show_default=True,
    help="Examples of each split on the sheet.",
)
@digits_option
@json_option
def inspect(directory: Path, sheet: Path | None, rows: int, digits: bool, as_json: bool) -> None:
    """Check every token of a data set and count what it holds.

    \b
    Example:
        hrm data inspect data/9x9 --sheet sheet.png
    """
    from hrm_core.data.store import Dataset
    from hrm_core.data.summary import summarize
    from hrm_core.files import check_writable
    from hrm_core.inference.pages import dataset_sheet
    from hrm_core.tasks.capabilities import bands_of
    from hrm_core.tasks.registry import task_of_shape

    dataset = Dataset(directory)
    sizes = dataset.metadata.sizes
    task = task_of_shape(sizes.vocab_size, sizes.seq_len, dataset.label or "")
    if sheet is not None:
        check_writable(sheet, ".png")
        drawn = drawn_task(task, digits, directory)
    summary = summarize(dataset, bands_of(task))
    if sheet is not None:
        dataset_sheet(dataset, drawn, sheet, rows)
    for remark in summary.remarks:
        warnings.warn(remark, stacklevel=1)
    click.echo(json.dumps(asdict(summary)) if as_json else _described(summary))
    if sheet is not None:
        click.echo(f"drawn: {sheet}", err=True)


def _described(summary: "DatasetSummary") -> str:
    lines = [
        f"{summary.directory}: {(summary.task or 'task not recorded').partition(' {')[0]}, sha256 {summary.sha256[:16]}…"
    ]
    for split_name, split in summary.splits.items():
        shape = f"seq_len {split.seq_len}, vocab_size {split.vocab_size}, {split.num_puzzle_identifiers:,} puzzle identifiers"
        lines.append(f"\n{split_name}: {shape}")
        for name, part in split.sets.items():
            counts = (
                f"{part.examples:,} examples of {part.puzzles:,} puzzles in {part.groups:,} groups"
            )
            lines += [
                f"  set {name}: {counts}, {part.dtype}, {part.bytes:,} bytes",
                f"    input tokens  {_counts(part.input_counts)}",
                f"    label tokens  {_counts(part.label_counts)}; ignored {part.ignored_share:.1%}",
            ]
            if part.rating_counts is not None:
                lines.append(
                    "    ratings       "
                    + "  ".join(
                        f"{band}: {count:,}" for band, count in part.rating_counts.items() if count
                    )
                )
    return "\n".join(lines)


def _counts(counts: list[int]) -> str:
    return "  ".join(f"{token}: {count:,}" for token, count in enumerate(counts) if count)
