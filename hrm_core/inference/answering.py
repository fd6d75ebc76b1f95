"""A whole evaluation: answer every puzzle in one or several ways and choose one answer.

Shapes: K answers a puzzle, N puzzles, S cells.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hrm_core.backend import Backend
from hrm_core.data.store import Dataset, Split
from hrm_core.errors import DataError, NotFiniteError
from hrm_core.inference.evaluation import (
    Advance,
    InferenceOptions,
    check_fits,
    check_task,
    evaluate,
    first_inputs,
    unwatched,
)
from hrm_core.inference.metrics import is_finite
from hrm_core.inference.slots import Halt, Noise
from hrm_core.inference.voting import Candidates, Choice, Symmetries
from hrm_core.messages import quoted
from hrm_core.runs.checkpoint import Model
from hrm_core.runs.identifiers import check_identifiers
from hrm_core.runs.run import trained_on
from hrm_core.tasks.capabilities import Judged, Named, Poll, Polled, Symmetric
from hrm_core.tasks.contract import Task
from hrm_core.tasks.predictions import Predictions, picked, replaced
from hrm_core.tasks.registry import task_of_shape

IntArray = npt.NDArray[np.integer]

Answered = tuple[Predictions, IntArray]  # scored answers of N puzzles, and their tokens (N, S)


@dataclass(frozen=True, eq=False)
class Outcome:
    """Result of one evaluation."""

    predictions: Predictions  # of the chosen answers; steps are summed over all K answers
    answers: IntArray  # (N, S) chosen
    each: list[Predictions]  # of each of the K answers
    each_answers: IntArray  # (K, N, S)
    module_calls: IntArray  # (N,) of levels H and L, summed over all K answers
    seconds: float  # wall time
    in_turn: bool = False  # answers were asked for until the rules accepted one
    learns_to_halt: bool = True  # or the values of Q mean nothing

    @property
    def oracle(self) -> float:
        """Share of puzzles that any of the K answers solves: the upper limit of a choice."""
        counted = self.predictions.is_counted
        if not counted.any():
            return 0.0
        solved = np.any([predictions.exact for predictions in self.each], axis=0)
        return float(np.mean(solved[counted]))

    @property
    def mean_answers(self) -> float:
        """Mean number of answers that a puzzle with a solution was asked for."""
        counted = self.predictions.is_counted
        asked = np.sum([predictions.steps > 0 for predictions in self.each], axis=0)[counted]
        return float(asked.mean()) if len(asked) else 0.0

    @property
    def mean_module_calls(self) -> float:
        """Mean number of calls of levels H and L for a puzzle with a solution."""
        counted = self.module_calls[self.predictions.is_counted]
        return float(counted.mean()) if len(counted) else 0.0


def recorded_data(paths: Sequence[Path], warn: Callable[[str], None]) -> Dataset:
    """Open the data set that the first of some models was trained on.

    `warn` receives a message for each model that was trained on other data.

    Raises: DataError if the first model has no record of its data, or the data set has changed.
    """
    recorded = [trained_on(path) for path in paths]
    first = recorded[0]
    if first is None:
        raise DataError(
            f"{paths[0]} does not say what it was trained on; name a data set with --data"
        )
    for path, other in zip(paths, recorded, strict=True):
        if other is None or other.sha256 != first.sha256:
            warn(
                f"{path} was trained on other data than {paths[0]}; "
                "its training puzzles may be among these"
            )
    dataset = Dataset(Path(first.path))
    if dataset.sha256 != first.sha256:
        raise DataError(
            f"{first.path} has changed since {paths[0]} was trained on it; "
            "name a data set with --data"
        )
    return dataset


def open_for_models(
    dataset: Dataset, split: str, paths: Sequence[Path], models: Sequence[Model]
) -> tuple[Split, Task | None]:
    """Open the split that models are measured on, and its task.

    Unlabelled data has the task of the first model. `paths` are the models as the user named them.

    Raises: DataError if the data does not fit every model.
    """
    opened = dataset.split(split)
    for path, model in zip(paths, models, strict=True):
        check_fits(opened, model.config, model.source)
        check_task(dataset, model)
        check_identifiers(path, model.config.num_puzzle_identifiers, dataset)
    label = dataset.label or models[0].task
    sizes = opened.metadata.sizes
    return opened, task_of_shape(sizes.vocab_size, sizes.seq_len, label, sizes.num_chunks)


def inference_options(
    task: Task | None,
    halt: Halt,
    votes: int = 1,
    sigma: float = 0.0,
    rollouts: int = 1,
    seed: int = 0,
    max_steps: int | None = None,
    each_step: bool = False,
    budget: int | None = None,
) -> list[InferenceOptions]:
    """Combine symmetries and rollouts, K = votes · rollouts; the first is the puzzle as it is."""
    options = []
    for k in range(votes * rollouts):
        noise = Noise(sigma, seed, rollout=k) if sigma else None
        symmetries = _symmetries(task, k // rollouts, seed)
        options.append(InferenceOptions(halt, noise, symmetries, max_steps, each_step, budget))
    return options


def answer(
    backends: Sequence[Backend],
    split: Split,
    task: Task | None,
    options: Sequence[InferenceOptions],
    choice: Choice = "rules",
    batch_size: int = 256,
    limit: int | None = None,
    advance: Advance = unwatched,
) -> Outcome:
    """Answer with each model and each of the options, then choose one answer to each puzzle.

    Labels are compared with the answers; the choice does not use them. By choice "first" a puzzle
    that the rules accept an answer to is not asked again. `advance` is as in `evaluate`.

    Raises: NotFiniteError if Q values of a model are NaN.
    """
    started = time.perf_counter()
    asks = [
        partial(evaluate, backend, split, task, batch_size, limit, advance, chosen)
        for backend in backends
        for chosen in options
    ]
    in_turn = choice == "first" and len(asks) > 1
    if in_turn:
        assert isinstance(task, Judged), "only the rules of a task accept a first answer"
        results = _in_turn(asks, task, first_inputs(split, limit), advance)
    else:
        results = [ask() for ask in asks]
    each = [predictions for predictions, _ in results]
    answers = np.stack([tokens for _, tokens in results])
    if not all(is_finite(predictions.q_halt_logits) for predictions in each):
        raise NotFiniteError(
            "the model's Q values are not finite; choose another checkpoint, less --noise or "
            "--dtype float32"
        )
    best = _chosen(first_inputs(split, limit), each, answers, task, choice)
    steps = np.sum([predictions.steps for predictions in each], axis=0)
    calls_a_step = [_calls_a_step(backend) for backend in backends for _ in options]
    calls = [one.steps * num for num, one in zip(calls_a_step, each, strict=True)]
    return Outcome(
        replace(picked(each, best), steps=steps),
        answers[best, np.arange(len(best))],
        each,
        answers,
        np.sum(calls, axis=0),
        time.perf_counter() - started,
        in_turn,
        learns_to_halt=all(backend.config.learns_to_halt for backend in backends),
    )


def _in_turn(
    asks: Sequence[Callable[..., Answered]], task: Judged, inputs: IntArray, advance: Advance
) -> list[Answered]:
    """Ask in one way after the other, each time the puzzles (N, S) without an accepted answer.

    An accepted answer stands in for those that are not asked for any more, with 0 steps.
    """
    predictions, tokens = asks[0]()
    is_open = ~task.accepts_all(inputs, tokens)
    results = [(predictions, tokens)]
    for ask in asks[1:]:
        predictions = replace(predictions, steps=np.zeros_like(predictions.steps))
        advance(float((~is_open).sum()))
        if is_open.any():
            found, answers = ask(wanted=is_open)
            predictions, tokens = replaced(predictions, is_open, found), tokens.copy()
            tokens[is_open] = answers
            is_open[is_open] = ~task.accepts_all(inputs[is_open], answers)
        results.append((predictions, tokens))
    return results


def check_names(task: Named, dataset: Dataset, split: Split) -> None:
    """Refuse a test whose puzzles have names that a task does not understand, before it is answered.

    The puzzles of a group are one puzzle and its augmentations.

    Raises: DataError naming an identifier without a name, or with that of another, a name that is
    not understood, or two puzzles of one group that are not of one puzzle to the task.
    """
    puzzles = [task.puzzle_of(name) for name in dataset.names]
    number_of = {puzzle: number for number, puzzle in enumerate(puzzles)}
    numbers = np.array([number_of[puzzle] for puzzle in puzzles])
    for examples in split.sets.values():
        identifiers = examples.puzzle_identifiers
        unnamed = identifiers[identifiers >= len(puzzles)]
        if len(unnamed):
            raise DataError(
                f"{split.folder} uses puzzle identifier {unnamed[0]}, "
                f"identifiers.json names {len(puzzles)}; build it again"
            )
        _check_distinct(dataset.names, np.unique(identifiers), split)
        own = numbers[identifiers]
        first = np.repeat(own[examples.group_indices[:-1]], np.diff(examples.group_indices))
        others = np.flatnonzero(own != first)
        if len(others):
            other = int(others[0])
            group = int(np.searchsorted(examples.group_indices, other, side="right")) - 1
            start = int(examples.group_indices[group])
            names = [quoted(dataset.names[identifiers[puzzle]]) for puzzle in (start, other)]
            raise DataError(
                f"{split.folder}: group {group + 1} holds {' and '.join(names)}, which are not "
                "written as one puzzle and its augmentations; build the data set with `hrm data`"
            )


def _check_distinct(names: Sequence[str], identifiers: IntArray, split: Split) -> None:
    """Refuse identifiers of a test that have no name, or one that another has."""
    first: dict[str, int] = {}
    for identifier in identifiers.tolist():
        name = names[identifier]
        other = first.setdefault(name, identifier)
        if not name or other != identifier:
            found = f"has the name of {other}, {quoted(name)}" if name else "has an empty name"
            raise DataError(
                f"{split.folder}: puzzle identifier {identifier} {found}; "
                "expected a name of its own in identifiers.json"
            )


def polled(task: Polled, dataset: Dataset, split: Split, outcome: Outcome) -> Poll:
    """Pool the answers of a whole test split by its questions.

    Raises: DataError if an identifier has no name.
    """
    answered = [
        (answers, predictions.q_halt_logits)
        for answers, predictions in zip(outcome.each_answers, outcome.each, strict=True)
    ]
    return task.poll(split, dataset.names, answered)


def _symmetries(task: Task | None, vote: int, seed: int) -> Symmetries | None:
    if vote == 0:
        return None
    assert isinstance(task, Symmetric), "symmetries belong to a task that has them"
    return Symmetries(task, vote, seed)


def _chosen(
    inputs: IntArray,
    each: Sequence[Predictions],
    answers: IntArray,
    task: Task | None,
    choice: Choice,
) -> IntArray:
    """Choose an answer to each puzzle. Returns: (N,) in [0, K)."""
    if len(each) == 1:
        return np.zeros(len(inputs), np.intp)
    q_halt_logits = np.stack([predictions.q_halt_logits for predictions in each])
    return Candidates(inputs, answers, q_halt_logits).choose(choice, task)


def _calls_a_step(backend: Backend) -> int:
    """Count the calls of levels H and L in one ACT step."""
    return backend.config.H_cycles * (backend.config.L_cycles + 1)
