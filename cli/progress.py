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
def showing(doing: str, total: float | None = None, every: float = EVERY) -> Iterator[Advance]:
    """Show progress while the block runs. Yields: a function that receives what more is done."""
    if sys.stderr.isatty():
        with _bar(doing, total) as advance:
            yield advance
        return
    lines = _Lines(doing, total)
    ended = threading.Event()
    thread = threading.Thread(target=lines.print_until, args=(ended, every), daemon=True)
    thread.start()
    try:
        yield lines.advance
    finally:
        ended.set()
        thread.join()


@contextmanager
def _bar(doing: str, total: float | None) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(doing, total=total)
        yield lambda amount: progress.advance(task, amount)


class _Lines:
    """Prints what a command does and how much of it is done."""

    def __init__(self, doing: str, total: float | None) -> None:
        self._doing, self._total = doing, total
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
        seconds = time.monotonic() - self._begun
        parts = [self._doing]
        if self._total:
            parts.append(f"{min(self._done / self._total, 1):.0%}")
        elif self._done:
            parts.append(f"{self._done:,.0f}")
        return f"{', '.join(parts)} after {seconds:.0f} s"
