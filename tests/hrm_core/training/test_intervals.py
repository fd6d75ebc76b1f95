"""A run that --max-updates ends early is evaluated after as many updates as a whole run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hrm_core.config import load_config
from hrm_core.training import session

Hrm = Callable[..., Any]
SMALL = ("--set", "train.eval_examples=2", "--set", "train.report_every=50", "--device", "cpu")


def evaluated(run: Path) -> list[int]:
    """Return the updates after which a run was evaluated."""
    records = map(json.loads, (run / "log.jsonl").read_text().splitlines())
    return [record["update"] for record in records if record["kind"] == "eval"]


@pytest.mark.parametrize(
    ("max_updates", "expected"), [(3, [3]), (6, [6]), (13, [6, 12, 13]), (30, [6, 12, 18, 24, 30])]
)
def test_interval_in_updates_is_that_of_the_whole_run(
    tiny_config: Path, tiny_data: Path, max_updates: int, expected: list[int]
) -> None:
    """24 updates in 40 epochs, evaluated every 10 epochs: every 6 updates."""
    whole = session.assign(load_config(str(tiny_config)), tiny_data)
    assert (whole.total_updates, whole.updates_between_evaluations, whole.num_evaluations) == (
        24,
        6,
        4,
    )
    short = session.ended_after(whole, max_updates)
    assert short.total_updates == max_updates
    every = short.updates_between_evaluations
    due = [update for update in range(1, max_updates) if update % every == 0]
    assert [*due, max_updates] == expected
    assert short.num_evaluations == len(expected)


def test_run_is_evaluated_at_the_kept_interval_and_records_it(
    hrm: Hrm, tiny_config: Path, tiny_data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = ("train", tiny_config, "--data", tiny_data, "--run", run, *SMALL)
    assert hrm(*words, "--max-updates", 8).status == 0
    assert evaluated(run) == [6, 8]
    recorded = load_config(str(run / "config.yaml")).train
    assert (recorded.max_updates, recorded.eval_every_updates) == (8, 6)


def test_run_without_a_recorded_interval_keeps_the_one_it_began_with(
    hrm: Hrm, tiny_config: Path, tiny_data: Path, tmp_path: Path
) -> None:
    """As runs of earlier versions: train.max_updates in their file shortens the interval."""
    run = tmp_path / "run"
    words = ("train", tiny_config, "--data", tiny_data, "--run", run, *SMALL)
    assert hrm(*words, "--set", "train.max_updates=8").status == 0
    assert evaluated(run) == [2, 4, 6, 8]
    assert "eval_every_updates" not in (run / "config.yaml").read_text()


def test_stated_interval_holds_for_a_short_run_too(tiny_config: Path, tiny_data: Path) -> None:
    config = load_config(str(tiny_config), ["train.eval_every_updates=4"])
    whole = session.assign(config, tiny_data)
    assert (whole.updates_between_evaluations, whole.num_evaluations) == (4, 6)
    assert session.ended_after(whole, 9).updates_between_evaluations == 4


def test_plan_counts_the_evaluations(hrm: Hrm, tiny_config: Path, tiny_data: Path) -> None:
    words = ("train", tiny_config, "--data", tiny_data, "--run", "r", "--dry-run", *SMALL)
    assert "\n4 evaluations of 2 examples in 2 ACT steps: at least " in hrm(*words).out
    assert "\n1 evaluation of 2 examples in 2 ACT" in hrm(*words, "--max-updates", 5).out
