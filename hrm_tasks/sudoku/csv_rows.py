"""Reads Sudoku puzzles from CSV files in the format of the published data sets: source,question,answer,rating.

A file is read in blocks of whole lines, and each check looks at all lines of a block at once.

Shapes: L lines of a block, N puzzles, S cells.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from hrm_core.data.puzzles import Puzzles
from hrm_core.errors import DataError
from hrm_tasks.sudoku.board import BOARDS, Board, ByteArray, IntArray

HEADER = b"source,question,answer,rating"
HEADER_LIMIT = 4096  # bytes; no header is longer, but a file without lines may be
BLOCK_BYTES = 1 << 22
MAX_RATING_DIGITS = 9  # fits int32
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

SIZE_OF_LENGTH = {board.num_cells: size for size, board in BOARDS.items()}


def read_csv(path: Path, min_rating: int = 0) -> Puzzles:
    """Read the puzzles of a file that are rated `min_rating` or more; all lines are checked.

    Raises: DataError naming the file and the line, where it is not of this format or breaks the rules of Sudoku.
    """
    with _opened(path) as file:
        _check_header(path, file.readline(HEADER_LIMIT))
        parts = [_read_block(block, min_rating) for block in _blocks(path, file)]
    if not parts:
        raise DataError(f"{path}: no puzzle after the header; expected one a line")
    puzzles = Puzzles.join(parts)
    if not len(puzzles.ratings):
        raise DataError(
            f"{path}: no puzzle is rated {min_rating} or more; use a lower minimum rating"
        )
    return puzzles


@dataclass(frozen=True)
class Block:
    """Whole lines of a file, blank ones left out."""

    path: Path
    data: ByteArray
    starts: IntArray  # (L,) offset of each line in data
    ends: IntArray  # (L,) offset just behind it
    numbers: IntArray  # (L,) its number in the file, from 1
    board: Board

    def line(self, index: int) -> str:
        """The text of a line."""
        return (
            self.data[self.starts[index] : self.ends[index]]
            .tobytes()
            .decode("utf-8", "backslashreplace")
        )

    def fail(self, index: int, problem: str) -> DataError:
        """The error that names a line of the file."""
        return DataError(f"{self.path}:{self.numbers[index]}: {problem}")


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise DataError(
            f"{path}: {error.strerror or error}; expected a CSV file of puzzles"
        ) from error


def _check_header(path: Path, line: bytes) -> None:
    found = line.removeprefix(BYTE_ORDER_MARK).rstrip(b"\r\n")
    if found != HEADER:
        text = found[:100].decode("utf-8", "backslashreplace")
        raise DataError(f"{path}:1: the header is {text!r}; expected {HEADER.decode()!r}")


def _blocks(path: Path, file: BinaryIO) -> Iterator[Block]:
    """Cut the rest of a file into blocks. The first puzzle decides on the board."""
    board, number = None, 2
    while lines := file.readlines(BLOCK_BYTES):
        data = b"".join(lines).removesuffix(b"\n") + b"\n"
        if block := _split_lines(path, np.frombuffer(data, dtype=np.uint8), number, board):
            board = block.board
            yield block
        number += len(lines)


def _split_lines(
    path: Path, data: ByteArray, first_number: int, board: Board | None
) -> Block | None:
    """Find the lines of `data`, which ends with a newline; None where all are blank."""
    newlines = np.flatnonzero(data == ord("\n"))
    starts = np.concatenate([[0], newlines[:-1] + 1])
    has_return = (newlines > starts) & (data[newlines - 1] == ord("\r"))
    ends = newlines - has_return
    kept = np.flatnonzero(ends > starts)
    if not len(kept):
        return None
    starts, ends, numbers = starts[kept], ends[kept], first_number + kept
    board = board or _board_of(f"{path}:{numbers[0]}", data[starts[0] : ends[0]].tobytes())
    return Block(path, data, starts, ends, numbers, board)


def _board_of(place: str, line: bytes) -> Board:
    fields = line.split(b",")
    length = len(fields[1]) if len(fields) > 1 else 0
    if length not in SIZE_OF_LENGTH:
        raise DataError(
            f"{place}: {_shown(line)} has a question of {length} characters; expected 16, 36 or 81"
        )
    return BOARDS[SIZE_OF_LENGTH[length]]


def _shown(line: bytes | str) -> str:
    text = line.decode("utf-8", "backslashreplace") if isinstance(line, bytes) else line
    return repr(text if len(text) <= 60 else text[:60] + "…")


def _read_block(block: Block, min_rating: int) -> Puzzles:
    """Check all lines of a block and keep the puzzles rated `min_rating` or more."""
    _check_encoding(block)
    commas = _commas(block)
    inputs = _grid_field(block, commas, 0, "question", blanks=b".0")
    labels = _grid_field(block, commas, 1, "answer", blanks=b"")
    _check_rules(block, inputs, labels)
    puzzles = Puzzles(inputs, labels, _ratings(block, commas[:, 2] + 1))
    return puzzles.select(puzzles.ratings >= min_rating)


def _check_encoding(block: Block) -> None:
    try:
        block.data.tobytes().decode("utf-8")
    except UnicodeDecodeError as error:
        index = int(np.searchsorted(block.starts, error.start, side="right")) - 1
        raise block.fail(
            index, f"byte {error.object[error.start]:#04x} is not UTF-8; save the file as UTF-8"
        ) from error


def _commas(block: Block) -> IntArray:
    """The offsets of the commas of each line. Returns: (L, 3)."""
    commas = np.flatnonzero(block.data == ord(","))
    counts = np.searchsorted(commas, block.ends) - np.searchsorted(commas, block.starts)
    for index in np.flatnonzero(counts != 3)[:1]:
        raise block.fail(
            index,
            f"{counts[index] + 1} columns in {_shown(block.line(index))}; expected {HEADER.decode()}",
        )
    return commas.reshape(-1, 3)


def _grid_field(block: Block, commas: IntArray, column: int, name: str, blanks: bytes) -> ByteArray:
    """The tokens of the questions or answers, which stand behind comma 0 or 1. Returns: (L, S)."""
    starts, num_cells = commas[:, column] + 1, block.board.num_cells
    lengths = commas[:, column + 1] - starts
    for index in np.flatnonzero(lengths != num_cells)[:1]:
        raise block.fail(
            index,
            f"the {name} has {lengths[index]} characters; expected {num_cells}, as in the first puzzle",
        )
    characters = np.lib.stride_tricks.sliding_window_view(block.data, num_cells)[starts]
    tokens = _token_of(block.board.size, blanks)[characters]
    for index, cell in np.argwhere(tokens == 0)[:1]:
        allowed = f"digits 1 to {block.board.size}" + " or . for a blank" * bool(blanks)
        found = characters[index, cell:].tobytes().decode("utf-8")[0]
        raise block.fail(index, f"{found!r} at place {cell + 1} of the {name}; expected {allowed}")
    return tokens


def _token_of(size: int, blanks: bytes) -> ByteArray:
    """The token of each character. Returns: (256,), 0 where the character means nothing."""
    table = np.zeros(256, dtype=np.uint8)
    table[list(blanks)] = 1
    table[ord("1") : ord("1") + size] = np.arange(2, size + 2)
    return table


def _check_rules(block: Block, inputs: ByteArray, labels: ByteArray) -> None:
    for index in np.flatnonzero(~block.board.follows_rules(labels - np.uint8(1)))[:1]:
        raise block.fail(
            index,
            "the answer repeats a digit; expected each digit once in every row, column and box",
        )
    for index, cell in np.argwhere((inputs > 1) & (inputs != labels))[:1]:
        found, given = labels[index, cell] - 1, inputs[index, cell] - 1
        raise block.fail(
            index,
            f"the answer has {found} at {block.board.cell_name(cell)}; expected {given}, which the question gives",
        )


def _ratings(block: Block, starts: IntArray) -> npt.NDArray[np.int32]:
    """The numbers that stand between `starts` (L,) and the ends of the lines. Returns: (L,)."""
    lengths = block.ends - starts
    ratings = np.zeros(len(starts), dtype=np.int32)
    readable = (lengths > 0) & (lengths <= MAX_RATING_DIGITS)
    for place in range(min(int(lengths.max()), MAX_RATING_DIGITS)):
        inside = lengths > place
        digits = block.data[np.where(inside, starts + place, 0)].astype(np.int32) - ord("0")
        readable &= ~inside | (digits >= 0) & (digits <= 9)
        ratings = np.where(inside & readable, ratings * 10 + digits, ratings)
    for index in np.flatnonzero(~readable)[:1]:
        found = _shown(block.line(index).rpartition(",")[2])
        raise block.fail(
            index,
            f"the rating is {found}; expected a whole number from 0 to {10**MAX_RATING_DIGITS - 1}",
        )
    return ratings
