"""`hrm data` finds builders, ours and other people's, and imports only the one that is asked for."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from hrm_core import plugins
from hrm_core.data.store import check, load_split

Hrm = Callable[..., Any]
BUILD = '''
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from hrm_core.data.writer import Examples, Layout, refuse_used, write_dataset
from hrm_core.tasks import building
from hrm_core.tasks.building import Built, Flag, Watch, unwatched


class Options(building.Options):
    side: Annotated[int, Field(ge=2, le=9), Flag("Side of a square.", show_default=True)] = 3


def build(out: Path, options: Options, watch: Watch = unwatched) -> Built:
    """Build Latin squares.

    \\b
    Example:
        hrm data latin data/latin --side 4
    """
    refuse_used(out)
    side = options.side
    watch("the square")
    square = (np.add.outer(np.arange(side), np.arange(side)) % side + 1).reshape(1, -1)
    splits = {"train": {"all": iter([Examples(square, square)])}}
    record = write_dataset(out, Layout(side + 1, side * side), splits, {"task": "latin", "side": side})
    return Built(record, f"1 square of {side}x{side}", ("one square is few",))
'''


@pytest.fixture
def latin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A package of a third party, and one beside it that has no builder."""
    package = tmp_path / "latin_squares"
    package.mkdir()
    (package / "__init__.py").write_text('"""Fill a Latin square."""\n')
    (package / "task.py").write_text("raise ImportError('nobody asked for the task')\n")
    (package / "build.py").write_text(BUILD)
    (tmp_path / "shapeless").mkdir()
    (tmp_path / "shapeless" / "__init__.py").write_text('"""Has no builder."""\n')
    tasks = {"latin": "latin_squares", "shapeless": "shapeless"}
    points = [EntryPoint(name, value, plugins.GROUP) for name, value in tasks.items()]
    monkeypatch.setattr(plugins, "entry_points", lambda group: points)
    monkeypatch.syspath_prepend(tmp_path)
    plugins.task_packages.cache_clear()
    yield package
    plugins.task_packages.cache_clear()
    for name in [name for name in sys.modules if name.startswith("latin_squares")]:
        del sys.modules[name]


@pytest.mark.usefixtures("latin")
def test_a_task_of_others_is_listed_explained_and_built(hrm: Hrm, tmp_path: Path) -> None:
    listed = hrm("data", "--help").out
    assert "latin      Fill a Latin square." in listed
    assert "shapeless" not in listed
    assert (
        "--side INTEGER RANGE  Side of a square.  [default: 3; 2<=x<=9]"
        in hrm("data", "latin", "--help").out
    )
    out = tmp_path / "out"
    with pytest.warns(UserWarning, match="^one square is few$"):
        outcome = hrm("data", "latin", out, "--side", 4)
    assert outcome == (0, f"{out}: 1 square of 4x4\n", "")
    assert json.loads((out / "build.json").read_text())["side"] == 4
    check(load_split(out, "train"))


@pytest.mark.usefixtures("latin")
def test_a_task_of_others_is_refused_as_ours_are(
    refusal: Callable[..., str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert "1 is not in the range 2<=x<=9" in refusal("data", "latin", out, "--side", 1)
    assert "latin_squares is not empty" in refusal("data", "latin", tmp_path / "latin_squares")
    assert refusal("data", "shapeless", out) == "No such command 'shapeless'."
    assert not out.exists()


def test_the_list_of_tasks_imports_none_of_them() -> None:
    program = (
        "import sys; from hrm_cli.main import main; sys.argv = ['hrm', 'data', '--help']; main();"
        "print(*[name for name in sys.modules if name.startswith(('hrm_tasks', 'numpy'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    *listed, loaded = done.stdout.splitlines()
    assert loaded == ""
    for name, package in plugins.task_packages().items():
        if plugins.has_module(package, "build"):
            assert any(line.startswith(f"  {name} ") for line in listed), name


def test_a_task_imports_no_other() -> None:
    program = (
        "import sys; from hrm_cli.main import main; sys.argv = ['hrm', 'data', 'maze', '--help'];"
        "main(); print(*{name.split('.')[1] for name in sys.modules if 'hrm_tasks.' in name})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "maze"
