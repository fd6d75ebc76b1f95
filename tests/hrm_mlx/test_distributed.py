"""Two processes of mlx.launch that train one model, against one process with the same global batch."""

import importlib.util
import json
import os
import re
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

import mlx.core as mx
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
    train_state,
)

from hrm_core.backend import Replica
from hrm_core.errors import RunError
from hrm_core.runs.checkpoint import MODEL_FILE, STATE_FILE
from hrm_mlx import distributed

REPOSITORY = Path(__file__).parents[2]
REPLICAS = Path(__file__).with_name("replicas.py")
MIDDLE = "update_00000016"
OPTIONS = ["--backend", "mlx", "--device", "cpu"]
LAUNCH = (
    "import sys; from mlx._distributed_utils.launch import main; sys.exit(main())"  # mlx.launch
)
HRM = (sys.executable, "-m", "hrm_cli")
# a warning of mlx.launch comes in pieces, and lines of the processes come between them
WARNING = r"\x1b\[33m\[WARN\]|\x1b\[0m|Node with rank \d was killed|Node with rank \d exited with code -?\d+"


def free_ports() -> str:
    """The first of two free ports that follow each other."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return str(port)


def start(*command: str | Path) -> subprocess.Popen[str]:
    """Start two processes of a command, in a process group that has Ctrl-C of its own."""
    launch = [sys.executable, "-c", LAUNCH, "-n", "2", "--starting-port", free_ports(), "--"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(
        [*launch, *map(str, command)],
        cwd=REPOSITORY,
        env=environment,
        stdin=subprocess.PIPE,  # mlx.launch would read an empty file over and over
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[str, list[str]]:
    """Wait. Returns: stdout, and the lines of stderr that are not those of MLX."""
    try:
        out, err = process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    return out, own_lines(err)


def own_lines(err: str) -> list[str]:
    """Lines of stderr that are not those of MLX and of its launcher."""
    lines = [line.strip() for line in re.sub(WARNING, "", err).splitlines()]
    return [line for line in lines if line and not line.startswith("[ring]")]


def processes_of(launcher: subprocess.Popen[str]) -> list[int]:
    """The ids of its two processes, in no order of ranks."""
    command = ["ps", "-A", "-o", "pid=,ppid="]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listed.splitlines()]
    found = [int(pid) for pid, parent in rows if int(parent) == launcher.pid]
    assert len(found) == 2, listed
    return found


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None and not path.exists():
        time.sleep(0.002)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small 6x6 data set, a config and a model to start from whose Q head decides."""
    folder = tmp_path_factory.mktemp("distributed")
    prepare(folder, save_every_updates=8)
    return folder


def train(folder: Path, run: str, *more: str | Path) -> list[str | Path]:
    data = ["--data", folder / "data", "--init", folder / "init.safetensors"]
    return ["train", folder / "config.yaml", *data, "--run", folder / run, *OPTIONS, *more]


def resume(folder: Path, run: str, begun: Path) -> list[str | Path]:
    """Continue a copy of a run after its update 16."""
    copy = Path(shutil.copytree(begun, folder / run))
    shutil.rmtree(copy / "checkpoints" / LAST)
    return ["train", "--run", copy, "--resume", *OPTIONS]


@pytest.fixture(scope="module")
def alone(folder: Path, hrm: Callable[..., Any]) -> Path:
    """The run of one process."""
    outcome = hrm(*train(folder, "alone"))
    assert outcome.status == 0, outcome.err
    return folder / "alone"


@pytest.fixture(scope="module")
def together(folder: Path) -> tuple[Path, str, list[str]]:
    """The run of two processes, as a user starts it, its stdout and the lines of stderr."""
    process = start(*HRM, *train(folder, "together"))
    return folder / "together", *finish(process)


@pytest.fixture(scope="module")
def outcomes(folder: Path, alone: Path) -> Path:
    """What two processes found in functions and further commands: see replicas.py."""
    commands = {
        "resumed": resume(folder, "resumed_by_two", alone),
        "control": resume(folder, "control", alone),
        "compiled": resume(folder, "compiled", alone),
        "threads": resume(folder, "threads", alone),
        "odd": train(folder, "odd", "--set", "train.global_batch_size=15"),
        "torch": [*train(folder, "torch")[:-4], "--backend", "torch", "--device", "cpu"],
    }
    commands["compiled"] += ["--compile", "on"]
    arguments = [
        {
            "name": name,
            "arguments": [str(argument) for argument in command],
            "without": ["summed"] if name == "control" else [],
            "workers": 2 if name == "threads" else None,
        }
        for name, command in commands.items()
    ]
    found = folder / "found"
    found.mkdir()
    _, err = finish(start(sys.executable, REPLICAS, json.dumps(arguments), found))
    assert err == []
    return found


def test_two_processes_follow_one(together: tuple[Path, str, list[str]], alone: Path) -> None:
    assert_same_run(together[0], alone, list(range(1, 21)))


def test_two_processes_measure_what_one_measures(
    together: tuple[Path, str, list[str]], alone: Path
) -> None:
    assert_same_measures(together[0], alone)


def test_slots_halt_at_different_steps(alone: Path) -> None:
    assert_slots_halt_at_different_steps(alone)


def test_checkpoint_of_two_processes_holds_all_slots(
    together: tuple[Path, str, list[str]], alone: Path
) -> None:
    assert_all_slots_are_saved(together[0], alone, MIDDLE)
    inputs = train_state(alone, MIDDLE)["carry.inputs"]
    swapped = np.roll(inputs, 8, axis=0)
    assert not np.array_equal(swapped, inputs)


def test_one_of_two_processes_speaks(together: tuple[Path, str, list[str]]) -> None:
    run, out, err = together
    assert out == f"{run}\n"
    assert sum(line.startswith("update 7/20") for line in err) == 1
    assert [line.split()[0] for line in err] == ["update"] * 10 + ["evaluation"] + [
        "update"
    ] * 10 + ["evaluation"]


def test_one_of_two_processes_writes(outcomes: Path) -> None:
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
    hrm: Callable[..., Any], together: tuple[Path, str, list[str]], folder: Path, alone: Path
) -> None:
    outcome = hrm(*resume(folder, "resumed_by_one", together[0]))
    assert outcome.status == 0
    assert "replicas was 2, is 1" in outcome.err.splitlines()[0]
    assert_same_run(folder / "resumed_by_one", alone, list(range(1, 21)))


@pytest.mark.parametrize(
    ("name", "word"), [("compiled", "compiled was False, is True"), ("threads", "threads")]
)
def test_transfers_work_in_a_compiled_graph_and_beside_threads(
    outcomes: Path, folder: Path, alone: Path, name: str, word: str
) -> None:
    for rank in (0, 1):
        assert outcome(outcomes, name, rank)["status"] == 0, outcome(outcomes, name, 0)["err"]
    assert_same_run(folder / name, alone, list(range(1, 21)))
    state = json.loads((folder / name / "checkpoints" / LAST / STATE_FILE).read_text())
    about = state["environment"]
    assert (about["compiled"], about["threads"][0]) == {
        "compiled": ("True", "1"),
        "threads": ("False", "2"),
    }[name]


def test_gradients_that_are_not_summed_would_be_noticed(
    outcomes: Path, folder: Path, alone: Path
) -> None:
    """The control: the same four updates, each process with its own gradients."""
    assert outcome(outcomes, "control", 0)["status"] == 0
    with pytest.raises(AssertionError):
        assert_same_run(folder / "control", alone, [17, 18])
    weights = [
        load_file(run / "checkpoints" / LAST / MODEL_FILE)["lm_head.weight"]
        for run in (folder / "control", alone)
    ]
    assert np.abs(weights[0] - weights[1]).max() > 1e-4  # rounding: 2e-5


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("odd", "global_batch_size=15 cannot be split over 2 replicas; use a multiple of 2"),
        (
            "torch",
            "mlx.launch starts MLX: use --backend mlx, "
            "or start PyTorch with torchrun --nproc-per-node 2 -m hrm_cli train",
        ),
    ],
)
def test_what_two_processes_cannot_do_is_refused(
    outcomes: Path, folder: Path, name: str, message: str
) -> None:
    if name == "torch":
        pytest.importorskip("torch", reason="torch is missing: the PyTorch reference is not tested")
    for rank in (0, 1):
        found = outcome(outcomes, name, rank)
        assert (found["status"], found["out"], found["err"]) == (2, "", f"hrm: {message}\n")
    assert not (folder / name).exists()


def test_two_processes_with_chunks_and_prefixes_follow_one(
    tmp_path: Path, hrm: Callable[..., Any]
) -> None:
    given = [*prepare_chunks(tmp_path), *OPTIONS]
    runs = tmp_path / "alone", tmp_path / "together"
    assert hrm(*given, "--run", runs[0]).status == 0
    out, err = finish(start(*HRM, *given, "--run", runs[1]))
    assert out == f"{runs[1]}\n", err
    assert_same_chunks(runs)


@pytest.mark.parametrize("name", ["Ctrl-C", "SIGTERM"])
def test_signal_to_the_launcher_saves(
    hrm: Callable[..., Any], folder: Path, alone: Path, name: str
) -> None:
    """And the run that is resumed by one ends as the one that was not interrupted.

    A terminal sends Ctrl-C to all processes. mlx.launch ends at SIGTERM, and leaves its processes.
    """
    run = folder / name
    process = start(*HRM, *train(folder, name, "--set", "train.save_every_updates=1000"))
    wait_for(run / "log.jsonl", process)
    pids = processes_of(process)
    if name == "Ctrl-C":
        os.killpg(process.pid, signal.SIGINT)
        finish(process)
    else:
        # the other process waits for this one, and meanwhile looks for its launcher every second
        os.kill(pids[0], signal.SIGSTOP)
        process.send_signal(signal.SIGTERM)
        finish(process)
        time.sleep(1.5)
        os.kill(pids[0], signal.SIGCONT)
    for pid in pids:
        wait_for_end(pid)
    (checkpoint,) = (run / "checkpoints").iterdir()
    assert checkpoint.name < LAST
    assert hrm("train", "--run", run, "--resume", *OPTIONS).status == 0
    assert_same_run(run, alone, list(range(1, 21)))


def wait_for_end(pid: int) -> None:
    """Wait for a process that is not a child of this one."""
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    raise AssertionError(f"process {pid} lives")


def test_killed_process_ends_the_run_with_one_line_and_it_resumes(
    hrm: Callable[..., Any], folder: Path, alone: Path
) -> None:
    run = folder / "killed"
    process = start(*HRM, *train(folder, "killed", "--set", "train.save_every_updates=3"))
    wait_for(run / "checkpoints" / "update_00000003" / MODEL_FILE, process)
    os.kill(processes_of(process)[1], signal.SIGKILL)
    out, err = finish(process)
    assert out == ""
    (line,) = [line for line in err if not line.startswith(("update", "evaluation"))]
    assert re.fullmatch(
        r"hrm: another process of this run has ended \(connection .*\); "
        "its own message says why, unless it was killed; continue with --resume",
        line,
    )
    assert hrm("train", "--run", run, "--resume", *OPTIONS).status == 0
    assert_same_run(run, alone, list(range(1, 21)))


# argv: rank, hostfile, what comes after the first sum. The second process is killed, or leaves.
PAIR = """
import os, signal, sys, time
from hrm_core.errors import RunError
from hrm_mlx import distributed
import mlx.core as mx
rank, hostfile, then = sys.argv[1:]
os.environ |= {"MLX_RANK": rank, "MLX_HOSTFILE": hostfile}
mx.set_default_device(mx.cpu)
distributed.PATIENCE = 1.0
replica = distributed.join()
total = distributed.summed({"x": mx.ones(3)}, replica)["x"]
assert total.tolist() == [2.0] * 3
if rank == "1":
    if then != "leave":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.exit()
if then == "sum":
    try:
        while True:
            with distributed.needing_all():
                mx.eval(distributed.summed({"x": mx.ones(3)}, replica))
    except RunError as error:
        sys.exit(f"hrm: {error}")
if then == "wait":  # as some transports wait for a process that is gone
    with distributed.needing_all():
        time.sleep(60)
time.sleep(3)  # as the first process writes a checkpoint when the others have ended
print("done")
"""


@pytest.mark.parametrize(
    ("then", "status", "cause"),
    [("sum", (1, 2), "connection .*"), ("wait", (2,), "connection closed"), ("leave", (0,), "")],
)
def test_process_that_is_gone_is_noticed_only_when_it_is_needed(
    tmp_path: Path, then: str, status: tuple[int, ...], cause: str
) -> None:
    port = int(free_ports())
    hostfile = tmp_path / "hosts"
    hostfile.write_text(json.dumps([[f"127.0.0.1:{port}"], [f"127.0.0.1:{port + 1}"]]))
    command = [sys.executable, "-c", PAIR]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    second = subprocess.Popen([*command, "1", str(hostfile), then])
    first: Any = subprocess.Popen([*command, "0", str(hostfile), then], **streams)  # type: ignore[call-overload]
    out, err = first.communicate(timeout=200)
    assert second.wait() == (0 if then == "leave" else -signal.SIGKILL)
    assert first.returncode in status
    lines = own_lines(err)
    if then == "leave":
        assert (out, lines) == ("done\n", [])
        return
    (line,) = lines
    message = rf"hrm: another process of this run has ended \({cause}\); .* continue with --resume"
    assert re.fullmatch(message, line)
    assert out == ""


def test_processes_that_cannot_meet_are_told_so(
    tmp_path: Path, folder: Path, refusal: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        hostfile = tmp_path / "hosts"
        hostfile.write_text(json.dumps([[address], ["127.0.0.1:1"]]))
        monkeypatch.setenv("MLX_RANK", "0")
        monkeypatch.setenv("MLX_HOSTFILE", str(hostfile))
        message = refusal(*train(folder, "not_begun"))
    start, end = "the processes of this run cannot meet over ring (", "; start them with mlx.launch"
    assert message.startswith(start)
    assert end in message
    assert not (folder / "not_begun").exists()


def test_other_failure_of_a_transfer_keeps_its_traceback() -> None:
    with pytest.raises(RuntimeError, match="shapes") as raised, distributed.needing_all():
        raise RuntimeError("shapes do not match")
    assert not isinstance(raised.value, RunError)


@pytest.fixture(scope="module")
def replicas() -> ModuleType:
    """The module that the two processes ran."""
    spec = importlib.util.spec_from_file_location("mlx_replicas", REPLICAS)
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
    for found in functions:
        assert json.loads(found["values"].item()) == [["", {"rank": 0}], ["x", {"rank": 1}]]


def test_tensors_are_summed_each_in_its_place(
    functions: list[dict[str, np.ndarray]], replicas: ModuleType
) -> None:
    total = replicas.given("float32", 0) + replicas.given("float32", 1)
    for found in functions:
        for i, name in enumerate("ab"):
            np.testing.assert_array_equal(found[f"summed_{name}"], total[i])
        np.testing.assert_array_equal(found["summed_alone"], total[0])
        assert (found["summed_c"].shape, found["summed_c"].item()) == ((), 3.0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int32", "uint8", "bool"])
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
        for name in ("table", "table_in_graph"):
            np.testing.assert_allclose(found[name], expected, rtol=0, atol=1e-6)
            untouched = np.setdiff1d(np.arange(len(expected)), ids)
            np.testing.assert_array_equal(found[name][untouched], replicas.table()[untouched])
            np.testing.assert_array_equal(functions[0]["table"], found[name])


def test_puzzle_rows_that_each_process_moves_alone_would_be_noticed(
    functions: list[dict[str, np.ndarray]],
) -> None:
    assert np.abs(functions[0]["table_alone"] - functions[0]["table"]).max() > 1e-3
    assert np.abs(functions[0]["table_alone"] - functions[1]["table_alone"]).max() > 1e-3


def test_one_process_transfers_nothing() -> None:
    tensor = mx.ones((2, 3))
    assert distributed.summed({"x": tensor}, Replica())["x"] is tensor
    assert distributed.gathered(tensor, Replica()) is tensor
    assert distributed.gathered_values("x", Replica()) == ["x"]
