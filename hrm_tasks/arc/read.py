"""Read ARC tasks from JSON files, in folders or zips laid out as ARC-AGI-1, ARC-AGI-2 or ConceptARC.

A file holds one task, a list of training pairs, or all tasks of a challenges file, whose solutions
lie beside it. JSON of another kind is skipped and counted. A task is an evaluation task if its
folder, or one above it in the source, is named `evaluation`, or if its challenges file has the word
in its name. Zips are never unpacked to disk: their entries are read one by one, within limits that
do not trust their headers.
"""

import hashlib
import os
import re
import stat
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

from hrm_core.data.sources import DAMAGED, escaped, file_sha256, hashed_entry, read_json
from hrm_core.data.store import BLANK_IDENTIFIER
from hrm_core.errors import DataError
from hrm_core.messages import one_line
from hrm_tasks.arc.augment import looks_augmented
from hrm_tasks.arc.contents import (
    EXPECTED,
    Pair,
    TaskPairs,
    holds_tasks,
    is_task,
    lists_tasks,
    parse_tasks,
    refuse_stray,
)

EVALUATION = "evaluation"
NO_TEXT = b"\xef\xbb\xbf\xff\xfe\x00 \t\r\n"  # byte order marks and space before JSON
CHALLENGES, SOLUTIONS = "challenges", "solutions"  # in the names of files that belong together
SUFFIX = ".json"
MAX_TASK_BYTES = 1 << 20  # the published ones have at most 30,000
MAX_FILE_BYTES = 1 << 26  # of all tasks of a challenges file, or a list of pairs
MAX_ENTRIES = 100_000  # of a zip
MAX_SOURCE_BYTES = 1 << 30  # of all files of a source together

Files = Mapping[PurePosixPath, Callable[[], bytes]]  # by their path inside a source, in order


@dataclass(frozen=True, eq=False)
class ArcTask:
    """One task as its file defines it."""

    name: str
    folder: str  # where it was found: "ARC-AGI-1.zip/training"
    is_evaluation: bool
    demonstrations: tuple[Pair, ...]
    tests: tuple[Pair, ...]  # none of a list of pairs
    is_only_asked: bool = False  # an evaluation task only because its solutions are not known

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
    sha256: str  # of a zip or a lone file; else of names and contents
    tasks: tuple[ArcTask, ...]
    skipped: tuple[str, ...]  # JSON files that hold no task


@dataclass
class _Reading:
    """Tasks and other files that have been found in a source so far."""

    source: Path
    top: str  # name of the folder that it is, or that it lies in
    tasks: list[ArcTask] = field(default_factory=list)
    strays: list[tuple[PurePosixPath, object]] = field(default_factory=list)  # and their content
    joined: set[PurePosixPath] = field(default_factory=set)  # solutions of challenges files
    num_bytes: int = 0

    def place(self, path: PurePosixPath) -> str:
        """Name a file of the source."""
        return str(self.source) if _is_single(self.source) else f"{self.source}/{path}"

    def add(self, path: PurePosixPath, data: bytes, files: Files) -> None:
        """Add the tasks of one file. Raises: DataError naming it and the place in it."""
        self.num_bytes += len(data)
        if self.num_bytes > MAX_SOURCE_BYTES:
            raise DataError(
                f"{self.source} holds more than {MAX_SOURCE_BYTES:,} bytes of tasks; "
                "give it in parts"
            )
        if path in self.joined:
            return
        place = self.place(path)
        content = read_json(data, place, EXPECTED)
        if is_task(content) and len(data) > MAX_TASK_BYTES:
            raise _too_large(place)
        has_names = holds_tasks(content) or lists_tasks(content)
        solutions = self._solutions(path, files) if has_names else {}
        found = list(parse_tasks(content, place, solutions))
        self.tasks += [self._task(path, pairs) for pairs in found]
        if not found:
            self.strays.append((path, content))

    def _solutions(self, path: PurePosixPath, files: Files) -> Mapping[str, Any]:
        """Read the solutions beside a challenges file; none if there are none."""
        beside = _solutions_of(path)
        if beside is None or beside not in files:
            return {}
        self.joined.add(beside)
        place = str(self.source.with_name(beside.name))
        place = place if _is_single(self.source) else self.place(beside)
        content = read_json(files[beside](), place, "solutions: a list of grids for each task")
        if not isinstance(content, dict):
            raise DataError(f"{place} holds no solutions; expected a list of grids for each task")
        return content

    def _task(self, path: PurePosixPath, found: TaskPairs) -> ArcTask:
        """Make a task of what its file holds. Raises: DataError naming the file."""
        place, name = self.place(path), found.name or path.stem
        if not name.isprintable() or name == BLANK_IDENTIFIER or looks_augmented(name):
            way_out = "rename it" if found.name else "rename the file"
            raise DataError(
                f"{place!a}: {name!a} cannot name a task, identifiers are made of it; {way_out}"
            )
        parts = [self.top, *path.parts[:-1]]
        is_evaluation = bool(found.tests) and EVALUATION in map(str.lower, parts)
        if found.name:
            parts.append(path.name)
            is_evaluation = is_evaluation or EVALUATION in path.stem.lower()
        open_tests = [number for number, pair in enumerate(found.tests, 1) if pair.output is None]
        if open_tests and not is_evaluation and not found.name:
            raise DataError(
                f"{place}: test pair {open_tests[0]} has no output; "
                f"expected one outside a folder named {EVALUATION}"
            )
        return ArcTask(
            name,
            escaped("/".join(parts)),
            is_evaluation or bool(open_tests),
            found.demonstrations,
            found.tests,
            is_only_asked=bool(open_tests) and not is_evaluation,
        )


def read_source(path: Path) -> Source:
    """Read every task of a folder, a zip or a JSON file, in the order of their paths.

    Raises: DataError naming the file, if one is damaged, no task is in it, it is not safe to read
    or not there.
    """
    resolved = path.resolve()
    top = resolved.parent if _is_single(path) else resolved
    reading, total = _Reading(path, top.name), hashlib.sha256()
    try:
        with _opened(path) as files:
            for inside, read in files.items():
                data = read()
                total.update(hashed_entry(data, inside))
                reading.add(inside, data, files)
    except DAMAGED as error:
        raise DataError(
            f"{path} cannot be read: {_reason(error)}; expected a folder or a zip of task JSON"
        ) from error
    if not reading.tasks:
        raise _no_task(reading)
    is_hashed_whole = path.is_file() and not (_is_single(path) and reading.joined)
    sha256 = file_sha256(path) if is_hashed_whole else total.hexdigest()
    skipped = tuple(escaped(f"{top.name}/{stray}") for stray, _ in reading.strays)
    return Source(escaped(resolved.name), sha256, tuple(reading.tasks), skipped)


def solutions_beside(path: Path) -> Path | None:
    """Return the file of solutions beside a challenges file; None if there is none."""
    beside = _solutions_of(PurePosixPath(path.name))
    found = path.with_name(beside.name) if beside else path
    return found if beside and found.is_file() else None


def _no_task(reading: _Reading) -> DataError:
    """Return the error of a source without a task: what is wrong with its first JSON file."""
    for path, content in reading.strays:
        try:
            refuse_stray(content, reading.place(path))
        except DataError as error:
            return error
    return DataError(
        f"{reading.source} holds no task: expected .json files, each with train and test"
    )


def _solutions_of(path: PurePosixPath) -> PurePosixPath | None:
    """Return the name of the solutions of a challenges file; None for another name."""
    before, found, after = path.name.rpartition(CHALLENGES)
    return path.with_name(f"{before}{SOLUTIONS}{after}") if found else None


@contextmanager
def _opened(path: Path) -> Iterator[Files]:
    """Open the JSON files of a source, in the order of their paths."""
    if path.is_dir():
        yield _folder_files(path)
    elif _is_single(path):
        named = [path, solutions_beside(path)]
        yield {PurePosixPath(each.name): partial(_file_bytes, each) for each in named if each}
    elif path.is_file():
        with zipfile.ZipFile(path) as archive:
            yield _zip_files(path, archive)
    else:
        raise DataError(f"{path} is no folder, zip or JSON file of tasks; name one that is there")


def _is_single(path: Path) -> bool:
    """Return True if a source is one file."""
    return path.suffix.lower() == SUFFIX and path.is_file()


def _folder_files(folder: Path) -> Files:
    """Return the JSON files of a folder."""
    files = {}
    for path in sorted(_walk(folder), key=lambda path: PurePosixPath(path).parts):
        inside = PurePosixPath(path.relative_to(folder).as_posix())
        if _is_task_file(inside):
            files[inside] = partial(_file_bytes, path)
    return files


def _walk(folder: Path) -> Iterator[Path]:
    """Yield every file below a folder; links to folders are not followed, so that a circle ends."""

    def fail(error: OSError) -> None:
        raise error

    for parent, _, names in os.walk(folder, onerror=fail):
        yield from (Path(parent) / name for name in names)


def _file_bytes(path: Path) -> bytes:
    if not stat.S_ISREG(path.stat().st_mode):
        raise DataError(f"{path} is no ordinary file; expected task JSON")
    with path.open("rb") as file:
        return _bounded(file, str(path))


def _zip_files(path: Path, archive: zipfile.ZipFile) -> Files:
    """Return the JSON files of a zip."""
    entries = archive.infolist()
    if len(entries) > MAX_ENTRIES:
        raise DataError(
            f"{path} has {len(entries):,} entries, expected at most {MAX_ENTRIES:,}; "
            "give it in parts"
        )
    inside = [(PurePosixPath(_safe_name(path, entry)), entry) for entry in entries]
    counts = Counter(name for name, entry in inside if not entry.is_dir())
    for name, count in counts.most_common(1):
        if count > 1:
            raise DataError(
                f"{path} has two entries {str(name)!a}; "
                "expected one of each name, make the zip again"
            )

    def read(name: PurePosixPath, entry: zipfile.ZipInfo) -> bytes:
        with archive.open(entry) as file:
            return _bounded(file, f"{path}/{name}")

    files = {}
    for name, entry in sorted(inside, key=lambda item: item[0].parts):
        if _is_task_file(name) and not entry.is_dir():
            files[name] = partial(read, name, entry)
    return files


def _safe_name(path: Path, entry: zipfile.ZipInfo) -> str:
    """Return the name of an entry, with slashes. Raises: DataError if it leads out of the zip."""
    name = entry.orig_filename.replace("\\", "/")  # as some programs on Windows separate folders
    parts = name.split("/")
    is_absolute = name.startswith("/") or parts[0].endswith(":")
    if is_absolute or ".." in parts or "\0" in name:
        raise DataError(
            f"{path} has an entry {name[:80]!a} that leads out of it; expected paths inside the zip"
        )
    return name


def _is_task_file(path: PurePosixPath) -> bool:
    """Return True for a JSON file that is neither hidden nor added to a zip by macOS."""
    if path.suffix.lower() != SUFFIX:
        return False
    return not any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def _bounded(file: IO[bytes], place: str) -> bytes:
    """Read a file, unless it is or unpacks to more than any file of tasks has."""
    data = file.read(MAX_TASK_BYTES + 1)
    if len(data) <= MAX_TASK_BYTES:
        return data
    if not data.lstrip(NO_TEXT).startswith((b"{", b"[")):
        raise _too_large(place)
    data += file.read(MAX_FILE_BYTES + 1 - len(data))
    if len(data) > MAX_FILE_BYTES:
        raise DataError(f"{place} is larger than {MAX_FILE_BYTES:,} bytes; give it in parts")
    return data


def _too_large(place: str) -> DataError:
    return DataError(f"{place} is larger than {MAX_TASK_BYTES:,} bytes, no task is; leave it out")


def _reason(error: BaseException) -> str:
    """Return the reason of an error as one short line."""
    text = re.sub(r"<ZipInfo filename=(\S+)[^>]*>", r"\1", str(error))
    return one_line(text)[:120] or type(error).__name__
