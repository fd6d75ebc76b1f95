"""Settings of a converted model: what `--set` may change, and what the task of its data needs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hrm_core.config import SMALL_VOCABULARY, DataSizes, ModelConfig, apply_override
from hrm_core.parameters import parameter_table
from hrm_core.tasks.capabilities import Generative, Readable
from hrm_core.tasks.contract import Task

from .tensors import ConversionError

FULL = {"attention": "full", "halting": "q"}  # of puzzles
CAUSAL = {"attention": "causal", "halting": "fixed"}  # of text
STABLEMAX, SOFTMAX = "stablemax_cross_entropy", "softmax_cross_entropy"
SECTION = "model"
SPLIT = {"num_heads"}  # tensors keep their shape, but are another network
LOOKS = ("num_chunks", "image_size", "patch_size", "first_chunk")  # of what one step sees
UNSEEN = {  # settings without a trace in what one ACT step computes in float32
    "forward_dtype",
    "halt_exploration_prob",
    "halt_max_steps",
    "halting",
    "loss_average",
    "loss_type",
}


def settings_given(overrides: Sequence[str]) -> dict[str, Any]:
    """Read the settings of the model given as `model.KEY=VALUE`, by their keys.

    Raises: ConfigError or ConversionError if one is none, is of another section, or is a size.
    """
    sections: dict[str, Any] = {}
    for text in overrides:
        apply_override(sections, text)
    for section in sections:
        if section != SECTION:
            raise ConversionError(
                f"--set {section}.… is no setting of a model, which is all that is converted; "
                "give it to hrm train"
            )
    given: dict[str, Any] = sections.get(SECTION, {})
    for name in given:
        if name in DataSizes._fields:
            raise ConversionError(
                f"--set {SECTION}.{name} is a size of the data; "
                "use --data DIR, --vocab-size N or --seq-len N"
            )
    return given


def check_shapes(before: ModelConfig, after: ModelConfig, given: Mapping[str, Any]) -> None:
    """Refuse settings that would change the shape of a tensor. Raises: ConversionError."""
    shapes = _shapes(before)
    for name in given:
        value = getattr(after, name)
        if value == getattr(before, name):
            continue
        if name in SPLIT or _shapes(before.model_copy(update={name: value})) != shapes:
            raise ConversionError(
                f"--set {SECTION}.{name}={value} asks for a network of other tensors; --set takes "
                "what leaves them as they are, like attention, halting, halt_max_steps, loss_type"
            )


def check_comparable(before: ModelConfig, after: ModelConfig, given: Mapping[str, Any]) -> None:
    """Refuse `--verify` where a setting changes the results of a model. Raises: ConversionError."""
    for name in LOOKS:
        if getattr(before, name) != getattr(after, name):
            raise ConversionError(
                f"--verify compares the results of both models, but the data of one has "
                f"{name}={getattr(before, name)}, of the other {getattr(after, name)}; "
                "leave out --verify"
            )
    for name in given:
        if name not in UNSEEN and getattr(before, name) != getattr(after, name):
            raise ConversionError(
                f"--verify compares the results of both models, "
                f"which --set {SECTION}.{name}={getattr(after, name)} changes; leave out --verify"
            )


def check_task(
    source: str,
    config: ModelConfig,
    given: Mapping[str, Any],
    tasks: tuple[Task | None, Task | None],
    place: Path | str,
) -> None:
    """Refuse a model of puzzles for text, and the other way round, whose settings are not given.

    `tasks` are those of the model and of its data, which lie at `place`.

    Raises: ConversionError naming all settings to give.
    """
    before, after = tasks
    if after is None:
        return
    current = {name: given.get(name, value) for name, value in config}
    missing: dict[str, str] = {}
    if isinstance(after, Generative):
        missing = {name: CAUSAL[name] for name in CAUSAL if current[name] == FULL[name]}
        if after.vocab_size > SMALL_VOCABULARY and current["loss_type"] == STABLEMAX:
            missing["loss_type"] = SOFTMAX
    elif isinstance(before, Generative) and isinstance(after, Readable):
        wrong = {name for name in FULL if current[name] != FULL[name]}
        missing = {name: FULL[name] for name in FULL if name in wrong - given.keys()}
    if not missing:
        return
    found = ", ".join(f"{name}={current[name]}" for name in missing)
    flags = " ".join(f"--set {SECTION}.{name}={value}" for name, value in missing.items())
    raise ConversionError(
        f"{source} with {found} does not go with the task {after.name} of {place}, "
        f"{after.vocab_size:,} tokens; add {flags}"
    )


def _shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    return {name: parameter.shape for name, parameter in parameter_table(config).items()}
