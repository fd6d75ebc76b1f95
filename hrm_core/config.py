"""Settings of a model, its optimizers and a run: typed, frozen, and refused as a whole when one key is wrong.

A preset or config file is YAML with the sections `model`, `optim` and `train`, or with `extends: NAME` and the settings
that differ from those of that preset. The three sizes that come from the data (`vocab_size`, `seq_len`,
`num_puzzle_identifiers`) may be left out; stated, they must match the data.
"""

import re
import reprlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeVar, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from hrm_core.errors import ConfigError
from hrm_core.messages import did_you_mean, first_misfits, shortened
from hrm_core.plugins import preset_files

Model = TypeVar("Model", bound=BaseModel)

BEYOND: dict[str, Any] = {"beyond_published": True}  # marks a field
EXTENDS = "extends"  # names the preset that a preset or file differs from
MAX_SEED = 2**32 - 1  # numpy's legacy stream, part of the published batch order, takes no more
SMALL_VOCABULARY = 256  # tokens; up to here logits of all cells are one array
Size = Annotated[int, Field(gt=0, le=2**20)]  # of what a tensor or a loop is made of
ImageSize = Annotated[
    tuple[Size, ...], Field(strict=False, min_length=2, max_length=3)
]  # strict=False: YAML and JSON have lists
KINDS = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "a truth value",
    list: "a list",
    dict: "a section",
}


class Settings(BaseModel):
    """Base of all settings: no unknown keys, no conversions, no changes."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @model_serializer(mode="wrap")
    def _written(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is beyond the published network and at its default: old files stay as they are."""
        settings: dict[str, Any] = serialize(self)
        changed = beyond_published(self)
        return {
            name: value
            for name, value in settings.items()
            if name in changed or not is_beyond(type(self), name)
        }


def beyond(default: Any) -> Any:
    """Declare a field that published files do not have; it is written only where it differs from its default."""
    return Field(default=default, json_schema_extra=BEYOND)


def beyond_published(settings: Settings) -> dict[str, Any]:
    """The fields beyond the published network or training that are not at their defaults, by name."""
    kind = type(settings)
    return {
        name: value
        for name, value in settings
        if is_beyond(kind, name) and value != kind.model_fields[name].default
    }


def is_beyond(kind: type[Settings], name: str) -> bool:
    """Return True if published files do not have a field."""
    return kind.model_fields[name].json_schema_extra == BEYOND


class DataSizes(NamedTuple):
    """The sizes a model takes from its data."""

    vocab_size: int
    seq_len: int
    num_puzzle_identifiers: int
    num_chunks: int = 1
    image_size: tuple[int, ...] | None = None  # of one example; None also for models without

    def __repr__(self) -> str:
        """Name the sizes; those that only extensions have are left out at their defaults."""
        named = self._asdict()
        for name, default in self._field_defaults.items():
            if named[name] == default:
                del named[name]
        return f"DataSizes({', '.join(f'{name}={size!r}' for name, size in named.items())})"


class ArchConfig(Settings):
    """Shape and halting of one HRM, sizes of the data not yet known. Source: arXiv 2506.21734, section 2."""

    vocab_size: PositiveInt | None = None
    seq_len: PositiveInt | None = None
    num_puzzle_identifiers: PositiveInt | None = None
    puzzle_emb_ndim: int = Field(ge=0, le=2**20)  # width of one puzzle vector; 0: none
    H_cycles: Size = 2
    L_cycles: Size = 2
    H_layers: Size
    L_layers: Size
    hidden_size: Size
    num_heads: Size
    expansion: float = Field(default=4.0, gt=0, le=1024)
    pos_encodings: Literal["rope", "learned"] = "rope"
    rope_theta: PositiveFloat = 10000.0
    rms_norm_eps: PositiveFloat = 1e-5
    halt_max_steps: Size = 16  # ACT steps, not cycles
    halt_exploration_prob: float = Field(default=0.1, ge=0, le=1)
    forward_dtype: Literal["float32", "bfloat16"] = (
        "bfloat16"  # of activations; parameters are float32
    )
    loss_type: Literal["stablemax_cross_entropy", "softmax_cross_entropy"] = (
        "stablemax_cross_entropy"
    )
    # Beyond the published network: SPEC.md, section 13
    attention: Literal["full", "causal", "prefix"] = beyond("full")  # what a position sees
    halting: Literal["q", "fixed"] = beyond("q")  # fixed: every slot takes halt_max_steps steps
    loss_average: Literal["example", "token"] = beyond("example")  # token: divided by seq_len
    num_chunks: Size | None = beyond(None)  # of seq_len tokens each, one after the other
    steps_per_chunk: Size = beyond(1)  # ACT steps; those that are left go to the last chunk
    image_size: ImageSize | None = beyond(
        None
    )  # H, W, cut into strips; or C, H, W, a frame a chunk
    patch_size: Size | None = beyond(None)  # side of the squares that a picture is cut into
    first_chunk: Literal["strip", "overview"] = beyond("strip")  # overview: the whole picture
    q_continue: bool = beyond(True)  # False: a slot halts when q_halt > 0, nothing else is learned
    gradient: Literal["step", "cycle"] = beyond("step")  # cycle: through the whole last H cycle
    share_levels: bool = beyond(False)  # True: L_level does the work of both levels

    @model_validator(mode="after")
    def _loss_fits(self) -> Self:
        if (self.vocab_size or 0) > SMALL_VOCABULARY and self.loss_type.startswith("stablemax"):
            raise ValueError(
                f"loss_type={self.loss_type} is for up to {SMALL_VOCABULARY} tokens, "
                f"vocab_size={self.vocab_size}; use loss_type=softmax_cross_entropy"
            )
        return self

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.hidden_size % self.num_heads:
            raise ValueError(
                f"hidden_size={self.hidden_size} cannot be split over num_heads={self.num_heads}; use a multiple of {self.num_heads}"
            )
        if self.pos_encodings == "rope" and self.head_dim % 2:
            raise ValueError(
                f"hidden_size={self.hidden_size} over num_heads={self.num_heads} gives heads of odd size {self.head_dim}; "
                "RoPE rotates pairs, so use an even size or pos_encodings=learned"
            )
        return self

    @model_validator(mode="after")
    def _future_stays_hidden(self) -> Self:
        if self.attention != "full" and self.learns_to_halt:
            raise ValueError(
                f"attention={self.attention} needs halting=fixed: a Q head that reads late positions "
                "would let the number of steps depend on them"
            )
        return self

    @model_validator(mode="after")
    def _levels_fit(self) -> Self:
        if self.share_levels and self.H_layers != self.L_layers:
            raise ValueError(
                f"share_levels=true is one network for both levels; H_layers={self.H_layers} and "
                f"L_layers={self.L_layers} differ, make them equal"
            )
        return self

    @model_validator(mode="after")
    def _chunks_fit(self) -> Self:
        needed = self.steps_before_last_chunk + self.steps_per_chunk
        if self.halt_max_steps < needed:
            raise ValueError(
                f"halt_max_steps={self.halt_max_steps} does not reach the end of the last chunk: "
                f"num_chunks={self.num_chunks or 1} of steps_per_chunk={self.steps_per_chunk} take "
                f"{needed}; set halt_max_steps to {needed} or more"
            )
        return self

    @property
    def steps_before_last_chunk(self) -> int:
        """ACT steps on all chunks but the last."""
        return ((self.num_chunks or 1) - 1) * self.steps_per_chunk

    @property
    def learns_to_halt(self) -> bool:
        """True if the Q head is trained, and asked when to halt."""
        return self.halting == "q"

    @property
    def learns_to_continue(self) -> bool:
        """True if an update takes a second forward, for the target of q_continue."""
        return self.learns_to_halt and self.q_continue and self.halt_max_steps > 1

    @property
    def L_calls_with_gradient(self) -> int:
        """Calls of level L, the last ones of a step, that the gradient passes; of H it passes one."""
        return self.L_cycles if self.gradient == "cycle" else 1

    @property
    def layers_with_gradient(self) -> int:
        """Layers that the gradient of a step passes, those of each call counted."""
        return self.L_calls_with_gradient * self.L_layers + self.H_layers

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_heads

    @property
    def intermediate_size(self) -> int:
        """Width inside SwiGLU: two thirds of the expansion, rounded up to a multiple of 256."""
        return -(-round(self.expansion * self.hidden_size * 2 / 3) // 256) * 256

    @property
    def puzzle_emb_len(self) -> int:
        """Slots in front of the tokens that the puzzle vector takes."""
        return -(-self.puzzle_emb_ndim // self.hidden_size)

    def seen(self, sizes: DataSizes) -> DataSizes:
        """The sizes of data as far as this model looks at it: images are left alone without a patch size."""
        return sizes if self.patch_size else sizes._replace(image_size=None)

    def sized(self, sizes: DataSizes) -> "ModelConfig":
        """The same architecture for data of these sizes.

        Raises: ConfigError where a size is stated and differs, or does not go with a setting.
        """
        sizes = self.seen(sizes)
        for name, found in sizes._asdict().items():
            stated = getattr(self, name)
            if stated is not None and stated != found:
                raise ConfigError(
                    f"model.{name}={stated} but the data has {name}={found}; correct the one or choose other data"
                )
        return validated(ModelConfig, {**self.model_dump(), **sizes._asdict()}, "model")


class ModelConfig(ArchConfig):
    """Shape and halting of one HRM with every size known."""

    vocab_size: PositiveInt
    seq_len: PositiveInt
    num_puzzle_identifiers: PositiveInt
    num_chunks: Size = beyond(1)

    @model_validator(mode="after")
    def _patches_fit(self) -> Self:
        if self.patch_size is None and self.image_size is None and self.first_chunk == "strip":
            return self
        if self.patch_size is None or self.image_size is None:
            raise ValueError(
                "image_size, patch_size and first_chunk belong together: set patch_size, "
                "and use data with images"
            )
        frames, (H, W) = self.image_size[:-2], self.image_size[-2:]
        if frames not in ((), (self.num_chunks,)):
            raise ValueError(
                f"image_size={frames[0]} frames, expected num_chunks={self.num_chunks}"
            )
        if self.first_chunk == "overview" and (frames or self.num_chunks == 1):
            raise ValueError(
                f"first_chunk=overview takes one picture and num_chunks of 2 or more; "
                f"found image_size={list(self.image_size)}, num_chunks={self.num_chunks}"
            )
        if W % self.num_strips or H % self.patch_size or self.strip_size[1] % self.patch_size:
            raise ValueError(
                f"image_size={list(self.image_size)} in {self.num_strips} strips cannot be cut into "
                f"squares of patch_size={self.patch_size}; it must divide the height and the width of a strip"
            )
        if self.num_patches > self.seq_len:
            raise ValueError(
                f"image_size={list(self.image_size)} has {self.num_patches} patches of "
                f"patch_size={self.patch_size} a chunk, seq_len={self.seq_len} has no room for them"
            )
        return self

    @property
    def num_strips(self) -> int:
        """Vertical strips that the picture of an example is cut into; 1 where each chunk has a frame of its own."""
        if self.image_size is None or len(self.image_size) == 3:
            return 1
        return self.num_chunks - (self.first_chunk == "overview")

    @property
    def strip_size(self) -> tuple[int, int]:
        """Height and width of what a chunk shows."""
        assert self.image_size is not None
        return self.image_size[-2], self.image_size[-1] // self.num_strips

    @property
    def num_patches(self) -> int:
        """Patches of a chunk; they stand on the first positions behind the puzzle slots."""
        if self.patch_size is None:
            return 0
        height, width = self.strip_size
        return (height // self.patch_size) * (width // self.patch_size)

    @property
    def num_cells(self) -> int:
        """Tokens of an example, those of all chunks."""
        return self.num_chunks * self.seq_len

    def steps_on(self, chunk: int) -> int:
        """ACT steps on a chunk; those that are left go to the last one."""
        if chunk < self.num_chunks - 1:
            return self.steps_per_chunk
        return self.halt_max_steps - self.steps_before_last_chunk

    @property
    def layers_of_calls(self) -> list[int]:
        """Layers of each call of a level in one ACT step, in order."""
        return ([self.L_layers] * self.L_cycles + [self.H_layers]) * self.H_cycles

    @property
    def slots_are_staggered(self) -> bool:
        """True if slots begin on different chunks in training, or fixed halting would keep them in step."""
        return self.num_chunks > 1 and not self.learns_to_halt

    @property
    def has_large_vocabulary(self) -> bool:
        """True if logits of all cells are never made at once, but in blocks of rows."""
        return self.vocab_size > SMALL_VOCABULARY

    @property
    def total_len(self) -> int:
        """Positions of the network: puzzle slots and tokens."""
        return self.puzzle_emb_len + self.seq_len

    @property
    def sizes(self) -> DataSizes:
        """The sizes that data for this model must have."""
        return DataSizes(
            self.vocab_size,
            self.seq_len,
            self.num_puzzle_identifiers,
            self.num_chunks,
            self.image_size,
        )


class OptimConfig(Settings):
    """Adam-atan2 for the network, sign-SGD for the puzzle table, one schedule for both."""

    lr: PositiveFloat
    lr_min_ratio: float = Field(default=1.0, ge=0, le=1)
    lr_warmup_steps: NonNegativeInt = 2000  # updates
    weight_decay: NonNegativeFloat = 1.0
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.95, ge=0, lt=1)
    puzzle_emb_lr: NonNegativeFloat
    puzzle_emb_weight_decay: NonNegativeFloat = 1.0


class TrainConfig(Settings):
    """Length of a run, sizes of batches, and intervals of reports, evaluations and checkpoints."""

    global_batch_size: Size
    micro_batch_size: Size | None = (
        None  # slots that go through the network at once, to save memory; all of them if not set
    )
    epochs: PositiveInt
    eval_interval: PositiveInt  # epochs between evaluations; also the published `epochs_per_iter` of the batch order
    max_updates: PositiveInt | None = (
        None  # ends the run, and its schedule, before the epochs are over
    )
    # updates between evaluations; those of eval_interval if not set. --max-updates sets it
    eval_every_updates: PositiveInt | None = beyond(None)
    eval_examples: PositiveInt | None = (
        None  # first examples of the test set; all of them if not set
    )
    seed: int = Field(default=0, ge=0, le=MAX_SEED)
    report_every: PositiveInt = 20  # updates
    save_every_updates: PositiveInt = 1000
    save_every_minutes: PositiveFloat = 10.0
    ema: Annotated[float, Field(gt=0, lt=1)] | None = beyond(None)  # decay of an average of weights
    hints: Annotated[float, Field(ge=0, le=1)] = beyond(0.0)  # share of rows
    keep_checkpoints: PositiveInt = 3  # the best one is kept besides

    @model_validator(mode="after")
    def _evaluations_fit(self) -> Self:
        if self.epochs % self.eval_interval:
            raise ValueError(
                f"epochs={self.epochs} is no multiple of eval_interval={self.eval_interval}; make it one"
            )
        return self

    @property
    def slots_at_once(self) -> int:
        """Slots that go through the network of one process at once."""
        return min(self.micro_batch_size or self.global_batch_size, self.global_batch_size)


class DataConfig(Settings):
    """The data set of a run."""

    path: str
    sha256: str
    task: str


class InitConfig(Settings):
    """The model whose weights a run started from."""

    path: str
    crc32: str


class RunConfig(Settings):
    """Everything that repeats a run. The last three sections are written by the run itself."""

    model: ArchConfig
    optim: OptimConfig
    train: TrainConfig
    data: DataConfig | None = None
    init: InitConfig | None = None  # none: initial values from the seed
    environment: dict[str, str] | None = None

    def to_yaml(self) -> str:
        """The settings as a config file."""
        return yaml.safe_dump(self.model_dump(exclude_none=True), sort_keys=False)


def preset_names() -> list[str]:
    """The presets that come with the installed tasks."""
    return list(preset_files())


def load_config(preset_or_file: str, overrides: Iterable[str] = ()) -> RunConfig:
    """Read a preset by name, or a file, and apply `section.key=value` overrides in order.

    Either may say `extends: NAME` and then only what differs from that preset.
    Raises: ConfigError with the full path of the key.
    """
    preset = preset_files().get(preset_or_file)
    source = f"preset {preset_or_file}" if preset else preset_or_file
    extending = (preset_or_file,) if preset else ()
    settings = _read_settings(preset or Path(preset_or_file), source, extending)
    for override in overrides:
        apply_override(settings, override)
    return validated(RunConfig, settings, source)


def parse_yaml(text: str, source: str) -> dict[str, Any]:
    """Read a YAML mapping whose scalars are those of JSON; a key given twice is refused.

    Raises: ConfigError with the line.
    """
    try:
        settings = yaml.load(text, Loader=_StrictLoader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(
            f"{source}{line}: {shortened(str(error.problem or error.context), 200)}"
        ) from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{source} is not YAML: {shortened(str(error), 200)}") from error
    except RecursionError as error:
        raise ConfigError(f"{source} is nested too deeply for a config") from error
    if not isinstance(settings, dict):
        raise ConfigError(
            f"{source} holds {_kind(settings)}, expected the sections model, optim and train"
        )
    return settings


def validated(model: type[Model], settings: Any, source: str) -> Model:
    """Check settings against a model.

    Raises: ConfigError naming the misfits with their paths.
    """
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        misfits = [
            _misfit(item, model) for item in sorted(error.errors(include_url=False), key=_is_known)
        ]
        raise ConfigError(f"{source}: {first_misfits(misfits)}") from error


class _StrictLoader(yaml.SafeLoader):
    """YAML 1.2's core scalars: no dates, no octal, no tags of one's own, `no` is a word and 1e-4 a number."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._path: list[str] = []  # of the mapping that is being read

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise self._refusal(key_node, f"found {_found(key)} as a key, expected a name")
            self._path.append(shortened(key))
            if key in mapping:
                raise self._refusal(
                    key_node, f"duplicate key {'.'.join(self._path)}; keep one of them"
                )
            mapping[key] = self.construct_object(value_node, deep=True)
            self._path.pop()
        return mapping

    def construct_untagged(self, node: yaml.Node) -> Any:
        """Make what the tag of a node says, if it is one that YAML would have found by itself."""
        kind = node.tag.rpartition(":")[2]
        if isinstance(node, yaml.MappingNode) and kind == "map":
            return self.construct_mapping(node)
        if isinstance(node, yaml.SequenceNode) and kind == "seq":
            return [self.construct_object(child, deep=True) for child in node.value]
        if isinstance(node, yaml.ScalarNode) and kind in SCALARS:
            return SCALARS[kind](node.value)
        raise self._refusal(node, f"tag {shortened(node.tag)} is not for configs; leave it out")

    def _refusal(self, node: yaml.Node, problem: str) -> yaml.constructor.ConstructorError:
        return yaml.constructor.ConstructorError(problem=problem, problem_mark=node.start_mark)


SCALARS: dict[str, Callable[[str], Any]] = {
    "null": lambda text: None,
    "bool": lambda text: text == "true",
    "int": int,
    "float": float,
    "str": str,
}

_StrictLoader.yaml_constructors = {None: _StrictLoader.construct_untagged}  # one for all tags
_StrictLoader.yaml_implicit_resolvers = {}
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:null", re.compile(r"^(?:null|~|)$"), ["n", "~", ""]
)
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), ["t", "f"]
)
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]{1,18}$"), list("-+0123456789")
)
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9]+\.[0-9]*|\.?[0-9]+)(?:[eE][-+]?[0-9]+)?$"),
    list("-+.0123456789"),
)


def _read_settings(path: Path, source: str, extending: tuple[str, ...]) -> dict[str, Any]:
    """Read a preset or a file, and the preset below it if it extends one.

    `extending` are the presets on the way here, this one included.
    """
    settings = parse_yaml(_read_text(path), source)
    if EXTENDS not in settings:
        return settings
    name = settings.pop(EXTENDS)
    if not isinstance(name, str):
        raise ConfigError(f"{source}: extends: found {_found(name)}, expected a preset's name")
    if name not in preset_files():
        presets = ", ".join(preset_names())
        raise ConfigError(
            f"{source}: extends: there is no preset {shortened(name)}; presets: {presets}"
        )
    if name in extending:
        circle = " > ".join([*extending, name])
        raise ConfigError(f"{source}: extends: {circle} is a circle; take one of them out")
    below_source = f"preset {name}"
    below = _read_settings(preset_files()[name], below_source, (*extending, name))
    validated(RunConfig, below, below_source)  # then what is wrong above it stands in this file
    return _laid_over(below, settings)


def _laid_over(below: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Replace the settings of each section that are given anew."""
    merged = dict(below)
    for section, values in settings.items():
        former = merged.get(section)
        if isinstance(former, dict) and isinstance(values, dict):
            values = {**former, **values}
        merged[section] = values
    return merged


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path} is neither a file nor a preset; {did_you_mean(str(path), preset_names())}"
            f"presets: {', '.join(preset_names())}"
        ) from error
    except IsADirectoryError as error:
        raise ConfigError(
            f"{path} cannot be read as a config: it is a folder; expected a file or a preset"
        ) from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read as a config: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path} cannot be read as a config: {error}") from error


def apply_override(settings: dict[str, Any], override: str) -> None:
    """Set one `section.key=value` in settings that are not validated yet. Raises: ConfigError."""
    path, equals, value = override.partition("=")
    *sections, key = path.strip().split(".")
    source = f"--set {shortened(override)}"
    if not equals or not sections or not all([*sections, key]):
        raise ConfigError(f"{source}: expected section.key=value, e.g. --set optim.lr=1e-4")
    for section in sections:
        settings = settings.setdefault(section, {})
        if not isinstance(settings, dict):
            raise ConfigError(f"{source}: {section} is not a section")
    settings[key] = parse_yaml(f"value: {value}", source)["value"]


def _misfit(item: Any, model: type[BaseModel]) -> str:
    path = ".".join(shortened(str(part)) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return f"unknown key {path}{_known_keys(item['loc'], model)}"
    if item["type"] == "missing":
        return f"{path} is missing"
    if item["type"] == "value_error":
        return f"{path}: {item['ctx']['error']}" if path else str(item["ctx"]["error"])
    expected = (
        "a section"
        if item["type"] == "model_type"
        else item["msg"].removeprefix("Input should be ")
    )
    return f"{path}: found {_found(item['input'])}, expected {expected}"


def _is_known(item: Any) -> bool:
    """Unknown keys come first: what is missing is often there, but misspelt or in another section."""
    return bool(item["type"] != "extra_forbidden")


def _known_keys(path: tuple[str | int, ...], model: type[BaseModel]) -> str:
    section: Any = model
    for part in path[:-1]:
        section = _section(getattr(section, "model_fields", {}).get(part))
    fields = getattr(section, "model_fields", None)
    return f" (known: {', '.join(fields)})" if fields else ""


def _section(field: Any) -> Any:
    """The settings inside a field; None if it holds a value."""
    kinds = [field.annotation, *get_args(field.annotation)] if field else []
    return next(
        (kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None
    )


def _found(value: Any) -> str:
    return "nothing" if value is None else f"{shortened(reprlib.repr(value))} ({_kind(value)})"


def _kind(value: Any) -> str:
    return "nothing" if value is None else KINDS.get(type(value), f"a {type(value).__name__}")
