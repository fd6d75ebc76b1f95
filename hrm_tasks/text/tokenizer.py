"""Text and tokens: an alphabet of characters, or byte-pair encoding by Hugging Face's `tokenizers`.

Characters: 0 is padding, then those of the training text in the order of their code points.
Byte pairs: the ids of the vocabulary; `<s>`, `<pad>`, `</s>`, `<unk>` and `<mask>` get ids behind it
where it has none.
"""

import codecs
import json
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from hrm_core.errors import DataError, PuzzleError, needs_package
from hrm_core.messages import quoted, reason
from hrm_core.tasks.contract import IntArray, TokenArray

PAD = 0  # of characters
BLOCK = 1 << 20  # characters that are encoded at once
NO_POINT = np.uint32(0xFFFFFFFF)  # above all code points
END = "\u0003"  # of a response of characters: "end of text"
FILE = "tokenizer.json"
BEGIN_TOKEN, PAD_TOKEN, END_TOKEN = "<s>", "<pad>", "</s>"
SPECIAL = [BEGIN_TOKEN, PAD_TOKEN, END_TOKEN, "<unk>", "<mask>"]
# Words of GPT-2's pattern never reach across these places
BOUNDARY = re.compile(r"(?<=[A-Za-z])(?= [A-Za-z])|(?<=\S\n)(?=\S)")
PIECE = 1 << 15  # characters of a piece that is encoded at once, at least
NUM_PIECES = 64  # that are encoded side by side
PLAIN = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}.items()
VOCABULARY, MERGES = "vocab.json", "merges.txt"
EXPECTED = f"a folder with {VOCABULARY} and {MERGES}, or with {FILE}, or such a {FILE}"
MISSING = "byte-pair tokens need the package tokenizers"


class Tokenizer(Protocol):
    """Maps text to tokens and back."""

    vocab_size: int
    pad: int
    begin: Sequence[int]  # tokens before each document
    end: Sequence[int]  # tokens behind it

    def encode(self, text: str) -> TokenArray:
        """Return the tokens (n,) of a text alone. Raises: PuzzleError."""
        ...

    def decode(self, tokens: TokenArray) -> str:
        """Return the text of some tokens (n,), without special ones."""
        ...

    def num_bytes(self) -> IntArray:
        """Return the bytes of UTF-8 that each token stands for, (V,)."""
        ...

    def texts(self) -> list[str]:
        """Return the text of each token, (V,); "" for special ones and parts of a character."""
        ...


class Characters:
    """Each character of an alphabet is a token."""

    pad = PAD
    begin: Sequence[int] = ()

    def __init__(self, alphabet: str) -> None:
        self.alphabet = alphabet
        self.vocab_size = 1 + len(alphabet)
        self.end = [self.vocab_size - 1] if alphabet.endswith(END) else []
        points = np.frombuffer(alphabet.encode("utf-32-le", "surrogatepass"), np.uint32)
        order = np.argsort(points, kind="stable")
        self._tokens = np.append(order + 1, PAD).astype(np.int32)
        self._points = np.append(points[order], NO_POINT)  # ascending

    def encode(self, text: str) -> TokenArray:
        """Return the tokens (n,) of a text. Raises: PuzzleError naming an unknown character."""
        tokens = np.empty(len(text), np.int32)
        for start in range(0, len(text), BLOCK):
            part = text[start : start + BLOCK]
            tokens[start : start + BLOCK] = self._encode(part, text, start)
        return tokens

    def _encode(self, part: str, text: str, start: int) -> TokenArray:
        """Return the tokens of a part of a text."""
        points = np.frombuffer(part.encode("utf-32-le", "surrogatepass"), np.uint32)
        places = np.searchsorted(self._points, points)
        unknown = np.flatnonzero(self._points[places] != points)
        if unknown.size:
            place = start + int(unknown[0])
            line = text.count("\n", 0, place) + 1
            raise PuzzleError(
                f"line {line}: the character {quoted(text[place])} (U+{ord(text[place]):04X}) is not "
                f"among the {len(self.alphabet)} that were trained; leave it out"
            )
        return self._tokens[places]

    def decode(self, tokens: TokenArray) -> str:
        """Return the text of some tokens (n,), without padding and the end."""
        special = {PAD, *self.end}
        kept = [token for token in np.asarray(tokens).tolist() if token not in special]
        return "".join(self.alphabet[token - 1] for token in kept)

    def num_bytes(self) -> IntArray:
        """Return the bytes of UTF-8 of each character, (V,)."""
        return np.array([0, *(len(character.encode()) for character in self.alphabet)])

    def texts(self) -> list[str]:
        """Return the character of each token, (V,); "" for padding and the end."""
        texts = ["", *self.alphabet]
        for token in self.end:
            texts[token] = ""
        return texts


class BytePairs:
    """Byte-pair tokens of a `tokenizer.json`."""

    def __init__(self, text: str, source: str = FILE) -> None:
        """Read the contents of a tokenizer.json.

        Raises: DataError naming the source if they are damaged or not of bytes; BackendError
        without the package.
        """
        with needs_package("tokenizers", MISSING, "text"):
            from tokenizers import Tokenizer as Library
        try:
            self._library = Library.from_str(text)
        except Exception as error:  # the library raises plain Exception
            raise DataError(f"{source} is no tokenizer ({reason(error)}); use another") from error
        self._library.add_special_tokens(SPECIAL)
        self._library.encode_special_tokens = True  # "<pad>" in a text is five characters
        self._library.no_padding()
        self._library.no_truncation()
        self.vocab_size = self._library.get_vocab_size()
        about = json.loads(self.to_text())
        self._check_bytes(about, source)
        words = about["pre_tokenizer"] or {}
        self._may_cut = about["normalizer"] is None and words.items() >= PLAIN
        begin, self.pad, end = (self._id(name) for name in (BEGIN_TOKEN, PAD_TOKEN, END_TOKEN))
        self.begin, self.end = [begin], [end]

    def encode(self, text: str) -> TokenArray:
        """Return the tokens (n,) of a text alone. Raises: PuzzleError if it is no Unicode."""
        check_unicode(text)
        parts = [np.empty(0, np.int32)]
        pieces = self._pieces(text)
        while batch := list(islice(pieces, NUM_PIECES)):
            found = self._library.encode_batch_fast(batch, add_special_tokens=False)
            parts += [np.array(one.ids, np.int32) for one in found]
        return np.concatenate(parts)

    def decode(self, tokens: TokenArray) -> str:
        """Return the text of some tokens (n,), without special ones."""
        text: str = self._library.decode(np.asarray(tokens).tolist(), skip_special_tokens=True)
        return text

    def num_bytes(self) -> IntArray:
        """Return the bytes of UTF-8 that each token stands for, (V,); special ones stand for none."""
        counts = np.zeros(self.vocab_size, np.int64)
        for token, number in self._library.get_vocab().items():
            counts[number] = 0 if token in SPECIAL else len(token)  # each byte is one character
        return counts

    def texts(self) -> list[str]:
        """Return the text of each token, (V,); "" for special ones and parts of a character."""
        texts = [""] * self.vocab_size
        added = self._library.get_added_tokens_decoder()
        for name, number in self._library.get_vocab().items():
            if number not in added:
                texts[number] = _text(name)
            elif not added[number].special:
                texts[number] = name  # written as it is, not byte by byte
        return texts

    def bytes_of(self, token: int) -> bytes:
        """Return the bytes that one token stands for; none of a special one."""
        name = self._library.id_to_token(token)
        if name is None or name in SPECIAL:
            return b""
        return bytes(BYTES.get(character, ord("?")) for character in name)

    def to_text(self) -> str:
        """Return the contents of its tokenizer.json."""
        text: str = self._library.to_str()
        return text

    def _pieces(self, text: str) -> Iterator[str]:
        """Cut a text where its tokens are the same; a text of others is one piece."""
        return cut_text(text) if self._may_cut else iter([text])

    def _check_bytes(self, about: dict[str, Any], source: str) -> None:
        """Refuse a vocabulary that cannot write every text. Raises: DataError."""
        missing = [byte for name, byte in BYTES.items() if self._library.token_to_id(name) is None]
        decoder = about["decoder"] or {}
        if missing or "ByteLevel" not in json.dumps(decoder):
            raise DataError(
                f"{source} is no tokenizer of byte pairs: {len(missing)} of 256 bytes have no token, "
                f"its decoder is {decoder.get('type')}, expected 0 and ByteLevel; use one like GPT-2's"
            )

    def _id(self, name: str) -> int:
        found = self._library.token_to_id(name)
        assert found is not None, "special tokens were added"
        return int(found)


def cut_text(text: str) -> Iterator[str]:
    """Cut a long text where the words of GPT-2's tokenizer end: before a blank or behind a line."""
    start = 0
    while len(text) - start > PIECE:
        found = BOUNDARY.search(text, start + PIECE)
        if found is None:
            break
        yield text[start : found.start()]
        start = found.start()
    yield text[start:]


def check_unicode(text: str) -> None:
    """Refuse bytes that are not UTF-8, which Python keeps as half characters. Raises: PuzzleError."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        place = error.start
        line = text.count("\n", 0, place) + 1
        raise PuzzleError(
            f"line {line}: {quoted(text[place])} is no character; give text in UTF-8"
        ) from error


class Growing:
    """Text that grows by tokens and gives out whole characters."""

    def __init__(self, tokenizer: Characters | BytePairs) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, token: int) -> str:
        """Return the text that a token completes; "" within a character."""
        if isinstance(self._tokenizer, Characters):
            return self._tokenizer.decode(np.array([token]))
        return self._decoder.decode(self._tokenizer.bytes_of(token))


def read_tokenizer(path: Path) -> BytePairs:
    """Read a tokenizer of byte pairs from a file or a folder.

    Raises: DataError naming the file if it is damaged or missing; BackendError without the package.
    """
    folder = path if path.is_dir() else path.parent
    if path.is_dir() and not (path / FILE).is_file():
        return _of_vocabulary(folder / VOCABULARY, folder / MERGES)
    if path.name == VOCABULARY:
        return _of_vocabulary(path, folder / MERGES)
    file = path / FILE if path.is_dir() else path
    return BytePairs(_text_of(file), str(file))


def train_tokenizer(texts: Sequence[str], vocab_size: int) -> BytePairs:
    """Learn byte pairs from texts. Raises: BackendError without the package."""
    with needs_package("tokenizers", MISSING, "text"):
        from tokenizers import ByteLevelBPETokenizer
    library = ByteLevelBPETokenizer(add_prefix_space=False)
    pieces = (piece for text in texts for piece in cut_text(text))
    library.train_from_iterator(
        pieces, vocab_size=vocab_size, special_tokens=SPECIAL, show_progress=False
    )
    return BytePairs(library.to_str())


def _of_vocabulary(vocabulary: Path, merges: Path) -> BytePairs:
    """Read the two files of RoBERTa's and GPT-2's tokenizers."""
    with needs_package("tokenizers", MISSING, "text"):
        from tokenizers import ByteLevelBPETokenizer
    _check_vocabulary(vocabulary)
    _text_of(merges)
    try:
        library = ByteLevelBPETokenizer(str(vocabulary), str(merges), add_prefix_space=False)
    except Exception as error:  # the library raises plain Exception
        raise DataError(
            f"{vocabulary} and {merges.name} are no tokenizer ({reason(error)}); use another"
        ) from error
    return BytePairs(library.to_str(), str(vocabulary))


def _check_vocabulary(path: Path) -> None:
    """Refuse a vocabulary whose ids are not 0, 1, 2 and so on."""
    try:
        entries: Any = json.loads(_text_of(path))
        ids = sorted(entries.values())
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise DataError(f"{path} is no vocabulary ({reason(error)}); use another") from error
    if ids != list(range(len(ids))):
        raise DataError(f"{path}: ids are not 0 to {len(ids) - 1}; use another vocabulary")


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror or error}); expected {EXPECTED}"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8; expected {EXPECTED}") from error


def _byte_characters() -> dict[str, int]:
    """Return the byte that each character of a byte-pair vocabulary stands for.

    Printable characters of Latin-1 stand for themselves, the others for code points from 256 on.
    Source: Radford et al. 2019, GPT-2, encoder.py.
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    shifted = {chr(256 + number): byte for number, byte in enumerate(others)}
    return {**{chr(byte): byte for byte in printable}, **shifted}


BYTES = _byte_characters()


def _text(name: str) -> str:
    """Return the text that a byte-pair token stands for; "" if its bytes are no whole characters."""
    try:
        return bytes(BYTES[character] for character in name).decode()
    except (KeyError, UnicodeDecodeError):
        return ""
