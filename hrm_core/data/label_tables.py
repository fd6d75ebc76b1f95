"""Tables of labels: CSV files with a line for each picture.

Headers and names of labels are compared without case, blanks and `_`. A label is 1 (present),
0 (absent), or -1 or empty (not known), in a column of its own or by its name in a column of names.

Shapes: N pictures, F labels.
"""

import csv
import hashlib
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hrm_core.data.sources import decoded, file_bytes, first_repeated
from hrm_core.errors import DataError
from hrm_core.messages import first_few, one_line, quoted, shortened

DELIMITERS = ",;\t"
FILE_COLUMNS = ("file", "filename", "image", "imagename", "imageindex", "imagepath", "path", "name")
PATIENT_COLUMNS = ("patient", "patientid", "subject", "subjectid")
SPLIT_COLUMNS = ("split", "set", "fold")
SOURCE_COLUMNS = ("source", "dataset", "origin")
SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
VALUES = {"1": 1, "1.0": 1, "0": 0, "0.0": 0, "-1": -1, "-1.0": -1, "": -1}
BETWEEN = "|"  # names in one field

IntArray = npt.NDArray[np.integer]


def key_of(name: str) -> str:
    """Return a name as it is compared: without case, blanks and `_`."""
    return "".join(name.split()).replace("_", "").casefold()


class Named(NamedTuple):
    """Which labels pictures have."""

    labels: tuple[str, ...]
    targets: IntArray  # (N, F) 1 present, 0 absent, -1 not known
    exclusive: bool = False  # each picture has exactly one


@dataclass(frozen=True)
class Table:
    """The rows of a CSV file, by columns."""

    path: Path
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    lines: Sequence[int]  # line of each row in the file
    sha256: str

    @cached_property
    def columns(self) -> Mapping[str, Sequence[str]]:
        """The values of each column, without blanks around them, by the key of its name."""
        found = {}
        for place, name in enumerate(self.header):
            found[key_of(name)] = [row[place].strip() for row in self.rows]
        return found

    def first(self, names: Iterable[str]) -> Sequence[str] | None:
        """Return the values of the first of these columns that is there."""
        return next((self.columns[name] for name in names if name in self.columns), None)

    def place(self, row: int) -> str:
        """Name a row in a message."""
        return f"{self.path}:{self.lines[row]}"

    def numbers(self, name: str) -> IntArray:
        """Read a column of 1, 0, -1 and empty. Returns: (N,). Raises: DataError naming the line."""
        values = self.columns[key_of(name)]
        for row, value in enumerate(values):
            if value not in VALUES:
                raise DataError(
                    f"{self.place(row)}: {shortened(name)} is {quoted(value)}; "
                    "expected 1 (present), 0 (absent), or -1 or nothing (not known)"
                )
        return np.array([VALUES[value] for value in values])

    def is_numbers(self, name: str) -> bool:
        """Return True if a column holds nothing but 1, 0, -1 and empty, and at least one of them."""
        found = set(self.columns[key_of(name)])
        return found <= VALUES.keys() and found != {""}

    def select(self, rows: Sequence[int]) -> "Table":
        """Return the table with some of its rows."""
        lines = [self.lines[row] for row in rows]
        return Table(self.path, self.header, [self.rows[row] for row in rows], lines, self.sha256)

    @cached_property
    def splits(self) -> list[str] | None:
        """Return train, val or test of each row; None without such a column. Raises: DataError."""
        values = self.first(SPLIT_COLUMNS)
        if values is None:
            return None
        for row, value in enumerate(values):
            if value.casefold() not in SPLITS:
                raise DataError(
                    f"{self.place(row)}: the split is {quoted(value)}; expected train, val or test"
                )
        return [SPLITS[value.casefold()] for value in values]


def read_table(path: Path) -> Table:
    """Read a CSV file with a header, separated by commas, semicolons or tabs.

    Raises: DataError naming the line that is wrong.
    """
    data = file_bytes(path)
    text = decoded(path, data)
    first = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=first.count)
    lines_of_text = StringIO(text, newline="")  # str.splitlines also parts at \x0b, \x85 and \u2028
    reader = csv.reader(lines_of_text, delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        header = [one_line(name) for name in next(reader, [])]
        for row in reader:
            if any(row):
                rows.append(row)
                lines.append(reader.line_num)
    except csv.Error as error:
        raise DataError(
            f"{path}:{reader.line_num} is not CSV ({error}); expected a table"
        ) from error
    _check_shape(path, header, rows, lines)
    return Table(path, header, rows, lines, hashlib.sha256(data).hexdigest())


def _check_shape(
    path: Path, header: Sequence[str], rows: Sequence[Sequence[str]], lines: Sequence[int]
) -> None:
    """Refuse a table without rows, with two equal headers, or with a row of another length."""
    if not header or not rows:
        raise DataError(f"{path} has no rows; expected a header and a line for each picture")
    names = [name for name in header if name.strip()]
    keys = [key_of(name) for name in names]
    repeated = first_repeated(keys)
    if repeated is not None:
        name = names[keys.index(repeated)]
        raise DataError(f"{path}: two columns are called {quoted(name)}; rename one of them")
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(header):
            raise DataError(
                f"{path}:{line} has {len(row)} values; expected {len(header)} as in the header"
            )


def file_names(table: Table) -> list[str]:
    """Return the name of the picture of each row.

    Raises: DataError if there is no such column, or a name is missing or there twice.
    """
    values = table.first(FILE_COLUMNS)
    if values is None:
        raise DataError(
            f"{table.path} has no column of file names; expected one called file or filename, "
            f"found {first_few([quoted(name) for name in table.header])}"
        )
    seen: dict[str, int] = {}
    names = [value.replace("\\", "/").removeprefix("./") for value in values]
    for row, name in enumerate(names):
        if not name:
            raise DataError(f"{table.place(row)} has no file name; write one or take the line out")
        if name in seen:
            raise DataError(
                f"{table.place(row)} names {quoted(name)} again, as line {table.lines[seen[name]]} "
                "does; expected one line for each picture"
            )
        seen[name] = row
    return names


@dataclass(frozen=True)
class NameColumn:
    """A column that holds the names of labels, several joined by `|`."""

    table: Table
    values: Sequence[str]
    none: Sequence[str] = ()  # keys of values that name no label

    @cached_property
    def names(self) -> Sequence[Set[str]]:
        """The keys in each row."""
        parts = [value.split(BETWEEN) for value in self.values]
        return [{key_of(part) for part in row} - {"", *self.none} for row in parts]

    @cached_property
    def spelled(self) -> dict[str, str]:
        """The names that occur, as they are first written, by their keys; numbers in order."""
        found: dict[str, str] = {}
        for value in self.values:
            for part in value.split(BETWEEN):
                found.setdefault(key_of(part), one_line(part))
        keys = sorted(found.keys() - {"", *self.none}, key=_rank)
        return {key: found[key] for key in keys}

    @cached_property
    def known(self) -> set[str]:
        """Keys of all names that occur."""
        return set(self.spelled)

    def targets(self, key: str) -> IntArray:
        """Return which rows have a name: (N,), -1 where the field is empty."""
        is_there = np.array([key in names for names in self.names])
        is_empty = np.array([not value for value in self.values])
        return np.where(is_empty, -1, is_there)


def _rank(key: str) -> tuple[bool, int, str]:
    """Order numbers by their value, then words."""
    is_number = key.isascii() and key.isdigit() and len(key) < 19
    return not is_number, int(key) if is_number else 0, key
