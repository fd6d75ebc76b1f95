import contextlib
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

import hrm_mlx  # noqa: F401 - before any test imports mlx: it brings the fast BLAS
from cli.main import main
from hrm_core import process
from hrm_core.tasks.sudoku_build import build_generated

process.wait_without_spinning()  # before any test imports torch

REPOSITORY = Path(__file__).parent.parent
TINY = """\
model:
  puzzle_emb_ndim: 32
  H_layers: 1
  L_layers: 1
  hidden_size: 32
  num_heads: 2
  pos_encodings: learned
  halt_max_steps: 2
  halt_exploration_prob: 0.5
optim:
  lr: 3e-3
  lr_warmup_steps: 5
  lr_min_ratio: 0.1
  weight_decay: 0.1
  puzzle_emb_lr: 1e-2
train:
  global_batch_size: 16
  epochs: 40
  eval_interval: 10
  max_updates: 24
  eval_examples: 10
  report_every: 3
  save_every_updates: 5
  keep_checkpoints: 2
"""


class Outcome(NamedTuple):
    """What a command did."""

    status: int
    out: str
    err: str


def run_command(*arguments: str | Path, stdin: str = "") -> Outcome:
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["hrm", *map(str, arguments)])
        patch.setattr(sys, "stdin", io.StringIO(stdin))
        status = main()
    return Outcome(status, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def hrm() -> Callable[..., Outcome]:
    """Run a command in this process."""
    return run_command


@pytest.fixture(scope="session")
def refusal() -> Callable[..., str]:
    """Run a command that must be refused: exit status 2, nothing on stdout, one line on stderr. Returns: the line."""

    def refused(*arguments: str | Path, stdin: str = "") -> str:
        outcome = run_command(*arguments, stdin=stdin)
        assert (outcome.status, outcome.out) == (2, "")
        assert outcome.err.startswith("hrm: ")
        assert outcome.err.endswith("\n")
        assert len(outcome.err.splitlines()) == 1
        return outcome.err.removeprefix("hrm: ").rstrip()

    return refused


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config file for a model that trains in a second."""
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 puzzles of 4x4, each twice, and 20 to test with."""
    directory = tmp_path_factory.mktemp("data") / "4x4"
    build_generated(directory, 4, 60, 20, givens=(6, 10), augment=1)
    return directory


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, tiny_config: Path, tiny_data: Path) -> Path:
    """A finished run; copy it before changing anything in it."""
    directory = tmp_path_factory.mktemp("runs") / "tiny"
    outcome = run_command("train", tiny_config, "--data", tiny_data, "--run", directory, "--device", "cpu")
    assert outcome.status == 0, outcome.err
    return directory


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Recorded runs of the published code: HRM_GOLDEN, or ../shared/golden beside the repository."""
    return _given_directory("HRM_GOLDEN", REPOSITORY.parent / "shared" / "golden")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Published puzzles: HRM_DATA, or ../shared/data beside the repository."""
    return _given_directory("HRM_DATA", REPOSITORY.parent / "shared" / "data")


def _given_directory(variable: str, default: Path) -> Path:
    directory = Path(os.environ.get(variable, default))
    if not directory.is_dir():
        pytest.skip(f"{directory} is missing; {variable} says where it is")
    return directory
