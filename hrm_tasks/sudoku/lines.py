"""Tell what a line of a text is to a reader of Sudokus: cells, a frame, text, or nothing.

Some characters are blanks in one file and frames in another. So a line is read in one of a few
styles, each a way to write blanks, and the reader of the whole text tries them all.

Shapes: n rows of n cells, S = n · n cells.
"""

import re
from collections.abc import Sequence
from enum import Enum
from itertools import pairwise
from typing import NamedTuple

from hrm_core.data.drawings import BYTE_ORDER_MARK, Line
from hrm_tasks.sudoku.board import Board

DIGITS = "123456789"
BLANK = " "  # in `Read.cells`
BOX_DRAWING = "".join(map(chr, range(0x2500, 0x2580)))
BARS = dict.fromkeys(map(ord, "¦│┃║╎╏┆┇┊┋"), "|")
HORIZONTALS = "-=_*–—─━═╌╍┄┅┈┉"
# between cells, unless a style takes it for a blank: frames, then separators of lists and tables
DECORATION = frozenset("|¦+-=:*_–—" + BOX_DRAWING + ",;[](){}'\"`")
BORDER = DECORATION | set(". \t")  # characters of lines that are only drawn
UNSEEN = str.maketrans({"\xa0": " ", BYTE_ORDER_MARK: None, "\u200b": None, "\x1a": None})
UNSEEN |= dict.fromkeys(map(ord, "·•∙⋅"), ".")

RUN = re.compile(r"[0-9.?*xX_-]+")  # digits and everything that some style takes for a blank
WORD = re.compile(r"[^\W\d_]{2,}")
# of a puzzle, above it: 12. or (3) or 2026-11-29
NUMBER = re.compile(r"\s*\(?\d{1,4}(?:[./-]\d{1,4}){0,2}[.:)]?\s*")
NOTHING = re.compile(r"\b(None|null|nan|NaN|NA)\b")  # a blank of Python, JSON, numpy and R
DECIMAL = re.compile(r"(?<![^\s,\[(])([0-9])\.0?(?![^\s,\])])")
DECIMALS = re.compile(r"[\s,\[\]()]*(?:(?:[0-9]\.0?|\.)[\s,\[\]()]+)+")  # of a printed array
# what a program writes around a list: `board = np.array([[` and `]], dtype=int8)`
CODE_BEFORE = re.compile(r"^[\s\"'{(]*(?:[^\W\d]{2}|[^\W\d]\s*=)[\w\s.=:(\"']*(?=\[)")
QUOTATION = re.compile(r"^\s*(?:>\s?)+")  # of a mail or a forum
CODE_AFTER = re.compile(r"(?<=\])(?:\s*,\s*dtype=.*|\s*\)*\.\s*)$")  # the dot of Prolog
QUOTED = re.compile(r"\"([^\"]*)\"|'([^']*)'")
DATE = 12  # characters of a date, which a title may hold on any board
SEPARATORS = "|,;\t"


class Style(NamedTuple):
    """One way to write blanks. With spaces as blanks, cells are told by their places."""

    name: str
    blanks: str
    start: int = 0  # place of the first cell
    step: int = 0  # from one cell to the next, 1 or 2; 0: whatever is drawn between cells

    @property
    def signs(self) -> str:
        """Return the characters of which a text in this style has one."""
        return self.blanks + SEPARATORS if self.blanks == BLANK else self.blanks


PLAIN = Style(". 0 or _", "._0")
FIELDS = Style("empty fields", BLANK)
STYLES = (
    PLAIN,
    Style("?", "?"),
    Style("x", "xX"),
    Style("*", "*"),
    Style("- or _", "-_"),
    FIELDS,
    Style("spaces", BLANK, start=0, step=1),
    Style("spaces", BLANK, start=0, step=2),
    Style("spaces", BLANK, start=1, step=2),
)


class Kind(Enum):
    """Kinds of lines."""

    CELLS = "cells"
    FRAME = "frame"
    TEXT = "text"
    EMPTY = "empty"


class Read(NamedTuple):
    """A line as it reads in one style."""

    line: Line
    kind: Kind
    cells: str = ""  # digits and blanks; a character that is neither stands as it is
    others: Sequence[str] = ()  # what the line reads as, too
    listed: Sequence[str] = ()  # more puzzles of a line that is a list of them


def read_whole(line: Line, board: Board) -> Read | None:
    """Read a line that is the same in every style: a comment, or words of S cells; else None."""
    if not line.text:
        return Read(line, Kind.EMPTY)
    text, comment, _ = line.text.translate(UNSEEN).partition("#")
    if comment and not text.strip():
        return Read(line, Kind.TEXT)
    words = _puzzle_words(text, board) if len(text) >= board.num_cells else []
    if not words:
        return None
    first, *others = words
    if _is_list(text, words):
        return Read(line, Kind.CELLS, first, listed=others)
    return Read(line, Kind.CELLS, first, others)


def read_line(line: Line, board: Board, style: Style) -> Read:
    """Read a line that `read_whole` does not read, in one style."""
    text = QUOTATION.sub("", line.text.translate(UNSEEN)).partition("#")[0]
    bare = _without_code(text)
    cells = _spaced_cells(bare, style) if style.blanks == BLANK else _cells(bare, style)
    is_fit = len(cells) in (board.size, board.num_cells) and not unknown_cell(cells)
    if not is_fit and not text.strip():
        return Read(line, Kind.EMPTY)
    if not is_fit and _is_text(text, board):
        return Read(line, Kind.TEXT)
    if _is_border(text, is_fit) or not (is_fit or _cells(bare, style)):
        return Read(line, Kind.FRAME)
    return Read(line, Kind.CELLS, cells)


def unknown_cell(cells: str) -> str:
    """Return the first character that is neither digit nor blank; "" if none is."""
    unknown = (cell for cell in cells if cell not in DIGITS and cell != BLANK)
    return next(unknown, "")


def bare_cells(text: str) -> str:
    """Return the cells of a line with plain blanks, whatever they are."""
    return _cells(text.translate(UNSEEN), PLAIN)


def candidates_of(line: Line, board: Board) -> list[str]:
    """Return the candidates of the cells of a row, as drawn in pencil; [] if it is no such row."""
    words = "".join(" " if sign in DECORATION else sign for sign in line.text).split()
    is_row = len(words) == board.size and set("".join(words)) <= set(DIGITS)
    return words if is_row else []


def _puzzle_words(text: str, board: Board) -> list[str]:
    """Return each different word of S cells in a line; whatever stands beside it is text.

    A word may have another style than the rest of the text. Behind the words stand others that may
    be damaged puzzles. The answer that a table gives beside a question is none.
    """
    whole: dict[str, None] = {}  # in order
    rest = []
    for run in RUN.finditer(text):
        word = run[0]
        beside = text[max(run.start() - 1, 0) : run.start()] + text[run.end() : run.end() + 1]
        is_alone = not any(map(str.isalnum, beside))
        if len(word) == board.num_cells and is_alone and not set(word).isdisjoint(DIGITS):
            whole[_canonical(word, _style_of(word))] = None
        elif not set(word) <= DECORATION:
            rest.append(word)
    if not whole:
        return []
    question = next((word for word in whole if BLANK in word), "")
    words = [word for word in whole if BLANK in word or not _fills(word, question)]
    return words + (rest if _may_be_puzzle(rest, board) else [])


def _is_list(text: str, words: Sequence[str]) -> bool:
    """Return True if a line holds nothing but puzzles, none of which is an answer to another."""
    if any(len(run) != len(words[0]) for run in RUN.findall(text)):
        return False
    if set(RUN.sub("", text)) - DECORATION - {" ", "\t"}:
        return False
    if any(_fills(word, before) for before, word in pairwise(words)):
        return False
    return all(BLANK in word for word in words)


def _style_of(word: str) -> Style:
    """Return the style whose blanks a word has; the plain one if it mixes those of several."""
    return next((style for style in STYLES if set(word) <= {*DIGITS, *style.blanks}), PLAIN)


def _canonical(cells: str, style: Style) -> str:
    return cells.translate(dict.fromkeys(map(ord, style.blanks), BLANK))


def _fills(word: str, question: str) -> bool:
    """Return True if a word fills blanks of a question (none if "") and changes none of its digits."""
    pairs = zip(word, question, strict=False)
    return bool(question) and all(given in (cell, BLANK) for cell, given in pairs)


def _without_code(text: str) -> str:
    """Leave out what programs write around and for cells."""
    text = CODE_AFTER.sub("", CODE_BEFORE.sub("", text))
    plain = NOTHING.sub(PLAIN.blanks[0], text)
    is_list = "[" in text or "]" in text
    if not is_list or not DECIMAL.search(plain):
        return plain
    if DECIMALS.fullmatch(plain):
        return DECIMAL.sub(r"\1", plain)
    return text  # decimals beside others: what stands for a blank is no cell


def _is_text(text: str, board: Board) -> bool:
    """Return True if a line is a number or a date, or has words and few cells beside them."""
    if NUMBER.fullmatch(text):
        return True
    if not any(set(word) - set("xX") for word in WORD.findall(text)):
        return False
    runs = [run for run in RUN.findall(text) if not set(run).isdisjoint(DIGITS)]
    return not _may_be_puzzle(runs, board)


def _may_be_puzzle(runs: Sequence[str], board: Board) -> bool:
    """Return True if runs of cells are longer than what a text beside a puzzle holds."""
    lengths = list(map(len, runs))
    longest = max(lengths, default=0)
    return longest >= max(2 * board.size, DATE) or sum(lengths) > max(board.num_cells // 2, DATE)


def _is_border(text: str, is_fit: bool) -> bool:
    """Return True if a line is only drawn; what fits as a row of blanks has a corner then."""
    if set(text) - BORDER:
        return False
    num_drawn = sum(character in HORIZONTALS for character in text)
    return "+" in text or (num_drawn >= 3 and not is_fit)


def _cells(text: str, style: Style) -> str:
    """Return the cells of a line without what stands between them."""
    signs = style.blanks.strip() + DIGITS
    kept = [sign for sign in text if sign in signs or not (sign.isspace() or sign in DECORATION)]
    return _canonical("".join(kept), style)


def _spaced_cells(text: str, style: Style) -> str:
    """Return the cells of a line whose blanks are spaces or empty fields; "" if it has others."""
    quoted = QUOTED.findall(text)
    if quoted and not re.search(r"\w", QUOTED.sub("", text)):
        fields = ["".join(either) for either in quoted]
        text = "".join(fields)
    else:
        text = _without_brackets(text).translate(BARS)
        fields = _fields(text)
    if style is FIELDS:
        values = [field.strip() or BLANK for field in fields]
        return "".join(values) if set(map(len, values)) == {1} else ""
    if style.step == 2 and text[1 - style.start :: 2].strip():
        return ""
    return text[style.start :: style.step].replace("|", "")


def _fields(text: str) -> list[str]:
    """Return the fields of a row of a table."""
    separator = next((sign for sign in SEPARATORS if sign in text), None)
    if separator is None:
        return [text]
    if text.lstrip().startswith("|"):
        text = text.strip().removeprefix("|")
        if text.count(".") == 1:
            text = text.removesuffix(".")  # as LaTeX ends a row
        text = text.removesuffix("|")
    return text.split(separator)


def _without_brackets(text: str) -> str:
    """Leave out the brackets around a line of a list, and the comma behind them."""
    if text.lstrip().startswith(("[", "(")):
        text = text.lstrip().lstrip("[(")
    end = text.rstrip().removesuffix(",")
    return end.rstrip("])") if end.endswith(("]", ")")) else text
