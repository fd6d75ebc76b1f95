import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # tests are no packages here

from made import CONFIG, Drawn, task_of, write_pictures

from hrm_core.tasks.pictures import PictureTask


class Trained(NamedTuple):
    """A trained model, its data and its task."""

    run: Path
    data: Path
    task: PictureTask
    drawn: dict[str, Drawn]


@pytest.fixture(scope="session")
def trained(hrm: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A model of two findings that has learned them."""
    folder = tmp_path_factory.mktemp("xray")
    config = folder / "tiny.yaml"
    config.write_text(CONFIG)
    task = task_of()
    made = write_pictures(folder / "data", task, copies=2)
    command = ["train", config, "--data", folder / "data", "--run", folder / "run"]
    outcome = hrm(*command, "--device", "cpu")
    assert outcome.status == 0, outcome.err
    return Trained(folder / "run", folder / "data", task, made)
