import json
import re
import warnings
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from hrm_core.data.store import load_split

Hrm = Callable[..., Any]
Refusal = Callable[..., str]
GUIDE = Path(__file__).parents[2] / "docs" / "own-puzzles.md"


def flipped() -> list[str]:
    """Lines of a CSV file: grids of 2x3 and 2x2, none a view of another, each with its mirror image."""
    words = [f"a{''.join(others)}" for others in (*permutations("bcdef"), *permutations("bcd"))][
        -40:
    ]
    grids = [(word[: len(word) // 2], word[len(word) // 2 :]) for word in words]
    return ['"{}\n{}","{}\n{}",'.format(*grid, *(row[::-1] for row in grid)) for grid in grids]


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(["input,output,name", *flipped()]))
    return path


def test_data_grids_says_what_it_built(hrm: Hrm, mine: Path, tmp_path: Path) -> None:
    outcome = hrm("data", "grids", tmp_path / "out", mine, "--augment", 3, "--test-share", 0.25)
    build = json.loads((tmp_path / "out" / "build.json").read_text())
    originals, tests = build["train_originals"], build["test_examples"]
    text = f"{4 * originals} training examples ({originals} in 4 views), {tests} test examples; 6 characters on 2x3 cells"
    assert outcome.out == f"{tmp_path / 'out'}: {text}\n"
    again = hrm(
        "data", "grids", tmp_path / "again", mine, "--augment", 3, "--test-share", 0.25, "--json"
    )
    assert json.loads(again.out) == build
    first, second = (
        {path.name: path.read_bytes() for path in (tmp_path / name).rglob("*.*")}
        for name in ("out", "again")
    )
    assert first == second


def test_doubtful_data_is_told_in_a_line_each(hrm: Hrm, tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(
        "\n".join(["input,output,name", "a,b,p", "a,b,p", "b,a,", "b,b,"])
    )
    (tmp_path / "test.csv").write_text("\n".join(["input,output,name", "a,c,new"]))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        outcome = hrm(
            "data",
            "grids",
            tmp_path / "out",
            tmp_path / "train.csv",
            "--test",
            tmp_path / "test.csv",
        )
    assert [str(warning.message) for warning in told] == [
        "1 examples stand there twice and were taken once",
        "1 questions come with another answer, too: no model can know which is meant",
        "1 names occur only in the test, nothing is learned of their puzzles: new",
        "1 characters occur only in the test: 'c'",
        "test questions that are also trained on: 1; accuracy on them is no accuracy on new puzzles",
    ]
    assert (
        "3 training examples, 1 test examples, 2 named puzzles; 3 characters on 1x1 cells"
        in outcome.out
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["nope.csv"],
            "nope.csv is not there; expected a .csv file, a .jsonl file or a folder of grids",
        ),
        (
            ["{mine}", "--test", "{mine}", "--test-share", "0.5"],
            "give either --test or --test-share",
        ),
        (["{mine}", "--test-share", "nan"], "--test-share nan is no share; try 0.1"),
        (["", "--test-share", "0.5"], "it is empty; expected a path"),
        (["{mine}", "--test-share", "1"], "1.0 is not in the range 0<=x<1"),
        (["{mine}", "--augment", "8"], "8 is not in the range 0<=x<=7"),
        (
            ["{mine}", "--augment", "4"],
            "augment=4; grids on a canvas of 2x3 have 3 other views, so use 0 to 3",
        ),
        (
            ["{mine}", "--max-size", "2", "2"],
            "mine.csv:2: the input has 2 rows of 3 characters, --max-size is 2 2",
        ),
        (["{mine}", "--max-size", "0", "2"], "0 is not in the range x>=1"),
    ],
)
def test_bad_build_is_refused(
    refusal: Refusal, mine: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    assert message in refusal(
        "data", "grids", tmp_path / "out", *(argument.format(mine=mine) for argument in arguments)
    )
    assert [path.name for path in tmp_path.iterdir()] == ["mine.csv"]


def test_model_is_trained_measured_and_solves_without_a_line_of_code(
    hrm: Hrm, refusal: Refusal, mine: Path, tmp_path: Path, tiny_config: Path
) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    assert hrm("data", "grids", data, mine).status == 0
    assert hrm("data", "inspect", data, "--sheet", tmp_path / "sheet.png").out.startswith(
        f"{data}: grids, sha256 "
    )
    assert (
        hrm(
            "train",
            tiny_config,
            "--data",
            data,
            "--run",
            run,
            "--device",
            "cpu",
            "--max-updates",
            2,
        ).status
        == 0
    )
    assert json.loads(hrm("eval", run, "--json").out)["count"] == len(
        load_split(data, "test").sets["all"]
    )
    assert "no symmetries to vote with" in refusal("eval", run, "--votes", 2)
    (tmp_path / "question.txt").write_text("fed\nabc\n\nab\ncd\n")
    pictures = tmp_path / "x.gif", tmp_path / "x.png"
    outcome = hrm(
        "solve",
        run,
        tmp_path / "question.txt",
        "fed/abc",
        "--json",
        "--gif",
        pictures[0],
        "--png",
        pictures[1],
    )
    assert outcome.status == 0
    records = [json.loads(line) for line in outcome.out.splitlines()]
    assert [record["question"] for record in records] == ["fed/abc", "ab/cd", "fed/abc"]
    assert {record["verdict"] for record in records} == {"only the solution can tell"}
    for path in (*pictures, tmp_path / "sheet.png"):
        with Image.open(path) as picture:
            assert min(picture.size) > 50
    assert (
        "stdin: grid 1 (line 1): unknown character 'x' at row 2, column 1; expected one of 'abcdef'"
        in refusal("solve", run, "-", stdin="ab\nxb")
    )
    assert "2 rows of 4 characters; expected at most 2 of 3" in refusal("solve", run, "abcd/abcd")


def test_the_guide_builds_its_data(
    tmp_path: Path, hrm: Hrm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    guide = GUIDE.read_text(encoding="utf-8")
    make_file = re.search(r"^```python\n(.*?)^```", guide, flags=re.DOTALL | re.MULTILINE)
    assert make_file, "the guide shows how to write its file"
    exec(make_file[1], {"__name__": "guide"})
    words = ("--augment", 7, "--max-size", 7, 7, "--test-share", 0.05)
    built = hrm("data", "grids", "data/fill", "fill.csv", *words).out
    assert (
        "152,000 training examples (19,000 in 8 views), 1,000 test examples; 4 characters on 7x7 cells"
        in built
    )


def test_model_is_measured_on_data_of_its_task_that_was_built_otherwise(
    hrm: Hrm, refusal: Refusal, tmp_path: Path, tiny_config: Path
) -> None:
    """Other ratings, other views; but no other alphabet."""
    examples = [
        {"input": grid, "output": grid[::-1]}
        for grid in ("ab\ncd", "aa\ncd", "bb\ncc", "dc\nba", "ca\ndb")
    ]
    for name in ("plain", "rated", "other"):
        ratings = [
            {"rating": 7 * (number % 2)} if name == "rated" else {}
            for number in range(len(examples))
        ]
        text = "\n".join(
            json.dumps({**example, **rating})
            for example, rating in zip(examples, ratings, strict=True)
        )
        (tmp_path / f"{name}.jsonl").write_text(text.replace("d", "e") if name == "other" else text)
        views = ["--augment", 7] if name == "plain" else []
        assert (
            hrm(
                "data",
                "grids",
                tmp_path / name,
                tmp_path / f"{name}.jsonl",
                "--test-share",
                0.5,
                *views,
            ).status
            == 0
        )
    outcome = hrm(
        "train",
        tiny_config,
        "--data",
        tmp_path / "plain",
        "--run",
        tmp_path / "run",
        "--device",
        "cpu",
        "--max-updates",
        2,
    )
    assert outcome.status == 0, outcome.err
    assert json.loads(hrm("eval", tmp_path / "run", "--data", tmp_path / "rated", "--json").out)[
        "bands"
    ].keys() <= {"0-6", "7+"}
    assert "no symmetries to vote with" in refusal(
        "eval", tmp_path / "run", "--data", tmp_path / "rated", "--votes", 2
    )
    assert "use data of its task" in refusal("eval", tmp_path / "run", "--data", tmp_path / "other")


def test_votes_are_for_grids_that_stay_in_their_corner(
    hrm: Hrm, refusal: Refusal, tmp_path: Path, tiny_config: Path
) -> None:
    grids = ["ab/cd", "aa/cd", "bb/cc", "dc/ba", "ca/db"]
    lines = [
        json.dumps({"input": grid.split("/"), "output": grid[::-1].split("/")}) for grid in grids
    ]
    (tmp_path / "g.jsonl").write_text("\n".join(lines))
    assert hrm("data", "grids", tmp_path / "data", tmp_path / "g.jsonl", "--augment", 7).status == 0
    outcome = hrm(
        "train",
        tiny_config,
        "--data",
        tmp_path / "data",
        "--run",
        tmp_path / "run",
        "--device",
        "cpu",
        "--max-updates",
        2,
    )
    assert outcome.status == 0, outcome.err
    assert "of 3 answers" in hrm("solve", tmp_path / "run", "ab/cd", "--votes", 3).out
    assert "does not fill the canvas has no symmetries" in refusal(
        "solve", tmp_path / "run", "ab", "--votes", 3
    )
