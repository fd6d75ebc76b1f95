"""Run `hrm` in this process, found by its installed entry point: no package is named."""

import contextlib
import io
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

if find_spec("mlx"):
    import hrm_mlx  # noqa: F401 - before anything else imports mlx: it brings the fast BLAS

SETTINGS = {"COLUMNS": "100", "HF_HUB_OFFLINE": "1", "WORLD_SIZE": "1", "NO_COLOR": "1"}


class Outcome(NamedTuple):
    """Result of one command."""

    status: int
    out: str
    err: str


def run(
    argv: Sequence[str], folder: Path, stdin: str = "", settings: dict[str, str] | None = None
) -> Outcome:
    """Run one command in `folder`. `settings` are environment variables."""
    (script,) = entry_points(group="console_scripts", name="hrm")
    main = script.load()
    out, err = io.StringIO(), io.StringIO()
    with contextlib.ExitStack() as stack:
        # the program ignores Ctrl-C at its end; child processes of later tests would inherit that
        stack.callback(signal.signal, signal.SIGINT, signal.getsignal(signal.SIGINT))
        stack.enter_context(_environment(SETTINGS | (settings or {})))
        stack.enter_context(contextlib.chdir(folder))
        stack.enter_context(_streams(["hrm", *argv], io.StringIO(stdin)))
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        stack.enter_context(_shown_warnings())
        status = main()
    return Outcome(status, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def _environment(settings: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _streams(argv: list[str], stdin: io.StringIO) -> Iterator[None]:
    before = sys.argv, sys.stdin
    sys.argv, sys.stdin = argv, stdin
    try:
        yield
    finally:
        sys.argv, sys.stdin = before


@contextlib.contextmanager
def _shown_warnings() -> Iterator[None]:
    """Write warnings to stderr as Python does outside of tests, formatted as `main` wants it."""

    def show(message: Any, category: Any, filename: str, lineno: int, *rest: Any) -> None:
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno))

    formatting = warnings.formatwarning
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("default", UserWarning)
        warnings.filterwarnings("ignore", "only MLX's own slow BLAS")
        warnings.showwarning = show
        try:
            yield
        finally:
            warnings.formatwarning = formatting
