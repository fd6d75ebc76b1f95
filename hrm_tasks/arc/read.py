"""Read ARC tasks from JSON files, in folders or zips laid out as ARC-AGI-1, ARC-AGI-2 or ConceptARC.

A task whose folder, or one above it in the source, is named `evaluation` is an evaluation task. Zips
are never unpacked to disk: their entries are read one by one, within limits that do not trust their
headers.
"""

import hashlib
import os
import re
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from hrm_core.data.sources import DAMAGED, escaped, file_sha256, hashed_entry, read_json
from hrm_core.data.store import BLANK_IDENTIFIER
from hrm_core.errors import DataError
from hrm_core.messages import one_line
from hrm_core.tasks.contract import TokenArray
from hrm_tasks.arc.augment import AUGMENTED
from hrm_tasks.arc.canvas import checked_grid

EVALUATION = "evaluation"
MAX_PAIRS = 100  # of a task; the published ones have at most 12
MAX_TASK_BYTES = 1 << 20  # the published ones have at most 30,000
MAX_ENTRIES = 100_000  # of a zip
MAX_SOURCE_BYTES = 1 << 29  # of all tasks of a source together


class Pair(NamedTuple):
    """A question and its answer, as grids of colours."""

    input: TokenArray  # (height, width)
    output: TokenArray | None  # (height, width); None if it is not published


@dataclass(frozen=True, eq=False)
class ArcTask:
    """One task as its file defines it."""

    name: str
    folder: str  # where it was found: "ARC-AGI-1.zip/training"
    is_evaluation: bool
    demonstrations: tuple[Pair, ...]
    tests: tuple[Pair, ...]

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """Return all pairs, demonstrations first."""
        return self.demonstrations + self.tests

    @property
    def side(self) -> int:
        """Return the side of the smallest canvas that has room for every grid."""
        grids = [grid for pair in self.pairs for grid in pair if grid is not None]
        sides = [max(grid.shape) for grid in grids]
        return int(max(sides))


@dataclass(frozen=True, eq=False)
class Source:
    """Tasks of a folder, a zip or a single file."""

    name: str
    sha256: str  # of a zip or a file; of names and contents for a folder
    tasks: tuple[ArcTask, ...]


class Entry(NamedTuple):
    """Path and contents of a file of a source."""

    path: PurePosixPath  # inside the source
    data: bytes


def read_source(path: Path) -> Source:
    """Read every task of a folder, a zip or a JSON file, in the order of their paths.

    Raises: DataError naming the file, if it is no task, not safe to read or not there.
    """
    resolved = path.resolve()
    folder = resolved.parent if _is_single(path) else resolved
    total = hashlib.sha256()
    tasks = []
    num_bytes = 0
    try:
        for entry in _entries(path):
            num_bytes += len(entry.data)
            if num_bytes > MAX_SOURCE_BYTES:
                raise DataError(
                    f"{path} holds more than {MAX_SOURCE_BYTES:,} bytes of tasks; give it in parts"
                )
            total.update(hashed_entry(entry.data, entry.path))
            tasks.append(_task(path, folder.name, entry))
    except DAMAGED as error:
        raise DataError(
            f"{path} cannot be read: {_reason(error)}; expected a folder or a zip of task JSON"
        ) from error
    if not tasks:
        raise DataError(f"{path} holds no task: expected .json files, each with train and test")
    sha256 = total.hexdigest() if path.is_dir() else file_sha256(path)
    return Source(escaped(resolved.name), sha256, tuple(tasks))


def parse_task(data: bytes | str, place: str) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """Read the JSON of one task. Returns: its demonstrations and its test pairs, at least one of each.

    Raises: DataError beginning with `place`.
    """
    content = read_json(data, place, "a task with train and test")
    if not isinstance(content, dict):
        raise DataError(f"{place} is no task: expected a JSON object with train and test")
    return _pairs(content, "train", place), _pairs(content, "test", place)


def _pairs(content: dict[str, object], part: str, place: str) -> tuple[Pair, ...]:
    """Read the demonstrations or the test pairs of a task."""
    expected = f"expected 1 to {MAX_PAIRS}, each an input and an output"
    pairs = content.get(part)
    if not isinstance(pairs, list):
        raise DataError(f"{place} has no list of {part} pairs, {expected}")
    if not 0 < len(pairs) <= MAX_PAIRS:
        raise DataError(f"{place} has {len(pairs)} {part} pairs, {expected}")
    return tuple(
        _pair(pair, f"{place}: {part} pair {number}", may_be_open=part == "test")
        for number, pair in enumerate(pairs, start=1)
    )


def _pair(pair: object, place: str, may_be_open: bool) -> Pair:
    """Read one pair; one that may be open needs no output."""
    if not isinstance(pair, dict) or "input" not in pair:
        raise DataError(f"{place} has no input; expected an object with input and output")
    output = pair.get("output")
    if output is None and not may_be_open:
        raise DataError(f"{place} has no output; expected an object with input and output")
    question = checked_grid(pair["input"], f"{place}, input")
    if output is None:
        return Pair(question, None)
    return Pair(question, checked_grid(output, f"{place}, output"))


def _task(source: Path, top: str, entry: Entry) -> ArcTask:
    """Read one file of a source."""
    place = str(source) if _is_single(source) else f"{source}/{entry.path}"
    name = entry.path.stem
    if not name.isprintable() or name == BLANK_IDENTIFIER or AUGMENTED.fullmatch(name):
        raise DataError(
            f"{place!a}: {name!a} cannot name a task, identifiers are made of it; rename the file"
        )
    demonstrations, tests = parse_task(entry.data, place)
    is_evaluation = EVALUATION in (top, *entry.path.parts[:-1])
    for number, pair in enumerate(tests, start=1):
        if pair.output is None and not is_evaluation:
            raise DataError(
                f"{place}: test pair {number} has no output; "
                f"expected one outside a folder named {EVALUATION}"
            )
    folder = escaped("/".join([top, *entry.path.parts[:-1]]))
    return ArcTask(name, folder, is_evaluation, demonstrations, tests)


def _entries(path: Path) -> Iterator[Entry]:
    """Yield the task files of a source in the order of their paths."""
    if path.is_dir():
        yield from _folder_entries(path)
    elif _is_single(path):
        with path.open("rb") as file:
            yield Entry(PurePosixPath(path.name), _bounded(file, str(path)))
    elif path.is_file():
        with zipfile.ZipFile(path) as archive:
            yield from _zip_entries(path, archive)
    else:
        raise DataError(f"{path} is no folder, zip or JSON file of tasks; name one that is there")


def _is_single(path: Path) -> bool:
    """Return True if a source is the file of one task."""
    return path.suffix == ".json" and path.is_file()


def _folder_entries(folder: Path) -> Iterator[Entry]:
    """Yield the task files of a folder."""
    paths = sorted(_walk(folder), key=lambda path: PurePosixPath(path).parts)
    for path in paths:
        inside = PurePosixPath(path.relative_to(folder).as_posix())
        if not _is_task_file(inside):
            continue
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError(f"{path} is no ordinary file; expected task JSON")
        with path.open("rb") as file:
            yield Entry(inside, _bounded(file, str(path)))


def _walk(folder: Path) -> Iterator[Path]:
    """Yield every file below a folder; links to folders are not followed, so that a circle ends."""

    def fail(error: OSError) -> None:
        raise error

    for parent, _, names in os.walk(folder, onerror=fail):
        yield from (Path(parent) / name for name in names)


def _zip_entries(path: Path, archive: zipfile.ZipFile) -> Iterator[Entry]:
    """Yield the task files of a zip."""
    entries = archive.infolist()
    if len(entries) > MAX_ENTRIES:
        raise DataError(
            f"{path} has {len(entries):,} entries, expected at most {MAX_ENTRIES:,}; "
            "give it in parts"
        )
    names = [_safe_name(path, entry) for entry in entries]
    if len(set(names)) < len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise DataError(
            f"{path} has two entries {repeated!a}; expected one of each name, make the zip again"
        )
    inside = zip(map(PurePosixPath, names), entries, strict=True)
    for name, entry in sorted(inside, key=lambda item: item[0].parts):
        if _is_task_file(name) and not entry.is_dir():
            with archive.open(entry) as file:
                yield Entry(name, _bounded(file, f"{path}/{name}"))


def _safe_name(path: Path, entry: zipfile.ZipInfo) -> str:
    """Return the name of an entry. Raises: DataError if it leads out of the zip."""
    name = entry.orig_filename
    parts = name.split("/")
    is_absolute = name.startswith("/") or parts[0].endswith(":")
    if is_absolute or ".." in parts or "\\" in name or "\0" in name:
        raise DataError(
            f"{path} has an entry {name[:80]!a} that leads out of it; expected paths inside the zip"
        )
    return name


def _is_task_file(path: PurePosixPath) -> bool:
    """Return True for a JSON file that is neither hidden nor added to a zip by macOS."""
    if path.suffix != ".json":
        return False
    return not any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def _bounded(file: IO[bytes], place: str) -> bytes:
    """Read a file, unless it is or unpacks to more than any task has."""
    data = file.read(MAX_TASK_BYTES + 1)
    if len(data) > MAX_TASK_BYTES:
        raise DataError(
            f"{place} is larger than {MAX_TASK_BYTES:,} bytes, no task is; leave it out"
        )
    return data


def _reason(error: BaseException) -> str:
    """Return the reason of an error as one short line."""
    text = re.sub(r"<ZipInfo filename=(\S+)[^>]*>", r"\1", str(error))
    return one_line(text)[:120] or type(error).__name__
