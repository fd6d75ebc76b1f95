"""Presets of a task: what each is for, and which fit a data set."""

from pathlib import Path

from hrm_core.config import DataSizes, load_config
from hrm_core.errors import ConfigError
from hrm_core.messages import one_line
from hrm_core.plugins import preset_files, presets_of_task


def about_presets() -> dict[str, str]:
    """Return what each preset is for, one sentence, by name."""
    return {name: _first_sentence(path) for name, path in preset_files().items()}


def fitting_presets(task: str, sizes: DataSizes) -> list[str]:
    """Return the names of the presets of a task that data of these sizes can train."""
    return [name for name in presets_of_task(task) if fits(name, sizes)]


def fits(name: str, sizes: DataSizes) -> bool:
    """Return True if data of these sizes can train a preset."""
    try:
        load_config(name).model.sized(sizes)
    except ConfigError:
        return False
    return True


def _first_sentence(path: Path) -> str:
    """Return the first sentence of the comment that a preset begins with."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#"))
    sentence, end, _ = one_line(" ".join(lines)).partition(". ")
    return f"{sentence}." if end else sentence
