"""Read mazes from CSV files: of the published data set, or with columns of other names; blanks are cells.

Shapes: L lines of a block, N mazes, S = size · size cells.
"""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hrm_core.data.named_csv import Check, PuzzleFormat, at_least, read_questions, read_rows
from hrm_core.data.published_csv import ANSWER, QUESTION, Block, NotPlainError
from hrm_core.data.puzzles import Puzzles
from hrm_core.messages import cell_name, quoted
from hrm_tasks.maze.board import (
    CHARACTERS,
    MAX_SIZE,
    MIN_SIZE,
    PATH,
    BoolArray,
    ByteArray,
    IntArray,
    size_of,
)
from hrm_tasks.maze.dialect import described, dialect_of
from hrm_tasks.maze.search import ShortestPaths, shortest_paths
from hrm_tasks.maze.text import can_be_asked, question_fault
from hrm_tasks.maze.verdict import are_shortest_paths, judge

KIND = "maze"


class MazeFile(NamedTuple):
    """Mazes of a file and counts of what is odd about them."""

    mazes: Puzzles
    longer: int  # answers that are valid, but not the shortest path
    ambiguous: int  # questions that have several shortest paths
    other_ratings: int  # ratings that are not the moves of the answer
    too_easy: int  # mazes left out for their rating; not counted above


def read_csv(path: Path, min_rating: int = 0) -> MazeFile:
    """Read the mazes of a file that are rated `min_rating` or more; all lines are checked.

    A maze of a file without ratings is rated by the moves of its shortest path.

    Raises: DataError naming the file and the line, if it is not of this format, no path leads from S to
        G, or the answer is not a path.
    """
    rows = read_rows(path, FORMAT, _begin)
    inputs, labels, shortest, num_paths, is_shortest = rows.arrays
    ratings = shortest if rows.ratings is None else rows.ratings
    mazes = Puzzles(inputs, labels, ratings, rows.other_ratings)
    kept = ratings >= min_rating
    moves = (labels == PATH).sum(axis=1) + 1
    return MazeFile(
        mazes=at_least(mazes, min_rating, path, KIND),
        longer=int((kept & ~is_shortest).sum()),
        ambiguous=int((kept & (num_paths > 1)).sum()),
        other_ratings=int((kept & (ratings != moves)).sum()),
        too_easy=int((~kept).sum()),
    )


def csv_questions(source: Path | str) -> str | None:
    """Return the questions of a CSV file or of its text, each on the line where it stands there.

    Returns: None if it is no such file. Raises: DataError naming the line that is no row.
    """
    return read_questions(source, FORMAT)


def _clean(question: str, answer: str) -> tuple[str, str]:
    """Join rows that are quoted with their line ends, and write the cells as `CHARACTERS`."""
    question, answer = (field.replace("\n", "") for field in (question, answer))
    if _is_canonical(question):
        return question, answer
    written = str.maketrans(dict(dialect_of(question)))
    return question.translate(written), answer.translate(written)


def _is_canonical(question: str) -> bool:
    """Return True for the characters of published files, or if nothing can be told."""
    return set(question) <= set(CHARACTERS) or {" ", "."} <= set(question)


def _meaning(question: str) -> str:
    """Say what characters are taken for that are not those of published files."""
    cells = question.replace("\n", "")
    return "" if _is_canonical(cells) else described(dialect_of(cells), cells)


def _fits(field: str) -> bool:
    return size_of(len(field.replace("\n", ""))) is not None


FORMAT = PuzzleFormat(
    KIND,
    ("maze", "mazes"),
    _clean,
    _fits,
    rated_by="the moves of its shortest path",
    blanks_are_cells=True,
    meaning=_meaning,
)


def _begin(block: Block) -> Check:
    """Read a block as the first maze decides.

    Raises: NotPlainError if its characters are not those of the published files.
    """
    size = _detect_size(block)
    if block.spans is None:
        question = block.field(0, QUESTION).decode(errors="replace")
        if not _is_canonical(question):
            raise NotPlainError
    return partial(_read_block, size=size)


def _detect_size(block: Block) -> int:
    """Detect the number of rows from the first question."""
    length = len(block.field(0, QUESTION))
    size = size_of(length)
    if size is None:
        found = f"{quoted(block.line(0))} has a question of {length} characters"
        sizes = f"a square number of them, {MIN_SIZE**2} to {MAX_SIZE**2}"
        raise block.fail(0, f"{found}; expected {sizes}")
    return size


def _read_block(
    block: Block, size: int
) -> tuple[ByteArray, ByteArray, IntArray, IntArray, BoolArray]:
    """Check all lines of a block.

    Returns: questions and answers (L, S); moves and number of the shortest paths, at most 2; True where
    the answer is one of them (L,).
    """
    inputs = _grids(
        block,
        size,
        QUESTION,
        "question",
        CHARACTERS[:-1],
    )
    labels = _grids(block, size, ANSWER, "answer", CHARACTERS)
    paths = _check_questions(block, size, inputs)
    is_shortest = _check_answers(block, size, inputs, labels)
    return inputs, labels, paths.moves, paths.num_paths, is_shortest


def _grids(block: Block, size: int, column: int, name: str, allowed: str) -> ByteArray:
    """Read the tokens of the questions or the answers. Returns: (L, S)."""
    num_cells = size * size
    characters = block.characters(column, name, num_cells, "question")
    tokens = _token_of(allowed)[characters]
    for index, cell in np.argwhere(tokens == 0)[:1]:
        found = block.character(index, column, cell)
        place = cell_name(cell, size)
        raise block.fail(index, f"{found!r} at {place} of the {name}; expected one of {allowed!r}")
    return tokens


def _token_of(allowed: str) -> ByteArray:
    """Return the token of each character: (256,) uint8, 0 for a character that is not allowed."""
    table = np.zeros(256, dtype=np.uint8)
    table[list(allowed.encode())] = np.arange(1, len(allowed) + 1)
    return table


def _check_questions(block: Block, size: int, inputs: ByteArray) -> ShortestPaths:
    """Refuse a question without a path. Returns: the shortest paths of each."""
    for index in np.flatnonzero(~can_be_asked(inputs))[:1]:
        raise block.fail(index, f"the question has {question_fault(inputs[index], size)}")
    return shortest_paths(inputs)


def _check_answers(block: Block, size: int, inputs: ByteArray, labels: ByteArray) -> BoolArray:
    """Refuse an answer that is not a path. Returns: (L,) True where it is a shortest one."""
    is_shortest = are_shortest_paths(inputs, labels)
    for index in np.flatnonzero(~is_shortest).tolist():
        fault = judge(inputs[index], labels[index], size).fault
        if fault:
            raise block.fail(index, f"the answer is broken: {fault}")
    return is_shortest
