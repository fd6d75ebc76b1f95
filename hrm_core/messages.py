"""What messages have in common: text on one line, and what was found cut to a length that a line can hold."""

from collections.abc import Sequence

QUOTED = 60  # characters of what was found
MAX_MISFITS = 5  # named at once


def one_line(text: object) -> str:
    """Write a text, or that of an error, with each run of white space as one blank."""
    return " ".join(str(text).split())


def cut(text: str, length: int) -> str:
    """Cut a text to `length` characters; the last is an ellipsis where there are more."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def shortened(text: str, length: int = QUOTED) -> str:
    """Write a text as one line of at most `length` characters."""
    return cut(one_line(text), length)


def quoted(found: str | bytes) -> str:
    """Put what was found between quotes: its first 60 characters and an ellipsis where there are more."""
    if isinstance(found, bytes):
        start = found[: 4 * (QUOTED + 1)]  # a character has at most 4 bytes
        found = start.decode("utf-8", "backslashreplace")
    return repr(found if len(found) <= QUOTED else f"{found[:QUOTED]}…")


def reason(error: BaseException, length: int = 120) -> str:
    """Say why something failed, in one line of at most `length` characters; by its type if an error says nothing."""
    return one_line(error)[:length] or type(error).__name__


def first_line(error: BaseException, length: int = 80) -> str:
    """Say why something failed by the first line of what the error says."""
    said = str(error) or type(error).__name__
    return said.partition("\n")[0][:length]


def first_few(names: Sequence[str], most: int = 3) -> str:
    """List the first names, with an ellipsis behind them where there are more."""
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def first_misfits(misfits: Sequence[str]) -> str:
    """List the first of all that is wrong, and how much more there is."""
    shown = list(misfits[:MAX_MISFITS])
    if len(misfits) > MAX_MISFITS:
        shown.append(f"and {len(misfits) - MAX_MISFITS} more")
    return "; ".join(shown)


def cell_name(cell: int, width: int) -> str:
    """Say where a cell of a grid is, in row-major order, counted from 1: "row 3, column 7"."""
    row, column = divmod(int(cell), width)
    return f"row {row + 1}, column {column + 1}"
