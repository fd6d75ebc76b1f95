"""A trained model and its task, loaded to solve with."""

import warnings
from pathlib import Path

from hrm_core.backend import BackendOptions
from hrm_core.backends import backend_named
from hrm_core.inference.solving import Solver
from hrm_core.runs.checkpoint import find_model, load_model
from hrm_core.runs.identifiers import load_identifiers
from hrm_core.runs.shipped import model_path
from hrm_core.tasks.registry import require_task


def load_solver(
    path: str | Path,
    backend: str,
    options: BackendOptions | None = None,
    data: str | Path | None = None,
) -> Solver:
    """Load a trained model: a run, a checkpoint folder, a .safetensors file or a shipped model by name.

    A damaged checkpoint that is passed over is warned of.

    `data` is the data set it was trained on, where a model of several puzzle identifiers does not know their names by itself.

    Raises: CheckpointError if there is no whole model; PuzzleError if its task is not known; DataError if `data` is another one.
    """
    path = model_path(path)
    model = load_model(find_model(path, warnings.warn))
    config = model.config
    known = Path(data) if data else None
    identifiers = load_identifiers(path, config.num_puzzle_identifiers, known)
    made = backend_named(backend)(config, options)
    made.load_weights(model.weights)
    task = require_task(config.vocab_size, config.seq_len, model.task, str(model.source))
    return Solver(made, task, identifiers)
