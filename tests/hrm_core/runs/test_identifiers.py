"""Where the names of puzzle identifiers are found, and what a table of them may grow into."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from hrm_core.data.store import Dataset
from hrm_core.data.writer import Examples, Layout, write_dataset
from hrm_core.errors import ConfigError, DataError
from hrm_core.parameters import PUZZLE_TABLE
from hrm_core.runs.checkpoint import find_model, load_model
from hrm_core.runs.identifiers import (
    check_identifiers,
    grown,
    load_identifiers,
    warn_of_numbering,
)

NAMES = ["<blank>", "a", "b"]


def build(directory: Path, names: Sequence[str]) -> Path:
    """Puzzles of 4 cells, two of each name."""
    tokens = np.random.default_rng(0).integers(1, 6, (2 * len(names), 4), dtype=np.uint8)
    puzzles = np.arange(len(names))
    block = Examples(
        tokens,
        tokens,
        puzzle_sizes=np.full(len(names), 2),
        group_sizes=np.ones_like(puzzles),
        puzzle_identifiers=puzzles,
    )
    write_dataset(
        directory, Layout(6, 4, identifiers=tuple(names)), {"train": {"all": [block]}}, {}
    )
    return directory


@pytest.fixture(scope="module")
def named(
    tmp_path_factory: pytest.TempPathFactory, hrm: Callable[..., Any], tiny_config: Path
) -> Path:
    """A folder with `data`, of two named puzzles, and `run`, trained on it; copy it before changing anything."""
    folder = tmp_path_factory.mktemp("named")
    build(folder / "data", NAMES)
    small = ["--set", "train.global_batch_size=2", "--max-updates", "2", "--device", "cpu"]
    outcome = hrm("train", tiny_config, "--data", folder / "data", "--run", folder / "run", *small)
    assert outcome.status == 0, outcome.err
    return folder


@pytest.fixture
def copy(named: Path, tmp_path: Path) -> Path:
    """A copy whose run has its data beside it."""
    folder = shutil.copytree(named, tmp_path / "copy")
    config = yaml.safe_load((folder / "run" / "config.yaml").read_text())
    config["data"]["path"] = str(folder / "data")
    (folder / "run" / "config.yaml").write_text(yaml.safe_dump(config))
    return Path(folder)


def test_run_keeps_the_names_wherever_its_data_went(copy: Path) -> None:
    shutil.rmtree(copy / "data")
    newest = find_model(copy / "run")
    for path in (copy / "run", newest.parent, newest):
        found = load_identifiers(path, 3)
        assert (found.model, found.count, found.names) == (str(path), 3, NAMES)


def test_older_run_finds_them_in_its_data_while_that_is_the_same(copy: Path) -> None:
    (copy / "run" / "identifiers.json").unlink()
    assert load_identifiers(copy / "run", 3).names == NAMES
    (copy / "data").rename(copy / "moved")
    assert load_identifiers(copy / "run", 3).names == ()
    assert load_identifiers(copy / "run", 3, copy / "moved").names == NAMES
    build(copy / "data", ["<blank>", "b", "a"])
    assert load_identifiers(copy / "run", 3).names == ()


def test_data_set_that_the_model_was_not_trained_on_is_refused(copy: Path) -> None:
    other = build(copy / "other", ["<blank>", "b", "a"])
    with pytest.raises(
        DataError,
        match=rf"other is not the data set .*run was trained on \(sha256 {Dataset(other).sha256[:12]}, expected",
    ):
        load_identifiers(copy / "run", 3, other)
    lone = Path(shutil.copy(find_model(copy / "run"), copy / "lone.safetensors"))
    assert load_identifiers(lone, 3).names == ()
    found = load_identifiers(lone, 3, copy / "data")
    assert (found.names, found.taken_from) == (NAMES, copy / "data")
    larger = build(copy / "larger", [*NAMES, "c"])
    with pytest.raises(
        DataError,
        match=r"larger/identifiers\.json names 4 puzzle identifiers, .*lone\.safetensors has 3; name the data set",
    ):
        load_identifiers(lone, 3, larger)
    (larger / "identifiers.json").write_text('{"not": "a list"')
    with pytest.raises(DataError, match="is not JSON"):
        load_identifiers(lone, 3, larger)


def test_data_in_which_identifiers_are_other_puzzles_is_not_measured_on(
    copy: Path, refusal: Callable[..., str]
) -> None:
    other = build(copy / "other", ["<blank>", "b", "a"])
    check_identifiers(copy / "run", 3, Dataset(copy / "data"))
    message = f"puzzle identifier 1 is a to {copy / 'run'} and b in {other}; use the data the model was trained for"
    with pytest.raises(DataError, match=message):
        check_identifiers(copy / "run", 3, Dataset(other))
    assert refusal("eval", copy / "run", "--data", other, "--split", "train") == message


def test_model_that_knows_no_names_is_measured_under_a_warning(copy: Path) -> None:
    lone = Path(shutil.copy(find_model(copy / "run"), copy / "lone.safetensors"))
    data = Dataset(copy / "data")
    message = (
        f"^{lone} does not know its 3 puzzle identifiers by name; they are taken to be numbered"
    )
    with pytest.warns(UserWarning, match=message):
        warn_of_numbering(lone, 3, data)
    (copy / "data" / "identifiers.json").unlink()
    with pytest.warns(UserWarning, match=message):
        warn_of_numbering(lone, 3, Dataset(copy / "data"))


def test_run_without_names_is_measured_on_its_own_data_without_a_warning(copy: Path) -> None:
    (copy / "run" / "identifiers.json").unlink()
    (copy / "data").rename(copy / "moved")
    warn_of_numbering(copy / "run", 3, Dataset(copy / "moved"))
    with pytest.warns(UserWarning, match="they are taken to be numbered"):
        warn_of_numbering(copy / "run", 3, Dataset(build(copy / "other", ["<blank>", "b", "a"])))


def test_config_of_another_program_above_a_model_is_not_a_run(copy: Path) -> None:
    model = Path(shutil.copy(find_model(copy / "run"), copy / "lone.safetensors"))
    (copy / "config.yaml").write_text("name: mine")
    assert load_identifiers(model, 3).names == ()


def test_one_identifier_needs_no_name(tmp_path: Path) -> None:
    assert load_identifiers(tmp_path / "gone", 1).names == ("<blank>",)


def test_grown_table_keeps_its_rows_and_new_ones_start_from_zero(copy: Path) -> None:
    model = load_model(find_model(copy / "run"))
    larger = build(copy / "larger", [*NAMES, "c", "d"])
    weights = grown(
        model, model.config.model_copy(update={"num_puzzle_identifiers": 5}), Dataset(larger)
    )
    assert weights[PUZZLE_TABLE].dtype == np.float32
    np.testing.assert_array_equal(
        weights[PUZZLE_TABLE],
        np.concatenate([model.weights[PUZZLE_TABLE], np.zeros((2, 32), np.float32)]),
    )
    assert np.abs(model.weights[PUZZLE_TABLE]).max() > 0
    assert all(weights[name] is model.weights[name] for name in weights if name != PUZZLE_TABLE)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["<blank>", "a", "c", "b"],
            r"puzzle identifier 2 is b in .* and c in .*; hrm convert .* --data .* matches them by name",
        ),
        (["<blank>", "b", "a"], "puzzle identifier 1 is a in .* and b in"),
    ],
)
def test_rows_of_other_puzzles_are_not_taken_over(
    copy: Path, names: list[str], message: str
) -> None:
    model = load_model(find_model(copy / "run"))
    other = build(copy / "other", names)
    with pytest.raises(ConfigError, match=message):
        grown(
            model,
            model.config.model_copy(update={"num_puzzle_identifiers": len(names)}),
            Dataset(other),
        )


def test_table_grows_only_where_the_names_are_known(copy: Path) -> None:
    model = load_model(Path(shutil.copy(find_model(copy / "run"), copy / "lone.safetensors")))
    larger = build(copy / "larger", [*NAMES, "c"])
    with pytest.raises(
        ConfigError,
        match=r"nobody says whether the 3 puzzle identifiers of .* are the first of the 4 of .*larger",
    ):
        grown(model, model.config.model_copy(update={"num_puzzle_identifiers": 4}), Dataset(larger))
    same = grown(model, model.config, Dataset(copy / "data"))  # as far as anybody knows
    assert same[PUZZLE_TABLE] is model.weights[PUZZLE_TABLE]


def test_training_goes_on_with_more_puzzles(
    hrm: Callable[..., Any], refusal: Callable[..., str], copy: Path
) -> None:
    larger = build(copy / "larger", [*NAMES, "c"])
    small = ["--max-updates", "1", "--device", "cpu"]
    run, data = (
        [
            "train",
            copy / "run" / "config.yaml",
            "--init",
            copy / "run",
            *small,
            "--run",
            copy / "new",
        ],
        ["--data", larger],
    )
    outcome = hrm(*run, *data)
    assert outcome.status == 0, outcome.err
    assert (
        "the puzzle identifiers of --init are kept, 3 of 4; the others are new and start from zero"
        in outcome.err
    )
    assert json.loads((copy / "new" / "identifiers.json").read_text()) == [*NAMES, "c"]
    assert load_identifiers(copy / "new", 4).names == [*NAMES, "c"]
    shutil.rmtree(copy / "new" / "checkpoints")
    assert hrm("train", "--run", copy / "new", "--resume", "--device", "cpu").status == 0
    back = refusal(
        *run[:3], copy / "new", *small, "--run", copy / "smaller", "--data", copy / "data"
    )
    assert (
        "num_puzzle_identifiers=4, this data has vocab_size=6, seq_len=4, num_puzzle_identifiers=3; choose another model, or"
        in back
    )
    assert not (copy / "smaller").exists()
