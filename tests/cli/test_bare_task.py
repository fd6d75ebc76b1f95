"""A task of a third party that has no capability at all goes through every verb that needs none."""

import json
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hrm_core import plugins
from hrm_core.data.writer import Examples, Layout, write_dataset
from hrm_core.tasks import capabilities
from hrm_core.tasks.contract import Task
from hrm_core.tasks.registry import task_of_shape

Hrm = Callable[..., Any]
Refusal = Callable[..., str]

PACKAGE = "reversing_sequences"
TASK = """
from hrm_core.tasks.cells import CellMeasures


class Reversed(CellMeasures):
    name, settings, vocab_size, seq_len = "reversed", {}, 5, 6

    @classmethod
    def for_shape(cls, vocab_size, seq_len, settings):
        return cls() if (vocab_size, seq_len) == (5, 6) else None


TASK = Reversed
"""
CAPABILITIES = [
    capabilities.Readable,
    capabilities.Judged,
    capabilities.Symmetric,
    capabilities.Drawable,
    capabilities.Captioned,
    capabilities.Tabled,
    capabilities.Rated,
    capabilities.Variable,
    capabilities.Named,
    capabilities.Polled,
    capabilities.Exports,
    capabilities.Spelled,
]


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Install a package that holds nothing but a task."""
    site = tmp_path_factory.mktemp("site")
    (site / PACKAGE).mkdir()
    (site / PACKAGE / "__init__.py").touch()
    (site / PACKAGE / "task.py").write_text(TASK)
    points = [EntryPoint("reversed", PACKAGE, plugins.GROUP)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plugins, "entry_points", lambda group: points)
        patch.syspath_prepend(site)
        _forget_packages()
        yield
    _forget_packages()


def _forget_packages() -> None:
    plugins.task_packages.cache_clear()
    plugins.preset_files.cache_clear()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("data") / "reversed"
    tokens = np.random.default_rng(0).integers(1, 5, (80, 6), np.uint8)
    examples = Examples(tokens, tokens[:, ::-1])
    splits = {split: {"all": [examples]} for split in ("train", "test")}
    write_dataset(directory, Layout(5, 6), splits, {"task": "reversed"})
    return directory


@pytest.fixture(scope="module")
def run(hrm: Hrm, data: Path, tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "reversed"
    words = ("--data", data, "--run", directory, "--device", "cpu", "--max-updates", 4)
    outcome = hrm("train", tiny_config, *words)
    assert outcome.status == 0, outcome.err
    return directory


def test_the_task_is_found_and_has_no_capability() -> None:
    task = task_of_shape(5, 6, "reversed")
    assert isinstance(task, Task)
    assert not [each for each in CAPABILITIES if isinstance(task, each)]


def test_a_task_without_a_builder_is_not_listed(hrm: Hrm) -> None:
    assert "reversed" not in hrm("data", "--help").out


def test_what_needs_no_capability_works(hrm: Hrm, data: Path, run: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is missing: curves are not drawn")
    assert hrm("data", "inspect", data).out.startswith(f"{data}: reversed, sha256 ")
    results = json.loads(hrm("eval", run, "--halt", "q", "--json").out)
    assert results["count"] == 80
    noisy = ("--noise", 0.1, "--rollouts", 2, "--save-predictions", tmp_path / "all.npz")
    assert hrm("eval", run, *noisy).status == 0
    assert hrm("plot", run, "--out", tmp_path / "curves.png").status == 0
    assert hrm("convert", run, tmp_path / "model.safetensors").status == 0
    assert hrm("train", "--run", run, "--resume", "--device", "cpu").status == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("solve {run} 1234", "reversed has no questions that are written as text"),
        ("solve {run} 1234 --gif x.gif", "{run} is of no task that can be drawn"),
        ("eval {run} --votes 2", "reversed has none; leave out --votes"),
        ("eval {run} --sheet x.png", "{data} is of no task that can be drawn"),
        ("eval {run} --submission x.json", "--submission is for ARC, {data}/test is reversed"),
        ("data inspect {data} --sheet x.png", "{data} is of no task that can be drawn"),
    ],
)
def test_what_needs_one_is_refused(
    refusal: Refusal,
    monkeypatch: pytest.MonkeyPatch,
    data: Path,
    run: Path,
    tmp_path: Path,
    words: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    places = {"run": run, "data": data}
    said = refusal(*(word.format(**places) for word in words.split()))
    assert message.format(**places) in said
    assert not list(tmp_path.iterdir())
