"""Print tables on stdout."""

import sys
from collections.abc import Sequence
from typing import Literal

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

WIDE = 160


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table as wide as it needs; nothing is cut.

    On a terminal with less room its columns move together.
    """
    table = Table(box=box.SIMPLE_HEAD)
    for i, column in enumerate(columns):
        side: Literal["left", "right"] = "right" if i else "left"
        table.add_column(column, justify=side, no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = Console(width=None if sys.stdout.isatty() else WIDE, highlight=False)
    # not the table's own title, which breaks where the table ends
    console.print(title, style="italic", markup=False, soft_wrap=True)
    if _width(console, table) > console.width:
        table.padding, table.show_edge = 0, False
    console.width = max(console.width, _width(console, table))
    console.print(table)
    if not table.show_edge:
        console.print()  # the empty line of its edge


def _width(console: Console, table: Table) -> int:
    """Return the number of columns that a table needs."""
    options = console.options.update(max_width=WIDE)
    return Measurement.get(console, options, table).maximum
