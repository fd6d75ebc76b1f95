import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hrm_core.data.dihedral import square_cells
from hrm_core.data.puzzles import Puzzles
from hrm_core.data.store import Dataset, check, load_split
from hrm_core.errors import DataError, PuzzleError
from hrm_core.tasks.registry import task_of_shape
from hrm_tasks.maze.board import canonical
from hrm_tasks.maze.build import build
from hrm_tasks.maze.csv_rows import read_csv
from hrm_tasks.maze.options import Options
from hrm_tasks.maze.task import Maze


def built(out: Path, **options: Any) -> Mapping[str, Any]:
    return build(out, Options(**options)).record


def mazes(directory: Path, split: str) -> Puzzles:
    examples = load_split(directory, split).sets["all"]
    return Puzzles(
        np.asarray(examples.inputs), np.asarray(examples.labels), np.asarray(examples.ratings)
    )


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("kind", ["perfect", "loops", "obstacles", "mixed"])
def test_no_test_maze_is_a_training_maze_in_any_view(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "data"
    record = built(out, size=8, generate=40, test=20, kind=kind, augment=3)
    check(load_split(out, "train"))
    train, test = mazes(out, "train"), mazes(out, "test")
    assert (len(train.ratings), len(test.ratings)) == (160, 20)
    assert not set(map(bytes, canonical(train.inputs, 8))) & set(
        map(bytes, canonical(test.inputs, 8))
    )
    assert Maze(8).accepts_all(train.inputs, train.labels).all()
    assert Maze(8).accepts_all(test.inputs, test.labels).all()
    assert record["test_questions_in_training"] == 0
    assert json.loads((out / "build.json").read_text()) == record
    assert Dataset(out).label == "maze"
    assert repr(task_of_shape(6, 64, "maze")) == "Maze(8)"


def test_what_was_dropped_is_written_down(tmp_path: Path) -> None:
    record = built(tmp_path / "data", size=6, generate=1000, test=300, kind="perfect", min_path=4)
    assert record["min_path"] == {"perfect": 4}
    assert (
        record["dropped"]["train"].keys()
        == record["dropped"]["test"].keys()
        == {"too_short", "repeated", "same_as_training"}
    )
    assert (
        min(record["dropped"]["train"]["repeated"], record["dropped"]["test"]["same_as_training"])
        > 0
    )


@pytest.mark.parametrize("augment", [0, 2, 7])
def test_group_is_a_maze_with_views_of_it_no_two_alike(tmp_path: Path, augment: int) -> None:
    built(tmp_path / "data", size=10, generate=6, test=0, augment=augment)
    split, train = load_split(tmp_path / "data", "train"), mazes(tmp_path / "data", "train")
    assert (split.metadata.total_groups, split.metadata.mean_puzzle_examples) == (6, 1.0)
    assert split.sets["all"].group_indices.tolist() == list(
        range(0, 6 * (1 + augment) + 1, 1 + augment)
    )
    assert not (tmp_path / "data" / "test").exists()
    for group in train.inputs.reshape(6, 1 + augment, 100):
        views = [int((group[0][square_cells(10)] == view).all(axis=1).argmax()) for view in group]
        assert views == sorted(set(views))
        assert views[0] == 0
        assert len(np.unique(group, axis=0)) == 1 + augment


def test_seed_decides_everything(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        built(tmp_path / name, size=8, generate=20, test=5, augment=2, seed=seed)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert Dataset(tmp_path / "a").sha256 != Dataset(tmp_path / "c").sha256


def test_published_mazes_are_built_whole_and_twice_the_same(data_dir: Path, tmp_path: Path) -> None:
    source = data_dir / "maze"
    builds = [
        built(tmp_path / name, train_csv=source / "train.csv", test_csv=source / "test.csv")
        for name in "ab"
    ]
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert builds[0] == builds[1]
    assert (
        builds[0]["train_examples"],
        builds[0]["test_puzzles"],
        builds[0]["test_questions_in_training"],
    ) == (1000, 200, 0)
    for split in ("train", "test"):
        check(load_split(tmp_path / "a", split))
        found = builds[0]["sources"][split]
        assert found["sha256"] == hashlib.sha256((source / f"{split}.csv").read_bytes()).hexdigest()
        assert (
            found["several_shortest_paths"],
            found["longer_than_shortest"],
            found["rating_is_not_moves"],
        ) == (0, 0, 0)
        np.testing.assert_array_equal(
            mazes(tmp_path / "a", split).labels, read_csv(source / f"{split}.csv").mazes.labels
        )
    metadata = load_split(tmp_path / "a", "train").metadata
    assert (
        metadata.vocab_size,
        metadata.seq_len,
        metadata.total_groups,
        metadata.num_puzzle_identifiers,
    ) == (6, 900, 1000, 1)


def test_published_mazes_are_subsampled_and_augmented(data_dir: Path, tmp_path: Path) -> None:
    source = data_dir / "maze" / "train.csv"
    record = built(tmp_path / "data", train_csv=source, subsample=10, augment=7, min_rating=150)
    assert (record["train_puzzles"], record["train_examples"]) == (10, 80)
    assert (
        record["sources"]["train"]["mazes"] + record["sources"]["train"]["below_min_rating"] == 1000
    )
    train = mazes(tmp_path / "data", "train")
    assert train.ratings.min() >= 150
    known = set(map(bytes, read_csv(source).mazes.inputs))
    assert all(
        bytes(question) in known for question in train.inputs[::8]
    )  # the first of each group stays as it was
    assert Maze(30).accepts_all(train.inputs, train.labels).all()


def test_bad_builds_are_refused_and_leave_nothing(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hrm_tasks.maze.generator.PATIENCE", 2)
    source = data_dir / "maze" / "test.csv"
    with pytest.raises(
        DataError,
        match=r"test\.csv has 200 puzzles to choose from, fewer than --subsample 300; lower it",
    ):
        built(tmp_path / "data", train_csv=source, subsample=300)
    with pytest.raises(PuzzleError, match="no new maze among the last"):
        built(tmp_path / "data", size=4, generate=300, test=0, kind="perfect")
    assert not list(tmp_path.iterdir())


def test_boards_of_two_sizes_are_refused(data_dir: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.csv"
    small.write_text("source,question,answer,rating\nmine,S ## ## G,So##o##oG,4\n")
    with pytest.raises(
        DataError, match=r"small\.csv has 3 rows a maze, .*test\.csv has 30; use one size"
    ):
        built(tmp_path / "data", train_csv=data_dir / "maze" / "test.csv", test_csv=small)
