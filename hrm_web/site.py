"""The model that is served, and what the page has to know of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hrm_core.backend import Backend
from hrm_core.config import ModelConfig
from hrm_core.errors import HRMError, PuzzleError
from hrm_core.inference.generating import require_generative
from hrm_core.inference.loading import task_of
from hrm_core.inference.slots import most_steps
from hrm_core.inference.solving import Solver
from hrm_core.parameters import num_trainable
from hrm_core.runs.checkpoint import Model
from hrm_core.runs.identifiers import Identifiers, load_identifiers
from hrm_core.runs.shipped import shipped_models
from hrm_core.tasks.capabilities import (
    Generative,
    Judged,
    Named,
    Outcomes,
    Polled,
    Readable,
    Symmetric,
)
from hrm_core.tasks.contract import Task
from hrm_core.tasks.editing import Editable, Editor
from hrm_core.tasks.registry import predictor
from hrm_web.options import described_options
from hrm_web.samples import Samples, samples_of
from hrm_web.wishes import MAX_FORMS, MAX_STEPS, MAX_TOKENS

MAX_NAMES = 2000  # puzzles that the page lists by name


@dataclass(frozen=True, eq=False)
class Site:
    """One model and its task."""

    name: str
    model: Model
    task: Task
    identifiers: Identifiers
    samples: Samples | None

    @classmethod
    def of(cls, path: Path, model: Model, data: Path | None = None) -> "Site":
        """Open what belongs to a model. `data` is the data set it was trained on.

        Raises: PuzzleError if its task is not known or has no panel; DataError if `data` is another data set.
        """
        task = task_of(model)
        identifiers = load_identifiers(path, model.config.num_puzzle_identifiers, data)
        samples = samples_of(path, model, task, data) if isinstance(task, Readable) else None
        names = {file: name for name, file in shipped_models().items()}
        site = cls(names.get(path, path.name), model, task, identifiers, samples)
        if not site.panels():
            raise PuzzleError(
                f"{path} is of {task.name}, which has no panel: it reads no questions, continues no "
                "texts and has no predict.py; measure it with hrm eval"
            )
        return site

    @property
    def config(self) -> ModelConfig:
        """Return the config of the model."""
        return self.model.config

    @property
    def editor(self) -> Editor | None:
        """Return the board that questions are filled in on, None if there is none."""
        return self.task.editor() if isinstance(self.task, Editable) else None

    def solver(self, make_backend: Callable[[ModelConfig], Backend]) -> Solver:
        """Load the weights, in the thread that will compute."""
        backend = make_backend(self.config)
        backend.load_weights(self.model.weights)
        return Solver(backend, self.task, self.identifiers)

    def described(self) -> dict[str, Any]:
        """Return what the page shows and offers, as JSON can hold it."""
        config, task = self.config, self.task
        samples = self.samples
        return {
            "model": self.name,
            "task": task.name,
            "parameters": num_trainable(config),
            "cells": config.num_cells,
            "max_steps": most_steps(config.halting, config),
            "learns_to_halt": config.learns_to_halt,
            "panels": self.panels(),
            "editor": _editor(self.editor),
            "is_judged": isinstance(task, Judged),
            "is_symmetric": isinstance(task, Symmetric) and not isinstance(task, Polled),
            "votes": task.votes if isinstance(task, Polled) else 1,
            "has_names": self.identifiers.count > 1,
            "names": self._names(),
            "samples": samples and {"source": samples.source, "bands": list(samples.bands)},
            "options": self._options(),
            "note": getattr(task, "note", ""),
            "limits": {"steps": MAX_STEPS, "forms": MAX_FORMS, "tokens": MAX_TOKENS},
        }

    def panels(self) -> list[str]:
        """Return the names of the panels that fit the task: solve, generate, predict."""
        found = []
        if isinstance(self.task, Readable):
            found.append("solve")
        if isinstance(self.task, Generative) and self._generates():
            found.append("generate")
        if isinstance(self.task, Outcomes) and predictor(self.task.name) is not None:
            found.append("predict")
        return found

    def _generates(self) -> bool:
        try:
            require_generative(self.task, self.config)
        except HRMError:
            return False
        return True

    def _names(self) -> list[str]:
        """Return the names under which a puzzle can be asked; empty if there is one for all."""
        if self.identifiers.count == 1:
            return []
        names = list(self.identifiers.names)
        if isinstance(self.task, Named):
            names = [name for name in names if self.task.puzzle_of(name) == name]
        return names[:MAX_NAMES]

    def _options(self) -> list[dict[str, Any]]:
        found = predictor(self.task.name) if isinstance(self.task, Outcomes) else None
        return [] if found is None else described_options(found.Options)


def _editor(editor: Editor | None) -> dict[str, Any] | None:
    if editor is None:
        return None
    kinds = []
    for kind in editor.kinds:
        colour = kind.colour and "#{:02x}{:02x}{:02x}".format(*kind.colour)
        kinds.append(kind._asdict() | {"colour": colour})
    return vars(editor) | {"kinds": kinds}
