"""Evaluation: every example thought about, answered and scored.

Shapes: A ACT steps, B slots, N examples, S cells.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hrm_core.backend import IGNORE_LABEL_ID, Backend
from hrm_core.config import DataSizes, ModelConfig
from hrm_core.data.batches import evaluation_batches
from hrm_core.data.store import Split, task_label
from hrm_core.data.symmetry import Symmetry
from hrm_core.errors import DataError
from hrm_core.inference.metrics import NO_SCORES, Scores, joined, score
from hrm_core.inference.slots import Halt, Moment, Noise, Questions, think
from hrm_core.pictures.animations import replaced_whole
from hrm_core.runs.checkpoint import Model
from hrm_core.tasks.registry import task_of_shape

IntArray = npt.NDArray[np.integer]
Given = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.bool_]]


@dataclass(frozen=True)
class Way:
    """How a model is let think about each puzzle."""

    halt: Halt = "fixed"
    noise: Noise | None = None
    symmetries: Callable[[IntArray], Symmetry] | None = (
        None  # of puzzles by number (N,): asked moved, answers moved back
    )


PUBLISHED = Way()
OF_DATA = (
    "rating_bands",
    "symmetric",
)  # settings of a task that another data set of it may have otherwise
SHOWN = 120  # characters of a task in a message


class Thoughts(NamedTuple):
    """What a model thought of some puzzles, step by step."""

    answers: IntArray  # (A, N, S) tokens after each ACT step
    q_halt_logits: npt.NDArray[np.float32]  # (A, N)
    steps: IntArray  # (N,) ACT steps taken

    @property
    def final(self) -> IntArray:
        """(N, S) the answers after the last step."""
        final: IntArray = self.answers[-1]
        return final

    @property
    def settled_step(self) -> IntArray:
        """(N,) the ACT step, counted from 1, after which the answer no longer changed."""
        changed = (self.answers[1:] != self.answers[:-1]).any(axis=2)  # (A - 1, N)
        steps = np.arange(2, len(self.answers) + 1)[:, None]
        settled: IntArray = np.where(changed, steps, 1).max(axis=0, initial=1)
        return settled


def thoughts(
    backend: Backend,
    inputs: IntArray,
    puzzle_identifiers: IntArray,
    batch_size: int = 256,
    halt: Halt = "fixed",
) -> Thoughts:
    """Let a model think about puzzles. An answer that is final stays as it is. Shapes: (N, S) tokens, (N,)."""
    num_steps, count = backend.config.halt_max_steps, len(inputs)
    answers = np.zeros((num_steps, *inputs.shape), np.int32)
    q_halt_logits, steps = np.zeros((num_steps, count), np.float32), np.zeros(count, np.int32)
    for moment in think(
        backend, iter([Questions.unlabelled(inputs, puzzle_identifiers)]), batch_size, halt
    ):
        numbers, at = moment.questions.number[moment.busy], moment.steps[moment.busy] - 1
        answers[at, numbers] = moment.answers.tokens[moment.busy]
        q_halt_logits[at, numbers] = moment.answers.q_halt_logits[moment.busy]
        steps[numbers] = at + 1
    last = np.minimum(np.arange(num_steps)[:, None], steps - 1), np.arange(count)
    return Thoughts(answers[last], q_halt_logits[last], steps)


def check_fits(split: Split, config: ModelConfig, source: Path) -> None:
    """Refuse to measure a model on data of another shape.

    Raises: DataError naming the sizes that differ.
    """
    metadata = split.metadata
    found = DataSizes(
        metadata.vocab_size, metadata.seq_len, metadata.num_puzzle_identifiers
    )._asdict()
    expected = config.sizes._asdict()
    misfits = [
        f"{name}={found[name]}, expected {expected[name]}"
        for name in found
        if found[name] != expected[name]
    ]
    if misfits:
        raise DataError(
            f"{split.folder} does not fit {source}: {'; '.join(misfits)}; use the data the model was trained for"
        )


def check_task(data: Path, model: Model) -> None:
    """Refuse to measure a model on data of another task or alphabet that happens to have its shape, where both say what they are.

    Raises: DataError naming both.
    """
    label = task_label(data)
    if label and model.task and _rules(label, model.config) != _rules(model.task, model.config):
        raise DataError(
            f"{data} is of {label[:SHOWN]}, {model.source} of {model.task[:SHOWN]}; use data of its task"
        )


def _rules(label: str, config: ModelConfig) -> tuple[str, dict[str, Any]]:
    """The name of a task, and its settings without those that tell of a data set alone."""
    task = task_of_shape(config.vocab_size, config.seq_len, label)
    settings = (
        {}
        if task is None
        else {key: value for key, value in task.settings.items() if key not in OF_DATA}
    )
    return label.partition(" ")[0], settings


def evaluate(
    backend: Backend,
    split: Split,
    given: Given | None,
    batch_size: int,
    limit: int | None = None,
    on_batch: Callable[[int], None] = lambda num_examples: None,
    way: Way = PUBLISHED,
) -> tuple[Scores, IntArray]:
    """Answer the examples of a split, the first `limit` of each set.

    `given` tells which cells a question answers itself; None: it is not known, and every cell counts as blank.
    Of several replicas each answers its part of every batch.
    Returns: their scores and the answers (N, S), in file order. `on_batch` is told how many puzzles have halted.
    """
    stored = (
        np.uint8 if backend.config.vocab_size <= 256 else np.int32
    )  # ARC has hundreds of thousands of canvases
    numbers: list[IntArray] = [np.empty(0, np.intp)]
    tokens: list[IntArray] = [np.empty((0, backend.config.seq_len), stored)]
    scores = [NO_SCORES]
    slots = max(1, batch_size // backend.replica.num_replicas)
    for moment in think(
        backend, _questions(backend, split, batch_size, limit, way), slots, way.halt, way.noise
    ):
        if moment.halts.any():
            numbers.append(moment.questions.number[moment.halts])
            scores.append(_scores(moment, given, backend.config.loss_type))
            tokens.append(_moved_back(moment, way).astype(stored))
            on_batch(len(numbers[-1]))
    order = np.argsort(np.concatenate(numbers))
    return joined(scores).select(order), np.concatenate(tokens)[order]


def num_examples(split: Split, limit: int | None = None) -> int:
    """How many examples `evaluate` answers."""
    return sum(min(len(examples), limit or len(examples)) for examples in split.sets.values())


def save_predictions(
    path: Path, split: Split, scores: Scores, answers: IntArray, limit: int | None = None
) -> None:
    """Write inputs, labels, answers (N, S), q_halt_logits, steps and settled_step (N,) as .npz, at once or not at all.

    Raises: HRMError if the file cannot be written.
    """
    sets = split.sets.values()
    with replaced_whole(path) as partial, partial.open("wb") as file:
        np.savez_compressed(
            file,
            inputs=np.concatenate([examples.inputs[: limit or len(examples)] for examples in sets]),
            labels=np.concatenate([examples.labels[: limit or len(examples)] for examples in sets]),
            answers=answers.astype(np.int32),
            q_halt_logits=scores.q_halt_logits,
            steps=scores.steps,
            settled_step=scores.settled_step,
        )


def _questions(
    backend: Backend, split: Split, batch_size: int, limit: int | None, way: Way
) -> Iterator[Questions]:
    """The examples of a split, moved by the symmetry of each if there is one."""
    number = 0
    for batch in evaluation_batches(split, batch_size, *backend.replica, limit=limit):
        rows = batch.example_index >= 0  # the others are padding
        ratings = split.sets[batch.set_name].ratings
        count = int(rows.sum())
        if not count:  # a replica may have no part in the last batch
            continue
        questions = Questions(
            np.arange(number, number + count),
            batch.inputs[rows],
            batch.puzzle_identifiers[rows],
            batch.labels[rows],
            np.full(count, -1) if ratings is None else ratings[batch.example_index[rows]],
        )
        number += count
        yield _moved(questions, way) if way.symmetries else questions


def _moved(questions: Questions, way: Way) -> Questions:
    assert way.symmetries is not None
    symmetry = way.symmetries(questions.number)
    labelled = questions.labels >= 0
    labels = symmetry.apply(np.where(labelled, questions.labels, 0))
    is_labelled = np.take_along_axis(labelled, symmetry.cells.astype(np.intp), axis=1)
    return replace(
        questions,
        inputs=symmetry.apply(questions.inputs),
        labels=np.where(is_labelled, labels, IGNORE_LABEL_ID),
    )


def _moved_back(moment: Moment, way: Way) -> IntArray:
    """The answers of the puzzles that halt, as if nothing had been moved. Shapes: (n, S)."""
    tokens = moment.answers.tokens[moment.halts]
    return (
        way.symmetries(moment.questions.number[moment.halts]).inverse().apply(tokens)
        if way.symmetries
        else tokens
    )


def _scores(moment: Moment, given: Given | None, loss_type: str) -> Scores:
    """What the answers of the puzzles that halt are worth."""
    questions, answers, halts = moment.questions.select(moment.halts), moment.answers, moment.halts
    is_given = (
        given(questions.inputs.astype(np.uint8))
        if given
        else np.zeros(questions.inputs.shape, bool)
    )
    return Scores(
        **score(
            answers.tokens[halts], questions.labels, is_given, answers.logits[halts], loss_type
        ),  # type: ignore[arg-type]
        q_halt_logits=answers.q_halt_logits[halts],
        steps=moment.steps[halts],
        settled_step=moment.settled_step[halts],
        ratings=questions.ratings,
    )
