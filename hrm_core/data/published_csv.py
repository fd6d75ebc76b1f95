"""Read CSV files in the format of the published puzzles: source,question,answer,rating.

A line is a puzzle; question and answer hold one character a cell. A file is read in blocks of whole
lines, and each check looks at all lines of a block at once. The task says what the characters mean
and which puzzles are valid. `named_csv.py` reads what is not written as plainly as this.

Shapes: L lines of a block, S cells.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hrm_core.data.puzzles import BoolArray, ByteArray, IntArray
from hrm_core.data.sources import unpacked
from hrm_core.errors import DataError
from hrm_core.messages import quoted

HEADER = b"source,question,answer,rating"
HEADER_LIMIT = 4096  # bytes; a file without line ends is not read any further
QUESTION, ANSWER, RATING = 1, 2, 3  # columns
NUM_COMMAS = 3  # of a line
BLOCK_BYTES = 1 << 22
MAX_RATING_DIGITS = 9  # fits int32
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

Span = tuple[IntArray, IntArray]  # (L,), (L,) start and end of a field of each line


class NotPlainError(Exception):
    """A file has other columns, quotes, or ratings that are no whole numbers."""


@dataclass(frozen=True)
class Block:
    """Whole lines of a file, without blank ones."""

    path: Path
    data: ByteArray
    starts: IntArray  # (L,) offset of each line in data
    ends: IntArray  # (L,) offset just behind it
    numbers: IntArray  # (L,) its number in the file, from 1
    spans: Mapping[int, Span] | None = None  # of columns; None: between the commas of a line

    def line(self, index: int) -> bytes:
        """Return one line as it stands in the file."""
        return self.data[self.starts[index] : self.ends[index]].tobytes()

    def fail(self, index: int, problem: str) -> DataError:
        """Make an error that names a line of the file."""
        return DataError(f"{self.path}:{self.numbers[index]}: {problem}")

    def check_encoding(self) -> None:
        """Refuse text that is not UTF-8."""
        try:
            self.data.tobytes().decode("utf-8")
        except UnicodeDecodeError as error:
            num_begun = int(np.searchsorted(self.starts, error.start, side="right"))
            index = num_begun - 1
            found = f"{error.object[error.start]:#04x}"
            problem = f"byte {found} is not UTF-8; save the file as UTF-8"
            raise self.fail(index, problem) from error

    @cached_property
    def commas(self) -> IntArray:
        """Return the offsets of the three commas of each line. Shape: (L, 3).

        Raises: DataError if a line has another number of them.
        """
        commas = np.flatnonzero(self.data == ord(","))
        before_end = np.searchsorted(commas, self.ends)
        before_start = np.searchsorted(commas, self.starts)
        counts = before_end - before_start
        for index in np.flatnonzero(counts != NUM_COMMAS)[:1]:
            found = f"{counts[index] + 1} columns in {quoted(self.line(index))}"
            raise self.fail(index, f"{found}; expected {HEADER.decode()}")
        return commas.reshape(-1, NUM_COMMAS)

    def column(self, number: int) -> Span:
        """Find a column other than the first."""
        if self.spans is not None:
            return self.spans[number]
        starts = self.commas[:, number - 1] + 1
        ends = self.commas[:, number] if number < NUM_COMMAS else self.ends
        return starts, ends

    def field(self, index: int, number: int) -> bytes:
        """Return the field of one line in a column other than the first."""
        starts, ends = self.column(number)
        return self.data[starts[index] : ends[index]].tobytes()

    def characters(self, number: int, name: str, num_cells: int, like: str) -> ByteArray:
        """Read the questions or the answers. Returns: (L, S).

        Raises: DataError if one does not have `num_cells` characters, like the first puzzle. `like`
        is the word for a puzzle in the message.
        """
        starts, ends = self.column(number)
        lengths = ends - starts
        for index in np.flatnonzero(lengths != num_cells)[:1]:
            found = f"the {name} has {lengths[index]} characters"
            raise self.fail(index, f"{found}; expected {num_cells}, as in the first {like}")
        windows = np.lib.stride_tricks.sliding_window_view(self.data, num_cells)
        characters: ByteArray = windows[starts]
        return characters

    def character(self, index: int, number: int, cell: int) -> str:
        """Return the character that begins at a cell of a question or an answer."""
        field = self.field(index, number)
        encoded = field[cell : cell + 4]  # a character has at most 4 bytes
        return encoded.decode("utf-8", "backslashreplace")[0]

    def ratings(self) -> npt.NDArray[np.int32]:
        """Read the last column. Returns: (L,).

        Raises: NotPlainError if a rating is not a whole number of at most nine digits.
        """
        starts, ends = self.column(RATING)
        lengths = ends - starts
        ratings = np.zeros(len(starts), dtype=np.int32)
        readable = (lengths > 0) & (lengths <= MAX_RATING_DIGITS)
        num_places = min(int(lengths.max()), MAX_RATING_DIGITS)
        for place in range(num_places):
            inside = lengths > place
            offsets = np.where(inside, starts + place, 0)
            digits = self.data[offsets].astype(np.int32) - ord("0")
            is_digit = (digits >= 0) & (digits <= 9)
            readable &= ~inside | is_digit
            longer = ratings * 10 + digits
            ratings = np.where(inside & readable, longer, ratings)
        if not readable.all():
            raise NotPlainError
        return ratings


def read_blocks(path: Path, kind: str) -> Generator[Block, None, None]:
    """Read the lines of a file in blocks. `kind` is the word for a puzzle in messages.

    Raises: NotPlainError if the header is another one or a field is quoted; DataError if the file cannot
        be read.
    """
    number = 2
    with unpacked(path, f"a CSV file of {kind}s") as file:
        header = file.readline(HEADER_LIMIT)
        if header.removeprefix(BYTE_ORDER_MARK).rstrip(b"\r\n") != HEADER:
            raise NotPlainError
        while lines := file.readlines(BLOCK_BYTES):
            text = b"".join(lines)
            if b'"' in text:
                raise NotPlainError
            block = _split(path, text, number)
            if len(block.numbers):
                yield block
            number += len(lines)


def _split(path: Path, text: bytes, first_number: int) -> Block:
    """Find the lines of a text that are not blank, without their line ends."""
    whole = text.removesuffix(b"\n") + b"\n"
    data = np.frombuffer(whole, dtype=np.uint8)
    ends = np.flatnonzero(data == ord("\n"))
    starts = np.concatenate([[0], ends[:-1] + 1])
    while (has_return := _end_in_return(data, starts, ends)).any():
        ends = ends - has_return
    kept = np.flatnonzero(ends > starts)
    return Block(path, data, starts[kept], ends[kept], first_number + kept)


def _end_in_return(data: ByteArray, starts: IntArray, ends: IntArray) -> BoolArray:
    """Mark the lines that end in a carriage return. Shapes: (L,), (L,) -> (L,)."""
    is_return: BoolArray = data[ends - 1] == ord("\r")
    return is_return & (ends > starts)
