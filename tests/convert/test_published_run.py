"""Settings of published training runs are answered with the `hrm train` that does the same."""

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hrm_convert.published_config import write_published_config
from hrm_convert.published_run import (
    DEFAULTS,
    published_file,
    published_words,
    same_command,
    same_setting,
)

from hrm_core.config import ConfigError, load_config

Refusal = Callable[..., str]
PRETRAIN = """\
defaults:
  - arch: hrm_v1
  - _self_

hydra:
  output_subdir: null

data_path: data/arc-aug-1000
global_batch_size: 768
epochs: 100000
eval_interval: 10000
checkpoint_every_eval: True
lr: 1e-4
lr_min_ratio: 1.0
lr_warmup_steps: 2000
beta1: 0.9
beta2: 0.95
weight_decay: 0.1
puzzle_emb_weight_decay: 0.1
puzzle_emb_lr: 1e-2
"""
SUDOKU = "data_path=data/sudoku-extreme-1k-aug-1000 epochs=20000 eval_interval=2000"
FULL = """
    data_path=data/sudoku-hard-full epochs=100 eval_interval=10 lr_min_ratio=0.1
    global_batch_size=2304 lr=3e-4 puzzle_emb_lr=3e-4 weight_decay=0.1 puzzle_emb_weight_decay=0.1
    arch.loss.loss_type=softmax_cross_entropy arch.L_cycles=8 arch.halt_max_steps=8
    arch.pos_encodings=learned
"""


def words_of(command: str) -> list[str]:
    """The words of a command behind `hrm train`, those of its data and its run left out."""
    words = shlex.split(command)
    assert words[:2] == ["hrm", "train"]
    assert (words[3], words[5:7]) == ("--data", ["--run", "RUN"])
    return [words[2], *words[7:]]


@pytest.mark.parametrize(
    ("published", "preset"),
    [
        ("", "arc-1"),
        ("data_path=data/arc-2-aug-1000", "arc-2"),
        (
            f"{SUDOKU} global_batch_size=384 lr=7e-5 puzzle_emb_lr=7e-5 weight_decay=1.0 "
            "puzzle_emb_weight_decay=1.0",
            "sudoku-extreme-1k-mac",
        ),
        (
            f"{SUDOKU} lr=1e-4 puzzle_emb_lr=1e-4 weight_decay=1.0 puzzle_emb_weight_decay=1.0",
            "sudoku-extreme-1k",
        ),
        (
            "data_path=data/maze-30x30-hard-1k epochs=20000 eval_interval=2000 lr=1e-4 "
            "puzzle_emb_lr=1e-4 weight_decay=1.0 puzzle_emb_weight_decay=1.0",
            "maze-30x30-hard",
        ),
        (FULL, "sudoku-extreme-full"),
    ],
)
def test_commands_of_the_published_readme_are_the_presets(published: str, preset: str) -> None:
    """Our presets were written from these commands: nothing is left to set."""
    settings = {**DEFAULTS, **published_words(published.split())}
    assert words_of(same_command(settings)) == [preset]


def test_data_set_that_is_there_decides_the_preset(tiny_data: Path) -> None:
    command = same_command({**DEFAULTS, "data_path": str(tiny_data)})
    assert words_of(command)[0] == "sudoku-4x4"
    assert "data of another task" not in command
    assert "data of another task" in same_command({**DEFAULTS, "data_path": "data/x"})


def test_settings_that_differ_are_set_and_the_run_has_them() -> None:
    words = ["lr=2e-5", "arch.L_cycles=4", "arch.loss.loss_type=softmax_cross_entropy", "+seed=7"]
    preset, *rest = words_of(same_command(published_words(words), "sudoku-extreme-1k"))
    assert (preset, rest[::2]) == ("sudoku-extreme-1k", ["--set"] * 4)
    config = load_config(preset, rest[1::2])
    assert (config.optim.lr, config.model.L_cycles, config.train.seed) == (2e-5, 4, 7)
    assert config.model.loss_type == "softmax_cross_entropy"
    assert config.model.puzzle_emb_ndim == 512


@pytest.mark.parametrize(
    ("key", "text", "option"),
    [
        ("lr", "1e-4", "--set optim.lr=1e-4"),
        ("global_batch_size", "96", "--set train.global_batch_size=96"),
        ("arch.H_cycles", "3", "--set model.H_cycles=3"),
        ("data_path", "my data", "--data 'my data'"),
        ("data_paths", "[data/x]", "--data data/x"),
        ("data_paths", "[data/x,data/y]", ""),
        ("run_name", "x", ""),
        ("evaluators.name", "x", ""),
    ],
)
def test_each_setting_has_its_option(key: str, text: str, option: str) -> None:
    assert same_setting(key, text) == option


def test_files_of_published_code_are_known_by_their_content(tmp_path: Path) -> None:
    path = tmp_path / "any name.yaml"
    path.write_text(PRETRAIN)
    assert words_of(same_command(published_file(path))) == ["arc-1"]
    full = load_config("sudoku-extreme-full")
    training = {**full.optim.model_dump(), **full.train.model_dump(), "data_path": "data/sudoku"}
    sizes = {"vocab_size": 11, "seq_len": 81, "num_puzzle_identifiers": 1}
    arch = full.model.model_copy(update=sizes)
    write_published_config(path, arch, training)  # type: ignore[arg-type]  # sizes are stated
    assert words_of(same_command(published_file(path))) == ["sudoku-extreme-full"]
    arch_alone = yaml.safe_load(path.read_text())["arch"]
    path.write_text(yaml.safe_dump(arch_alone))
    assert published_file(path).keys() >= {"arch.L_cycles", "arch.loss.loss_type"}


@pytest.mark.parametrize(
    "content",
    [
        "extends: arc-1",
        "model: {}\nlr: 1e-4",
        "optim: {}\nepochs: 3",
        "my_setting: 3",
        "- 1",
        "a: [",
        "",
    ],
)
def test_other_files_are_left_alone(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.yaml").write_text(content)
    assert published_file(tmp_path / "x.yaml") == {}


def test_another_network_is_refused_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(PRETRAIN.replace("hrm_v1", "trm"))
    for settings in (published_file(path), {"arch": "trm"}, {"arch.name": "trm"}):
        with pytest.raises(ConfigError, match=r"^trm is another network than HRM"):
            same_command(settings)
    path.write_text(PRETRAIN.replace("hrm_v1", "hrm"))
    assert words_of(same_command(published_file(path))) == ["arc-1"]
    with pytest.raises(ConfigError, match="is another network than HRM"):
        same_command({"arch.mlp_t": "True"})


def test_what_has_no_counterpart_is_said() -> None:
    settings = published_words(["ema=True", "ema_rate=0.99", "load_checkpoint=x", "foo=1", "a.b=2"])
    end = same_command(settings, "arc-1").partition("; ema=true")[2]
    assert end == (
        " is --set train.ema=0.99; load_checkpoint is --init MODEL, after hrm convert; "
        "without a counterpart here: foo, a.b"
    )


def test_train_answers_settings_of_hydra(
    refusal: Refusal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cfg_pretrain.yaml").write_text(PRETRAIN)
    same = "hrm train arc-1 --data data/arc-aug-1000 --run RUN"
    message = f"cfg_pretrain.yaml holds settings of published code; the same is {same}"
    assert refusal("train", "cfg_pretrain.yaml", "--run", "run") == message
    assert refusal("train", "cfg_pretrain.yaml") == message
    assert refusal("train", "cfg_pretrain.yaml", "lr=3") == f"{message} --set optim.lr=3"
    for words in (["lr=1e-4"], ["arc-1", "lr=1e-4", "--run", "run"], ["--resume", "lr=1e-4"]):
        assert "lr=1e-4 is --set optim.lr=1e-4. All of it: hrm train arc-1" in refusal(
            "train", *words
        )
    assert list(tmp_path.iterdir()) == [tmp_path / "cfg_pretrain.yaml"]


def test_values_of_options_are_no_settings_of_hydra(refusal: Refusal, tmp_path: Path) -> None:
    config = tmp_path / "lr=1.yaml"
    config.write_text("extends: sudoku-4x4")
    for words in (["arc-1", "--set", "optim.lr=1e-4"], [config], ["arc-1", "--data", "a=b"]):
        message = refusal("train", *words, "--run", tmp_path / "run")
        assert "Hydra" not in message
