"""Hints: which cells are filled in, and runs that give them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from hrm_core.backend import IGNORE_LABEL_ID, Batch
from hrm_core.draws import Purpose, stream
from hrm_core.training.hints import with_hints
from hrm_tasks.sudoku.task import BLANK, Sudoku

B, S = 6000, 16
TASK = Sudoku(4)


def rows(count: int = B) -> Batch:
    """Boards of which some cells are blank, and a few blank cells without a label."""
    rng = np.random.default_rng(0)
    labels = rng.integers(2, 6, (count, S), dtype=np.int32)
    inputs = np.where(rng.random((count, S)) < 0.5, np.int32(BLANK), labels)
    labels = np.where(rng.random((count, S)) < 0.1, np.int32(IGNORE_LABEL_ID), labels)
    return Batch(inputs, labels, np.zeros(count, np.int32))


def hinted(batch: Batch, prob: float, part: slice = slice(0, B), update: int = 1) -> Batch:
    return with_hints(batch, TASK, stream(0, Purpose.HINTS, update), prob, part, B)


def test_number_is_part_of_recorded_seeds() -> None:
    assert Purpose.HINTS == 6


def test_hints_are_cells_of_the_answer_in_the_share_of_rows_that_is_asked_for() -> None:
    batch = rows()
    found = hinted(batch, 0.3)
    changed = found.inputs != batch.inputs
    assert (batch.inputs[changed] == BLANK).all()
    np.testing.assert_array_equal(found.inputs[changed], batch.labels[changed])
    assert found.labels is batch.labels
    assert found.inputs.dtype == np.int32
    can_have_one = ((batch.inputs == BLANK) & (batch.labels >= 0)).sum(axis=1) > 1
    share = changed.any(axis=1)[can_have_one].mean()
    assert share == pytest.approx(0.3, abs=0.025)  # four standard deviations
    assert not changed[~can_have_one].any()


def test_number_of_hints_is_uniform_from_1_to_all_blanks_but_one() -> None:
    batch = rows()
    number = (hinted(batch, 1.0).inputs != batch.inputs).sum(axis=1)
    blanks = ((batch.inputs == BLANK) & (batch.labels >= 0)).sum(axis=1)
    for count in (2, 5, 8):
        of_count = number[blanks == count]
        found = np.bincount(of_count, minlength=count + 1)
        assert found[0] == found[count:].sum() == 0
        expected = len(of_count) / (count - 1)
        assert np.abs(found[1:count] - expected).max() < 4.5 * expected**0.5


def test_every_blank_cell_is_filled_in_equally_often() -> None:
    batch = rows()
    changed = hinted(batch, 1.0).inputs != batch.inputs
    blank = (batch.inputs == BLANK) & (batch.labels >= 0)
    share = changed.sum(axis=0) / blank.sum(axis=0)
    assert np.abs(share - share.mean()).max() < 0.05


def test_a_replica_gives_its_rows_the_hints_they_have_in_the_whole() -> None:
    batch = rows()
    part = slice(2000, 4000)
    own = Batch(batch.inputs[part], batch.labels[part], batch.puzzle_identifiers[part])
    np.testing.assert_array_equal(
        hinted(own, 0.5, part).inputs, hinted(batch, 0.5).inputs[part], strict=True
    )


def test_each_update_draws_anew() -> None:
    batch = rows()
    first, second = (hinted(batch, 0.5, update=update).inputs for update in (1, 2))
    assert (first != second).any(axis=1).mean() > 0.3


HINTS = ["--set", "train.hints=0.5", "--device", "cpu"]
SIZE = ["--set", "model.seq_len=49"]


def losses(run: Path) -> list[float]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line["lm_loss"] for line in lines]


def test_resumed_run_gives_the_same_hints(
    hrm: Callable[..., Any], tiny_config: Path, tiny_data: Path, tiny_run: Path, tmp_path: Path
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    begin = ["train", tiny_config, "--data", tiny_data, *HINTS]
    outcome = hrm(*begin, "--run", whole)
    assert outcome.status == 0, outcome.err
    assert yaml.safe_load((whole / "config.yaml").read_text())["train"]["hints"] == 0.5
    saves = ["--set", "train.save_every_updates=5"]
    assert hrm(*begin, "--run", parts, *saves).status == 0
    newest = sorted((parts / "checkpoints").iterdir())[-1]
    for file in newest.iterdir():
        file.unlink()
    newest.rmdir()
    outcome = hrm("train", "--run", parts, "--resume", "--device", "cpu")
    assert outcome.status == 0, outcome.err
    assert losses(parts) == losses(whole)
    assert losses(whole) != losses(tiny_run)


def test_hints_change_only_what_is_trained(
    hrm: Callable[..., Any], tiny_config: Path, tiny_data: Path, tmp_path: Path
) -> None:
    """Nothing else draws from their stream: without hints in any row the run is the plain one."""
    runs = []
    for prob in ("0.0", "1e-12"):
        run = tmp_path / prob
        options = ["--run", run, "--device", "cpu", "--set", f"train.hints={prob}"]
        outcome = hrm("train", tiny_config, "--data", tiny_data, *options)
        assert outcome.status == 0, outcome.err
        runs.append(losses(run))
    assert runs[0] == runs[1]


def test_task_without_blank_cells_is_refused(
    hrm: Callable[..., Any], refusal: Callable[..., str], tmp_path: Path
) -> None:
    data = tmp_path / "mazes"
    assert hrm("data", "maze", data, "--generate", 40, "--size", 7, "--test", 4).status == 0
    message = refusal(
        "train", "maze-10x10", "--data", data, "--run", tmp_path / "run", *HINTS, *SIZE
    )
    assert message.startswith("train.hints fills in blank cells, and a question of maze")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("prob", ["-0.1", "1.1", "often"])
def test_wrong_share_is_refused(
    refusal: Callable[..., str], tiny_config: Path, tiny_data: Path, prob: str
) -> None:
    options = ["--data", tiny_data, "--run", "runs/none", "--set", f"train.hints={prob}"]
    message = refusal("train", tiny_config, *options)
    assert message.startswith(f"{tiny_config}: train.hints: found ")
