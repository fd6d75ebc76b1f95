"""Read CSV files of puzzles as others write them; columns are found by their names.

Columns may stand in any order, beside others; their names are compared without case, blanks and
`_`. Commas, semicolons or tabs separate them, and fields may be quoted. A file that is as plain as
the published ones is read by `published_csv.py`, many times faster.

Shapes: N puzzles, L lines of a block, S cells.
"""

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
import numpy.typing as npt

from hrm_core.data.encodings import marked_encoding
from hrm_core.data.label_tables import DELIMITERS, key_of
from hrm_core.data.published_csv import (
    ANSWER,
    HEADER,
    MAX_RATING_DIGITS,
    QUESTION,
    Block,
    NotPlainError,
    read_blocks,
)
from hrm_core.data.puzzles import NO_TEXTS, Puzzles, TextArray
from hrm_core.data.sources import CSV_SUFFIXES, unpacked
from hrm_core.errors import DataError
from hrm_core.messages import one_line, quoted, shortened, warn

QUESTION_NAMES = ("question", "questions", "puzzle", "puzzles", "quiz", "quizzes", "board")
ANSWER_NAMES = ("answer", "answers", "solution", "solutions")
RATING_NAME = "rating"
OTHER_RATINGS = ("rating", "difficulty", "level")  # in the names of columns on other scales
TEXT = Path("text")  # the name of what has no file
BLOCK_FIELDS = 1 << 17  # in memory at once
LINE_LIMIT = 1 << 17  # characters
WHOLE = re.compile(rf"([0-9]{{1,{MAX_RATING_DIGITS}}})([.,]0*)?")
FRACTION = re.compile(r"[0-9]*[.,][0-9]+")
UNDECODED = re.compile("[\udc80-\udcff]")  # a byte that is not UTF-8, as Python writes it

Array = npt.NDArray[Any]
Check = Callable[[Block], Sequence[Array]]  # returns arrays (L, ...)


@dataclass(frozen=True)
class PuzzleFormat:
    """Describe the puzzles of a task in CSV files."""

    kind: str  # of a puzzle in messages
    names: tuple[str, ...]  # of the column of questions, beside `QUESTION_NAMES`
    clean: Callable[[str, str], tuple[str, str]]  # writes question and answer a character a cell
    fits: Callable[[str], bool]  # True if a field can be a question
    rated_by: str  # where a file has no ratings
    blanks_are_cells: bool = False
    meaning: Callable[[str], str] = lambda question: ""  # what its characters are taken for


class Rows(NamedTuple):
    """The puzzles of a file."""

    arrays: Sequence[Array]  # (N, ...) what was returned by the check
    ratings: npt.NDArray[np.int32] | None  # (N,); None if the file has none, or of another scale
    other_ratings: Mapping[str, TextArray] = NO_TEXTS  # (N,) of other scales, by column


def read_rows(path: Path, form: PuzzleFormat, begin: Callable[[Block], Check]) -> Rows:
    """Read the puzzles of a CSV file, plain or not, also of one in a .gz or .zip file.

    `begin` takes the first block of a file and returns the check of all its blocks, which reads
    questions and answers. It warns of a rating that is missing or of another scale.

    Raises: DataError naming the file and the line.
    """
    try:
        return _plain_rows(path, form, begin)
    except NotPlainError:
        with _text_of(path, f"a CSV file of {form.kind}s") as text:
            return _named_rows(NamedFile(path, text, form), begin)


def at_least(puzzles: Puzzles, min_rating: int, path: Path, kind: str) -> Puzzles:
    """Select the puzzles that are rated `min_rating` or more. Raises: DataError if there are none."""
    is_chosen = puzzles.ratings >= min_rating
    if is_chosen.all():
        return puzzles
    if not is_chosen.any():
        found = f"no {kind} is rated {min_rating} or more"
        raise DataError(f"{path}: {found}; use a lower minimum rating")
    return puzzles.select(is_chosen)


def read_questions(source: Path | str, form: PuzzleFormat) -> str | None:
    """Read the questions alone, of a file or of its text, for `hrm solve`.

    Returns: a text with each question on the line where it stands there; None if it is no such CSV
    file. A line with one name may be a title, unless the file is called .csv.

    Raises: DataError naming the file and the line.
    """
    path = source if isinstance(source, Path) else TEXT
    with _text_of(source, f"a file of {form.kind}s") as text:
        try:
            found = NamedFile(path, text, form)
        except DataError:  # a text of another kind
            return None
        is_title = len(found.names) == 1 and not found.is_called_csv
        if is_title or found.first is None:
            return None
        if not form.fits(found.first.fields[found.question]):
            found.check_no_answers()
            return None
        lines: list[str] = []
        for row in found.all_rows():
            lines += [""] * (row.number - 1 - len(lines))
            question, _ = found.cleaned(row)
            lines.append(question)
        found.warn_of_meanings()
        return "\n".join(lines)


@contextmanager
def _text_of(source: Path | str, expected: str) -> Iterator[TextIO]:
    """Open a file, or a text, to read: UTF-8, or UTF-16 if it says so, with any line ends.

    A byte that is not UTF-8 becomes a character that `_lines` refuses. Raises: DataError.
    """
    if isinstance(source, str):
        yield io.StringIO(source, newline=None)
        return
    with unpacked(source, expected) as file:
        text = io.TextIOWrapper(file, marked_encoding(file.peek(4)), "surrogateescape")
        try:
            yield text
        finally:
            text.detach()


def _plain_rows(path: Path, form: PuzzleFormat, begin: Callable[[Block], Check]) -> Rows:
    check: Check | None = None
    parts: list[Sequence[Array]] = []
    ratings = []
    with closing(read_blocks(path, form.kind)) as blocks:
        for block in blocks:
            check = check or begin(block)
            parts.append(check(block))
            ratings.append(block.ratings())
    arrays = _joined(path, form, parts)
    return Rows(arrays, np.concatenate(ratings))


def _named_rows(file: "NamedFile", begin: Callable[[Block], Check]) -> Rows:
    check: Check | None = None
    parts: list[Sequence[Array]] = []
    others: list[list[str]] = [[] for _ in file.other_ratings]
    ratings: list[str] = []
    numbers: list[int] = []
    for rows in file.blocks():
        block = file.block(rows)
        check = check or begin(block)
        parts.append(check(block))
        numbers += [row.number for row in rows]
        if file.rating is not None:
            ratings += [row.fields[file.rating].strip() for row in rows]
        for texts, place in zip(others, file.other_ratings, strict=True):
            texts += [row.fields[place].strip() for row in rows]
    file.warn_of_meanings()
    arrays = _joined(file.path, file.form, parts)
    named = {
        file.names[place]: texts for place, texts in zip(file.other_ratings, others, strict=True)
    }
    whole = None
    if file.rating is not None:
        whole = _whole_ratings(file, ratings, numbers)
        if whole is None:
            named = {file.names[file.rating]: ratings, **named}
    if whole is None:
        _warn_of_ratings(file, list(named))
    return Rows(arrays, whole, {name: np.array(texts, object) for name, texts in named.items()})


def _joined(path: Path, form: PuzzleFormat, parts: Sequence[Sequence[Array]]) -> list[Array]:
    """Join the arrays of all blocks. Raises: DataError if there are none."""
    if not parts:
        raise DataError(f"{path}: no {form.kind} after the header; expected one a line")
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]


def _whole_ratings(
    file: "NamedFile", texts: Sequence[str], numbers: Sequence[int]
) -> npt.NDArray[np.int32] | None:
    """Read the ratings (N,) of a file if all are whole numbers, 6 or 6.0.

    Returns: None if they are of another scale: half of them or more have a fraction, or all are words.

    Raises: DataError naming the line of the first that is no whole number.
    """
    known = set(texts)
    whole = {text: int(found[1]) for text in known if (found := WHOLE.fullmatch(text))}
    if len(whole) == len(known):
        return np.array([whole[text] for text in texts], np.int32)
    fractions = {text for text in known - whole.keys() if FRACTION.fullmatch(text)}
    if len(whole) + len(fractions) == len(known):
        num_fractions = sum(text in fractions for text in texts)
        if 2 * num_fractions >= len(texts):
            return None
    if all(text[:1].isalpha() for text in known):
        return None
    lines = zip(numbers, texts, strict=True)
    number, text = next((number, text) for number, text in lines if text not in whole)
    limit = 10**MAX_RATING_DIGITS - 1
    expected = f"expected a whole number from 0 to {limit}, or rename the column of another scale"
    raise file.fail(number, f"the rating is {quoted(text)}; {expected}")


def _warn_of_ratings(file: "NamedFile", kept: Sequence[str]) -> None:
    """Say which ratings a data set will have."""
    form = file.form
    lacks = f"no {RATING_NAME} of our scale, so each {form.kind} is rated by {form.rated_by}"
    texts = f"; kept as text: {', '.join(kept)}" if kept else ""
    warn(f"{file.path} has {lacks}{texts}")


class Row(NamedTuple):
    """The fields of one row."""

    number: int  # of its last line in the file, from 1
    fields: Sequence[str]


class NamedFile:
    """An open CSV file whose header and first row have been read; columns are known by place."""

    def __init__(self, path: Path, text: TextIO, form: PuzzleFormat) -> None:
        """Raises: DataError if the first line names no column of questions, or several."""
        self.path = path
        self.form = form
        self._meanings: dict[str, int] = {}  # line of the first puzzle with each
        self._lines = _lines(path, text)
        header = next(self._lines, "").rstrip("\n")
        self._line = 1  # of the header
        if header.lower().startswith("sep="):  # Excel's
            header = next(self._lines, "").rstrip("\n")
            self._line = 2
        self._delimiter, self.names = _split_header(header, form)
        self._header = shortened(",".join(self.names))
        self._rows = self._read_rows()
        questions = self._places((*QUESTION_NAMES, *form.names))
        if not questions:
            raise self.fail(
                self._line,
                f"the header is {quoted(header)}; expected {HEADER.decode()!r}, "
                "or columns called question or puzzle, and answer or solution",
            )
        self.first = next(self._rows, None)
        if self.first is not None and len(questions) > 1:
            fields = self.first.fields
            questions = [place for place in questions if form.fits(fields[place])] or questions
        self.question = self._one_of(questions, "questions")
        self._answers = self._places(ANSWER_NAMES)
        ratings = self._places((RATING_NAME,))
        self.rating = self._one_of(ratings, "ratings") if ratings else None
        self.other_ratings = [
            place
            for place, name in enumerate(self.names)
            if any(word in key_of(name) for word in OTHER_RATINGS) and place != self.rating
        ]

    @property
    def is_called_csv(self) -> bool:
        """Return True if the name of the file says what it is."""
        return any(suffix.lower() in CSV_SUFFIXES for suffix in self.path.suffixes)

    def all_rows(self) -> Iterator[Row]:
        """Yield every row that is not empty."""
        if self.first is not None:
            yield self.first
        yield from self._rows

    def blocks(self) -> Iterator[list[Row]]:
        """Yield the rows in blocks."""
        rows = self.all_rows()
        num_rows = max(1, BLOCK_FIELDS // len(self.names))
        while block := list(islice(rows, num_rows)):
            yield block

    def check_no_answers(self) -> None:
        """Refuse a file with answers whose first question is none: the answers are no questions."""
        if self._answers and self.first is not None:
            found = quoted(self.first.fields[self.question])
            name = quoted(self.names[self.question])
            expected = f"expected all cells of a {self.form.kind}, blanks as ."
            raise self.fail(self.first.number, f"the column {name} has {found}; {expected}")

    def cleaned(self, row: Row, answer: int | None = None) -> tuple[str, str]:
        """Write question and answer a character a cell; no answer, unless its place is given."""
        question = row.fields[self.question]
        if meaning := self.form.meaning(question):
            self._meanings.setdefault(meaning, row.number)
        return self.form.clean(question, "" if answer is None else row.fields[answer])

    def warn_of_meanings(self) -> None:
        """Say once what was taken for granted, with the line of the first puzzle of each kind."""
        for meaning, number in self._meanings.items():
            warn(f"{self.path}:{number}: {meaning}")

    def block(self, rows: Sequence[Row]) -> Block:
        """Lay out questions and answers as in a plain file."""
        if not self._answers:
            expected = "expected one called answer or solution"
            raise self.fail(self._line, f"no column of answers among {self._header}; {expected}")
        answer = self._one_of(self._answers, "answers")
        lines, lengths = [], []
        for row in rows:
            encoded = [field.encode() for field in self.cleaned(row, answer)]
            lines += encoded
            lengths.append([len(field) for field in encoded])
        sizes = np.array(lengths) + 1  # a comma or an end follows
        ends = np.cumsum(sizes).reshape(-1, 2) - 1
        starts = ends + 1 - sizes
        data = np.frombuffer(b",".join([*lines, b""]), np.uint8)
        spans = {QUESTION: (starts[:, 0], ends[:, 0]), ANSWER: (starts[:, 1], ends[:, 1])}
        numbers = np.array([row.number for row in rows])
        return Block(self.path, data, starts[:, 0], ends[:, 1], numbers, spans)

    def fail(self, number: int, problem: str) -> DataError:
        """Make an error that names a line of the file."""
        return DataError(f"{self.path}:{number}: {problem}")

    def _read_rows(self) -> Iterator[Row]:
        """Read rows. Raises: DataError naming the line of one that is no CSV or has other columns."""
        width = len(self.names)
        reader = csv.reader(
            self._lines,
            delimiter=self._delimiter,
            strict=True,
            skipinitialspace=not self.form.blanks_are_cells,
        )
        try:
            for fields in reader:
                while len(fields) > width and not fields[-1]:
                    fields.pop()
                if not any(fields):
                    continue
                number = self._line + reader.line_num
                if len(fields) != width:
                    found = quoted(self._delimiter.join(fields))
                    expected = f"expected {self._header}"
                    raise self.fail(number, f"{len(fields)} columns in {found}; {expected}")
                yield Row(number, fields)
        except csv.Error as error:
            raise self.fail(
                self._line + reader.line_num, f"not CSV ({error}); mend the line"
            ) from error

    def _places(self, names: Sequence[str]) -> list[int]:
        """Find the columns of these names."""
        return [place for place, name in enumerate(self.names) if key_of(name) in names]

    def _one_of(self, places: Sequence[int], what: str) -> int:
        """Return the only place. Raises: DataError naming two columns if there are several."""
        if len(places) > 1:
            first, second = (quoted(self.names[place]) for place in places[:2])
            raise self.fail(
                self._line, f"both {first} and {second} may be the {what}; take one column out"
            )
        return places[0]


def _lines(path: Path, text: TextIO) -> Iterator[str]:
    """Yield the lines of a file. Raises: DataError naming one that is too long or is not decoded."""
    number = 0
    while line := _read_line(path, text):
        number += 1
        if not line.isascii() and (found := UNDECODED.search(line)):
            byte = ord(found[0]) - 0xDC00
            raise DataError(
                f"{path}:{number}: byte {byte:#04x} is not UTF-8; save the file as UTF-8"
            )
        if len(line) == LINE_LIMIT:
            raise DataError(f"{path}:{number}: more than {LINE_LIMIT:,} characters in a line")
        yield line


def _read_line(path: Path, text: TextIO) -> str:
    """Read a line, "" at the end. Raises: DataError if UTF-16 is cut, the only error that raises."""
    try:
        return text.readline(LINE_LIMIT)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no whole UTF-16 text; save it as UTF-8") from error


def _split_header(header: str, form: PuzzleFormat) -> tuple[str, list[str]]:
    """Split a header at the character that gives a column of questions and the most columns."""
    known = {*QUESTION_NAMES, *form.names}
    found = []
    for delimiter in DELIMITERS:
        names = next(csv.reader([header], delimiter=delimiter, skipinitialspace=True), [])
        names = [one_line(name) for name in names]
        has_questions = any(key_of(name) in known for name in names)
        found.append((has_questions, len(names), delimiter, names))
    *_, delimiter, names = max(found, key=lambda split: split[:2])
    return delimiter, names
