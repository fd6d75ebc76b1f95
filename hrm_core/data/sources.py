"""Read source files of any task: JSON, hashes and file names."""

import hashlib
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

from hrm_core.errors import DataError
from hrm_core.messages import reason

SHOWN_KEY = 40  # characters in a message


def read_json(data: bytes | str, place: str, expected: str) -> object:
    """Read JSON and refuse an object that has a key twice, of which Python would take the last.

    Raises: DataError beginning with `place`.
    """

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
