import re
from pathlib import Path

import pytest
from hrm_convert import sources
from hrm_convert.sources import open_source

from hrm_core import hub

REPOSITORY = Path(__file__).parents[2]


class FetchedError(Exception):
    """Stands for a download."""


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("hf://a/b", ("a/b", "all_config.yaml", "main")),
        (
            "hf://sapientinc/HRM-checkpoint-ARC-2",
            ("sapientinc/HRM-checkpoint-ARC-2", "all_config.yaml", "main"),
        ),
        ("hf://a/b@v1.0", ("a/b", "all_config.yaml", "v1.0")),
        ("hf://a/b@refs%2Fpr%2F1", ("a/b", "all_config.yaml", "refs/pr/1")),
        ("hf://a/b/runs/one/step_500", ("a/b", "runs/one/all_config.yaml", "main")),
        ("hf://a/b@v2/x.safetensors", ("a/b", "x.safetensors", "v2")),
    ],
)
def test_addresses_on_the_hub(
    address: str, expected: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(
        repository: str, filename: str, repo_type: str = "model", revision: str = "main"
    ) -> Path:
        raise FetchedError(repository, filename, revision)

    monkeypatch.setattr(hub, "fetch", fetch)
    with pytest.raises(FetchedError) as fetched, open_source(address):
        pass
    assert fetched.value.args == expected


@pytest.mark.parametrize(
    "address", ["hf://", "hf://a", "hf:///a/b", "hf://a/b@", "hf://a/b/", "hf://a b/c"]
)
def test_other_addresses_are_refused(address: str) -> None:
    with (
        pytest.raises(
            hub.HubError, match="is no address on the Hub; expected hf://owner/repository"
        ),
        open_source(address),
    ):
        pass


def test_weights_of_the_hub_are_fetched_beside_their_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def fetch(repository: str, filename: str, repo_type: str, revision: str) -> Path:
        asked.append((filename, revision))
        return Path("snapshots/a1b2") / filename

    monkeypatch.setattr(hub, "fetch", fetch)
    assert sources._from_hub("hf://a/b/sub/step_5") == (
        Path("snapshots/a1b2/sub/step_5"),
        Path("snapshots/a1b2/sub/all_config.yaml"),
    )
    assert asked == [("sub/all_config.yaml", "main"), ("sub/step_5", "a1b2")]


def test_one_file_imports_torch_and_none_a_backend() -> None:
    importing = {
        path.name: set(
            re.findall(
                r"^\s+import (torch)$|(?:import|from) (hrm_mlx|hrm_torch_ref|hrm_parity|mlx)\b",
                path.read_text(),
                re.MULTILINE,
            )
        )
        for path in (REPOSITORY / "convert").glob("*.py")
    }
    assert {name for name, found in importing.items() if found} == {"official.py"}
    assert importing["official.py"] == {("torch", "")}
