"""Read documents, or prompts with responses, from text files, JSON Lines and folders, gzipped or not.

A .txt file is one document; a line that says <|endoftext|> parts several. A .jsonl file has one JSON
object a line: {"text": ...}, or {"prompt": ..., "response": ...}.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from hrm_core.data.sources import decoded, escaped, file_bytes, read_json
from hrm_core.errors import DataError
from hrm_core.messages import quoted

ENDINGS = (".txt", ".jsonl")
GZIP = ".gz"
SEPARATOR = "<|endoftext|>"
TEXT, PROMPT, RESPONSE = "text", "prompt", "response"
SHAPES = ({TEXT}, {PROMPT, RESPONSE})
EXPECTED = "a .txt or .jsonl file, gzipped or not, or a folder of them"


class Document(NamedTuple):
    """One text, or a prompt and the response to it."""

    text: str
    place: str  # for messages: "books/emma.txt", "chat.jsonl:12"
    prompt: str | None = None  # None of a plain text


class Source(NamedTuple):
    """Documents of some files."""

    documents: list[Document]
    files: list[dict[str, str]]  # name and sha256 of each
    empty: int  # documents that were skipped: nothing in them

    @property
    def has_prompts(self) -> bool:
        """Return True if the documents are prompts with responses."""
        return self.documents[0].prompt is not None


def read_sources(paths: Sequence[Path]) -> Source:
    """Read all documents of files and folders, in order; folders by the names of their files.

    Raises: DataError naming the file and the byte or line, if one is no text in UTF-8 or no such
    JSON; if plain texts stand beside prompts; or if there is no text at all.
    """
    documents, files = [], []
    for path in paths:
        for file in _files(path):
            data = _read(file)
            sha256 = hashlib.sha256(data).hexdigest()
            files.append({"name": escaped(file.name), "sha256": sha256})
            documents += list(_documents(file, _text(file, data)))
    kept = [document for document in documents if document.text]
    if not kept:
        raise DataError(f"{', '.join(map(str, paths))}: no text is there; expected {EXPECTED}")
    _check_same_kind(kept)
    return Source(kept, files, len(documents) - len(kept))


def _files(path: Path) -> list[Path]:
    """Return the files of a folder, sorted by name, or the file itself."""
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.rglob("*") if file.is_file() and _ending(file) in ENDINGS)
    if not found:
        raise DataError(f"{path} holds no file that ends in {' or '.join(ENDINGS)}; name others")
    return found


def _ending(path: Path) -> str:
    """Return the ending of a file without that of gzip, in small letters."""
    name = path.name.lower().removesuffix(GZIP)
    return Path(name).suffix


def _read(path: Path) -> bytes:
    """Read a file, unpacked. Raises: DataError naming it."""
    if _ending(path) not in ENDINGS:
        raise DataError(f"{path} ends in neither {' nor '.join(ENDINGS)}; expected {EXPECTED}")
    return file_bytes(path)


def _text(path: Path, data: bytes) -> str:
    """Decode UTF-8 and end lines with a line feed alone. Raises: DataError naming the byte."""
    return decoded(path, data).replace("\r\n", "\n").replace("\r", "\n")


def _documents(path: Path, text: str) -> Iterator[Document]:
    if _ending(path) == ".jsonl":
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                yield _of_json(line, f"{path}:{number}")
        return
    parts = _parts(text)
    for number, part in enumerate(parts, start=1):
        yield Document(part, f"{path}, document {number}" if len(parts) > 1 else str(path))


def _parts(text: str) -> list[str]:
    """Part a text at the lines that say so."""
    if SEPARATOR not in text:
        return [text]
    parts: list[list[str]] = [[]]
    for line in text.splitlines(keepends=True):
        if line.strip() == SEPARATOR:
            parts.append([])
        else:
            parts[-1].append(line)
    return ["".join(part) for part in parts]


def _of_json(line: str, place: str) -> Document:
    """Read one line of a .jsonl file."""
    expected = 'an object with "text", or with "prompt" and "response"'
    fields = read_json(line, place, expected)
    names = set(fields) if isinstance(fields, dict) else set()
    shape = next((shape for shape in SHAPES if shape <= names), None)
    if shape is None or not isinstance(fields, dict):
        raise DataError(f"{place} holds {quoted(line[:60])}, expected {expected}")
    for name in sorted(shape):
        if not isinstance(fields[name], str):
            raise DataError(f"{place}: {name} is no text; expected {expected}")
        _check_whole(fields[name], f"{place}: {name}")
    if shape == {TEXT}:
        return Document(fields[TEXT], place)
    return Document(fields[RESPONSE], place, fields[PROMPT])


def _check_whole(text: str, place: str) -> None:
    """Refuse half a character, as JSON can hold it by its number."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{place} holds {quoted(text[error.start])}, half a character; take it out"
        ) from error


def _check_same_kind(documents: Sequence[Document]) -> None:
    first = documents[0]
    for other in documents:
        if (other.prompt is None) != (first.prompt is None):
            raise DataError(
                f"{first.place} and {other.place} do not go together: one is a text, one a prompt "
                "with a response; build a data set of each"
            )
