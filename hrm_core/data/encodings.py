"""Decode texts of other programs: UTF-8, UTF-16 with a byte order mark, or Latin-1."""

import codecs
from pathlib import Path

from hrm_core.messages import CONTROL, warn

LAYOUT = str.maketrans("", "", "\t\n\v\f\r\x1a")  # controls that a text may hold
MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def decode(content: bytes, name: str) -> str:
    """Decode a text; a byte order mark names its encoding, else it is UTF-8.

    What is neither is read as Latin-1 with a warning that names it, if it holds no control
    characters: then it is no text.

    Raises: UnicodeDecodeError.
    """
    for mark, encoding in MARKS.items():
        if content.startswith(mark):
            return content.decode(encoding)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
        if CONTROL.search(text.translate(LAYOUT)):
            raise
        warn(f"{name} is not UTF-8; it is read as Latin-1")
        return text


def read_text(path: Path) -> str:
    """Read a text file as `decode` does. Raises: OSError, UnicodeDecodeError."""
    return decode(path.read_bytes(), str(path))
