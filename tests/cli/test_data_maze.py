import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from hrm_core.data.store import load_split
from hrm_tasks.maze.task import Maze

Hrm = Callable[..., Any]
Refusal = Callable[..., str]
HEADER = "source,question,answer,rating"
LINE = "mine,S ## ## G,So##o##oG,4"
OTHER = "mine,S#G   ###,S#Gooo###,7"
QUESTION = "######\n#S.###\n##.###\n##...#\n####G#\n######"


@pytest.fixture
def train_csv(tmp_path: Path) -> Path:
    path = tmp_path / "train.csv"
    path.write_text("\n".join([HEADER, LINE, OTHER, ""]))
    return path


def test_data_maze_reads_csv_files(hrm: Hrm, train_csv: Path, tmp_path: Path) -> None:
    with pytest.warns(
        UserWarning,
        match="^test questions that are also trained on: 2; accuracy on them is no accuracy on new puzzles$",
    ):
        outcome = hrm(
            "data",
            "maze",
            tmp_path / "out",
            "--train-csv",
            train_csv,
            "--test-csv",
            train_csv,
            "--augment",
            3,
            "--json",
        )
    build = json.loads(outcome.out)
    assert (
        build["train_examples"],
        build["test_puzzles"],
        build["test_questions_in_training"],
    ) == (8, 2, 2)
    assert build["sources"]["test"]["rating_is_not_moves"] == 1
    assert load_split(tmp_path / "out", "train").sets["all"].ratings.tolist() == [4] * 4 + [7] * 4


def test_data_maze_generates_the_same_bytes_again(hrm: Hrm, tmp_path: Path) -> None:
    for name in "ab":
        outcome = hrm(
            "data",
            "maze",
            tmp_path / name,
            "--generate",
            12,
            "--size",
            7,
            "--test",
            4,
            "--kind",
            "loops",
            "--min-path",
            5,
        )
        assert (
            outcome.out
            == f"{tmp_path / name}: 12 training examples of 12 mazes, 4 test mazes of 7x7\n"
        )
    first, second = (
        {path.name: path.read_bytes() for path in (tmp_path / name).rglob("*.*")} for name in "ab"
    )
    assert first == second
    ratings = load_split(tmp_path / "a", "test").sets["all"].ratings
    assert ratings is not None
    assert ratings.min() >= 5


def test_generated_mazes_are_inspected_and_drawn(hrm: Hrm, tmp_path: Path) -> None:
    assert (
        hrm("data", "maze", tmp_path / "out", "--generate", 5, "--size", 10, "--test", 2).status
        == 0
    )
    outcome = hrm(
        "data", "inspect", tmp_path / "out", "--sheet", tmp_path / "sheet.png", "--rows", 2
    )
    assert outcome.out.startswith(f"{tmp_path / 'out'}: maze, sha256 ")
    assert "5 examples of 5 puzzles in 5 groups" in outcome.out
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert min(sheet.size) > 400


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "train.csv:1: the header is ''"),
        (f"{HEADER}\n{LINE},x\n", "train.csv:2: 5 columns"),
        (f"{HEADER}\n{LINE}\n{LINE[:-1]}\n", "train.csv:3: the rating is ''"),
        (
            f"{HEADER}\n{LINE.replace('S ##', 'Sx##')}\n",
            "train.csv:2: 'x' at row 1, column 2 of the question",
        ),
        (
            f"{HEADER}\n{LINE.replace('So##o', 'So## ')}\n",
            "train.csv:2: the answer is broken: the path from S ends at row 1, column 2",
        ),
    ],
)
def test_bad_csv_is_refused_with_file_and_line(
    refusal: Refusal, tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "train.csv").write_text(content)
    assert message in refusal(
        "data", "maze", tmp_path / "out", "--train-csv", tmp_path / "train.csv"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["train.csv"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give one of --source hf://OWNER/NAME, --train-csv FILE and --generate N"),
        (
            ["--generate", "3", "--train-csv", "x"],
            "give one of --source hf://OWNER/NAME, --train-csv FILE and --generate N",
        ),
        (
            ["--generate", "3", "--subsample", "2"],
            "--subsample and --min-rating go with --source or --train-csv",
        ),
        (
            ["--generate", "3", "--min-rating", "2"],
            "--subsample and --min-rating go with --source or --train-csv",
        ),
        (
            ["--train-csv", "x", "--kind", "loops"],
            "--size, --kind, --test and --min-path go with --generate",
        ),
        (
            ["--train-csv", "nope.csv"],
            "nope.csv: No such file or directory; expected a CSV file of mazes",
        ),
        (
            ["--generate", "3", "--size", "10", "--min-path", "100"],
            "no path on 10x10 cells has 100 moves; expected 1 to 99",
        ),
        (["--generate", "3", "--size", "3"], "3 is not in the range 4<=x<=128"),
        (["--generate", "3", "--augment", "8"], "8 is not in the range 0<=x<=7"),
        (
            ["--generate", "3", "--kind", "round"],
            "'round' is not one of 'perfect', 'loops', 'obstacles', 'mixed'",
        ),
    ],
)
def test_bad_build_is_refused(
    refusal: Refusal, tmp_path: Path, arguments: list[str], message: str
) -> None:
    assert message in refusal("data", "maze", tmp_path / "out", *arguments)
    assert not list(tmp_path.iterdir())


def test_data_is_not_written_over(refusal: Refusal, train_csv: Path) -> None:
    assert "is not empty; choose another directory" in refusal(
        "data", "maze", train_csv.parent, "--generate", 3
    )


def test_model_is_trained_measured_and_solves_a_drawn_maze(
    hrm: Hrm, refusal: Refusal, tmp_path: Path, tiny_config: Path
) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    assert (
        hrm(
            "data",
            "maze",
            data,
            "--generate",
            40,
            "--size",
            6,
            "--kind",
            "obstacles",
            "--min-path",
            3,
            "--test",
            8,
        ).status
        == 0
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
    assert json.loads(hrm("eval", run, "--json").out)["count"] == 8
    (tmp_path / "maze.txt").write_text(QUESTION)
    outcome = hrm(
        "solve",
        run,
        tmp_path / "maze.txt",
        Maze(6).line(Maze(6).parse(QUESTION)[0]),
        "--json",
        "--gif",
        tmp_path / "x.gif",
    )
    assert outcome.status in (0, 1)
    assert [json.loads(line)["question"] for line in outcome.out.splitlines()] == [
        QUESTION.replace("\n", "")
    ] * 2
    assert (tmp_path / "x.gif").exists()
    assert "stdin: maze 1 (line 1): no S; expected one S and one G" in refusal(
        "solve", run, "-", stdin=QUESTION.replace("S", ".")
    )


def test_longer_answers_and_repeated_questions_are_warned_of(hrm: Hrm, tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text(
        "\n".join(
            [
                HEADER,
                "mine,S#G      ,S#Gooo   ,4",
                "mine,S G      ,SoG      ,2",
                "mine,S G   #  ,S Gooo#  ,4",
                "",
            ]
        )
    )
    with pytest.warns(UserWarning, match="^answers that are paths, but not shortest ones: 1$"):
        hrm("data", "maze", tmp_path / "out", "--train-csv", path)
    with pytest.warns(
        UserWarning, match="^test questions that are also trained on: 3|^answers that are paths"
    ) as warned:
        hrm("data", "maze", tmp_path / "both", "--train-csv", path, "--test-csv", path)
    assert [str(each.message) for each in warned][
        1
    ] == "answers that are paths, but not shortest ones: 2"
    with pytest.warns(UserWarning, match="^test questions that are also trained on: 3"):
        hrm("data", "inspect", tmp_path / "both")
