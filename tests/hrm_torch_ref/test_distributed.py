"""Two processes that train one model, against one process with the same global batch."""

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from two_processes import (
    LAST,
    assert_all_slots_are_saved,
    assert_same_chunks,
    assert_same_measures,
    assert_same_run,
    assert_slots_halt_at_different_steps,
    outcome,
    prepare,
    prepare_chunks,
    records,
)

from hrm_core.backend import Replica
from hrm_core.runs.checkpoint import MODEL_FILE, TRAIN_STATE_FILE

torch = pytest.importorskip("torch", reason="torch is missing: the PyTorch reference is not tested")

from hrm_torch_ref import distributed  # noqa: E402 - needs torch

pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="this torch has no distributed package"
)

REPOSITORY = Path(__file__).parents[2]
REPLICAS = Path(__file__).with_name("replicas.py")
MIDDLE = "update_00000010"
AVERAGED = ["--set", "train.ema=0.9"]
OPTIONS = ["--backend", "torch", "--device", "cpu"]


def torchrun(*arguments: str | Path) -> list[str]:
    return [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        *map(str, arguments),
    ]


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(
        torchrun(*arguments),
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait. Returns: exit status, stdout and stderr."""
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small 6x6 data set, a config and a model to start from whose Q head decides."""
    folder = tmp_path_factory.mktemp("distributed")
    prepare(folder, save_every_updates=10)
    return folder


def train(folder: Path, run: str, *more: str | Path) -> list[str | Path]:
    start = [
        "train",
        folder / "config.yaml",
        "--data",
        folder / "data",
        "--init",
        folder / "init.safetensors",
    ]
    return [*start, "--run-directory", folder / run, *OPTIONS, *more]


def resume(folder: Path, run: str, begun: Path) -> list[str | Path]:
    """Continue a copy of a run after its update 10."""
    copy = Path(shutil.copytree(begun, folder / run))
    shutil.rmtree(copy / "checkpoints" / LAST)
    return ["train", "--run-directory", copy, "--resume", *OPTIONS]


@pytest.fixture(scope="module")
def alone(folder: Path, hrm: Callable[..., Any]) -> Path:
    """The run of one process."""
    outcome = hrm(*train(folder, "alone"))
    assert outcome.status == 0, outcome.err
    return folder / "alone"


@pytest.fixture(scope="module")
def together(folder: Path) -> tuple[Path, int, str, str]:
    """The run of two processes, as a user starts it, and its exit status, stdout and stderr."""
    process = start("-m", "hrm_cli", *train(folder, "together"))
    return folder / "together", *finish(process)


@pytest.fixture(scope="module")
def outcomes(folder: Path, alone: Path) -> Path:
    """What two processes found in functions and further commands: see replicas.py."""
    commands = {
        "resumed": resume(folder, "resumed_by_two", alone),
        "control": resume(folder, "control", alone),
        "averaged": train(folder, "averaged", *AVERAGED),
        "odd": train(folder, "odd", "--set", "train.global_batch_size=15"),
        "mlx": [*train(folder, "mlx")[:-4], "--device", "cpu"],
    }
    arguments = [
        {
            "name": name,
            "arguments": [str(a) for a in command],
            "without": ["summed"] if name == "control" else [],
        }
        for name, command in commands.items()
    ]
    found = folder / "found"
    found.mkdir()
    status, _, err = finish(start(REPLICAS, json.dumps(arguments), found))
    assert status == 0, err
    return found


def test_two_processes_follow_one(together: tuple[Path, int, str, str], alone: Path) -> None:
    run, status, _, err = together
    assert status == 0, err
    assert_same_run(run, alone, list(range(1, 21)))


def test_two_processes_measure_what_one_measures(
    together: tuple[Path, int, str, str], alone: Path
) -> None:
    assert_same_measures(together[0], alone)


def test_two_processes_with_chunks_and_prefixes_follow_one(
    tmp_path: Path, hrm: Callable[..., Any]
) -> None:
    given = [*prepare_chunks(tmp_path), *OPTIONS]
    runs = tmp_path / "alone", tmp_path / "together"
    assert hrm(*given, "--run-directory", runs[0]).status == 0
    status, _, err = finish(start("-m", "hrm_cli", *given, "--run-directory", runs[1]))
    assert status == 0, err
    assert_same_chunks(runs)


def test_slots_halt_at_different_steps(alone: Path) -> None:
    assert_slots_halt_at_different_steps(alone)


def test_checkpoint_of_two_processes_holds_all_slots(
    together: tuple[Path, int, str, str], alone: Path
) -> None:
    assert_all_slots_are_saved(together[0], alone, MIDDLE)


def test_swapped_halves_of_a_carry_would_be_noticed(
    together: tuple[Path, int, str, str], alone: Path
) -> None:
    found, expected = (
        load_file(run / "checkpoints" / LAST / TRAIN_STATE_FILE) for run in (together[0], alone)
    )
    assert not np.array_equal(np.roll(found["carry.inputs"], 8, axis=0), expected["carry.inputs"])
    assert not np.array_equal(np.roll(found["carry.steps"], 8), expected["carry.steps"])


def test_one_of_two_processes_speaks(together: tuple[Path, int, str, str]) -> None:
    run, _, out, err = together
    assert out == f"{run}\n"
    assert [line["update"] for line in records(run, "train")] == list(range(1, 21))
    assert sum(line.startswith("update 7/20") for line in err.splitlines()) == 1


def test_one_of_two_processes_writes(outcomes: Path, folder: Path) -> None:
    first, second = (outcome(outcomes, "resumed", rank) for rank in (0, 1))
    assert first["status"] == second["status"] == 0
    assert any("log.jsonl" in path for path in first["written"])
    assert any(LAST in path for path in first["written"])
    assert second["written"] == []
    assert (second["out"], second["err"]) == ("", "")


def test_run_begun_by_one_is_resumed_by_two(outcomes: Path, folder: Path, alone: Path) -> None:
    err = outcome(outcomes, "resumed", 0)["err"]
    assert err.startswith("warning: results may differ from those of an uninterrupted run: ")
    assert "replicas was 1, is 2" in err.splitlines()[0]
    assert_same_run(folder / "resumed_by_two", alone, list(range(1, 21)))


def test_run_begun_by_two_is_resumed_by_one(
    hrm: Callable[..., Any], together: tuple[Path, int, str, str], folder: Path, alone: Path
) -> None:
    outcome = hrm(*resume(folder, "resumed_by_one", together[0]))
    assert outcome.status == 0
    assert "replicas was 2, is 1" in outcome.err.splitlines()[0]
    assert_same_run(folder / "resumed_by_one", alone, list(range(1, 21)))


def test_two_processes_average_the_weights_of_one(
    outcomes: Path, folder: Path, hrm: Callable[..., Any]
) -> None:
    found = [outcome(outcomes, "averaged", rank) for rank in (0, 1)]
    assert [each["status"] for each in found] == [0, 0], found[0]["err"]
    assert hrm(*train(folder, "averaged_alone", *AVERAGED)).status == 0
    averaged, expected = folder / "averaged", folder / "averaged_alone"
    assert_same_run(averaged, expected, list(range(1, 21)))
    model = load_file(averaged / "checkpoints" / LAST / MODEL_FILE)
    state, other = (
        load_file(run / "checkpoints" / LAST / TRAIN_STATE_FILE) for run in (averaged, expected)
    )
    raw = [name for name in state if name.startswith("raw.")]
    assert raw
    for name in raw:
        np.testing.assert_allclose(state[name], other[name], rtol=0, atol=2e-5, err_msg=name)
        assert np.abs(state[name] - model[name.removeprefix("raw.")]).max() > 1e-4, name


def test_gradients_that_are_not_summed_would_be_noticed(
    outcomes: Path, folder: Path, alone: Path
) -> None:
    """The control: the same ten updates, each process with its own gradients."""
    assert outcome(outcomes, "control", 0)["status"] == 0
    losses = [
        {line["update"]: line["lm_loss"] for line in records(run, "train")}
        for run in (folder / "control", alone)
    ]
    assert abs(losses[0][20] / losses[1][20] - 1) > 1e-3
    with pytest.raises(AssertionError):
        assert_same_run(folder / "control", alone, [11, 12])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("odd", "global_batch_size=15 cannot be split over 2 replicas; use a multiple of 2"),
        (
            "mlx",
            "torchrun starts PyTorch: use --backend torch, "
            "or start MLX with mlx.launch -n 2 -- hrm train",
        ),
    ],
)
def test_what_two_processes_cannot_do_is_refused(
    outcomes: Path, folder: Path, name: str, message: str
) -> None:
    for rank in (0, 1):
        found = outcome(outcomes, name, rank)
        assert (found["status"], found["out"], found["err"]) == (2, "", f"hrm: {message}\n")
    assert not (folder / name).exists()


def test_ctrl_c_under_torchrun_saves(hrm: Callable[..., Any], folder: Path, alone: Path) -> None:
    """And the run that is resumed by one ends as the one that was not interrupted."""
    run = folder / "interrupted"
    process = start(
        "-m", "hrm_cli", *train(folder, "interrupted", "--set", "train.save_every_updates=1000")
    )
    deadline = time.monotonic() + 60
    while (
        time.monotonic() < deadline and process.poll() is None and not (run / "log.jsonl").exists()
    ):
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    status, _, err = finish(process)
    assert status != 0
    again = f"torchrun --nproc-per-node 2 -m hrm_cli train --run-directory {run} --resume --backend torch --device cpu"
    assert (
        err.splitlines().count(f"interrupted; everything is saved. Continue with: {again}") == 1
    ), err
    (checkpoint,) = (run / "checkpoints").iterdir()
    assert checkpoint.name < LAST
    assert hrm("train", "--run", run, "--resume", *OPTIONS).status == 0
    assert_same_run(run, alone, list(range(1, 21)))


# argv: rank, port. The second process is killed; the first one prints its error.
KILLED = """
import os, signal, sys
import torch
from hrm_core.errors import RunError
from hrm_torch_ref import distributed
rank, port = sys.argv[1:]
os.environ |= {"RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
replica = distributed.join(torch.device("cpu"))
tensors = {"x": torch.ones(3)}
assert distributed.summed(tensors, replica)["x"].tolist() == [2.0] * 3
if rank == "1":
    os.kill(os.getpid(), signal.SIGKILL)
try:
    while True:
        distributed.summed(tensors, replica)
except RunError as error:
    print(error)
"""


def test_killed_process_is_one_line_of_the_others() -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    command = [sys.executable, "-c", KILLED]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    killed = subprocess.Popen([*command, "1", port])
    survivor: Any = subprocess.Popen([*command, "0", port], **streams)  # type: ignore[call-overload]
    out, err = survivor.communicate(timeout=120)
    assert killed.wait() == -signal.SIGKILL
    assert (survivor.returncode, err) == (0, "")
    assert out.startswith("another process of this run has ended (connection ")
    assert out.endswith("continue with --resume\n")


def test_other_failure_of_a_transfer_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> None:
        raise RuntimeError("invalid tensor size at index 0")

    monkeypatch.setattr(torch.distributed, "all_reduce", fail)
    with pytest.raises(RuntimeError, match="invalid tensor size"):
        distributed.summed({"x": torch.ones(3)}, Replica(0, 2))


@pytest.fixture(scope="module")
def replicas() -> ModuleType:
    """The module that the two processes ran."""
    spec = importlib.util.spec_from_file_location("replicas", REPLICAS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def functions(outcomes: Path) -> list[dict[str, np.ndarray]]:
    return [dict(np.load(outcomes / f"functions_{rank}.npz")) for rank in (0, 1)]


def test_processes_know_which_they_are(functions: list[dict[str, np.ndarray]]) -> None:
    assert [found["replica"].tolist() for found in functions] == [[0, 2], [1, 2]]
    assert [found["values"].tolist() for found in functions] == [["rank 0", "rank 1"]] * 2


def test_tensors_are_summed_each_in_its_place(
    functions: list[dict[str, np.ndarray]], replicas: ModuleType
) -> None:
    total = replicas.given("float32", 0) + replicas.given("float32", 1)
    for found in functions:
        for i, name in enumerate("ab"):
            np.testing.assert_array_equal(found[f"summed_{name}"], total[i])
        assert (found["summed_c"].shape, found["summed_c"].item()) == ((), 3.0)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "int32", "bool"])
def test_rows_are_gathered_in_the_order_of_ranks(
    functions: list[dict[str, np.ndarray]], replicas: ModuleType, dtype: str
) -> None:
    expected = np.concatenate([replicas.given(dtype, rank).transpose(0, 2, 1) for rank in (0, 1)])
    for found in functions:
        np.testing.assert_array_equal(
            found[f"gathered_{dtype}"],
            expected.astype(np.float32) if dtype == "bfloat16" else expected,
        )
        assert found[f"gathered_{dtype}"].shape == (4, 2, 3)


def test_puzzle_rows_move_by_the_gradients_of_all_processes(
    functions: list[dict[str, np.ndarray]], replicas: ModuleType
) -> None:
    """Summed first over equal ids of both, so that both have the same table; those that cancel only decay."""
    ids, gradients = (
        np.concatenate(parts)
        for parts in zip(*(replicas.puzzles(rank) for rank in (0, 1)), strict=True)
    )
    lr, expected = replicas.RATES.puzzle_emb_lr, replicas.table().astype(np.float64)
    for row in np.unique(ids):
        total = gradients[ids == row].astype(np.float64).sum(axis=0)
        expected[row] = expected[row] * (1 - lr * 0.1) - lr * np.sign(total)
    for found in functions:
        np.testing.assert_allclose(found["table"], expected, rtol=0, atol=1e-6)
        untouched = np.setdiff1d(np.arange(len(expected)), ids)
        np.testing.assert_array_equal(found["table"][untouched], replicas.table()[untouched])
    np.testing.assert_array_equal(functions[0]["table"], functions[1]["table"])
    np.testing.assert_allclose(
        functions[0]["table"][7], replicas.table()[7] * (1 - lr * 0.1), rtol=1e-6
    )


def test_puzzle_rows_that_each_process_moves_alone_would_be_noticed(
    functions: list[dict[str, np.ndarray]],
) -> None:
    assert np.abs(functions[0]["table_alone"] - functions[0]["table"]).max() > 1e-3
    assert np.abs(functions[0]["table_alone"] - functions[1]["table_alone"]).max() > 1e-3
