"""Evaluation: every example for a fixed number of ACT steps, as published.

Shapes: A ACT steps, B slots, N examples, S cells.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hrm_core.backend import IGNORE_LABEL_ID, Answers, Backend, Batch
from hrm_core.config import DataSizes, ModelConfig
from hrm_core.data.batches import DrawnBatch, evaluation_batches
from hrm_core.data.store import Split
from hrm_core.errors import DataError
from hrm_core.pictures.animations import replaced_whole
from hrm_core.training.scoring import Scores, joined, score

IntArray = npt.NDArray[np.integer]
Given = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.bool_]]


class Thoughts(NamedTuple):
    """What a model thought of some puzzles, step by step."""

    answers: IntArray  # (A, N, S) tokens after each ACT step
    q_halt_logits: npt.NDArray[np.float32]  # (A, N)

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


def think(backend: Backend, batch: Batch) -> Iterator[Answers]:
    """The answers to a batch after each of `halt_max_steps` ACT steps."""
    carry = backend.begin(batch)
    for _ in range(backend.config.halt_max_steps):
        carry, answers = backend.step(carry)
        yield answers


def thoughts(backend: Backend, inputs: IntArray, puzzle_identifiers: IntArray, batch_size: int = 256) -> Thoughts:
    """Let a model think about puzzles. Shapes: (N, S) tokens, (N,)."""
    parts = []
    for start in range(0, len(inputs), batch_size):
        rows = inputs[start : start + batch_size].astype(np.int32)
        ids = puzzle_identifiers[start : start + batch_size].astype(np.int32)
        steps = [(a.tokens, a.q_halt_logits) for a in think(backend, Batch(rows, np.full_like(rows, IGNORE_LABEL_ID), ids))]
        parts.append(tuple(np.stack(column) for column in zip(*steps, strict=True)))
    return Thoughts(*(np.concatenate(column, axis=1) for column in zip(*parts, strict=True)))


def check_fits(split: Split, config: ModelConfig, source: Path) -> None:
    """Refuse to measure a model on data of another shape.

    Raises: DataError naming the sizes that differ.
    """
    metadata = split.metadata
    found = DataSizes(metadata.vocab_size, metadata.seq_len, metadata.num_puzzle_identifiers)._asdict()
    expected = config.sizes._asdict()
    misfits = [f"{name}={found[name]}, expected {expected[name]}" for name in found if found[name] != expected[name]]
    if misfits:
        raise DataError(f"{split.folder} does not fit {source}: {'; '.join(misfits)}; use the data the model was trained for")


def evaluate(
    backend: Backend,
    split: Split,
    given: Given | None,
    batch_size: int,
    limit: int | None = None,
    on_batch: Callable[[int], None] = lambda num_examples: None,
) -> tuple[Scores, IntArray]:
    """Answer the examples of a split in file order, the first `limit` of each set.

    `given` tells which cells a question answers itself; None: it is not known, and every cell counts as blank.
    Of several replicas each answers its part of every batch.
    Returns: their scores and the answers (N, S). `on_batch` is told how many examples each batch added.
    """
    scores, tokens = [], []
    for batch in evaluation_batches(split, batch_size, *backend.replica, limit=limit):
        batch_scores, batch_tokens = _evaluate_batch(backend, split, given, batch)
        scores.append(batch_scores)
        tokens.append(batch_tokens)
        on_batch(len(batch_tokens))
    return joined(scores), np.concatenate(tokens)


def num_examples(split: Split, limit: int | None = None) -> int:
    """How many examples `evaluate` answers."""
    return sum(min(len(examples), limit or len(examples)) for examples in split.sets.values())


def save_predictions(path: Path, split: Split, scores: Scores, answers: IntArray, limit: int | None = None) -> None:
    """Write inputs, labels, answers (N, S), q_halt_logits and settled_step (N,) as .npz, at once or not at all.

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
            settled_step=scores.settled_step,
        )


def _evaluate_batch(backend: Backend, split: Split, given: Given | None, batch: DrawnBatch) -> tuple[Scores, IntArray]:
    n = int((batch.example_index >= 0).sum())  # the rows behind are padding
    tokens = []
    for answers in think(backend, batch):
        tokens.append(answers.tokens[:n])
    last, path = answers, Thoughts(np.stack(tokens), answers.q_halt_logits[None, :n])
    ratings = split.sets[batch.set_name].ratings
    is_given = given(batch.inputs[:n].astype(np.uint8)) if given else np.zeros(batch.inputs[:n].shape, bool)
    scores = Scores(
        **score(path.final, batch.labels[:n], is_given, last.logits[:n], backend.config.loss_type),  # type: ignore[arg-type]
        q_halt_logits=last.q_halt_logits[:n],
        settled_step=path.settled_step,
        ratings=ratings[batch.example_index[:n]] if ratings is not None else np.full(n, -1),
    )
    return scores, path.final
