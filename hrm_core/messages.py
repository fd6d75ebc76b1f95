"""Write messages: text on one line, and quotations short enough for it; warn of what is odd."""

import re
import sys
import warnings
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

INSIDE = (  # modules whose lines tell a user nothing
    "hrm_analysis",
    "hrm_cli",
    "hrm_convert",
    "hrm_core",
    "hrm_mlx",
    "hrm_parity",
    "hrm_tasks",
    "hrm_torch_ref",
    "hrm_web",
    "importlib.",
)
QUOTED = 60  # characters of a quotation
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
MAX_MISFITS = 5  # named at once


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return "did you mean NAME; " for the known name that is nearest to a word, "" if none is near."""
    near = get_close_matches(word, list(known), n=1)
    return f"did you mean {near[0]}; " if near else ""


def warn(message: str) -> None:
    """Warn, at the line outside of this project that led here: Python prints that line."""
    frame = sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").startswith(INSIDE):
        frame = frame.f_back
    name = frame.f_globals.get("__name__", "__main__")
    registry = frame.f_globals.setdefault("__warningregistry__", {})
    file, line = frame.f_code.co_filename, frame.f_lineno
    warnings.warn_explicit(message, UserWarning, file, line, name, registry)


def one_line(text: object) -> str:
    """Write a text, or that of an error, with each run of white space as one blank.

    Control characters, which could command a terminal, are escaped.
    """
    return CONTROL.sub(lambda found: repr(found[0])[1:-1], " ".join(str(text).split()))


def cut(text: str, length: int) -> str:
    """Cut a text to `length` characters; the last one becomes an ellipsis if the text is longer."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def shortened(text: str, length: int = QUOTED) -> str:
    """Write a text as one line of at most `length` characters."""
    return cut(one_line(text), length)


def quoted(found: str | bytes) -> str:
    """Quote the first 60 characters of a text, with an ellipsis if it is longer."""
    if isinstance(found, bytes):
        start = found[: 4 * (QUOTED + 1)]  # a character has at most 4 bytes
        found = start.decode("utf-8", "backslashreplace")
    if len(found) > QUOTED:
        found = f"{found[:QUOTED]}…"
    return repr(found)


def reason(error: BaseException, length: int = 120) -> str:
    """Describe the cause of a failure in one line; by the type of an error that has no message."""
    return one_line(error)[:length] or type(error).__name__


def system_reason(error: OSError) -> str:
    """Describe a failure of the system in its words, with the path that it names."""
    words = error.strerror or reason(error)
    return f"{words}: {error.filename}" if error.filename else words


def first_line(error: BaseException, length: int = 80) -> str:
    """Describe the cause of a failure by the first line of the error's message."""
    said = str(error) or type(error).__name__
    return said.partition("\n")[0][:length]


def first_few(names: Sequence[str], most: int = 3) -> str:
    """List the first names, with an ellipsis after them if there are more."""
    more = ", …" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def first_misfits(misfits: Sequence[str]) -> str:
    """List the first misfits and the number of the others."""
    shown = list(misfits[:MAX_MISFITS])
    if len(misfits) > MAX_MISFITS:
        shown.append(f"and {len(misfits) - MAX_MISFITS} more")
    return "; ".join(shown)


def cell_name(cell: int, width: int) -> str:
    """Name the place of a cell in row-major order, counted from 1: "row 3, column 7"."""
    row, column = divmod(int(cell), width)
    return f"row {row + 1}, column {column + 1}"
