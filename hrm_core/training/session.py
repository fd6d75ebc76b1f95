"""From a config and a data set to a run that is ready to train."""

import os
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from hrm_core.backend import AnyArray, Backend
from hrm_core.config import DataConfig, DataSizes, InitConfig, ModelConfig, RunConfig
from hrm_core.data.store import (
    IDENTIFIERS_FILE,
    Split,
    dataset_hash,
    load_split,
    present_splits,
    read_identifiers,
)
from hrm_core.errors import CheckpointError, ConfigError, DataError, RunError
from hrm_core.parameters import initial_values
from hrm_core.runs.checkpoint import Model, check_weights, load_model
from hrm_core.runs.identifiers import grown
from hrm_core.runs.run import Run
from hrm_core.schedule import total_updates
from hrm_core.tasks.registry import find_task, label_of
from hrm_core.training.fit import Assignment, Reporter, Trainer

MakeBackend = Callable[[ModelConfig], Backend]


def assign(config: RunConfig, data: Path) -> Assignment:
    """Open a data set for training and size the model for it.

    Raises: DataError, or ConfigError where a stated size and the data differ.
    """
    train = load_split(data, "train")
    test = load_split(data, "test") if "test" in present_splits(data) else None
    metadata = train.metadata
    if test is not None:
        _check_fits(test, train)
    model = config.model.sized(
        DataSizes(metadata.vocab_size, metadata.seq_len, metadata.num_puzzle_identifiers)
    )
    updates = total_updates(config.train, metadata.total_groups, metadata.mean_puzzle_examples)
    updates = min(updates, config.train.max_updates or updates)
    if updates < 1:
        raise ConfigError(
            f"train.epochs={config.train.epochs} of {metadata.total_groups} puzzles do not fill one batch of "
            f"{config.train.global_batch_size}; raise train.epochs or lower train.global_batch_size"
        )
    return Assignment(
        config, model, find_task(data, metadata.vocab_size, metadata.seq_len), train, test, updates
    )


def begin(
    run: Run,
    assignment: Assignment,
    data: Path,
    make_backend: MakeBackend,
    reporter: Reporter,
    init: Model | None = None,
) -> Trainer:
    """Start a run from its seed, or from the weights of another model.

    Raises: RunError if the directory holds a run; ConfigError if `init` is of another shape, or of puzzles with other identifiers.
    """
    if run.exists:
        raise RunError(
            f"{run.directory} holds a run already; continue it with --resume or choose another --run"
        )
    init = init or _recorded_init(assignment.config)
    backend = make_backend(assignment.model)
    backend.load_weights(_initial_weights(assignment, init, data))
    trainer = Trainer(assignment, backend, run, reporter)
    written = {
        "data": DataConfig(
            path=str(data.resolve()), sha256=dataset_hash(data), task=label_of(assignment.task)
        ),
        "init": InitConfig(path=str(init.source.resolve()), crc32=init.crc32) if init else None,
        "environment": environment(backend),
    }
    names = data / IDENTIFIERS_FILE
    has_names = assignment.model.num_puzzle_identifiers > 1 and names.is_file()
    run.begin(
        assignment.config.model_copy(update=written), read_identifiers(names) if has_names else ()
    )
    return trainer


def resume(
    run: Run, assignment: Assignment, data: Path, make_backend: MakeBackend, reporter: Reporter
) -> Trainer:
    """Continue a run after its newest whole checkpoint, or from its start if there is none yet.

    Raises: DataError if the data set is another one; CheckpointError if no checkpoint is whole, or of another model.
    """
    config = assignment.config
    if config.data is not None and (found := dataset_hash(data)) != config.data.sha256:
        raise DataError(
            f"{data} is not the data set this run was begun with (sha256 {found[:12]}, expected {config.data.sha256[:12]}); use that one"
        )
    backend = make_backend(assignment.model)
    _warn_of_changes(config.environment or {}, environment(backend), reporter)
    restored = run.newest(reporter.warn)
    if restored is None:
        run.cut_log(0)
        backend.load_weights(_initial_weights(assignment, _recorded_init(config), data))
        return Trainer(assignment, backend, run, reporter)
    check_weights(restored.model.weights, assignment.model, str(restored.folder))
    backend.load_weights(restored.model.weights)
    trainer = Trainer(assignment, backend, run, reporter)
    trainer.restore(restored)
    return trainer


def environment(backend: Backend) -> dict[str, str]:
    """What bit-for-bit results depend on besides the config."""
    return {
        "hrm": version("hrm-mlx"),
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpus": str(os.cpu_count()),
        **backend.describe(),
    }


def _check_fits(test: Split, train: Split) -> None:
    for name in ("vocab_size", "seq_len", "num_puzzle_identifiers"):
        found, expected = getattr(test.metadata, name), getattr(train.metadata, name)
        if found != expected:
            raise DataError(
                f"{test.folder} has {name}={found}, {train.folder} has {expected}; build both splits together"
            )


def _recorded_init(config: RunConfig) -> Model | None:
    """The model a run started from, if it did not start from its seed."""
    if config.init is None:
        return None
    model = load_model(Path(config.init.path))
    if model.crc32 != config.init.crc32:
        raise CheckpointError(
            f"{model.source} is not the model this run was begun with; start again in another --run"
        )
    return model


def _initial_weights(assignment: Assignment, init: Model | None, data: Path) -> dict[str, AnyArray]:
    if init is None:
        return dict(initial_values(assignment.model, assignment.config.train.seed))
    found, expected = init.config.sizes, assignment.model.sizes
    if found[:2] != expected[:2] or found.num_puzzle_identifiers > expected.num_puzzle_identifiers:
        theirs, ours = (
            ", ".join(f"{name}={size}" for name, size in sizes._asdict().items())
            for sizes in (found, expected)
        )
        way_out = f"choose another model, or make one with hrm convert {init.source} DEST --to checkpoint --data {data}"
        raise ConfigError(f"{init.source} is a model of {theirs}, this data has {ours}; {way_out}")
    weights = grown(init, assignment.model, data)
    check_weights(weights, assignment.model, str(init.source))
    return weights


def _warn_of_changes(before: dict[str, str], now: dict[str, str], reporter: Reporter) -> None:
    changed = [
        f"{name} was {before[name]}, is {now[name]}"
        for name in now
        if before.get(name, now[name]) != now[name]
    ]
    if changed:
        reporter.warn(
            f"results may differ from those of an uninterrupted run: {'; '.join(changed)}"
        )
