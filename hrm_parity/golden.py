"""Recorded cases of the published code: a folder with case.json and safetensors. The format: recorded/README.md.

Shapes: U updates, B slots, S `seq_len`.
"""

import hashlib
import math
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TypeVar

import numpy as np
from pydantic import BaseModel, NonNegativeFloat, NonNegativeInt, PositiveInt, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load

from hrm_core.backend import AnyArray, Arrays
from hrm_core.config import ModelConfig, OptimConfig, validated
from hrm_core.errors import HRMError
from hrm_core.parameters import parameter_table

Settings = TypeVar("Settings", bound=BaseModel)

WAY_OUT = "copy the case again"
RULE_KEY = 1000  # weights by rule: tensor i comes from Philox(key=1000 + i)


class CaseError(HRMError):
    """A recorded case that is missing, damaged or at odds with itself."""


class Recorded(dict[str, AnyArray]):
    """The tensors of one file; asking for one it lacks is the case's mistake."""

    def __init__(self, path: Path, tensors: Arrays) -> None:
        super().__init__(tensors)
        self.path = path

    def __missing__(self, key: str) -> AnyArray:
        raise CaseError(f"{self.path} holds no {key}; {WAY_OUT}")


class CaseConfig(BaseModel, strict=True, extra="allow"):
    """The published settings: those of a model, and the number of slots."""

    batch_size: PositiveInt


class Loss(BaseModel, strict=True):
    """Loss of the recorded network."""

    loss_type: str


class Hyperparameters(BaseModel, strict=True):
    """Settings of the recorded updates."""

    total_steps: PositiveInt  # updates
    lr: float
    lr_min_ratio: float
    lr_warmup_steps: int
    weight_decay: float
    beta1: float
    beta2: float
    puzzle_emb_lr: float = 0.0
    puzzle_emb_weight_decay: float = 0.0


class RuleEntry(BaseModel, strict=True):
    """One tensor whose values are drawn, not stored."""

    index: NonNegativeInt
    key: str
    shape: tuple[NonNegativeInt, ...]
    std: NonNegativeFloat | None  # None: the values are `first4`
    first4: list[float]
    sum_float64: float


class WeightsRule(BaseModel, strict=True):
    """Weights by a rule instead of a file."""

    table: list[RuleEntry]


class ModelSettings(BaseModel, strict=True):
    """case.json of a model."""

    name: str
    config: CaseConfig
    loss: Loss
    hyperparameters: Hyperparameters | None = None
    forward_steps: PositiveInt | None = None
    weights_rule: WeightsRule | None = None
    sha256: dict[str, str] = {}


@dataclass(frozen=True, eq=False)
class ModelCase:
    """Weights, and what the published model made of them."""

    name: str
    config: ModelConfig
    batch_size: int
    forward_steps: int  # ACT steps of the evaluation
    weights: Arrays
    forward: Recorded | None
    train: Recorded | None
    hyperparameters: Hyperparameters | None  # there where `train` is

    @property
    def optim(self) -> OptimConfig:
        """The hyper-parameters as our settings."""
        assert self.hyperparameters is not None
        return validated(
            OptimConfig, self.hyperparameters.model_dump(exclude={"total_steps"}), self.name
        )

    @property
    def total_updates(self) -> int:
        """Updates that the schedule is made for."""
        assert self.hyperparameters is not None
        return self.hyperparameters.total_steps


class TrainSettings(BaseModel, strict=True):
    """Settings of the recorded training batches."""

    seed: NonNegativeInt
    numpy_global_seed: NonNegativeInt
    epochs_per_iter: PositiveInt
    global_batch_size: PositiveInt


class EvaluationSettings(BaseModel, strict=True):
    """Settings of the recorded test batches."""

    global_batch_size: PositiveInt


class RecordedBatch(BaseModel, strict=True):
    """Place of one batch in the file, and its properties."""

    prefix: str  # train/it0/b3, test_r2/rank1/b0
    set: str
    global_effective_size: NonNegativeInt  # examples on all ranks


class OrderSettings(BaseModel, strict=True):
    """case.json of a data order."""

    name: str
    train: TrainSettings
    test: EvaluationSettings
    batches: list[RecordedBatch]
    sha256: dict[str, str] = {}


@dataclass(frozen=True, eq=False)
class OrderCase:
    """A data set, and the batches that the published reader made of it."""

    settings: OrderSettings
    dataset: Path
    recorded: Recorded

    @property
    def name(self) -> str:
        """Name of the case."""
        return self.settings.name


Case = ModelCase | OrderCase


def find_cases(directory: Path) -> list[Path]:
    """The case a folder is, or the cases it holds. Raises: CaseError if there is none."""
    if (directory / "case.json").is_file():
        return [directory]
    found = sorted(path.parent for path in directory.glob("*/case.json"))
    if not found:
        raise CaseError(
            f"{directory} is no recorded case and holds none: expected case.json in it or one level below"
        )
    return found


def carried_cases() -> list[Path]:
    """The recorded case that comes with the package."""
    return find_cases(Path(str(resources.files("hrm_parity"))) / "recorded")


def load_case(folder: Path) -> Case:
    """Read a recorded case, whichever kind it is.

    Raises: CaseError or ConfigError: missing, damaged, or at odds with itself.
    """
    is_order = any((folder / name).exists() for name in ("dataset", "batches.safetensors"))
    return _load_order(folder) if is_order else _load_model(folder)


def _load_model(folder: Path) -> ModelCase:
    settings = _read_settings(folder / "case.json", ModelSettings)
    values = {**(settings.config.model_extra or {}), "loss_type": settings.loss.loss_type}
    config = validated(ModelConfig, values, str(folder / "case.json"))
    case = ModelCase(
        name=settings.name,
        config=config,
        batch_size=settings.config.batch_size,
        forward_steps=settings.forward_steps or config.halt_max_steps,
        weights=_weights(folder, settings),
        forward=_read_tensors(folder / "forward.safetensors", settings.sha256),
        train=_read_tensors(folder / "train.safetensors", settings.sha256),
        hyperparameters=settings.hyperparameters,
    )
    _check(folder, case)
    return case


def _load_order(folder: Path) -> OrderCase:
    settings = _read_settings(folder / "case.json", OrderSettings)
    recorded = _required(
        _read_tensors(folder / "batches.safetensors", settings.sha256),
        folder / "batches.safetensors",
    )
    for batch in settings.batches:
        recorded[f"{batch.prefix}/set"] = np.array([batch.set])
        recorded[f"{batch.prefix}/effective_size"] = np.array([batch.global_effective_size])
    return OrderCase(settings, folder / "dataset", recorded)


def _read_settings(path: Path, model: type[Settings]) -> Settings:
    try:
        return model.model_validate_json(path.read_bytes())
    except OSError as error:
        raise CaseError(f"{path} cannot be read ({error.strerror}); {WAY_OUT}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CaseError(
            f"{path}: {where + ': ' if where else ''}{first['msg']}; {WAY_OUT}"
        ) from error


def _read_tensors(path: Path, hashes: dict[str, str]) -> Recorded | None:
    """Read one file and hold it against its hash. Returns: None where the case has no such file."""
    if not path.exists() and path.name not in hashes:
        return None
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CaseError(f"{path} cannot be read ({error.strerror}); {WAY_OUT}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != hashes.get(path.name, found):
        raise CaseError(
            f"{path} is damaged: sha256 {found[:12]}…, case.json says {hashes[path.name][:12]}…; {WAY_OUT}"
        )
    try:
        return Recorded(path, load(content))
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CaseError(f"{path} is no safetensors file ({error}); {WAY_OUT}") from error


def _required(recorded: Recorded | None, path: Path) -> Recorded:
    if recorded is None:
        raise CaseError(f"{path} is missing; {WAY_OUT}")
    return recorded


def _weights(folder: Path, settings: ModelSettings) -> Arrays:
    if settings.weights_rule:
        return {
            entry.key: _by_rule(entry, folder / "case.json")
            for entry in settings.weights_rule.table
        }
    path = folder / "weights.safetensors"
    return _required(_read_tensors(path, settings.sha256), path)


def _by_rule(entry: RuleEntry, path: Path) -> AnyArray:
    """Draw one tensor and check that it is the one that was meant. Source: recorded/README.md, "weights.safetensors"."""
    first = np.array(entry.first4, np.float32)
    if entry.std is None:
        if first.size != math.prod(entry.shape):
            raise CaseError(
                f"{path}: {entry.key} has shape {entry.shape} but {first.size} values; {WAY_OUT}"
            )
        return first.reshape(entry.shape)
    rng = np.random.Generator(np.random.Philox(key=RULE_KEY + entry.index))
    values = rng.standard_normal(entry.shape, dtype=np.float32) * np.float32(entry.std)
    total = float(values.sum(dtype=np.float64))
    if not (
        np.allclose(values.ravel()[:4], first, rtol=1e-6)
        and math.isclose(total, entry.sum_float64, rel_tol=1e-6, abs_tol=1e-6)
    ):
        raise CaseError(
            f"{path}: the rule gives {entry.key} the sum {total!r}, recorded was {entry.sum_float64!r}; {WAY_OUT}"
        )
    return values


def _check(folder: Path, case: ModelCase) -> None:
    """Refuse weights and batches of other sizes than the config has."""
    table = {name: parameter.shape for name, parameter in parameter_table(case.config).items()}
    shapes = {name: weight.shape for name, weight in case.weights.items()}
    wrong = sorted(
        name for name in table.keys() | shapes.keys() if table.get(name) != shapes.get(name)
    )
    if wrong:
        found, expected = shapes.get(wrong[0], "nothing"), table.get(wrong[0], "nothing")
        raise CaseError(
            f"{folder}: {len(wrong)} weights do not fit config: {wrong[0]} has {found}, expected {expected}; {WAY_OUT}"
        )
    if case.train is not None and case.hyperparameters is None:
        raise CaseError(
            f"{folder / 'case.json'}: hyperparameters are missing, but there is training; {WAY_OUT}"
        )
    cells = (case.batch_size, case.config.seq_len)
    if case.forward is not None:
        _check_shape(case.forward, "inputs", cells)
    if case.train is not None:
        _check_shape(case.train, "batch/inputs", (len(case.train["loss"]), *cells))


def _check_shape(recorded: Recorded, name: str, expected: tuple[int, ...]) -> None:
    if recorded[name].shape != expected:
        raise CaseError(
            f"{recorded.path}: {name} has shape {recorded[name].shape}, case.json says {expected}; {WAY_OUT}"
        )
