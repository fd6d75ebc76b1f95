"""CSV files of puzzles as others write them: names, order, separators, quotes, ratings, packing."""

import csv
import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hrm_core.data.store import load_split
from hrm_core.errors import DataError
from hrm_tasks.sudoku.build import Options, build
from hrm_tasks.sudoku.csv_rows import csv_questions, read_csv
from hrm_tasks.sudoku.task import Sudoku

FIRST = "........1......23...4..5........6.75.18.......2...........2.......93..4.6...1...."
FIRST_ANSWER = "987362451165849237234175869493286175718453926526791384379624518851937642642518793"
SECOND = "98.7.....7.6...9...5.......4..9..6......5..3......2..1..98..4......1...5.....3.2."
SECOND_ANSWER = "983724156726581943154396278415937682692158734378642591239865417847219365561473829"
OURS = [6, 31]  # our ratings of the two
QUESTION, ANSWER = "12..............", "1234341221434321"
UNRATED = "no rating of our scale, so each puzzle is rated by the guesses of our solver"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mine.csv"


@pytest.fixture
def refusal(path: Path) -> Callable[[str], str]:
    def refused(text: str) -> str:
        path.write_text(text)
        with pytest.raises(DataError) as error:
            read_csv(path)
        message = str(error.value)
        assert "\n" not in message
        return message.removeprefix(str(path.parent) + "/")

    return refused


def assert_both(inputs: np.ndarray, labels: np.ndarray) -> None:
    task = Sudoku(9)
    assert [task.line(tokens) for tokens in inputs] == [FIRST, SECOND]
    assert [task.line(tokens) for tokens in labels] == [FIRST_ANSWER, SECOND_ANSWER]


@pytest.mark.parametrize(
    "name", ["float_rating", "pandas_index", "quoted_all", "reordered", "hf_dvsar", "kaggle1m"]
)
@pytest.mark.filterwarnings("ignore:.*no rating of our scale")
def test_given_files_are_read_as_they_are_meant(cases_dir: Path, name: str) -> None:
    puzzles = read_csv(cases_dir / "sudoku_csv" / f"{name}.csv")
    assert_both(puzzles.inputs, puzzles.labels)
    assert puzzles.ratings.tolist() == OURS
    others = {key: texts.tolist() for key, texts in puzzles.other_ratings.items()}
    assert others == ({"official_rating": ["7.2", "7.2"]} if name == "hf_dvsar" else {})


@pytest.mark.parametrize(
    "header",
    [
        ["question", "answer", "rating"],
        [" Question ", " ANSWER", "Rating "],
        ["puzzle", "solution", "rating"],
        ["quizzes", "solutions", "rating"],
        ["quiz", "solution", "rating"],
        ["board", "solution", "rating"],
        ["Sudoku", "Solution", "rating"],
        ["puzzles", "answers", "rating"],
    ],
)
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL], ids=["plain", "quoted"])
def test_columns_are_found_by_name_in_any_order(
    path: Path, header: list[str], delimiter: str, quoting: int
) -> None:
    rows = [header, [FIRST, FIRST_ANSWER, "7"], [SECOND, SECOND_ANSWER, "8.0"]]
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        with path.open("w", newline="") as file:
            writer = csv.writer(file, delimiter=delimiter, quoting=quoting)
            for number, row in enumerate(rows):
                source = "source" if not number else f"a{delimiter} b of {number}"
                writer.writerow([number or "", *(row[place] for place in order), source])
        puzzles = read_csv(path)
        assert_both(puzzles.inputs, puzzles.labels)
        assert puzzles.ratings.tolist() == [7, 8]


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_and_line_ends(path: Path, ends: str, encoding: str) -> None:
    lines = ["rating,puzzle,solution,by", f'5,{QUESTION},{ANSWER},"Zoë, 2"', "", ""]
    path.write_bytes(ends.join(lines).encode(encoding))
    assert read_csv(path).ratings.tolist() == [5]


def test_utf_16_that_is_cut_is_refused(path: Path) -> None:
    lines = ["puzzle,solution", f"{QUESTION},{ANSWER}"]
    path.write_bytes("\n".join(lines).encode("utf-16")[:-1])
    with pytest.raises(DataError, match=r"csv is no whole UTF-16 text; save it as UTF-8$"):
        read_csv(path)


@pytest.mark.parametrize(
    "question",
    [
        ",".join(FIRST.replace(".", "0")),
        str([int(cell) for cell in FIRST.replace(".", "0")]),
        " ".join(FIRST),
        "\n".join(FIRST[start : start + 9] for start in range(0, 81, 9)),
        str([FIRST[start : start + 9] for start in range(0, 81, 9)]),
        FIRST.replace(".", " "),
        f'=""{FIRST}""',
    ],
    ids=["commas", "list", "blanks", "rows", "list of rows", "spaces", "formula"],
)
def test_cells_may_be_apart_inside_quotes(path: Path, question: str) -> None:
    path.write_text(f'puzzle,solution,rating\n"{question}",{FIRST_ANSWER},1\n')
    assert Sudoku(9).line(read_csv(path).inputs[0]) == FIRST
    assert list(map(Sudoku(9).line, Sudoku(9).read_file(path))) == [FIRST]


@pytest.mark.parametrize("blank", list(".0_-*"))
def test_blanks_and_a_line_of_excel(path: Path, blank: str) -> None:
    path.write_text(
        f"sep=;\nrating;puzzle;solution\n4;{FIRST.replace('.', blank)};{FIRST_ANSWER}\n"
    )
    assert Sudoku(9).line(read_csv(path).inputs[0]) == FIRST
    path.write_text(path.read_text() + "4;1;2")
    with pytest.raises(DataError, match="csv:4: the question has 1 characters; expected 81"):
        read_csv(path)


def test_quotes_anywhere_in_a_published_file_are_understood(path: Path) -> None:
    plain = f"mine,{QUESTION},{ANSWER},3"
    lines = ["source,question,answer,rating", *[plain] * 40, plain.replace("mine", '"mine, too"')]
    path.write_text("\n".join(lines))
    assert len(read_csv(path).ratings) == 41


def test_packed_files_are_unpacked(path: Path, tmp_path: Path) -> None:
    text = f"source,question,answer,rating\nme,{QUESTION},{ANSWER},3\n"
    path.write_text(text)
    plain = read_csv(path)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(text.encode()))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("folder/a.csv", text.replace("source,", "by,"))
        archive.writestr("__MACOSX/folder/._a.csv", "x")
        archive.writestr("README.md", "x")
    for packed in ("a.csv.gz", "a.zip"):
        found = read_csv(tmp_path / packed)
        np.testing.assert_array_equal(found.inputs, plain.inputs)
        assert found.ratings.tolist() == [3]


def test_damaged_or_unclear_archives_are_refused(path: Path) -> None:
    packed = gzip.compress(f"question,answer\n{QUESTION},{ANSWER}\n".encode() * 99)
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(DataError, match=r"mine\.csv cannot be unpacked \(.*\); copy or download"):
        read_csv(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train.csv", "a")
        archive.writestr("test.csv", "a")
    with pytest.raises(DataError, match=r"holds 2 CSV files: train\.csv, test\.csv; expected one"):
        read_csv(path)


@pytest.mark.parametrize(
    ("column", "values", "kept"),
    [
        ("rating", ["7.2", "8.0"], True),
        ("rating", ["7.2", "8"], True),
        ("rating", ['"7,2"', '"6,5"'], True),
        ("rating", ["easy", "hard"], True),
        ("Difficulty", ["0.0", "1"], True),
        ("clues", ["17", "21"], False),
    ],
)
def test_ratings_of_another_scale_are_kept_as_text(
    path: Path, column: str, values: list[str], kept: bool
) -> None:
    pairs = zip((FIRST, SECOND), (FIRST_ANSWER, SECOND_ANSWER), values, strict=True)
    path.write_text("\n".join([f"puzzle,solution,{column}", *map(",".join, pairs)]))
    with pytest.warns(UserWarning, match=UNRATED + (f"; kept as text: {column}$" if kept else "$")):
        puzzles = read_csv(path)
    assert puzzles.ratings.tolist() == OURS
    expected = [value.strip('"') for value in values]
    assert [texts.tolist() for texts in puzzles.other_ratings.values()] == [expected] * kept


@pytest.mark.filterwarnings("ignore:.*no rating of our scale")
def test_a_data_set_holds_our_ratings_and_the_others(path: Path, tmp_path: Path) -> None:
    rows = [f"{FIRST},{FIRST_ANSWER},easy", f"{SECOND},{SECOND_ANSWER},hard"]
    path.write_text("\n".join(["puzzle,solution,level", *rows * 10]))
    options = Options(train_csv=path, test_csv=path, subsample=5, augment=1)
    build(tmp_path / "out", options)
    split = load_split(tmp_path / "out", "train").sets["all"]
    assert split.ratings is not None
    with (tmp_path / "out" / "ratings.csv").open() as file:
        lines = list(csv.DictReader(file))
    train = [line for line in lines if line["split"] == "train"]
    assert [int(line["group"]) for line in train] == list(range(5))
    ours = dict(zip(["easy", "hard"], OURS, strict=True))
    assert [ours[line["level"]] for line in train] == split.ratings[::2].tolist()
    assert len(lines) == 25


def test_minimum_rating_is_ours_where_the_file_has_none(path: Path) -> None:
    path.write_text(f"puzzle,solution\n{FIRST},{FIRST_ANSWER}\n{SECOND},{SECOND_ANSWER}\n")
    with pytest.warns(UserWarning, match=UNRATED):
        assert read_csv(path, min_rating=7).ratings.tolist() == [31]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("question,rating\n", "mine.csv: no puzzle after the header; expected one a line"),
        (
            f"question,rating\n{QUESTION},1\n",
            "mine.csv:1: no column of answers among question,rating; expected one called answer",
        ),
        (
            f"question,puzzle,answer\n{QUESTION},{QUESTION},{ANSWER}\n",
            "mine.csv:1: both 'question' and 'puzzle' may be the questions; take one column out",
        ),
        (
            f"question,answer,solution\n{QUESTION},{ANSWER},{ANSWER}\n",
            "mine.csv:1: both 'answer' and 'solution' may be the answers",
        ),
        (
            f"question,answer\nme,{QUESTION},{ANSWER},1\n",
            f"mine.csv:2: 4 columns in 'me,{QUESTION},{ANSWER},1'; expected question,answer",
        ),
        (
            f"question,source,answer,rating\nme,{QUESTION},{ANSWER},1\n",
            f"mine.csv:2: 'me,{ANSWER}' has a question of 2 characters; expected 16, 36 or 81",
        ),
        (
            f"puzzle;solution\n{QUESTION};{ANSWER}\n\n{QUESTION};{ANSWER[:-1]}5\n",
            "mine.csv:4: '5' at place 16 of the answer; expected digits 1 to 4",
        ),
        (
            f"puzzle,solution,rating\n{QUESTION},{ANSWER},1\n{QUESTION},{ANSWER},2\n{QUESTION},{ANSWER},1.5\n",
            "mine.csv:4: the rating is '1.5'; expected a whole number from 0 to 999999999, or",
        ),
        (
            f"puzzle,solution,rating\n{QUESTION},{ANSWER},1\n{QUESTION},{ANSWER},easy\n",
            "mine.csv:3: the rating is 'easy'; expected a whole number from 0 to 999999999",
        ),
        (
            "version https://git-lfs.github.com/spec/v1\noid sha256:1\n",
            "mine.csv is a pointer of Git LFS, not the file itself; get it by git lfs pull",
        ),
        (f'puzzle,solution\n"{QUESTION}"x,{ANSWER}\n', "mine.csv:2: not CSV"),
        ("puzzle,solution\n" + "1" * 200_000, "mine.csv:2: more than 131,072 characters"),
    ],
)
def test_what_is_no_such_file_is_refused_with_its_line(
    refusal: Callable[[str], str], text: str, message: str
) -> None:
    assert refusal(text).startswith(message)


def test_an_id_called_puzzle_is_not_taken_for_one(path: Path) -> None:
    path.write_text(f"puzzle,board,solution,rating\n17,{QUESTION},{ANSWER},2\n")
    assert read_csv(path).ratings.tolist() == [2]


@pytest.mark.filterwarnings("ignore:.*no rating of our scale")
def test_solve_takes_the_questions_of_such_files(
    cases_dir: Path, path: Path, tmp_path: Path
) -> None:
    task = Sudoku(9)
    for given in sorted((cases_dir / "sudoku_csv").iterdir()):
        found = task.read_file(given)
        assert [task.line(tokens) for tokens in found] == [FIRST, SECOND]
        np.testing.assert_array_equal(task.parse(given.read_text()), found)
    path.write_text(f"puzzle\n{FIRST}\n{SECOND}\n")
    (tmp_path / "mine.csv.gz").write_bytes(gzip.compress(path.read_bytes()))
    for one_column in (path, tmp_path / "mine.csv.gz"):
        assert len(task.read_file(one_column)) == 2


def test_answers_are_not_taken_for_questions_that_cannot_be_read() -> None:
    digits = FIRST.replace(".", "0").lstrip("0")  # as Excel drops zeros
    with pytest.raises(
        DataError, match=r"text:2: the column 'quiz' has '1000.*; expected all cells"
    ):
        Sudoku(9).parse(f"quiz,solution\n{digits},{FIRST_ANSWER}\n")


@pytest.mark.parametrize(
    "text", [FIRST, "puzzle\n" + FIRST, "Sudoku, easy\n" + FIRST, "quiz;x\n1;2", "", "\n"]
)
def test_other_texts_are_left_to_the_reader_of_texts(text: str) -> None:
    assert csv_questions(text) is None
