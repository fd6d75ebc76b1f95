"""Run every case of the command line and compare what it says with what is recorded.

    python tests/surface/surface.py

writes record.json again: a changed wording, number or exit status is then a change in the diff.
Times, memory, paths and versions are replaced; in cases that train or measure, all numbers are.
Some messages quote click, pydantic, Python or torch: constraints.txt gives the versions recorded.
"""

import contextlib
import fcntl
import json
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cases import KEPT, Case, all_cases
from command import Outcome, run

FOLDER = Path(__file__).parent
RECORD = FOLDER / "record.json"
REPOSITORY = FOLDER.parents[1]
VARYING = (  # what differs from machine to machine, or run to run
    (r"(?m)^still .* so far\n", ""),  # a slow machine has signs of life
    (r"(?<=will differ from those of an uninterrupted run: ).*", "{changes}"),
    (r"(?<=may differ from those of an uninterrupted run: ).*", "{changes}"),
    (r"0x[0-9a-f]{6,}", "{address}"),
    (r"\d[\d.,]* examples/s", "{speed} examples/s"),
    (r"\b\d+(\.\d+)? (s|seconds|ms)\b", "{time}"),
    (r"\b[\d.]+ [MGT]FLOP/s", "{speed}"),
    (r"\d+(h|m)\d\d(m|s)", "{time}"),
    (r"\b[\d.]+ GiB", "{memory} GiB"),
    (r'"(seconds|examples_per_second|memory_gib)": [\d.e-]+', r'"\1": {number}'),
    (r'"device": "[^"]*"', '"device": "{device}"'),
    (re.escape(version("hrm-mlx")), "{version}"),
)


def missing(case: Case) -> str:
    """Name the first package that a case needs and does not find; empty if there is none."""
    return next((name for name in case.packages if find_spec(name) is None), "")


def outcome(case: Case, folder: Path) -> dict[str, Any]:
    """Run a case in an empty folder. Returns: exit status and lines, as in record.json."""
    case.prepare(folder)
    if case.before:
        before = run(_words(case.before), folder)
        assert before.status == 0, before.err
    case.change(folder)
    with _held(folder / case.held if case.held else None), _absent(case.absent):
        found = run(_words(case.command), folder, case.stdin, dict(case.settings))
    return _recorded(found, case, folder)


def _words(command: str) -> list[str]:
    return shlex.split(command.format(kept=KEPT, repo=REPOSITORY))


def _recorded(found: Outcome, case: Case, folder: Path) -> dict[str, Any]:
    out, err = (normalised(text, folder, case.masked) for text in (found.out, found.err))
    return {"command": case.command, "status": found.status, "out": out, "err": err}


def normalised(text: str, folder: Path, masked: bool) -> list[str]:
    """Replace what varies. Returns: lines."""
    names = {KEPT: "{kept}", REPOSITORY: "{repo}", folder.resolve(): "{tmp}", folder: "{tmp}"}
    for path, name in names.items():
        text = text.replace(str(path), name)
    for pattern, replacement in VARYING:
        text = re.sub(pattern, replacement, text)
    if masked:
        text = re.sub(r"-?\b\d[\d.,]*(e[+-]?\d+)?", "#", text)
        text = re.sub(r"([ ─])\1+", r"\1", text)  # columns are as wide as their numbers
    return text.split("\n")


@contextlib.contextmanager
def _held(path: Path | None) -> Iterator[None]:
    """Lock a file, as another process that uses it does."""
    if path is None:
        yield
        return
    lock = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(lock)


@contextlib.contextmanager
def _absent(names: tuple[str, ...]) -> Iterator[None]:
    """Let packages seem not to be installed."""
    loaded = [name for name in sys.modules if name.split(".")[0] in names]
    modules = {name: sys.modules.pop(name) for name in loaded}
    finder = _Refusing(names)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        sys.modules.update(modules)


class _Refusing:
    """An importer that finds nothing of some packages, and nobody after it."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Refuse a package as Python does. Raises: ModuleNotFoundError."""
        if name.split(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name.split(".")[0])


def main() -> None:
    """Write record.json; cases whose packages are missing keep what is recorded."""
    before = json.loads(RECORD.read_text()) if RECORD.is_file() else {}
    found: dict[str, Any] = {}
    for name, case in all_cases().items():
        if package := missing(case):
            print(f"{name}: {package} is missing, the record is kept")
            found |= {name: before[name]} if name in before else {}
            continue
        with tempfile.TemporaryDirectory() as folder:
            found[name] = outcome(case, Path(folder))
    RECORD.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    print(f"{len(found)} cases recorded")


if __name__ == "__main__":
    main()
