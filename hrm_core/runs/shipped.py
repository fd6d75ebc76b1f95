"""Find the models that are installed with the code by their names.

They lie in the package hrm_models, which is the folder models/ of the repository.
"""

import os
import re
from pathlib import Path
from typing import NamedTuple

from hrm_core.messages import one_line
from hrm_core.plugins import package_folders

PACKAGE = "hrm_models"
SHOWN = "sudoku-9x9"  # the model of `hrm serve` without a name
CARDS = "README.md"  # beside the models: a section for each


class Card(NamedTuple):
    """Description of a shipped model."""

    about: str  # one sentence; "" if there is no card
    place: str  # file and section


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


def card_of(model: Path) -> Card:
    """Return the card of a shipped model: the section of the README that has its file's name."""
    cards = model.with_name(CARDS)
    text = cards.read_text(encoding="utf-8") if cards.is_file() else ""
    _, heading, section = text.partition(f"\n## {model.name}\n")
    if not heading:
        return Card("", "none")
    section = section.partition("\n## ")[0]
    prose = re.sub(r"^```.*?^```$", "", section, flags=re.DOTALL | re.MULTILINE)
    first = one_line(prose.strip().partition("\n\n")[0])
    sentence = re.split(r"(?<=\.) ", first, maxsplit=1)[0]
    return Card(sentence, f"{cards}, {model.name}")


def known_names() -> str:
    """Return the end of a message about a model that does not exist; "" if none is shipped."""
    names = ", ".join(shipped_models())
    return f"; models that came along (hrm models): {names}" if names else ""
