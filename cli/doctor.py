"""`hrm doctor`: show the facts of this machine, and the size of a preset."""

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version

import click

from hrm_core.backends import BACKENDS, device_facts
from hrm_core.errors import BackendError, install_hint

from .options import json_option

REQUIRED = ("numpy", "safetensors")
OPTIONAL = {  # the extra that brings it, and what it is for
    "mlx": ("cpu", "on Linux without a GPU"),
    "torch": ("torch", "for --backend torch and hrm parity"),
    "huggingface_hub": ("hub", "for hf:// in hrm convert"),
    "matplotlib": ("plot", "for hrm plot"),
    "tensorboardX": ("tensorboard", "for hrm train --tensorboard"),
    "wandb": ("wandb", "for hrm train --wandb"),
}


@click.command()
@click.option(
    "--preset", metavar="PRESET|CONFIG", help="Count its parameters, operations and memory instead."
)
@json_option
def doctor(preset: str | None, as_json: bool) -> None:
    """Show device, memory, BLAS and versions, and how to get what is missing; or size up a preset.

    \b
    Examples:
        hrm doctor
        hrm doctor --preset sudoku-extreme-1k
    """
    if preset is not None:
        _size_up(preset, as_json)
        return
    facts = _facts()
    if as_json:
        click.echo(json.dumps(facts))
        return
    for name, value in facts.items():
        click.echo(f"{name:15} {value}")


def _size_up(preset: str, as_json: bool) -> None:
    from hrm_core import sizing
    from hrm_core.config import ModelConfig, load_config, validated
    from hrm_core.parameters import num_trainable

    config = load_config(preset)
    sizes = config.model.model_dump(exclude_none=True)
    if not config.model.puzzle_emb_ndim:  # without a table any number has the same cost
        sizes = {"num_puzzle_identifiers": 1, **sizes}
    needed = {"vocab_size", "seq_len", "num_puzzle_identifiers"}
    if config.model.patch_size:
        needed.add("image_size")
    where = f"{preset}: model"
    if not needed <= sizes.keys():
        where = f"{preset} leaves sizes to the data, state them under model to count"
    model = validated(ModelConfig, sizes, where)
    if as_json:
        batch_size = config.train.global_batch_size
        numbers = {
            "trainable_parameters": num_trainable(model),
            "flops_per_example": sizing.flops_per_example(model),
            "state_bytes": sizing.state_bytes(model),
            "carry_bytes": sizing.carry_bytes(model, batch_size),
        }
        click.echo(json.dumps(numbers))
    else:
        click.echo(sizing.sizes_text(model, config.train.global_batch_size))


def _facts() -> dict[str, str]:
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    num_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    facts = {
        "hrm": version("hrm-mlx"),
        "python": platform.python_version(),
        "system": f"{system}, {os.cpu_count()} CPUs",
        "memory": f"{num_bytes / 2**30:.1f} GiB",
    }
    for package in REQUIRED:
        facts[package] = version(package)
    for package, (extra, purpose) in OPTIONAL.items():
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = f"not installed: {install_hint(extra)}, {purpose}"
    for framework in BACKENDS:
        facts |= _facts_of(framework, facts)
    return facts


def _facts_of(framework: str, facts: dict[str, str]) -> dict[str, str]:
    """Return the device facts of a backend, or the error if its framework cannot be loaded.

    A framework that is not installed has none.
    """
    if facts[framework].startswith("not installed"):
        return {}
    try:
        return device_facts(framework)
    except BackendError as error:
        return {framework: f"{facts[framework]}: {error}"}
