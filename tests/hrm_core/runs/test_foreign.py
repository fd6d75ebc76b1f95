"""What is not yet a model is answered with the command that makes one of it."""

import json
import pickle
import shlex
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import hrm_mlx
from hrm_core.errors import CheckpointError
from hrm_core.runs.checkpoint import find_model
from hrm_core.runs.foreign import refuse_foreign

Refusal = Callable[..., str]


def torch_file(path: Path) -> Path:
    """An archive as torch writes it, as far as its names go."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{path.stem}/data.pkl", pickle.dumps({}))
    return path


def published(folder: Path) -> Path:
    torch_file(folder / "checkpoint")
    (folder / "all_config.yaml").write_text("arch: {}")
    return folder


def command(path: Path | str) -> list[str]:
    """The words of the command in the refusal of a path."""
    with pytest.raises(CheckpointError) as refused:
        find_model(Path(path))
    message = str(refused.value)
    assert "\n" not in message
    start, _, end = message.partition("make it a model first: ")
    assert start
    words = shlex.split(end.partition(", then use ")[0])
    assert words[:2] == ["hrm", "convert"]
    assert end.endswith(f", then use {words[3]}")
    return words[2:]


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("hf://owner/name", "hf://owner/name"),
        ("hf://owner/name@v1/step_5", "hf://owner/name@v1/step_5"),
        ("https://huggingface.co/owner/name", "hf://owner/name"),
        ("https://huggingface.co/owner/name/tree/main", "hf://owner/name"),
    ],
)
def test_address_of_the_hub_is_converted(address: str, source: str) -> None:
    assert command(address)[0] == source


def test_published_checkpoint_is_converted(tmp_path: Path) -> None:
    folder = published(tmp_path / "a model")
    assert command(folder) == [str(folder), "models/a model"]
    assert command(folder / "checkpoint") == [str(folder / "checkpoint"), "models/a model"]
    (folder / "all_config.yaml").unlink()
    (folder / "checkpoint").rename(folder / "step_100.pt")
    assert command(folder)[0] == str(folder)
    (folder / "old.pt").write_bytes(pickle.dumps({}))
    assert command(folder / "old.pt")[0] == str(folder / "old.pt")


def test_destination_is_not_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    published(tmp_path / "models" / "mine")
    assert command("models/mine") == ["models/mine", "models/mine-hrm"]
    assert command("models/mine/checkpoint") == ["models/mine/checkpoint", "models/mine-hrm"]


@pytest.mark.parametrize("length", [128, 640, 0x04034B50])
def test_no_header_of_safetensors_is_taken_for_a_pickle(tmp_path: Path, length: int) -> None:
    path = tmp_path / "model"
    path.write_bytes(struct.pack("<Q", length) + json.dumps({}).encode().ljust(200))
    refuse_foreign(path)
    assert find_model(path) == path


def test_model_of_ours_beside_published_weights_is_found(tiny_run: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(find_model(tiny_run).parent, tmp_path / "both")
    published(folder)
    assert find_model(folder) == folder / "model.safetensors"


def test_other_files_and_folders_are_left_to_others(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.writestr("a.json", "{}")
    for path in (
        tmp_path,
        tmp_path / "data.zip",
        tmp_path / "gone",
        Path("hf"),
        Path("hf://"),
        Path(),
    ):
        refuse_foreign(path)


def test_every_command_that_takes_a_model_says_it(
    refusal: Refusal, tmp_path: Path, tiny_config: Path, tiny_data: Path
) -> None:
    folder = published(tmp_path / "published")
    data = ["--data", tiny_data]
    for model in (folder, folder / "checkpoint", "hf://owner/name"):
        for words in (
            ["solve", model, "1... ..2. .3.. ...4"],
            ["eval", model, *data],
            ["train", tiny_config, *data, "--run", tmp_path / "run", "--init", model],
        ):
            assert f"make it a model first: hrm convert {model} models/" in refusal(*words)
        with pytest.raises(CheckpointError, match="make it a model first: hrm convert"):
            hrm_mlx.load(model)
    assert not (tmp_path / "run").exists()
