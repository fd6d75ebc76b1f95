"""Write what the encoding of a terminal lacks in ASCII: a hyphen for an en dash, `?` for the unknown."""

import codecs

NAME = "hrm.signs"  # of the error handler
ASCII_OF = {
    "–": "-",
    "—": "-",
    "×": "x",
    "±": "+-",
    "≥": ">=",
    "≤": "<=",
    "…": "...",
    "→": "->",
    "·": ".",
}


def _encode(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replace one character that cannot be encoded."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    sign = error.object[error.start]
    return ASCII_OF.get(sign, "?"), error.start + 1


codecs.register_error(NAME, _encode)
