"""Small models in every form. The published one is written by torch and by hand, not by the code under test."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from hrm_core.config import ModelConfig
from hrm_core.parameters import initial_values
from hrm_core.runs.checkpoint import save_model

Weights = dict[str, Any]

YAML = """\
arch:
  H_cycles: 2
  H_layers: 1
  L_cycles: 2
  L_layers: 1
  expansion: 0.1
  forward_dtype: {forward_dtype}
  halt_exploration_prob: 0.1
  halt_max_steps: 4
  hidden_size: 8
  loss:
    loss_type: stablemax_cross_entropy
    name: losses@ACTLossHead
  name: hrm.hrm_act_v1@HierarchicalReasoningModel_ACTV1
  num_heads: 2
  pos_encodings: {pos_encodings}
  puzzle_emb_ndim: {puzzle_emb_ndim}
beta1: 0.9
beta2: 0.95
checkpoint_every_eval: true
checkpoint_path: checkpoints/Somewhere/something
data_path: data/sudoku-extreme-1k-aug-1000
epochs: 20000
eval_interval: 2000
eval_save_outputs: []
global_batch_size: 768
lr: 7.0e-05
lr_min_ratio: 1.0
lr_warmup_steps: 2000
project_name: null
puzzle_emb_lr: 0.0001
puzzle_emb_weight_decay: 1.0
run_name: loose-bat
seed: 0
weight_decay: 1.0
"""


def make_config(**changes: Any) -> ModelConfig:
    """What YAML and the tensors of `published` say together."""
    settings = {
        "vocab_size": 11,
        "seq_len": 81,
        "num_puzzle_identifiers": 3,
        "puzzle_emb_ndim": 8,
        "H_layers": 1,
        "L_layers": 1,
        "hidden_size": 8,
        "num_heads": 2,
        "expansion": 0.1,
        "halt_max_steps": 4,
        "forward_dtype": "bfloat16",
    }
    return ModelConfig.model_validate({**settings, **changes})


def make_weights(config: ModelConfig, seed: int = 3) -> Weights:
    """Initial values, nothing of them zero."""
    weights = initial_values(config, seed)
    rng = np.random.default_rng(seed)
    return {
        name: array if array.any() else rng.standard_normal(array.shape, np.float32)
        for name, array in weights.items()
    }


def save_published(
    folder: Path,
    config: ModelConfig,
    weights: Mapping[str, Any],
    prefix: str = "_orig_mod.model.inner.",
    name: str = "checkpoint",
) -> Path:
    """A published checkpoint as its training writes it."""
    torch = pytest.importorskip(
        "torch", reason="torch is missing: published checkpoints are not tested"
    )
    state = {}
    for key, array in weights.items():
        tensor = torch.from_numpy(np.array(array))
        is_start = key.endswith(("H_init", "L_init"))
        state[prefix + key] = (
            tensor.to(getattr(torch, config.forward_dtype)) if is_start else tensor
        )
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state, folder / name)
    fields = {
        field: getattr(config, field)
        for field in ("forward_dtype", "pos_encodings", "puzzle_emb_ndim")
    }
    (folder / "all_config.yaml").write_text(YAML.format(**fields))
    return folder


def same(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """The same names, shapes, dtypes and bits."""
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert (found[name].shape, found[name].dtype) == (array.shape, array.dtype), name
        assert found[name].tobytes() == np.ascontiguousarray(array).tobytes(), name


@pytest.fixture(scope="session")
def config_of() -> Callable[..., ModelConfig]:
    return make_config


@pytest.fixture(scope="session")
def weights_of() -> Callable[..., Weights]:
    return make_weights


@pytest.fixture(scope="session")
def publish() -> Callable[..., Path]:
    return save_published


@pytest.fixture(scope="session")
def assert_same() -> Callable[..., None]:
    return same


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    """A model file of ours: vocabulary 11, 81 tokens, 3 puzzle identifiers."""
    config = make_config()
    path = tmp_path / "model.safetensors"
    save_model(path, config, "sudoku", make_weights(config))
    return path


@pytest.fixture
def names_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes an identifiers.json."""

    def write(name: str, *names: str) -> Path:
        path = tmp_path / name
        path.write_text(json.dumps(["<blank>", *names]))
        return path

    return write


@pytest.fixture(scope="session")
def bits16() -> Callable[..., Any]:
    """Random finite bfloat16 bit patterns, subnormal numbers and negative zero among them."""

    def draw(shape: tuple[int, ...], seed: int = 0) -> Any:
        bits = np.random.default_rng(seed).integers(0, 2**16, shape).astype(np.uint16)
        values = bits.view(ml_dtypes.bfloat16)
        return (
            np.where(np.isfinite(values.astype(np.float32)), bits, np.uint16(0x8000))
            .astype(np.uint16)
            .view(ml_dtypes.bfloat16)
        )

    return draw
