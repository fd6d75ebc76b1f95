"""Options of `hrm train` that people expect: shorthands of settings, and those of other tools."""

import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from .options import Command

SHORTHANDS = {
    "seed": "train.seed",
    "lr": "optim.lr",
    "epochs": "train.epochs",
    "batch_size": "train.global_batch_size",
}
# of other tools -> ours
ALIASES = {
    "steps": "--max-updates N",
    "max-steps": "--max-updates N",
    "iterations": "--max-updates N",
    "learning-rate": "--lr RATE",
    "num-epochs": "--epochs N",
    "num-train-epochs": "--epochs N",
    "batch": "--batch-size N",
    "train-batch-size": "--batch-size N",
    "warmup-steps": "--set optim.lr_warmup_steps=N",
    "dataset": "--data DATA",
    "data-path": "--data DATA",
    "output": "--run RUN",
    "output-dir": "--run RUN",
    "out": "--run RUN",
    "checkpoint": "--init MODEL, or --resume to continue a run",
    "model": "a preset or a config file as the first word, or --init MODEL",
    "preset": "a preset or a config file as the first word",
    "config": "a preset or a config file as the first word",
    "wandb-project": "--wandb, with the project in WANDB_PROJECT",
    "gpus": "torchrun, see docs/torch.md",
}


class TrainCommand(click.Command):
    """A command that answers to options and settings of other tools, and lists the presets in its help."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the words. Raises: UsageError, with the words that do what was meant."""
        refuse_published(self, ctx, args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            meant = meant_option(error.option_name)
            if not meant:
                raise
            raise click.UsageError(
                f"hrm train has no {error.option_name}; use {meant}", ctx
            ) from error

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the presets."""
        from hrm_core.presets import about_presets

        with formatter.section("Presets (hrm presets: their sizes and costs)"):
            formatter.write_dl(list(about_presets().items()))


def refuse_published(command: click.Command, ctx: click.Context, args: Sequence[str]) -> None:
    """Refuse a file of settings of published code, and settings as words like `lr=1e-4`.

    Raises: UsageError with the command that does the same; ConfigError if they are of another network.
    """
    words = _positional(command, args)
    if not any("=" in word or _is_file(word) for word in words):
        return
    from hrm_convert.published_run import DEFAULTS, published_file, published_words, same_command

    from hrm_core.config import preset_names

    preset = next((word for word in words if word in preset_names()), None)
    path = next((Path(word) for word in words if _is_file(word)), None)
    of_file = published_file(path) if path and not preset else {}
    of_words = published_words([word for word in words if not os.path.lexists(word)])
    if not of_file and not of_words:
        return
    below = {} if preset else of_file or DEFAULTS
    meant = same_command({**below, **of_words}, preset)
    if of_file:
        raise click.UsageError(f"{path} holds settings of published code; the same is {meant}", ctx)
    raise click.UsageError(
        f"hrm train takes no words of Hydra. {_translated(of_words)}. All of it: {meant}", ctx
    )


def _translated(settings: Mapping[str, str]) -> str:
    """Write the option that each published setting stands for."""
    from hrm_convert.published_run import same_setting

    same = [(f"{key}={text}", same_setting(key, text)) for key, text in settings.items()]
    return "; ".join(f"{word} is {option or 'not needed'}" for word, option in same)


def _is_file(word: str) -> bool:
    try:
        return Path(word).is_file()
    except (OSError, ValueError):  # no name that a file can have
        return False


def _positional(command: click.Command, args: Sequence[str]) -> list[str]:
    """Return the words that are neither options nor their values."""
    options = [param for param in command.params if isinstance(param, click.Option)]
    flags = {name for option in options if option.is_flag for name in option.opts}
    found, before = [], ""
    for word in args:
        is_value = before.startswith("-") and before not in flags and "=" not in before
        if not word.startswith("-") and not is_value:
            found.append(word)
        before = word
    return found


def meant_option(flag: str) -> str:
    """Return our option for one of another tool, or for the name of a setting; "" if none is known."""
    name = flag.lstrip("-").replace("_", "-")
    return ALIASES.get(name) or _setting(name.replace("-", "_"))


def _setting(name: str) -> str:
    """Return the --set of a setting of this name; "" if there is none, or several."""
    from hrm_core.config import ArchConfig, OptimConfig, Settings, TrainConfig

    sections: dict[str, type[Settings]] = {
        "model": ArchConfig,
        "optim": OptimConfig,
        "train": TrainConfig,
    }
    found = [section for section, kind in sections.items() if name in kind.model_fields]
    return f"--set {found[0]}.{name}=VALUE" if len(found) == 1 else ""


def shorthand_options(command: Command) -> Command:
    """Add --seed, --lr, --epochs and --batch-size; the command gets them as `overrides`."""

    @click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Like --set train.seed=N.")
    @click.option("--lr", type=float, help="Learning rate, like --set optim.lr=RATE.")
    @click.option("--epochs", type=click.IntRange(1), help="Like --set train.epochs=N.")
    @click.option(
        "--batch-size",
        type=click.IntRange(1),
        help="Slots of an update, like --set train.global_batch_size=N.",
    )
    @functools.wraps(command)
    def wrapped(*args: Any, overrides: tuple[str, ...], **kwargs: Any) -> Any:
        typed = {name: kwargs.pop(name) for name in SHORTHANDS}
        return command(*args, overrides=(*overrides, *as_overrides(typed)), **kwargs)

    return wrapped


def as_overrides(typed: Mapping[str, Any]) -> list[str]:
    """Write shorthands that were given as `section.key=value`."""
    given = {name: value for name, value in typed.items() if value is not None}
    return [f"{SHORTHANDS[name]}={value}" for name, value in given.items()]
