"""Tables on stdout."""

import sys
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

WIDE = 160


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table as wide as it needs; columns move together where a terminal has less room, and nothing is cut."""
    table = Table(box=box.SIMPLE_HEAD)
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = Console(width=None if sys.stdout.isatty() else WIDE, highlight=False)
    console.print(
        title, style="italic", markup=False, soft_wrap=True
    )  # a table's own title breaks where the table ends
    if _width(console, table) > console.width:
        table.padding, table.show_edge = 0, False
    console.width = max(console.width, _width(console, table))
    console.print(table)
    if not table.show_edge:
        console.print()  # the empty line that is its edge


def _width(console: Console, table: Table) -> int:
    return Measurement.get(console, console.options.update(max_width=WIDE), table).maximum
