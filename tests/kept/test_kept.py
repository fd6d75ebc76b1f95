"""Data sets, runs and models that an earlier commit wrote stay readable and mean the same."""

import json
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import kept
import pytest

pytest.importorskip("mlx", reason="mlx is missing: kept models are not run")

import hrm_mlx

RECORD = json.loads(kept.RECORD.read_text())
NEWEST = "update_00000006"


def assert_close(found: Any, expected: Any, rel: float = 1e-4, abs: float = 1e-4) -> None:
    """Compare JSON: floats within limits, all else exactly, order of names included."""
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for key, value in expected.items():
            assert_close(found[key], value, rel, abs)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for part, value in zip(found, expected, strict=True):
            assert_close(part, value, rel, abs)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=rel, abs=abs)
    else:
        assert found == expected


@pytest.mark.parametrize("name", kept.DATA)
def test_kept_data_is_as_it_was_written(name: str) -> None:
    assert kept.hashes(kept.FOLDER / "data" / name) == RECORD["data"][name]


@pytest.mark.parametrize("name", kept.DATA)
def test_kept_data_opens_and_holds_what_it_held(name: str) -> None:
    assert kept.inspected(name) == RECORD["inspect"][name]


@pytest.mark.parametrize("name", kept.DATA)
def test_data_is_built_again_byte_for_byte(name: str, tmp_path: Path) -> None:
    kept.checked(kept.DATA[name], out=tmp_path / "out")
    kept.forget_hashes(tmp_path / "out")
    assert kept.hashes(tmp_path / "out") == RECORD["data"][name]


@pytest.mark.parametrize("name", RECORD["kept"])
def test_kept_models_are_as_they_were_written(name: str) -> None:
    assert kept.hashes(kept.FOLDER / name) == RECORD["kept"][name]


def test_shipped_model_is_as_it_was() -> None:
    assert kept.hashes(kept.FOLDER / kept.SHIPPED) == RECORD["shipped"]


@pytest.mark.parametrize("name", kept.ANSWERS)
def test_kept_models_answer_as_they_did(name: str) -> None:
    assert_close(kept.answers(kept.ANSWERS[name]), RECORD["answers"][name])


NAMES_WITHOUT_DRAWS = [name for name in kept.ANSWERS if "noise" not in name]


@pytest.mark.parametrize("name", NAMES_WITHOUT_DRAWS)
def test_kept_models_answer_alike_in_torch(name: str) -> None:
    pytest.importorskip("torch", reason="torch is missing: kept models are not run in it")
    found = kept.answers(kept.ANSWERS[name], f"{kept.ON_CPU} --backend torch")
    assert_close(found, RECORD["answers"][name], abs=2e-4)  # two roundings to four places


def test_submission_of_the_kept_arc_model(tmp_path: Path) -> None:
    kept.checked(f"{kept.SUBMISSION} {kept.ON_CPU}", out=tmp_path / "s.json")
    assert json.loads((tmp_path / "s.json").read_text()) == RECORD["submission"]


@pytest.fixture(scope="module")
def stopped_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kept run as it was two updates before its end."""
    folder = tmp_path_factory.mktemp("kept") / "run"
    shutil.copytree(kept.FOLDER / "run", folder)
    shutil.rmtree(folder / "checkpoints" / NEWEST)
    return folder


@pytest.fixture(scope="module")
def resumed_run(stopped_run: Path) -> Path:
    """The kept run, two updates later again."""
    command = "train --run {run} --resume --data data/sudoku"
    kept.checked(f"{command} {kept.ON_CPU}", run=stopped_run)
    return stopped_run


def test_resumed_run_logs_the_same_numbers(resumed_run: Path) -> None:
    lines = kept.log_lines(resumed_run)
    for line in lines:  # q_steps came later than the record
        assert line.pop("q_steps", 0) <= line["steps"]
    assert_close(lines, RECORD["log"], rel=1e-5, abs=1e-7)


def test_resumed_run_writes_the_same_files(resumed_run: Path) -> None:
    files = [name for name in kept.hashes(resumed_run) if name != ".lock"]
    assert files == list(RECORD["kept"]["run"])
    newest = resumed_run / "checkpoints" / NEWEST
    keys = kept.state_keys(newest)
    since = ("settings", "environment.replicas")  # the run was kept
    added = {key for key in keys if key.startswith(since)}
    assert added == {
        "environment.replicas",
        "settings",
        *(f"settings.{name}" for name in ("data", "init", "optim", "train")),
    }
    assert [key for key in keys if key not in added] == RECORD["state keys"]


@pytest.mark.parametrize("file", ["model.safetensors", "train_state.safetensors"])
def test_resumed_run_names_its_weights_alike(resumed_run: Path, file: str) -> None:
    found, expected = (
        kept.safetensors_header(folder / "checkpoints" / NEWEST / file)
        for folder in (resumed_run, kept.FOLDER / "run")
    )
    about = found.pop("__metadata__", {}), expected.pop("__metadata__", {})
    assert list(found.items()) == list(expected.items())
    assert _without_checksum(about[0]) == _without_checksum(about[1])


def _without_checksum(metadata: dict[str, str]) -> dict[str, Any]:
    parsed = {name: json.loads(text) for name, text in metadata.items()}
    return {name: {**value, "crc32": ""} for name, value in parsed.items()}


def test_run_resumes_in_torch(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is missing: the kept run is not resumed in it")
    folder = Path(shutil.copytree(kept.FOLDER / "run", tmp_path / "run"))
    shutil.rmtree(folder / "checkpoints" / NEWEST)
    command = "train --run {run} --resume --data data/sudoku --backend torch"
    kept.checked(f"{command} {kept.ON_CPU}", run=folder)
    found, expected = (
        [line["lm_loss"] for line in lines] for lines in (kept.log_lines(folder), RECORD["log"])
    )
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    return kept.convert_all(tmp_path_factory.mktemp("converted"))


@pytest.mark.parametrize("name", kept.WRITTEN)
def test_models_are_converted_byte_for_byte(converted: dict[str, Any], name: str) -> None:
    assert converted[name] == RECORD["written"][name]


def test_model_there_and_back_is_the_same_file(converted: dict[str, Any]) -> None:
    (back,) = converted["back.safetensors"].values()
    assert back == RECORD["kept"]["sudoku.safetensors"]["sudoku.safetensors"]


def test_published_form_and_back_is_the_same_file(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is missing: published checkpoints are not tested")
    kept.checked("convert sudoku.safetensors {tmp}/official --to official", tmp=tmp_path)
    kept.checked("convert {tmp}/official {tmp}/back.safetensors", tmp=tmp_path)
    weights = [
        path.read_bytes()[-_data_size(path) :]
        for path in (tmp_path / "back.safetensors", kept.FOLDER / "sudoku.safetensors")
    ]
    assert weights[0] == weights[1]


def _data_size(path: Path) -> int:
    header = kept.safetensors_header(path)
    return max(entry["data_offsets"][1] for name, entry in header.items() if name[0] != "_")


@pytest.mark.parametrize(
    ("model", "data", "puzzle"),
    [
        ("run", None, "1... ..2. .3.. ...4"),
        ("sudoku.safetensors", None, "1... ..2. .3.. ...4"),
        ("maze.safetensors", None, (kept.FOLDER / kept.MAZE).read_text()),
        ("arc", "data/arc", "[[1, 2], [3, 4]]"),
        ("grids.safetensors", "data/grids", "abab/bbaa"),
        (kept.SHIPPED, None, kept.BOARD),
    ],
    ids=["run", "sudoku", "maze", "arc", "grids", "shipped"],
)
def test_python_opens_and_solves(model: str, data: str | None, puzzle: str) -> None:
    names = {"arc": "blank", "grids.safetensors": "mirror"}
    solver = hrm_mlx.load(kept.FOLDER / model, data=data and kept.FOLDER / data)
    is_taken = model == "grids.safetensors"  # the numbering of its data is taken for its own
    with pytest.warns(UserWarning, match="by name") if is_taken else nullcontext():
        (solution,) = solver.solve(puzzle, identifier=names.get(model, ""))
    assert solution.answer.shape == solution.question.shape
    assert solution.verdict
    if model == kept.SHIPPED:
        assert solution.accepted
