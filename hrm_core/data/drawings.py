"""Cut a text into the puzzles that it holds.

A puzzle is one line, or is drawn with a line for each row and an empty line after it.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

BYTE_ORDER_MARK = "\ufeff"


class Line(NamedTuple):
    """A line of a text."""

    number: int  # from 1
    text: str


class Drawing(NamedTuple):
    """The lines of one puzzle: one for all its cells, or one for each row."""

    name: str  # "puzzle 2 (line 5)"
    lines: list[Line]


def split_at_feeds(text: str) -> list[str]:
    """Split a text at "\\n" and "\\r\\n"; the other separators of `str.splitlines` stay inside."""
    return text.replace("\r\n", "\n").split("\n")


def number_lines(text: str, split: Callable[[str], list[str]] = str.splitlines) -> Iterator[Line]:
    """Number the lines of a text; a byte order mark is left out."""
    lines = split(text.removeprefix(BYTE_ORDER_MARK))
    return (Line(number, line) for number, line in enumerate(lines, start=1))


def paragraphs(lines: Iterable[Line], is_row: Callable[[str, int], bool]) -> Iterator[list[Line]]:
    """Group adjacent lines that are rows; every other line separates two groups.

    `is_row` receives the text of a line and the number of rows in the paragraph so far.
    """
    rows: list[Line] = []
    for line in lines:
        if is_row(line.text, len(rows)):
            rows.append(line)
        elif rows:
            yield rows
            rows = []
    if rows:
        yield rows


def cut_puzzles(
    kind: str, found: Iterable[list[Line]], are_puzzles: Callable[[list[Line]], bool]
) -> Iterator[Drawing]:
    """Make a drawing of each paragraph, or of each line if its lines are whole puzzles.

    `kind` is the word for a puzzle in messages.
    """
    number = 0
    for paragraph in found:
        drawn = [[line] for line in paragraph] if are_puzzles(paragraph) else [paragraph]
        for lines in drawn:
            number += 1
            yield Drawing(f"{kind} {number} (line {lines[0].number})", lines)
