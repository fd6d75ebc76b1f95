"""Task files of others: all tasks in one JSON, lists of pairs, and what lies about beside them."""

import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrm_core.data import sources
from hrm_core.data.store import Dataset
from hrm_core.errors import DataError, PuzzleError
from hrm_tasks.arc import read as arc_read
from hrm_tasks.arc.build import build
from hrm_tasks.arc.canvas import decode
from hrm_tasks.arc.options import Options
from hrm_tasks.arc.read import Source, read_source
from hrm_tasks.arc.task import Arc

TRAIN = [{"input": [[1, 2]], "output": [[2], [1]]}]
OPEN = {"train": TRAIN, "test": [{"input": [[0]]}, {"input": [[5, 6]]}]}
SOLUTIONS = [[[3]], [[6, 5]]]
SOLVED = {
    "train": TRAIN,
    "test": [{"input": [[0]], "output": [[3]]}, {"input": [[5, 6]], "output": [[6, 5]]}],
}
CHALLENGES, ANSWERS = "x_challenges.json", "x_solutions.json"


def save(folder: Path, files: dict[str, Any]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def outputs(source: Source) -> dict[str, list[Any]]:
    return {
        task.name: [None if pair.output is None else pair.output.tolist() for pair in task.tests]
        for task in source.tasks
    }


def as_zip(folder: Path, path: Path, separator: str = "/") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.json")):
            name = file.relative_to(folder).as_posix().replace("/", separator)
            archive.writestr(name, file.read_text())
    return path


def test_challenges_are_joined_with_the_solutions_beside_them(cases_dir: Path) -> None:
    kaggle = cases_dir / "arc_tasks" / "kaggle"
    solved = {
        "aa000001": [[[0, 0, 1], [0, 1, 0], [1, 0, 0]]],
        "aa000002": [[[2, 2], [1, 1]], [[0, 5], [5, 0]]],
    }
    for kind, is_evaluation in (("training", False), ("evaluation", True)):
        source = read_source(kaggle / f"arc-agi_{kind}_challenges.json")
        assert outputs(source) == solved
        assert {task.is_evaluation for task in source.tasks} == {is_evaluation}
        assert source.skipped == ()
    whole = read_source(kaggle)
    assert [task.name for task in whole.tasks] == ["aa000001", "aa000002"] * 2
    assert whole.skipped == ("kaggle/sample_submission.json",)


def test_list_of_pairs_is_trained_whole(cases_dir: Path) -> None:
    source = read_source(cases_dir / "arc_tasks" / "rearc")
    (task,) = source.tasks
    assert (task.name, len(task.demonstrations), task.tests) == ("aa000003", 5, ())
    assert (task.is_evaluation, source.skipped) == (False, ("rearc/re_arc/metadata.json",))


def test_zip_with_backslashes_has_folders(cases_dir: Path, tmp_path: Path) -> None:
    (task,) = read_source(cases_dir / "arc_tasks" / "backslash.zip").tasks
    assert (task.name, task.folder) == ("aa000001", "backslash.zip/training")
    folder = save(tmp_path / "x", {"evaluation/deep/a.json": OPEN})
    (task,) = read_source(as_zip(folder, tmp_path / "x.zip", "\\")).tasks
    assert (task.name, task.is_evaluation) == ("a", True)


@pytest.mark.parametrize("name", ["..\\a.json", "\\a.json", "C:\\a.json", "x\\..\\..\\a.json"])
def test_backslashes_do_not_lead_out_of_a_zip(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(name, json.dumps(SOLVED))
    with pytest.raises(DataError, match="leads out of it"):
        read_source(tmp_path / "x.zip")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["mine-Evaluation-challenges", "arc_evaluation2_challenges_v2"])
def test_name_of_a_challenges_file_says_what_is_measured(
    tmp_path: Path, name: str, packed: bool
) -> None:
    files = {
        f"{name}.json": {"a": OPEN, "b": OPEN},
        f"{name.replace('challenges', 'solutions')}.json": {"a": SOLUTIONS},
    }
    place = save(tmp_path / "x", files)
    source = read_source(as_zip(place, tmp_path / "x.zip") if packed else place)
    assert outputs(source) == {"a": SOLUTIONS, "b": [None, None]}
    assert [(task.is_evaluation, task.is_only_asked) for task in source.tasks] == [
        (True, False)
    ] * 2


def test_folder_of_evaluation_may_have_capitals(tmp_path: Path) -> None:
    place = save(tmp_path / "x", {"Evaluation/a.json": SOLVED, "Training/b.json": SOLVED})
    measured = {task.name: task.is_evaluation for task in read_source(place).tasks}
    assert measured == {"a": True, "b": False}


def test_tasks_with_outputs_of_their_own_need_no_solutions(tmp_path: Path) -> None:
    place = save(tmp_path, {"all.json": {"a": SOLVED, "b": SOLVED}})
    for source in (read_source(place / "all.json"), read_source(place)):
        assert outputs(source) == {"a": SOLUTIONS, "b": SOLUTIONS}
        assert not any(task.is_evaluation for task in source.tasks)


def test_list_of_named_tasks_is_read(tmp_path: Path) -> None:
    tasks = [{"id": "a", **OPEN}, {"task_id": "b", **OPEN}, {"name": "c", **SOLVED}]
    place = save(tmp_path / "x", {CHALLENGES: tasks, ANSWERS: {"a": SOLUTIONS}})
    source = read_source(place)
    assert outputs(source) == {"a": SOLUTIONS, "b": [None, None], "c": SOLUTIONS}
    questions = Arc(30).questions(json.dumps(tasks), "x")
    assert [question.name for question in questions] == ["a", "a", "b", "b", "c", "c"]
    for damaged, message in (
        ([{**SOLVED}], "task 1 of the list has no name; expected it under id"),
        ([{"id": 3, **SOLVED}], "task 1 of the list has no name"),
        ([tasks[0], 5], "task 2 of the list has no name"),
        ([tasks[0], tasks[0]], "the list has two tasks 'a'"),
    ):
        with pytest.raises(DataError, match=message):
            read_source(save(tmp_path / "y", {"all.json": damaged}))
        with pytest.raises(PuzzleError, match=message):
            Arc(30).questions(json.dumps(damaged), "x")


def test_large_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    tasks = json.dumps({f"{number:060}": SOLVED for number in range(7_000)})
    for encoding in ("utf-8-sig", "utf-16"):
        (tmp_path / "all.json").write_text(tasks, encoding=encoding)
        assert len(read_source(tmp_path).tasks) == 7_000


def test_questions_of_a_challenges_file_may_be_in_utf_16(tmp_path: Path) -> None:
    place = save(tmp_path, {CHALLENGES: {"a": OPEN}, ANSWERS: {"a": SOLUTIONS}})
    path = place / CHALLENGES
    expected = [(each.name, each.tokens.tolist()) for each in Arc(30).questions_in(path)]
    for each in (path, place / ANSWERS):
        each.write_text(each.read_text(), encoding="utf-16")
    found = Arc(30).questions_in(path)
    assert [(each.name, each.tokens.tolist()) for each in found] == expected
    assert all(each.solution is not None for each in found)


def test_task_without_solutions_is_only_asked(tmp_path: Path) -> None:
    place = save(tmp_path / "x", {"test_challenges.json": {"a": OPEN, "b": OPEN}})
    assert all(task.is_only_asked for task in read_source(place).tasks)
    record = build(tmp_path / "one", Options(tasks=(place,), augment=0)).record
    assert record["only_asked"] == 2
    assert (record["train_examples"], record["test_examples"]) == (2, 4)
    save(place, {"training_challenges.json": {"b": SOLVED}})
    built = build(tmp_path / "two", Options(tasks=(place,), augment=0))
    assert built.record["tasks"] == 2
    assert (built.record["train_examples"], built.record["test_examples"]) == (1 + 3, 2)
    about = Dataset(tmp_path / "two").build
    assert about["only_asked"] == ["a of x/test_challenges.json"]
    assert about["tasks"]["b"]["evaluation"] is False


def test_stray_json_is_skipped_and_counted(cases_dir: Path, tmp_path: Path) -> None:
    built = build(tmp_path / "out", Options(tasks=(cases_dir / "arc_tasks",), augment=0, canvas=6))
    assert built.record["skipped_files"] == 2
    assert (
        "JSON files skipped, because they hold no task: 2, as arc_tasks/kaggle/sample_submission.json"
        in built.warnings
    )


@pytest.mark.parametrize(
    "stray",
    [
        {"name": "x"},
        [],
        {},
        5,
        None,
        ["a", "b"],
        {"train": ["a"], "test": ["b"]},
        {"a": [[[1]]]},
        {"a": [{"attempt_1": [[1]]}]},
    ],
)
def test_any_other_json_is_skipped_beside_a_task_and_refused_alone(
    tmp_path: Path, stray: object
) -> None:
    place = save(tmp_path / "x", {"stray.json": stray})
    with pytest.raises(DataError, match=r"stray\.json"):
        read_source(place)
    with pytest.raises(DataError, match=r"stray\.json"):
        read_source(place / "stray.json")
    source = read_source(save(place, {"a.json": SOLVED}))
    assert ([task.name for task in source.tasks], source.skipped) == (["a"], ("x/stray.json",))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({CHALLENGES: {"a": SOLVED, "b": {}}}, r"task 'b' has no list of train pairs"),
        ({CHALLENGES: {"a": SOLVED, "b": 3}}, r"task 'b' is no task"),
        ({CHALLENGES: {"a": OPEN}, ANSWERS: {"a": [[[3]]]}}, "task 'a' has 2 test inputs and 1 solutions in"),
        ({CHALLENGES: {"a": OPEN}, ANSWERS: {"a": [[[3]], [[1, 2], [3]]]}}, r"task 'a': solution 2: row 2 has 1 cells"),
        ({CHALLENGES: {"a": SOLVED}, ANSWERS: {"a": [[[4]], [[6, 5]]]}}, "solution 1 is another grid than the output"),
        ({CHALLENGES: {"a": OPEN}, ANSWERS: [1]}, r"x_solutions\.json holds no solutions"),
        ({CHALLENGES: {"a": OPEN}, ANSWERS: "{"}, r"x_solutions\.json is not JSON"),
        ({CHALLENGES: {"a|||t1|||0123456789": SOLVED}}, r"cannot name a task, identifiers are made of it; rename it"),
        ({"a_t9_0123456789.json": SOLVED}, r"cannot name a task, identifiers are made of it; rename the file"),
        ({"a.json": [*TRAIN, {"input": [[1]]}]}, r"a\.json: pair 2 has no output"),
        ({"a.json": TRAIN * 10_001}, r"a\.json has 10001 pairs, expected 1 to 10000"),
    ],
)  # fmt: skip
def test_damaged_file_of_many_tasks_is_named(
    tmp_path: Path, files: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message) as refused:
        read_source(save(tmp_path, files))
    assert str(tmp_path) in str(refused.value)
    assert "\n" not in str(refused.value)


GRIDS = st.lists(st.lists(st.integers(-1, 10), max_size=2), max_size=2)
KEYS = st.sampled_from(["train", "test", "input", "output", "id", "a|||t1|||0123456789", "a"])
JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=3) | GRIDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=30,
)


@given(content=JSON, solutions=JSON)
@settings(max_examples=80, deadline=None)
def test_any_two_files_are_read_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: object, solutions: object
) -> None:
    place = save(tmp_path_factory.getbasetemp() / "fuzz", {CHALLENGES: content, ANSWERS: solutions})
    refusal = ""
    try:
        assert read_source(place).tasks
    except DataError as error:
        refusal = str(error)
    assert "\n" not in refusal
    assert len(refusal) < 600


def test_solutions_and_submissions_alone_are_called_so(cases_dir: Path) -> None:
    kaggle = cases_dir / "arc_tasks" / "kaggle"
    for name in ("sample_submission.json", "arc-agi_training_solutions.json"):
        with pytest.raises(
            DataError, match=rf"{name} holds a list for each task, as solutions and"
        ):
            read_source(kaggle / name)


def test_size_limit_counts_a_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = {f"{number:060}": SOLVED for number in range(7_000)}
    place = save(tmp_path, {"all_challenges.json": tasks})
    assert (place / "all_challenges.json").stat().st_size > arc_read.MAX_TASK_BYTES
    assert len(read_source(place).tasks) == 7_000
    lone = json.dumps(SOLVED).replace(" ", " " * 100_000)
    with pytest.raises(DataError, match=r"a\.json is larger than 1,048,576 bytes, no task is"):
        read_source(save(tmp_path / "lone", {"a.json": lone}))
    monkeypatch.setattr(arc_read, "MAX_FILE_BYTES", 1 << 20)
    with pytest.raises(DataError, match=r"larger than 1,048,576 bytes; give it in parts"):
        read_source(place)


def test_json_that_takes_far_more_memory_than_its_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "MAX_JSON_PARTS", 100)
    for content in (
        "[" + "[]," * 100 + "[]]",
        '["' + '","' * 100 + '"]',
        "[" + "{}," * 100 + "{}]",
    ):
        for data in (content, content.encode()):
            with pytest.raises(
                DataError,
                match=r"a\.json holds 10[12] lists, objects and texts, expected at most 100",
            ):
                sources.read_json(data, "a.json", "tasks")
    assert sources.read_json("[" + "[]," * 98 + "[]]", "a.json", "tasks") == [[]] * 99


def test_one_repeated_entry_among_many_is_found(tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(tmp_path / "x.zip", "w") as archive,
        warnings.catch_warnings(action="ignore"),
    ):
        for number in [*range(7_000), 4_999]:
            archive.writestr(f"{number}.json", "")
    with pytest.raises(DataError, match=r"two entries '4999\.json'"):
        read_source(tmp_path / "x.zip")


def test_whole_challenges_file_becomes_questions(cases_dir: Path, tmp_path: Path) -> None:
    path = cases_dir / "arc_tasks" / "kaggle" / "arc-agi_evaluation_challenges.json"
    task = Arc(6)
    found = task.questions_in(path)
    assert [question.name for question in found] == ["aa000001", "aa000002", "aa000002"]
    solved = [
        decode(question.solution).tolist() for question in found if question.solution is not None
    ]
    assert solved == [[[0, 0, 1], [0, 1, 0], [1, 0, 0]], [[2, 2], [1, 1]], [[0, 5], [5, 0]]]
    lone = task.questions(path.read_text(), "stdin")
    assert [(question.name, question.solution) for question in lone] == [
        ("aa000001", None), ("aa000002", None), ("aa000002", None),
    ]  # fmt: skip
    for question, other in zip(found, lone, strict=True):
        np.testing.assert_array_equal(question.tokens, other.tokens)
    with pytest.raises(PuzzleError, match="the task holds a list for each task, as solutions"):
        task.questions_in(cases_dir / "arc_tasks" / "kaggle" / "sample_submission.json")
    damaged = save(tmp_path, {"a_challenges.json": {"a": OPEN}, "a_solutions.json": "[]"})
    with pytest.raises(PuzzleError, match="the file of solutions holds none"):
        task.questions_in(damaged / "a_challenges.json")
