"""Reads examples of anybody's task: CSV, JSON Lines, or a folder of text files, each example a grid and its answer.

tasks.csv    input,output[,name][,rating]; the rows of a grid stand below each other inside quotes
tasks.jsonl  an object with these keys a line; a grid is a string with line feeds, or a list of its rows
tasks/       A.input.txt with A.output.txt; those in a folder of the folder share its name as their puzzle
"""

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hrm_core.data.sources import hashed_entry, read_json
from hrm_core.data.store import BLANK_IDENTIFIER
from hrm_core.errors import DataError
from hrm_core.messages import one_line, quoted
from hrm_tasks.grids.text import grid_fault, split_rows

GRIDS = ("input", "output")
FIELDS = (*GRIDS, "name", "rating")
MAX_RATING = 10**9 - 1  # fits int32
MAX_FILE_BYTES = 1 << 30
ENDINGS = tuple(f".{part}.txt" for part in GRIDS)


class Example(NamedTuple):
    """A question and its answer."""

    input: str  # rows parted by line feeds, all of one length
    output: str
    name: str  # of its puzzle; "" if it has none
    rating: int | None
    place: str  # where it was read: "tasks.csv:12"


class Source(NamedTuple):
    """A file or a folder of examples."""

    path: Path
    sha256: str  # of a file; of names and contents for a folder
    examples: list[Example]


def read_source(path: Path) -> Source:
    """Read all examples of a file or folder, in order.

    Raises: DataError naming the file and the line, where it is not of this format, an example is no pair of grids, or only
        some examples are rated.
    """
    readers = {".csv": _csv_records, ".jsonl": _jsonl_records}
    try:
        if path.is_dir():
            sha256, records = _folder_records(path)
        elif path.is_file() and path.suffix.lower() in readers:
            data = _bytes(path)
            sha256 = hashlib.sha256(data).hexdigest()
            records = readers[path.suffix.lower()](path, _text(path, data))
        else:
            found = "another kind of file" if path.exists() else "not there"
            raise DataError(
                f"{path} is {found}; expected a .csv file, a .jsonl file or a folder of grids"
            )
        examples = [_example(place, record) for place, record in records]
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    if not examples:
        raise DataError(f"{path} holds no example; expected an input and an output each")
    _check_ratings(examples)
    return Source(path, sha256, examples)


def _csv_records(path: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The rows of a CSV file by the names in its header, each with the place of its first line."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: Sequence[str] = ()
    last_line = 0
    try:
        for row in reader:
            place, last_line = f"{path}:{last_line + 1}", reader.line_num
            if not header:
                header = _header(place, row)
            elif row and len(row) != len(header):
                raise DataError(
                    f"{place}: {len(row)} columns in {quoted(','.join(row))}; expected {','.join(header)}"
                )
            elif row:
                yield place, dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise DataError(
            f"{path}:{last_line + 1}: not CSV ({one_line(error)}); expected {','.join(header or GRIDS)}, grids in quotes"
        ) from error
    if not header:
        raise DataError(
            f"{path}:1: no header; expected {','.join(GRIDS)} and, where there are any, name and rating"
        )


def _header(place: str, row: Sequence[str]) -> Sequence[str]:
    """The names of the columns."""
    twice = sorted({name for name in row if row.count(name) > 1})
    if twice:
        raise DataError(
            f"{place}: column {quoted(twice[0])} stands {row.count(twice[0])} times in the header; expected it once"
        )
    _check_fields(place, "columns", row)
    return row


def _check_fields(place: str, what: str, found: Iterable[str]) -> None:
    """Refuse names that are not fields, and missing grids."""
    names = list(found)
    if not set(GRIDS) <= set(names) <= set(FIELDS):
        raise DataError(
            f"{place}: {what} {quoted(','.join(names))}; expected input and output and, where there are any, name and rating"
        )


def _jsonl_records(path: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The objects of a JSON Lines file; empty lines are passed over."""
    for number, line in enumerate(
        text.split("\n"), start=1
    ):  # other line ends may stand inside a string
        place = f"{path}:{number}"
        if line.strip():
            record = _json_object(place, line)
            _check_fields(place, "keys", record)
            rating = record.get("rating")
            if rating is not None and type(rating) is not int:
                raise DataError(
                    f"{place}: the rating is {quoted(json.dumps(rating))}; expected a whole number from 0 to {MAX_RATING}"
                )
            yield place, {**record, "rating": "" if rating is None else str(rating)}


def _json_object(place: str, line: str) -> dict[str, Any]:
    record = read_json(line, place, "an object with input and output on each line")
    if not isinstance(record, dict):
        raise DataError(
            f"{place}: {quoted(line.strip())} is no object; expected one with input and output"
        )
    return record


def _folder_records(folder: Path) -> tuple[str, Iterator[tuple[str, Mapping[str, Any]]]]:
    """The pairs of files of a folder and of the folders in it, in the order of their names. Returns: their sha256, and they."""
    digest = hashlib.sha256()
    texts: dict[
        tuple[str, str], dict[str, tuple[str, str]]
    ] = {}  # of a puzzle's name and a file's: place and text of each part
    for path in _files(folder):
        data = _bytes(path)
        inside = path.relative_to(folder).as_posix()
        digest.update(hashed_entry(data, inside))
        puzzle = path.parent.name if path.parent != folder else ""
        stem, part = next(
            (path.name.removesuffix(ending), ending.split(".")[1])
            for ending in ENDINGS
            if path.name.endswith(ending)
        )
        texts.setdefault((puzzle, stem), {})[part] = str(path), _text(path, data)
    for parts in texts.values():
        for part, other in (GRIDS, GRIDS[::-1]):
            if other not in parts:
                raise DataError(f"{parts[part][0]} has no .{other}.txt beside it; expected both")
    records = (
        (parts["input"][0], {"name": puzzle, **{key: parts[key][1] for key in GRIDS}})
        for (puzzle, _), parts in texts.items()
    )
    return digest.hexdigest(), records


def _files(folder: Path) -> Iterator[Path]:
    """The grids of a folder and of the folders in it; what is hidden or no .txt is passed over."""
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        for path in sorted(entry.iterdir()) if entry.is_dir() else [entry]:
            if path.is_dir():
                raise DataError(
                    f"{path} lies too deep; expected grids in {folder} and in folders of it, one for each puzzle"
                )
            if path.suffix == ".txt" and not path.name.startswith("."):
                if not path.name.endswith(ENDINGS) or not path.is_file():
                    raise DataError(
                        f"{path} is no grid; expected files NAME.input.txt and NAME.output.txt"
                    )
                yield path


def _bytes(path: Path) -> bytes:
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise DataError(
            f"{path} has {size:,} bytes; expected at most {MAX_FILE_BYTES:,}, so give a part of it"
        )
    return path.read_bytes()


def _text(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8: byte 0x{data[error.start]:02x} at {error.start:,}; save it as UTF-8"
        ) from error


def _example(place: str, record: Mapping[str, Any]) -> Example:
    """Check the fields of one example."""
    grids = {part: _grid(f"{place}: the {part}", record[part]) for part in GRIDS}
    return Example(
        **grids,
        name=_name(place, record.get("name", "")),
        rating=_rating(place, record.get("rating", "")),
        place=place,
    )


def _grid(place: str, value: Any) -> str:
    """A grid as rows parted by line feeds."""
    if isinstance(value, str):
        rows = split_rows(value)
    elif isinstance(value, list) and all(isinstance(row, str) for row in value):
        rows = value
    else:
        raise DataError(
            f"{place} is {quoted(json.dumps(value))}; expected a string with line feeds or a list of strings, a row each"
        )
    if fault := grid_fault(rows):
        raise DataError(f"{place} is no grid: {fault}")
    return "\n".join(rows)


def _name(place: str, name: Any) -> str:
    """The name of a puzzle; "" for none."""
    if name is None or name == "":
        return ""
    if not isinstance(name, str) or not _may_name_a_puzzle(name):
        raise DataError(
            f"{place}: the name is {quoted(json.dumps(name))}; expected visible characters, without blanks at the ends"
        )
    return name


def _may_name_a_puzzle(name: str) -> bool:
    return name.isprintable() and name == name.strip() and name != BLANK_IDENTIFIER


def _rating(place: str, rating: str) -> int | None:
    """A rating; None if there is none."""
    if not rating:
        return None
    if not (rating.isascii() and rating.isdigit()) or len(rating) > len(str(MAX_RATING)):
        raise DataError(
            f"{place}: the rating is {quoted(rating)}; expected a whole number from 0 to {MAX_RATING}"
        )
    return int(rating)


def _check_ratings(examples: Sequence[Example]) -> None:
    """Refuse a source that rates some examples only."""
    has_rating = [example.rating is not None for example in examples]
    if any(has_rating) and not all(has_rating):
        raise DataError(
            f"{examples[has_rating.index(False)].place}: no rating, others have one; rate every example or none"
        )
