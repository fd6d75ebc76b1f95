"""`hrm presets`: list the presets with size, data and cost."""

import json
from typing import TYPE_CHECKING, Any

import click

from .options import json_option

if TYPE_CHECKING:
    from hrm_core.config import ModelConfig, RunConfig

OF_THE_DATA = "of the data"


@click.command()
@json_option
def presets(as_json: bool) -> None:
    """List the presets of `hrm train` with their data, parameters and operations.

    \b
    Example:
        hrm presets
    """
    from hrm_core.config import load_config
    from hrm_core.presets import about_presets

    from .tables import print_table

    records = [_record(name, about, load_config(name)) for name, about in about_presets().items()]
    if as_json:
        click.echo(json.dumps(records))
        return
    columns = ["preset", "data", "parameters", "slots", "operations an update"]
    print_table("Presets", columns, list(map(_row, records)))
    click.echo(
        "Where a size is of the data, so is the cost: hrm train PRESET --data DATA --run RUN "
        "--dry-run. Puzzle vectors are not counted."
    )


def _record(name: str, about: str, config: "RunConfig") -> dict[str, Any]:
    """Return what is known of a preset before its data; None for what the data decide."""
    from hrm_core.parameters import num_trainable
    from hrm_core.sizing import flops_per_example

    record: dict[str, Any] = {
        "name": name,
        "about": about,
        "seq_len": config.model.seq_len,
        "vocab_size": config.model.vocab_size,
        "slots": config.train.global_batch_size,
        "parameters": None,
        "flops_per_update": None,
    }
    model = _sized(config)
    if model is not None:
        record["parameters"] = num_trainable(model)
        record["flops_per_update"] = flops_per_example(model) * config.train.global_batch_size
    return record


def _sized(config: "RunConfig") -> "ModelConfig | None":
    """Return the model of a preset that states the sizes of its data, else None."""
    from hrm_core.config import ModelConfig, validated

    model = config.model
    is_open = None in (model.vocab_size, model.seq_len)
    if is_open or (model.patch_size and model.image_size is None):
        return None
    sizes = {"num_puzzle_identifiers": 1, **model.model_dump(exclude_none=True)}
    return validated(ModelConfig, sizes, "model")


def _row(record: dict[str, Any]) -> list[str]:
    from hrm_core.sizing import scaled

    data = parameters = operations = OF_THE_DATA
    if record["seq_len"] and record["vocab_size"]:
        data = f"{record['seq_len']:,} cells of {record['vocab_size']:,} tokens"
    if record["parameters"]:
        parameters = f"{record['parameters']:,}"
        operations = f"{scaled(record['flops_per_update'], 1000, 'kMGTP')}FLOP"
    return [record["name"], data, parameters, f"{record['slots']:,}", operations]
