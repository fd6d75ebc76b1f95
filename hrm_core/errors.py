"""Errors that a user can cause. The command line prints one line for each; see `cli/main.py`."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager


class HRMError(Exception):
    """An error that a user can correct.

    The message says what was found, what was expected and the way out.
    """

    exit_status = 2


class ConfigError(HRMError):
    """A setting that is unknown, ill-typed, duplicate or contradicts another."""


class DataError(HRMError):
    """A data set or a source file that cannot be read in its format."""


class PuzzleError(HRMError):
    """A puzzle that is not well formed or contradicts itself."""


class CheckpointError(HRMError):
    """A checkpoint that is damaged, incomplete or made for another model."""


class RunError(HRMError):
    """A run directory that cannot be used: locked, missing, or holding something else."""


class BackendError(HRMError):
    """A backend, device or package that is not available."""


class NotFiniteError(HRMError):
    """Training diverged: a reported metric is NaN or infinite."""

    exit_status = 1


def install_hint(extra: str) -> str:
    """Return the command that installs what an optional part needs, as this version declares it.

    It names the libraries alone: no index has a package `hrm-mlx`, and anybody could register one.
    """
    from importlib.metadata import PackageNotFoundError, requires

    end = f'extra == "{extra}"'
    try:
        declared = requires("hrm-mlx") or []
    except PackageNotFoundError:  # the folders without an installation
        declared = []
    found = [text.partition(";")[0].strip() for text in declared if text.endswith(end)]
    if not found:
        return f"pip install '.[{extra}]' in a checkout of hrm-mlx"
    return f"pip install {shlex.join(found)}"


@contextmanager
def needs_package(package: str, message: str, extra: str) -> Iterator[None]:
    """Import an optional package; any other import error inside is a bug and keeps its traceback.

    Raises: BackendError with this message, and how to install it, if the package is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise BackendError(f"{message}; {install_hint(extra)}") from error
