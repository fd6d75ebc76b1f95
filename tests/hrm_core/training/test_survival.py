"""Runs that are killed, interrupted, damaged or full end as the run that was not, or say why in one line."""

import fcntl
import json
import os
import pty
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from hrm_core.runs.checkpoint import (
    MODEL_FILE,
    STATE_FILE,
    TRAIN_STATE_FILE,
    load_model,
    read_state,
    save_model,
    write_state,
)

LAST = "update_00000024"
RESUME = ["--resume", "--device", "cpu"]  # where results are the same bit for bit
TIMES = {"seconds", "examples_per_second", "memory_gib"}

# Kills itself at one moment: argv is the moment, how often it passes before, then the command line.
KILLED_AT = """
import os, signal, sys
from pathlib import Path
import hrm_mlx
from hrm_core import files
from hrm_core.training import fit
from hrm_core.runs import checkpoint
from hrm_core.inference import evaluation
from hrm_core.runs import run
moment, count, *sys.argv = sys.argv[1], int(sys.argv[2]), "hrm", *sys.argv[3:]
owner, name = {
    "model file": (checkpoint, "save_model"), "state file": (checkpoint, "save_file"), "sync": (os, "fsync"),
    "log": (run.Run, "log"), "evaluation": (evaluation, "_predictions"), "report": (fit, "reduced"), "pruning": (files.shutil, "rmtree"),
    "rename": (Path, "rename"), "locked": (files, "lock"), "work folder": (Path, "mkdir"), "left": (Path, "rmdir"),
}[moment]
passed, original = [0], getattr(owner, name)
def killing(*args, **kwargs):
    result = original(*args, **kwargs)
    passed[0] += 1
    if passed[0] > count:
        os.kill(os.getpid(), getattr(signal, os.environ.get("SIGNAL", "SIGKILL")))
    return result
setattr(owner, name, killing)
from hrm_cli.main import main
sys.exit(main())
"""


def start(*arguments: str | Path, code: str | None = None, **options: Any) -> subprocess.Popen[str]:
    program = ["-c", code] if code else ["-m", "hrm_cli.main"]
    command = [sys.executable, *program, *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait. Returns: exit status and stderr."""
    _, err = process.communicate(timeout=120)
    return process.returncode, err


def log(run: Path) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [
        {name: value for name, value in record.items() if name not in TIMES} for record in records
    ]


def assert_same_end(found: Path, expected: Path) -> None:
    """Hold one finished run against another: weights, training state, position and log, bit for bit."""
    ours, theirs = found / "checkpoints" / LAST, expected / "checkpoints" / LAST
    for name in (MODEL_FILE, TRAIN_STATE_FILE):
        tensors, others = load_file(ours / name), load_file(theirs / name)
        assert tensors.keys() == others.keys()
        for key in tensors:
            assert tensors[key].tobytes() == others[key].tobytes(), key
    states = [json.loads((folder / STATE_FILE).read_text()) for folder in (ours, theirs)]
    for state in states:
        del (
            state["sha256"][STATE_FILE],
            state["position"]["seconds"],
            state["position"]["window_began"],
        )
    assert states[0] == states[1]
    assert log(found) == log(expected)
    assert not list((found / "checkpoints").glob(".*"))


@pytest.fixture
def train(tiny_config: Path, tiny_data: Path, tmp_path: Path) -> list[str | Path]:
    return ["train", tiny_config, "--data", tiny_data, "--run", tmp_path / "run", "--device", "cpu"]


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    """A copy of a finished run."""
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


@pytest.fixture
def last_update_gone(run: Path) -> Path:
    """The same without its newest checkpoint: four updates are left to do."""
    shutil.rmtree(run / "checkpoints" / LAST)
    return run


def forget_settings(run: Path) -> None:
    """Make the checkpoints of a run those of an earlier version."""
    for folder in (run / "checkpoints").iterdir():
        state = read_state(folder)
        del state["settings"]
        write_state(folder, state)


def num_lines(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0


def test_run_killed_at_random_moments_ends_the_same(
    train: list[str | Path], tmp_path: Path, tiny_run: Path
) -> None:
    rng = random.Random(0)
    run, kills = tmp_path / "run", 0
    arguments: list[str | Path] = train
    for lines in (1, 4, 7):
        process = start(*arguments)
        while process.poll() is None and num_lines(run / "log.jsonl") < lines:
            time.sleep(0.005)
        time.sleep(rng.random() * 0.03)
        process.kill()
        kills += finish(process)[0] == -signal.SIGKILL
        arguments = ["train", "--run", run, *RESUME]
    assert kills
    status, err = finish(start(*arguments))
    assert status == 0, err
    assert_same_end(run, tiny_run)


@pytest.mark.parametrize(
    ("moment", "count"),
    [
        ("model file", 1),
        ("state file", 4),
        ("sync", 14),
        ("locked", 3),
        ("work folder", 7),
        ("rename", 1),
        ("rename", 4),
        ("left", 3),
        ("log", 4),
        ("evaluation", 2),
        ("report", 0),
        ("pruning", 0),
    ],
)
def test_run_killed_at_a_bad_moment_ends_the_same(
    hrm: Callable[..., Any],
    train: list[str | Path],
    tmp_path: Path,
    tiny_run: Path,
    moment: str,
    count: int,
) -> None:
    status, err = finish(start(moment, str(count), *train, code=KILLED_AT))
    assert status == -signal.SIGKILL, err
    outcome = hrm("train", "--run", tmp_path / "run", *RESUME)
    assert outcome.status == 0, outcome.err
    assert_same_end(tmp_path / "run", tiny_run)
    kept = {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()}
    assert kept == {path.name for path in (tiny_run / "checkpoints").iterdir()}
    assert not list((tmp_path / "run").glob(".*.hrm-partial"))


@pytest.mark.parametrize(("moment", "count"), [("log", 5), ("evaluation", 2)])
def test_ctrl_c_saves_and_says_how_to_go_on(
    hrm: Callable[..., Any],
    train: list[str | Path],
    tmp_path: Path,
    tiny_run: Path,
    moment: str,
    count: int,
) -> None:
    run = tmp_path / "run"
    status, err = finish(
        start(moment, str(count), *train, code=KILLED_AT, env={**os.environ, "SIGNAL": "SIGINT"})
    )
    again = (
        f"hrm train --run {run} --resume --device cpu"  # with the options the run was begun with
    )
    assert (status, err.splitlines()[-1]) == (
        130,
        f"interrupted; everything is saved. Continue with: {again}",
    )
    assert hrm("train", "--run", run, *RESUME).status == 0
    assert_same_end(run, tiny_run)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_signals_of_schedulers_and_terminals_save_too(
    hrm: Callable[..., Any], train: list[str | Path], tmp_path: Path, tiny_run: Path, name: str
) -> None:
    run = tmp_path / "run"
    environment = {**os.environ, "SIGNAL": name}  # sent at every moment from the fifth on
    status, err = finish(start("log", "5", *train, code=KILLED_AT, env=environment))
    assert status == 130, err
    assert err.splitlines()[-1].startswith("interrupted; everything is saved. Continue with: ")
    assert hrm("train", "--run", run, *RESUME).status == 0
    assert_same_end(run, tiny_run)


def test_nohup_keeps_a_run_going(train: list[str | Path], tmp_path: Path, tiny_run: Path) -> None:
    ignore = {"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)}
    environment = {**os.environ, "SIGNAL": "SIGHUP"}
    status, err = finish(start("log", "5", *train, code=KILLED_AT, env=environment, **ignore))
    assert status == 0, err
    assert_same_end(tmp_path / "run", tiny_run)


def test_run_is_saved_when_its_terminal_is_closed(
    hrm: Callable[..., Any], train: list[str | Path], tmp_path: Path, tiny_run: Path
) -> None:
    run = tmp_path / "run"
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "hrm_cli.main", *map(str, train)]
    take_terminal = {"preexec_fn": lambda: fcntl.ioctl(2, termios.TIOCSCTTY)}
    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    process = subprocess.Popen(command, start_new_session=True, **take_terminal, **streams)
    os.close(theirs)
    while process.poll() is None and num_lines(run / "log.jsonl") < 2:
        time.sleep(0.005)
    os.close(ours)
    assert process.wait(timeout=120) == 130
    assert (run / "checkpoints").is_dir()
    assert hrm("train", "--run", run, *RESUME).status == 0
    assert_same_end(run, tiny_run)


@pytest.mark.parametrize("pause", [0.002, 0.05])
def test_ctrl_c_may_be_pressed_many_times(
    train: list[str | Path], tmp_path: Path, pause: float
) -> None:
    run = tmp_path / "run"
    process = start(*train)
    while process.poll() is None and not (run / "log.jsonl").exists():
        time.sleep(0.002)
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        time.sleep(pause)
    status, err = finish(process)
    assert status == 130
    assert not re.search("Traceback|Exception|Fatal|terminate", err), err


def test_other_seed_ends_differently(
    hrm: Callable[..., Any], train: list[str | Path], tmp_path: Path, tiny_run: Path
) -> None:
    assert hrm(*train, "--set", "train.seed=1").status == 0
    with pytest.raises(AssertionError):
        assert_same_end(tmp_path / "run", tiny_run)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", [MODEL_FILE, TRAIN_STATE_FILE, STATE_FILE])
@pytest.mark.parametrize(
    "damage",
    [flip, lambda path: path.write_bytes(path.read_bytes()[:-1]), Path.unlink],
    ids=["flip", "cut", "gone"],
)
def test_damaged_newest_checkpoint_is_named_and_the_one_before_used(
    hrm: Callable[..., Any], run: Path, tiny_run: Path, name: str, damage: Callable[[Path], Any]
) -> None:
    damage(run / "checkpoints" / LAST / name)
    outcome = hrm("train", "--run", run, *RESUME)
    assert outcome.status == 0, outcome.err
    (warning,) = [line for line in outcome.err.splitlines() if line.startswith("warning: ")]
    assert warning.startswith("warning: skipped a damaged checkpoint: ")
    assert f"{LAST}/{name}" in warning
    assert_same_end(run, tiny_run)


def test_run_without_a_whole_checkpoint_is_refused(hrm: Callable[..., Any], run: Path) -> None:
    for folder in (run / "checkpoints").iterdir():
        flip(folder / MODEL_FILE)
    outcome = hrm("train", "--run", run, *RESUME)
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.splitlines()[-1].startswith("hrm: none of the 2 checkpoints in ")


def test_run_killed_before_its_first_checkpoint_starts_again(
    hrm: Callable[..., Any], run: Path, tiny_run: Path
) -> None:
    shutil.rmtree(run / "checkpoints")
    assert hrm("train", "--run", run, *RESUME).status == 0
    assert_same_end(run, tiny_run)


def test_run_begun_with_other_weights_starts_again_with_them(
    hrm: Callable[..., Any],
    refusal: Callable[..., str],
    train: list[str | Path],
    tmp_path: Path,
    tiny_run: Path,
) -> None:
    init = Path(
        shutil.copy(tiny_run / "checkpoints" / LAST / MODEL_FILE, tmp_path / "init.safetensors")
    )
    assert hrm(*train, "--init", init, "--max-updates", 4).status == 0
    again = Path(shutil.copytree(tmp_path / "run", tmp_path / "again"))
    shutil.rmtree(again / "checkpoints")
    assert hrm("train", "--run", again, *RESUME).status == 0
    assert log(again) == log(tmp_path / "run")
    shutil.rmtree(again / "checkpoints")
    model = load_model(init)
    save_model(init, model.config, model.task, {**model.weights, "H_init": model.weights["L_init"]})
    assert "is not the model this run was begun with" in refusal("train", "--run", again, *RESUME)


def test_finished_run_stays_as_it_is(hrm: Callable[..., Any], run: Path, tiny_run: Path) -> None:
    outcome = hrm("train", "--run", run, *RESUME)
    assert outcome.status == 0
    assert outcome.err.startswith(f"{run} is finished, all ")
    assert f"hrm train {run}/config.yaml --init {run} --run OTHER --max-updates N" in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert (run / "log.jsonl").read_text() == (tiny_run / "log.jsonl").read_text()


@pytest.mark.parametrize("suffix", ["partial", "hrm-partial"])
def test_finished_run_is_tidied_after_a_kill_behind_its_last_rename(
    hrm: Callable[..., Any], run: Path, tiny_run: Path, suffix: str
) -> None:
    checkpoints = run / "checkpoints"
    shutil.copytree(checkpoints / LAST, checkpoints / "update_00000001")
    (checkpoints / f".{LAST}.{suffix}").mkdir()
    (checkpoints / f".{LAST}.{suffix}" / ".hrm-work").touch()
    assert hrm("train", "--run", run, *RESUME).status == 0
    kept, expected = (
        sorted(path.name for path in (folder / "checkpoints").iterdir())
        for folder in (run, tiny_run)
    )
    assert kept == expected


def test_run_in_use_is_refused(refusal: Callable[..., str], last_update_gone: Path) -> None:
    with (last_update_gone / ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        message = refusal("train", "--run", last_update_gone, *RESUME)
    assert message.endswith("is in use by another process; wait for it or choose another --run")


@pytest.mark.parametrize(
    "overrides",
    [["--init"], ["--set", "optim.lr=1e38", "--set", "optim.lr_warmup_steps=0"]],
    ids=["init", "rate"],
)
def test_loss_that_is_not_finite_stops_the_run_and_is_not_saved(
    hrm: Callable[..., Any],
    train: list[str | Path],
    tmp_path: Path,
    tiny_run: Path,
    overrides: list[str | Path],
) -> None:
    if overrides == ["--init"]:
        model = load_model(tiny_run / "checkpoints" / LAST / MODEL_FILE)
        bad = {
            **model.weights,
            "lm_head.weight": np.full_like(model.weights["lm_head.weight"], np.nan),
        }
        save_model(tmp_path / "nan.safetensors", model.config, model.task, bad)
        overrides = ["--init", tmp_path / "nan.safetensors"]
    outcome = hrm(*train, *overrides)
    assert (outcome.status, outcome.out) == (1, "")
    message = outcome.err.splitlines()[-1]
    assert message.startswith("hrm: training diverged, noticed after update ")
    for words in ("=nan", "last good checkpoint: none yet", "try a lower optim.lr"):
        assert words in message
    assert not list((tmp_path / "run").rglob("*.safetensors"))


def test_divergence_names_the_last_good_checkpoint(
    hrm: Callable[..., Any], last_update_gone: Path
) -> None:
    forget_settings(last_update_gone)  # or the edited config is refused
    config = last_update_gone / "config.yaml"
    config.write_text(config.read_text().replace("lr: 0.003", "lr: 1.0e+38"))
    outcome = hrm("train", "--run", last_update_gone, *RESUME)
    assert outcome.status == 1
    assert (
        f"last good checkpoint: {last_update_gone / 'checkpoints' / 'update_00000020'}"
        in outcome.err
    )
    assert not (last_update_gone / "checkpoints" / LAST).exists()


def limit_files(size: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize(
    ("size", "left"),
    [(100_000, {".lock", "config.yaml", "log.jsonl", "checkpoints"}), (100, set())],
)
def test_full_disk_is_one_line_and_nothing_half_written(
    train: list[str | Path], tmp_path: Path, size: int, left: set[str]
) -> None:
    status, err = finish(start(*train, preexec_fn=limit_files(size)))
    assert status == 2
    assert err.splitlines()[-1].startswith("hrm: ")
    assert "File too large" in err.splitlines()[-1]
    assert "Traceback" not in err
    run = tmp_path / "run"
    assert {path.name for path in run.iterdir()} == left if left else not run.exists()
    assert not list(run.rglob("*.safetensors"))
    assert not list(run.rglob("*partial*"))


def test_run_goes_on_after_the_disk_has_room_again(
    hrm: Callable[..., Any], train: list[str | Path], tmp_path: Path, tiny_run: Path
) -> None:
    assert finish(start(*train, preexec_fn=limit_files(100_000)))[0] == 2
    assert hrm("train", "--run", tmp_path / "run", *RESUME).status == 0
    assert_same_end(tmp_path / "run", tiny_run)


@pytest.fixture
def changed_data(tiny_data: Path, tmp_path: Path) -> Path:
    copy = Path(shutil.copytree(tiny_data, tmp_path / "data"))
    labels = np.load(copy / "train" / "all__labels.npy")
    labels[[0, 1]] = labels[[1, 0]]
    np.save(copy / "train" / "all__labels.npy", labels)
    return copy


def test_resume_with_other_data_is_refused(
    refusal: Callable[..., str], last_update_gone: Path, changed_data: Path
) -> None:
    message = refusal("train", "--run", last_update_gone, *RESUME, "--data", changed_data)
    assert "is not the data set this run was begun with (sha256 " in message


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ("lr: 0.003", "lr: 0.004", "optim.lr was 0.003, is 0.004"),
        ("  seed: 0", "  seed: 0\n  ema: 0.9", "train.ema was not set, is 0.9"),
        ("H_cycles: 2", "H_cycles: 3", "model.H_cycles was 2, is 3"),
        ("rope_theta: 10000.0", "rope_theta: 10001.0", "model.rope_theta was 10000.0, is 10001.0"),
        ("hidden_size: 32", "hidden_size: 64", "model.hidden_size was 32, is 64"),
        ("task: sudoku", "task: maze", "data.task was sudoku, is maze"),
    ],
)
def test_resume_with_changed_settings_is_refused(
    refusal: Callable[..., str], last_update_gone: Path, before: str, after: str, found: str
) -> None:
    config = last_update_gone / "config.yaml"
    text = config.read_text()
    assert before in text
    config.write_text(text.replace(before, after))
    message = refusal("train", "--run", last_update_gone, *RESUME)
    assert f"{config} has changed since the run was saved: {found}; put the old values" in message
    assert message.endswith(f"hrm train {config} --init {last_update_gone} --run NEW")


def test_changed_settings_are_meant_in_a_new_run(
    hrm: Callable[..., Any], last_update_gone: Path, tmp_path: Path
) -> None:
    config = last_update_gone / "config.yaml"
    config.write_text(config.read_text().replace("lr: 0.003", "lr: 0.004"))
    new = ["--init", last_update_gone, "--run", tmp_path / "new", "--device", "cpu"]
    outcome = hrm("train", config, *new, "--max-updates", 1)
    assert outcome.status == 0, outcome.err


def test_config_that_was_cut_at_a_line_is_refused(
    refusal: Callable[..., str], last_update_gone: Path, tiny_data: Path
) -> None:
    """Whatever is left: some parts are no config, the others would be completed by defaults."""
    config = last_update_gone / "config.yaml"
    lines = config.read_text().splitlines(keepends=True)
    before_environment = lines.index("environment:\n")
    for count in range(before_environment):
        config.write_text("".join(lines[:count]))
        assert str(config) in refusal(
            "train", "--run", last_update_gone, "--data", tiny_data, *RESUME
        )


def test_every_changed_digit_is_refused(
    refusal: Callable[..., str], hrm: Callable[..., Any], last_update_gone: Path
) -> None:
    """But those of paths, which may change, and of the environment, which are warned about."""
    config = last_update_gone / "config.yaml"
    text = config.read_text()
    settings = text.partition("environment:")[0]
    places = [match.start() for match in re.finditer("[0-9]", settings)]
    lines = [settings[: place + 1].rpartition("\n")[2] for place in places]
    places = [p for p, line in zip(places, lines, strict=True) if not line.startswith("  path:")]
    for place in random.Random(0).sample(places, 12):
        other = str((int(text[place]) + 1) % 10)
        config.write_text(text[:place] + other + text[place + 1 :])
        refusal("train", "--run", last_update_gone, *RESUME)


def test_run_of_an_earlier_version_goes_on(
    hrm: Callable[..., Any], refusal: Callable[..., str], last_update_gone: Path
) -> None:
    """Its model is compared, and from the next checkpoint on its settings."""
    run, config = last_update_gone, last_update_gone / "config.yaml"
    forget_settings(run)
    text = config.read_text()
    config.write_text(text.replace("L_cycles: 2", "L_cycles: 1"))
    assert "model.L_cycles was 2, is 1" in refusal("train", "--run", run, *RESUME)
    config.write_text(text)
    outcome = hrm("train", "--run", run, *RESUME)
    assert outcome.status == 0, outcome.err
    assert read_state(run / "checkpoints" / LAST)["settings"]["optim"]["lr"] == 0.003


def test_run_with_a_damaged_log_goes_on(hrm: Callable[..., Any], last_update_gone: Path) -> None:
    path = last_update_gone / "log.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"train"', b'"tr\xe9in"', 1))
    outcome = hrm("train", "--run", last_update_gone, *RESUME)
    assert outcome.status == 0
    assert outcome.err.startswith(f"warning: dropped from {path}: lines that cannot be read, 1 of ")
    assert log(last_update_gone)[-1]["update"] == 24


def test_micro_batch_may_change_at_resume(hrm: Callable[..., Any], last_update_gone: Path) -> None:
    again = shutil.copytree(last_update_gone, last_update_gone.with_name("again"))
    for run, number in ((last_update_gone, 4), (again, 8)):
        outcome = hrm("train", "--run", run, *RESUME, "--micro-batch", number)
        assert outcome.status == 0, outcome.err
        state = read_state(run / "checkpoints" / LAST)
        assert state["settings"]["train"]["micro_batch_size"] is None  # as in config.yaml
        assert hrm("train", "--run", run, *RESUME).status == 0


def test_changed_environment_is_warned_about(
    hrm: Callable[..., Any], last_update_gone: Path
) -> None:
    config = last_update_gone / "config.yaml"
    config.write_text(config.read_text().replace("  blas: ", "  blas: Other"))
    outcome = hrm("train", "--run", last_update_gone, *RESUME)
    assert outcome.status == 0
    assert outcome.err.startswith(
        "warning: results may differ from those of an uninterrupted run: blas was Other"
    )


def test_last_checkpoints_and_the_best_are_kept(tiny_run: Path) -> None:
    evaluations = [record for record in log(tiny_run) if record["kind"] == "eval"]
    assert [record["update"] for record in evaluations] == [6, 12, 18, 24]
    assert {record["count"] for record in evaluations} == {10}
    best = max(
        evaluations,
        key=lambda record: (record["exact_accuracy"], record["accuracy"], -record["update"]),
    )
    kept = {path.name for path in (tiny_run / "checkpoints").iterdir()}
    assert kept == {"update_00000020", LAST, f"update_{best['update']:08d}"}


def test_run_is_saved_by_minutes_too(
    hrm: Callable[..., Any], train: list[str | Path], tmp_path: Path
) -> None:
    settings = [
        "--set",
        "train.save_every_minutes=1e-9",
        "--set",
        "train.keep_checkpoints=100",
        "--max-updates",
        4,
    ]
    assert hrm(*train, *settings).status == 0
    assert [path.name[-1] for path in sorted((tmp_path / "run" / "checkpoints").iterdir())] == [
        "1",
        "2",
        "3",
        "4",
    ]


def test_bfloat16_run_is_resumed_as_it_was(
    hrm: Callable[..., Any], train: list[str | Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert hrm(*train, "--dtype", "bfloat16").status == 0
    again = Path(shutil.copytree(run, tmp_path / "again"))
    shutil.rmtree(again / "checkpoints" / LAST)
    assert hrm("train", "--run", again, *RESUME, "--dtype", "bfloat16").err.startswith(
        "update 21/24"
    )
    assert_same_end(again, run)


@pytest.mark.parametrize(
    ("moment", "count"), [("model file", 1), ("state file", 2), ("log", 4), ("rename", 1)]
)
def test_killed_run_keeps_its_average(
    hrm: Callable[..., Any],
    averaged: list[str | Path],
    averaged_run: Path,
    tmp_path: Path,
    moment: str,
    count: int,
) -> None:
    status, err = finish(start(moment, str(count), *averaged, code=KILLED_AT))
    assert status == -signal.SIGKILL, err
    outcome = hrm("train", "--run", tmp_path / "run", *RESUME)
    assert outcome.status == 0, outcome.err
    assert_same_end(tmp_path / "run", averaged_run)


def test_resume_goes_on_from_the_raw_weights(
    hrm: Callable[..., Any], averaged_run: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(averaged_run, tmp_path / "run"))
    shutil.rmtree(run / "checkpoints" / LAST)
    assert hrm("train", "--run", run, *RESUME).status == 0
    assert_same_end(run, averaged_run)


# An update takes a second on this clock, an evaluation a thousand.
SLOW_EVALUATIONS = """
import sys, types
import hrm_mlx
from hrm_core.training import fit
from hrm_mlx.backend import MLXBackend
now = [0.0]
def taking(seconds, function):
    def call(*args, **kwargs):
        now[0] += seconds
        return function(*args, **kwargs)
    return call
fit.time = types.SimpleNamespace(monotonic=lambda: now[0])
MLXBackend.update, fit.evaluate = taking(1.0, MLXBackend.update), taking(1000.0, fit.evaluate)
from hrm_cli.main import main
sys.exit(main())
"""


def test_evaluations_take_time_but_no_speed(train: list[str | Path], tmp_path: Path) -> None:
    status, err = finish(start(*train, "--set", "train.report_every=10", code=SLOW_EVALUATIONS))
    assert status == 0, err
    records = [
        json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    ]
    trained = [record for record in records if record["kind"] == "train"]
    num_evaluations = sum(record["kind"] == "eval" for record in records)
    assert num_evaluations > len(trained)  # some fall within a window
    assert {record["examples_per_second"] for record in trained} == {
        trained[0]["examples"] / trained[0]["update"]
    }
    assert records[-1]["seconds"] == trained[-1]["update"] + 1000.0 * num_evaluations
