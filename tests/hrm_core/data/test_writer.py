import json
import resource
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hrm_core.data.store import Dataset, load_split
from hrm_core.data.writer import ArrayFile, Examples, Layout, refuse_used, write_dataset
from hrm_core.errors import DataError

LAYOUT = Layout(vocab_size=11, seq_len=81)


def boards(count: int = 4, **options: Any) -> Examples:
    tokens = np.random.default_rng(count).integers(0, 11, size=(count, 81))
    return Examples(tokens, tokens[::-1].copy(), **options)


def write(directory: Path, *blocks: Examples, layout: Layout = LAYOUT) -> None:
    write_dataset(directory, layout, {"train": {"all": blocks}}, {"task": "sudoku"})


@contextmanager
def file_size_limit(num_bytes: int) -> Iterator[None]:
    """Let no file of this process grow beyond a limit: the closest to a full disk that a test can have."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_layout_on_disk_is_the_published_one(tmp_path: Path) -> None:
    write(
        tmp_path / "out",
        boards(4, group_sizes=np.array([3, 1])),
        boards(2, group_sizes=np.array([2])),
    )
    assert sorted(
        path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")
    ) == [
        "build.json",
        "identifiers.json",
        "train/all__group_indices.npy",
        "train/all__inputs.npy",
        "train/all__labels.npy",
        "train/all__puzzle_identifiers.npy",
        "train/all__puzzle_indices.npy",
        "train/dataset.json",
    ]
    assert json.loads((tmp_path / "out" / "train" / "dataset.json").read_text()) == {
        "pad_id": 0,
        "ignore_label_id": 0,
        "blank_identifier_id": 0,
        "vocab_size": 11,
        "seq_len": 81,
        "num_puzzle_identifiers": 1,
        "total_groups": 3,
        "mean_puzzle_examples": 1.0,
        "sets": ["all"],
    }
    assert json.loads((tmp_path / "out" / "identifiers.json").read_text()) == ["<blank>"]


def test_metadata_has_the_fields_and_types_of_the_published_one(
    tmp_path: Path, golden_dir: Path
) -> None:
    write(tmp_path / "out", boards())
    ours = json.loads((tmp_path / "out" / "train" / "dataset.json").read_text())
    published = json.loads(
        (golden_dir / "data_order" / "dataset" / "train" / "dataset.json").read_text()
    )
    assert {name: type(value) for name, value in ours.items()} == {
        name: type(value) for name, value in published.items()
    }


def test_blocks_are_put_end_to_end(tmp_path: Path) -> None:
    blocks = [
        boards(
            5, puzzle_sizes=np.array([2, 2, 1]), group_sizes=np.array([1, 2]), ratings=np.arange(5)
        ),
        boards(3, puzzle_sizes=np.array([3]), group_sizes=np.array([1]), ratings=np.arange(3)),
        boards(2, ratings=np.array([7, 8])),
    ]
    write(tmp_path / "out", *blocks)
    expected = {
        "inputs": np.concatenate([block.inputs for block in blocks]).astype(np.uint8),
        "labels": np.concatenate([block.labels for block in blocks]).astype(np.uint8),
        "puzzle_identifiers": np.zeros(6, np.int32),
        "puzzle_indices": np.array([0, 2, 4, 5, 8, 9, 10], np.int32),
        "group_indices": np.array([0, 1, 3, 4, 5, 6], np.int32),
        "ratings": np.array([0, 1, 2, 3, 4, 0, 1, 2, 7, 8], np.int32),
    }
    for field, array in expected.items():
        np.testing.assert_array_equal(
            np.load(tmp_path / "out" / "train" / f"all__{field}.npy"), array, strict=True
        )


@pytest.mark.parametrize("rows", [0, 1, 9, 10, 12345])
def test_growing_file_has_the_bytes_of_numpy(tmp_path: Path, rows: int) -> None:
    array = np.arange(rows * 3, dtype=np.int32).reshape(rows, 3)
    with ArrayFile(tmp_path / "grown.npy", np.int32, (3,)) as file:
        for start in range(0, rows, 1000):
            file.append(array[start : start + 1000])
    np.save(tmp_path / "saved.npy", array)
    assert (tmp_path / "grown.npy").read_bytes() == (tmp_path / "saved.npy").read_bytes()


@pytest.mark.parametrize(
    ("layout", "dtype"),
    [
        (Layout(vocab_size=256, seq_len=81), np.uint8),
        (Layout(vocab_size=256, seq_len=81, ignore_label_id=None), np.uint8),
        (Layout(vocab_size=257, seq_len=81), np.int32),
        (Layout(vocab_size=11, seq_len=81, ignore_label_id=-100), np.int32),
        (Layout(vocab_size=11, seq_len=81, ignore_label_id=300), np.int32),
    ],
)
def test_tokens_take_a_byte_where_they_fit(tmp_path: Path, layout: Layout, dtype: type) -> None:
    block = boards()
    block.labels[0] = 0 if layout.ignore_label_id is None else layout.ignore_label_id
    write(tmp_path / "out", block, layout=layout)
    examples = load_split(tmp_path / "out", "train").sets["all"]
    assert (examples.inputs.dtype, examples.labels.dtype) == (dtype, dtype)
    np.testing.assert_array_equal(examples.labels, block.labels)


def test_equal_input_gives_equal_bytes(
    tmp_path: Path, make_dataset: Callable[[Path], None]
) -> None:
    make_dataset(tmp_path / "first")
    make_dataset(tmp_path / "second")
    first, second = (
        {path.relative_to(out): path.read_bytes() for path in out.rglob("*.*")}
        for out in (tmp_path / "first", tmp_path / "second")
    )
    assert first == second
    assert Dataset(tmp_path / "first").sha256 == Dataset(tmp_path / "second").sha256


def test_build_is_read_when_all_blocks_are_written(tmp_path: Path) -> None:
    build: dict[str, Any] = {"task": "sudoku"}

    def blocks() -> Iterator[Examples]:
        yield boards()
        build["dropped"] = 3

    written = write_dataset(tmp_path / "out", LAYOUT, {"train": {"all": blocks()}}, build)
    assert (
        json.loads((tmp_path / "out" / "build.json").read_text())
        == written
        == {
            "task": "sudoku",
            "dropped": 3,
            "layout": 1,
            "sha256": Dataset(tmp_path / "out").digests,
        }
    )


def test_directory_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "thesis.txt").write_text("mine")
    with pytest.raises(
        DataError, match="used is not empty; choose another directory or remove it first"
    ):
        write(tmp_path / "used", boards())
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DataError, match="file is a file, expected a directory"):
        refuse_used(tmp_path / "file")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "used"]
    assert (tmp_path / "used" / "thesis.txt").read_text() == "mine"


def test_empty_directory_and_missing_parents_are_fine(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty", boards())
    write(tmp_path / "a" / "b", boards())
    assert (
        load_split(tmp_path / "empty", "train").metadata
        == load_split(tmp_path / "a" / "b", "train").metadata
    )


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, RuntimeError, SystemExit])
def test_interrupted_build_leaves_nothing(
    tmp_path: Path, interruption: type[BaseException]
) -> None:
    def blocks() -> Iterator[Examples]:
        yield boards()
        raise interruption

    with pytest.raises(interruption):
        write_dataset(tmp_path / "out", LAYOUT, {"train": {"all": blocks()}}, {})
    assert list(tmp_path.iterdir()) == []


def test_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    with (
        file_size_limit(10_000),
        pytest.raises(DataError, match=r"out was not written: .*; nothing was left behind"),
    ):
        write(tmp_path / "out", boards(1000))
    assert list(tmp_path.iterdir()) == []


def test_directory_without_permission_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(DataError, match="Permission denied"):
        write(tmp_path / "out", boards())
    assert list(tmp_path.iterdir()) == []


def killed_build(directory: Path) -> None:
    """Start a build in another process and kill it in the middle of its set."""
    program = f"""
        from pathlib import Path
        import numpy as np, time
        from hrm_core.data.writer import Examples, Layout, write_dataset
        def blocks():
            yield Examples(np.ones((100, 9), int), np.ones((100, 9), int))
            print("written", flush=True)
            time.sleep(60)
        write_dataset(Path({str(directory)!r}), Layout(vocab_size=5, seq_len=9), {{"train": {{"all": blocks()}}}}, {{}})
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        with pytest.raises(DataError, match="is being written by another process"):
            write(directory, boards())
        process.send_signal(signal.SIGKILL)


def test_killed_build_leaves_no_data_set_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    killed_build(tmp_path / "out")
    assert not (tmp_path / "out").exists()
    write(tmp_path / "out", boards())
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert len(load_split(tmp_path / "out", "train").sets["all"]) == 4


@pytest.mark.parametrize(
    ("block", "found"),
    [
        (
            Examples(np.ones((2, 80), int), np.ones((2, 80), int)),
            r"inputs \(2, 80\) and labels \(2, 80\), expected \(2, 81\) for both",
        ),
        (
            Examples(np.ones((2, 81), int), np.ones((3, 81), int)),
            r"labels \(3, 81\), expected \(2, 81\)",
        ),
        (
            Examples(np.full((2, 81), 11), np.ones((2, 81), int)),
            r"all__inputs\.npy: row 4 holds 11, expected 0 to 10",
        ),
        (
            Examples(np.ones((2, 81), int), np.full((2, 81), 256)),
            r"all__labels\.npy: row 4 holds 256, expected 0 to 10",
        ),
        (
            boards(2, ratings=np.arange(2)),
            "a block of 2 examples has 2 ratings; give one an example",
        ),
        (
            boards(2, puzzle_identifiers=np.array([0, 1])),
            r"all__puzzle_identifiers\.npy: entry 5 is 1, expected 0 to 0",
        ),
        (boards(2, puzzle_sizes=np.array([1])), r"all__puzzle_indices\.npy ends at 5, expected 6"),
        (boards(2, group_sizes=np.array([1])), r"all__group_indices\.npy ends at 5, expected 6"),
        (boards(2, puzzle_sizes=np.array([2, 0])), r"all__puzzle_indices\.npy goes from 6 to 6"),
    ],
)
def test_block_that_cannot_be_is_refused(tmp_path: Path, block: Examples, found: str) -> None:
    with pytest.raises(DataError, match=found):
        write(tmp_path / "out", boards(4), block)
    assert list(tmp_path.iterdir()) == []


def test_set_without_examples_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="set all of train has no examples"):
        write(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["link", "full"])
def test_hidden_folder_of_the_users_own_is_left_as_it_is(tmp_path: Path, kind: str) -> None:
    mine, room = tmp_path / "mine", tmp_path / ".out.hrm-partial"
    mine.mkdir()
    (mine / "thesis.txt").write_text("mine")
    if kind == "link":
        room.symlink_to(mine)
    else:
        mine.rename(room)
    message = "no work folder of hrm; rename or remove it, or choose another directory"
    with pytest.raises(DataError, match=message):
        write(tmp_path / "out", boards())
    assert (room / "thesis.txt").read_text() == "mine"
    assert room.is_symlink() == (kind == "link")


def test_folders_made_for_a_build_that_failed_are_removed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="set all of train has no examples"):
        write(tmp_path / "a" / "b" / "out")
    assert list(tmp_path.iterdir()) == []


def test_work_folder_of_a_build_that_was_killed_when_done_is_removed(tmp_path: Path) -> None:
    for name in ("out", "neighbour"):
        write(tmp_path / name, boards())
        (tmp_path / f".{name}.hrm-partial").mkdir()
        (tmp_path / f".{name}.hrm-partial" / ".hrm-work").touch()
    with pytest.raises(DataError, match="out is not empty"):
        write(tmp_path / "out", boards())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["neighbour", "out"]


def test_directory_that_is_filled_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    def blocks() -> Iterator[Examples]:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "thesis.txt").write_text("mine")
        yield boards()

    with pytest.raises(DataError, match=r"out was not written: .*not empty"):
        write_dataset(tmp_path / "out", LAYOUT, {"train": {"all": blocks()}}, {})
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_prefix_lengths_are_written_and_read(tmp_path: Path) -> None:
    write(tmp_path / "out", boards(4, prefix_len=[0, 3, 81, 7]), boards(2, prefix_len=[1, 2]))
    (examples,) = load_split(tmp_path / "out", "train").sets.values()
    assert examples.prefix_len is not None
    assert examples.prefix_len.tolist() == [0, 3, 81, 7, 1, 2]


def test_prefix_beyond_the_row_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"all__prefix_len.npy: entry 1 is 82, expected 0 to 81"):
        write(tmp_path / "out", boards(2, prefix_len=[0, 82]))
    assert not (tmp_path / "out").exists()


def test_block_without_prefix_lengths_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a block of 2 examples has None prefix_len; give one"):
        write(tmp_path / "out", boards(4, prefix_len=[0, 1, 2, 3]), boards(2))


def pictures(count: int, side: int = 4, dtype: type = np.uint8) -> np.ndarray:
    return np.zeros((count, side, side), dtype)


def test_pictures_of_another_size_or_dtype_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a block of images holds int64, expected uint8"):
        write(tmp_path / "a", boards(2, images=pictures(2, dtype=np.int64)))
    with pytest.raises(DataError, match=r"size \(8, 8\), expected \(4, 4\) as in the first block"):
        write(tmp_path / "b", boards(2, images=pictures(2)), boards(3, images=pictures(3, 8)))
    with pytest.raises(DataError, match="a block of 3 examples has 2 images"):
        write(tmp_path / "c", boards(3, images=pictures(2)))


def test_damaged_pictures_are_refused_when_they_are_read(tmp_path: Path) -> None:
    write(tmp_path / "out", boards(2, images=pictures(2)))
    path = tmp_path / "out" / "train" / "all__images.npy"
    for damaged, message in (
        (pictures(2, dtype=np.int16), "holds int16, expected uint8"),
        (pictures(2, dtype=np.float32), "holds float32, expected uint8"),
        (pictures(3), r"has shape \(3, 4, 4\), expected \(2, any, any\)"),
        (
            np.zeros((2, 3, 4, 4), np.uint8),
            r"has shape \(2, 3, 4, 4\), expected \(2, 1, any, any\)",
        ),
    ):
        np.save(path, damaged)
        with pytest.raises(DataError, match=message):
            load_split(tmp_path / "out", "train")
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"cut short or not an \.npy file"):
        load_split(tmp_path / "out", "train")
