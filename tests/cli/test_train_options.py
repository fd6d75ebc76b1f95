"""Shorthands of settings, options of other tools, and the list of presets."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hrm_cli.train_options import ALIASES, SHORTHANDS, as_overrides, meant_option

from hrm_core.config import load_config
from hrm_core.plugins import preset_files

Hrm = Callable[..., Any]
Refusal = Callable[..., str]
TYPED = {"seed": 7, "lr": 2e-5, "epochs": 40, "batch_size": 16}


def test_shorthands_are_recorded_like_the_settings_they_stand_for(
    hrm: Hrm, tiny_data: Path, tmp_path: Path
) -> None:
    words = ["--seed", 7, "--lr", 2e-5, "--epochs", 3000, "--batch-size", 16, "--max-updates", 1]
    run = tmp_path / "run"
    outcome = hrm("train", "sudoku-4x4", "--data", tiny_data, "--run", run, *words)
    assert outcome.status == 0, outcome.err
    found = load_config(str(run / "config.yaml"))
    assert (found.train.seed, found.optim.lr) == (7, 2e-5)
    assert (found.train.epochs, found.train.global_batch_size) == (3000, 16)


def test_every_shorthand_names_a_setting_and_only_given_ones_change_it() -> None:
    changed = load_config("sudoku-4x4", as_overrides(TYPED))
    assert (changed.train.seed, changed.optim.lr) == (7, 2e-5)
    assert (changed.train.epochs, changed.train.global_batch_size) == (40, 16)
    nothing = dict.fromkeys(SHORTHANDS)
    assert as_overrides(nothing) == []


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("--steps", "use --max-updates N"),
        ("--learning-rate", "use --lr RATE"),
        ("--learning_rate", "use --lr RATE"),
        ("--wandb-project", "use --wandb, with the project in WANDB_PROJECT"),
        ("--weight-decay", "use --set optim.weight_decay=VALUE"),
        ("--hidden_size", "use --set model.hidden_size=VALUE"),
        ("--ema", "use --set train.ema=VALUE"),
    ],
)
def test_option_of_another_tool_is_answered_with_ours(
    refusal: Refusal, flag: str, expected: str
) -> None:
    message = refusal("train", "sudoku-4x4", "--run", "r", flag, "1")
    assert message.startswith(f"hrm train has no {flag}; {expected}")


def test_option_that_nobody_knows_is_left_to_click(refusal: Refusal) -> None:
    assert refusal("train", "--run", "r", "--frobnicate") == "No such option '--frobnicate'."
    assert meant_option("--frobnicate") == ""


def test_what_other_options_lead_to_exists(hrm: Hrm) -> None:
    help_text = hrm("train", "--help").out
    flags = {word for meant in ALIASES.values() for word in meant.split() if word[:2] == "--"}
    assert len(flags) > 6
    assert all(f" {flag.rstrip(',')} " in help_text for flag in flags)


def test_every_preset_has_its_line_in_the_help_and_in_the_list(hrm: Hrm) -> None:
    help_text, listed = hrm("train", "--help").out, hrm("presets").out
    records = json.loads(hrm("presets", "--json").out)
    assert [record["name"] for record in records] == list(preset_files())
    for record in records:
        assert f"  {record['name']} " in help_text
        assert f"  {record['name']} " in listed
        assert record["about"]


def test_size_and_cost_of_a_preset_are_those_that_doctor_counts(hrm: Hrm) -> None:
    records = {record["name"]: record for record in json.loads(hrm("presets", "--json").out)}
    found = records["sudoku-6x6"]
    counted = json.loads(hrm("doctor", "--preset", "sudoku-6x6", "--json").out)
    assert found["parameters"] == counted["trainable_parameters"]
    assert found["flops_per_update"] == 96 * counted["flops_per_example"]
    assert (found["seq_len"], found["vocab_size"], found["slots"]) == (36, 8, 96)
    assert records["text-char"]["parameters"] is None


def test_preset_that_does_not_fit_names_those_that_do(refusal: Refusal, tiny_data: Path) -> None:
    message = refusal("train", "sudoku-9x9", "--data", tiny_data, "--run", "r")
    assert message.startswith("model.vocab_size=11 but the data has vocab_size=6; ")
    assert message.endswith("; presets for this data: sudoku-4x4")
