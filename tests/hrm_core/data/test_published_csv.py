from pathlib import Path

import pytest

from hrm_core.data import published_csv
from hrm_core.data.published_csv import ANSWER, QUESTION, Block, read_blocks
from hrm_core.errors import DataError

HEADER = b"source,question,answer,rating\n"


def blocks(tmp_path: Path, lines: bytes) -> list[Block]:
    (tmp_path / "rows.csv").write_bytes(HEADER + lines)
    return list(read_blocks(tmp_path / "rows.csv", "puzzle"))


def test_lines_keep_their_numbers_over_blank_lines_ends_and_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published_csv, "BLOCK_BYTES", 12)
    found = blocks(tmp_path, b"a,12,34,0\n\n\r\nb,.2,34,10\r\r\nc,..,43,999999999")
    assert [block.numbers.tolist() for block in found] == [[2], [5], [6]]
    assert [block.line(0) for block in found] == [b"a,12,34,0", b"b,.2,34,10", b"c,..,43,999999999"]
    assert [block.ratings().tolist() for block in found] == [[0], [10], [999999999]]


def test_columns_are_read_for_all_lines_at_once(tmp_path: Path) -> None:
    (block,) = blocks(tmp_path, "ä,12,34,0\n,ü,56,1\n".encode())
    assert [block.field(1, column) for column in (QUESTION, ANSWER)] == ["ü".encode(), b"56"]
    characters = block.characters(QUESTION, "question", 2, "puzzle")
    assert characters.tolist() == [[49, 50], [0xC3, 0xBC]]
    assert block.character(1, QUESTION, 0) == "ü"
    block.check_encoding()
    with pytest.raises(DataError, match=r"csv:2: the answer has 2 characters; expected 3, as in"):
        block.characters(ANSWER, "answer", 3, "puzzle")
