"""Load a trained model with its task, ready to solve."""

from dataclasses import replace
from pathlib import Path
from typing import cast, get_args

from hrm_core.backend import BackendOptions, Device
from hrm_core.backends import backend_named
from hrm_core.errors import BackendError
from hrm_core.inference.solving import Solver
from hrm_core.messages import warn
from hrm_core.runs.checkpoint import Model, open_model
from hrm_core.runs.identifiers import load_identifiers
from hrm_core.runs.shipped import model_path
from hrm_core.tasks.capabilities import Equipped
from hrm_core.tasks.contract import Task
from hrm_core.tasks.registry import require_task


def load_solver(
    path: str | Path,
    backend: str,
    options: BackendOptions | None = None,
    data: str | Path | None = None,
    device: str | None = None,
) -> Solver:
    """Load a trained model: a run, a checkpoint folder, a .safetensors file or a shipped model by name.

    A run falls back from a damaged checkpoint to the one before, with a warning. `data` is the data
    set the model was trained on; it is needed where a model of several puzzle identifiers has no
    record of their names. `device` is auto, gpu or cpu, and takes the place of that of `options`.

    Raises: BackendError if there is no such backend or device; CheckpointError if there is no whole
    model; PuzzleError if its task is not known; DataError if `data` is another data set.
    """
    options = _on(device, options)
    path = model_path(path)
    model = open_model(path, warn)
    config = model.config
    data = Path(data) if data else None
    identifiers = load_identifiers(path, config.num_puzzle_identifiers, data)
    make_backend = backend_named(backend)
    made = make_backend(config, options)
    made.load_weights(model.weights)
    return Solver(made, task_of(model), identifiers)


def _on(device: str | None, options: BackendOptions | None) -> BackendOptions | None:
    """Return the options with another device. Raises: BackendError if there is none of this name."""
    if device is None:
        return options
    devices = get_args(Device)
    if device not in devices:
        raise BackendError(f"unknown device {device!r}; use {', '.join(devices)}")
    return replace(options or BackendOptions(), device=cast(Device, device))


def task_of(model: Model) -> Task:
    """Return the task of a model, with the files it needs.

    Raises: PuzzleError if it is not known; DataError if a file is missing or damaged.
    """
    config = model.config
    task = require_task(config.vocab_size, config.seq_len, model.task, str(model.source))
    return task.with_files(model.files) if isinstance(task, Equipped) else task
