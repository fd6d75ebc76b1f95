import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Recorded runs of the published code: HRM_GOLDEN, or ../shared/golden beside the repository."""
    return _given_directory("HRM_GOLDEN", REPOSITORY.parent / "shared" / "golden")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Published puzzles: HRM_DATA, or ../shared/data beside the repository."""
    return _given_directory("HRM_DATA", REPOSITORY.parent / "shared" / "data")


def _given_directory(variable: str, default: Path) -> Path:
    directory = Path(os.environ.get(variable, default))
    if not directory.is_dir():
        pytest.skip(f"{directory} is missing; {variable} says where it is")
    return directory
