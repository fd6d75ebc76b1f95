"""Evaluation: answer every example of a split and compare the answers with the labels.

Shapes: A ACT steps, B slots, N examples, S cells.
"""

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hrm_core.backend import IGNORE_LABEL_ID, Backend
from hrm_core.config import ModelConfig
from hrm_core.data.batches import DrawnBatch, batch_of_rows, evaluation_batches
from hrm_core.data.store import Dataset, Split
from hrm_core.data.symmetry import Symmetry
from hrm_core.errors import ConfigError, DataError
from hrm_core.files import replaced_whole
from hrm_core.inference.metrics import score
from hrm_core.inference.slots import (
    NO_QUESTIONS,
    Halt,
    Noise,
    Questions,
    StepResult,
    fewest_steps,
    most_steps,
    no_images,
    think,
)
from hrm_core.runs.checkpoint import Model
from hrm_core.tasks.capabilities import Outcomes, Table, Variable, given_cells
from hrm_core.tasks.contract import Task
from hrm_core.tasks.predictions import NO_PREDICTIONS, Predictions, joined
from hrm_core.tasks.registry import task_of_shape

IntArray = npt.NDArray[np.integer]
BoolArray = npt.NDArray[np.bool_]
Rows = dict[str, npt.NDArray[Any]]

SHOWN = 120  # characters of a task in a message


@dataclass(frozen=True)
class InferenceOptions:
    """Options for running the model on each puzzle."""

    halt: Halt = "fixed"
    noise: Noise | None = None
    # of puzzles by number (N,): applied to the question, undone in the answer
    symmetries: Callable[[IntArray], Symmetry] | None = None
    max_steps: int | None = None  # ACT steps that a puzzle may take, if another number than usual
    each_step: bool = False  # also measure the loss after each ACT step, of one chunk
    budget: int | None = None  # ACT steps that the puzzles of a batch share; with halt "q"

    def most_steps(self, config: ModelConfig) -> int:
        """Return the ACT steps that a puzzle may take."""
        usual = most_steps(self.halt, config) if self.budget is not None else config.halt_max_steps
        return self.max_steps or usual


PUBLISHED = InferenceOptions()

Advance = Callable[[float], None]


def unwatched(amount: float) -> None:
    """Ignore the progress."""


class StepAnswers(NamedTuple):
    """Answers of a model to some puzzles after each ACT step."""

    answers: IntArray  # (A, N, S) tokens
    q_halt_logits: npt.NDArray[np.float32]  # (A, N)
    steps: IntArray  # (N,) ACT steps taken
    num_chunks: int = 1
    steps_per_chunk: int = 1

    @property
    def final(self) -> IntArray:
        """Return the answers (N, S) after the last step."""
        final: IntArray = self.answers[-1]
        return final

    def cut(self, num_steps: int) -> "StepAnswers":
        """Return the same without what comes after so many ACT steps."""
        return self._replace(
            answers=self.answers[:num_steps],
            q_halt_logits=self.q_halt_logits[:num_steps],
            steps=np.minimum(self.steps, num_steps),
        )

    @property
    def settled_step(self) -> IntArray:
        """Return the ACT step (N,), from 1, after which the answer on the last chunk stopped changing."""
        return self.settled_steps[:, -1]

    @property
    def settled_steps(self) -> IntArray:
        """Return the same for each chunk (N, C), at the earliest its first step."""
        chunks = self.answers.reshape(*self.answers.shape[:2], self.num_chunks, -1)
        changed = (chunks[1:] != chunks[:-1]).any(axis=3)  # (A - 1, N, C)
        steps = np.arange(2, len(chunks) + 1)[:, None, None]
        settled: IntArray = np.where(changed, steps, 1).max(axis=0, initial=1)
        return np.maximum(settled, 1 + self.steps_per_chunk * np.arange(self.num_chunks))


def answer_step_by_step(
    backend: Backend,
    inputs: IntArray,
    puzzle_identifiers: IntArray,
    batch_size: int = 256,
    halt: Halt = "fixed",
    prefix_len: IntArray | None = None,
    images: npt.NDArray[np.uint8] | None = None,
    max_steps: int | None = None,
    on_step: Callable[[StepResult], None] = lambda result: None,
) -> StepAnswers:
    """Answer puzzles and keep the answer after each ACT step. Shapes: (N, S) tokens, (N,), `prefix_len` (N,), `images` (N, ...).

    A puzzle that halts early keeps its last answer in the steps that others still take. `on_step`
    receives each step as it comes; an exception from it ends the thinking.
    """
    config, count = backend.config, len(inputs)
    steps = np.zeros(count, np.int32)
    said = []  # the answer and its value at each place
    waiting = iter([Questions.unlabelled(inputs, puzzle_identifiers, prefix_len, images)])
    for result in think(backend, waiting, batch_size, halt, max_steps=max_steps):
        on_step(result)
        busy = result.busy
        numbers = result.questions.number[busy]
        step = result.steps[busy]
        place = step - 1, numbers
        said.append((place, result.tokens[busy], result.answers.q_halt_logits[busy]))
        steps[numbers] = step
    num_steps = int(steps.max(initial=0))
    answers = np.zeros((num_steps, *inputs.shape), np.int32)
    q_halt_logits = np.zeros((num_steps, count), np.float32)
    for place, tokens, values in said:
        answers[place], q_halt_logits[place] = tokens, values
    all_steps = np.arange(num_steps)[:, None]
    known = np.minimum(all_steps, steps - 1), np.arange(count)
    chunks = config.num_chunks, config.steps_per_chunk
    return StepAnswers(answers[known], q_halt_logits[known], steps, *chunks)


def check_fits(split: Split, config: ModelConfig, source: Path) -> None:
    """Refuse to measure a model on data of another shape.

    Raises: DataError naming the sizes that differ.
    """
    split.check_serves(config)
    expected = config.sizes._asdict()
    misfits = []
    for name, size in config.seen(split.sizes)._asdict().items():
        if size != expected[name]:
            misfits.append(f"{name}={size}, expected {expected[name]}")
    if misfits:
        raise DataError(
            f"{split.folder} does not fit {source}: {'; '.join(misfits)}; "
            "use the data the model was trained for"
        )


def check_task(data: Dataset, model: Model) -> None:
    """Refuse to measure a model on data of another task or alphabet that happens to have its shape.

    Raises: DataError naming both, where both are labelled.
    """
    label, config = data.label, model.config
    if not label or not model.task:
        return
    if _rules(label, config) != _rules(model.task, config):
        raise DataError(
            f"{data.directory} is of {label[:SHOWN]}, {model.source} of {model.task[:SHOWN]}; "
            "use data of its task"
        )


def evaluate(
    backend: Backend,
    split: Split,
    task: Task | None,
    batch_size: int,
    limit: int | None = None,
    advance: Advance = unwatched,
    options: InferenceOptions = PUBLISHED,
    wanted: BoolArray | None = None,
) -> tuple[Predictions, IntArray]:
    """Answer the examples of a split, the first `limit` of each set; of these only `wanted` (N,) if it is given.

    Each replica answers its part of every batch. `advance` receives after each ACT step how many
    puzzles more are done: a step is its share of the most steps, and what halts is done. With a
    budget a batch is done before the next one begins; a replica has its part of it, and so has a
    last batch that is not full.

    Returns: the predictions and the answers (N, S), in file order.
    """
    # ARC has hundreds of thousands of canvases
    stored = np.uint8 if backend.config.vocab_size <= 256 else np.int32
    numbers: list[IntArray] = [np.empty(0, np.intp)]
    tokens: list[IntArray] = [np.empty((0, backend.config.num_cells), stored)]
    predictions = [NO_PREDICTIONS]
    finals = _Finals(backend.config, task, options)
    for result in _results(backend, split, batch_size, limit, options, wanted):
        finals.keep(result)
        advance(_progress(result, options.most_steps(backend.config)))
        halted = result.questions.number[result.halts]
        if not len(halted):
            continue
        numbers.append(halted)
        learns = backend.config.learns_to_halt
        predictions.append(_predictions(result, task, finals.give(result), learns))
        tokens.append(_moved_back(result, options).astype(stored))
    order = np.argsort(np.concatenate(numbers))
    return joined(predictions).select(order), np.concatenate(tokens)[order]


def _results(
    backend: Backend,
    split: Split,
    batch_size: int,
    limit: int | None,
    options: InferenceOptions,
    wanted: BoolArray | None,
) -> Iterator[StepResult]:
    """Think about the examples that are wanted, all in one queue, or batch by batch with a budget."""
    batches = _questions(backend, split, batch_size, limit, options, wanted)
    most = options.most_steps(backend.config)
    if options.budget is None:
        slots = max(1, batch_size // backend.replica.num_replicas)
        yield from think(backend, batches, slots, options.halt, options.noise, most)
        return
    full = full_batch(split, batch_size, limit)
    for batch in batches:
        budget, alone = options.budget * len(batch) // full, iter([batch])
        yield from think(backend, alone, len(batch), options.halt, options.noise, most, budget)


def _progress(result: StepResult, most_steps: int) -> float:
    """Return how many puzzles an ACT step has done, with fractions."""
    steps_left_out = most_steps - result.steps[result.halts]
    return float(result.busy.sum() + steps_left_out.sum()) / most_steps


def num_examples(split: Split, limit: int | None = None) -> int:
    """Count the examples that `evaluate` answers."""
    counts = map(len, split.sets.values())
    return sum(min(count, limit or count) for count in counts)


def full_batch(split: Split, batch_size: int, limit: int | None = None) -> int:
    """Count the puzzles that share a budget, but for those of a last batch that is smaller."""
    return min(batch_size, num_examples(split, limit))


def check_budget(budget: int, config: ModelConfig, num_puzzles: int) -> None:
    """Refuse a number of ACT steps that so many puzzles cannot share. Raises: ConfigError."""
    if not config.learns_to_halt:
        raise ConfigError(
            "--budget is for a model that learned when to halt; this one has model.halting="
            f"{config.halting}: leave it out"
        )
    least = fewest_steps(config) * num_puzzles
    if budget < least:
        raise ConfigError(
            f"{budget:,} ACT steps are too few for {num_puzzles:,} puzzles to share; give "
            f"--budget {least} at least, or choose a smaller --batch-size"
        )


def first_inputs(split: Split, limit: int | None = None) -> IntArray:
    """Return the questions (N, S) that `evaluate` answers."""
    return np.concatenate([each.inputs[: limit or len(each)] for each in split.sets.values()])


def chosen_questions(split: Split, numbers: IntArray) -> Questions:
    """Return some examples of a split, counted through all its sets in file order. Shapes: (N,), ascending."""
    chosen, start = NO_QUESTIONS, 0
    for examples in split.sets.values():
        rows = numbers - start
        rows = rows[(rows >= 0) & (rows < len(examples))]
        start += len(examples)
        if len(rows):
            batch = batch_of_rows(split, examples, rows)
            found = _questions_of(batch, split, len(chosen))
            chosen = chosen.join(found) if len(chosen) else found
    return chosen


def save_predictions(
    path: Path,
    split: Split,
    predictions: Predictions,
    answers: IntArray,
    limit: int | None = None,
) -> None:
    """Write inputs, labels, answers (N, S), q_halt_logits, steps and settled_step (N,) as .npz.

    Raises: HRMError if the file cannot be written; none is left half-written then.
    """
    labels = [each.labels[: limit or len(each)] for each in split.sets.values()]
    with replaced_whole(path) as draft, draft.open("wb") as file:
        np.savez_compressed(
            file,
            inputs=first_inputs(split, limit),
            labels=np.concatenate(labels),
            answers=answers.astype(np.int32),
            q_halt_logits=predictions.q_halt_logits,
            steps=predictions.steps,
            settled_step=predictions.settled_step,
        )


def save_table(path: Path, table: Table) -> None:
    """Write a table as CSV. Raises: HRMError if it cannot be written; nothing is left then."""
    with replaced_whole(path) as draft, draft.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table.columns)
        writer.writerows(table.rows)


def _rules(label: str, config: ModelConfig) -> tuple[str, dict[str, Any]]:
    """Return the name of a task, and its settings without those that describe only a data set."""
    task = task_of_shape(config.vocab_size, config.seq_len, label)
    settings = dict(task.settings) if task else {}
    if isinstance(task, Variable):
        for name in task.data_settings:
            settings.pop(name, None)
    return label.partition(" ")[0], settings


def _questions(
    backend: Backend,
    split: Split,
    batch_size: int,
    limit: int | None,
    options: InferenceOptions,
    wanted: BoolArray | None,
) -> Iterator[Questions]:
    """Read the examples of a split that are wanted, each moved by its symmetry if there is one."""
    number = 0
    for batch in evaluation_batches(split, batch_size, *backend.replica, limit=limit):
        questions = _questions_of(batch, split, number)
        number += len(questions)
        if wanted is not None:
            questions = questions.select(wanted[questions.number])
        if len(questions):  # a replica may have no part in the last batch
            yield _moved(questions, options)


def _questions_of(batch: DrawnBatch, split: Split, first: int) -> Questions:
    """Return the examples of a batch, numbered from `first` on, without its padding."""
    rows = batch.example_index >= 0
    count = int(rows.sum())
    ratings = np.full(count, -1)
    rated = split.sets[batch.set_name].ratings
    if rated is not None:
        ratings = rated[batch.example_index[rows]]
    prefix_len = np.zeros(len(rows), np.int32) if batch.prefix_len is None else batch.prefix_len
    return Questions(
        np.arange(first, first + count),
        batch.inputs[rows],
        batch.puzzle_identifiers[rows],
        batch.labels[rows],
        ratings,
        prefix_len[rows],
        no_images(count) if batch.images is None else batch.images[rows],
    )


def _moved(questions: Questions, options: InferenceOptions) -> Questions:
    """Move questions and labels as the options say."""
    if options.symmetries is None:
        return questions
    symmetry = options.symmetries(questions.number)
    labelled = questions.labels >= 0
    labels = symmetry.apply(np.where(labelled, questions.labels, 0))
    cells = symmetry.cells.astype(np.intp)
    is_labelled = np.take_along_axis(labelled, cells, axis=1)
    return replace(
        questions,
        inputs=symmetry.apply(questions.inputs),
        labels=np.where(is_labelled, labels, IGNORE_LABEL_ID),
    )


def _moved_back(result: StepResult, options: InferenceOptions) -> IntArray:
    """Return the answers that halt with their symmetry undone. Shapes: (n, S)."""
    tokens = result.tokens[result.halts]
    if options.symmetries is None:
        return tokens
    numbers = result.questions.number[result.halts]
    return options.symmetries(numbers).inverse().apply(tokens)


class _Finals:
    """Values of the answers that are final on their chunk, until their example halts."""

    def __init__(self, config: ModelConfig, task: Task | None, options: InferenceOptions) -> None:
        self._config = config
        self._outcomes = task if isinstance(task, Outcomes) else None
        is_fixed = not config.learns_to_halt and config.num_chunks == 1
        self._each_step = options.each_step and is_fixed
        self._num_steps = options.most_steps(config)
        self._open: dict[int, Rows] = {}  # by number of the example

    def keep(self, result: StepResult) -> None:
        """Note the values of the chunks whose answers are final now."""
        noted = result.busy if self._each_step else result.ends
        if not noted.any():
            return
        losses = result.answers.label_losses(self._labels(result))
        probabilities = self._probabilities(result)
        for slot in np.flatnonzero(noted).tolist():
            number = int(result.questions.number[slot])
            if number not in self._open:
                self._open[number] = self._fresh()
            rows, chunk = self._open[number], result.chunk[slot]
            rows["losses"][chunk] = losses[slot]
            if probabilities is not None:
                rows["probabilities"][chunk] = probabilities[slot]
            if self._each_step:
                rows["step_losses"][result.steps[slot] - 1] = losses[slot].sum(dtype=np.float64)

    def give(self, result: StepResult) -> Rows:
        """Hand over the values of the examples that halt.

        Returns: losses (n, C S); probabilities (n, C P, K) of a task with outcomes; step_losses
        (n, A) if they are asked for.
        """
        numbers = result.questions.number[result.halts].tolist()
        rows = [self._open.pop(number) for number in numbers]
        columns = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        for name in ("losses", "probabilities"):
            if name in columns:  # chunk after chunk
                parts = columns[name]
                columns[name] = parts.reshape(len(rows), -1, *parts.shape[3:])
        return columns

    def _labels(self, result: StepResult) -> npt.NDArray[np.int32]:
        """Return the labels (B, S) of the chunk that each slot works on."""
        slots = len(result.chunk)
        shape = self._config.num_chunks, self._config.seq_len
        labels = result.questions.labels.astype(np.int32, copy=False)
        of_chunks = labels.reshape(slots, *shape)[np.arange(slots), result.chunk]
        return np.ascontiguousarray(of_chunks)

    def _probabilities(self, result: StepResult) -> npt.NDArray[np.float32] | None:
        if self._outcomes is None:
            return None
        positions = np.asarray(self._outcomes.outcome_positions, np.int32)
        tokens = np.asarray(self._outcomes.outcome_tokens, np.int32)
        return result.answers.probabilities(positions, tokens)

    def _fresh(self) -> Rows:
        num_chunks, seq_len = self._config.num_chunks, self._config.seq_len
        rows: Rows = {"losses": np.zeros((num_chunks, seq_len), np.float32)}
        if self._outcomes is not None:
            places = len(self._outcomes.outcome_positions), len(self._outcomes.outcome_tokens)
            rows["probabilities"] = np.zeros((num_chunks, *places), np.float32)
        if self._each_step:
            rows["step_losses"] = np.zeros(self._num_steps, np.float32)
        return rows


def _predictions(
    result: StepResult, task: Task | None, finals: Rows, learns_to_halt: bool
) -> Predictions:
    """Compare the answers that halt with their labels."""
    answers, halts = result.answers, result.halts
    questions = result.questions.select(halts)
    is_given = given_cells(task, questions.inputs)
    scores = score(result.tokens[halts], questions.labels, is_given, finals.pop("losses"))
    targets = None
    if isinstance(task, Outcomes):
        targets = outcome_targets(task, questions.labels)
    return Predictions(
        **scores,  # type: ignore[arg-type]
        q_halt_logits=answers.q_halt_logits[halts],
        steps=result.steps[halts],
        settled_step=result.settled_step[halts],
        ratings=questions.ratings,
        q_steps=result.q_steps[halts] if learns_to_halt else None,
        targets=targets,
        **finals,
    )


def outcome_targets(task: Outcomes, labels: IntArray) -> IntArray:
    """Return the outcome that each label names, -1 where there is none.

    Shapes: (N, C S) -> (N, C P), in 0..K-1.
    """
    places = np.asarray(task.outcome_positions)
    seq_len = task.seq_len
    of_places = labels.reshape(len(labels), -1, seq_len)[:, :, places]
    tokens = np.asarray(task.outcome_tokens)
    is_token = of_places[..., None] == tokens
    found: IntArray = np.where(is_token.any(axis=-1), is_token.argmax(axis=-1), -1)
    return found.reshape(len(labels), -1)
