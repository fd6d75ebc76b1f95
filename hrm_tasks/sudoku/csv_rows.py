"""Read Sudoku puzzles from CSV files in the format of the published data sets.

Shapes: L lines of a block, N puzzles, S cells.
"""

from pathlib import Path

import numpy as np

from hrm_core.data.published_csv import ANSWER, QUESTION, Block, join, read_blocks
from hrm_core.data.puzzles import Puzzles
from hrm_core.messages import quoted
from hrm_tasks.sudoku.board import BOARDS, Board, ByteArray

KIND = "puzzle"
HEADER_BYTES = 100  # of another header in a message

SIZE_OF_LENGTH = {board.num_cells: size for size, board in BOARDS.items()}


def read_csv(path: Path, min_rating: int = 0) -> Puzzles:
    """Read the puzzles of a file that are rated `min_rating` or more; all lines are checked.

    Raises: DataError naming the file and the line, if it is not of this format or breaks the rules of
        Sudoku.
    """
    board = None
    parts = []
    for block in read_blocks(path, KIND, _quoted_header):
        board = board or _board_of(block)  # the first puzzle decides
        parts.append(_read_block(block, board, min_rating))
    return join(path, KIND, parts, min_rating)


def _quoted_header(found: bytes) -> str:
    return repr(found[:HEADER_BYTES].decode("utf-8", "backslashreplace"))


def _board_of(block: Block) -> Board:
    """Tell the board from the first question."""
    line = block.line(0)
    fields = line.split(b",")
    length = len(fields[QUESTION]) if len(fields) > QUESTION else 0
    if length not in SIZE_OF_LENGTH:
        found = f"{quoted(line)} has a question of {length} characters"
        raise block.fail(0, f"{found}; expected 16, 36 or 81")
    return BOARDS[SIZE_OF_LENGTH[length]]


def _read_block(block: Block, board: Board, min_rating: int) -> Puzzles:
    """Check all lines of a block and keep the puzzles rated `min_rating` or more."""
    block.check_encoding()
    inputs = _grids(block, board, QUESTION, "question", blanks=b".0")
    labels = _grids(block, board, ANSWER, "answer", blanks=b"")
    _check_rules(block, board, inputs, labels)
    puzzles = Puzzles(inputs, labels, block.ratings())
    return puzzles.select(puzzles.ratings >= min_rating)


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
