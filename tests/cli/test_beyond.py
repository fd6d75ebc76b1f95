"""Models beyond the published network from the command line (SPEC.md, section 13)."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file


@pytest.fixture(scope="module")
def fixed_run(
    tmp_path_factory: pytest.TempPathFactory,
    hrm: Callable[..., tuple[int, str, str]],
    tiny_config: Path,
    tiny_data: Path,
) -> Path:
    """A run whose slots take every step."""
    run = tmp_path_factory.mktemp("runs") / "fixed"
    settings = ["--set", "model.halting=fixed", "--set", "train.max_updates=6"]
    status, _, err = hrm("train", tiny_config, "--data", tiny_data, "--run", run, *settings)
    assert status == 0, err
    return run


def model_of(run: Path) -> Path:
    return max((run / "checkpoints").iterdir()) / "model.safetensors"


def test_fixed_halting_is_trained_logged_and_saved(fixed_run: Path) -> None:
    assert "halting: fixed" in (fixed_run / "config.yaml").read_text()
    records = [json.loads(line) for line in (fixed_run / "log.jsonl").read_text().splitlines()]
    assert {record["kind"] for record in records} == {"train", "eval"}
    assert [name for record in records for name in record if name.startswith("q_")] == []
    weights = load_file(model_of(fixed_run))
    np.testing.assert_array_equal(weights["q_head.weight"], 0)
    np.testing.assert_array_equal(weights["q_head.bias"], -5)


def test_fixed_halting_is_solved_and_measured_with_all_steps(
    fixed_run: Path, hrm: Callable[..., tuple[int, str, str]]
) -> None:
    _, out, _ = hrm("solve", fixed_run, "1... ..2. .3.. ...4", "--json")
    assert len(json.loads(out)["q_halt"]) == 2
    status, out, _ = hrm("eval", fixed_run, "--json")
    assert status == 0
    found = json.loads(out)
    assert found["steps"] == 2
    assert not {"q_halt_accuracy", "calibration"} & found.keys()
    _, out, _ = hrm("eval", fixed_run)
    assert "Halting" not in out


def test_halting_by_q_is_refused_where_it_is_fixed(
    fixed_run: Path, refusal: Callable[..., str], tiny_data: Path
) -> None:
    expected = (
        "is for a model that learned when to halt; this one has model.halting=fixed: "
        "use --halt fixed"
    )
    for halt in ("q", "both"):
        assert refusal("eval", fixed_run, "--halt", halt) == f"--halt {halt} {expected}"
    puzzle = "1... ..2. .3.. ...4"
    assert refusal("solve", fixed_run, puzzle, "--halt", "q") == f"--halt q {expected}"


def test_model_beyond_the_published_network_has_no_published_form(
    fixed_run: Path, refusal: Callable[..., str], tmp_path: Path
) -> None:
    dest = tmp_path / "official"
    message = refusal("convert", fixed_run, dest, "--to", "official")
    assert message.endswith(
        "has model.halting=fixed, which published code does not know; "
        "choose --to safetensors or --to checkpoint"
    )
    assert not dest.exists()


def test_killed_run_with_fixed_halting_goes_on_bit_for_bit(
    fixed_run: Path, hrm: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(fixed_run, run)
    shutil.rmtree(model_of(run).parent)
    assert hrm("train", "--run", run, "--resume")[0] == 0
    found, expected = load_file(model_of(run)), load_file(model_of(fixed_run))
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
