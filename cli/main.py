"""The `hrm` command: its group, and the one place where an error becomes a line.

Commands are loaded when they are called, so `hrm --help` loads neither numpy nor a framework.
"""

import errno
import io
import os
import sys
import warnings
from importlib import import_module
from pathlib import Path

import click

COMMANDS = {
    "demo": "Train on 4x4 Sudoku and solve puzzles the model has never seen, in three minutes.",
    "data": "Build data sets and look into them.",
    "train": "Train a model on a data set, or continue a run.",
    "eval": "Measure a model on a data set.",
    "solve": "Solve puzzles with a trained model.",
    "score": "Score an ARC submission against solutions.",
    "convert": "Convert published checkpoints into ours and back, or into another shape.",
    "parity": "Certify this machine: MLX against PyTorch, float64 and recorded runs of the published code.",
    "doctor": "Show device, BLAS and versions, and what is missing; size up a preset.",
    "plot": "Draw the curves of one or several runs.",
}


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports each when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of a first visit."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import one command."""
        if name not in COMMANDS:
            return None
        module = import_module(f".{'evaluate' if name == 'eval' else name}", __package__)
        command: click.Command = getattr(module, "evaluate" if name == "eval" else name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is asked for; several processes can only train."""
        if (
            args[0] in COMMANDS
            and args[0] != "train"
            and os.environ.get("WORLD_SIZE", "1") not in ("", "1")
        ):
            raise click.UsageError(
                f"only hrm train runs in several processes; start hrm {args[0]} without torchrun"
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


def main() -> int:
    """Run the command line. Returns the exit status: 0 done, 1 the answer is no, 2 the user's mistake, 130 interrupted."""
    from hrm_core.errors import HRMError
    from hrm_core.messages import one_line

    warnings.formatwarning = _warning_line
    _mend_streams()
    try:
        status = hrm.main(prog_name="hrm", standalone_mode=False) or 0
        sys.stdout.flush()
        return status
    except (click.Abort, KeyboardInterrupt):  # the first is a RuntimeError
        click.echo("hrm: interrupted", err=True)
        return 130
    except HRMError as error:
        click.echo(f"hrm: {one_line(error)}", err=True)
        return error.exit_status
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 0
    except click.ClickException as error:
        click.echo(f"hrm: {one_line(error.format_message())}", err=True)
        return 2
    except MemoryError as error:
        click.echo(
            f"hrm: not enough memory ({error}); choose a smaller model or --micro-batch", err=True
        )
        return 2
    except RuntimeError as error:
        if "symlink loop" in str(error).lower():  # pathlib before Python 3.13
            click.echo(f"hrm: {error}; choose another path", err=True)
        elif any(
            words in str(error).lower()
            for words in ("out of memory", "can't allocate memory", "malloc")
        ):
            click.echo(
                "hrm: not enough memory on the device; choose --micro-batch or a smaller --batch-size",
                err=True,
            )
        else:
            raise
        return 2
    except (
        BrokenPipeError,
        SystemExit,
    ):  # `hrm … | head`: nobody reads any more; click and rich leave by SystemExit then
        _forget_stdout()
        return 0
    except OSError as error:
        if error.errno == errno.ENOSPC:
            _forget_stdout()
            click.echo("hrm: no space left on the device; make room and try again", err=True)
        elif error.filename is not None:
            click.echo(
                f"hrm: {error.filename} cannot be used ({error.strerror}); choose another path",
                err=True,
            )
        else:
            raise
        return 2


def _mend_streams() -> None:
    """A stream that is closed leads nowhere, and what the encoding of stdout lacks is replaced."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 - for as long as the process lasts
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def _forget_stdout() -> None:
    """Let what is still to be written go nowhere, or Python complains at its last flush."""
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
    sys.exit(main())
