import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from hrm_core.config import load_config
from hrm_core.errors import CheckpointError
from hrm_core.runs.checkpoint import find_model, load_model
from hrm_core.runs.shipped import CARDS, card_of, model_path, shipped_model, shipped_models

NAME = "sudoku-9x9"
REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def test_every_model_of_the_repository_is_known_by_name() -> None:
    files = sorted((REPOSITORY / "models").glob("*.safetensors"))
    assert NAME in shipped_models()
    assert list(shipped_models()) == [path.stem for path in files]


@pytest.mark.parametrize("name", shipped_models())
def test_every_model_has_its_recipe_its_card_and_its_hash(name: str) -> None:
    """The recipe is the configuration of the model: whoever trains with it gets the same shape."""
    path = REPOSITORY / "models" / f"{name}.safetensors"
    model, recipe = load_model(path).config, load_config(str(path.with_suffix(".yaml")))
    assert recipe.model.sized(model.sizes) == model
    _, _, section = (REPOSITORY / "models" / CARDS).read_text().partition(f"\n## {path.name}\n")
    card = section.partition("\n## ")[0]
    rows = dict(re.findall(r"^\| ([a-z][a-z0-9 ]*) \| (.+) \|$", card, flags=re.MULTILINE))
    assert {"does not solve", "data", "licence", "sha256"} <= rows.keys()
    assert rows["sha256"] == f"`{hashlib.sha256(path.read_bytes()).hexdigest()}`"
    assert f"hrm solve {name} " in card
    assert f"hrm train models/{name}.yaml " in card
    assert path.stat().st_size <= 5e6


def test_name_stands_for_the_file() -> None:
    path = model_path(NAME)
    assert load_model(find_model(path)).source == shipped_models()[NAME] == path


@pytest.mark.parametrize(
    ("section", "about"),
    [
        ("## m.safetensors\n\nSolves x 1.5 times. More.\n", "Solves x 1.5 times."),
        ("## m.safetensors\n\n```\nhrm solve m\n```\n\nSolves\ny. More.\n\n## n\n", "Solves y."),
        ("## other.safetensors\n\nSolves z.\n", ""),
    ],
)
def test_card_is_the_section_of_the_file(tmp_path: Path, section: str, about: str) -> None:
    (tmp_path / "README.md").write_text(f"# Models\n\nAll.\n\n{section}")
    card = card_of(tmp_path / "m.safetensors")
    assert card.about == about
    assert card.place == (f"{tmp_path / 'README.md'}, m.safetensors" if about else "none")


def test_model_without_a_page_has_no_card(tmp_path: Path) -> None:
    assert card_of(tmp_path / "m.safetensors") == ("", "none")


def make_file(path: Path) -> None:
    path.touch()


def make_link_to_nothing(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize("make", [make_file, Path.mkdir, make_link_to_nothing])
def test_path_of_that_name_wins(make: Callable[[Path], None]) -> None:
    make(Path(NAME))
    assert shipped_model(NAME) is None
    assert model_path(NAME) == Path(NAME)


@pytest.mark.parametrize(
    "text",
    [f"./{NAME}", f"{NAME}/", f"../models/{NAME}", f"models/{NAME}", f"{NAME}.safetensors", ""],
)
def test_what_is_written_as_a_path_is_never_looked_up(text: str) -> None:
    assert shipped_model(text) is None
    assert model_path(text) == Path(text)


def test_a_path_is_a_path() -> None:
    assert model_path(Path(NAME)) == Path(NAME)


@pytest.mark.parametrize("path", ["nope", "runs/nope", f"models/{NAME}.safetensors"])
def test_missing_model_is_told_the_folder_and_the_known_names(path: str, tmp_path: Path) -> None:
    message = rf"^{re.escape(path)} does not exist \(in {re.escape(str(tmp_path))}\); .*: .*{NAME}"
    with pytest.raises(CheckpointError, match=message):
        find_model(model_path(path))


def test_folder_that_is_no_model_is_not_called_missing() -> None:
    Path("folder").mkdir()
    with pytest.raises(CheckpointError, match=r"is no model: .* a \.safetensors file$"):
        find_model(model_path("folder"))
