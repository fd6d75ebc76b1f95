"""The order in which examples are trained and tested, exactly as published, and the batches read in that order.

An iteration visits every set of a split in turn; we call one such visit a pass. A pass is `epochs_per_iter` epochs, each a
permutation of the groups; every entry of it gives one puzzle of the group, and the examples of that puzzle are packed into
batches. Two streams of random numbers take part: a Philox stream, new for each pass (permutations, then puzzles), and a legacy
stream that runs on for the whole training (which examples of a puzzle, in which order).

Shapes: B examples of a batch on one rank, S `seq_len`.
Source: sapientinc/HRM puzzle_dataset.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hrm_core.backend import IGNORE_LABEL_ID, Batch
from hrm_core.data.arrays import IntArray
from hrm_core.data.store import ExampleSet, Split
from hrm_core.errors import CheckpointError, ConfigError, DataError


@dataclass(frozen=True, eq=False, kw_only=True)
class DrawnBatch(Batch):
    """The batch of one rank and the rows it was read from; padded at the end of a test set."""

    example_index: npt.NDArray[
        np.int64
    ]  # (B,) row of its set that an example came from, -1 for padding
    set_name: str
    effective_size: int  # examples of the batch on all ranks together, padding not counted


class GroupOrder:
    """The groups of one pass: a permutation an epoch, drawn when the epoch begins."""

    def __init__(self, rng: np.random.Generator, num_groups: int, num_epochs: int) -> None:
        self._rng = rng
        self._num_groups = num_groups
        self._num_epochs = num_epochs
        self._begin_epoch(0)

    def take(self, count: int) -> IntArray:
        """The next groups: up to `count`, fewer at the end of an epoch, none at the end of the pass."""
        if self._entry == self._num_groups and self._epoch + 1 < self._num_epochs:
            self._begin_epoch(self._epoch + 1)
        taken = self._groups[self._entry : self._entry + count]
        self._entry += len(taken)
        return taken

    def state(self) -> dict[str, Any]:
        """Return the place in the order, as JSON can hold it."""
        return {"epoch": self._epoch, "entry": self._entry, "shuffles": self._before}

    def restore(self, state: dict[str, Any]) -> None:
        """Go to where `state` was taken, by drawing that epoch's permutation again."""
        self._rng.bit_generator.state = state["shuffles"]
        self._begin_epoch(state["epoch"])
        self._entry = state["entry"]

    def _begin_epoch(self, epoch: int) -> None:
        self._epoch, self._entry = epoch, 0
        self._before = _plain(self._rng.bit_generator.state)
        self._groups = self._rng.permutation(self._num_groups)


class TrainingOrder:
    """Endless batches of a training split in the published order; its position can be saved and restored.

    Every rank draws the same global batches and reads its own slice of them.
    """

    def __init__(
        self,
        split: Split,
        global_batch_size: int,
        *,
        seed: int,
        epochs_per_iter: int = 1,
        rank: int = 0,
        num_replicas: int = 1,
        legacy_seed: int
        | None = None,  # of the stream that the published reader leaves unseeded; None: `seed`
    ) -> None:
        """Start before the first batch. Raises: ConfigError if the batch cannot be split over the ranks."""
        self._split = split
        self._slice = _rank_slice(global_batch_size, rank, num_replicas)
        self._settings = {
            "seed": seed,
            "global_batch_size": global_batch_size,
            "epochs_per_iter": epochs_per_iter,
        }
        self._settings |= {
            f"examples of {name}": len(examples) for name, examples in split.sets.items()
        }
        self._seed = seed
        self._batch_size = global_batch_size
        self._epochs_per_iter = epochs_per_iter
        self._choices = np.random.RandomState(seed if legacy_seed is None else legacy_seed)
        self._begin_pass(1)

    def __iter__(self) -> Iterator[DrawnBatch]:
        return self

    def __next__(self) -> DrawnBatch:
        """The next batch. Raises: DataError if not one can be filled in a whole iteration, or a token is out of range."""
        last = self._pass + len(self._split.sets)
        while (
            example_index := self._draw()
        ).size < self._batch_size:  # a batch that is not full is dropped, its draws stay made
            if self._pass == last:
                raise DataError(
                    f"{self._split.folder} cannot fill one batch of {self._batch_size} in {self._epochs_per_iter} epochs; "
                    "lower it with --batch-size or raise it with --set train.eval_interval"
                )
            self._begin_pass(self._pass + 1)
        rows = example_index[self._slice]
        return _read(
            self._split, self._examples, rows, size=len(rows), effective_size=self._batch_size
        )

    def check(self) -> None:
        """Refuse what the first batch would be refused for; the position stays. Raises: DataError."""
        before = self.state()
        next(self)
        self.restore(before)

    def state(self) -> dict[str, Any]:
        """Position before the next batch, as JSON can hold it: some 8 kB, the same on every rank."""
        return {
            "settings": self._settings,
            "pass": self._pass,
            "groups": self._groups.state(),
            "picks": _plain(self._picks.bit_generator.state),
            "choices": _plain(self._choices.get_state(legacy=False)),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go to where `state` was taken: the next batch is the one that was next then.

        Raises: CheckpointError if it was taken with other settings or data, or is damaged.
        """
        settings = state.get("settings")
        if settings != self._settings:
            raise CheckpointError(
                f"the position in the data was saved with {settings}, this run has {self._settings}; use those settings"
            )
        try:
            self._enter_pass(state["pass"])
            self._groups.restore(state["groups"])
            self._picks.bit_generator.state = state["picks"]
            self._choices.set_state(state["choices"])
        except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
            raise CheckpointError(
                f"the saved position in the data is damaged ({error}); use the checkpoint before"
            ) from error

    def _begin_pass(self, number: int) -> None:
        """Start pass `number`, counted from 1 through sets and iterations."""
        self._enter_pass(number)
        # Puzzles are drawn from the same stream as the permutations, behind all of them: this copy runs ahead.
        for _ in range(self._epochs_per_iter):
            self._picks.permutation(self._num_groups)

    def _enter_pass(self, number: int) -> None:
        """Take up the set and the streams of pass `number`, at their start."""
        names = list(self._split.sets)
        self._pass = number
        self._examples = self._split.sets[names[(number - 1) % len(names)]]
        self._largest = int(np.diff(self._examples.puzzle_indices).max())
        self._num_groups = len(self._examples.group_indices) - 1
        self._groups = GroupOrder(
            _philox(self._seed + number), self._num_groups, self._epochs_per_iter
        )
        self._picks = _philox(self._seed + number)

    def _draw(self) -> IntArray:
        """Draw the examples of the next global batch; fewer than `global_batch_size` where the pass ends."""
        drawn: list[IntArray] = [np.empty(0, np.int64)]
        room = self._batch_size
        while room:
            # So many groups are needed even if each gives its largest puzzle: none is drawn too many.
            groups = self._groups.take(-(-room // self._largest))
            if not groups.size:
                break
            bounds = self._examples.group_indices
            puzzles = self._picks.integers(bounds[groups], bounds[groups + 1])
            drawn.append(self._choose(puzzles, room))
            room -= len(drawn[-1])
        return np.concatenate(drawn)

    def _choose(self, puzzles: IntArray, room: int) -> IntArray:
        """The examples of some puzzles, each in random order, the last one cut to the room left."""
        starts = self._examples.puzzle_indices[puzzles]
        if self._largest == 1:  # choosing one of one draws nothing
            return starts
        sizes = self._examples.puzzle_indices[puzzles + 1] - starts
        chosen = []
        for start, size in zip(starts.tolist(), sizes.tolist(), strict=True):
            kept = min(size, room)
            chosen.append(start + self._choices.choice(size, kept, replace=False))
            room -= kept
        return np.concatenate(chosen)


def evaluation_batches(
    split: Split,
    global_batch_size: int,
    rank: int = 0,
    num_replicas: int = 1,
    limit: int | None = None,
) -> Iterator[DrawnBatch]:
    """The batches of a split in file order, the last of each set padded; `limit` keeps only the first examples of each set.

    A rank whose part of the last batch is empty gets padding only, so that all ranks see as many batches.

    Raises: ConfigError if the batch cannot be split over the ranks, DataError if a token is out of range.
    """
    own = _rank_slice(global_batch_size, rank, num_replicas)
    for examples in split.sets.values():
        end = len(examples) if limit is None else min(limit, len(examples))
        for start in range(0, end, global_batch_size):
            example_index = np.arange(start, min(start + global_batch_size, end))
            yield _read(
                split,
                examples,
                example_index[own],
                size=own.stop - own.start,
                effective_size=len(example_index),
            )


def batch_of_rows(split: Split, examples: ExampleSet, rows: IntArray) -> DrawnBatch:
    """Read some examples of a set. Raises: DataError if a token is out of range."""
    return _read(split, examples, rows, size=len(rows), effective_size=len(rows))


def _rank_slice(global_batch_size: int, rank: int, num_replicas: int) -> slice:
    """The part of a global batch that one rank reads."""
    assert 0 <= rank < num_replicas
    if global_batch_size < 1 or global_batch_size % num_replicas:
        raise ConfigError(
            f"global_batch_size={global_batch_size} cannot be split over {num_replicas} replicas; use a multiple of {num_replicas}"
        )
    size = global_batch_size // num_replicas
    return slice(rank * size, (rank + 1) * size)


def _read(
    split: Split, examples: ExampleSet, rows: IntArray, size: int, effective_size: int
) -> DrawnBatch:
    """Read some examples of a set as a batch of `size`."""
    inputs, labels = examples.inputs[rows], examples.labels[rows]
    split.check_inputs(examples, rows, inputs)
    split.check_labels(examples, rows, labels)
    labels = np.where(
        np.isin(labels, split.ignored_labels), IGNORE_LABEL_ID, labels.astype(np.int32)
    )
    identifiers = examples.puzzle_identifiers[examples.puzzle_of(rows)]
    return DrawnBatch(
        inputs=_padded(inputs, size, split.metadata.pad_id, np.int32),
        labels=_padded(labels, size, IGNORE_LABEL_ID, np.int32),
        puzzle_identifiers=_padded(identifiers, size, split.metadata.blank_identifier_id, np.int32),
        prefix_len=None
        if examples.prefix_len is None
        else _padded(examples.prefix_len[rows], size, 0, np.int32),
        images=None
        if examples.images is None
        else _padded(examples.images[rows], size, 0, np.uint8),
        example_index=_padded(rows, size, -1, np.int64),
        set_name=examples.name,
        effective_size=effective_size,
    )


def _padded(rows: IntArray, size: int, value: int, dtype: type[Any]) -> npt.NDArray[Any]:
    """Copy rows into an array of `size` rows, the rest of it filled with `value`."""
    padded = np.full((size, *rows.shape[1:]), value, dtype)
    padded[: len(rows)] = rows
    return padded


def _philox(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed=seed))


def _plain(state: Any) -> dict[str, Any]:
    """A bit generator's state with lists for arrays; numpy takes it back as it is."""
    return {
        key: _plain(value)
        if isinstance(value, dict)
        else value.tolist()
        if isinstance(value, np.ndarray)
        else value
        for key, value in state.items()
    }
