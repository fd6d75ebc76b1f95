"""Translate the settings of a published training run, which are Hydra's, into words of `hrm train`.

They come as a file, all_config.yaml, cfg_pretrain.yaml or that of an architecture, or as words like
`lr=1e-4`. Each setting is known by its published key, with dots, and its text: {"arch.L_cycles": "8"}.

Source: sapientinc/HRM config/cfg_pretrain.yaml and config/arch/hrm_v1.yaml.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hrm_core.config import (
    EXTENDS,
    ArchConfig,
    OptimConfig,
    RunConfig,
    TrainConfig,
    load_config,
    parse_yaml,
    preset_names,
)
from hrm_core.data.store import Dataset
from hrm_core.errors import ConfigError, HRMError
from hrm_core.messages import first_few
from hrm_core.presets import fits

from .published_config import ARCH_NAME, SUCCESSOR_NAME, TRAINING_KEYS

WORD = re.compile(r"(?:\+{1,2}|~)?([A-Za-z_][\w./@-]*)=(.*)", re.DOTALL)
SAME_NETWORK = {"hrm_v1", "hrm", ARCH_NAME, SUCCESSOR_NAME}  # by file or by class
DEFAULTS = {  # of a run whose settings are given as words
    "arch.H_cycles": "2", "arch.L_cycles": "2", "arch.H_layers": "4", "arch.L_layers": "4",
    "arch.hidden_size": "512", "arch.num_heads": "8", "arch.expansion": "4",
    "arch.puzzle_emb_ndim": "${.hidden_size}", "arch.pos_encodings": "rope",
    "arch.halt_max_steps": "16", "arch.halt_exploration_prob": "0.1",
    "arch.loss.loss_type": "stablemax_cross_entropy", "data_path": "data/arc-aug-1000",
    "global_batch_size": "768", "epochs": "100000", "eval_interval": "10000", "lr": "1e-4",
    "lr_min_ratio": "1.0", "lr_warmup_steps": "2000", "beta1": "0.9", "beta2": "0.95",
    "weight_decay": "0.1", "puzzle_emb_weight_decay": "0.1", "puzzle_emb_lr": "1e-2",
}  # fmt: skip
WITHOUT_TRACE = {  # keys that do not change the model that is trained
    "arch.loss.name", "arch.mlp_t", "checkpoint_every_eval", "checkpoint_path", "data_path",
    "data_paths", "data_paths_test", "ema", "eval_save_outputs", "evaluators", "freeze_weights",
    "min_eval_interval", "project_name", "run_name",
}  # fmt: skip
OTHER_TASK = "; data of another task has a preset of its own, see hrm presets"
HYDRA = ("defaults", "hydra")  # sections for Hydra alone

Settings = Mapping[str, str]


def published_words(words: Sequence[str]) -> dict[str, str]:
    """Return the settings in words like `lr=1e-4`; other words are left alone."""
    found = [WORD.fullmatch(word) for word in words]
    return {match[1].replace("/", "."): match[2] for match in found if match}


def published_file(path: Path) -> dict[str, str]:
    """Return the settings of a file of published code; {} of another file."""
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except (ConfigError, OSError, UnicodeDecodeError):
        return {}  # said where it is read
    if "loss" in content and "H_cycles" in content:  # the file of an architecture
        content = {"arch": content}
    is_ours = not content.keys().isdisjoint([EXTENDS, *RunConfig.model_fields])
    if is_ours or content.keys().isdisjoint(["arch", "defaults", *TRAINING_KEYS]):
        return {}
    settings = _flat({key: value for key, value in content.items() if key not in HYDRA})
    chosen = content.get("defaults")
    for default in chosen if isinstance(chosen, list) else ():
        if isinstance(default, dict) and "arch" in default:
            settings["arch"] = str(default["arch"])
    return settings


def same_command(settings: Settings, preset: str | None = None) -> str:
    """Write the `hrm train` that does the same as published settings; of a preset, if one is named.

    Raises: ConfigError if they are of another network.
    """
    settings = dict(settings)
    network = settings.pop("arch.name", settings.pop("arch", ARCH_NAME))
    if network not in SAME_NETWORK or settings.get("arch.mlp_t", "").lower() == "true":
        raise ConfigError(f"{network} is another network than HRM, which hrm does not train")
    ours = {_our_key(key): _resolved(settings, text) for key, text in settings.items()}
    ours.pop("", None)
    data = _data_of(settings)
    chosen = preset or _nearest_preset(ours, data)
    config = load_config(chosen)
    words = ["hrm", "train", chosen, "--data", data or "DATA", "--run", "RUN"]
    for key, text in ours.items():
        if _value(key, text) != _stated(config, key):
            words += ["--set", f"{key}={text}"]
    is_known = preset is not None or _fitting(data) or _words_of(data) & _words_of(chosen)
    other_task = "" if is_known else OTHER_TASK
    return f"{shlex.join(words)}{other_task}{_without_counterpart(settings)}"


def same_setting(key: str, text: str) -> str:
    """Write the option that sets what a published setting does; "" if there is none."""
    if key in ("data_path", "data_paths") and _data_of({key: text}):
        return shlex.join(["--data", _data_of({key: text})])
    ours = _our_key(key)
    return shlex.join(["--set", f"{ours}={text}"]) if ours else ""


def _flat(settings: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Return the settings of nested sections by their keys with dots; those without a value are left out."""
    flat: dict[str, str] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{before}{key}.")
        elif value is not None:
            flat[f"{before}{key}"] = _text(value)
    return flat


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _our_key(key: str) -> str:
    """Return the setting of ours that a published key names; "" if there is none."""
    *section, name = key.split(".")
    if section in (["arch"], ["arch", "loss"]) and name in ArchConfig.model_fields:
        return f"model.{name}"
    if section or key in WITHOUT_TRACE:
        return ""
    for ours, kind in (("optim", OptimConfig), ("train", TrainConfig)):
        if name in kind.model_fields:
            return f"{ours}.{name}"
    return ""


def _without_counterpart(settings: Settings) -> str:
    """Write the end of a line about settings that are not ours; "" if there are none."""
    kept = [key for key in settings if not _our_key(key) and key.partition(".")[0] not in HYDRA]
    others = [key for key in kept if key not in WITHOUT_TRACE and key != "load_checkpoint"]
    ends = []
    if settings.get("ema", "").lower() == "true":
        rate = settings.get("ema_rate", "0.999")
        ends.append(f"ema=true is --set train.ema={rate}")
        others = [key for key in others if key != "ema_rate"]
    if "load_checkpoint" in settings:
        ends.append("load_checkpoint is --init MODEL, after hrm convert")
    if others:
        ends.append(f"without a counterpart here: {first_few(others, 5)}")
    return "".join(f"; {end}" for end in ends)


def _resolved(settings: Settings, text: str) -> str:
    """Return the text of a setting that names another one of its section, as ${.hidden_size}."""
    found = re.fullmatch(r"\$\{\.(\w+)\}", text)
    return settings.get(f"arch.{found[1]}", text) if found else text


def _data_of(settings: Settings) -> str:
    """Return the data set, "" unless one is named."""
    named = settings.get("data_path") or settings.get("data_paths", "").strip("[]'\" ")
    return "" if "," in named else named


def _value(key: str, text: str) -> Any:
    return parse_yaml(f"value: {text}", key)["value"]


def _stated(config: RunConfig, key: str) -> Any:
    section, _, name = key.partition(".")
    return getattr(getattr(config, section), name)


def _words_of(name: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", name.lower()))


def _nearest_preset(settings: Settings, data: str) -> str:
    """Return the preset that suits a data set, or its name, with the fewest other settings."""
    values = {key: _value(key, text) for key, text in settings.items()}
    named = _words_of(data)

    def distance(name: str) -> tuple[int, int, str]:
        config = load_config(name)
        num_shared = len(named & _words_of(name))
        num_others = sum(_stated(config, key) != value for key, value in values.items())
        return -num_shared, num_others, name

    return min(_fitting(data) or preset_names(), key=distance)


def _fitting(data: str) -> list[str]:
    """Return the presets that a data set can train; none if it is not there."""
    try:
        sizes = Dataset(Path(data)).metadata.sizes if data else None
    except HRMError:
        return []
    return [name for name in preset_names() if sizes and fits(name, sizes)]
