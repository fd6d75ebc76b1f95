from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hrm_core.data.writer import Examples, Layout, write_dataset

LAYOUT = Layout(vocab_size=7, seq_len=4, ignore_label_id=0, identifiers=("<blank>", "one", "two"))


def draw_examples(seed: int, puzzle_sizes: list[int], group_sizes: list[int]) -> Examples:
    """Examples of a small data set, no two alike in practice."""
    rng = np.random.default_rng(seed)
    shape = (sum(puzzle_sizes), LAYOUT.seq_len)
    labels = rng.integers(0, 7, size=shape)
    labels[0, 0] = 0  # at least one that is ignored
    return Examples(
        inputs=rng.integers(1, 7, size=shape),
        labels=labels,
        ratings=rng.integers(0, 150, size=shape[0]),
        puzzle_sizes=np.array(puzzle_sizes),
        group_sizes=np.array(group_sizes),
        puzzle_identifiers=rng.integers(1, 3, size=len(puzzle_sizes)),
    )


def write_small(directory: Path) -> None:
    """A data set with two training sets, several examples a puzzle, and one test set."""
    first = [draw_examples(0, [1, 3, 2], [2, 1]), draw_examples(1, [5, 1, 1, 2], [1, 3])]
    splits = {
        "train": {"first": iter(first), "second": [draw_examples(2, [2, 2, 9, 1, 1], [2, 1, 2])]},
        "test": {"all": [draw_examples(3, [1, 2, 2], [1, 2])]},
    }
    write_dataset(directory, LAYOUT, splits, {"task": "toy", "seed": 0})


@pytest.fixture(scope="session")
def make_dataset() -> Callable[[Path], None]:
    return write_small


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    write_small(tmp_path / "dataset")
    return tmp_path / "dataset"
