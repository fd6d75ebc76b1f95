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

from hrm_core.backend import Replica
from hrm_core.config import DataSizes, load_config
from hrm_core.data.store import load_split
from hrm_core.data.writer import Examples, Layout, write_dataset
from hrm_core.errors import RunError
from hrm_core.parameters import initial_values
from hrm_core.runs.checkpoint import MODEL_FILE, STATE_FILE, TRAIN_STATE_FILE, save_model
from hrm_mlx import distributed
from hrm_tasks.sudoku.build import Options, build

REPOSITORY = Path(__file__).parents[2]
REPLICAS = Path(__file__).with_name("replicas.py")
LAST, MIDDLE = "update_00000020", "update_00000016"
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
  save_every_updates: 8
"""
OPTIONS = ["--backend", "mlx", "--device", "cpu"]
LAUNCH = (
    "import sys; from mlx._distributed_utils.launch import main; sys.exit(main())"  # mlx.launch
)
HRM = (sys.executable, "-m", "hrm_cli")
OF_OTHERS = ("[ring]", "\x1b[33m[WARN]")  # lines of MLX and of its launcher
COUNTED = ("update", "examples", "count", "steps", "exact_accuracy", "q_halt_accuracy", "lr")


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
    lines = [line for line in err.splitlines() if line]
    return out, [line for line in lines if not line.startswith(OF_OTHERS)]


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


def records(run: Path, kind: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


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
            assert ours[name] == pytest.approx(theirs[name], rel=1e-5, abs=1e-6), (
                update,
                name,
            )  # abs: of a loss near zero
    tensors = [load_file(run / "checkpoints" / LAST / MODEL_FILE) for run in (found, expected)]
    for name, array in tensors[1].items():
        np.testing.assert_allclose(tensors[0][name], array, rtol=0, atol=2e-5, err_msg=name)
    states = [load_file(run / "checkpoints" / LAST / TRAIN_STATE_FILE) for run in (found, expected)]
    assert states[0].keys() == states[1].keys()
    for name, array in states[1].items():
        assert (states[0][name].shape, states[0][name].dtype) == (array.shape, array.dtype), name
        if array.dtype.kind in "ib":
            np.testing.assert_array_equal(states[0][name], array, err_msg=name)
        elif name.startswith("carry."):
            np.testing.assert_allclose(states[0][name], array, rtol=0, atol=1e-4, err_msg=name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small 6x6 data set, a config and a model to start from whose Q head decides."""
    folder = tmp_path_factory.mktemp("distributed")
    options = Options(size=6, generate=60, test=20, givens=(20, 26), augment=1)
    build(folder / "data", options)
    (folder / "config.yaml").write_text(CONFIG)
    metadata = load_split(folder / "data", "train").metadata
    sizes = DataSizes(metadata.vocab_size, metadata.seq_len, metadata.num_puzzle_identifiers)
    config = load_config(str(folder / "config.yaml")).model.sized(sizes)
    values = initial_values(config, seed=0)
    values["q_head.weight"] = np.random.default_rng(0).standard_normal((2, 32), np.float32)
    values["q_head.bias"] = np.zeros(2, np.float32)
    save_model(folder / "init.safetensors", config, "", values)
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


def outcome(outcomes: Path, name: str, rank: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((outcomes / f"{name}_{rank}.json").read_text())
    return found


def test_two_processes_follow_one(together: tuple[Path, str, list[str]], alone: Path) -> None:
    assert_same_run(together[0], alone, list(range(1, 21)))


def test_two_processes_measure_what_one_measures(
    together: tuple[Path, str, list[str]], alone: Path
) -> None:
    """20 puzzles in batches of 16: the second process has none of the last four."""
    ours, theirs = records(together[0], "eval"), records(alone, "eval")
    assert [line["update"] for line in ours] == [line["update"] for line in theirs]
    assert {line["count"] for line in ours} == {20}
    for found, expected in zip(ours, theirs, strict=True):
        for name in expected.keys() - {"seconds", "lm_loss"}:
            assert found[name] == expected[name], name
        assert found["lm_loss"] == pytest.approx(expected["lm_loss"], rel=1e-5)


def test_slots_halt_at_different_steps(alone: Path) -> None:
    """Or the same halting decisions would say nothing."""
    lines = records(alone, "train")
    assert len({line["count"] for line in lines}) > 3
    assert len({line["steps"] for line in lines if line["count"]}) > 3
    halted = load_file(alone / "checkpoints" / LAST / TRAIN_STATE_FILE)["carry.halted"]
    assert 0 < halted.sum() < 16


def test_checkpoint_of_two_processes_holds_all_slots(
    together: tuple[Path, str, list[str]], alone: Path
) -> None:
    found, expected = (
        load_file(run / "checkpoints" / MIDDLE / TRAIN_STATE_FILE) for run in (together[0], alone)
    )
    for name in ("halted", "steps", "inputs", "labels", "puzzle_identifiers"):
        array = expected[f"carry.{name}"]
        assert len(array) == 16
        np.testing.assert_array_equal(found[f"carry.{name}"], array, err_msg=name)
    swapped = np.roll(found["carry.inputs"], 8, axis=0)
    assert not np.array_equal(swapped, expected["carry.inputs"])
    states = [
        json.loads((run / "checkpoints" / MIDDLE / STATE_FILE).read_text())
        for run in (together[0], alone)
    ]
    assert states[0]["order"] == states[1]["order"]
    assert [state["environment"]["replicas"] for state in states] == ["2", "1"]


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
    """Slots begin on the chunk of their number, counted over both processes; 3 does not divide 8."""
    rng = np.random.default_rng(2)
    examples = Examples(*rng.integers(1, 7, (2, 40, 3 * 6)), prefix_len=rng.integers(0, 7, 40))
    layout = Layout(vocab_size=7, seq_len=6, num_chunks=3)
    write_dataset(tmp_path / "data", layout, {"train": {"all": [examples]}}, {"task": "lines"})
    (tmp_path / "config.yaml").write_text(CONFIG)
    settings = ["--set", "model.attention=prefix", "--set", "model.halting=fixed"]
    given = ["train", tmp_path / "config.yaml", "--data", tmp_path / "data", *settings, *OPTIONS]
    runs = tmp_path / "alone", tmp_path / "together"
    assert hrm(*given, "--run", runs[0]).status == 0
    out, err = finish(start(*HRM, *given, "--run", runs[1]))
    assert out == f"{runs[1]}\n", err
    logs = [records(run, "train") for run in runs]
    for name in ("update", "count", "steps", "exact_accuracy"):
        assert [line[name] for line in logs[0]] == [line[name] for line in logs[1]]
    states = [load_file(run / "checkpoints" / LAST / TRAIN_STATE_FILE) for run in runs]
    for name in ("carry.steps", "carry.inputs", "carry.prefix_len", "carry.halted"):
        np.testing.assert_array_equal(states[0][name], states[1][name], err_msg=name)
    assert len(set(states[0]["carry.steps"].tolist())) == 3
    tensors = [load_file(run / "checkpoints" / LAST / MODEL_FILE) for run in runs]
    for name, array in tensors[0].items():
        np.testing.assert_allclose(tensors[1][name], array, rtol=0, atol=2e-5, err_msg=name)


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
    else:
        process.send_signal(signal.SIGTERM)
    finish(process)
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
    lines = [line for line in err.splitlines() if not line.startswith(OF_OTHERS)]
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
