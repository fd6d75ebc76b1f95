"""Models that are installed with the code and found by name.

They lie in the package hrm_models, which is the folder models/ of the repository.
"""

import os
from pathlib import Path

from hrm_core.plugins import package_folders

PACKAGE = "hrm_models"


def model_path(model: str | Path) -> Path:
    """Return the path that a user means by MODEL: text may be a name, a Path is a path."""
    named = shipped_model(model) if isinstance(model, str) else None
    return named or Path(model)


def shipped_model(name: str) -> Path | None:
    """Return the file of the shipped model of a name; None if a file or folder is called so."""
    return None if os.path.lexists(name) else shipped_models().get(name)


def shipped_models() -> dict[str, Path]:
    """Return the file of each shipped model by the model's name."""
    folders = package_folders(PACKAGE)
    files = [path for folder in folders for path in sorted(folder.glob("*.safetensors"))]
    return {path.stem: path for path in files}


def known_names(path: Path) -> str:
    """Return the end of a message about a path that may be meant as a name; "" of another path."""
    is_name = str(path) == path.name and not path.exists()
    names = ", ".join(shipped_models())
    return f"; models that are known by name: {names}" if is_name and names else ""
