"""`hrm data`: build data sets and look into them."""

import json
import warnings
from collections import UserDict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hrm_core.plugins import has_module, help_line, task_packages

from .options import DIRECTORY, FILE, digits_option, json_option, sheet_task
from .progress import showing

if TYPE_CHECKING:
    from hrm_core.data.summary import DatasetSummary, SetSummary

LONGEST = 100  # characters of a line of help
MANY = 300  # different tokens; of more only the most frequent are shown
SHOWN = 10


class Commands(UserDict[str, click.Command]):
    """Commands by name. That of a task is made, and its task imported, when the name is looked up."""

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
    """Return the help line of each task that has a builder, by the task's name."""
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
        with showing(f"building {options.things}", unit="written") as advance:
            built = found.build(out, options, lambda name: advance(1))
        for warning in built.warnings:
            warnings.warn(warning, stacklevel=1)
        click.echo(json.dumps(built.record) if as_json else f"{out}: {built.summary}")

    return build


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
    from hrm_core.tasks.capabilities import bands_of
    from hrm_core.tasks.registry import task_of_shape

    dataset = Dataset(directory)
    sizes = dataset.metadata.sizes
    task = task_of_shape(sizes.vocab_size, sizes.seq_len, dataset.label or "")
    if sheet is not None:
        check_writable(sheet, ".png")
        drawn = sheet_task(task, digits, directory)
    summary = summarize(dataset, bands_of(task))
    if sheet is not None:
        from hrm_core.inference.pages import dataset_sheet

        dataset_sheet(dataset, drawn, sheet, rows)
    for remark in summary.remarks:
        warnings.warn(remark, stacklevel=1)
    note = dataset.build.get("note", "")  # of a task whose every output carries one
    if as_json:
        click.echo(json.dumps({**summary.record(), "note": note} if note else summary.record()))
    else:
        click.echo(f"{_described(summary)}\n\n{note}" if note else _described(summary))
    if sheet is not None:
        click.echo(f"drawn: {sheet}", err=True)


def _described(summary: "DatasetSummary") -> str:
    """Format a summary for a person."""
    task = (summary.task or "task not recorded").partition(" {")[0]
    lines = [f"{summary.directory}: {task}, sha256 {summary.sha256[:16]}…"]
    for split_name, split in summary.splits.items():
        sizes = f"seq_len {split.seq_len}, vocab_size {split.vocab_size}"
        if split.num_chunks > 1:
            sizes = f"{split.num_chunks} chunks of {sizes}"
        identifiers = f"{split.num_puzzle_identifiers:,} puzzle identifiers"
        lines.append(f"\n{split_name}: {sizes}, {identifiers}")
        for set_name, part in split.sets.items():
            lines += _described_set(set_name, part)
    return "\n".join(lines)


def _described_set(name: str, part: "SetSummary") -> list[str]:
    """Format one set of a split, a line for each kind of count."""
    counts = f"{part.examples:,} examples of {part.puzzles:,} puzzles in {part.groups:,} groups"
    lines = [
        f"  set {name}: {counts}, {part.dtype}, {part.bytes:,} bytes",
        f"    input tokens  {_counts(enumerate(part.input_counts))}",
        f"    label tokens  {_counts(enumerate(part.label_counts))}; "
        f"ignored {part.ignored_share:.1%}",
    ]
    if part.rating_counts is not None:
        lines.append(f"    ratings       {_counts(part.rating_counts.items())}")
    if part.prefix_len is not None:
        shortest, longest = part.prefix_len
        lines.append(f"    prefix_len    {shortest} to {longest}")
    if part.images is not None:
        size = " x ".join(map(str, part.images.size))
        low, high = part.images.values
        lines.append(f"    images        {size}, {part.images.dtype}, values {low} to {high}")
    return lines


def _counts(counts: Iterable[tuple[object, int]]) -> str:
    """List the counts that are not zero, each behind its name; of very many the largest."""
    found = [(name, count) for name, count in counts if count]
    num_others = 0
    if len(found) > MANY:
        num_others = len(found) - SHOWN
        found = sorted(found, key=lambda each: each[1], reverse=True)[:SHOWN]
    listed = "  ".join(f"{name}: {count:,}" for name, count in found)
    return f"{listed}  and {num_others:,} others" if num_others else listed
