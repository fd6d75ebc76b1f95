"""Reads mazes from CSV files in the format of the published data set: source,question,answer,rating.

Question and answer hold one character a cell, row by row; blanks are cells.

Shapes: L lines of a block, N mazes, S = size · size cells.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from hrm_core.data.puzzles import Puzzles
from hrm_core.errors import DataError
from hrm_tasks.maze.board import (
    CHARACTERS,
    MAX_SIZE,
    MIN_SIZE,
    PATH,
    ByteArray,
    IntArray,
    cell_name,
    size_of,
)
from hrm_tasks.maze.search import shortest_paths
from hrm_tasks.maze.text import can_be_asked, question_fault
from hrm_tasks.maze.verdict import are_shortest_paths, judge

HEADER = b"source,question,answer,rating"
HEADER_LIMIT = 4096  # bytes; no header is longer, but a file without lines may be
BLOCK_BYTES = 1 << 22
MAX_RATING_DIGITS = 9  # fits int32
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
SHOWN = 60  # characters of a field in a message


class MazeFile(NamedTuple):
    """What a file holds."""

    mazes: Puzzles
    longer: int  # answers that are valid, but not the shortest path
    ambiguous: int  # questions that have several shortest paths
    other_ratings: int  # ratings that are not the moves of the answer
    too_easy: int  # mazes left out for their rating; not counted above


class Block(NamedTuple):
    """Some lines of a file, blank ones left out, cut at their commas."""

    path: Path
    size: int
    numbers: list[int]  # of the lines in the file, from 1
    fields: list[list[bytes]]  # four of each line

    def fail(self, index: int, problem: str) -> NoReturn:
        """Raise the error that names a line of the file."""
        raise DataError(f"{self.path}:{self.numbers[index]}: {problem}")

    def column(self, number: int) -> list[bytes]:
        """One field of each line."""
        return [fields[number] for fields in self.fields]


def read_csv(path: Path, min_rating: int = 0) -> MazeFile:
    """Read the mazes of a file that are rated `min_rating` or more; all lines are checked.

    Raises: DataError naming the file and the line, where it is not of this format, no way leads from S to G, or the
        answer is not a path.
    """
    parts = [_read_block(block, min_rating) for block in _blocks(path)]
    if not parts:
        raise DataError(f"{path}: no maze after the header; expected one a line")
    mazes, *counts = zip(*parts, strict=True)
    joined = Puzzles.join(mazes)
    if not len(joined.ratings):
        raise DataError(
            f"{path}: no maze is rated {min_rating} or more; use a lower minimum rating"
        )
    return MazeFile(joined, *map(sum, counts))


def _blocks(path: Path) -> Iterator[Block]:
    """Cut a file into blocks. The first maze decides on the size."""
    size, number = 0, 2
    try:
        with path.open("rb") as file:
            _check_header(path, file.readline(HEADER_LIMIT))
            while lines := file.readlines(BLOCK_BYTES):
                if block := _split(path, lines, number, size):
                    size = block.size
                    yield block
                number += len(lines)
    except OSError as error:
        raise DataError(
            f"{path}: {error.strerror or error}; expected a CSV file of mazes"
        ) from error


def _check_header(path: Path, line: bytes) -> None:
    found = line.removeprefix(BYTE_ORDER_MARK).rstrip(b"\r\n")
    if found != HEADER:
        raise DataError(f"{path}:1: the header is {_shown(found)}; expected {HEADER.decode()!r}")


def _split(path: Path, lines: Sequence[bytes], first_number: int, size: int) -> Block | None:
    """Cut lines into fields; None where all are blank. `size` 0 is not known yet."""
    stripped = [line.rstrip(b"\r\n") for line in lines]
    kept = [i for i, line in enumerate(stripped) if line]
    if not kept:
        return None
    block = Block(
        path, size, [first_number + i for i in kept], [stripped[i].split(b",") for i in kept]
    )
    for index, fields in enumerate(block.fields):
        if len(fields) != 4:
            block.fail(
                index,
                f"{len(fields)} columns in {_shown(b','.join(fields))}; expected {HEADER.decode()}",
            )
    if size:
        return block
    length = len(block.fields[0][1])
    if (found := size_of(length)) is None:
        sizes = f"a square number of them, {MIN_SIZE**2} to {MAX_SIZE**2}"
        block.fail(
            0,
            f"{_shown(b','.join(block.fields[0]))} has a question of {length} characters; expected {sizes}",
        )
    return block._replace(size=found)


def _shown(text: bytes) -> str:
    decoded = text[: 4 * SHOWN].decode("utf-8", "backslashreplace")
    return repr(decoded if len(decoded) <= SHOWN else decoded[:SHOWN] + "…")


def _read_block(block: Block, min_rating: int) -> MazeFile:
    """Check all lines of a block and keep the mazes rated `min_rating` or more."""
    inputs, labels = (
        _grids(block, column, name) for column, name in ((1, "question"), (2, "answer"))
    )
    ratings = _ratings(block)
    ways = _check_questions(block, inputs)
    is_shortest = are_shortest_paths(inputs, labels)
    for index in np.flatnonzero(~is_shortest).tolist():
        if fault := judge(inputs[index], labels[index], block.size).fault:
            block.fail(index, f"the answer is broken: {fault}")
    kept = ratings >= min_rating
    has_other_rating = ratings != (labels == PATH).sum(axis=1) + 1
    counted = (kept & ~is_shortest, kept & (ways > 1), kept & has_other_rating, ~kept)
    return MazeFile(
        Puzzles(inputs, labels, ratings).select(kept), *(int(lines.sum()) for lines in counted)
    )


def _grids(block: Block, column: int, name: str) -> ByteArray:
    """The tokens of the questions or answers. Returns: (L, S)."""
    fields, num_cells = block.column(column), block.size**2
    for index, field in enumerate(fields):
        if len(field) != num_cells:
            block.fail(
                index,
                f"the {name} has {len(field)} characters; expected {num_cells}, as in the first question",
            )
    tokens = _token_of()[np.frombuffer(b"".join(fields), dtype=np.uint8).reshape(-1, num_cells)]
    unknown = tokens == 0 if name == "answer" else (tokens == 0) | (tokens == PATH)
    for index, cell in np.argwhere(unknown)[:1]:
        found = fields[index][cell : cell + 4].decode("utf-8", "backslashreplace")[0]
        allowed = CHARACTERS if name == "answer" else CHARACTERS[:-1]
        block.fail(
            index,
            f"{found!r} at {cell_name(cell, block.size)} of the {name}; expected one of {allowed!r}",
        )
    return tokens


def _token_of() -> ByteArray:
    """The token of each character. Returns: (256,), 0 where the character means nothing."""
    table = np.zeros(256, dtype=np.uint8)
    table[list(CHARACTERS.encode())] = np.arange(1, len(CHARACTERS) + 1)
    return table


def _check_questions(block: Block, inputs: ByteArray) -> IntArray:
    """Refuse a question that has no path. Returns: (L,) how many shortest ones each has, at most 2."""
    for index in np.flatnonzero(~can_be_asked(inputs))[:1]:
        block.fail(index, f"the question has {question_fault(inputs[index], block.size)}")
    return shortest_paths(inputs).ways


def _ratings(block: Block) -> npt.NDArray[np.int32]:
    """The last field of each line. Returns: (L,)."""
    fields = block.column(3)
    for index, field in enumerate(fields):
        if not field.isdigit() or len(field) > MAX_RATING_DIGITS:
            limit = 10**MAX_RATING_DIGITS - 1
            block.fail(
                index, f"the rating is {_shown(field)}; expected a whole number from 0 to {limit}"
            )
    return np.array([int(field) for field in fields], dtype=np.int32)
