"""Find packages of tasks: the folders of `hrm_tasks`, and the entry points `hrm.tasks` of others.

A package of a task holds `task.py`, which names the class of the task as `TASK`, and, as it needs
them, `build.py` with `Options` and `build`, and `presets/`. The first line of its docstring is its
line of help. All this is read from files, so that nothing is imported before it is needed.

A third party names its package in an entry point:

    [project.entry-points."hrm.tasks"]
    latin = "latin_squares"

docs/own-puzzles.md shows such a package whole.
"""

import ast
import pkgutil
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from hrm_core.errors import ConfigError

OURS = "hrm_tasks"
GROUP = "hrm.tasks"
PRESETS = "presets"


@cache
def task_packages() -> dict[str, str]:
    """Return the package of each installed task by the task's name, ours first.

    Raises: ConfigError if two packages bring a task of one name.
    """
    ours = pkgutil.iter_modules(map(str, package_folders(OURS)))
    packages = {module.name: f"{OURS}.{module.name}" for module in ours if module.ispkg}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        other = packages.setdefault(entry.name, entry.value)
        if other != entry.value:
            raise ConfigError(
                f"two packages bring a task called {entry.name}: {other} and {entry.value}; "
                "uninstall one of them"
            )
    return packages


def has_module(package: str, module: str) -> bool:
    """Return True if a package holds a module of this name, without importing either."""
    return any((folder / f"{module}.py").is_file() for folder in package_folders(package))


def help_line(package: str) -> str:
    """Return the first line of a package's docstring, the help line of its task.

    It is empty if the package has no docstring or its `__init__.py` cannot be read.
    """
    for folder in package_folders(package):
        with suppress(OSError, SyntaxError, ValueError):
            source = (folder / "__init__.py").read_bytes()
            docstring = ast.get_docstring(ast.parse(source)) or ""
            return docstring.partition("\n")[0]
    return ""


@cache
def preset_files() -> dict[str, Path]:
    """Return the file of each preset by the preset's name, in alphabetical order.

    Raises: ConfigError if two packages bring a preset of one name.
    """
    files: dict[str, Path] = {}
    for path in _all_presets(task_packages().values()):
        other = files.setdefault(path.stem, path)
        if other != path:
            raise ConfigError(
                f"two packages bring a preset called {path.stem}: {other} and {path}; "
                "uninstall one of them"
            )
    return dict(sorted(files.items()))


def presets_of_task(task: str) -> list[str]:
    """Return the names of the presets that the package of a task brings."""
    package = task_packages().get(task)
    return [path.stem for path in _all_presets([package])] if package else []


def _all_presets(packages: Iterable[str]) -> Iterable[Path]:
    for package in packages:
        for folder in package_folders(package):
            yield from sorted((folder / PRESETS).glob("*.yaml"))


def package_folders(package: str) -> list[Path]:
    """Return the folders of a package; none if it is not installed."""
    if package.startswith(f"{OURS}."):  # without importing the parent
        name = package.removeprefix(f"{OURS}.")
        return [folder / name for folder in package_folders(OURS)]
    try:
        spec = find_spec(package)
    except Exception:  # a parent is missing, or fails when it is imported
        return []
    if spec is None:
        return []
    return list(map(Path, spec.submodule_search_locations or []))
