import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrm_core.errors import DataError
from hrm_tasks.arc.submission import read_solutions, read_submission, score, score_files

SOLUTIONS = {"a": [[[1]], [[2, 3]]], "b": [[[4], [5]]]}
OTHER = [[0, 0], [0, 0]]


def submitted(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    return {
        task: [
            {"attempt_1": x, "attempt_2": y} for x, y in zip(first[task], second[task], strict=True)
        ]
        for task in first
    }


NOTHING = {"a": [OTHER, OTHER], "b": [OTHER]}
SHIFTED = {"a": [[[2]], [[3, 4]]], "b": [[[5], [6]]]}


@pytest.mark.parametrize(
    ("first", "second", "outputs", "tasks"),
    [
        (SOLUTIONS, SOLUTIONS, 3, 2),
        (SOLUTIONS, NOTHING, 3, 2),
        (NOTHING, SOLUTIONS, 3, 2),
        (SHIFTED, NOTHING, 0, 0),
        ({**SOLUTIONS, "a": [[[1]], OTHER]}, NOTHING, 2, 1),
        ({"a": [[[1]], OTHER], "b": [OTHER]}, {"a": [OTHER, [[2, 3]]], "b": [OTHER]}, 2, 1),
        ({"a": [[[2, 3]], [[1]]], "b": [[[5], [4]]]}, {"a": [OTHER, OTHER], "b": [[[4, 5]]]}, 0, 0),
    ],
    ids=[
        "both",
        "first",
        "second",
        "shifted",
        "one task",
        "one of two each",
        "other order or shape",
    ],
)
def test_one_right_attempt_counts(
    first: dict[str, Any], second: dict[str, Any], outputs: int, tasks: int
) -> None:
    found = score(submitted(first, second), SOLUTIONS)
    assert found.record["score"] == found.score
    assert tuple(found.record.values()) == (
        outputs / 3,
        outputs,
        3,
        tasks,
        2,
        0,
        0,
    )


def save(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_files_are_scored(tmp_path: Path) -> None:
    given_file = save(tmp_path / "submission.json", submitted(SOLUTIONS, NOTHING))
    assert score_files(given_file, save(tmp_path / "solutions.json", SOLUTIONS)).score == 1.0


RIGHT = submitted(SOLUTIONS, NOTHING)


@pytest.mark.parametrize(
    ("submission", "message"),
    [
        ("?", "submission.json is not JSON"),
        ("[" * 100_000, "submission.json is not JSON"),
        ([], "submission.json holds no task; expected submission"),
        ({}, "submission.json holds no task"),
        ({"a": RIGHT["a"]}, "submission.json has no task b; expected every task of"),
        ({**RIGHT, "c": RIGHT["b"]}, "solutions.json has no task c, which"),
        (
            {**RIGHT, "a": RIGHT["a"][:1]},
            "submission.json, task a has 1 test inputs, expected 2 as in",
        ),
        (
            json.dumps(RIGHT)[:-1] + ', "b": []}',
            "submission.json: the key 'b' stands twice in one object; take one of them out",
        ),
        ({**RIGHT, "b": []}, "submission.json, task b: expected a list, one entry a test input"),
        (
            {**RIGHT, "b": [[[4], [5]]]},
            "submission.json, task b, test input 1 has no JSON object, expected attempt_1 and attempt_2",
        ),
        (
            {**RIGHT, "b": [{"attempt_1": [[1]], "attempt_3": [[1]]}]},
            "task b, test input 1 has the keys attempt_1, attempt_3, expected attempt_1 and attempt_2",
        ),
        ({**RIGHT, "b": [None]}, "task b, test input 1 has no JSON object"),
        ({**RIGHT, "x\n" * 100: RIGHT["b"]}, "solutions.json has no task 'x\\nx\\n"),
    ],
)
def test_what_is_no_submission_is_one_line(
    tmp_path: Path, submission: object, message: str
) -> None:
    with pytest.raises(DataError) as refused:
        score_files(
            save(tmp_path / "submission.json", submission),
            save(tmp_path / "solutions.json", SOLUTIONS),
        )
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "attempt",
    [None, [], [[]], [[1], [2, 3]], [[1] * 31], [[1]] * 31, [[10]], [[-1]], [[1.0]], [[True]], "1", 1, {}, [1], [["1"]]],
)  # fmt: skip
def test_attempt_that_is_no_grid_is_wrong_and_counted(tmp_path: Path, attempt: object) -> None:
    good, bad = (
        {"attempt_1": [[1]], "attempt_2": attempt},
        {"attempt_1": attempt, "attempt_2": attempt},
    )
    given_file = save(tmp_path / "submission.json", {"a": [good, bad], "b": [bad]})
    found = score_files(given_file, save(tmp_path / "solutions.json", SOLUTIONS))
    assert (found.record["outputs_solved"], found.record["attempts_no_grids"]) == (1, 5)
    assert found.text == (
        "33.33%: 1 of 3 test outputs; 0 of 2 tasks have all of theirs; 5 attempts are no grids"
    )


def test_missing_attempt_is_wrong_and_counted(tmp_path: Path) -> None:
    content = {"a": [{"attempt_2": [[1]]}, {}], "b": [{"attempt_1": [[4], [5]], "attempt_2": None}]}
    solutions = save(tmp_path / "solutions.json", SOLUTIONS)
    found = score_files(save(tmp_path / "submission.json", content), solutions)
    assert (found.record["outputs_solved"], found.record["attempts_missing"]) == (2, 3)
    assert found.text.endswith("; 3 attempts are missing; 1 attempt is no grid")


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("null_attempt", "1 attempt is no grid"),
        ("empty_attempt", "1 attempt is no grid"),
        ("one_attempt", "1 attempt is missing"),
    ],
)
def test_submissions_of_others_are_scored(cases_dir: Path, name: str, end: str) -> None:
    folder = cases_dir / "arc_scores"
    found = score_files(folder / f"{name}.json", folder / "solutions.json")
    assert found.text == f"100.00%: 3 of 3 test outputs; 2 of 2 tasks have all of theirs; {end}"


def test_task_without_any_output_stays_an_error(cases_dir: Path) -> None:
    folder = cases_dir / "arc_scores"
    with pytest.raises(DataError, match="task aa000002: expected a list, one entry a test input"):
        score_files(folder / "no_predictions.json", folder / "solutions.json")


def test_first_missing_task_is_named(tmp_path: Path) -> None:
    many = {f"{number:02}": [OTHER] for number in range(40)}
    whole, part = ({**submitted(found, found)} for found in (many, {"39": [OTHER]}))
    with pytest.raises(DataError, match="has no task 00;"):
        score_files(save(tmp_path / "part.json", part), save(tmp_path / "solutions.json", many))
    with pytest.raises(DataError, match="has no task 00, which"):
        score_files(
            save(tmp_path / "whole.json", whole), save(tmp_path / "less.json", {"39": [OTHER]})
        )


def test_what_is_no_solutions_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"gone\.json cannot be read \(No such file or directory\); expected solutions in the Kaggle",
    ):
        read_solutions(tmp_path / "gone.json")
    with pytest.raises(
        DataError, match=r"task a, test input 1 is an object of 2, expected a list of rows"
    ):
        read_solutions(save(tmp_path / "x.json", RIGHT))
    with pytest.raises(
        DataError,
        match=r"task a, test input 1 is 1x31, expected 1x1 to 30x30; leave the task out of both files$",
    ):
        read_solutions(save(tmp_path / "x.json", {"a": [[[1] * 31]]}))
    with pytest.raises(DataError, match=r"x\.json: the key 'a' stands twice in one object"):
        read_solutions(save(tmp_path / "x.json", '{"a": [[[1]]], "a": [[[2]]]}'))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["a", "attempt_1", "attempt_2"]), inner)
    ),
    max_leaves=20,
)


@given(JSON)
@settings(max_examples=80, deadline=None)
def test_any_json_is_read_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: object
) -> None:
    path = save(
        tmp_path_factory.getbasetemp() / "fuzz.json",
        content if not isinstance(content, str) else json.dumps(content),
    )
    for read in (read_submission, read_solutions):
        refusal = ""
        try:
            assert read(path)
        except DataError as error:
            refusal = str(error)
        assert "\n" not in refusal
        assert len(refusal) < 500
