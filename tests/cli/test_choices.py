"""A model with the choices of TRM, from training to every command that takes it (SPEC.md, section 13.7)."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from hrm_core.config import load_config
from hrm_core.runs.checkpoint import find_model, load_model

Hrm = Callable[..., Any]

CHOICES = {
    "model.q_continue": "false",
    "model.gradient": "cycle",
    "model.share_levels": "true",
    "train.ema": "0.8",
    "train.hints": "0.3",
}
PUZZLE = "1... ..2. .3.. ...4"


@pytest.fixture(scope="module", params=["mlx", "torch"])
def chosen_run(
    request: pytest.FixtureRequest,
    hrm: Hrm,
    tiny_config: Path,
    tiny_data: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    pytest.importorskip(request.param)
    run = tmp_path_factory.mktemp("choices") / "run"
    options = ["--data", tiny_data, "--run", run, "--device", "cpu", "--backend", request.param]
    for name, value in CHOICES.items():
        options += ["--set", f"{name}={value}"]
    outcome = hrm("train", tiny_config, *options)
    assert outcome.status == 0, outcome.err
    return run


def test_choices_are_kept_by_the_run_and_its_checkpoints(chosen_run: Path) -> None:
    config = load_config(str(chosen_run / "config.yaml"))
    model = load_model(find_model(chosen_run))
    for settings in (config.model, model.config):
        assert (settings.q_continue, settings.gradient) == (False, "cycle")
        assert settings.share_levels
    assert (config.train.ema, config.train.hints) == (0.8, 0.3)
    assert not any(name.startswith("H_level") for name in model.weights)


def test_log_has_no_loss_of_q_continue(chosen_run: Path, tiny_run: Path) -> None:
    chosen, plain = (
        json.loads((run / "log.jsonl").read_text().splitlines()[0])
        for run in (chosen_run, tiny_run)
    )
    assert plain.keys() - chosen.keys() == {"q_continue_loss"}
    assert "q_halt_loss" in chosen


def test_killed_run_goes_on_bit_for_bit(chosen_run: Path, hrm: Hrm, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(chosen_run, run)
    shutil.rmtree(sorted((run / "checkpoints").iterdir())[-1])
    backend = load_config(str(run / "config.yaml")).environment
    assert backend is not None
    name = backend["backend"].split()[0]
    outcome = hrm("train", "--run", run, "--resume", "--backend", name, "--device", "cpu")
    assert outcome.status == 0, outcome.err
    found, expected = (
        load_file(sorted((each / "checkpoints").iterdir())[-1] / "model.safetensors")
        for each in (run, chosen_run)
    )
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def test_every_command_takes_the_model(chosen_run: Path, hrm: Hrm, tmp_path: Path) -> None:
    measured = hrm("eval", chosen_run, "--halt", "both", "--json", "--device", "cpu")
    assert measured.status == 0, measured.err
    assert {"fixed", "q"} == json.loads(measured.out)["halt"].keys()
    assert hrm("solve", chosen_run, PUZZLE, "--json", "--device", "cpu").status in (0, 1)
    dest = tmp_path / "model.safetensors"
    assert hrm("convert", chosen_run, dest, "--verify").status == 0
    assert load_model(dest).config == load_model(find_model(chosen_run)).config


def test_model_has_no_published_form(
    chosen_run: Path, refusal: Callable[..., str], tmp_path: Path
) -> None:
    message = refusal("convert", chosen_run, tmp_path / "official", "--to", "official")
    assert message.endswith(
        "has model.q_continue=false, which published code does not know; "
        "choose --to safetensors or --to checkpoint"
    )
