from pathlib import Path

import pytest

from hrm_core.data.encodings import decode, marked_encoding, read_text

TEXT = "5│3 é\r\n…"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_text_is_decoded_by_its_byte_order_mark(encoding: str) -> None:
    mark = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}.get(encoding, b"")
    assert decode(mark + TEXT.encode(encoding), "stdin") == TEXT


@pytest.mark.parametrize(
    ("start", "encoding"),
    [
        (b"\xef\xbb\xbf5", "utf-8-sig"),
        (b"\xff\xfe5\x00", "utf-16"),
        (b"\xfe\xff\x005", "utf-16"),
        (b"53", "utf-8"),
        (b"", "utf-8"),
    ],
)
def test_mark_names_its_encoding(start: bytes, encoding: str) -> None:
    assert marked_encoding(start) == encoding


def test_what_is_not_utf_8_is_windows_1252_and_the_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "café.sdk"
    path.write_bytes(b"#DCaf\xe9 \x96 \x80\r\n53..\x1a")
    with pytest.warns(UserWarning, match=r"café\.sdk is not UTF-8; it is read as Windows-1252$"):
        assert read_text(path) == "#DCafé \u2013 \u20ac\r\n53..\x1a"


@pytest.mark.parametrize(
    "content", [b"\x89PNG\r\n\x1a\n\x00\x00", b"\xed\xa0\x81", b"\xff\x01", b"\xff\xfe5"]
)
def test_bytes_that_are_no_text_are_refused(content: bytes) -> None:
    with pytest.raises(UnicodeDecodeError):
        decode(content, "stdin")
