import json
import shutil
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from hrm_core.config import DataSizes, ModelConfig, load_config
from hrm_core.errors import CheckpointError, RunError
from hrm_core.parameters import initial_values
from hrm_core.runs.checkpoint import (
    MODEL_FILE,
    STATE_FILE,
    TRAIN_STATE_FILE,
    find_model,
    load_model,
    read_newest,
    read_state,
    read_train_state,
    save_model,
    write_checkpoint,
)

CONFIG = ModelConfig.model_validate(
    {
        **load_config("sudoku-4x4").model.sized(DataSizes(6, 16, 1)).model_dump(),
        "hidden_size": 8,
        "expansion": 0.1,
    }
)
WEIGHTS = initial_values(CONFIG, seed=3)
TRAIN_STATE = {
    "m.lm_head.weight": np.arange(48, dtype=np.float32).reshape(6, 8),
    "carry.z_H": np.linspace(-1, 1, 64).astype(ml_dtypes.bfloat16).reshape(2, 4, 8),
    "carry.halted": np.array([True, False]),
    "carry.steps": np.array([1, 2], np.int32),
}
STATE = {
    "update": 7,
    "position": {"seconds": 0.1 + 0.2, "best": {}},
    "order": [2**70, -1, "text ü"],
}


def write(folder: Path) -> Path:
    write_checkpoint(folder, CONFIG, "sudoku", WEIGHTS, TRAIN_STATE, STATE)
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("run") / "update_00000007")


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert (found[name].shape, found[name].dtype) == (array.shape, array.dtype), name
        assert found[name].tobytes() == array.tobytes(), name


def test_checkpoint_gives_back_what_was_written(whole: Path) -> None:
    model = load_model(whole / MODEL_FILE)
    assert (model.config, model.task, model.source) == (CONFIG, "sudoku", whole / MODEL_FILE)
    assert_same(dict(model.weights), WEIGHTS)
    assert_same(read_train_state(whole), TRAIN_STATE)
    assert {**read_state(whole), "format": None} == {**STATE, "format": None}
    assert sorted(path.name for path in whole.iterdir()) == sorted(
        [MODEL_FILE, TRAIN_STATE_FILE, STATE_FILE]
    )
    assert not [path for path in whole.parent.iterdir() if path != whole]


def test_model_is_found_by_run_folder_and_file(whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run / "checkpoints" / whole.name)
    shutil.copytree(whole, run / "checkpoints" / "update_00000003")
    newest = run / "checkpoints" / whole.name
    for path in (run, newest, newest / MODEL_FILE):
        assert find_model(path) == newest / MODEL_FILE
    alone = shutil.copy(whole / MODEL_FILE, tmp_path / "alone.safetensors")
    assert_same(dict(load_model(find_model(Path(alone))).weights), WEIGHTS)


def test_damaged_newest_checkpoint_is_named_and_passed_over(whole: Path, tmp_path: Path) -> None:
    for name in ("update_00000003", whole.name):
        shutil.copytree(whole, tmp_path / "checkpoints" / name)
    (tmp_path / "checkpoints" / whole.name / STATE_FILE).unlink()
    warnings: list[str] = []
    assert (
        find_model(tmp_path, warnings.append)
        == tmp_path / "checkpoints" / "update_00000003" / MODEL_FILE
    )
    (warning,) = warnings
    assert f"{whole.name}/{STATE_FILE} cannot be read (No such file or directory)" in warning
    (tmp_path / "checkpoints" / "update_00000003" / MODEL_FILE).write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"none of the 2 checkpoints in .* is whole"):
        find_model(tmp_path)
    with pytest.raises(
        CheckpointError, match=r"nope does not exist; expected a run with checkpoints"
    ):
        find_model(tmp_path / "nope")


@pytest.mark.parametrize("num_gone", [1, 2, 3])
def test_checkpoint_that_is_pruned_while_it_is_read_is_not_damaged(
    whole: Path, tmp_path: Path, num_gone: int
) -> None:
    checkpoints = tmp_path / "checkpoints"
    shutil.copytree(whole, checkpoints / "update_00000003")
    reads: list[str] = []

    def read(folder: Path) -> Path:
        reads.append(folder.name)
        if folder.name == "update_00000003":
            shutil.copytree(whole, checkpoints / "update_00000004")
            for name in [STATE_FILE, MODEL_FILE, TRAIN_STATE_FILE][:num_gone]:
                (folder / name).unlink()
            if num_gone == 3:
                folder.rmdir()
        read_state(folder)
        return folder

    found = read_newest(checkpoints, read, pytest.fail)
    assert found == checkpoints / "update_00000004"
    assert reads == ["update_00000003", "update_00000004"]


def test_checkpoint_that_is_replaced_while_it_is_read_is_read_again(
    whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "checkpoints" / whole.name
    shutil.copytree(whole, folder)
    (folder / STATE_FILE).write_text("damaged")
    reads: list[str] = []

    def read(folder: Path) -> str:
        text = (folder / STATE_FILE).read_text()
        reads.append(text)
        if text == "damaged":
            write(folder)
            raise CheckpointError("of two checkpoints")
        return text

    assert read_newest(tmp_path / "checkpoints", read, pytest.fail) == reads[1]


@pytest.mark.parametrize("name", [MODEL_FILE, TRAIN_STATE_FILE, STATE_FILE])
def test_every_truncation_is_noticed(whole: Path, tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / whole.name))
    content = (folder / name).read_bytes()
    for length in {0, 1, 7, 8, 100, len(content) // 2, len(content) - 1}:
        (folder / name).write_bytes(content[:length])
        with pytest.raises(CheckpointError, match=r"; use another checkpoint or copy it again$"):
            read_state(folder)


def flipped(content: bytes, flips: list[tuple[int, int]]) -> bytes:
    changed = bytearray(content)
    for place, bit in flips:
        changed[place % len(changed)] ^= 1 << bit
    return bytes(changed)


def outcome(read: Callable[[], object]) -> object:
    """What was read, or the message of the refusal."""
    try:
        return read()
    except CheckpointError as error:
        return str(error)


flips = st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 7)), min_size=1, max_size=3)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(
    flips=flips | flips.map(lambda flips: [(place % 2500, bit) for place, bit in flips]),
    length=st.integers(0, 2**20) | st.none(),
)
def test_damaged_model_file_alone_is_refused_or_the_same(
    whole: Path,
    tmp_path_factory: pytest.TempPathFactory,
    flips: list[tuple[int, int]],
    length: int | None,
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.safetensors"
    path.write_bytes(flipped((whole / MODEL_FILE).read_bytes(), flips)[:length])
    found = outcome(lambda: load_model(path))
    if isinstance(found, str):
        assert len(found.splitlines()) == 1
        assert str(path) in found
    else:
        assert_same(dict(found.weights), WEIGHTS)  # type: ignore[attr-defined]
        assert (found.config, found.task) == (CONFIG, "sudoku")  # type: ignore[attr-defined]


@settings(deadline=None, derandomize=True, max_examples=150)
@given(flips=flips, length=st.integers(0, 2000) | st.none())
def test_damaged_state_is_refused_or_the_same(
    whole: Path,
    tmp_path_factory: pytest.TempPathFactory,
    flips: list[tuple[int, int]],
    length: int | None,
) -> None:
    folder = tmp_path_factory.getbasetemp() / "fuzz"
    shutil.copytree(whole, folder, dirs_exist_ok=True)
    (folder / STATE_FILE).write_bytes(flipped((whole / STATE_FILE).read_bytes(), flips)[:length])
    found = outcome(lambda: read_state(folder))
    assert found == read_state(whole) or (isinstance(found, str) and len(found.splitlines()) == 1)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'"sha256"', b"{}", b'{"sha256": 3}', b"[" * 100_000, b"\xff", b"null"]
)
def test_state_of_another_kind_is_damaged(whole: Path, tmp_path: Path, content: bytes) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / whole.name))
    (folder / STATE_FILE).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"state\.json is damaged"):
        read_state(folder)


def test_weights_of_another_shape_are_named(tmp_path: Path) -> None:
    path = tmp_path / MODEL_FILE
    wrong = {**WEIGHTS, "q_head.bias": np.zeros(3, np.float32), "extra": np.zeros(1, np.float32)}
    del wrong["H_init"]
    save_model(path, CONFIG, "sudoku", wrong)
    with pytest.raises(CheckpointError) as refused:
        load_model(path)
    for words in (
        "H_init is missing",
        "extra is unknown",
        "q_head.bias is float32[3], expected float32[2]",
    ):
        assert words in str(refused.value)


def test_safetensors_file_of_someone_else_is_refused(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="holds no HRM config in its metadata"):
        load_model(tmp_path / "other.safetensors")


def test_model_file_says_what_it_is(whole: Path) -> None:
    with safe_open(whole / MODEL_FILE, "numpy") as file:
        about = json.loads(file.metadata()["hrm"])
    assert (about["format"], about["task"], about["config"]["hidden_size"]) == (
        "hrm-1",
        "sudoku",
        8,
    )


def test_checkpoint_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*paths: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hrm_core.files.sync", full)
    with pytest.raises(RunError, match=r"was not written .*No space left on device"):
        write(tmp_path / "checkpoints" / "update_00000007")
    assert not list((tmp_path / "checkpoints").iterdir())


def test_checkpoint_takes_the_place_of_a_damaged_one_and_of_leftovers(tmp_path: Path) -> None:
    folder = write(tmp_path / "update_00000007")
    (folder / MODEL_FILE).write_bytes(b"damaged")
    for leftover in (".update_00000005.partial", ".update_00000007.replaced"):
        (tmp_path / leftover).mkdir()
        (tmp_path / leftover / MODEL_FILE).write_bytes(b"half")
    write(folder)
    read_state(folder)
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("name", [".update_00000007.partial", ".update_00000007.hrm-partial"])
def test_checkpoint_is_written_through_no_link(tmp_path: Path, name: str) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    folder = tmp_path / "checkpoints" / "update_00000007"
    folder.parent.mkdir()
    (folder.parent / name).symlink_to(tmp_path / "mine")
    if name.endswith(".hrm-partial"):
        with pytest.raises(RunError, match="no work folder of hrm; rename or remove it, or"):
            write(folder)
    else:
        read_state(write(folder))
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("mask", [0o022, 0o027])
def test_model_file_follows_the_umask(
    tmp_path: Path, umask: Callable[[int], int], mask: int
) -> None:
    umask(mask)
    save_model(tmp_path / "x", CONFIG, "sudoku", initial_values(CONFIG, 0))
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o666 & ~mask
