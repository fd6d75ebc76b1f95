"""Errors that a user can cause. The command line prints one line for each; see `cli/main.py`."""

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


@contextmanager
def needs_package(package: str, message: str) -> Iterator[None]:
    """Import an optional package; any other import error inside is a bug and keeps its traceback.

    Raises: BackendError with this message if the package is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise BackendError(message) from error
