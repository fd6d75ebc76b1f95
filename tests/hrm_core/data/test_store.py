import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrm_core.data import arrays
from hrm_core.data.arrays import token_blocks
from hrm_core.data.store import Dataset, check, load_split, present_splits
from hrm_core.errors import DataError

FIELDS = ["inputs", "labels", "puzzle_identifiers", "puzzle_indices", "group_indices", "ratings"]


def change_array(path: Path, change: Callable[[np.ndarray], np.ndarray | None]) -> None:
    """Load, change (in place, or by what is returned), and save an array again."""
    array = np.load(path)
    changed = change(array)
    np.save(path, array if changed is None else changed)


def change_json(path: Path, **fields: Any) -> None:
    """Set fields of a JSON file; None for a value of `...` takes the field away."""
    content = {**json.loads(path.read_text()), **fields}
    path.write_text(
        json.dumps({name: value for name, value in content.items() if value is not ...})
    )


def put(index: int, value: int) -> Callable[[np.ndarray], None]:
    def change(array: np.ndarray) -> None:
        array[index] = value

    return change


def test_published_data_set_is_read(golden_dir: Path) -> None:
    split = load_split(golden_dir / "data_order" / "dataset", "train")
    check(split)
    examples = split.sets["all"]
    assert (
        len(examples),
        split.metadata.seq_len,
        split.metadata.total_groups,
        examples.ratings,
    ) == (77, 12, 7, None)
    assert isinstance(examples.inputs, np.memmap)
    assert isinstance(examples.labels, np.memmap)


def test_own_data_set_is_read(dataset: Path) -> None:
    assert present_splits(dataset) == ["train", "test"]
    split = load_split(dataset, "train")
    check(split)
    assert {name: len(examples) for name, examples in split.sets.items()} == {
        "first": 15,
        "second": 15,
    }
    np.testing.assert_array_equal(
        split.sets["first"].puzzle_of(np.array([0, 1, 3, 4, 14])), [0, 1, 1, 2, 6]
    )


def test_fields_of_others_are_left_alone(dataset: Path) -> None:
    before = load_split(dataset, "test").metadata
    change_json(dataset / "test" / "dataset.json", author="someone")
    assert load_split(dataset, "test").metadata == before


@pytest.mark.parametrize("field", FIELDS[:-1])
def test_missing_array_is_named(dataset: Path, field: str) -> None:
    (dataset / "test" / f"all__{field}.npy").unlink()
    with pytest.raises(DataError, match=rf"test/all__{field}\.npy is missing; build or copy"):
        load_split(dataset, "test")


def test_missing_ratings_are_no_error(dataset: Path) -> None:
    (dataset / "test" / "all__ratings.npy").unlink()
    assert load_split(dataset, "test").sets["all"].ratings is None


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("kept", [0, 5, 40, 128, -1])
def test_truncated_array_is_named(dataset: Path, field: str, kept: int) -> None:
    path = dataset / "test" / f"all__{field}.npy"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataError, match=rf"all__{field}\.npy is cut short or not an \.npy file"):
        load_split(dataset, "test")


@pytest.mark.parametrize("field", FIELDS)
def test_array_that_is_too_long_is_named(dataset: Path, field: str) -> None:
    path = dataset / "test" / f"all__{field}.npy"
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(DataError, match=rf"all__{field}\.npy is \d+ bytes long, its header says"):
        load_split(dataset, "test")


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("dtype", [np.float32, np.bool_, np.complex64, "S4"])
def test_array_of_another_type_is_named(dataset: Path, field: str, dtype: Any) -> None:
    change_array(dataset / "test" / f"all__{field}.npy", lambda array: array.astype(dtype))
    with pytest.raises(DataError, match=rf"all__{field}\.npy holds .*, expected integers"):
        load_split(dataset, "test")


def test_pickled_objects_are_refused(dataset: Path) -> None:
    change_array(dataset / "test" / "all__inputs.npy", lambda array: array.astype(object))
    with pytest.raises(DataError, match=r"all__inputs\.npy is cut short or not an \.npy file"):
        load_split(dataset, "test")


@pytest.mark.parametrize("field", FIELDS)
def test_array_of_another_shape_is_named(dataset: Path, field: str) -> None:
    change_array(dataset / "test" / f"all__{field}.npy", lambda array: array[..., None])
    with pytest.raises(DataError, match=rf"all__{field}\.npy has shape .*, expected"):
        load_split(dataset, "test")


@pytest.mark.parametrize("field", FIELDS)
def test_array_of_another_length_is_named(dataset: Path, field: str) -> None:
    change_array(dataset / "test" / f"all__{field}.npy", lambda array: array[:-1])
    with pytest.raises(DataError, match="expected"):
        load_split(dataset, "test")


@pytest.mark.parametrize("field", FIELDS)
def test_empty_array_is_named(dataset: Path, field: str) -> None:
    change_array(dataset / "test" / f"all__{field}.npy", lambda array: array[:0])
    with pytest.raises(DataError, match=rf"all__{field}\.npy"):
        load_split(dataset, "test")


@pytest.mark.parametrize(
    ("field", "index", "value", "found"),
    [
        ("puzzle_indices", 0, 1, "starts at 1, expected 0"),
        ("puzzle_indices", 1, 0, "goes from 0 to 0 at entry 1"),
        ("puzzle_indices", 1, 4, "goes from 4 to 3 at entry 2"),
        ("puzzle_indices", -1, 6, "ends at 6, expected 5, the number of examples"),
        ("group_indices", 0, -1, "starts at -1, expected 0"),
        ("group_indices", 1, 3, "goes from 3 to 3 at entry 2"),
        ("group_indices", -1, 4, "ends at 4, expected 3, the number of puzzles"),
        ("puzzle_identifiers", 2, 3, "entry 2 is 3, expected 0 to 2"),
        ("puzzle_identifiers", 1, -1, "entry 1 is -1, expected 0 to 2"),
        ("ratings", 4, -1, "entry 4 is -1"),
    ],
)
def test_values_that_cannot_be_are_named(
    dataset: Path, field: str, index: int, value: int, found: str
) -> None:
    change_array(dataset / "test" / f"all__{field}.npy", put(index, value))
    with pytest.raises(DataError, match=rf"all__{field}\.npy:? {found}"):
        load_split(dataset, "test")


@pytest.mark.parametrize(
    ("field", "value", "found"),
    [
        ("seq_len", 5, r"all__inputs\.npy has shape \(5, 4\), expected \(any, 5\)"),
        ("total_groups", 3, r"dataset\.json: total_groups=3, .* hold 2"),
        ("mean_puzzle_examples", 3.5, r"dataset\.json: mean_puzzle_examples=3.5, .* give 1.66667"),
        (
            "mean_puzzle_examples",
            "many",
            r"dataset\.json: mean_puzzle_examples: Input should be a valid number",
        ),
        (
            "num_puzzle_identifiers",
            2,
            r"all__puzzle_identifiers\.npy: entry \d is 2, expected 0 to 1",
        ),
        (
            "blank_identifier_id",
            3,
            r"dataset\.json: blank_identifier_id=3, expected one below num_puzzle_identifiers=3",
        ),
        ("pad_id", 7, r"dataset\.json: pad_id=7, expected a token below vocab_size=7"),
        ("pad_id", -1, r"dataset\.json: pad_id: Input should be greater than or equal to 0"),
        ("vocab_size", "7", r"dataset\.json: vocab_size: Input should be a valid integer"),
        ("vocab_size", 7.0, r"dataset\.json: vocab_size: Input should be a valid integer"),
        ("vocab_size", ..., r"dataset\.json: vocab_size: Field required"),
        ("ignore_label_id", ..., r"dataset\.json: ignore_label_id: Field required"),
        ("sets", "all", r"dataset\.json: sets: Input should be a valid"),
        ("sets", [], r"dataset\.json: sets: .* at least 1 item"),
        ("sets", ["../all"], r"dataset\.json: sets.0: String should match"),
        ("sets", ["all", "all"], r"dataset\.json: sets names one set twice: all, all"),
        ("sets", ["all", "more"], r"more__inputs\.npy is missing"),
    ],
)
def test_metadata_that_cannot_be_is_named(
    dataset: Path, field: str, value: object, found: str
) -> None:
    np.save(dataset / "test" / "all__puzzle_identifiers.npy", np.array([1, 2, 2], np.int32))
    change_json(dataset / "test" / "dataset.json", **{field: value})
    with pytest.raises(DataError, match=found) as caught:
        load_split(dataset, "test")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"pad_id": NaN}'])
def test_metadata_that_is_not_a_json_object_is_named(dataset: Path, content: bytes) -> None:
    (dataset / "test" / "dataset.json").write_bytes(content)
    with pytest.raises(DataError, match=r"test/dataset\.json: "):
        load_split(dataset, "test")


def test_missing_split_and_missing_data_set_are_named(dataset: Path) -> None:
    shutil.rmtree(dataset / "test")
    with pytest.raises(DataError, match="has no test split, only train; choose --split train"):
        load_split(dataset, "test")
    with pytest.raises(DataError, match="is not a data set"):
        present_splits(dataset / "train")


def test_vocabulary_of_the_metadata_holds_for_all_tokens(dataset: Path) -> None:
    change_json(dataset / "test" / "dataset.json", vocab_size=6)
    with pytest.raises(
        DataError, match=r"all__inputs\.npy: row \d holds 6, expected 0 to 5 \(vocab_size=6\)"
    ):
        check(load_split(dataset, "test"))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("cells", [1, 7, 8, 1000])
def test_tokens_are_walked_over_without_keeping_them_in_memory(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, order: Any, cells: int
) -> None:
    monkeypatch.setattr(arrays, "BLOCK_CELLS", cells)
    change_array(
        dataset / "train" / "first__inputs.npy", lambda array: np.array(array, ">i4", order=order)
    )
    tokens = load_split(dataset, "train").sets["first"].inputs
    rows, blocks = zip(*token_blocks(tokens), strict=True)
    assert [row for part in rows for row in part] == list(range(15))
    assert max(map(len, blocks)) == min(15, max(1, cells // 4))
    np.testing.assert_array_equal(np.concatenate(blocks), tokens)
    assert {block.dtype for block in blocks} == {tokens.dtype}
    assert not any(np.shares_memory(block, tokens) for block in blocks), (
        "what is read through a map stays"
    )


def test_ignored_label_may_lie_outside_the_vocabulary(dataset: Path) -> None:
    path = dataset / "test" / "all__labels.npy"
    change_array(path, lambda labels: np.where(labels == 0, -100, labels.astype(np.int32)))
    change_json(dataset / "test" / "dataset.json", ignore_label_id=None)
    check(load_split(dataset, "test"))
    change_array(path, lambda labels: np.where(labels == -100, -1, labels))
    with pytest.raises(DataError, match=r"all__labels\.npy: row \d holds -1"):
        check(load_split(dataset, "test"))


def test_hash_is_of_names_and_bytes(dataset: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(dataset, copy)
    (copy / "build.json").write_text("{}")  # how it was made is not what it is
    (copy / "notes.txt").write_text("mine")
    assert Dataset(copy).sha256 == Dataset(dataset).sha256
    (copy / "test" / "all__inputs.npy").rename(copy / "test" / "other__inputs.npy")
    assert Dataset(copy).sha256 != Dataset(dataset).sha256


@pytest.mark.parametrize(
    "name",
    ["identifiers.json", "train/dataset.json", "test/all__labels.npy", "test/all__ratings.npy"],
)
def test_hash_sees_every_byte(dataset: Path, name: str) -> None:
    before = Dataset(dataset).sha256
    content = bytearray((dataset / name).read_bytes())
    content[-3] ^= 1
    (dataset / name).write_bytes(content)
    assert Dataset(dataset).sha256 != before


@pytest.mark.parametrize(
    ("content", "task"), [('{"task": "toy"}', "toy"), ("{}", None), ('{"task": 3}', None)]
)
def test_task_is_read_from_the_build(dataset: Path, content: str, task: str | None) -> None:
    (dataset / "build.json").write_text(content)
    assert Dataset(dataset).label == task


def test_task_of_a_published_data_set_is_not_known(dataset: Path) -> None:
    (dataset / "build.json").unlink()
    assert Dataset(dataset).label is None


@pytest.mark.parametrize("layout", [2, 10**30, "1.1", None])
@pytest.mark.parametrize(
    "read",
    [
        present_splits,
        lambda dataset: Dataset(dataset).sha256,
        lambda dataset: Dataset(dataset).label,
        lambda dataset: load_split(dataset, "train"),
    ],
)
def test_data_set_of_a_newer_layout_is_refused(
    dataset: Path, layout: object, read: Callable[[Path], object]
) -> None:
    change_json(dataset / "build.json", layout=layout)
    (dataset / "train" / "dataset.json").unlink()  # whatever has become of it
    (dataset / "test" / "dataset.json").write_text("{}")
    with pytest.raises(
        DataError,
        match=rf"dataset was written by a newer hrm-mlx \(layout {layout!r}, this one knows 1\); upgrade hrm-mlx$",
    ):
        read(dataset)


@pytest.mark.parametrize("layout", [1, ...])
def test_data_set_of_this_layout_or_of_none_that_it_tells_is_read(
    dataset: Path, layout: object
) -> None:
    change_json(dataset / "build.json", layout=layout)
    assert len(load_split(dataset, "test").sets["all"]) == 5


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"[" * 100_000])
def test_damaged_build_is_named(dataset: Path, content: bytes) -> None:
    (dataset / "build.json").write_bytes(content)
    with pytest.raises(DataError, match=r"build\.json is not a JSON object"):
        Dataset(dataset).label  # noqa: B018


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory, make_dataset: Callable[[Path], None]) -> Path:
    """A data set that the fuzz may write into."""
    directory = tmp_path_factory.mktemp("fuzz") / "dataset"
    make_dataset(directory)
    return directory


@contextmanager
def damaged(path: Path, content: bytes) -> Iterator[None]:
    """Put other bytes into a file for a while."""
    original = path.read_bytes()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(original)


def complaint(directory: Path) -> str | None:
    """What the reader has against a data set; any error but DataError is a bug and gets through."""
    try:
        check(load_split(directory, "test"))
    except DataError as error:
        return str(error)
    return None


@given(data=st.data())
@settings(max_examples=300, deadline=None, derandomize=True)
def test_overwritten_and_truncated_headers_are_refused_or_harmless(
    fuzzed: Path, data: st.DataObject
) -> None:
    path = fuzzed / "test" / f"all__{data.draw(st.sampled_from(FIELDS))}.npy"
    content = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, 127), max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    length = data.draw(st.sampled_from([len(content), len(content) - 1, 127, 64, 9, 3, 0]))
    with damaged(path, bytes(content[:length])):
        found = complaint(fuzzed)
    assert found is None or ("all__" in found and "\n" not in found)
    assert found is not None or length == path.stat().st_size


@given(bit=st.integers(0, 128 * 8 - 1), field=st.sampled_from(FIELDS))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_flipped_header_bit_is_refused_or_harmless(fuzzed: Path, bit: int, field: str) -> None:
    path = fuzzed / "test" / f"all__{field}.npy"
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    with damaged(path, bytes(content)):
        found = complaint(fuzzed)
    assert found is None or ("all__" in found and "\n" not in found)
