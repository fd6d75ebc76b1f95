"""The `hrm` command: its group, and the one place that prints an error as a line.

Commands are loaded when they are called, so `hrm --help` loads neither numpy nor a framework.
"""

import errno
import io
import os
import signal
import sys
import warnings
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from . import signs

COMMANDS = {
    "demo": "Train on 4x4 Sudoku and solve puzzles the model has never seen, in three minutes.",
    "data": "Build data sets and look into them.",
    "presets": "List the presets of hrm train with data, size and cost.",
    "train": "Train a model on a data set, or continue a run.",
    "models": "List the trained models that came along.",
    "eval": "Measure a model on a data set.",
    "solve": "Solve puzzles with a trained model.",
    "generate": "Continue texts with a trained model.",
    "predict": "Predict outcomes with a trained model, such as the next ball of a match.",
    "analyze": "Measure how a model thinks, and draw it.",
    "serve": "Show a model at work on a page in the browser.",
    "score": "Score an ARC submission against solutions.",
    "convert": "Convert published checkpoints into ours and back, or into another shape.",
    "parity": "Certify this machine: MLX against PyTorch, float64 "
    "and recorded runs of the published code.",
    "doctor": "Show device, BLAS and versions, and what is missing; size up a preset.",
    "plot": "Draw the curves of one or several runs.",
}


MODULES = {"eval": "evaluate"}  # of commands whose names Python has taken
SHOW_CURSOR = b"\x1b[?25h"
FULL = (errno.ENOSPC, errno.EDQUOT)  # the device, or what a user may take of it
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "malloc")


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports each when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the names in the order in which a new user needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import one command."""
        if name not in COMMANDS:
            return None
        name = MODULES.get(name, name)
        module = import_module(f".{name}", __package__)
        command: click.Command = getattr(module, name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is called; only train runs in several processes."""
        from hrm_core.launchers import place

        name = args[0]
        if name not in COMMANDS:
            raise click.UsageError(_unknown(name))
        launcher = place().launcher
        if name != "train" and launcher:
            raise click.UsageError(
                f"only hrm train runs in several processes; start hrm {name} without {launcher}"
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name="hrm-mlx")
def hrm() -> None:
    """Hierarchical Reasoning Model in MLX: build puzzles, train, solve, and check the numbers."""


def _unknown(name: str) -> str:
    """Return the message for a word that is no command."""
    from hrm_core.messages import did_you_mean, quoted

    return f"no such command: {quoted(name)}; {did_you_mean(name, COMMANDS)}hrm --help lists them"


def run() -> int:
    """Run the command line as a program: it ends with 130 however often Ctrl-C is pressed.

    Returns: the exit status.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored
        signal.signal(signal.SIGINT, _interrupt)
    try:
        status = main()
    except KeyboardInterrupt:  # while memory of the command was freed
        status = 130
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # while the interpreter shuts down
    except KeyboardInterrupt:  # one was on its way; another would end the process at once
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        status = 130
    return status


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """Stop the command; at the next Ctrl-C do not wait for it to clean up."""
    signal.signal(number, _exit_at_once)
    raise KeyboardInterrupt


def _exit_at_once(number: int, frame: FrameType | None) -> NoReturn:
    """End the process. What a killed process leaves is removed by the next one."""
    if sys.stderr.isatty():
        os.write(2, SHOW_CURSOR)  # the live line hides it
    os._exit(130)


def main() -> int:
    """Run the command line.

    Returns: the exit status: 0 done, 1 the answer is no, 2 the user's mistake, 130 interrupted.
    """
    from hrm_core.errors import HRMError
    from hrm_core.messages import one_line

    warnings.formatwarning = _warning_line
    _mend_streams()
    try:
        status = hrm.main(prog_name="hrm", standalone_mode=False) or 0
        sys.stdout.flush()
        return status
    except (click.Abort, KeyboardInterrupt):  # the first is a RuntimeError
        return _failed("interrupted", 130)
    except HRMError as error:
        return _failed(one_line(error), error.exit_status)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 0
    except click.MissingParameter as error:
        path = error.ctx.command_path if error.ctx else "hrm"
        missing = one_line(error.format_message()).rstrip(".")
        return _failed(f"{missing}; {path} --help shows what belongs there")
    except click.ClickException as error:
        return _failed(one_line(error.format_message()))
    except MemoryError as error:
        return _failed(f"not enough memory ({error}); choose a smaller model or --micro-batch")
    except RuntimeError as error:
        message = _runtime_message(error)
        if message is None:
            raise
        return _failed(message)
    except (BrokenPipeError, SystemExit):  # `hrm … | head`; click and rich raise SystemExit then
        _forget_stdout()
        return 0
    except OSError as error:
        message = _system_message(error)
        if message is None:
            raise
        if error.errno in FULL:
            _forget_stdout()
        return _failed(message)


def _failed(message: str, status: int = 2) -> int:
    """Print the line of an error. Returns: the exit status."""
    click.echo(f"hrm: {message}", err=True)
    return status


def _runtime_message(error: RuntimeError) -> str | None:
    """Return the message of an error that pathlib or a framework raises; None for a bug."""
    text = str(error).lower()
    if "symlink loop" in text:  # pathlib before Python 3.13
        return f"{error}; choose another path"
    if any(words in text for words in OUT_OF_MEMORY):
        return "not enough memory on the device; choose --micro-batch or a smaller --batch-size"
    return None


def _system_message(error: OSError) -> str | None:
    """Return the message of an error of the system; None for a bug."""
    if error.errno in FULL:
        place = f" for {error.filename}" if error.filename else ""
        return f"no space left on the device{place}; make room and try again"
    if error.filename is not None:
        return f"{error.filename} cannot be used ({error.strerror}); choose another path"
    return None


def _mend_streams() -> None:
    """Open the null device for closed streams; write in ASCII what their encodings lack."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 - for as long as the process lasts
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=signs.NAME)


def _forget_stdout() -> None:
    """Send buffered output to the null device, or Python complains at its last flush."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _warning_line(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    return f"warning: {message}\n"


if __name__ == "__main__":
    sys.exit(run())
