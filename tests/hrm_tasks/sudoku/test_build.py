import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hrm_core.data.puzzles import Puzzles
from hrm_core.data.store import Dataset, check, load_split
from hrm_core.errors import DataError, PuzzleError
from hrm_tasks.sudoku.build import build, symmetry_classes
from hrm_tasks.sudoku.csv_rows import read_csv
from hrm_tasks.sudoku.options import Options
from hrm_tasks.sudoku.task import Sudoku


def built(out: Path, **options: Any) -> Mapping[str, Any]:
    return build(out, Options(**options)).record


def puzzles(directory: Path, split: str) -> Puzzles:
    examples = load_split(directory, split).sets["all"]
    return Puzzles(
        np.asarray(examples.inputs), np.asarray(examples.labels), np.asarray(examples.ratings)
    )


@pytest.mark.parametrize(("size", "givens"), [(4, (4, 8)), (6, None), (9, (30, 35))])
def test_no_test_puzzle_is_equivalent_to_a_training_puzzle(
    tmp_path: Path, size: int, givens: tuple[int, int] | None
) -> None:
    out = tmp_path / "data"
    record = built(out, size=size, generate=40, test=20, givens=givens, augment=3)
    check(load_split(out, "train"))
    train, test = puzzles(out, "train"), puzzles(out, "test")
    assert (len(train.ratings), len(test.ratings)) == (160, 20)
    assert not set(symmetry_classes(train)) & set(symmetry_classes(test))
    assert Sudoku(size).accepts_all(train.inputs, train.labels).all()
    assert Sudoku(size).accepts_all(test.inputs, test.labels).all()
    assert record["test_questions_in_training"] == 0
    assert json.loads((out / "build.json").read_text()) == record


def test_puzzles_that_are_equivalent_would_be_noticed(tmp_path: Path) -> None:
    built(tmp_path / "data", size=4, generate=40, test=20, givens=(4, 8), augment=3)
    train = puzzles(tmp_path / "data", "train")
    originals = train.select(np.arange(0, 160, 4))
    for copy in (1, 2, 3):
        assert symmetry_classes(train.select(np.arange(copy, 160, 4))) == symmetry_classes(
            originals
        )


def test_group_is_a_puzzle_with_its_copies(tmp_path: Path) -> None:
    built(tmp_path / "data", size=4, generate=5, test=0, givens=(4, 8), augment=7)
    split = load_split(tmp_path / "data", "train")
    assert (split.metadata.total_groups, split.metadata.mean_puzzle_examples) == (5, 1.0)
    assert split.sets["all"].group_indices.tolist() == [0, 8, 16, 24, 32, 40]
    assert not (tmp_path / "data" / "test").exists()


def test_seed_decides_everything(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        built(tmp_path / name, size=4, generate=20, test=5, givens=(4, 8), augment=2, seed=seed)
    hashes = [Dataset(tmp_path / name).sha256 for name in "abc"]
    assert hashes[0] == hashes[1] != hashes[2]


def test_published_puzzles_are_built_subsampled_and_augmented(
    data_dir: Path, tmp_path: Path
) -> None:
    source = data_dir / "sudoku"
    record = built(
        tmp_path / "data",
        train_csv=source / "train.csv",
        test_csv=source / "test.csv",
        subsample=10,
        augment=20,
        min_rating=50,
    )
    assert (
        record["train_puzzles"],
        record["train_examples"],
        record["read"],
        record["test_puzzles"],
    ) == (10, 210, 4000, 1000)
    train = puzzles(tmp_path / "data", "train")
    assert train.ratings.min() >= 50
    assert Sudoku(9).accepts_all(train.inputs, train.labels).all()
    known = set(map(bytes, read_csv(source / "train.csv").inputs))
    assert all(
        bytes(question) in known for question in train.inputs[::21]
    )  # the first of each group stays as it was
    assert len(np.unique(train.inputs, axis=0)) == 210
    assert not set(symmetry_classes(train)) & set(
        symmetry_classes(puzzles(tmp_path / "data", "test"))
    )


def test_more_puzzles_than_there_are_is_refused(data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"test\.csv has 4000 puzzles to choose from, fewer than --subsample 5000; lower it",
    ):
        built(tmp_path / "data", train_csv=data_dir / "sudoku" / "test.csv", subsample=5000)
    with pytest.raises(PuzzleError, match="no new puzzle among the last"):
        built(tmp_path / "data", size=4, generate=300, test=0, givens=(16, 16))
    assert not list(tmp_path.iterdir())


def test_boards_of_two_sizes_are_refused(data_dir: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.csv"
    small.write_text("source,question,answer,rating\nmine,12..............,1234341221434321,7\n")
    with pytest.raises(DataError, match=r"has boards of 16 cells, .* of 81; use one size"):
        built(tmp_path / "data", train_csv=data_dir / "sudoku" / "test.csv", test_csv=small)
