"""Shared parts of the tests of several processes: a small run, its comparison with another one, commands in a process.

`tests/hrm_mlx/test_distributed.py` starts processes by mlx.launch, `tests/hrm_torch_ref/test_distributed.py` by torchrun.
"""

import contextlib
import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from hrm_core.backend import Replica
from hrm_core.config import DataSizes, load_config
from hrm_core.data.store import load_split
from hrm_core.data.writer import Examples, Layout, write_dataset
from hrm_core.parameters import initial_values
from hrm_core.runs.checkpoint import MODEL_FILE, STATE_FILE, TRAIN_STATE_FILE, save_model
from hrm_tasks.sudoku.build import Options, build

LAST = "update_00000020"
CONFIG = """\
model:
  puzzle_emb_ndim: 32
  H_layers: 1
  L_layers: 1
  H_cycles: 1
  hidden_size: 32
  num_heads: 2
  halt_max_steps: 4
  halt_exploration_prob: 0.5
optim:
  lr: 1e-3
  lr_warmup_steps: 5
  weight_decay: 0.1
  puzzle_emb_lr: 1e-2
train:
  global_batch_size: 16
  epochs: 40
  eval_interval: 20
  max_updates: 20
  report_every: 1
  save_every_updates: {save_every_updates}
"""
COUNTED = ("update", "examples", "count", "steps", "exact_accuracy", "q_halt_accuracy", "lr")


def prepare(folder: Path, save_every_updates: int) -> None:
    """Write a small 6x6 data set, a config and a model to start from whose Q head decides."""
    options = Options(size=6, generate=60, test=20, givens=(20, 26), augment=1)
    build(folder / "data", options)
    (folder / "config.yaml").write_text(CONFIG.format(save_every_updates=save_every_updates))
    metadata = load_split(folder / "data", "train").metadata
    sizes = DataSizes(metadata.vocab_size, metadata.seq_len, metadata.num_puzzle_identifiers)
    config = load_config(str(folder / "config.yaml")).model.sized(sizes)
    values = initial_values(config, seed=0)
    values["q_head.weight"] = np.random.default_rng(0).standard_normal((2, 32), np.float32)
    values["q_head.bias"] = np.zeros(2, np.float32)
    save_model(folder / "init.safetensors", config, "", values)


def prepare_chunks(folder: Path) -> list[str | Path]:
    """Write a data set whose slots begin on the chunk of their number; 3 does not divide 8.

    Returns: the command that trains on it, without its run and backend.
    """
    rng = np.random.default_rng(2)
    examples = Examples(*rng.integers(1, 7, (2, 40, 3 * 6)), prefix_len=rng.integers(0, 7, 40))
    layout = Layout(vocab_size=7, seq_len=6, num_chunks=3)
    write_dataset(folder / "data", layout, {"train": {"all": [examples]}}, {"task": "lines"})
    (folder / "config.yaml").write_text(CONFIG.format(save_every_updates=10))
    settings = ["--set", "model.attention=prefix", "--set", "model.halting=fixed"]
    return ["train", folder / "config.yaml", "--data", folder / "data", *settings]


def assert_same_chunks(runs: Sequence[Path]) -> None:
    """Hold two runs on the data of `prepare_chunks` against each other."""
    logs = [records(run, "train") for run in runs]
    for name in ("update", "count", "steps", "exact_accuracy"):
        assert [line[name] for line in logs[0]] == [line[name] for line in logs[1]]
    states = [train_state(run) for run in runs]
    for name in ("carry.steps", "carry.inputs", "carry.prefix_len", "carry.halted"):
        np.testing.assert_array_equal(states[0][name], states[1][name], err_msg=name)
    assert len(set(states[0]["carry.steps"].tolist())) == 3
    tensors = [load_file(run / "checkpoints" / LAST / MODEL_FILE) for run in runs]
    for name, array in tensors[0].items():
        np.testing.assert_allclose(tensors[1][name], array, rtol=0, atol=2e-5, err_msg=name)


def records(run: Path, kind: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


def train_state(run: Path, checkpoint: str = LAST) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = load_file(run / "checkpoints" / checkpoint / TRAIN_STATE_FILE)
    return found


def assert_same_run(found: Path, expected: Path, updates: list[int]) -> None:
    """Hold the log and the last checkpoint of one run against another: decisions alike, numbers within rounding."""
    trained = [
        {line["update"]: line for line in records(run, "train")} for run in (found, expected)
    ]
    for update in updates:
        ours, theirs = trained[0][update], trained[1][update]
        assert {name: ours[name] for name in COUNTED} == {name: theirs[name] for name in COUNTED}
        assert ours["accuracy"] == pytest.approx(theirs["accuracy"], rel=1e-6), update
        for name in ("lm_loss", "q_halt_loss", "q_continue_loss"):
            near = pytest.approx(theirs[name], rel=1e-5, abs=1e-6)  # abs: of a loss near zero
            assert ours[name] == near, (update, name)
    tensors = [load_file(run / "checkpoints" / LAST / MODEL_FILE) for run in (found, expected)]
    for name, array in tensors[1].items():
        np.testing.assert_allclose(tensors[0][name], array, rtol=0, atol=2e-5, err_msg=name)
    states = [train_state(run) for run in (found, expected)]
    assert states[0].keys() == states[1].keys()
    for name, array in states[1].items():
        assert (states[0][name].shape, states[0][name].dtype) == (array.shape, array.dtype), name
        if array.dtype.kind in "ib":
            np.testing.assert_array_equal(states[0][name], array, err_msg=name)
        elif name.startswith("carry."):
            np.testing.assert_allclose(states[0][name], array, rtol=0, atol=1e-4, err_msg=name)


def assert_same_measures(found: Path, expected: Path) -> None:
    """20 puzzles in batches of 16: the second process has none of the last four."""
    ours, theirs = records(found, "eval"), records(expected, "eval")
    assert [line["update"] for line in ours] == [line["update"] for line in theirs]
    assert {line["count"] for line in ours} == {20}
    for one, other in zip(ours, theirs, strict=True):
        for name in other.keys() - {"seconds", "lm_loss"}:
            assert one[name] == other[name], name
        assert one["lm_loss"] == pytest.approx(other["lm_loss"], rel=1e-5)


def assert_slots_halt_at_different_steps(run: Path) -> None:
    """Or the same halting decisions would say nothing."""
    lines = records(run, "train")
    assert len({line["count"] for line in lines}) > 3
    assert len({line["steps"] for line in lines if line["count"]}) > 3
    assert 0 < train_state(run)["carry.halted"].sum() < 16


def assert_all_slots_are_saved(together: Path, alone: Path, checkpoint: str) -> None:
    """A checkpoint of two processes has the slots of both, in order."""
    found, expected = (train_state(run, checkpoint) for run in (together, alone))
    for name in ("halted", "steps", "inputs", "labels", "puzzle_identifiers"):
        array = expected[f"carry.{name}"]
        assert len(array) == 16
        np.testing.assert_array_equal(found[f"carry.{name}"], array, err_msg=name)
    states = [
        json.loads((run / "checkpoints" / checkpoint / STATE_FILE).read_text())
        for run in (together, alone)
    ]
    assert states[0]["order"] == states[1]["order"]
    assert [state["environment"]["replicas"] for state in states] == ["2", "1"]


def outcome(outcomes: Path, name: str, rank: int) -> dict[str, Any]:
    """Result that `run_command` noted in one process."""
    found: dict[str, Any] = json.loads((outcomes / f"{name}_{rank}.json").read_text())
    return found


def run_command(command: dict[str, Any], folder: Path, update: ModuleType) -> None:
    """Run one command in this process and note status, stdout, stderr and the paths it wrote to.

    `update` is the module of the backend in which the functions named in "without" do nothing.
    """
    from hrm_cli.main import main

    out, err, written = io.StringIO(), io.StringIO(), set()
    words = command["arguments"]
    (place,) = (words.index(name) for name in ("--run", "--run-directory") if name in words)

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(arguments[1], str) and set("wax+") & {*arguments[1]}
        if (event == "os.mkdir" or writes) and str(arguments[0]).startswith(words[place + 1]):
            written.add(os.fspath(arguments[0]))

    sys.addaudithook(watch)
    functions = {name: getattr(update, name) for name in command["without"]}
    for name in functions:
        setattr(update, name, lambda tensors, replica: tensors)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        sys.argv = ["hrm", *words]
        status = main()
    for name, function in functions.items():
        setattr(update, name, function)
    found = {
        "status": status,
        "out": out.getvalue(),
        "err": err.getvalue(),
        "written": sorted(written),
    }
    rank = Replica.of_environment().rank
    (folder / f"{command['name']}_{rank}.json").write_text(json.dumps(found))
