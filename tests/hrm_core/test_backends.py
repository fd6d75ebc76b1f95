"""The one place that chooses a backend by name."""

import subprocess
import sys
from typing import Any

import pytest

from hrm_core import backends
from hrm_core.backends import BACKENDS, backend_named, installed_backend
from hrm_core.errors import BackendError
from hrm_mlx.backend import MLXBackend

LOADED = "import sys, hrm_core.backends; print({'numpy', 'mlx', 'torch'} & set(sys.modules))"


def test_backends_are_found_by_name() -> None:
    assert list(BACKENDS) == ["mlx", "torch"]
    assert backend_named("mlx") is MLXBackend


def test_unknown_backend_is_refused() -> None:
    with pytest.raises(BackendError, match="unknown backend jax; use mlx or torch"):
        backend_named("jax")


def test_no_framework_is_loaded_before_a_backend_is_asked_for() -> None:
    found = subprocess.run(
        [sys.executable, "-c", LOADED], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("missing", "expected"), [((), "mlx"), (("mlx",), "torch"), (("torch",), "mlx")]
)
def test_installed_backend_is_mlx_or_torch(
    missing: tuple[str, ...], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "backend_named", lambda name: _unless(missing, name))
    assert installed_backend() == expected


def test_error_names_mlx_where_neither_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "backend_named", lambda name: _unless(("mlx", "torch"), name))
    with pytest.raises(BackendError, match="mlx is not installed"):
        installed_backend()


def _unless(missing: tuple[str, ...], name: str) -> Any:
    if name in missing:
        raise BackendError(f"{name} is not installed")
    return object
