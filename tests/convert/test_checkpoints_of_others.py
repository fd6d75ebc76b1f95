"""Checkpoints as other programs leave them: wrapped, renamed, wide, without settings, of other networks."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hrm_convert.sources import open_source, read_model
from hrm_convert.tensors import ConversionError
from safetensors.numpy import save_file

from hrm_core.errors import CheckpointError, ConfigError
from hrm_core.runs.checkpoint import Model

torch = pytest.importorskip(
    "torch", reason="torch is missing: published checkpoints are not tested"
)


@pytest.fixture(scope="session")
def made(cases_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small checkpoints with random weights, each with one oddity; `good` has none."""
    folder = tmp_path_factory.mktemp("checkpoints")
    script = cases_dir / "checkpoints" / "make_checkpoints.py"
    subprocess.run([sys.executable, script, folder], check=True, timeout=120)
    return folder


def same_weights(model: Model, other: Model) -> None:
    assert (model.config, model.task) == (other.config, other.task)
    assert model.weights.keys() == other.weights.keys()
    for name, array in model.weights.items():
        np.testing.assert_array_equal(array, other.weights[name], err_msg=name)


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("inside_model", "read from the entry model of the file; step beside it were left out"),
        ("inside_state_dict", "entry model_state_dict of the file; epoch, optimizer_state_dict"),
        ("ddp_module", "seq_len 81 was inferred"),
        ("float64", "seq_len 81 was inferred"),
        ("step_pt", "seq_len 81 was inferred"),
        ("hrm_of_trm_repository", "which were ignored: ema, evaluators"),
    ],
)
def test_checkpoint_of_another_program_is_the_good_one(made: Path, name: str, note: str) -> None:
    same_weights(read_model(str(made / name)), read_model(str(made / "good")))
    with open_source(str(made / name)) as opened:
        assert any(note in found for found in opened.notes)
        assert opened.training is not None
        assert opened.training["data_path"] == "data/x"


def test_another_network_is_refused_by_its_name(made: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"arch.name is recursive_reasoning.trm@TinyRecursiveReasoningModel_ACTV1"
    ):
        read_model(str(made / "trm"))


def test_missing_settings_are_said_to_come_from_the_run_or_the_hub(made: Path) -> None:
    for path in (made / "no_config", made / "no_config" / "step_100"):
        with pytest.raises(ConfigError) as refused:
            read_model(str(path))
        assert "all_config.yaml" in str(refused.value)
        assert "training writes it into the folder of its run, and on the Hub it lies" in str(
            refused.value
        )


@pytest.fixture
def published(tmp_path: Path, publish: Any, config_of: Any, weights_of: Any) -> Path:
    config = config_of()
    return Path(publish(tmp_path / "published", config, weights_of(config)))


def rewritten(folder: Path, change: Callable[[dict[str, Any]], None]) -> str:
    state = torch.load(folder / "checkpoint")
    change(state)
    torch.save(state, folder / "checkpoint")
    return str(folder)


def test_tensors_are_named_before_a_length_is_asked_for(published: Path) -> None:
    """A vocabulary of no published task: the length would be asked for, if all else were right."""
    prefix = "_orig_mod.model.inner."

    def widen(state: dict[str, Any]) -> None:
        for name in ("embed_tokens.embedding_weight", "lm_head.weight"):
            state[prefix + name] = torch.ones(7, 8)

    source = rewritten(published, widen)
    with pytest.raises(ConversionError, match=r"has vocab_size 7, .* give it with --seq-len N"):
        read_model(source)
    assert read_model(source, seq_len=5).config.seq_len == 5

    def damage(state: dict[str, Any]) -> None:
        del state[prefix + "lm_head.weight"]
        state[prefix + "z_head.weight"] = torch.ones(2)

    with pytest.raises(ConversionError, match=r"missing: lm_head.weight; unexpected: .*z_head"):
        read_model(rewritten(published, damage))


@pytest.mark.parametrize("name", ["weights.pt", "pytorch_model.bin", "last.ckpt", "a.pth"])
def test_lone_file_of_torch_is_taken_for_the_weights(published: Path, name: str) -> None:
    expected = read_model(str(published))
    (published / "checkpoint").rename(published / name)
    same_weights(read_model(str(published)), expected)
    with open_source(str(published)) as opened:
        assert f"{name} was taken for the weights of {published}" in opened.notes
    (published / "other.pt").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"holds .*other\.pt.*; name the file to convert"):
        read_model(str(published))


def test_mlp_in_the_place_of_attention_is_refused(published: Path) -> None:
    path = published / "all_config.yaml"
    settings = yaml.safe_load(path.read_text())
    for value, is_read in ((False, True), (True, False)):
        settings["arch"]["mlp_t"] = value
        path.write_text(yaml.safe_dump(settings))
        if is_read:
            read_model(str(published))
            continue
        with pytest.raises(ConfigError, match=r"arch\.mlp_t is unknown"):
            read_model(str(published))


def test_weights_in_safetensors_need_their_settings_too(published: Path, tmp_path: Path) -> None:
    expected = read_model(str(published))
    lone = tmp_path / "lone.safetensors"
    save_file({f"model.{name}": np.array(array) for name, array in expected.weights.items()}, lone)
    with pytest.raises(ConfigError, match=r"lone.safetensors has no all_config.yaml beside it"):
        read_model(str(lone))
    (published / "all_config.yaml").rename(tmp_path / "all_config.yaml")
    same_weights(read_model(str(lone)), expected)


def test_value_too_large_for_float32_is_named(published: Path) -> None:
    def widen(state: dict[str, Any]) -> None:
        name = "_orig_mod.model.inner.q_head.weight"
        state[name] = state[name].double()
        state[name][1, 2] = 1e300

    with pytest.raises(
        ConversionError, match=r"q_head.weight holds 1e\+300 at \[1, 2\], more than"
    ):
        read_model(rewritten(published, widen))
