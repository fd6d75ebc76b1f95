from pathlib import Path

import pytest

from hrm_core.errors import ConfigError, PuzzleError
from hrm_core.tasks import registry
from hrm_core.tasks.registry import (
    kinds_with,
    name_of_shape,
    published_length,
    require_task,
    task_of_shape,
)


@pytest.mark.parametrize(
    ("shape", "task"),
    [
        ((11, 81), "sudoku"),
        ((6, 16), "sudoku"),
        ((8, 36), "sudoku"),
        ((6, 900), "maze"),
        ((12, 900), "arc"),
        ((12, 81), ""),
        ((256, 900), ""),
    ],
)
def test_tasks_are_known_by_their_shape(shape: tuple[int, int], task: str) -> None:
    assert name_of_shape(*shape) == task


def test_published_models_are_known_by_their_vocabulary() -> None:
    assert published_length(6) == ("maze", 900)
    assert published_length(7) is None


@pytest.mark.parametrize("label", ["chess", "sudoku [1]", 'arc {"canvas": 5', "os.path"])
def test_a_label_that_names_no_task_finds_none(label: str) -> None:
    assert task_of_shape(12, 900, label) is None


def test_the_package_of_a_task_that_is_not_installed_is_asked_for() -> None:
    with pytest.raises(
        PuzzleError, match=r"known tasks: .*; install the package that brings chess"
    ):
        require_task(12, 900, "chess {}", "m.safetensors")
    for label in ("", "arc {}"):
        with pytest.raises(PuzzleError, match=r"known tasks: [a-z, ]+$"):
            require_task(13, 900, label, "m.safetensors")


@pytest.mark.parametrize("package", ["gone", "gone.below", "hrm_core", "hrm_tasks.sudoku:TASK"])
def test_an_entry_point_that_leads_to_no_task_is_refused(
    monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setattr(registry, "task_packages", lambda: {"chess": package})
    with pytest.raises(ConfigError, match=f"chess of the group hrm.tasks names {package}, which"):
        task_of_shape(12, 900, "chess")


@pytest.mark.parametrize("content", ["def (", "1 / 0", "import no_such_module", "X = 1"])
def test_a_task_that_cannot_be_imported_leaves_the_others_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str
) -> None:
    package = f"broken_{len(content)}"
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").touch()
    (tmp_path / package / "task.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    packages = {"arc": "hrm_tasks.arc", "chess": package}
    monkeypatch.setattr(registry, "task_packages", lambda: packages)
    with pytest.warns(UserWarning, match=f"the task chess of {package} is left out: "):
        assert list(kinds_with("submission")) == ["arc"]
