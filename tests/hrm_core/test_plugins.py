import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from hrm_core import plugins
from hrm_core.errors import ConfigError

OURS = {"arc", "grids", "maze", "sudoku"}


@pytest.fixture(autouse=True)
def fresh_caches() -> Iterator[None]:
    yield
    plugins.task_packages.cache_clear()
    plugins.preset_files.cache_clear()


def install(monkeypatch: pytest.MonkeyPatch, folder: Path, **tasks: str) -> None:
    """Make packages in a folder known as tasks."""
    points = [EntryPoint(name, package, plugins.GROUP) for name, package in tasks.items()]
    monkeypatch.setattr(plugins, "entry_points", lambda group: points)
    monkeypatch.syspath_prepend(folder)
    for package in tasks.values():
        (folder / package / "presets").mkdir(parents=True, exist_ok=True)
        (folder / package / "__init__.py").write_text(f'"""About {package}.\n\nMore."""\nboom\n')
    plugins.task_packages.cache_clear()
    plugins.preset_files.cache_clear()


def test_our_tasks_are_found_with_help_lines_and_presets() -> None:
    packages = plugins.task_packages()
    assert packages.keys() >= OURS
    assert all(plugins.help_line(packages[name]) for name in OURS)
    assert all(plugins.has_module(packages[name], "build") for name in OURS)
    assert plugins.has_module(packages["arc"], "submission")
    assert not plugins.has_module(packages["maze"], "submission")
    assert {"arc-1", "sudoku-4x4"} <= plugins.preset_files().keys()


def test_finding_tasks_imports_none_of_them() -> None:
    code = (
        "import sys; from hrm_core import plugins; plugins.preset_files();"
        "[plugins.help_line(package) for package in plugins.task_packages().values()];"
        "sys.exit(any(name.startswith(('hrm_tasks', 'numpy')) for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_another_package_brings_a_task_and_a_preset(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install(monkeypatch, tmp_path, latin="latin_squares")
    (tmp_path / "latin_squares" / "presets" / "latin-4x4.yaml").touch()
    assert plugins.task_packages()["latin"] == "latin_squares"
    assert plugins.help_line("latin_squares") == "About latin_squares."
    assert "latin-4x4" in plugins.preset_files()


def test_a_package_that_is_gone_brings_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        plugins, "entry_points", lambda group: [EntryPoint("gone", "no.such.package", group)]
    )
    plugins.task_packages.cache_clear()
    assert plugins.help_line(plugins.task_packages()["gone"]) == ""


@pytest.mark.parametrize("content", [b"def (", b'"""\xe9"""', None])
def test_a_broken_package_has_no_help_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    install(monkeypatch, tmp_path, latin="latin_squares")
    file = tmp_path / "latin_squares" / "__init__.py"
    file.unlink() if content is None else file.write_bytes(content)
    assert plugins.help_line("latin_squares") == ""


def test_a_package_below_one_that_cannot_be_imported_is_not_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install(monkeypatch, tmp_path, latin="broken_parent")
    (tmp_path / "broken_parent" / "below").mkdir()
    (tmp_path / "broken_parent" / "below" / "task.py").touch()
    assert not plugins.has_module("broken_parent.below", "task")


def test_two_tasks_or_presets_of_one_name_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install(monkeypatch, tmp_path, arc="other_arc")
    with pytest.raises(ConfigError, match=r"called arc: hrm_tasks\.arc and other_arc"):
        plugins.task_packages()
    install(monkeypatch, tmp_path, latin="latin_squares")
    (tmp_path / "latin_squares" / "presets" / "arc-1.yaml").touch()
    with pytest.raises(ConfigError, match="a preset called arc-1"):
        plugins.preset_files()
