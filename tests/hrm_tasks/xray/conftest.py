from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def xray_dir(data_dir: Path) -> Path:
    """Real chest X-rays."""
    found = data_dir / "xray"
    if not found.is_dir():
        pytest.skip(f"chest X-rays are not at {found}")
    return found
