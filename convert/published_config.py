"""Read and write all_config.yaml, the settings beside a published checkpoint.

Source: sapientinc/HRM pretrain.py (PretrainConfig) and models/hrm/hrm_act_v1.py
(HierarchicalReasoningModel_ACTV1Config); SamsungSAILMontreal/TinyRecursiveModels pretrain.py and
models/recursive_reasoning/hrm.py, which is the same network.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hrm_core.config import (
    ArchConfig,
    ModelConfig,
    RunConfig,
    is_beyond,
    load_config,
    parse_yaml,
    validated,
)
from hrm_core.errors import ConfigError
from hrm_core.messages import shortened
from hrm_core.runs.foreign import SETTINGS_FILE

CONFIG_FILE = SETTINGS_FILE
WHERE_FROM = (
    "it is needed beside a published checkpoint, for the settings of the network: training writes it "
    "into the folder of its run, and on the Hub it lies beside the weights; copy it from there"
)
ARCH_NAME = "hrm.hrm_act_v1@HierarchicalReasoningModel_ACTV1"
SUCCESSOR_NAME = "recursive_reasoning.hrm@HierarchicalReasoningModel_ACTV1"
LOSS_NAME = "losses@ACTLossHead"
SIZES = ("vocab_size", "seq_len", "num_puzzle_identifiers")  # published code reads them from data
ARCH_KEYS = tuple(
    name
    for name in ArchConfig.model_fields
    if name not in (*SIZES, "loss_type") and not is_beyond(ArchConfig, name)
)
OPTIONAL = {  # published defaults
    "puzzle_emb_ndim": 0,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "forward_dtype": "bfloat16",
}
FALLBACK_PRESET = "sudoku-extreme-1k"  # training settings of a model that has none of its own
TRAINING_KEYS = (
    "data_path", "global_batch_size", "epochs", "lr", "lr_min_ratio", "lr_warmup_steps",
    "weight_decay", "beta1", "beta2", "puzzle_emb_lr", "puzzle_emb_weight_decay", "project_name",
    "run_name", "checkpoint_path", "seed", "checkpoint_every_eval", "eval_interval",
    "eval_save_outputs",
)  # fmt: skip


@dataclass(frozen=True)
class PublishedConfig:
    """Content of all_config.yaml."""

    arch: ArchConfig
    training: dict[str, Any]  # by published key
    ignored: list[str]  # keys of other versions


def read_published_config(path: Path) -> PublishedConfig:
    """Read all_config.yaml.

    Raises: ConfigError if it is missing or damaged, names another network, or has an unknown
    setting of the network.
    """
    settings = _read_yaml(path)
    arch = _section(settings, "arch", "arch", path)
    loss = _section(arch, "loss", "arch.loss", path)
    _require(arch.pop("name", None), (ARCH_NAME, SUCCESSOR_NAME), "arch.name", path)
    _require(loss.pop("name", None), (LOSS_NAME,), "arch.loss.name", path)
    if arch.get("mlp_t") is False:  # an MLP in the place of attention
        del arch["mlp_t"]
    given = {f"arch.{key}": value for key, value in arch.items() if value is not None}
    given |= {f"arch.loss.{key}": value for key, value in loss.items() if value is not None}
    _check_keys(given, path)
    stated = {key.rpartition(".")[2]: value for key, value in given.items()}
    data_paths = settings.get("data_paths")  # of the successor
    if isinstance(data_paths, list) and len(data_paths) == 1:
        settings.setdefault("data_path", *settings.pop("data_paths"))
    training = {}
    for key in TRAINING_KEYS:
        if settings.get(key) is not None:
            training[key] = settings[key]
    return PublishedConfig(
        arch=validated(ArchConfig, OPTIONAL | stated, f"{path}, section arch"),
        training=training,
        ignored=sorted(settings.keys() - set(TRAINING_KEYS)),
    )


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        return parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); {WHERE_FROM}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no text in UTF-8; copy it again") from error


def _section(settings: dict[str, Any], key: str, name: str, path: Path) -> dict[str, Any]:
    """Take a section out of settings. Raises: ConfigError if there is none."""
    section = settings.pop(key, None)
    if not isinstance(section, dict):
        raise ConfigError(
            f"{path} has no section {name}; expected the all_config.yaml of a published run"
        )
    return section


def _check_keys(given: Mapping[str, Any], path: Path) -> None:
    """Refuse unknown and missing settings of the network. Raises: ConfigError naming them."""
    expected = [*(f"arch.{key}" for key in ARCH_KEYS), "arch.loss.loss_type"]
    unknown = sorted(given.keys() - set(expected))
    required = [key for key in expected if key.removeprefix("arch.") not in OPTIONAL]
    found = [f"{key[:80]} is unknown" for key in unknown]
    found += [f"{key} is missing" for key in required if key not in given]
    if found:
        raise ConfigError(f"{path}: {'; '.join(found)}; expected the settings of {ARCH_NAME}")


def write_published_config(path: Path, config: ModelConfig, training: Mapping[str, Any]) -> None:
    """Write all_config.yaml with every key that published code reads."""
    arch = config.model_dump(exclude={*SIZES, "loss_type"})
    arch["name"] = ARCH_NAME
    arch["loss"] = {"name": LOSS_NAME, "loss_type": config.loss_type}
    settings = {"arch": arch, **{key: training.get(key) for key in TRAINING_KEYS}}
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")


def published_training(run: RunConfig | None) -> dict[str, Any]:
    """Return the training settings of a run by their published keys.

    Without a run they are those of the paper's Sudoku experiment.
    """
    settings = run or load_config(FALLBACK_PRESET)
    train = settings.train
    return {
        "data_path": settings.data.path if settings.data else "data/unknown",
        "global_batch_size": train.global_batch_size,
        "epochs": train.epochs,
        "eval_interval": train.eval_interval,
        "seed": train.seed,
        **settings.optim.model_dump(),
        "checkpoint_every_eval": True,
        "eval_save_outputs": [],
    }


def _require(found: Any, expected: Sequence[str], key: str, path: Path) -> None:
    if found not in expected:
        raise ConfigError(
            f"{path}: {key} is {shortened(str(found), 80)}, expected {' or '.join(expected)}; "
            "other networks are not converted"
        )
