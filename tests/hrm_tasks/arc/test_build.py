import json
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hrm_core.data.store import Dataset, check, load_split
from hrm_core.errors import DataError
from hrm_core.tasks.contract import TokenArray
from hrm_core.tasks.registry import task_of_shape
from hrm_tasks.arc import build as arc_build
from hrm_tasks.arc import extend as arc_add
from hrm_tasks.arc.augment import augmented, parse_names, task_of
from hrm_tasks.arc.canvas import decode, encode, side_of, window
from hrm_tasks.arc.contents import Pair
from hrm_tasks.arc.options import Options
from hrm_tasks.arc.read import Source, read_source
from hrm_tasks.arc.task import Arc

Grid = list[list[int]]
Tasks = dict[str, Any]


def grid(rng: random.Random, most: int = 6) -> Grid:
    width = rng.randint(1, most)
    return [[rng.randint(0, 9) for _ in range(width)] for _ in range(rng.randint(1, most))]


def task(seed: int, num_train: int = 2, num_test: int = 1, most: int = 6) -> Tasks:
    rng = random.Random(seed)
    pairs = [
        {"input": grid(rng, most), "output": grid(rng, most)} for _ in range(num_train + num_test)
    ]
    return {"train": pairs[:num_train], "test": pairs[num_train:]}


def turned(pair: Tasks) -> Tasks:
    """A pair under one of its augmentations."""
    colours = np.array([0, 3, 2, 1, 9, 8, 7, 6, 5, 4], np.uint8)
    return {
        name: augmented(np.array(value, np.uint8), 3, colours).tolist()
        for name, value in pair.items()
    }


def save(folder: Path, tasks: dict[str, Tasks]) -> Path:
    for name, content in tasks.items():
        path = folder / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    tasks = {
        "training/a": task(1),
        "training/b": task(2, 3, 2, most=30),
        "evaluation/c": task(3, 4, 2),
        "evaluation/d": task(4, 1, 1),
    }
    return save(tmp_path / "arc", tasks)


def built(out: Path, paths: Sequence[Path], **options: Any) -> dict[str, Any]:
    """Build a data set. Returns: build.json."""
    arc_build.build(out, Options(tasks=tuple(paths), **options))
    record: dict[str, Any] = json.loads((out / "build.json").read_text())
    return record


def names_of(directory: Path) -> list[str]:
    names: list[str] = json.loads((directory / "identifiers.json").read_text())
    return names


def by_name(directory: Path, split: str) -> dict[str, list[tuple[TokenArray, TokenArray]]]:
    """The canvases of each puzzle."""
    names, (examples,) = names_of(directory), load_split(directory, split).sets.values()
    found: dict[str, list[tuple[TokenArray, TokenArray]]] = {}
    for puzzle, identifier in enumerate(examples.puzzle_identifiers):
        rows = range(*examples.puzzle_indices[puzzle : puzzle + 2])
        found.setdefault(names[identifier], []).extend(
            (np.asarray(examples.inputs[i]), np.asarray(examples.labels[i])) for i in rows
        )
    return found


def tree(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def visible(canvas: TokenArray) -> Grid:
    side = side_of(canvas)
    grid: Grid = (canvas.reshape(side, side)[window(canvas)] - np.uint8(2)).tolist()
    return grid


def pairs_of(pairs: tuple[Pair, ...], name: str) -> list[tuple[Grid, Grid]]:
    """What a puzzle of this name must hold, made one grid at a time."""
    _, (symmetries, colours) = parse_names([name])
    return [
        (
            augmented(pair.input, int(symmetries[0]), colours[0]).tolist(),
            augmented(pair.output, int(symmetries[0]), colours[0]).tolist(),
        )
        for pair in pairs
        if pair.output is not None
    ]


def test_puzzles_are_what_their_names_say(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build = built(out, [source], augment=40, seed=7)
    tasks = {task.name: task for task in read_source(source).tasks}
    for split in ("train", "test"):
        check(load_split(out, split))
        for name, canvases in by_name(out, split).items():
            own = tasks[task_of(name)]
            pairs = (
                own.tests
                if split == "test"
                else own.demonstrations
                if own.is_evaluation
                else own.pairs
            )
            assert [
                (visible(question), visible(answer)) for question, answer in canvases
            ] == pairs_of(pairs, name)
    assert build["train_examples"] == 41 * (3 + 5 + 4 + 1)
    assert build["test_examples"] == 41 * 3
    assert len(names_of(out)) == build["identifiers"] == 1 + 4 * 41
    written = json.loads((out / "build.json").read_text())
    assert written == build
    assert (
        written["task"],
        written["seed"],
        written["augment"],
        written["sources"][0]["tasks"],
    ) == ("arc", 7, 40, 4)


def test_training_pairs_are_shifted_together_but_for_one_and_test_pairs_are_not(
    source: Path, tmp_path: Path
) -> None:
    built(tmp_path / "out", [source], augment=200)
    moved = []
    for canvases in by_name(tmp_path / "out", "train").values():
        places = [tuple(part.start for part in window(question)) for question, _ in canvases]
        assert places == [tuple(part.start for part in window(answer)) for _, answer in canvases]
        assert (0, 0) in places
        moved += places
        for canvas in (canvas for pair in canvases for canvas in pair):
            assert_marked(canvas)
    rows, columns = (
        np.unique([place[0] for place in moved]),
        np.unique([place[1] for place in moved]),
    )
    assert min(len(rows), len(columns)) > 25  # the smallest grids may lie almost anywhere
    for canvases in by_name(tmp_path / "out", "test").values():
        for canvas in (canvas for pair in canvases for canvas in pair):
            np.testing.assert_array_equal(canvas, encode([decode(canvas)])[0])


def assert_marked(canvas: TokenArray) -> None:
    """The canvas holds its grid, end markers right below and beside it where there is room, and nothing else."""
    rows, columns = window(canvas)
    side = side_of(canvas)
    room = np.zeros((side + 1, side + 1), np.uint8)
    room[rows.stop, columns] = room[rows, columns.stop] = 1
    room[rows, columns] = canvas.reshape(side, side)[rows, columns]
    np.testing.assert_array_equal(room[:side, :side].reshape(-1), canvas)


@pytest.mark.parametrize("side", [6, 12])
def test_smaller_canvas_holds_the_same_puzzles_of_the_tasks_that_it_has_room_for(
    source: Path, tmp_path: Path, side: int
) -> None:
    build = built(tmp_path / "small", [source], canvas=side, augment=20, seed=7)
    built(tmp_path / "published", [source], augment=20, seed=7)
    assert (build["task_settings"], build["too_large"], list(build["tasks"])) == (
        {"canvas": side},
        ["b"],
        ["c", "d", "a"],
    )
    found = task_of_shape(12, side * side, Dataset(tmp_path / "small").label or "")
    assert isinstance(found, Arc)
    assert found.side == side
    for split in ("train", "test"):
        check(load_split(tmp_path / "small", split))
        small, published = (by_name(tmp_path / name, split) for name in ("small", "published"))
        assert small.keys() == {name for name in published if task_of(name) != "b"}
        for name, canvases in small.items():
            assert [list(map(visible, pair)) for pair in canvases] == [
                list(map(visible, pair)) for pair in published[name]
            ]
            for pair in canvases:
                places = [tuple(part.start for part in window(canvas)) for canvas in pair]
                assert places[0] == places[1]
                assert split == "train" or places[0] == (0, 0)
                for canvas in pair:
                    assert_marked(canvas)
    starts = [
        part.start
        for pairs in by_name(tmp_path / "small", "train").values()
        for question, _ in pairs
        for part in window(question)
    ]
    assert max(starts) > side / 2


def test_task_that_is_too_large_in_one_folder_is_left_out_of_all(tmp_path: Path) -> None:
    large = {**task(2), "test": [{"input": [[1] * 9], "output": [[1]]}]}
    source = save(
        tmp_path / "arc", {"evaluation/a": large, "training/a": task(2), "training/b": task(1)}
    )
    build = built(tmp_path / "out", [source], canvas=8, augment=2)
    assert (build["too_large"], list(build["tasks"]), build["shared_tasks"]) == (["a"], ["b"], {})


def test_published_canvas_holds_every_task_and_says_nothing_of_itself(
    source: Path, tmp_path: Path
) -> None:
    build = built(tmp_path / "out", [source], canvas=30, augment=2)
    assert not {"task_settings", "too_large", "subsample"} & build.keys()


def test_canvas_without_room_for_any_task_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"every task has a grid larger than 3x3; the smallest needs --canvas [4-6]$",
    ):
        built(tmp_path / "out", [source], canvas=3)


def test_subsample_is_drawn_by_the_seed_among_the_tasks_that_fit(
    source: Path, tmp_path: Path
) -> None:
    chosen = set()
    for seed in range(12):
        build = built(
            tmp_path / f"out{seed}", [source], canvas=6, subsample=2, augment=1, seed=seed
        )
        assert build["subsample"] == 2
        assert set(names_of(tmp_path / f"out{seed}")) >= build["tasks"].keys()
        chosen.add("".join(sorted(build["tasks"])))
    assert chosen == {"ac", "ad", "cd"}
    again = built(
        tmp_path / "again",
        [source / "evaluation", source / "training"],
        canvas=6,
        subsample=2,
        augment=1,
        seed=3,
    )
    assert sorted(again["tasks"]) == sorted(
        json.loads((tmp_path / "out3" / "build.json").read_text())["tasks"]
    )
    with pytest.raises(
        DataError, match="there are 3 tasks to choose from, fewer than --subsample 4; lower it"
    ):
        built(tmp_path / "out", [source], canvas=6, subsample=4)


def test_added_task_takes_the_canvas_of_the_data_set_or_is_refused(
    source: Path, tmp_path: Path
) -> None:
    extra = save(tmp_path / "extra", {"evaluation/e": task(20)})
    built(tmp_path / "whole", [source, extra], canvas=6, augment=5)
    built(tmp_path / "grown", [source], canvas=6, augment=5)
    before = tree(tmp_path / "grown")
    with pytest.raises(
        DataError,
        match=r"task x of large has no room on the canvas of .*grown, 6x6; leave it out, or .* --canvas 7$",
    ):
        arc_add.add(
            tmp_path / "grown",
            [
                save(
                    tmp_path / "large",
                    {"x": {**task(1), "test": [{"input": [[1] * 7], "output": [[1]]}]}},
                )
            ],
        )
    assert tree(tmp_path / "grown") == before
    build, _ = arc_add.add(tmp_path / "grown", [extra])
    assert (build["task_settings"], build["too_large"]) == ({"canvas": 6}, ["b"])
    for split in ("train", "test"):
        grown, whole = (by_name(tmp_path / name, split) for name in ("grown", "whole"))
        assert grown.keys() == whole.keys()
        for name in grown:
            np.testing.assert_array_equal(grown[name], whole[name])


def test_a_group_is_a_task_with_its_augmentations_under_the_same_identifiers_in_both_splits(
    source: Path, tmp_path: Path
) -> None:
    built(tmp_path / "out", [source], augment=10)
    names = names_of(tmp_path / "out")
    assert names[0] == "<blank>"
    assert len(set(names)) == len(names)
    train, test = (load_split(tmp_path / "out", split) for split in ("train", "test"))
    assert (train.metadata.total_groups, test.metadata.total_groups) == (4, 2)
    groups = {}
    for split in (train, test):
        examples = split.sets["all"]
        for start, end in zip(examples.group_indices[:-1], examples.group_indices[1:], strict=True):
            identifiers = examples.puzzle_identifiers[start:end].tolist()
            (task_name,) = {task_of(names[identifier]) for identifier in identifiers}
            assert names[identifiers[0]] == task_name
            assert groups.setdefault(task_name, identifiers) == identifiers
    assert sorted(groups) == ["a", "b", "c", "d"]
    assert train.metadata.mean_puzzle_examples == (3 + 5 + 4 + 1) / 4


def test_evaluation_outputs_never_reach_training(tmp_path: Path) -> None:
    """Sources leak in every way: a task in two of them, a pair under another name, turned and recoloured, or as a demonstration."""
    secret = task(10, 2, 2, most=12)
    other = task(11, 2, 1, most=12)
    first, second = secret["test"]
    sources = [
        save(
            tmp_path / "one",
            {
                "training/secret": secret,
                "training/copy": {**task(12), "train": [first, *task(12)["train"]]},
            },
        ),
        save(
            tmp_path / "two",
            {
                "evaluation/secret": secret,
                "evaluation/other": {**other, "train": [*other["train"], turned(second)]},
            },
        ),
        save(
            tmp_path / "three",
            {
                "secret": secret,
                "turned": {"train": [turned(first)], "test": [turned(second)]},
                "own": task(13),
            },
        ),
        save(
            tmp_path / "four" / "evaluation",
            {"shown": {"train": [second, *task(14)["train"]], "test": task(14)["test"]}},
        ),
        save(
            tmp_path / "five",
            {
                "evaluation/repeats": {
                    "train": [*task(15)["train"], task(15)["test"][0]],
                    "test": task(15)["test"],
                }
            },
        ),
    ]
    for order in (sources, sources[::-1]):
        out = tmp_path / f"out{order[0].name}"
        build = built(out, order, augment=300)
        trained = {
            tuple(map(str, map(visible, pair)))
            for pairs in by_name(out, "train").values()
            for pair in pairs
        }
        tested = {
            tuple(map(str, map(visible, pair)))
            for name, pairs in by_name(out, "test").items()
            for pair in pairs
        }
        assert len(tested) > 1200
        assert not trained & tested
        outputs = {answer for _, answer in trained}
        assert not any(str(pair["output"]) in outputs for pair in secret["test"])
        assert {task_of(name) for name in by_name(out, "train")} == {
            "secret",
            "copy",
            "other",
            "own",
            "shown",
            "repeats",
        }
        assert sorted(build["shared_tasks"]) == ["secret"]
        assert build["shared_tasks"]["secret"][0] == "two/evaluation"
        assert len(build["dropped_pairs"]) == 6
        assert "five/evaluation/repeats, pair 3: a test pair of repeats" in build["dropped_pairs"]


def test_leak_would_be_noticed(tmp_path: Path) -> None:
    """The control: without the guard the same sources do leak."""
    secret = task(10, 2, 1, most=12)
    first = save(tmp_path / "one", {"training/copy": {**task(12), "train": secret["test"]}})
    second = save(tmp_path / "two", {"evaluation/secret": secret})
    built(tmp_path / "trained", [first], augment=2)
    built(tmp_path / "tested", [second], augment=2)
    trained = {
        tuple(map(str, map(visible, pair)))
        for pairs in by_name(tmp_path / "trained", "train").values()
        for pair in pairs
    }
    tested = {
        tuple(map(str, map(visible, pair)))
        for pairs in by_name(tmp_path / "tested", "test").values()
        for pair in pairs
    }
    assert trained & tested


def test_demonstration_that_an_augmentation_turns_into_the_test_stays(tmp_path: Path) -> None:
    """As in 00576224 of ARC-AGI-1: the task itself shows it, and that is its author's business."""
    content = {"train": [turned(task(1)["test"][0])], "test": task(1)["test"]}
    build = built(tmp_path / "out", [save(tmp_path / "arc", {"evaluation/a": content})], augment=2)
    assert (build["dropped_pairs"], build["train_examples"]) == ([], 3)


def test_published_sources_build_and_share_nothing(data_dir: Path, tmp_path: Path) -> None:
    sources = [data_dir / "arc" / name for name in ("ARC-AGI-1.zip", "ConceptARC.zip")]
    build = built(tmp_path / "out", sources, augment=0)
    assert (build["train_examples"], build["test_examples"], build["identifiers"]) == (
        3328 + 1001 - 379 - 1,
        379,
        937,
    )
    assert build["dropped_pairs"] == [
        "ARC-AGI-1.zip/training/40853293, pair 3: a test pair of 070dd51e"
    ]
    both = built(tmp_path / "both", [*sources, data_dir / "arc" / "ARC-AGI-2.zip"], augment=0)
    assert len(both["shared_tasks"]) == 391 + 336 + 5
    assert both["namesakes"] == {
        "ac0c5833": ["ARC-AGI-1.zip/evaluation", "ARC-AGI-2.zip/training"]
    }  # a pair was mended
    assert not cornered(tmp_path / "both", "test") & cornered(tmp_path / "both", "train")


def cornered(directory: Path, split: str) -> set[bytes]:
    """The pairs of a split without end markers and shifts."""
    examples = load_split(directory, split).sets["all"]
    canvases = np.concatenate([examples.inputs, examples.labels], axis=1).reshape(-1, 2, 30, 30)
    canvases[canvases == 1] = 0
    top, left = (canvases.any(axis=(1, axis)).argmax(axis=1) for axis in (3, 2))
    return {
        np.roll(pair, (-row, -column), (1, 2)).tobytes()
        for pair, row, column in zip(canvases, top, left, strict=True)
    }


def test_seed_decides_everything(source: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        built(tmp_path / name, [source], augment=5, seed=seed)
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert Dataset(tmp_path / "a").sha256 != Dataset(tmp_path / "c").sha256


def test_output_that_is_not_known_is_ignored_in_the_test(tmp_path: Path) -> None:
    content = {"train": task(1)["train"], "test": [{"input": [[1, 2]]}]}
    built(tmp_path / "out", [save(tmp_path / "arc", {"evaluation/a": content})], augment=3)
    examples = load_split(tmp_path / "out", "test").sets["all"]
    assert (np.asarray(examples.labels) == 0).all()
    assert [visible(np.asarray(examples.inputs[0]))] == [[[1, 2]]]


def test_task_added_later_is_the_one_a_build_of_everything_makes(
    source: Path, tmp_path: Path
) -> None:
    extra = save(tmp_path / "extra", {"more/e": task(20), "evaluation/f": task(21, 2, 2)})
    whole = built(tmp_path / "whole", [source, extra], augment=30, seed=5)
    built(tmp_path / "grown", [source], augment=30, seed=5)
    before = names_of(tmp_path / "grown")
    told: list[str] = []
    build, _ = arc_add.add(tmp_path / "grown", [extra], told.append)
    assert told == ["f", "e", "f"]
    assert names_of(tmp_path / "grown")[: len(before)] == before
    assert sorted(names_of(tmp_path / "grown")) == sorted(names_of(tmp_path / "whole"))
    for split in ("train", "test"):
        check(load_split(tmp_path / "grown", split))
        grown, at_once = (by_name(tmp_path / name, split) for name in ("grown", "whole"))
        assert grown.keys() == at_once.keys()
        for name in grown:
            np.testing.assert_array_equal(grown[name], at_once[name])
    assert build["tasks"] == whole["tasks"]
    assert build["train_examples"] == whole["train_examples"]
    assert [source["name"] for source in build["sources"]] == ["arc", "extra"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["arc", "extra", "grown", "whole"]


def test_adding_repeats_with_equal_bytes_and_brings_the_first_test_split(
    source: Path, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        built(tmp_path / name, [source / "training"], augment=4)
        assert not (tmp_path / name / "test").exists()
        arc_add.add(tmp_path / name, [source / "evaluation"])
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert load_split(tmp_path / "a", "test").metadata.total_groups == 2


def test_old_examples_are_copied_in_blocks(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built(tmp_path / "out", [source], augment=4)
    examples = load_split(tmp_path / "out", "train").sets["all"]
    monkeypatch.setattr(arc_add, "BLOCK_EXAMPLES", 30)
    blocks = list(arc_add.copied(examples))
    assert [len(block.inputs) for block in blocks] == [20 + 5, 15, 25]
    np.testing.assert_array_equal(
        np.concatenate([block.labels for block in blocks]), examples.labels
    )
    np.testing.assert_array_equal(
        np.concatenate(
            [block.puzzle_identifiers for block in blocks if block.puzzle_identifiers is not None]
        ),
        examples.puzzle_identifiers,
    )


def test_added_task_that_would_spoil_the_test_is_refused_or_dropped(
    source: Path, tmp_path: Path
) -> None:
    built(tmp_path / "out", [source], augment=3)
    before = tree(tmp_path / "out")
    same_name = save(tmp_path / "x1", {"evaluation/a": task(1)})
    with pytest.raises(
        DataError,
        match=r"task a of x1/evaluation is trained on already, from arc/training, and cannot be tested; build",
    ):
        arc_add.add(tmp_path / "out", [same_name])
    same_pair = save(
        tmp_path / "x2",
        {"evaluation/new": {"train": task(30)["train"], "test": [turned(task(1)["train"][0])]}},
    )
    with pytest.raises(
        DataError,
        match="a test pair of task new is trained on already, in task a; build the data set anew",
    ):
        arc_add.add(tmp_path / "out", [same_pair])
    with pytest.raises(DataError, match=r"out holds every task of .*arc already; name others"):
        arc_add.add(tmp_path / "out", [source])
    assert tree(tmp_path / "out") == before
    leak = save(
        tmp_path / "x3",
        {"fine": {"train": [turned(task(3, 4, 2)["test"][0])], "test": task(31)["test"]}},
    )
    build, left_out = arc_add.add(tmp_path / "out", [leak])
    assert (
        build["dropped_pairs"] == left_out["dropped_pairs"] == ["x3/fine, pair 1: a test pair of c"]
    )
    with pytest.raises(DataError, match=r"out holds every task of .*x3 already; name others"):
        arc_add.add(tmp_path / "out", [leak])  # the same task, though a pair of it was dropped


def write_text(path: Path, text: str) -> None:
    path.write_text(text)


def change_build(directory: Path, **changes: object) -> None:
    path = directory / "build.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def spoil_name(directory: Path) -> None:
    names = names_of(directory)
    (directory / "identifiers.json").write_text(
        json.dumps([names[0], f"{names[1][0]}\ud800", *names[2:]])
    )


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda out: (out / "build.json").unlink(),
            "out is a data set of an unknown task, expected arc; only those that `hrm data arc` made",
        ),
        (lambda out: write_text(out / "build.json", "[]"), "build.json is not a JSON object"),
        (
            lambda out: write_text(out / "build.json", '{"task": "arc"}'),
            "build.json: seed: Field required",
        ),
        (
            lambda out: write_text(out / "build.json", '{"task": "sudoku", "layout": 1}'),
            "out is a data set of sudoku, expected arc; only",
        ),
        (lambda out: write_text(out / "build.json", "?"), "build.json is not a JSON object"),
        (
            lambda out: change_build(out, shared_tasks=[5]),
            "build.json: shared_tasks: Input should be a valid dictionary; expected a data",
        ),
        (
            lambda out: change_build(out, shared_tasks={"a": 5}),
            "build.json: shared_tasks.a: Input should be a valid list",
        ),
        (
            lambda out: change_build(out, dropped_pairs=5),
            "build.json: dropped_pairs: Input should be a valid list",
        ),
        (
            lambda out: change_build(out, task_settings=[1, 2]),
            "build.json: task_settings: Input should be",
        ),
        (
            lambda out: change_build(out, mine="\ud800"),
            "build.json is damaged ('utf-8' codec can't encode character '\\ud800'",
        ),
        (
            lambda out: change_build(out, tasks={}),
            "identifiers.json has 17 names, expected 1; build or copy the data set again",
        ),
        (
            lambda out: spoil_name(out),
            "identifiers.json holds 'c\\ud800', expected names of tasks; build or copy the data set again",
        ),
        (
            lambda out: write_text(out / "identifiers.json", "[]"),
            "identifiers.json is no list of names",
        ),
        (lambda out: (out / "train" / "all__labels.npy").unlink(), "all__labels.npy is missing"),
    ],
)
def test_adding_to_what_is_no_arc_data_set_is_one_line(
    source: Path, tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    built(tmp_path / "out", [source], augment=3)
    spoil(tmp_path / "out")
    before = tree(tmp_path / "out")
    with pytest.raises(DataError) as refused:
        arc_add.add(tmp_path / "out", [save(tmp_path / "x", {"new": task(40)})])
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert tree(tmp_path / "out") == before


def test_adding_that_is_interrupted_leaves_the_data_set_as_it_was(
    source: Path, tmp_path: Path
) -> None:
    built(tmp_path / "out", [source], augment=3)
    before = tree(tmp_path / "out")

    def interrupt(name: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        arc_add.add(tmp_path / "out", [save(tmp_path / "x", {"new": task(40)})], interrupt)
    assert tree(tmp_path / "out") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["arc", "out", "x"]


def test_data_set_of_a_process_killed_between_two_renames_is_found(
    source: Path, tmp_path: Path
) -> None:
    built(tmp_path / "out", [source], augment=3)
    (tmp_path / "out").rename(tmp_path / ".out.hrm-replaced")
    arc_add.add(tmp_path / "out", [save(tmp_path / "x", {"new": task(40)})])
    assert load_split(tmp_path / "out", "train").metadata.total_groups == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["arc", "out", "x"]


def test_data_set_in_the_work_folder_of_a_killed_process_is_found(
    source: Path, tmp_path: Path
) -> None:
    built(tmp_path / "out", [source], augment=3)
    room = tmp_path / ".out.hrm-partial"
    room.mkdir()
    (room / ".hrm-work").touch()
    (tmp_path / "out").rename(room / ".hrm-replaced")
    arc_add.add(tmp_path / "out", [save(tmp_path / "x", {"new": task(40)})])
    assert load_split(tmp_path / "out", "train").metadata.total_groups == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["arc", "out", "x"]


@pytest.mark.parametrize("name", [".out.hrm-partial", ".out.hrm-replaced"])
def test_adding_follows_no_link(source: Path, tmp_path: Path, name: str) -> None:
    built(tmp_path / "out", [source], augment=3)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    (tmp_path / name).symlink_to(tmp_path / "mine")
    before = tree(tmp_path / "out")
    new = [save(tmp_path / "x", {"new": task(40)})]
    if name == ".out.hrm-partial":
        with pytest.raises(DataError, match="no work folder of hrm; rename or remove it, or"):
            arc_add.add(tmp_path / "out", new)
        assert tree(tmp_path / "out") == before
    else:
        arc_add.add(tmp_path / "out", new)
    assert (tmp_path / name).is_symlink()
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_two_that_add_to_one_data_set_do_not_lose_tasks(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built(tmp_path / "out", [source], augment=3)
    first, second = (
        save(tmp_path / name, {name: task(seed)}) for name, seed in (("first", 40), ("second", 41))
    )

    def read_while_another_adds(path: Path) -> Source:
        if path == first:
            with pytest.raises(
                DataError,
                match=r"\.out\.hrm-partial is being written by another process; wait for it or choose another",
            ):
                arc_add.add(tmp_path / "out", [second])
        return read_source(path)

    monkeypatch.setattr(arc_add, "read_source", read_while_another_adds)
    arc_add.add(tmp_path / "out", [first])
    build, _ = arc_add.add(tmp_path / "out", [second])
    assert {"first", "second"} < build["tasks"].keys()
    assert {"first", "second"} < set(names_of(tmp_path / "out"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["arc", "first", "out", "second"]


def test_lock_of_a_directory_that_was_just_put_elsewhere_is_none(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when another process ends, and a third one begins, between opening and locking."""
    built(tmp_path / "out", [source], augment=3)
    partial = tmp_path / ".out.hrm-partial"

    def be_late(lock: int, how: int) -> None:
        partial.rename(tmp_path / "elsewhere")
        (partial / "of the third").mkdir(parents=True)

    monkeypatch.setattr("fcntl.flock", be_late)
    with pytest.raises(DataError, match="is being written by another process"):
        arc_add.add(tmp_path / "out", [save(tmp_path / "x", {"new": task(40)})])
    assert [path.name for path in partial.iterdir()] == ["of the third"]


def test_adding_to_what_is_not_there_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"deep/gone is no directory; expected a data set made by `hrm data arc`"
    ):
        arc_add.add(tmp_path / "deep" / "gone", [tmp_path])
    assert list(tmp_path.iterdir()) == []


def test_adding_where_nothing_can_be_written_is_one_line(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built(tmp_path / "out", [source], augment=3)
    before = tree(tmp_path / "out")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(DataError, match=r"was not written: .*Permission denied"):
        arc_add.add(tmp_path / "out", [save(tmp_path / "x", {"new": task(40)})])
    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(DataError, match=r"out was not added to: .*Permission denied"):
        arc_add.add(tmp_path / "out", [tmp_path / "x"])
    assert tree(tmp_path / "out") == before


def test_same_name_with_other_contents_is_told_from_the_same_task(tmp_path: Path) -> None:
    """ "same" stands in four folders: in the first two alike, in the others not."""
    one, two, three, four = (
        save(tmp_path / name, {"same": task(seed)})
        for name, seed in zip(("1", "2", "3", "4"), (1, 1, 2, 3), strict=True)
    )
    build = built(tmp_path / "out", [one, two, three], augment=2)
    assert (build["shared_tasks"], build["namesakes"]) == (
        {"same": ["1", "2"]},
        {"same": ["1", "3"]},
    )
    with pytest.raises(
        DataError,
        match=r"^task same of 4 has other contents than the one that .*out holds, from 1, and no other .*; rename its file$",
    ):
        arc_add.add(tmp_path / "out", [two, four])
    with pytest.raises(DataError, match=r"out holds every task of .*2 already; name others"):
        arc_add.add(tmp_path / "out", [two])
    for number, folders in enumerate((["1", "3", "4"], ["1", "3", "4"])):
        save(four, {f"new{number}": task(10 + number)})
        build, left_out = arc_add.add(tmp_path / "out", [one, two, four])
        assert left_out["namesakes"] == {"same": ["1", "4"]}  # told each time
        assert (build["shared_tasks"]["same"], build["namesakes"]["same"]) == (["1", "2"], folders)


@pytest.mark.parametrize("is_first", [False, True])
def test_task_without_its_solution_is_the_same_task(tmp_path: Path, is_first: bool) -> None:
    whole = task(1)
    asked = {**whole, "test": [{"input": pair["input"]} for pair in whole["test"]]}
    sources = [
        save(tmp_path / name, {"evaluation/a": content})
        for name, content in (("x", whole), ("y", asked))
    ]
    first, second = sources[::-1] if is_first else sources
    build = built(tmp_path / "out", [first, second], augment=2)
    assert (list(build["shared_tasks"]), build["namesakes"]) == (["a"], {})
    built(tmp_path / "alone", [first], augment=2)
    with pytest.raises(DataError, match="already; name others"):
        arc_add.add(tmp_path / "alone", [second])


def test_task_whose_pairs_are_all_tested_is_not_said_to_be_held(tmp_path: Path) -> None:
    tested = task(1)
    built(tmp_path / "out", [save(tmp_path / "x", {"evaluation/a": tested})], augment=2)
    leak = save(tmp_path / "y", {"b": {"train": tested["test"], "test": tested["test"]}})
    with pytest.raises(
        DataError,
        match=r"every new pair is in the test of .*, as y/b, pair 1: a test pair of a; name other tasks",
    ):
        arc_add.add(tmp_path / "out", [leak])


def test_evaluation_task_is_taken_before_another_of_its_name(tmp_path: Path) -> None:
    sources = [
        save(tmp_path / name, {place: task(seed)})
        for name, place, seed in (("x", "a", 1), ("y", "evaluation/a", 2), ("z", "a", 2))
    ]
    build = built(tmp_path / "out", sources, augment=2)
    assert (build["shared_tasks"], build["namesakes"]) == (
        {"a": ["y/evaluation", "z"]},
        {"a": ["y/evaluation", "x"]},
    )
    assert build["tasks"]["a"]["evaluation"]
    built(tmp_path / "trained", sources[:1], augment=2)
    with pytest.raises(
        DataError,
        match=r"^task a of y/evaluation has other contents than the one of x that is trained on already; rename",
    ):
        arc_add.add(tmp_path / "trained", sources[1:2])


def test_folder_that_is_not_utf8_is_escaped(tmp_path: Path) -> None:
    source = save(tmp_path / os.fsdecode(b"s\xff"), {os.fsdecode(b"f\xff/a"): task(1)})
    build = built(tmp_path / "out", [source], augment=2)
    assert (build["tasks"]["a"]["folder"], build["sources"][0]["name"]) == (
        r"s\xff/f\xff",
        r"s\xff",
    )
    assert json.loads((tmp_path / "out" / "build.json").read_text(encoding="utf-8")) == build


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"task_settings": [1, 2]},
            "build.json: task_settings is [1, 2], expected a JSON object; build or copy the data set again",
        ),
        ({"task_settings": "x"}, 'build.json: task_settings is "x", expected a JSON object'),
        ({"task_settings": 5}, "build.json: task_settings is 5, expected a JSON object"),
        (
            {"task": "sudoku\ud800"},
            r"build.json: task is 'sudoku\ud800', expected the name of one; build or copy the data set again",
        ),
    ],
)
def test_damaged_task_of_a_data_set_is_one_line(
    source: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    built(tmp_path / "out", [source], augment=2)
    change_build(tmp_path / "out", **changes)
    with pytest.raises(DataError) as refused:
        Dataset(tmp_path / "out").label  # noqa: B018 - read at this moment
    assert message in str(refused.value)


def test_label_whose_settings_are_no_object_is_of_no_task() -> None:
    assert task_of_shape(12, 900, "arc [1, 2]") is None
    assert repr(task_of_shape(12, 900, "arc")) == "Arc(30)"
