import csv
import gzip
import io
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hrm_core.errors import DataError
from hrm_tasks.sequences.read import Event, Source, read_source

FUZZ = settings(
    deadline=None,
    derandomize=True,
    max_examples=200,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
COLUMNS = "id,token and, where there is any, columns of context"
TEXT = 'id,token\nann,"a, b"\nbob,c\nann,"say ""d"""\n'


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as refused:
        read_source(path)
    message = str(refused.value)
    assert "\n" not in message
    return message.removeprefix(f"{path.parent}/")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", TEXT.encode()),
        ("a.CSV", b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode()),
        ("a.csv", TEXT.replace("\n", "\n\n").removesuffix("\n").encode()),
        ("a.csv.gz", gzip.compress(TEXT.encode(), mtime=0)),
    ],
)
def test_rows_of_an_id_are_a_sequence(tmp_path: Path, name: str, content: bytes) -> None:
    source = read_source(written(tmp_path, name, content))
    tokens = {each: [event.token for event in events] for each, events in source.sequences.items()}
    assert tokens == {"ann": ["a, b", 'say "d"'], "bob": ["c"]}
    assert source.columns == ()
    assert len(source.sha256) == 64


def test_other_columns_are_context_and_may_be_empty(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", "sky,token,id,day\nsun,a,1,mon\n,b,1,tue\n")
    source = read_source(path)
    assert source.columns == ("sky", "day")
    assert source.sequences == {"1": [Event(2, "a", ("sun", "mon")), Event(3, "b", ("", "tue"))]}


def test_lines_are_counted_through_quoted_line_ends(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", 'id,token\n"1\n2",b\n')
    assert refusal(path).startswith("a.csv:2: the id is '1\\n2'")
    path = written(tmp_path, "a.csv", 'id,token\n\n1,a\n"1","b"\n')
    assert [event.line for event in read_source(path).sequences["1"]] == [3, 4]


VISIBLE = "expected visible characters, without blanks at the ends"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", f"a.csv is empty; expected {COLUMNS}"),
        ("\n\n", f"a.csv is empty; expected {COLUMNS}"),
        ("\ufeff", f"a.csv is empty; expected {COLUMNS}"),
        ("id,token\n", "a.csv holds no event; expected rows of id,token"),
        ("id,event\n1,a", f"a.csv:1: columns 'id,event'; expected {COLUMNS}"),
        ("id;token\n1;a", f"a.csv:1: columns 'id;token'; expected {COLUMNS}"),
        ("1,a\n1,b", f"a.csv:1: columns '1,a'; expected {COLUMNS}"),
        (
            "id,token,id\n1,a,1",
            "a.csv:1: column 'id' stands 2 times in the header; expected it once",
        ),
        ("id,token,\n1,a,", f"a.csv:1: a column is called ''; {VISIBLE}"),
        ("id,token, sky\n1,a,", f"a.csv:1: a column is called ' sky'; {VISIBLE}"),
        ("id,token\n1", "a.csv:2: 1 columns in '1'; expected id,token"),
        ("id,token\n1,a\n1,a,b", "a.csv:3: 3 columns in '1,a,b'; expected id,token"),
        ("id,token\n1,", f"a.csv:2: the token is ''; {VISIBLE}"),
        ("id,token\n,a", f"a.csv:2: the id is ''; {VISIBLE}"),
        ("id,token\n1, a", f"a.csv:2: the token is ' a'; {VISIBLE}"),
        ("id,token,sky\n1,a, ", f"a.csv:2: the sky is ' '; {VISIBLE}"),
        ("id,token\n1,a\x00", f"a.csv:2: the token is 'a\\x00'; {VISIBLE}"),
        ('id,token\n1,"a', f"a.csv:2: not CSV (unexpected end of data); expected {COLUMNS}"),
        ('id,token\n1,a\n1,"a"b', "a.csv:3: not CSV ("),
        ("id,token\n1," + "a" * 200_000, "a.csv:2: not CSV (field larger than field limit"),
        (b"id,token\n1,\xe9", "a.csv is not UTF-8: byte 0xe9 at 11; save it as UTF-8"),
        ("id,token\n1,a".encode("utf-16"), "a.csv is not UTF-8: byte 0xff at 0"),
    ],
)
def test_bad_csv_is_refused_with_its_line(
    tmp_path: Path, content: str | bytes, message: str
) -> None:
    assert refusal(written(tmp_path, "a.csv", content)).startswith(message)


def test_what_is_no_csv_file_is_refused(tmp_path: Path) -> None:
    expected = f"expected a .csv or .csv.gz file with {COLUMNS}"
    assert refusal(tmp_path / "a.csv") == f"a.csv is not there; {expected}"
    assert refusal(written(tmp_path, "a.txt", TEXT)) == f"a.txt is another kind of file; {expected}"
    os.mkfifo(tmp_path / "b.csv")
    assert refusal(tmp_path / "b.csv") == f"b.csv is another kind of file; {expected}"
    damaged = written(tmp_path, "a.csv.gz", TEXT)
    assert refusal(damaged).startswith("a.csv.gz cannot be unpacked (")


fields = st.text(max_size=6)


@FUZZ
@given(st.lists(st.lists(fields, max_size=4), max_size=5), st.sampled_from(["", ",sky"]))
def test_any_fields_are_read_or_refused_in_one_line(
    tmp_path: Path, rows: list[list[str]], more: str
) -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    content = f"id,token{more}\r\n{text.getvalue()}"
    _read_or_refuse(written(tmp_path, "a.csv", content.encode("utf-8", "surrogatepass")))


@FUZZ
@given(
    st.binary(max_size=60)
    | st.text(st.sampled_from('id,token\r\n" a1'), max_size=40).map(str.encode),
    st.sampled_from([b"", b"id,token\n", b"\xef\xbb\xbfid,token,sky\r\n"]),
    st.booleans(),
)
def test_any_bytes_are_read_or_refused_in_one_line(
    tmp_path: Path, data: bytes, start: bytes, packed: bool
) -> None:
    content = start + data
    _read_or_refuse(written(tmp_path, "a.csv", content))
    packing = gzip.compress(content, mtime=0) if packed else content
    _read_or_refuse(written(tmp_path, "a.csv.gz", packing))


def _read_or_refuse(path: Path) -> None:
    try:
        source = read_source(path)
    except DataError as error:
        refused = str(error)
    else:
        _check(source)
        return
    assert len(refused.splitlines()) == 1


def _check(source: Source) -> None:
    for events in source.sequences.values():
        assert events
        assert all(event.token.strip() for event in events)
        assert all(len(event.contexts) == len(source.columns) for event in events)
