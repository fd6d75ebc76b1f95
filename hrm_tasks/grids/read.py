"""Read examples, each a grid and its answer, from CSV, JSON Lines, or a folder of text files.

tasks.csv    input,output[,name][,rating]; the rows of a grid stand below each other inside quotes
tasks.jsonl  an object with these keys a line; a grid is a string with line feeds, or a list of its rows
tasks/       A.input.txt with A.output.txt; files in an inner folder have its name as their puzzle's
"""

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hrm_core.data.sources import decoded, first_repeated, hashed_entry, read_json
from hrm_core.data.store import BLANK_IDENTIFIER
from hrm_core.errors import DataError
from hrm_core.messages import one_line, quoted
from hrm_tasks.grids.text import grid_fault, split_rows

GRIDS = ("input", "output")
FIELDS = (*GRIDS, "name", "rating")
MAX_RATING = 10**9 - 1  # fits int32
MAX_FILE_BYTES = 1 << 30
ENDINGS = tuple(f".{part}.txt" for part in GRIDS)

Record = tuple[str, Mapping[str, Any]]  # place and fields of an example


class Example(NamedTuple):
    """A question and its answer."""

    input: str  # rows separated by line feeds, all of one length
    output: str
    name: str  # of its puzzle; "" if it has none
    rating: int | None
    place: str  # for messages: "tasks.csv:12"


class Source(NamedTuple):
    """Examples of a file or a folder."""

    path: Path
    sha256: str  # of a file; of names and contents for a folder
    examples: list[Example]


def read_source(path: Path) -> Source:
    """Read all examples of a file or folder, in order.

    Raises: DataError naming the file and the line, if it is not of this format, an example is no pair of
        grids, or only some examples are rated.
    """
    try:
        sha256, records = _records(path)
        examples = [_example(place, fields) for place, fields in records]
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    if not examples:
        raise DataError(f"{path} holds no example; expected an input and an output each")
    _check_ratings(examples)
    return Source(path, sha256, examples)


def _records(path: Path) -> tuple[str, Iterator[Record]]:
    """Open a file or folder of examples. Returns: its sha256 and its records."""
    if path.is_dir():
        return _folder_records(path)
    readers = {".csv": _csv_records, ".jsonl": _jsonl_records}
    suffix = path.suffix.lower()
    if not path.is_file() or suffix not in readers:
        found = "another kind of file" if path.exists() else "not there"
        raise DataError(
            f"{path} is {found}; expected a .csv file, a .jsonl file or a folder of grids"
        )
    data = _bytes(path)
    sha256 = hashlib.sha256(data).hexdigest()
    return sha256, readers[suffix](path, decoded(path, data))


def _csv_records(path: Path, text: str) -> Iterator[Record]:
    """Yield the rows of a CSV file as fields, each with the place of its first line."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: Sequence[str] = ()
    last_line = 0
    try:
        for row in reader:
            place = f"{path}:{last_line + 1}"
            last_line = reader.line_num
            if not header:
                header = _header(place, row)
                continue
            if not row:
                continue
            if len(row) != len(header):
                raise DataError(
                    f"{place}: {len(row)} columns in {quoted(','.join(row))}; "
                    f"expected {','.join(header)}"
                )
            yield place, dict(zip(header, row, strict=True))
    except csv.Error as error:
        expected = ",".join(header or GRIDS)
        raise DataError(
            f"{path}:{last_line + 1}: not CSV ({one_line(error)}); "
            f"expected {expected}, grids in quotes"
        ) from error
    if not header:
        raise DataError(
            f"{path}:1: no header; "
            f"expected {','.join(GRIDS)} and, where there are any, name and rating"
        )


def _header(place: str, row: Sequence[str]) -> Sequence[str]:
    """Check the names of the columns. Returns: they."""
    name = first_repeated(sorted(row))
    if name is not None:
        raise DataError(
            f"{place}: column {quoted(name)} stands {row.count(name)} times in the header; "
            "expected it once"
        )
    _check_fields(place, "columns", row)
    return row


def _check_fields(place: str, kind: str, found: Iterable[str]) -> None:
    """Refuse names that are not fields, and missing grids."""
    names = list(found)
    if not set(GRIDS) <= set(names) <= set(FIELDS):
        raise DataError(
            f"{place}: {kind} {quoted(','.join(names))}; "
            "expected input and output and, where there are any, name and rating"
        )


def _jsonl_records(path: Path, text: str) -> Iterator[Record]:
    """Yield the objects of a JSON Lines file as fields; empty lines are skipped."""
    lines = text.split("\n")  # other line ends may stand inside a string
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        fields = _json_object(place, line)
        _check_fields(place, "keys", fields)
        rating = fields.get("rating")
        if rating is not None and type(rating) is not int:
            raise DataError(
                f"{place}: the rating is {quoted(json.dumps(rating))}; "
                f"expected a whole number from 0 to {MAX_RATING}"
            )
        yield place, {**fields, "rating": "" if rating is None else str(rating)}


def _json_object(place: str, line: str) -> dict[str, Any]:
    """Read one line of a JSON Lines file."""
    fields = read_json(line, place, "an object with input and output on each line")
    if not isinstance(fields, dict):
        raise DataError(
            f"{place}: {quoted(line.strip())} is no object; expected one with input and output"
        )
    return fields


def _folder_records(folder: Path) -> tuple[str, Iterator[Record]]:
    """Read the pairs of files of a folder and its inner folders, in the order of their names.

    Returns: the sha256 of them all, and their records.
    """
    digest = hashlib.sha256()
    pairs: dict[Path, dict[str, tuple[Path, str]]] = {}  # part -> its path and its text
    for path in _files(folder):
        data = _bytes(path)
        inside = path.relative_to(folder).as_posix()
        digest.update(hashed_entry(data, inside))
        name, part, _ = path.name.rsplit(".", 2)
        text = decoded(path, data)
        pair = pairs.setdefault(path.parent / name, {})
        pair[part] = path, text
    for pair in pairs.values():
        for part, other in (GRIDS, GRIDS[::-1]):
            if other not in pair:
                path, _ = pair[part]
                raise DataError(f"{path} has no .{other}.txt beside it; expected both")
    records = (_folder_record(folder, pair) for pair in pairs.values())
    return digest.hexdigest(), records


def _folder_record(folder: Path, pair: Mapping[str, tuple[Path, str]]) -> Record:
    """Return the place and the fields of a pair of files."""
    path, question = pair["input"]
    _, answer = pair["output"]
    name = "" if path.parent == folder else path.parent.name
    return str(path), {"name": name, "input": question, "output": answer}


def _files(folder: Path) -> Iterator[Path]:
    """Yield the grids of a folder and its inner folders; hidden files and others than .txt are skipped."""
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        paths = sorted(entry.iterdir()) if entry.is_dir() else [entry]
        for path in paths:
            if path.is_dir():
                raise DataError(
                    f"{path} lies too deep; "
                    f"expected grids in {folder} and in folders of it, one for each puzzle"
                )
            if path.suffix != ".txt" or path.name.startswith("."):
                continue
            if not path.name.endswith(ENDINGS) or not path.is_file():
                raise DataError(
                    f"{path} is no grid; expected files NAME.input.txt and NAME.output.txt"
                )
            yield path


def _bytes(path: Path) -> bytes:
    """Read a file, unless it is too large."""
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise DataError(
            f"{path} has {size:,} bytes; expected at most {MAX_FILE_BYTES:,}, so give a part of it"
        )
    return path.read_bytes()


def _example(place: str, fields: Mapping[str, Any]) -> Example:
    """Check the fields of one example."""
    return Example(
        input=_grid(f"{place}: the input", fields["input"]),
        output=_grid(f"{place}: the output", fields["output"]),
        name=_name(place, fields.get("name", "")),
        rating=_rating(place, fields.get("rating", "")),
        place=place,
    )


def _grid(place: str, value: Any) -> str:
    """Check a grid. Returns: its rows, separated by line feeds."""
    if isinstance(value, str):
        rows = split_rows(value)
    elif isinstance(value, list) and all(isinstance(row, str) for row in value):
        rows = value
    else:
        raise DataError(
            f"{place} is {quoted(json.dumps(value))}; "
            "expected a string with line feeds or a list of strings, a row each"
        )
    fault = grid_fault(rows)
    if fault:
        raise DataError(f"{place} is no grid: {fault}")
    return "\n".join(rows)


def _name(place: str, name: Any) -> str:
    """Check the name of a puzzle; "" if it has none."""
    if name is None or name == "":
        return ""
    if not isinstance(name, str) or not _may_name_a_puzzle(name):
        raise DataError(
            f"{place}: the name is {quoted(json.dumps(name))}; "
            "expected visible characters, without blanks at the ends"
        )
    return name


def _may_name_a_puzzle(name: str) -> bool:
    """Return True if a name is visible, without blanks at its ends, and not that of padding."""
    return name.isprintable() and name == name.strip() and name != BLANK_IDENTIFIER


def _rating(place: str, rating: str) -> int | None:
    """Read a rating; None if there is none."""
    if not rating:
        return None
    is_number = rating.isascii() and rating.isdigit()
    if not is_number or len(rating) > len(str(MAX_RATING)):
        raise DataError(
            f"{place}: the rating is {quoted(rating)}; "
            f"expected a whole number from 0 to {MAX_RATING}"
        )
    return int(rating)


def _check_ratings(examples: Sequence[Example]) -> None:
    """Refuse a source that rates some examples only."""
    unrated = [example for example in examples if example.rating is None]
    if unrated and len(unrated) < len(examples):
        raise DataError(
            f"{unrated[0].place}: no rating, others have one; rate every example or none"
        )
