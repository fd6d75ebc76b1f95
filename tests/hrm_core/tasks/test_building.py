from pathlib import Path

import pytest
from pydantic import ValidationError

from hrm_core.tasks import building
from hrm_core.tasks.building import Seed, SourceOptions
from hrm_core.tasks.registry import builder


class Few(building.Options):
    seed: Seed = 0
    name: str | None = None


def test_an_option_is_given_where_it_is_set_to_something() -> None:
    assert not Few().given("seed", "name")
    assert Few(seed=0).given("name", "seed")
    assert not Few(name=None).given("name")


def test_options_are_settings() -> None:
    with pytest.raises(ValidationError, match="extra_forbidden"):
        Few(sed=3)  # type: ignore[call-arg]
    with pytest.raises(ValidationError, match="frozen"):
        Few().seed = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give one of --source"),
        ({"generate": 3, "train_csv": Path("x")}, "give one of --source"),
        ({"source": "hf://a/b", "test_csv": Path("x")}, "--source has test puzzles of its own"),
    ],
)
def test_puzzles_have_one_source(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SourceOptions.model_validate(options)


def test_files_are_those_that_are_named() -> None:
    files = SourceOptions(train_csv=Path("a"), test_csv=Path("b")).files()
    assert (files.paths, files.origin) == ({"train": Path("a"), "test": Path("b")}, {})
    assert SourceOptions(train_csv=Path("a")).files().paths == {"train": Path("a")}


def test_a_builder_is_found_by_the_name_of_its_task(tmp_path: Path) -> None:
    sudoku = builder("sudoku")
    told: list[str] = []
    options = sudoku.Options(generate=3, size=4, test=1, givens=(6, 9))
    built = sudoku.build(tmp_path / "out", options, told.append)
    assert built.record["train_puzzles"] == 3
    assert built.summary == "3 training examples of 3 puzzles, 1 test puzzles"
    assert (built.warnings, told) == ((), [])
