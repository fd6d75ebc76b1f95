import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrm_core.data import published_csv
from hrm_core.data.puzzles import Puzzles
from hrm_core.errors import DataError
from hrm_tasks.sudoku.csv_rows import read_csv
from hrm_tasks.sudoku.task import Sudoku

HEADER = "source,question,answer,rating"
GOOD = "mine,12..............,1234341221434321,7"
NINE = (
    "kaggle,53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79,"
    "534678912672195348198342567859761423426853791713924856961537284287419635345286179,0"
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


def read_or_refuse(path: Path) -> Puzzles | str:
    try:
        with warnings.catch_warnings(action="ignore"):  # of a header without ratings
            return read_csv(path)
    except DataError as error:
        return str(error)


def test_lines_become_tokens_and_ratings(path: Path) -> None:
    puzzles = read_csv(written(path, HEADER, GOOD, GOOD))
    assert (puzzles.inputs.dtype, puzzles.labels.dtype, puzzles.ratings.dtype) == (
        np.uint8,
        np.uint8,
        np.int32,
    )
    np.testing.assert_array_equal(puzzles.inputs, [[2, 3] + [1] * 14] * 2)
    np.testing.assert_array_equal(puzzles.labels[0, :8], [2, 3, 4, 5, 4, 5, 2, 3])
    assert puzzles.ratings.tolist() == [7, 7]


def test_published_files_are_read_whole(data_dir: Path) -> None:
    puzzles = read_csv(data_dir / "sudoku" / "test.csv")
    bands = np.searchsorted(Sudoku(9).rating_bands, puzzles.ratings, side="right")
    assert np.bincount(bands).tolist() == [0, 1000, 750, 750, 500, 500, 500]  # the README's table
    assert puzzles.inputs.shape == puzzles.labels.shape == (4000, 81)
    assert (puzzles.inputs > 1).sum(axis=1).min() == 17
    assert Sudoku(9).accepts_all(puzzles.inputs, puzzles.labels).all()


def test_sixteen_thousand_lines_take_less_than_a_second(data_dir: Path) -> None:
    started = time.perf_counter()
    assert len(read_csv(data_dir / "sudoku" / "train.csv").ratings) == 16_000
    assert time.perf_counter() - started < 1  # measured: 0.1 s


def test_size_of_a_block_does_not_matter(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [GOOD.replace(",7", f",{rating}") for rating in range(50)]
    monkeypatch.setattr(published_csv, "BLOCK_BYTES", 100)
    assert read_csv(written(path, HEADER, *lines)).ratings.tolist() == list(range(50))
    assert refusal(path, *lines, "bad").startswith("train.csv:52: ")


def test_minimum_rating_is_inclusive(path: Path) -> None:
    written(path, HEADER, *(GOOD.replace(",7", f",{rating}") for rating in (0, 5, 6)))
    assert read_csv(path, min_rating=5).ratings.tolist() == [5, 6]
    with pytest.raises(DataError, match="no puzzle is rated 7 or more"):
        read_csv(path, min_rating=7)


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_byte_order_mark_line_ends_and_blank_lines_are_passed_over(path: Path, end: str) -> None:
    assert (
        len(read_csv(written(path, "\ufeff" + HEADER, GOOD, "", GOOD, "", "", end=end)).ratings)
        == 2
    )


def test_last_line_may_lack_its_end(path: Path) -> None:
    path.write_text(f"{HEADER}\n{NINE}")
    assert read_csv(path).inputs.shape == (1, 81)


def test_zero_is_a_blank_of_the_question(path: Path) -> None:
    inputs = read_csv(written(path, HEADER, GOOD.replace(".", "0"))).inputs
    np.testing.assert_array_equal(inputs, [[2, 3] + [1] * 14])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (GOOD + ",more", "5 columns"),
        (GOOD.replace(",7", ""), "3 columns"),
        (GOOD.replace("....", "...", 1), "the question has 15 characters; expected 16"),
        (GOOD.replace("4321,", "43211,"), "the answer has 17 characters; expected 16"),
        (NINE, "the question has 81 characters; expected 16, as in the first puzzle"),
        (
            GOOD.replace("12..", "12.x"),
            "'x' at place 4 of the question; expected digits 1 to 4 or . for a blank",
        ),
        (GOOD.replace("12...", "12é.."), "the question has 17 characters"),
        (GOOD.replace("12....", "12é.."), "'é' at place 3 of the question"),
        (GOOD.replace("4321,", "432.,"), "'.' at place 16 of the answer; expected digits 1 to 4"),
        (GOOD.replace("4321,", "4325,"), "'5' at place 16 of the answer"),
        (GOOD.replace("4321,", "4312,"), "the answer repeats a digit"),
        (GOOD.replace("12..", "13.."), "the answer has 2 at row 1, column 2; expected 3"),
        (GOOD.replace(",7", ","), "the rating is ''; expected a whole number"),
        (GOOD.replace(",7", ",-1"), "the rating is '-1'"),
        (GOOD.replace(",7", ",1.5"), "the rating is '1.5'"),
        (GOOD.replace(",7", ",1234567890"), "the rating is '1234567890'"),
    ],
)
def test_bad_line_is_named_with_what_was_expected(path: Path, line: str, message: str) -> None:
    found = refusal(path, GOOD, "", line, GOOD)
    assert found.startswith("train.csv:4: ")
    assert message in found


def test_first_puzzle_of_no_known_size_is_refused(path: Path) -> None:
    assert (
        refusal(path, "mine,12..,1234,0")
        == "train.csv:2: 'mine,12..,1234,0' has a question of 4 characters; expected 16, 36 or 81"
    )
    assert "question of 0 characters" in refusal(path, "\x00", GOOD)


@pytest.mark.parametrize("header", ["", "source,rating", "answer,solution", "x" * 10_000])
def test_other_header_is_refused_with_the_one_expected(path: Path, header: str) -> None:
    with pytest.raises(DataError, match=rf"train\.csv:1: the header is '.*'; expected '{HEADER}'"):
        read_csv(written(path, header, GOOD))


def test_file_without_puzzles_is_refused(path: Path) -> None:
    assert refusal(path) == "train.csv: no puzzle after the header; expected one a line"
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"train\.csv:1: the header is ''"):
        read_csv(path)


def test_missing_file_and_folder_are_refused(path: Path) -> None:
    with pytest.raises(DataError, match=r"train\.csv: No such file"):
        read_csv(path)
    with pytest.raises(DataError, match="expected a CSV file"):
        read_csv(path.parent)


def test_bytes_that_are_not_utf_8_are_named_with_their_line(path: Path) -> None:
    path.write_bytes(
        "\n".join([HEADER, GOOD, GOOD.replace("mine", "Zürich"), ""]).encode("latin-1")
    )
    with pytest.raises(DataError, match=r"train\.csv:3: byte 0xfc is not UTF-8"):
        read_csv(path)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(
    content=st.binary(max_size=200) | st.text(alphabet="1234.,\r\n", max_size=100).map(str.encode),
    insert_at=st.integers(0, 120),
)
def test_any_content_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, insert_at: int
) -> None:
    good = "\n".join([HEADER, GOOD, GOOD, ""]).encode()
    path = tmp_path_factory.getbasetemp() / "fuzz.csv"
    path.write_bytes(good[:insert_at] + content + good[insert_at:])
    outcome = read_or_refuse(path)
    if isinstance(outcome, Puzzles):
        assert Sudoku(4).accepts_all(outcome.inputs, outcome.labels).all()
    else:
        assert outcome.startswith(str(path))
        assert len(outcome.splitlines()) == 1
