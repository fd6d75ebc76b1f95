"""Reads CSV files in the format of the published puzzles: source,question,answer,rating, a puzzle a line.

Question and answer hold one character a cell. A file is read in blocks of whole lines, and each check looks at all lines
of a block at once. What the characters mean and which puzzles are sound is for the task to say.

Shapes: L lines of a block, S cells.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hrm_core.data.puzzles import ByteArray, IntArray, Puzzles
from hrm_core.errors import DataError
from hrm_core.messages import quoted

HEADER = b"source,question,answer,rating"
HEADER_LIMIT = 4096  # bytes; no header is longer, but a file without lines may be
QUESTION, ANSWER, RATING = 1, 2, 3  # columns
NUM_COMMAS = 3  # of a line
BLOCK_BYTES = 1 << 22
MAX_RATING_DIGITS = 9  # fits int32
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Block:
    """Whole lines of a file, blank ones left out."""

    path: Path
    data: ByteArray
    starts: IntArray  # (L,) offset of each line in data
    ends: IntArray  # (L,) offset just behind it
    numbers: IntArray  # (L,) its number in the file, from 1

    def line(self, index: int) -> bytes:
        """Return one line as it stands in the file."""
        return self.data[self.starts[index] : self.ends[index]].tobytes()

    def fail(self, index: int, problem: str) -> DataError:
        """Make the error that names a line of the file."""
        return DataError(f"{self.path}:{self.numbers[index]}: {problem}")

    def check_encoding(self) -> None:
        """Refuse text that is not UTF-8."""
        try:
            self.data.tobytes().decode("utf-8")
        except UnicodeDecodeError as error:
            index = int(np.searchsorted(self.starts, error.start, side="right")) - 1
            found = f"{error.object[error.start]:#04x}"
            problem = f"byte {found} is not UTF-8; save the file as UTF-8"
            raise self.fail(index, problem) from error

    @cached_property
    def commas(self) -> IntArray:
        """The offsets of the commas of each line, checked to be three. Shape: (L, 3)."""
        commas = np.flatnonzero(self.data == ord(","))
        counts = np.searchsorted(commas, self.ends) - np.searchsorted(commas, self.starts)
        for index in np.flatnonzero(counts != NUM_COMMAS)[:1]:
            found = f"{counts[index] + 1} columns in {quoted(self.line(index))}"
            raise self.fail(index, f"{found}; expected {HEADER.decode()}")
        return commas.reshape(-1, NUM_COMMAS)

    def column(self, number: int) -> tuple[IntArray, IntArray]:
        """Find a column behind the first. Returns: (L,), (L,) where it starts and ends in each line."""
        ends = self.commas[:, number] if number < NUM_COMMAS else self.ends
        return self.commas[:, number - 1] + 1, ends

    def field(self, index: int, number: int) -> bytes:
        """Return the field of one line in a column behind the first."""
        starts, ends = self.column(number)
        return self.data[starts[index] : ends[index]].tobytes()

    def characters(self, number: int, name: str, num_cells: int, like: str) -> ByteArray:
        """Read the questions or the answers. Returns: (L, S).

        Raises: DataError if one has not `num_cells` characters, as the first puzzle has; `like` is what a message calls that.
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
        start = self.field(index, number)[cell : cell + 4]  # bytes of one character
        return start.decode("utf-8", "backslashreplace")[0]

    def ratings(self) -> npt.NDArray[np.int32]:
        """Read the last column. Returns: (L,).

        Raises: DataError if a rating is no whole number of at most nine digits.
        """
        starts, ends = self.column(RATING)
        lengths = ends - starts
        ratings = np.zeros(len(starts), dtype=np.int32)
        readable = (lengths > 0) & (lengths <= MAX_RATING_DIGITS)
        for place in range(min(int(lengths.max()), MAX_RATING_DIGITS)):
            inside = lengths > place
            digits = self.data[np.where(inside, starts + place, 0)].astype(np.int32) - ord("0")
            readable &= ~inside | (digits >= 0) & (digits <= 9)
            ratings = np.where(inside & readable, ratings * 10 + digits, ratings)
        for index in np.flatnonzero(~readable)[:1]:
            limit = 10**MAX_RATING_DIGITS - 1
            found = quoted(self.field(index, RATING))
            problem = f"the rating is {found}; expected a whole number from 0 to {limit}"
            raise self.fail(index, problem)
        return ratings


def read_blocks(path: Path, kind: str, quote: Callable[[bytes], str] = quoted) -> Iterator[Block]:
    """Read the lines of a file in blocks.

    `kind` is what messages call a puzzle, `quote` how they show another header.
    Raises: DataError if the file cannot be read or has another header.
    """
    number = 2
    try:
        with path.open("rb") as file:
            _check_header(path, file.readline(HEADER_LIMIT), quote)
            while lines := file.readlines(BLOCK_BYTES):
                block = _split(path, b"".join(lines), number)
                if len(block.numbers):
                    yield block
                number += len(lines)
    except OSError as error:
        problem = error.strerror or error
        raise DataError(f"{path}: {problem}; expected a CSV file of {kind}s") from error


def join(path: Path, kind: str, parts: Sequence[Puzzles], min_rating: int) -> Puzzles:
    """Join what was read of each block. Raises: DataError if there is nothing."""
    if not parts:
        raise DataError(f"{path}: no {kind} after the header; expected one a line")
    puzzles = Puzzles.join(parts)
    if not len(puzzles.ratings):
        found = f"no {kind} is rated {min_rating} or more"
        raise DataError(f"{path}: {found}; use a lower minimum rating")
    return puzzles


def _check_header(path: Path, line: bytes, quote: Callable[[bytes], str]) -> None:
    found = line.removeprefix(BYTE_ORDER_MARK).rstrip(b"\r\n")
    if found != HEADER:
        raise DataError(f"{path}:1: the header is {quote(found)}; expected {HEADER.decode()!r}")


def _split(path: Path, text: bytes, first_number: int) -> Block:
    """Find the lines of a text that are not blank, without their ends."""
    data = np.frombuffer(text.removesuffix(b"\n") + b"\n", dtype=np.uint8)
    newlines = np.flatnonzero(data == ord("\n"))
    starts = np.concatenate([[0], newlines[:-1] + 1])
    ends = newlines
    while (has_return := (ends > starts) & (data[ends - 1] == ord("\r"))).any():
        ends = ends - has_return
    kept = np.flatnonzero(ends > starts)
    return Block(path, data, starts[kept], ends[kept], first_number + kept)
