"""Show on stderr that a command is at work: a bar on a terminal, elsewhere a line now and then."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

EVERY = 30.0  # seconds between two lines

Advance = Callable[[float], None]  # receives how much more is done


@contextmanager
def showing(
    doing: str, total: float | None = None, unit: str = "", every: float | None = None
) -> Iterator[Advance]:
    """Show progress while the block runs, in percent of a total or as a count of units.

    Yields: a function that receives what more is done; a bar appears with its first call.
    """
    if sys.stderr.isatty():
        with _bar(doing, total, unit) as advance:
            yield advance
        return
    lines = _Lines(doing, total, unit)
    ended = threading.Event()
    thread = threading.Thread(target=lines.print_until, args=(ended, every or EVERY), daemon=True)
    thread.start()
    try:
        yield lines.advance
    finally:
        ended.set()
        thread.join()


@contextmanager
def _bar(doing: str, total: float | None, unit: str) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import Progress, TextColumn, TimeElapsedColumn

    columns = [*Progress.get_default_columns()]
    if total is None:
        count = TextColumn(f"{{task.completed:,.0f}} {unit}" if unit else "")
        columns = [*columns[:2], count, TimeElapsedColumn()]
    progress = Progress(*columns, console=Console(stderr=True), transient=True)
    task = progress.add_task(doing, total=total)

    def advance(amount: float) -> None:
        progress.start()  # does nothing if it has started
        progress.advance(task, amount)

    try:
        yield advance
    finally:
        progress.stop()


class _Lines:
    """Prints what a command does and how much of it is done."""

    def __init__(self, doing: str, total: float | None, unit: str) -> None:
        self._doing, self._total, self._unit = doing, total, unit
        self._begun = time.monotonic()
        self._done = 0.0

    def advance(self, amount: float) -> None:
        """Count what was done."""
        self._done += amount

    def print_until(self, ended: threading.Event, every: float) -> None:
        """Print a line each time so many seconds have passed, until the end."""
        while not ended.wait(every):
            click.echo(self._line(), err=True)

    def _line(self) -> str:
        parts = [f"still {self._doing}"]
        if self._total:
            parts.append(f"{min(self._done / self._total, 1):.0%}")
        elif self._unit and self._done:
            parts.append(f"{self._done:,.0f} {self._unit}")
        seconds = time.monotonic() - self._begun
        return ", ".join([*parts, f"{seconds:.0f} s so far"])
