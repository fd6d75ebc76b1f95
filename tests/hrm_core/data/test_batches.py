import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from hrm_core.backend import Batch
from hrm_core.data import batches
from hrm_core.data.batches import TrainingOrder, evaluation_batches
from hrm_core.data.store import ExampleSet, Split, load_split
from hrm_core.data.writer import Examples, Layout, write_dataset
from hrm_core.errors import CheckpointError, ConfigError, DataError


class Golden:
    """The recorded batches of the published reader."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.case = json.loads((directory / "case.json").read_text())
        self.arrays = load_file(directory / "batches.safetensors")

    def split(self, name: str) -> Split:
        return load_split(self.directory / "dataset", name)

    def order(self, **options: Any) -> TrainingOrder:
        train = self.case["train"]
        settings = {
            "seed": train["seed"],
            "epochs_per_iter": train["epochs_per_iter"],
            "legacy_seed": train["numpy_global_seed"],
        }
        return TrainingOrder(
            self.split("train"), train["global_batch_size"], **{**settings, **options}
        )

    def recorded(self, start: str) -> list[dict[str, Any]]:
        return [batch for batch in self.case["batches"] if batch["prefix"].startswith(start + "/")]

    def compare(self, ours: Iterable[Batch], start: str) -> None:
        """Compare batch by batch: whole arrays, shapes and dtypes."""
        recorded = self.recorded(start)
        assert recorded
        for batch, expected in zip(ours, recorded, strict=True):
            assert (batch.set_name, batch.effective_size) == (
                expected["set"],
                expected["global_effective_size"],
            )
            for name in ("inputs", "labels", "puzzle_identifiers"):
                assert_identical(getattr(batch, name), self.arrays[f"{expected['prefix']}/{name}"])


@pytest.fixture
def golden(golden_dir: Path) -> Golden:
    return Golden(golden_dir / "data_order")


@pytest.fixture
def train(dataset: Path) -> Split:
    return load_split(dataset, "train")


def assert_identical(ours: np.ndarray, expected: np.ndarray) -> None:
    assert ours.dtype == expected.dtype
    np.testing.assert_array_equal(ours, expected, strict=True)


def take(order: Iterator[Batch], count: int) -> list[tuple[str, list[int]]]:
    """Which examples the next batches hold."""
    return [(batch.set_name, batch.example_index.tolist()) for batch in islice(order, count)]


def published_order(
    sets: dict[str, ExampleSet], seed: int, epochs: int, batch_size: int
) -> Iterator[tuple[str, list[int]]]:
    """The published order written down one draw at a time: the slow path that ours is checked against."""
    legacy = np.random.RandomState(seed)
    number = 0
    while True:
        for name, examples in sets.items():
            number += 1
            rng = np.random.Generator(np.random.Philox(seed=seed + number))
            num_groups = len(examples.group_indices) - 1
            groups = iter(np.concatenate([rng.permutation(num_groups) for _ in range(epochs)]))
            while len(batch := pack_one(groups, examples, rng, legacy, batch_size)) == batch_size:
                yield name, batch


def pack_one(
    groups: Iterator[int],
    examples: ExampleSet,
    rng: np.random.Generator,
    legacy: np.random.RandomState,
    batch_size: int,
) -> list[int]:
    batch: list[int] = []
    while len(batch) < batch_size and (group := next(groups, None)) is not None:
        puzzle = rng.integers(examples.group_indices[group], examples.group_indices[group + 1])
        start, end = examples.puzzle_indices[puzzle : puzzle + 2]
        batch += (
            start
            + legacy.choice(end - start, min(end - start, batch_size - len(batch)), replace=False)
        ).tolist()
    return batch


def test_training_batches_are_the_published_ones(golden: Golden) -> None:
    golden.compare(islice(golden.order(), 8), "train")


def test_examples_and_puzzles_are_the_ones_that_were_chosen(golden: Golden) -> None:
    order = golden.order()
    examples = golden.split("train").sets["all"]
    for batch, expected in zip(order, golden.recorded("train"), strict=False):
        np.testing.assert_array_equal(
            batch.example_index, golden.arrays[expected["prefix"] + "/example_index"]
        )
        np.testing.assert_array_equal(
            examples.puzzle_of(batch.example_index),
            golden.arrays[expected["prefix"] + "/puzzle_index"],
        )


@pytest.mark.parametrize("rank", [0, 1])
def test_each_of_two_ranks_gets_its_slice(golden: Golden, rank: int) -> None:
    golden.compare(islice(golden.order(rank=rank, num_replicas=2), 8), f"train_r2/rank{rank}")


def test_test_batches_are_the_published_ones(golden: Golden) -> None:
    golden.compare(evaluation_batches(golden.split("test"), 8), "test")


@pytest.mark.parametrize("rank", [0, 1])
def test_test_batches_of_two_ranks_are_the_published_ones(golden: Golden, rank: int) -> None:
    golden.compare(evaluation_batches(golden.split("test"), 8, rank, 2), f"test_r2/rank{rank}")


@pytest.mark.parametrize(
    "wrong",
    [{"seed": -1}, {"legacy_seed": 124}, {"epochs_per_iter": 3}, {"rank": 1, "num_replicas": 2}],
)
def test_wrong_order_is_noticed(golden: Golden, wrong: dict[str, int]) -> None:
    # seed -1: permutations from Philox(seed) where seed + 1 is right
    with pytest.raises(AssertionError):
        golden.compare(islice(golden.order(**wrong), 8), "train")


def test_unmasked_labels_are_noticed(golden: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "IGNORE_LABEL_ID", 0)
    with pytest.raises(AssertionError):
        golden.compare(evaluation_batches(golden.split("test"), 8), "test")


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("batch_size", "epochs"), [(1, 1), (3, 2), (4, 7), (11, 4)])
def test_order_is_that_of_the_slow_path(
    train: Split, seed: int, batch_size: int, epochs: int
) -> None:
    order = TrainingOrder(train, batch_size, seed=seed, epochs_per_iter=epochs)
    assert take(order, 60) == list(
        islice(published_order(train.sets, seed, epochs, batch_size), 60)
    )


def test_order_of_single_example_puzzles_is_that_of_the_slow_path(tmp_path: Path) -> None:
    tokens = np.random.default_rng(0).integers(0, 11, size=(300, 9))
    block = Examples(tokens, tokens, group_sizes=np.array([100, 1, 150, 49]))
    write_dataset(
        tmp_path / "single", Layout(vocab_size=11, seq_len=9), {"train": {"all": [block]}}, {}
    )
    split = load_split(tmp_path / "single", "train")
    assert take(TrainingOrder(split, 5, seed=3, epochs_per_iter=9), 40) == list(
        islice(published_order(split.sets, 3, 9, 5), 40)
    )


def test_order_resumes_from_every_position(train: Split) -> None:
    order = TrainingOrder(train, 3, seed=5, epochs_per_iter=4)
    states = []
    for _ in range(30):  # some three iterations of both sets
        states.append(json.dumps(order.state()))
        next(order)
    expected = take(TrainingOrder(train, 3, seed=5, epochs_per_iter=4), 40)
    for position, state in enumerate(states):
        resumed = TrainingOrder(train, 3, seed=5, epochs_per_iter=4)
        resumed.restore(json.loads(state))
        assert json.dumps(resumed.state()) == state
        assert take(resumed, 10) == expected[position : position + 10]


def test_resuming_draws_no_epoch_again(train: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    order = TrainingOrder(train, 4, seed=0, epochs_per_iter=1000)
    take(order, 100)
    state, expected = order.state(), take(order, 5)
    resumed = TrainingOrder(train, 4, seed=0, epochs_per_iter=1000)
    monkeypatch.setattr(TrainingOrder, "_begin_pass", None)
    resumed.restore(state)
    assert take(resumed, 5) == expected


def test_state_is_small_and_the_same_on_every_rank(train: Split) -> None:
    ranks = [
        TrainingOrder(train, 4, seed=1, epochs_per_iter=50, rank=rank, num_replicas=2)
        for rank in (0, 1)
    ]
    for order in ranks:
        take(order, 7)
    assert ranks[0].state() == ranks[1].state()
    assert len(json.dumps(ranks[0].state())) < 10_000


def test_taking_a_state_changes_nothing(train: Split) -> None:
    order = TrainingOrder(train, 4, seed=1)
    before = order.state()
    assert order.state() == before
    take(order, 3)
    assert before == TrainingOrder(train, 4, seed=1).state()


@pytest.mark.parametrize("other", [{"seed": 2}, {"global_batch_size": 6}, {"epochs_per_iter": 2}])
def test_state_of_another_order_is_refused(train: Split, other: dict[str, int]) -> None:
    settings = {"seed": 1, "global_batch_size": 4, "epochs_per_iter": 1}
    state = TrainingOrder(train, **{**settings, **other}).state()
    with pytest.raises(CheckpointError, match=next(iter(other))):
        TrainingOrder(train, **settings).restore(state)


@pytest.mark.parametrize("part", ["pass", "groups", "picks", "choices"])
@pytest.mark.parametrize("damage", [None, {}, "", -5])
def test_damaged_state_is_refused(train: Split, part: str, damage: object) -> None:
    order = TrainingOrder(train, 4, seed=1)
    with pytest.raises(CheckpointError, match="damaged"):
        order.restore({**order.state(), part: damage})


def test_batch_that_cannot_be_filled_is_an_error(train: Split) -> None:
    with pytest.raises(DataError, match="cannot fill one batch of 1000"):
        next(TrainingOrder(train, 1000, seed=0))


def test_batch_that_cannot_be_split_over_ranks_is_an_error(train: Split) -> None:
    with pytest.raises(ConfigError, match="use a multiple of 3"):
        TrainingOrder(train, 8, seed=0, num_replicas=3)
    with pytest.raises(ConfigError, match="use a multiple of 3"):
        next(evaluation_batches(train, 8, 0, 3))


def test_limit_keeps_the_first_examples(dataset: Path) -> None:
    test = load_split(dataset, "test")
    assert [batch.example_index.tolist() for batch in evaluation_batches(test, 2, limit=3)] == [
        [0, 1],
        [2, -1],
    ]
    assert sum(batch.effective_size for batch in evaluation_batches(test, 2)) == 5


@pytest.mark.parametrize("field", ["inputs", "labels"])
def test_token_out_of_range_is_refused_when_its_batch_is_read(dataset: Path, field: str) -> None:
    path = dataset / "test" / f"all__{field}.npy"
    tokens = np.load(path)
    tokens[3, 2] = 7
    np.save(path, tokens)
    order = evaluation_batches(load_split(dataset, "test"), 2)
    next(order)
    with pytest.raises(DataError, match=rf"all__{field}\.npy: row 3 holds 7, expected 0 to 6"):
        next(order)
