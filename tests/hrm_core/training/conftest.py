from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

AVERAGED = ["--set", "train.ema=0.8"]


@pytest.fixture
def averaged(tiny_config: Path, tiny_data: Path, tmp_path: Path) -> list[str | Path]:
    """The command that trains a run with an average."""
    options = ["--run", tmp_path / "run", "--device", "cpu", *AVERAGED]
    return ["train", tiny_config, "--data", tiny_data, *options]


@pytest.fixture(scope="module")
def averaged_run(
    hrm: Callable[..., Any],
    tiny_config: Path,
    tiny_data: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A finished run with an average."""
    run = tmp_path_factory.mktemp("averaged") / "run"
    command = ["train", tiny_config, "--data", tiny_data, "--run", run, "--device", "cpu"]
    outcome = hrm(*command, *AVERAGED)
    assert outcome.status == 0, outcome.err
    return run
