"""Find the models that are installed with the code by their names.

They lie in the package hrm_models, which is the folder models/ of the repository.
"""

import os
from pathlib import Path

from hrm_core.plugins import package_folders

PACKAGE = "hrm_models"


def model_path(model: str | Path) -> Path:
    """Return the path that a user means by MODEL: a str may be a name, a Path is a path."""
    if isinstance(model, str):
        return shipped_model(model) or Path(model)
    return model


def shipped_model(name: str) -> Path | None:
    """Return the file of a shipped model; None if a file or folder of that name exists."""
    if os.path.lexists(name):
        return None
    return shipped_models().get(name)


def shipped_models() -> dict[str, Path]:
    """Return the file of each shipped model by the model's name."""
    files: list[Path] = []
    for folder in package_folders(PACKAGE):
        files += sorted(folder.glob("*.safetensors"))
    return {path.stem: path for path in files}


def known_names() -> str:
    """Return the end of a message about a model that does not exist; "" if none is shipped."""
    names = ", ".join(shipped_models())
    return f"; models that are known by name: {names}" if names else ""
