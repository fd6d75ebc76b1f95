import gzip
from pathlib import Path

import pytest

from hrm_core.data import sources
from hrm_core.data.sources import decoded, file_bytes, first_repeated
from hrm_core.errors import DataError


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as refused:
        file_bytes(path)
    message = str(refused.value)
    assert "\n" not in message
    return message.removeprefix(f"{path.parent}/")


def test_packed_and_plain_files_give_the_same_bytes(tmp_path: Path) -> None:
    data = b"id,token\r\n\x00\xff"
    assert file_bytes(written(tmp_path / "a.csv", data)) == data
    assert file_bytes(written(tmp_path / "a.csv.GZ", gzip.compress(data))) == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"plain",
        gzip.compress(b"text" * 99, mtime=0)[:-9],
        gzip.compress(b"a", mtime=0)[:-5] + b"\x00" * 5,
    ],
)
def test_damaged_gz_files_are_refused(tmp_path: Path, data: bytes) -> None:
    path = written(tmp_path / "a.csv.gz", data)
    if not data:
        assert file_bytes(path) == b""
        return
    assert refusal(path).startswith("a.csv.gz cannot be unpacked (")
    assert refusal(path).endswith("expected a whole .gz file, so copy it again")


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.csv") == "none.csv cannot be read: No such file or directory"
    assert refusal(tmp_path / "none.gz") == "none.gz cannot be read: No such file or directory"
    (tmp_path / "folder").mkdir()
    assert refusal(tmp_path / "folder") == "folder cannot be read: Is a directory"


def test_files_that_are_too_large_are_refused_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "MAX_FILE_BYTES", 99)
    assert len(file_bytes(written(tmp_path / "a", bytes(99)))) == 99
    path = written(tmp_path / "a.gz", gzip.compress(bytes(10**6)))
    assert refusal(path) == "a.gz has more than 99 bytes; give a part of it"


def test_the_place_of_a_wrong_byte_counts_the_byte_order_mark() -> None:
    mark = b"\xef\xbb\xbf"
    assert decoded(Path("a"), mark + "é".encode()) == "é"
    with pytest.raises(DataError) as refused:
        decoded(Path("a.csv"), mark + b"ab\xff")
    assert str(refused.value) == "a.csv is not UTF-8: byte 0xff at 5; save it as UTF-8"


@pytest.mark.parametrize(
    ("names", "repeated"),
    [([], None), (["a", "b"], None), (["a", "b", "c", "c", "b"], "b"), (["", ""], "")],
)
def test_first_name_that_is_repeated_is_found(names: list[str], repeated: str | None) -> None:
    assert first_repeated(names) == repeated


def test_many_names_are_compared_in_one_pass() -> None:
    """Each with each other would take hours."""
    names = [str(number) for number in range(1_000_000)]
    assert first_repeated([*names, names[-1]]) == names[-1]
