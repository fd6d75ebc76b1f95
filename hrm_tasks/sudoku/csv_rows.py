"""Read Sudoku puzzles from CSV files: of the published data sets, or with columns of other names.

Shapes: L lines of a block, N puzzles, S cells.
"""

from functools import partial
from pathlib import Path

import numpy as np

from hrm_core.data.named_csv import Check, PuzzleFormat, at_least, read_questions, read_rows
from hrm_core.data.published_csv import ANSWER, QUESTION, Block
from hrm_core.data.puzzles import Puzzles
from hrm_core.messages import quoted
from hrm_tasks.sudoku.board import BOARDS, Board, ByteArray
from hrm_tasks.sudoku.solver import solve

KIND = "puzzle"
BLANKS = b".0_-*"
UNRATED = -1
SIZE_OF_LENGTH = {board.num_cells: size for size, board in BOARDS.items()}
WITHOUT_SEPARATORS = str.maketrans("", "", " \t\r\n,;[]()'|=\"")  # also of ="..." for Excel
SPACED = set("123456789 ")  # cells of a field whose blanks are spaces


def read_csv(path: Path, min_rating: int = 0, *, rate: bool = True) -> Puzzles:
    """Read the puzzles of a file that are rated `min_rating` or more; all lines are checked.

    Our solver rates the puzzles of a file without ratings; if not `rate`, they stay `UNRATED` as long
    as no rating is asked for.

    Raises: DataError naming the file and the line, if it is not of this format or breaks the rules of
        Sudoku.
    """
    rows = read_rows(path, FORMAT, _begin)
    inputs, labels = rows.arrays
    ratings = rows.ratings
    if ratings is None:
        ratings = np.full(len(inputs), UNRATED, np.int32)
    puzzles = Puzzles(inputs, labels, ratings, rows.other_ratings)
    if rate or min_rating:
        puzzles = rated(puzzles)
    return at_least(puzzles, min_rating, path, KIND) if min_rating else puzzles


def rated(puzzles: Puzzles) -> Puzzles:
    """Rate the puzzles that are not rated: some milliseconds each."""
    ratings = puzzles.ratings.copy()
    for index in np.flatnonzero(ratings == UNRATED):
        ratings[index] = solve(puzzles.inputs[index] - np.uint8(1)).rating
    return puzzles._replace(ratings=ratings)


def csv_questions(source: Path | str) -> str | None:
    """Return the questions of a CSV file or of its text, each on the line where it stands there.

    Returns: None if it is no such file. Raises: DataError naming the line that is no row.
    """
    return read_questions(source, FORMAT)


def _clean(question: str, answer: str) -> tuple[str, str]:
    return _cells(question), _cells(answer)


def _cells(field: str) -> str:
    """Remove what stands between the cells; where all places are cells, a space is a blank."""
    if len(field) in SIZE_OF_LENGTH and set(field) <= SPACED:
        return field.replace(" ", ".")
    return field.translate(WITHOUT_SEPARATORS)


def _fits(field: str) -> bool:
    return len(_cells(field)) in SIZE_OF_LENGTH


FORMAT = PuzzleFormat(
    KIND, ("sudoku", "sudokus"), _clean, _fits, rated_by="the guesses of our solver"
)


def _begin(block: Block) -> Check:
    """Read a block as the first puzzle decides."""
    return partial(_read_block, board=_board_of(block))


def _board_of(block: Block) -> Board:
    """Tell the board from the first question."""
    line = block.line(0)
    fields = line.split(b",")
    question = block.field(0, QUESTION) if block.spans else b"".join(fields[QUESTION:ANSWER])
    length = len(question)
    if length not in SIZE_OF_LENGTH:
        found = f"{quoted(line)} has a question of {length} characters"
        raise block.fail(0, f"{found}; expected 16, 36 or 81")
    return BOARDS[SIZE_OF_LENGTH[length]]


def _read_block(block: Block, board: Board) -> tuple[ByteArray, ByteArray]:
    """Check all lines of a block. Returns: questions (L, S), answers (L, S)."""
    block.check_encoding()
    inputs = _grids(block, board, QUESTION, "question", blanks=BLANKS)
    labels = _grids(block, board, ANSWER, "answer", blanks=b"")
    _check_rules(block, board, inputs, labels)
    return inputs, labels


def _grids(block: Block, board: Board, column: int, name: str, blanks: bytes) -> ByteArray:
    """Read the tokens of the questions or the answers. Returns: (L, S)."""
    characters = block.characters(column, name, board.num_cells, KIND)
    tokens = _token_of(board.size, blanks)[characters]
    for index, cell in np.argwhere(tokens == 0)[:1]:
        allowed = f"digits 1 to {board.size}"
        if blanks:
            allowed += " or . for a blank"
        found = block.character(index, column, cell)
        problem = f"{found!r} at place {cell + 1} of the {name}; expected {allowed}"
        raise block.fail(index, problem)
    return tokens


def _token_of(size: int, blanks: bytes) -> ByteArray:
    """Return the token of each character: (256,) uint8, 0 for a character that is not allowed."""
    table = np.zeros(256, dtype=np.uint8)
    table[list(blanks)] = 1
    table[ord("1") : ord("1") + size] = np.arange(2, size + 2)
    return table


def _check_rules(block: Block, board: Board, inputs: ByteArray, labels: ByteArray) -> None:
    """Refuse a line whose answer breaks a rule or changes a given."""
    breaks_rules = ~board.follows_rules(labels - np.uint8(1))
    for index in np.flatnonzero(breaks_rules)[:1]:
        raise block.fail(
            index,
            "the answer repeats a digit; expected each digit once in every row, column and box",
        )
    changes_given = (inputs > 1) & (inputs != labels)
    for index, cell in np.argwhere(changes_given)[:1]:
        found = labels[index, cell] - 1
        given = inputs[index, cell] - 1
        raise block.fail(
            index,
            f"the answer has {found} at {board.cell_name(cell)}; "
            f"expected {given}, which the question gives",
        )
