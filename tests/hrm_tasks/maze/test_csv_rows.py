import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hrm_core.data import published_csv
from hrm_core.errors import DataError
from hrm_tasks.maze.csv_rows import MazeFile, read_csv
from hrm_tasks.maze.task import Maze

HEADER = "source,question,answer,rating"
GOOD = "mine,S ## ## G,So##o##oG,4"
OPEN = "mine,S  #    G,{},4"  # several paths
FUZZ = settings(
    deadline=None,
    derandomize=True,
    max_examples=300,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "train.csv"


def written(path: Path, *lines: str, end: str = "\n") -> Path:
    path.write_bytes(end.join([*lines, ""]).encode())
    return path


def refusal(path: Path, *lines: str) -> str:
    with pytest.raises(DataError) as refused:
        read_csv(written(path, HEADER, *lines))
    message = str(refused.value)
    assert "\n" not in message
    return message.removeprefix(str(path.parent) + "/")


def read_or_refuse(path: Path) -> MazeFile | str:
    try:
        return read_csv(path)
    except DataError as error:
        return str(error)


def test_lines_become_tokens_and_ratings(path: Path) -> None:
    mazes = read_csv(written(path, HEADER, GOOD, GOOD)).mazes
    assert (mazes.inputs.dtype, mazes.labels.dtype, mazes.ratings.dtype) == (
        np.uint8,
        np.uint8,
        np.int32,
    )
    np.testing.assert_array_equal(mazes.inputs, [[3, 2, 1, 1, 2, 1, 1, 2, 4]] * 2)
    np.testing.assert_array_equal(mazes.labels, [[3, 5, 1, 1, 5, 1, 1, 5, 4]] * 2)
    assert mazes.ratings.tolist() == [4, 4]


@pytest.mark.parametrize(
    ("name", "count", "longest"), [("train.csv", 1000, 272), ("test.csv", 200, 290)]
)
def test_published_files_are_read_whole(
    data_dir: Path, name: str, count: int, longest: int
) -> None:
    found = read_csv(data_dir / "maze" / name)
    assert found.mazes.inputs.shape == found.mazes.labels.shape == (count, 900)
    assert (found.mazes.ratings.min(), found.mazes.ratings.max()) == (
        112,
        longest,
    )  # the README's table
    assert found[1:] == (0, 0, 0, 0)
    assert Maze(30).accepts_all(found.mazes.inputs, found.mazes.labels).all()
    with (data_dir / "maze" / name).open(newline="") as file:
        rows = list(csv.DictReader(file))
    task, text = Maze(30), [row["question"].replace(" ", ".") for row in rows]
    assert list(map(task.line, found.mazes.inputs)) == text
    np.testing.assert_array_equal(task.parse("\n".join(text)), found.mazes.inputs)


def test_what_is_odd_but_no_mistake_is_counted(path: Path) -> None:
    several = OPEN.format("So #oo  G")
    longer = "mine,S G   ###,S Gooo###,9"
    found = read_csv(written(path, HEADER, GOOD, several, longer))
    assert (found.longer, found.ambiguous, found.other_ratings, found.too_easy) == (1, 1, 1, 0)


def test_size_of_a_block_does_not_matter(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [GOOD.replace(",4", f",{rating}") for rating in range(50)]
    monkeypatch.setattr(published_csv, "BLOCK_BYTES", 100)
    found = read_csv(written(path, HEADER, *lines))
    assert found.mazes.ratings.tolist() == list(range(50))
    assert found.other_ratings == 49
    assert refusal(path, *lines, "bad").startswith("train.csv:52: ")
    assert refusal(path, *lines, "", GOOD.replace("S ##", "S###")).startswith("train.csv:53: ")


def test_minimum_rating_is_inclusive_and_what_it_leaves_out_is_counted(path: Path) -> None:
    written(path, HEADER, *(GOOD.replace(",4", f",{rating}") for rating in (0, 5, 6)))
    found = read_csv(path, min_rating=5)
    assert (found.mazes.ratings.tolist(), found.too_easy, found.other_ratings) == ([5, 6], 1, 2)
    with pytest.raises(DataError, match="no maze is rated 7 or more"):
        read_csv(path, min_rating=7)


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_byte_order_mark_line_ends_and_blank_lines_are_passed_over(path: Path, end: str) -> None:
    assert (
        len(
            read_csv(
                written(path, "\ufeff" + HEADER, GOOD, "", GOOD, "", "", end=end)
            ).mazes.ratings
        )
        == 2
    )


def test_last_line_may_lack_its_end(path: Path) -> None:
    path.write_text(f"{HEADER}\n{GOOD}")
    assert read_csv(path).mazes.inputs.shape == (1, 9)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            GOOD + ",more",
            "5 columns in 'mine,S ## ## G,So##o##oG,4,more'; expected source,question,answer,rating",
        ),
        (GOOD.replace(",4", ""), "3 columns"),
        (
            GOOD.replace("S ##", "S #"),
            "the question has 8 characters; expected 9, as in the first question",
        ),
        (GOOD.replace("oG,", "oG ,"), "the answer has 10 characters; expected 9"),
        (
            GOOD.replace("S ##", "S.##"),
            "'.' at row 1, column 2 of the question; expected one of '# SG'",
        ),
        (
            GOOD.replace("S ##", "So##"),
            "'o' at row 1, column 2 of the question; expected one of '# SG'",
        ),
        (
            GOOD.replace("o##oG", "x##oG"),
            "'x' at row 2, column 2 of the answer; expected one of '# SGo'",
        ),
        (GOOD.replace("## G", "é G"), "'é' at row 2, column 3 of the question"),
        (GOOD.replace("S ##", "  ##"), "the question has no S; expected one S and one G"),
        (
            GOOD.replace("S ##", "SG##"),
            "the question has 2 G, at row 1, column 2 and row 3, column 3; expected one S and one G",
        ),
        (
            GOOD.replace("S ##", "S###"),
            "the question has no way from S at row 1, column 1 to G at row 3, column 3; open a wall",
        ),
        (
            GOOD.replace("So##o##oG", "So##o## G"),
            "the answer is broken: the path from S ends at row 2, column 2",
        ),
        (
            GOOD.replace("So##o##oG", "Soo#o##oG"),
            "the answer is broken: path at row 1, column 3, where the question has a wall",
        ),
        (
            GOOD.replace("So##o##oG", "oo##o##oG"),
            "the answer is broken: path at row 1, column 1, where the question has S",
        ),
        (OPEN.format("So #o   G"), "the answer is broken: the path from S ends at row 2, column 2"),
        (GOOD.replace(",4", ","), "the rating is ''; expected a whole number"),
        (GOOD.replace(",4", ",-1"), "the rating is '-1'"),
        (GOOD.replace(",4", ",1.5"), "the rating is '1.5'"),
        (GOOD.replace(",4", ",²"), "the rating is '²'"),
        (GOOD.replace(",4", ",1234567890"), "the rating is '1234567890'"),
    ],
)
def test_bad_line_is_named_with_what_was_expected(path: Path, line: str, message: str) -> None:
    found = refusal(path, GOOD, "", line, GOOD)
    assert found.startswith("train.csv:4: ")
    assert message in found


def test_first_maze_of_no_known_size_is_refused(path: Path) -> None:
    assert refusal(path, "mine,S G,SoG,2") == (
        "train.csv:2: 'mine,S G,SoG,2' has a question of 3 characters; expected a square number of them, 4 to 16384"
    )
    assert "4 columns" not in refusal(path, "\x00", GOOD)
    assert "1 columns" in refusal(path, "\x00", GOOD)


@pytest.mark.parametrize("header", ["", "source,rating", "answer,solution", "x" * 10_000])
def test_other_header_is_refused_with_the_one_expected(path: Path, header: str) -> None:
    with pytest.raises(DataError, match=rf"train\.csv:1: the header is '.*'; expected '{HEADER}'"):
        read_csv(written(path, header, GOOD))


def test_file_without_mazes_missing_file_and_folder_are_refused(path: Path) -> None:
    assert refusal(path) == "train.csv: no maze after the header; expected one a line"
    path.unlink()
    with pytest.raises(DataError, match=r"train\.csv: No such file"):
        read_csv(path)
    with pytest.raises(DataError, match="expected a CSV file of mazes"):
        read_csv(path.parent)


@FUZZ
@given(
    content=st.binary(max_size=200) | st.text(alphabet="SG #o,40\n\r", max_size=120).map(str.encode)
)
def test_any_bytes_after_a_good_line_are_read_or_refused_in_one_line(
    path: Path, content: bytes
) -> None:
    path.write_bytes(f"{HEADER}\n{GOOD}\n".encode() + content)
    outcome = read_or_refuse(path)
    assert (
        len(outcome.splitlines()) == 1
        if isinstance(outcome, str)
        else outcome.mazes.inputs.shape[1] == 9
    )


@FUZZ
@given(
    place=st.integers(0, len(GOOD)),
    length=st.integers(0, 3),
    content=st.text(alphabet="SG #o,4é\n", max_size=3),
)
def test_any_change_to_a_good_line_is_read_or_refused_in_one_line(
    path: Path, place: int, length: int, content: str
) -> None:
    path.write_text(f"{HEADER}\n{GOOD[:place] + content + GOOD[place + length :]}\n")
    outcome = read_or_refuse(path)
    assert (
        len(outcome.splitlines()) == 1
        if isinstance(outcome, str)
        else (outcome.mazes.labels >= outcome.mazes.inputs).all()
    )
