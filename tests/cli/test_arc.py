import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hrm_cli.evaluation_tables import print_pages
from hrm_cli.main import COMMANDS

from hrm_core.data.store import Dataset, load_split
from hrm_core.data.writer import Examples, Layout, write_dataset
from hrm_tasks.arc.submission import read_submission
from hrm_tasks.arc.task import Arc

REPOSITORY = Path(__file__).parents[2]

TASK = {
    "train": [{"input": [[1, 2]], "output": [[2], [1]]}, {"input": [[4]], "output": [[5]]}],
    "test": [{"input": [[6]], "output": [[3]]}],
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for place in ("training/a", "evaluation/b"):
        path = tmp_path / "arc" / f"{place}.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(TASK).replace("6", str(len(place) % 9)))  # two tasks
    return tmp_path / "arc"


@pytest.fixture(autouse=True)
def score_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "score", "Score an ARC submission.")


def test_data_set_is_built_added_to_and_looked_into(
    hrm: Callable[..., Any], source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    outcome = hrm(
        "data", "arc", out, "--tasks", source / "training", source / "evaluation", "--augment", "20"
    )
    assert (outcome.status, outcome.err) == (0, "")
    assert (
        outcome.out
        == f"{out}: 105 training and 21 test examples of 2 tasks, 1 of them to evaluate; 43 puzzle identifiers\n"
    )
    more = tmp_path / "more" / "c.json"
    more.parent.mkdir()
    more.write_text(json.dumps({**TASK, "test": [{"input": [[7, 7]], "output": [[7]]}]}))
    added = json.loads(hrm("data", "arc", out, "--add", more, "--json").out)
    assert (added["tasks"], added["train_examples"], added["identifiers"]) == (3, 168, 64)
    assert hrm("data", "inspect", out, "--sheet", tmp_path / "sheet.png").status == 0
    assert (tmp_path / "sheet.png").is_file()


def test_what_is_left_out_is_said_and_inspect_warns(
    hrm: Callable[..., Any], source: Path, tmp_path: Path
) -> None:
    twin = tmp_path / "twin"
    twin.mkdir()
    (twin / "b.json").write_text((source / "evaluation" / "b.json").read_text())
    (twin / "other.json").write_text((source / "evaluation" / "b.json").read_text())
    with pytest.warns(UserWarning, match="b") as warned:
        hrm("data", "arc", tmp_path / "out", "--tasks", twin, "--tasks", source, "--augment", "2")
    assert [str(warning.message) for warning in warned] == [
        "not trained on, because the test has it: twin/other, pair 3: a test pair of b",
        "in several folders and taken from one: b, from arc/evaluation",
    ]
    with pytest.warns(UserWarning, match="two sources|the test has them") as remarked:
        hrm("data", "inspect", tmp_path / "out")
    assert [str(warning.message) for warning in remarked] == [
        "tasks that two sources share: 1, as b (arc/evaluation, twin); each was taken from the first named",
        "pairs that were not trained on, because the test has them: 1, as twin/other, pair 3: a test pair of b",
    ]
    more = tmp_path / "c.json"
    more.write_text(
        json.dumps(
            {
                "train": [{"input": [[8]], "output": [[9]]}],
                "test": [{"input": [[7, 7]], "output": [[7]]}],
            }
        )
    )
    assert (
        hrm("data", "arc", tmp_path / "out", "--add", more).err == ""
    )  # nothing of the task that was added was left out


def test_task_of_other_contents_is_said_to_be_left_out(
    hrm: Callable[..., Any], source: Path, tmp_path: Path
) -> None:
    hrm("data", "arc", tmp_path / "out", "--tasks", source, "--augment", "2")
    more = tmp_path / "more"
    more.mkdir()
    for name, colour in (("a", "5"), ("c", "7")):
        (more / f"{name}.json").write_text(json.dumps(TASK).replace("6", f"{colour}, {colour}"))
    with pytest.warns(UserWarning, match="other contents") as warned:
        outcome = hrm("data", "arc", tmp_path / "out", "--add", more, "--json")
    assert [str(warning.message) for warning in warned] == [
        "left out, because a task of the same name but other contents was taken: a of more (taken from arc/training); rename its file",
    ]
    assert (json.loads(outcome.out)["namesakes"], json.loads(outcome.out)["shared_tasks"]) == (1, 0)
    with pytest.warns(UserWarning, match="other contents") as remarked:
        hrm("data", "inspect", tmp_path / "out")
    assert [str(warning.message) for warning in remarked] == [
        "names that two sources give to tasks of other contents: 1, as a (arc/training, more); each was taken from the first named",
    ]


def test_pooled_answers_may_have_a_title(
    hrm: Callable[..., Any],
    source: Path,
    tiny_config: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hrm("data", "arc", tmp_path / "data", "--tasks", source, "--canvas", "6", "--augment", "3")
    dataset = Dataset(tmp_path / "data")
    split = dataset.split("test")
    (examples,) = split.sets.values()
    answered = [(np.asarray(examples.labels), np.zeros(len(examples)))]
    pages = Arc(6).poll(split, dataset.names, answered).pages()
    capsys.readouterr()
    print_pages(pages)
    untitled = capsys.readouterr().out
    print_pages(pages, title="halting q")
    assert capsys.readouterr().out == f"halting q\n\n{untitled}"
    assert untitled.startswith("1 test tasks, answers to all their augmentations pooled")


def test_tasks_without_solutions_are_answered_and_not_counted(
    hrm: Callable[..., Any],
    refusal: Callable[..., str],
    source: Path,
    tiny_config: Path,
    tmp_path: Path,
) -> None:
    path = source / "evaluation" / "b.json"
    path.write_text(json.dumps({**TASK, "test": [{"input": [[6]]}]}))
    hrm("data", "arc", tmp_path / "data", "--tasks", source, "--canvas", "6", "--augment", "3")
    trained = hrm(
        "train",
        tiny_config,
        "--data",
        tmp_path / "data",
        "--run",
        tmp_path / "run",
        "--max-updates",
        "2",
    )
    assert "evaluation after update 2: no solution is known, so nothing is scored\n" in trained.err
    both = hrm("eval", tmp_path / "run", "--halt", "both").out
    assert both.count("no solution is known, so nothing is scored") == 2
    assert "Ways to halt" not in both
    found = json.loads(hrm("eval", tmp_path / "run", "--noise", 0.1, "--rollouts", 2, "--json").out)
    assert [
        found[key] for key in ("count", "exact_accuracy", "oracle", "each", "module_calls")
    ] == [0, None, None, None, None]
    outcome = hrm("eval", tmp_path / "run", "--submission", tmp_path / "submission.json")
    assert "1 test tasks whose solutions are not known are answered, but not counted" in outcome.out
    assert "pass@" not in outcome.out
    assert json.loads(hrm("eval", tmp_path / "run", "--json").out)["pass_at"] is None
    assert list(read_submission(tmp_path / "submission.json")) == ["b"]
    (tmp_path / "data" / "identifiers.json").unlink()
    assert "identifiers.json cannot be read" in refusal(
        "eval", tmp_path / "run", "--data", tmp_path / "data"
    )


def test_model_of_a_smaller_canvas_is_trained_and_evaluated(
    hrm: Callable[..., Any],
    refusal: Callable[..., str],
    source: Path,
    tiny_config: Path,
    tmp_path: Path,
) -> None:
    data, run, submission = tmp_path / "data", tmp_path / "run", tmp_path / "submission.json"
    large = source / "training" / "large.json"
    large.write_text(json.dumps({**TASK, "test": [{"input": [[7] * 9], "output": [[7]]}]}))
    with pytest.warns(
        UserWarning, match="^tasks left out, with a grid larger than 8x8: 1, as large$"
    ):
        built = json.loads(
            hrm(
                "data",
                "arc",
                data,
                "--tasks",
                source,
                "--canvas",
                "8",
                "--subsample",
                "2",
                "--augment",
                "6",
                "--json",
            ).out
        )
    assert (built["tasks"], built["too_large"], built["test_examples"]) == (2, 1, 7)
    assert refusal("data", "arc", data, "--add", large).startswith(
        "task large of training has no room on the canvas of "
    )
    assert hrm("data", "inspect", data, "--sheet", tmp_path / "sheet.png").status == 0
    for arguments in (
        ["train", tiny_config, "--data", data, "--run", run, "--max-updates", "6"],
        ["eval", run, "--submission", submission],
    ):
        subprocess.run(
            [sys.executable, "-m", "hrm_cli.main", *map(str, arguments)],
            check=True,
            timeout=120,
            cwd=REPOSITORY,
            capture_output=True,
        )
    ((task, answers),) = read_submission(submission).items()
    assert (task, len(answers)) == ("b", 1)
    assert max(max(np.shape(grid)) for grid in answers[0].values()) <= 8


def test_inspect_warns_of_groups_that_share_identifiers(
    hrm: Callable[..., Any], tmp_path: Path
) -> None:
    """As in data sets that the published script built from ARC-AGI-1 and ARC-AGI-2."""
    canvases = np.full((5, 900), 2)
    block = Examples(
        canvases,
        canvases,
        group_sizes=np.array([2, 2, 1]),
        puzzle_identifiers=np.array([1, 2, 1, 0, 0]),
    )
    write_dataset(
        tmp_path / "out",
        Layout(12, 900, identifiers=("<blank>", "a", "b")),
        {"train": {"all": [block]}},
        {},
    )
    with pytest.warns(
        UserWarning,
        match="puzzle identifiers in several groups of train: 1; two sources share tasks",
    ):
        hrm("data", "inspect", tmp_path / "out")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either --tasks PATH… or --add PATH…"),
        (["--tasks", "x", "--add", "y"], "give either --tasks PATH… or --add PATH…"),
        (
            ["--add", "y", "--augment", "3"],
            "--augment, --canvas, --subsample and --seed go with --tasks",
        ),
        (
            ["--add", "y", "--seed", "0"],
            "--augment, --canvas, --subsample and --seed go with --tasks",
        ),
        (
            ["--add", "y", "--canvas", "30"],
            "--augment, --canvas, --subsample and --seed go with --tasks",
        ),
        (
            ["--add", "y", "--subsample", "1"],
            "--augment, --canvas, --subsample and --seed go with --tasks",
        ),
        (
            ["--tasks", "x", "--canvas", "31"],
            "Invalid value for '--canvas': 31 is not in the range 2<=x<=30",
        ),
        (
            ["--tasks", "gone"],
            "gone is no folder, zip or JSON file of tasks; name one that is there",
        ),
        (["--add", "gone"], "out is no directory; expected a data set made by `hrm data arc`"),
    ],
)
def test_misuse_is_one_line(
    refusal: Callable[..., str], tmp_path: Path, arguments: list[str], message: str
) -> None:
    assert message in refusal("data", "arc", tmp_path / "out", *arguments)
    assert list(tmp_path.iterdir()) == []


def test_data_set_in_the_way_is_kept(
    refusal: Callable[..., str], hrm: Callable[..., Any], source: Path, tmp_path: Path
) -> None:
    hrm("data", "arc", tmp_path / "out", "--tasks", source, "--augment", "0")
    assert "out is not empty; choose another directory" in refusal(
        "data", "arc", tmp_path / "out", "--tasks", source
    )
    assert len(load_split(tmp_path / "out", "train").sets["all"]) == 5
    assert "arc is not empty" in refusal(
        "data", "arc", "--tasks", tmp_path / "out", source
    )  # places changed


def test_submission_is_scored(
    hrm: Callable[..., Any], refusal: Callable[..., str], tmp_path: Path
) -> None:
    solutions, submission = tmp_path / "solutions.json", tmp_path / "submission.json"
    solutions.write_text(json.dumps({"a": [[[1]], [[2]]], "b": [[[3]]]}))
    attempts = [{"attempt_1": [[1]], "attempt_2": [[9]]}, {"attempt_1": [[9]], "attempt_2": [[2]]}]
    submission.write_text(json.dumps({"a": attempts, "b": attempts[:1]}))
    assert (
        hrm("score", submission, solutions).out
        == "66.67%: 2 of 3 test outputs; 1 of 2 tasks have all of theirs\n"
    )
    found = json.loads(hrm("score", submission, solutions, "--json").out)
    assert found == {
        "score": 2 / 3,
        "outputs_solved": 2,
        "outputs": 3,
        "tasks_solved": 1,
        "tasks": 2,
        "attempts_missing": 0,
        "attempts_no_grids": 0,
    }
    assert "test input 1 has no JSON object" in refusal("score", solutions, submission)
    assert "gone.json cannot be read" in refusal("score", tmp_path / "gone.json", solutions)


def test_an_evaluation_reads_each_file_of_a_data_set_once(
    hrm: Callable[..., Any],
    source: Path,
    tiny_config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hrm("data", "arc", tmp_path / "data", "--tasks", source, "--canvas", "6", "--augment", "3")
    hrm("train", tiny_config, "--data", tmp_path / "data", "--run", tmp_path / "run")
    opened: list[Path] = []
    read = Path.open

    def noted(path: Path, *args: Any, **options: Any) -> Any:
        opened.append(path)
        return read(path, *args, **options)

    monkeypatch.setattr(Path, "open", noted)
    hrm("eval", tmp_path / "run", "--data", tmp_path / "data", "--submission", tmp_path / "s.json")
    names = [path.name for path in opened if tmp_path / "data" in path.parents]
    assert [names.count(name) for name in ("build.json", "identifiers.json")] == [1, 1]
