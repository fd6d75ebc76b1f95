"""Compare the settings of a run with those of its checkpoint: a resumed run must not change them.

Every state.json holds the settings that config.yaml had, under its own hash; the model file holds
the config of the model. A checkpoint of an earlier version holds no settings: then only the model
is compared.
"""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hrm_core.config import ModelConfig, RunConfig
from hrm_core.errors import RunError
from hrm_core.messages import first_misfits, shortened

SETTINGS = "settings"  # entry of state.json


def recorded_settings(config: RunConfig) -> dict[str, Any]:
    """Return the settings that each checkpoint of a run records: JSON, by section and key.

    The model file has those of the model. Data sets and models may move: their hashes are recorded,
    not their paths. What the environment changes is warned about.
    """
    sections = config.model_dump(mode="json", include={"optim", "train", "data", "init"})
    for moving in filter(None, (sections["data"], sections["init"])):
        del moving["path"]
    return sections


def check_model(found: ModelConfig, trained: ModelConfig, source: Path) -> None:
    """Refuse a run whose config describes another model than its checkpoint has.

    `source` is the config file. Raises: RunError naming the settings.
    """
    _refuse_changes({"model": dict(trained)}, {"model": dict(found)}, source)


def check_settings(found: Mapping[str, Any], state: Mapping[str, Any], source: Path) -> None:
    """Refuse a run whose settings are not those that the state.json of its checkpoint records.

    `source` is the config file. Raises: RunError naming the settings.
    """
    if SETTINGS in state:
        _refuse_changes(state[SETTINGS], found, source)


def _refuse_changes(before: Mapping[str, Any], now: Mapping[str, Any], source: Path) -> None:
    old, new = _by_name(before), _by_name(now)
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    if not names:
        return
    changes = [f"{name} was {_shown(old.get(name))}, is {_shown(new.get(name))}" for name in names]
    config, run = shlex.quote(str(source)), shlex.quote(str(source.parent))
    raise RunError(
        f"{source} has changed since the run was saved: {first_misfits(changes)}; put the old "
        "values back, or begin another run with the new ones: "
        f"hrm train {config} --init {run} --run NEW"
    )


def _by_name(sections: Mapping[str, Any]) -> dict[str, Any]:
    """Return all settings as `section.key`."""
    named = {}
    for section, values in sections.items():
        for key, value in (values or {}).items():
            named[f"{section}.{key}"] = value
    return named


def _shown(value: Any) -> str:
    return "not set" if value is None else shortened(str(value))
