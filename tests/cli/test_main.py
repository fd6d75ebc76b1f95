import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hrm_cli.main import COMMANDS
from hrm_cli.tables import print_table


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hrm_cli.main", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )


def test_help_names_every_command_and_loads_no_framework() -> None:
    heavy = ("mlx", "numpy", "torch", "hrm_mlx")
    run = "import sys; from hrm_cli.main import main; main()"
    code = f"{run}; sys.exit(any(module in sys.modules for module in {heavy}))"
    found = subprocess.run(
        [sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True
    )
    assert all(f"  {name} " in found.stdout for name in COMMANDS)


@pytest.mark.parametrize("arguments", [[], ["data"]])
def test_no_arguments_print_the_help(hrm: Callable[..., Any], arguments: list[str]) -> None:
    outcome = hrm(*arguments)
    assert (outcome.status, outcome.err) == (0, "")
    assert "Commands:" in outcome.out


def test_version_is_printed(hrm: Callable[..., Any]) -> None:
    assert "version 0." in hrm("--version").out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sovle"], "no such command: 'sovle'; did you mean solve; hrm --help lists them"),
        (["--sped"], "No such option"),
        (["train"], "Missing option '--run'"),
        (["solve", "x"], "Missing argument 'PUZZLE...'"),
        (
            ["demo", "--seed", "-1"],
            "Invalid value for '--seed': -1 is not in the range 0<=x<=4294967295",
        ),
        (["eval", "x", "--split", "dev"], "'dev' is not one of 'train', 'test'"),
        (["eval", "x", "--limit", "0"], "Invalid value for '--limit'"),
    ],
)
def test_misuse_is_one_line(
    refusal: Callable[..., str], arguments: list[str], message: str
) -> None:
    assert message in refusal(*arguments)


def test_exit_status_and_streams_are_those_of_a_process(tmp_path: Path) -> None:
    refused = run("eval", str(tmp_path))
    assert (refused.returncode, refused.stdout) == (2, "")
    assert (
        refused.stderr
        == f"hrm: {tmp_path} is no model: expected a run with checkpoints, a checkpoint folder or a .safetensors file\n"
    )


@pytest.mark.parametrize("arguments", [["--help"], ["data", "inspect"]], ids=["help", "inspect"])
def test_reader_that_leaves_is_no_error(tiny_data: Path, arguments: list[str]) -> None:
    if arguments[-1] == "inspect":
        arguments = [*arguments, str(tiny_data)]
    process = subprocess.Popen(
        [sys.executable, "-m", "hrm_cli.main", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert (process.wait(timeout=60), err) == (0, "")


def test_interrupt_is_one_line(
    hrm: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tiny_run: Path
) -> None:
    def interrupted(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hrm_core.inference.answering.check_fits", interrupted)
    outcome = hrm("eval", tiny_run)
    assert (outcome.status, outcome.out, outcome.err.strip()) == (130, "", "hrm: interrupted")


def test_signal_in_the_middle_is_one_line(tiny_run: Path) -> None:
    heard = "signal.signal(signal.SIGINT, signal.default_int_handler)"  # a shell in the background has it ignored
    code = f"import signal, sys; from hrm_cli.main import main; {heard}; print('ready', flush=True); sys.exit(main())"
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(
        [sys.executable, "-c", code, "solve", str(tiny_run), "-"], text=True, **streams
    )  # type: ignore[call-overload]
    assert process.stdout.readline() == "ready\n"
    time.sleep(1)  # it loads the model, then waits for puzzles that never come
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=60)[1]
    assert (process.returncode, err.strip()) == (130, "hrm: interrupted")


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(("eval", "RUN"), 0), (("--help",), 0), (("solve", "RUN", "nonsense"), 2)],
)
@pytest.mark.parametrize("closed", [">&-", "<&-", "2>&-"])
def test_closed_stream_is_no_error(
    tiny_run: Path, arguments: tuple[str, ...], status: int, closed: str
) -> None:
    words = " ".join(str(tiny_run) if word == "RUN" else word for word in arguments)
    found = subprocess.run(
        f"{sys.executable} -m hrm_cli.main {words} {closed}",
        shell=True,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == status
    assert "Traceback" not in found.stderr


def test_output_fits_the_encoding_of_a_terminal(tiny_run: Path) -> None:
    found = run("eval", str(tiny_run), env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (found.returncode, found.stderr) == (0, "")
    assert "95 % interval" in found.stdout
    assert "% - " in found.stdout
    assert "?" not in found.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("eval", "BAD"),
        ("eval", "RUN", "--data", "BAD"),
        ("solve", "BAD", "1..............."),
        ("data", "inspect", "BAD"),
        ("data", "grids", "BAD", "g.csv"),
        ("train", "sudoku-4x4", "--data", "BAD", "--run", "new"),
    ],
)
@pytest.mark.parametrize("bad", ["n" * 300, "loop"])
def test_path_that_no_file_system_takes_is_one_line(
    refusal: Callable[..., str],
    tiny_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    bad: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    Path("g.csv").write_text("input,output\na,b\nb,a\n")
    words = [word.replace("RUN", str(tiny_run)).replace("BAD", bad) for word in arguments]
    assert bad in refusal(*words)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["g.csv", "loop"]


def test_torchrun_without_a_number_is_one_process(
    hrm: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tiny_run: Path
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "")
    assert hrm("eval", tiny_run).status == 0


@pytest.mark.parametrize("columns", [160, 80, 40])
def test_no_value_of_a_table_is_cut(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", str(columns))
    row = ["rating 100+", "99.50%", "98.8% – 99.8%", "99.98%", "99.98%", "2.97", "1.31", "1,000"]
    print_table(
        "Results",
        [
            "",
            "exact",
            "95 % interval",
            "all cells",
            "blank cells",
            "ACT steps",
            "settled",
            "puzzles",
        ],
        [row],
    )
    lines = capsys.readouterr().out.splitlines()
    shown = next(line for line in lines if "rating" in line)
    assert " ".join(shown.split()) == " ".join(row)
    assert len(shown) <= max(columns, 80)


def test_mistake_of_ours_keeps_its_traceback(
    hrm: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tiny_run: Path
) -> None:
    monkeypatch.setattr("hrm_core.inference.answering.check_fits", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        hrm("eval", tiny_run)


def test_too_little_memory_is_one_line(
    refusal: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tiny_run: Path
) -> None:
    def too_much(*arguments: Any) -> None:
        raise MemoryError("Unable to allocate 10.9 TiB")

    monkeypatch.setattr("hrm_core.inference.answering.check_fits", too_much)
    assert (
        refusal("eval", tiny_run)
        == "not enough memory (Unable to allocate 10.9 TiB); choose a smaller model or --micro-batch"
    )


def test_mlx_without_its_library_is_one_line(tmp_path: Path) -> None:
    """As `pip install mlx` leaves it on Linux."""
    (tmp_path / "mlx").mkdir()
    (tmp_path / "mlx" / "__init__.py").touch()
    (tmp_path / "mlx" / "core.py").write_text(
        "raise ImportError('libmlx.so: cannot open shared object file')"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    found = run("demo", "--run", str(tmp_path / "run"), env=environment)
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.splitlines()[-1].startswith(
        "hrm: MLX is installed, but cannot be loaded (libmlx.so"
    )
    assert "Traceback" not in found.stderr
    assert "cannot be loaded (libmlx.so" in run("doctor", env=environment).stdout
