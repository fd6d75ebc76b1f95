"""Options that several commands share, and the steps of a command that belong to them."""

import functools
import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hrm_core.backends import BACKENDS, BackendMaker

if TYPE_CHECKING:
    from hrm_core.runs.checkpoint import Model
    from hrm_core.tasks.capabilities import Captioned, Drawable
    from hrm_core.tasks.contract import Task

Command = Callable[..., Any]


class _Place(click.Path):
    """A path that is not empty: from an unset shell variable it would be the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("it is empty; expected a path", param, ctx)
        return super().convert(value, param, ctx)


class _Model(_Place):
    """A path, or the name of a shipped model, which becomes the path of its file."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from hrm_core.runs.shipped import model_path

        super().convert(value, param, ctx)
        return model_path(value)


DIRECTORY = _Place(path_type=Path)
FILE = _Place(dir_okay=False, path_type=Path)
NAME = _Place()  # of a preset, or a path
MODEL = _Model(path_type=Path)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
backend_option = click.option(
    "--backend",
    type=click.Choice(list(BACKENDS)),
    default="mlx",
    show_default=True,
    help="Framework that computes.",
)
digits_option = click.option(
    "--digits",
    is_flag=True,
    help="ARC: write the number of each colour into its cells in pictures.",
)
steps_option = click.option(
    "--steps",
    "max_steps",
    type=click.IntRange(1),
    metavar="N",
    help="Take at most so many ACT steps.  [default: `halt_max_steps`; `hrm solve` and "
    "`hrm eval --budget`: twice as many where the model halts itself]",
)
seed_option = click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="Seed of all random draws.",
)


def refuse_same(outputs: Sequence[Path]) -> None:
    """Refuse two outputs that would be one file. Raises: UsageError."""
    seen = set()
    for path in outputs:
        if path.absolute() in seen:
            raise click.UsageError(f"two outputs would be {path}; give each a name of its own")
        seen.add(path.absolute())


def read_stdin() -> str:
    """Read the text on stdin, in any encoding of a puzzle file. Raises: UnicodeDecodeError."""
    from hrm_core.data.encodings import decode

    if isinstance(sys.stdin, io.TextIOWrapper):
        return decode(sys.stdin.buffer.read(), "stdin")
    return sys.stdin.read()


def write_then_show(files: Sequence[Callable[[], None]], show: Callable[[], None]) -> None:
    """Write every file, then print results; raise the first error at the end.

    Results are printed even if a file cannot be written, and files are written even if nobody reads
    the results.

    Raises: HRMError, the first that a file met.
    """
    from hrm_core.errors import HRMError

    failed: HRMError | None = None
    for write in files:
        try:
            write()
        except HRMError as error:
            failed = failed or error
    try:
        show()
    except (OSError, SystemExit):  # nobody reads: click and rich raise SystemExit then
        if failed is None:
            raise
    if failed is not None:
        raise failed


def open_model(path: Path) -> "Model":
    """Load MODEL, with a warning for each damaged checkpoint.

    Raises: CheckpointError if there is no whole one.
    """
    from hrm_core.runs import checkpoint

    return checkpoint.open_model(path, print_warning)


def print_warning(message: str) -> None:
    """Print a warning on stderr."""
    click.echo(f"warning: {message}", err=True)


def drawn_task(task: "Task | None", digits: bool, source: Path) -> "Drawable":
    """Return the task that draws the pictures of a data set or model.

    Raises: UsageError if there is none, or its colours have no numbers to write.
    """
    from hrm_core.tasks.capabilities import Drawable, Numbered

    if not isinstance(task, Drawable):
        raise click.UsageError(f"{source} is of no task that can be drawn; leave out pictures")
    if not digits:
        return task
    if not isinstance(task, Numbered):
        raise _no_digits(task.name, source)
    return task.with_digits()


def sheet_task(task: "Task | None", digits: bool, source: Path) -> "Drawable | Captioned":
    """Return the task that draws a sheet of the examples of a data set. Raises: UsageError as above."""
    from hrm_core.tasks.capabilities import Captioned

    if not isinstance(task, Captioned):
        return drawn_task(task, digits, source)
    if digits:
        raise _no_digits(task.name, source)
    return task


def _no_digits(name: str, source: Path) -> click.UsageError:
    from hrm_core.tasks.registry import titles_with

    return click.UsageError(
        f"--digits is for {titles_with('with_digits')}, {source} is {name}; leave it out"
    )


def backend_options(command: Command) -> Command:
    """Add --backend, --device, --dtype, --compile and --attention; the command gets `make_backend`."""

    @backend_option
    @click.option(
        "--device", type=click.Choice(["auto", "gpu", "cpu"]), default="auto", show_default=True
    )
    @click.option(
        "--dtype",
        type=click.Choice(["auto", "float32", "bfloat16", "float64"]),
        default="auto",
        show_default=True,
        help="auto: bfloat16 on a GPU, float32 on a CPU; float64 only with torch.",
    )
    @click.option(
        "--compile",
        "compiled",
        type=click.Choice(["auto", "on", "off"]),
        default="auto",
        show_default=True,
        help="auto: on a GPU; with MLX on CUDA the optimizer alone.",
    )
    @click.option(
        "--attention",
        type=click.Choice(["auto", "eager", "sdpa", "flash2", "flash3", "flash4"]),
        default="auto",
        show_default=True,
        help="Attention kernel; auto: what `hrm doctor` says.",
    )
    @functools.wraps(command)
    def wrapped(
        *args: Any,
        backend: str,
        device: Any,
        dtype: Any,
        compiled: Any,
        attention: Any,
        **kwargs: Any,
    ) -> Any:
        make_backend = BackendMaker(backend, device, dtype, compiled, attention)
        return command(*args, make_backend=make_backend, **kwargs)

    return wrapped
