"""`hrm data`: build data sets and look into them."""

import json
import sys
import warnings
from collections import UserDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hrm_core.plugins import has_module, help_line, task_packages

from .options import DIRECTORY, FILE, digits_option, drawn_task, json_option

if TYPE_CHECKING:
    from hrm_core.data.summary import DatasetSummary
    from hrm_core.tasks.building import Watch

LONGEST = 100  # characters of a line of help


class Commands(UserDict[str, click.Command]):
    """Commands by name; that of a task is made, and the task imported, when it is asked for."""

    def __getitem__(self, name: str) -> click.Command:
        if name in self.data or name not in help_lines():
            return self.data[name]
        return _build_command(name)

    def __contains__(self, name: object) -> bool:
        return name in self.data or name in help_lines()

    def __iter__(self) -> Iterator[str]:
        return iter(self.data | help_lines())

    def __len__(self) -> int:
        return len(self.data | help_lines())


class DataGroup(click.Group):
    """A group that lists its commands without importing a task."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a line for each command."""
        lines = help_lines() | {"inspect": inspect.get_short_help_str(LONGEST)}
        with formatter.section("Commands"):
            formatter.write_dl(sorted(lines.items()))


def help_lines() -> dict[str, str]:
    """Return what each task that can be built says of itself, by the name of the task."""
    return {
        name: help_line(package)
        for name, package in task_packages().items()
        if has_module(package, "build")
    }


@click.group(cls=DataGroup, commands=Commands())
def data() -> None:
    """Build data sets and look into them."""


def _build_command(name: str) -> click.Command:
    """Make the command of a task from its builder."""
    from hrm_core.tasks.registry import builder

    from .fields import chosen, parameters

    found = builder(name)
    out = click.Argument(["out"], type=DIRECTORY)

    @click.command(name, params=[out, *parameters(found.Options)], help=found.build.__doc__)
    @json_option
    @click.pass_context
    def build(context: click.Context, /, out: Path, as_json: bool, **typed: Any) -> None:
        options = chosen(found.Options, context)
        with _progress(f"writing {options.things}") as watch:
            built = found.build(out, options, watch)
        for warning in built.warnings:
            warnings.warn(warning, stacklevel=1)
        click.echo(json.dumps(built.record) if as_json else f"{out}: {built.summary}")

    return build


@contextmanager
def _progress(doing: str) -> Iterator["Watch"]:
    """Show what is being made on a terminal, from the first thing on."""
    from rich.console import Console
    from rich.progress import Progress

    progress = Progress(
        console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()
    )

    def watch(name: str) -> None:
        if not progress.tasks:
            progress.add_task(doing, total=None)
            progress.start()
        progress.advance(progress.task_ids[0])

    try:
        yield watch
    finally:
        progress.stop()


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
