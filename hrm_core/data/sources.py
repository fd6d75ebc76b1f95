"""Read source files of any task: bytes, text, JSON, hashes and file names."""

import gzip
import hashlib
import json
import lzma
import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any, cast

from hrm_core.errors import DataError
from hrm_core.files import refuse_pointer
from hrm_core.messages import first_few, reason

SHOWN_KEY = 40  # characters in a message
MAX_FILE_BYTES = 1 << 30  # unpacked
MAX_JSON_PARTS = 1 << 21  # lists, objects and texts of a JSON file: each takes some 100 bytes
PACKED = ".gz"
GZIP_START, ZIP_START = b"\x1f\x8b", b"PK\x03\x04"
CSV_SUFFIXES = (".csv", ".tsv")
ZIP = "a ZIP file", "copy or download it again"  # kind and way out of `refusing_damage`
DAMAGED = (  # errors that a bad archive raises
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    OSError,
    EOFError,
    RuntimeError,
    NotImplementedError,
    SyntaxError,
    ValueError,
)


def file_bytes(path: Path) -> bytes:
    """Read a file as a whole; unpack it if its name ends in .gz.

    Raises: DataError if it cannot be read, is damaged or is too large.
    """
    is_packed = path.suffix.lower() == PACKED
    try:
        with gzip.open(path) if is_packed else path.open("rb") as file:
            data: bytes = file.read(MAX_FILE_BYTES + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{path} cannot be unpacked ({reason(error)}); expected a whole .gz file, so copy it again"
        ) from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(data) > MAX_FILE_BYTES:
        raise DataError(f"{path} has more than {MAX_FILE_BYTES:,} bytes; give a part of it")
    return data


@contextmanager
def unpacked(path: Path, expected: str) -> Iterator[BufferedReader]:
    """Open a file to read; one that begins as .gz or .zip is unpacked on the way.

    `expected` describes the file. Raises: DataError if it cannot be read, is damaged, or is a ZIP file
    that holds not just one CSV file.
    """
    try:
        with path.open("rb") as file:
            start = file.peek(len(ZIP_START))
            if start.startswith(GZIP_START):
                with gzip.open(file) as inside:
                    yield cast(BufferedReader, inside)
            elif start.startswith(ZIP_START):
                with (
                    zipfile.ZipFile(file) as archive,
                    archive.open(_only_csv(path, archive)) as member,
                ):
                    yield cast(BufferedReader, member)
            else:
                refuse_pointer(path, start, DataError)
                yield file
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}; expected {expected}") from error
    except (EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, RuntimeError) as error:
        raise DataError(
            f"{path} cannot be unpacked ({reason(error)}); copy or download it again"
        ) from error


def _only_csv(path: Path, archive: zipfile.ZipFile) -> str:
    """Return the name of the one CSV file of an archive. Raises: DataError if there is not one."""
    names = [
        name
        for name in archive.namelist()
        if name.lower().endswith(CSV_SUFFIXES) and not name.startswith("__MACOSX/")
    ]
    if len(names) != 1:
        found = f": {first_few(names)}" if names else ""
        raise DataError(
            f"{path} holds {len(names)} CSV files{found}; expected one, so unpack it and name one"
        )
    return names[0]


@contextmanager
def refusing_damage(path: Path, kind: str, way_out: str) -> Iterator[None]:
    """Turn any error of an archive that cannot be read into a DataError."""
    try:
        yield
    except DAMAGED as error:
        raise DataError(f"{path} cannot be read as {kind} ({reason(error)}); {way_out}") from error


def decoded(path: Path, data: bytes) -> str:
    """Decode the UTF-8 text of a file, without a byte order mark.

    Raises: DataError naming the first byte that is wrong and its place.
    """
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        byte = data[error.start]
        raise DataError(
            f"{path} is not UTF-8: byte 0x{byte:02x} at {error.start:,}; save it as UTF-8"
        ) from error


def read_json(data: bytes | str, place: str, expected: str) -> object:
    """Read JSON and refuse an object that has a key twice, of which Python would take the last.

    Raises: DataError beginning with `place`, also if it would take far more memory than its file.
    """
    num_parts = _count_parts(data)
    if num_parts > MAX_JSON_PARTS:
        raise DataError(
            f"{place} holds {num_parts:,} lists, objects and texts, "
            f"expected at most {MAX_JSON_PARTS:,}; give it in parts"
        )

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            counts = Counter(key for key, _ in pairs)
            ((twice, _),) = counts.most_common(1)
            raise DataError(
                f"{place}: the key {ascii(twice)[:SHOWN_KEY]} stands twice in one object; "
                "take one of them out"
            )
        return found

    try:
        return json.loads(data, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place} is not JSON ({reason(error)}); expected {expected}") from error


def _count_parts(data: bytes | str) -> int:
    """Count what begins a list, an object or a text in JSON; a text has two quotation marks."""
    marks = ("[", "{", '"')
    if isinstance(data, str):
        lists, objects, quotes = map(data.count, marks)
    else:
        lists, objects, quotes = (data.count(mark.encode()) for mark in marks)
    return lists + objects + quotes // 2


def first_repeated(names: Sequence[str]) -> str | None:
    """Return the first name that stands there more than once; None if there is none."""
    counts = Counter(names)
    return next((name for name in names if counts[name] > 1), None)


def file_sha256(path: Path) -> str:
    """Compute the sha256 (hex) of one file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hashed_entry(data: bytes, name: object) -> bytes:
    """Return the line by which a file enters the sha256 of its folder: its hash and its name."""
    sha256 = hashlib.sha256(data).hexdigest()
    return f"{sha256} {name}\n".encode(errors="surrogateescape")


def escaped(name: str) -> str:
    """Escape the name of a file or folder for build.json, UTF-8 or not."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
