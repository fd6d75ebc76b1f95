import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hrm_core.data.batches import TrainingOrder, evaluation_batches
from hrm_core.data.store import ExampleSet, check, load_split
from hrm_core.errors import DataError
from hrm_tasks.grids import build as grids_build
from hrm_tasks.grids.options import Options
from hrm_tasks.grids.task import Grids

Record = dict[str, Any]


def jsonl(path: Path, examples: Sequence[Record]) -> Path:
    path.write_text("".join(json.dumps(example) + "\n" for example in examples))
    return path


def squares(count: int, size: int = 3, **more: Any) -> list[Record]:
    """Different grids, the answer with a and b changed places."""
    grids = [
        "".join("ab"[number >> cell & 1] for cell in range(size * size)) for number in range(count)
    ]
    rows = [[grid[row * size : (row + 1) * size] for row in range(size)] for grid in grids]
    return [
        {"input": each, "output": [row.translate({97: 98, 98: 97}) for row in each], **more}
        for each in rows
    ]


def task_of(record: Mapping[str, Any]) -> Grids:
    alphabet, height, width = (
        record["task_settings"][key] for key in ("alphabet", "height", "width")
    )
    task = Grids.for_shape(len(alphabet) + 2, height * width, record["task_settings"])
    assert task is not None
    return task


def written(out: Path, split: str) -> ExampleSet:
    loaded = load_split(out, split)
    check(loaded)
    return loaded.sets["all"]


def built(out: Path, source: Path, **options: Any) -> Mapping[str, Any]:
    return grids_build.build(out, Options(source=source, **options)).record


def refusal(out: Path, *arguments: Any, **options: Any) -> str:
    with pytest.raises(DataError) as refused:
        built(out, *arguments, **options)
    assert not out.exists()
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_share_is_drawn_for_the_test_and_everything_is_recorded(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "mine.jsonl", squares(40))
    record = built(tmp_path / "out", source, seed=3)
    assert json.loads((tmp_path / "out" / "build.json").read_text()) == record
    assert record["task_settings"] == {
        "alphabet": "ab",
        "height": 3,
        "width": 3,
        "rating_bands": [0],
        "symmetric": False,
    }
    assert (
        record["train_examples"],
        record["test_examples"],
        record["test_questions_in_training"],
    ) == (36, 4, 0)
    assert record["sources"]["train"]["examples"] == 40
    task = task_of(record)
    parts = [written(tmp_path / "out", split) for split in ("train", "test")]
    found = [bytes(row) for part in parts for row in part.inputs]
    assert sorted(found) == sorted(
        map(bytes, task.parse("\n\n".join("\n".join(each["input"]) for each in squares(40))))
    )
    for part in parts:
        np.testing.assert_array_equal(part.inputs + part.labels, np.full_like(part.inputs, 5))
        assert part.ratings is None
    assert load_split(tmp_path / "out", "train").metadata.ignore_label_id is None


def test_same_command_gives_the_same_bytes_and_another_seed_another_split(tmp_path: Path) -> None:
    source = jsonl(
        tmp_path / "mine.jsonl", squares(30, name="p") + squares(30, size=2, name="q")[:16]
    )
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        built(tmp_path / name, source, augment=3, seed=seed)
    first, second, other = (
        {
            str(path.relative_to(tmp_path / name)): path.read_bytes()
            for path in (tmp_path / name).rglob("*.*")
        }
        for name in "abc"
    )
    assert first == second
    assert first["test/all__inputs.npy"] != other["test/all__inputs.npy"]


def test_every_cell_around_a_grid_is_scored(tmp_path: Path) -> None:
    built(
        tmp_path / "out",
        jsonl(tmp_path / "mine.jsonl", [*squares(20), *squares(4, size=1)]),
        test_share=0.5,
    )
    batch = next(iter(evaluation_batches(load_split(tmp_path / "out", "test"), 11)))
    assert batch.labels.min() >= 1
    assert (batch.labels == 1).any()
    assert next(TrainingOrder(load_split(tmp_path / "out", "train"), 8, seed=0)).labels.min() >= 1


@pytest.mark.parametrize("size", [None, (5, 7)])
def test_views_of_unnamed_examples_are_puzzles_of_one_group(
    tmp_path: Path, size: tuple[int, int] | None
) -> None:
    augment = 3 if size else 7
    record = built(
        tmp_path / "out",
        jsonl(tmp_path / "mine.jsonl", squares(20)),
        augment=augment,
        max_size=size,
    )
    examples, task = written(tmp_path / "out", "train"), task_of(record)
    copies = augment + 1
    assert (len(examples), record["train_examples"], record["train_originals"]) == (
        18 * copies,
        18 * copies,
        18,
    )
    assert np.diff(examples.group_indices).tolist() == [copies] * 18
    assert not examples.puzzle_identifiers.any()
    views = np.tile(np.array(task.canvas.views), 18)
    for tokens in (examples.inputs, examples.labels):
        np.testing.assert_array_equal(
            tokens, task.canvas.turn(np.repeat(tokens[::copies], copies, axis=0), views)
        )
    assert task.symmetric == (size is None)
    assert len(written(tmp_path / "out", "test")) == 2


def test_named_examples_share_identifiers_and_each_view_has_its_own(tmp_path: Path) -> None:
    train = jsonl(
        tmp_path / "train.jsonl",
        [*squares(4, name="p"), *squares(3), *squares(5, size=2, name="q")],
    )
    test = jsonl(
        tmp_path / "test.jsonl",
        [*squares(6, name="q")[5:], *squares(7, name="new")[6:], *squares(8)[7:]],
    )
    record = built(tmp_path / "out", train, test=test, augment=2)
    names = json.loads((tmp_path / "out" / "identifiers.json").read_text())
    assert [name.partition("_t")[0] for name in names] == [
        "<blank>",
        "p",
        "p",
        "p",
        "q",
        "q",
        "q",
        "new",
    ]
    assert (names[1], names[4]) == ("p", "q")
    examples, task = written(tmp_path / "out", "train"), task_of(record)
    assert examples.puzzle_identifiers.tolist() == [1, 2, 3, *[0] * 9, 4, 5, 6]
    assert np.diff(examples.puzzle_indices).tolist() == [4, 4, 4, *[1] * 9, 5, 5, 5]
    assert np.diff(examples.group_indices).tolist() == [3] * 5
    for number in (2, 3, 5, 6):
        first = {2: 0, 3: 0, 5: 12, 6: 12}[number]
        start, end = examples.puzzle_indices[
            [examples.puzzle_identifiers.tolist().index(number) + i for i in (0, 1)]
        ]
        original = examples.puzzle_indices[first]
        view = np.full(end - start, int(names[number][-1]))
        np.testing.assert_array_equal(
            examples.labels[start:end],
            task.canvas.turn(examples.labels[original:][: end - start], view),
        )
    assert written(tmp_path / "out", "test").puzzle_identifiers.tolist() == [4, 7, 0]
    assert record["names_only_in_test"] == ["new"]
    assert (record["puzzle_names"], record["identifiers"], task.symmetric) == (3, 8, False)


def test_blocks_do_not_change_what_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = jsonl(
        tmp_path / "mine.jsonl", [*squares(50), *squares(9, name="p"), *squares(16, size=2)]
    )
    built(tmp_path / "a", source, augment=5)
    monkeypatch.setattr(grids_build, "BLOCK_CELLS", 100)
    built(tmp_path / "b", source, augment=5)
    for path in (tmp_path / "a").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


def test_repeats_are_dropped_and_doubtful_questions_counted(tmp_path: Path) -> None:
    examples = squares(10)
    other = {**examples[3], "output": "a"}
    train = jsonl(
        tmp_path / "train.jsonl",
        [*examples, examples[0], other, {**examples[4], "name": "p", "output": "b"}],
    )
    turned = {
        "input": ["baa", "aaa", "aaa"],
        "output": ["c"],
    }  # a view of the second training example
    test = jsonl(tmp_path / "test.jsonl", [*examples[5:7], turned, *squares(20)[19:]])
    record = built(tmp_path / "out", train, test=test, augment=7)
    assert (
        record["repeats_dropped"],
        record["questions_with_several_answers"],
        record["test_questions_in_training"],
    ) == (1, 1, 3)
    assert record["characters_only_in_test"] == "c"
    assert (
        built(tmp_path / "plain", train, test=test)["test_questions_in_training"] == 3
    )  # aab of example 1 is baa of none, but of 4
    assert (record["train_originals"], record["test_examples"], record["test_share"]) == (
        12,
        4,
        None,
    )


@pytest.mark.parametrize(
    ("ratings", "bands"),
    [
        (range(3), [0, 1, 2]),
        ([5, 6, 6], [0, 6]),
        ([7], [0]),
        (range(100), [0, 25, 50, 75]),
        ([0] * 99 + list(range(30)), [0, 1]),
    ],
    ids=["few", "two", "one", "many", "most are 0"],
)
def test_rating_bands_split_the_examples(
    tmp_path: Path, ratings: Sequence[int], bands: list[int]
) -> None:
    examples = [
        {**each, "rating": rating}
        for each, rating in zip(squares(len(ratings)), ratings, strict=True)
    ]
    record = built(tmp_path / "out", jsonl(tmp_path / "mine.jsonl", examples), test_share=0)
    assert record["task_settings"]["rating_bands"] == bands
    assert written(tmp_path / "out", "train").ratings.tolist() == list(ratings)  # type: ignore[union-attr]
    assert not (tmp_path / "out" / "test").exists()


def test_refusals_name_the_place_and_the_way_out(tmp_path: Path) -> None:
    out, source = (
        tmp_path / "out",
        jsonl(tmp_path / "mine.jsonl", [*squares(4), {"input": ["aaaa"], "output": ["b"]}]),
    )
    message = refusal(out, source, max_size=(3, 3))
    assert (
        message
        == f"{source}:5: the input has 1 rows of 4 characters, --max-size is 3 3; raise it or leave it out"
    )
    assert (
        "augment=4; grids on a canvas of 3x4 have 3 other views, so use 0 to 3, or make it a square with --max-size 4 4"
        in refusal(out, source, augment=4)
    )
    assert "mine.jsonl: a canvas of 500x500 has 250,000 cells" in refusal(
        out, source, max_size=(500, 500)
    )
    many = [{"input": chr(0x4E00 + number), "output": "a"} for number in range(254)]
    assert "many.jsonl: 255 different characters; expected at most 254" in refusal(
        out, jsonl(tmp_path / "many.jsonl", many)
    )
    single = jsonl(tmp_path / "one.jsonl", squares(1) * 5)
    assert (
        "one.jsonl: 1 different examples, too few to test with 1; give --test or a smaller --test-share"
        in refusal(out, single)
    )
    taken = jsonl(
        tmp_path / "taken.jsonl",
        [
            *squares(3, name="p"),
            *(each for view in range(8) for each in squares(3, name=f"p_t{view}")),
        ],
    )
    assert "a view of a puzzle would be named 'p_t" in refusal(out, taken, augment=7, test_share=0)
    assert built(out, taken, test_share=0)["identifiers"] == 10


def test_data_is_not_written_over(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "mine.jsonl", squares(4))
    with pytest.raises(DataError, match="is not empty"):
        built(tmp_path, source)


@settings(
    deadline=None,
    derandomize=True,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "input": st.text("ab\n ", min_size=1, max_size=5),
                "output": st.text("aé", min_size=1, max_size=3),
            },
            optional={"name": st.sampled_from(["", "p", "q", "p_t2"])},
        ),
        max_size=8,
    ),
    st.integers(0, 7),
    st.floats(0, 0.99),
)
def test_whatever_is_read_is_built_or_refused_whole(
    tmp_path_factory: pytest.TempPathFactory, examples: list[Record], augment: int, share: float
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    try:
        record = built(
            folder / "out",
            jsonl(folder / "mine.jsonl", examples),
            augment=augment,
            test_share=share,
        )
    except DataError as error:
        refused = str(error)
    else:
        assert len(written(folder / "out", "train")) == record["train_examples"]
        return
    assert len(refused.splitlines()) == 1
    assert [path.name for path in folder.iterdir()] == ["mine.jsonl"]
