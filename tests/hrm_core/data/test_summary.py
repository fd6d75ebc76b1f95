import json
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from hrm_core.data import arrays
from hrm_core.data.store import Dataset
from hrm_core.data.summary import ImagesSummary, band_names, summarize
from hrm_core.data.writer import Examples, Layout, write_dataset
from hrm_core.errors import DataError


def test_counts_are_those_of_the_arrays(dataset: Path) -> None:
    summary = summarize(Dataset(dataset), [0, 1, 50, 100])
    assert (summary.task, summary.sha256) == ("toy", Dataset(dataset).sha256)
    assert list(summary.splits) == ["train", "test"]
    first = summary.splits["train"].sets["first"]
    labels = np.load(dataset / "train" / "first__labels.npy")
    inputs = np.load(dataset / "train" / "first__inputs.npy")
    ratings = np.load(dataset / "train" / "first__ratings.npy")
    assert (first.examples, first.puzzles, first.groups, first.mean_puzzle_examples) == (
        15,
        7,
        4,
        15 / 7,
    )
    assert first.input_counts == np.bincount(inputs.ravel(), minlength=7).tolist()
    assert first.label_counts == [0, *np.bincount(labels.ravel(), minlength=7)[1:].tolist()]
    assert first.ignored_share == pytest.approx((labels == 0).mean())
    assert first.rating_counts == {
        "0": (ratings == 0).sum(),
        "1-49": ((ratings > 0) & (ratings < 50)).sum(),
        "50-99": ((ratings >= 50) & (ratings < 100)).sum(),
        "100+": (ratings >= 100).sum(),
    }
    assert first.dtype == "uint8"
    assert first.bytes == sum(
        path.stat().st_size for path in (dataset / "train").glob("first__*.npy")
    )


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two chunks an example, a prefix and a picture, whose values differ between the splits."""
    splits = {}
    for split, brightest in (("train", 200), ("test", 90)):
        tokens = np.ones((6, 10), np.int64)
        images = np.linspace(7, brightest, 6 * 4 * 8).astype(np.uint8).reshape(6, 4, 8)
        examples = Examples(tokens, tokens, prefix_len=np.arange(6) % 4, images=images)
        splits[split] = {"all": [examples]}
    layout = Layout(vocab_size=4, seq_len=5, num_chunks=2)
    write_dataset(tmp_path / "pictures", layout, splits, {"task": "bright"})
    return tmp_path / "pictures"


@pytest.mark.parametrize("order", ["C", "F"])
def test_chunks_prefixes_and_images_are_described(
    pictures: Path, order: Literal["C", "F"], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "BLOCK_CELLS", 2 * 4 * 8)  # several blocks
    path = pictures / "test" / "all__images.npy"
    np.save(path, np.asarray(np.load(path), order=order))
    (pictures / "build.json").unlink()  # as others write them
    summary = summarize(Dataset(pictures))
    train, test = summary.splits["train"], summary.splits["test"]
    assert (train.num_chunks, train.sets["all"].prefix_len) == (2, [0, 3])
    assert train.sets["all"].images == ImagesSummary([4, 8], "uint8", [7, 200])
    assert test.sets["all"].images == ImagesSummary([4, 8], "uint8", [7, 90])
    record = summary.record()["splits"]["test"]
    assert (record["num_chunks"], record["sets"]["all"]["prefix_len"]) == (2, [0, 3])
    assert record["sets"]["all"]["images"] == {
        "size": [4, 8],
        "dtype": "uint8",
        "values": [7, 90],
    }


def test_published_data_is_described_as_before(dataset: Path) -> None:
    record = summarize(Dataset(dataset)).record()
    split = record["splits"]["train"]
    assert "num_chunks" not in split
    assert not {"prefix_len", "images"} & split["sets"]["first"].keys()


def test_labels_that_are_not_scored_are_not_counted(dataset: Path) -> None:
    path = dataset / "train" / "first__labels.npy"
    labels = np.load(path).astype(np.int32)
    np.save(path, np.where(labels == 1, -100, labels))
    (dataset / "build.json").unlink()
    first = summarize(Dataset(dataset)).splits["train"].sets["first"]
    assert first.label_counts == [0, 0, *np.bincount(labels.ravel(), minlength=7)[2:].tolist()]
    assert first.ignored_share == pytest.approx((labels < 2).mean())


def test_identifiers_in_several_groups_are_counted_without_the_blank_one(dataset: Path) -> None:
    np.save(
        dataset / "train" / "first__puzzle_identifiers.npy",
        np.array([1, 1, 0, 2, 0, 0, 2], np.int32),
    )  # groups of 2, 1, 1, 3
    (dataset / "build.json").unlink()
    summary = summarize(Dataset(dataset))
    assert summary.splits["train"].sets["first"].shared_identifiers == 1
    assert summary.remarks[0].startswith("puzzle identifiers in several groups of train: 1; ")


def test_summary_is_json(dataset: Path) -> None:
    summary = asdict(summarize(Dataset(dataset)))
    assert json.loads(json.dumps(summary)) == summary


def test_published_data_set_is_summarized(golden_dir: Path) -> None:
    summary = summarize(Dataset(golden_dir / "data_order" / "dataset"))
    train = summary.splits["train"].sets["all"]
    assert summary.task is None
    assert (train.examples, train.puzzles, train.groups, train.rating_counts) == (77, 23, 7, None)


@pytest.mark.parametrize("field", ["inputs", "labels"])
def test_every_token_is_looked_at(
    dataset: Path, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hrm_core.data.arrays.BLOCK_CELLS", 8)
    path = dataset / "train" / f"second__{field}.npy"
    tokens = np.load(path)
    tokens[-1, -1] = 200
    np.save(path, tokens)
    with pytest.raises(
        DataError, match=rf"second__{field}\.npy: row 14 holds 200, expected 0 to 6"
    ):
        summarize(Dataset(dataset))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            {"shared_tasks": {"a": 5}},
            r"build\.json: shared_tasks\.a: Input should be a valid list; build or copy the data set again$",
        ),
        ({"shared_tasks": [5]}, r"build\.json: shared_tasks: Input should be a valid dictionary"),
        ({"dropped_pairs": 5}, r"build\.json: dropped_pairs: Input should be a valid list"),
    ],
)
def test_damaged_list_of_what_was_left_out_is_one_line(
    dataset: Path, build: dict[str, object], message: str
) -> None:
    (dataset / "build.json").write_text(json.dumps(build))
    with pytest.raises(DataError, match=message):
        summarize(Dataset(dataset))


def test_bands_are_named_by_their_bounds() -> None:
    assert band_names([0, 1, 5, 20]) == ["0", "1-4", "5-19", "20+"]
    assert band_names([0]) == ["0+"]
