from importlib import import_module

import pytest

from hrm_core.errors import BackendError, needs_package


def test_missing_package_is_told_in_one_line() -> None:
    with pytest.raises(BackendError, match=r"^install it$"), needs_package("no_such", "install it"):
        import_module("no_such")


def test_other_failure_to_import_keeps_its_traceback() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such"), needs_package("torch", "install it"):
        import_module("no_such")
