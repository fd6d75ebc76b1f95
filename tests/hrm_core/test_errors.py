import re
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from hrm_core.errors import BackendError, install_hint, needs_package

REPOSITORY = Path(__file__).parents[2]


def test_missing_package_is_told_in_one_line() -> None:
    message = r"^it is missing; pip install 'torch>=2\.6'$"
    missing = needs_package("no_such", "it is missing", "torch")
    with pytest.raises(BackendError, match=message), missing:
        import_module("no_such")


def test_other_failure_to_import_keeps_its_traceback() -> None:
    with (
        pytest.raises(ModuleNotFoundError, match="no_such"),
        needs_package("torch", "it is missing", "torch"),
    ):
        import_module("no_such")


@pytest.mark.parametrize("extra", ["cpu", "blas", "torch", "hub", "plot", "text", "dicom", "bench"])
def test_hints_name_the_libraries_of_an_extra(extra: str) -> None:
    declared = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    (requirement,) = declared["project"]["optional-dependencies"][extra]
    name = requirement.partition(";")[0].strip()
    assert install_hint(extra) == f"pip install '{name}'"


def test_no_hint_names_a_package_that_no_index_has() -> None:
    places = [*REPOSITORY.glob("docs/*.md"), *REPOSITORY.glob("hrm_tasks/*/*.md")]
    places += REPOSITORY.glob("*.md")
    for folder in (
        "hrm_core",
        "hrm_mlx",
        "hrm_torch_ref",
        "hrm_parity",
        "hrm_tasks",
        "convert",
        "cli",
    ):
        places += (REPOSITORY / folder).rglob("*.py")
    found = re.compile(r"""hrm-mlx\[|pip install ["']?hrm[-_]mlx""")
    assert len(places) > 100
    assert [path for path in places if found.search(path.read_text())] == []
    assert found.search("pip install 'hrm-mlx[torch]'")
