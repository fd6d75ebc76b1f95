"""Prepare a run from a config and a data set: begin it, or resume it."""

import os
import platform
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hrm_core.backend import AnyArray, Backend
from hrm_core.config import (
    ArchConfig,
    DataConfig,
    DataSizes,
    InitConfig,
    ModelConfig,
    RunConfig,
    TrainConfig,
    validated,
)
from hrm_core.data.store import Dataset, Split
from hrm_core.errors import CheckpointError, ConfigError, DataError, RunError
from hrm_core.parameters import initial_values
from hrm_core.presets import fitting_presets
from hrm_core.runs.checkpoint import Model, check_weights, load_model
from hrm_core.runs.identifiers import grown
from hrm_core.runs.run import CONFIG_FILE, Run
from hrm_core.runs.settings import check_model, check_settings
from hrm_core.schedule import total_updates
from hrm_core.tasks.capabilities import Equipped, Hinted, Viewed, continues_texts
from hrm_core.tasks.registry import label_of, task_of_shape
from hrm_core.training.fit import Assignment, Reporter, Trainer

MakeBackend = Callable[[ModelConfig], Backend]


def assign(config: RunConfig, data: Path) -> Assignment:
    """Open a data set for training and size the model for it.

    Raises: DataError, or ConfigError where a stated size and the data differ, or where a model of
    text would see what it is to predict.
    """
    dataset = Dataset(data)
    train = dataset.split("train")
    test = dataset.split("test") if "test" in dataset.splits else None
    metadata = train.metadata
    if test is not None:
        _check_fits(test, train)
    task = task_of_shape(
        metadata.vocab_size, metadata.seq_len, dataset.label or "", metadata.num_chunks
    )
    if isinstance(task, Viewed):
        config = _with_view(config, task, data)
    for split in filter(None, (train, test)):
        split.check_serves(config.model)
    model = _sized(config, train, label_of(task))
    updates = _num_updates(config.train, train)
    if updates < 1:
        raise ConfigError(
            f"train.epochs={config.train.epochs} of {metadata.total_groups} puzzles do not fill one "
            f"batch of {config.train.global_batch_size}; raise train.epochs or lower "
            "train.global_batch_size"
        )
    if continues_texts(task) and model.attention == "full":
        raise ConfigError(
            f"{data} is text, and with model.attention=full each position would read the token "
            "it is to predict; set model.attention=causal or prefix, and model.halting=fixed"
        )
    if config.train.hints and not isinstance(task, Hinted):
        raise ConfigError(
            f"train.hints fills in blank cells, and a question of {label_of(task)} has none; "
            "leave it out"
        )
    files: dict[str, str] = {}
    if isinstance(task, Equipped):
        files = {name: dataset.text_of(name) for name in task.file_names}
    return Assignment(config, model, dataset, task, train, test, updates, files)


def ended_after(assignment: Assignment, max_updates: int) -> Assignment:
    """Return a run that ends after so many updates, and is evaluated after as many as before."""
    changes = {
        "max_updates": max_updates,
        "eval_every_updates": assignment.updates_between_evaluations,
    }
    train = assignment.config.train.model_copy(update=changes)
    config = assignment.config.model_copy(update={"train": train})
    return assignment._replace(config=config, total_updates=_num_updates(train, assignment.train))


def begin(
    run: Run,
    assignment: Assignment,
    make_backend: MakeBackend,
    reporter: Reporter,
    init: Model | None = None,
) -> Trainer:
    """Start a run from its seed, or from the weights of another model.

    Raises: RunError if the directory holds a run; DataError if the data set has changed since it was
    built, or fills no batch; ConfigError if `init` has another shape or other puzzle identifiers.
    """
    if run.exists:
        raise RunError(
            f"{run.directory} holds a run already; "
            "continue it with --resume or choose another --run"
        )
    assignment.data.check_unchanged()
    init = init or _recorded_init(assignment.config)
    backend = make_backend(assignment.model)
    _check_alike(backend, assignment, init)
    backend.load_weights(_initial_weights(assignment, init))
    trainer = Trainer(assignment, backend, run, reporter)
    trainer.check_order()
    run.begin(_recorded_config(assignment, init, backend), _names_to_keep(assignment))
    return trainer


def resume(
    run: Run, assignment: Assignment, make_backend: MakeBackend, reporter: Reporter
) -> Trainer:
    """Continue a run after its newest whole checkpoint, or from its start if there is none yet.

    Raises: DataError if the data set is another one; CheckpointError if no checkpoint is whole;
    RunError if config.yaml is not what the newest whole one was trained with.
    """
    config, data = assignment.config, assignment.data
    if config.data is not None and data.sha256 != config.data.sha256:
        raise DataError(
            f"{data.directory} is not the data set this run was begun with (sha256 "
            f"{data.sha256[:12]}, expected {config.data.sha256[:12]}); use that one"
        )
    restored = run.newest(reporter.warn)
    if restored is not None:
        source = run.directory / CONFIG_FILE
        check_model(assignment.model, restored.model.config, source)
        check_settings(run.settings, restored.state, source)
    backend = make_backend(assignment.model)
    _check_alike(backend, assignment, restored.model if restored else None)
    _warn_of_changes(config.environment or {}, environment(backend), reporter)
    if restored is None:
        run.cut_log(reporter.warn)
        backend.load_weights(_initial_weights(assignment, _recorded_init(config)))
        return Trainer(assignment, backend, run, reporter)
    check_weights(restored.model.weights, assignment.model, str(restored.folder))
    backend.load_weights(restored.model.weights)
    trainer = Trainer(assignment, backend, run, reporter)
    trainer.restore(restored)
    return trainer


def _check_alike(backend: Backend, assignment: Assignment, model: Model | None) -> None:
    """Raise RunError if other machines of this run have other settings, data or weights to begin with."""
    facts = {
        "settings": assignment.config.model_dump_json(exclude={"data", "init", "environment"}),
        "data sets": assignment.data.sha256,
        "models to begin with": None if model is None else model.crc32,
    }
    first, *others = backend.gather(facts)
    for name, value in first.items():
        if any(other[name] != value for other in others):
            raise RunError(
                f"the machines of this run have different {name}; copy data set and run "
                "from the first machine to the others, and start again"
            )


def _with_view(config: RunConfig, task: Viewed, data: Path) -> RunConfig:
    """Return the config with the settings of a model that the data decide.

    Raises: ConfigError if it states another value.
    """
    stated = config.model.model_dump(include=config.model.model_fields_set)
    for name, value in task.model_settings.items():
        if stated.get(name, value) != value:
            raise ConfigError(
                f"model.{name}={stated[name]}, but {data} was built for {name}={value}; "
                "leave the setting out, or build the data set again"
            )
    model = validated(ArchConfig, {**config.model.model_dump(), **task.model_settings}, "model")
    return config.model_copy(update={"model": model})


def _num_updates(train: TrainConfig, split: Split) -> int:
    """Return the number of updates of a run on a training split."""
    metadata = split.metadata
    updates = total_updates(train, metadata.total_groups, metadata.mean_puzzle_examples)
    return min(updates, train.max_updates or updates)


def _sized(config: RunConfig, train: Split, label: str) -> ModelConfig:
    """Return the model for the data. Raises: ConfigError naming the presets that fit, if any does."""
    try:
        return config.model.sized(train.sizes)
    except ConfigError as error:
        names = fitting_presets(label.partition(" ")[0], train.sizes)
        if not names:
            raise
        raise ConfigError(f"{error}; presets for this data: {', '.join(names)}") from error


def environment(backend: Backend) -> dict[str, str]:
    """Describe everything besides the config that bit-for-bit results depend on."""
    return {
        "hrm": version("hrm-mlx"),
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpus": str(os.cpu_count()),
        **backend.describe(),
    }


def _recorded_config(assignment: Assignment, init: Model | None, backend: Backend) -> RunConfig:
    """Return the config of a run with its data, the model it starts from and its environment."""
    data = assignment.data
    recorded: dict[str, Any] = {
        "data": DataConfig(
            path=str(data.directory.resolve()),
            sha256=data.sha256,
            task=label_of(assignment.task),
        ),
        "init": None,
        "environment": environment(backend),
    }
    if init is not None:
        recorded["init"] = InitConfig(path=str(init.source.resolve()), crc32=init.crc32)
    return assignment.config.model_copy(update=recorded)


def _names_to_keep(assignment: Assignment) -> Sequence[str]:
    """Return the names of the puzzle identifiers; none for a model that has only the blank one."""
    data = assignment.data
    if assignment.model.num_puzzle_identifiers > 1 and data.has_names:
        return data.names
    return ()


def _check_fits(test: Split, train: Split) -> None:
    for name in DataSizes._fields:
        found, expected = getattr(test.sizes, name), getattr(train.sizes, name)
        if found != expected:
            raise DataError(
                f"{test.folder} has {name}={found}, {train.folder} has {expected}; "
                "build both splits together"
            )


def _recorded_init(config: RunConfig) -> Model | None:
    """Load the model a run started from; None if it started from its seed."""
    if config.init is None:
        return None
    model = load_model(Path(config.init.path))
    if model.crc32 != config.init.crc32:
        raise CheckpointError(
            f"{model.source} is not the model this run was begun with; start again in another --run"
        )
    return model


def _initial_weights(assignment: Assignment, init: Model | None) -> dict[str, AnyArray]:
    if init is None:
        return dict(initial_values(assignment.model, assignment.config.train.seed))
    found, expected = init.config.sizes, assignment.model.sizes
    same_shape = found._replace(num_puzzle_identifiers=expected.num_puzzle_identifiers) == expected
    if not same_shape or found.num_puzzle_identifiers > expected.num_puzzle_identifiers:
        raise ConfigError(
            f"{init.source} is a model of {_listed(found)}, this data has {_listed(expected)}; "
            f"choose another model, or make one with hrm convert {init.source} DEST --to "
            f"checkpoint --data {assignment.data.directory}"
        )
    weights = grown(init, assignment.model, assignment.data)
    check_weights(weights, assignment.model, str(init.source))
    return weights


def _listed(sizes: DataSizes) -> str:
    defaults = DataSizes._field_defaults
    named = sizes._asdict().items()
    return ", ".join(f"{name}={size}" for name, size in named if size != defaults.get(name))


def _warn_of_changes(before: dict[str, str], now: dict[str, str], reporter: Reporter) -> None:
    changed = []
    for name, value in now.items():
        old = before.get(name, value)
        if old != value:
            changed.append(f"{name} was {old}, is {value}")
    if changed:
        reporter.warn(
            f"results may differ from those of an uninterrupted run: {'; '.join(changed)}"
        )
