"""A case of the command line, and the list of all cases.

A command is written as in a shell. Each case runs in an empty folder of its own: `copies` are
brought to it, `files` are written, the command `before` is run and `edits` are made, in this order.
{kept} is tests/kept, {repo} the repository.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KEPT = Path(__file__).parents[1] / "kept"
COMPUTING = ("train", "eval", "solve")
NAMED_ARC = {  # a run that knows its puzzles by name
    "old/checkpoints/update_00000001": "arc",
    "old/config.yaml": "run/config.yaml",
    "old/identifiers.json": "data/arc/identifiers.json",
}


@dataclass(frozen=True)
class Case:
    """One command and its surroundings."""

    command: str
    stdin: str = ""
    copies: Mapping[str, str] = field(default_factory=dict)  # where to, path below {kept}
    files: Mapping[str, Any] = field(default_factory=dict)  # text, bytes, or what becomes JSON
    before: str = ""  # a command that prepares
    edits: Mapping[str, Callable[[Path], None]] = field(default_factory=dict)
    held: str = ""  # a file that another process seems to have locked
    settings: Mapping[str, str] = field(default_factory=dict)  # environment variables
    absent: tuple[str, ...] = ()  # packages that seem not to be installed
    masked: bool = False  # numbers are left out: they depend on the machine
    needs: tuple[str, ...] = ()  # packages

    @property
    def packages(self) -> tuple[str, ...]:
        """Packages without which the case is skipped."""
        mlx = ("mlx",) if self.command.startswith(COMPUTING) else ()
        return (*mlx, *self.needs)

    def prepare(self, folder: Path) -> None:
        """Bring what the command needs into its folder."""
        for name, source in self.copies.items():
            _copy(KEPT / source, folder / name)
        for name, content in self.files.items():
            _write(folder / name, content)

    def change(self, folder: Path) -> None:
        """Damage what is there."""
        for name, edit in self.edits.items():
            edit(folder / name)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy(source, target)


def _write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, str):
        path.write_text(content)
    else:
        path.write_text(json.dumps(content))


def json_with(**changes: Any) -> Callable[[Path], None]:
    """Return an edit that sets keys of a JSON object; None removes one."""

    def edit(path: Path) -> None:
        found = {**json.loads(path.read_text()), **changes}
        whole = {key: value for key, value in found.items() if value is not None}
        path.write_text(json.dumps(whole))

    return edit


def replaced(old: str, new: str) -> Callable[[Path], None]:
    """Return an edit that replaces text."""
    return lambda path: _write(path, path.read_text().replace(old, new))


def text(content: str) -> Callable[[Path], None]:
    """Return an edit that writes another text."""
    return lambda path: _write(path, content)


def bytes_of(content: bytes) -> Callable[[Path], None]:
    """Return an edit that writes other bytes."""
    return lambda path: _write(path, content)


def header_with(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """Return an edit of a safetensors header; the data stay."""

    def edit(path: Path) -> None:
        content = path.read_bytes()
        end = 8 + int.from_bytes(content[:8], "little")
        header = json.dumps(change(json.loads(content[8:end]))).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header + content[end:])

    return edit


def copy_of(source: str) -> Callable[[Path], None]:
    """Return an edit that puts a file or folder below {kept} there."""

    def edit(path: Path) -> None:
        if path.exists():
            removed(path)
        _copy(KEPT / source, path)

    return edit


def elsewhere(path: Path) -> None:
    """Let a run's config name a data set that is not there."""
    lines = path.read_text().splitlines(keepends=True)
    named = ["  path: gone\n" if line.startswith("  path:") else line for line in lines]
    path.write_text("".join(named))


def removed(path: Path) -> None:
    """Remove a file or a folder."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def shortened(path: Path) -> None:
    """Cut the last byte off."""
    path.write_bytes(path.read_bytes()[:-1])


def flipped(path: Path) -> None:
    """Change the last byte."""
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def all_cases() -> dict[str, Case]:
    """Every case by name."""
    import cases_arc
    import cases_building
    import cases_convert
    import cases_data
    import cases_eval
    import cases_grids
    import cases_help
    import cases_solve
    import cases_training

    building = (cases_building, cases_arc, cases_grids, cases_data)
    groups = (cases_help, *building, cases_training, cases_eval, cases_solve, cases_convert)
    found: dict[str, Case] = {}
    for group in groups:
        twice = found.keys() & group.CASES.keys()
        assert not twice, twice
        found |= group.CASES
    return found
