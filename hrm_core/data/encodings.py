"""Decode texts of other programs: UTF-8, UTF-16 with a byte order mark, or Windows-1252."""

import codecs
from pathlib import Path

from hrm_core.messages import CONTROL, warn

LAYOUT = str.maketrans("", "", "\t\n\v\f\r\x1a")  # controls that a text may hold
UNDEFINED = "\ufffd"  # for the five bytes that Windows-1252 does not have
MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def marked_encoding(start: bytes) -> str:
    """Return the encoding that a byte order mark at the start of a text names; else UTF-8."""
    found = (encoding for mark, encoding in MARKS.items() if start.startswith(mark))
    return next(found, "utf-8")


def decode(content: bytes, name: str) -> str:
    """Decode a text; a byte order mark names its encoding, else it is UTF-8.

    What is neither is read as Windows-1252, which has the letters of Latin-1 and dashes and quotes
    besides, with a warning that names it. If it holds control characters, it is no text.

    Raises: UnicodeDecodeError.
    """
    encoding = marked_encoding(content)
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        if encoding != "utf-8":
            raise
        text = content.decode("cp1252", errors="replace")
        if UNDEFINED in text or CONTROL.search(text.translate(LAYOUT)):
            raise
        warn(f"{name} is not UTF-8; it is read as Windows-1252")
        return text


def read_text(path: Path) -> str:
    """Read a text file as `decode` does. Raises: OSError, UnicodeDecodeError."""
    return decode(path.read_bytes(), str(path))
