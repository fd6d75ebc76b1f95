"""Read sequences of events from a CSV file.

    id,token[,context…]

A row is an event. Rows of one id are a sequence, in the order of the file; rows of several ids may
alternate. Every other column is context of the event, known before it. The file may be packed with
gzip (.csv.gz).
"""

import csv
import hashlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from hrm_core.data.sources import decoded, file_bytes, first_repeated
from hrm_core.errors import DataError
from hrm_core.messages import one_line, quoted

ID, TOKEN = "id", "token"
ENDINGS = (".csv", ".csv.gz")
COLUMNS = f"{ID},{TOKEN} and, where there is any, columns of context"

Row = tuple[int, list[str]]  # line and fields


class Event(NamedTuple):
    """One row of a file."""

    line: int  # the first one of the row
    token: str
    contexts: tuple[str, ...]  # a value of each column of context; "" where it is empty


class Source(NamedTuple):
    """Sequences of one file."""

    path: Path
    sha256: str  # of its unpacked bytes
    columns: tuple[str, ...]  # names of the columns of context
    sequences: dict[str, list[Event]]  # by id, in the order in which they begin


def read_source(path: Path) -> Source:
    """Read all sequences of a file.

    Raises: DataError naming the file and the line if it is not of this format.
    """
    if not path.is_file() or not path.name.lower().endswith(ENDINGS):
        found = "another kind of file" if path.exists() else "not there"
        raise DataError(f"{path} is {found}; expected a .csv or .csv.gz file with {COLUMNS}")
    data = file_bytes(path)
    rows = _rows(path, decoded(path, data))
    header = next(rows, None)
    if header is None:
        raise DataError(f"{path} is empty; expected {COLUMNS}")
    line, names = header
    _check_header(f"{path}:{line}", names)
    sequences = _sequences(path, names, rows)
    if not sequences:
        raise DataError(f"{path} holds no event; expected rows of {','.join(names)}")
    columns = tuple(name for name in names if name not in (ID, TOKEN))
    return Source(path, hashlib.sha256(data).hexdigest(), columns, sequences)


def _rows(path: Path, text: str) -> Iterator[Row]:
    """Yield the rows of a CSV file, each with its first line; empty rows are skipped."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    last_line = 0
    try:
        for row in reader:
            line = last_line + 1
            last_line = reader.line_num
            if row:
                yield line, row
    except csv.Error as error:
        raise DataError(
            f"{path}:{last_line + 1}: not CSV ({one_line(error)}); expected {COLUMNS}"
        ) from error


def _check_header(place: str, names: Sequence[str]) -> None:
    """Refuse a header without id and token, and names that are empty or stand there twice."""
    if not {ID, TOKEN} <= set(names):
        raise DataError(f"{place}: columns {quoted(','.join(names))}; expected {COLUMNS}")
    repeated = first_repeated(names)
    if repeated is not None:
        raise DataError(
            f"{place}: column {quoted(repeated)} stands {names.count(repeated)} times in the "
            "header; expected it once"
        )
    for name in names:
        if not _is_visible(name):
            raise DataError(
                f"{place}: a column is called {quoted(name)}; "
                "expected visible characters, without blanks at the ends"
            )


def _sequences(path: Path, names: Sequence[str], rows: Iterator[Row]) -> dict[str, list[Event]]:
    """Collect the events of each id."""
    id_place, token_place = names.index(ID), names.index(TOKEN)
    context_places = [place for place, name in enumerate(names) if name not in (ID, TOKEN)]
    sequences: dict[str, list[Event]] = {}
    for line, row in rows:
        if len(row) != len(names):
            raise DataError(
                f"{path}:{line}: {len(row)} columns in {quoted(','.join(row))}; "
                f"expected {','.join(names)}"
            )
        _check_values(f"{path}:{line}", names, row)
        contexts = tuple([row[place] for place in context_places])
        event = Event(line, row[token_place], contexts)
        sequences.setdefault(row[id_place], []).append(event)
    return sequences


def _check_values(place: str, names: Sequence[str], row: Sequence[str]) -> None:
    """Refuse values that nobody can see; only context may be empty."""
    for name, value in zip(names, row, strict=True):
        is_empty_context = value == "" and name not in (ID, TOKEN)
        if not _is_visible(value) and not is_empty_context:
            raise DataError(
                f"{place}: the {name} is {quoted(value)}; "
                "expected visible characters, without blanks at the ends"
            )


def _is_visible(value: str) -> bool:
    """Return True for printable characters without blanks at their ends."""
    return value != "" and value.isprintable() and value == value.strip()
