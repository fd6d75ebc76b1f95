import csv
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hrm_core.errors import DataError
from hrm_tasks.grids.read import Example, read_source

FUZZ = settings(
    deadline=None,
    derandomize=True,
    max_examples=200,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
ROW = '"ab\ncd",x'


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as refused:
        read_source(path)
    message = str(refused.value)
    assert "\n" not in message
    return message.removeprefix(f"{path.parent}/")


def facts(examples: list[Example]) -> list[tuple[str, str, str, int | None]]:
    return [example[:4] for example in examples]


@pytest.fixture
def pairs(tmp_path: Path) -> Mapping[str, Path]:
    """The same two examples in each format."""
    folder = tmp_path / "folder"
    written(folder, "1.input.txt", "ab\ncd\n")
    written(folder, "1.output.txt", "x")
    written(folder, "rot/a.input.txt", "é \r\n e")
    written(folder, "rot/a.output.txt", "yy")
    written(folder, ".DS_Store", b"\xff")
    written(folder, "README.md", "mine")
    objects = [
        {"input": "ab\ncd", "output": ["x"]},
        {"input": ["é ", " e"], "output": "yy\n", "name": "rot"},
    ]
    text = "input,output,name\n" + ROW + ',\n\n"é \r\n e",yy,rot\n'
    return {
        "csv": written(tmp_path, "a.csv", text),
        "mark": written(tmp_path, "b.CSV", "\ufeff" + text.replace("\r", "").replace("\n", "\r\n")),
        "jsonl": written(tmp_path, "a.jsonl", "\n\n".join(map(json.dumps, objects))),
        "folder": folder,
    }


@pytest.mark.parametrize("kind", ["csv", "mark", "jsonl", "folder"])
def test_every_format_gives_the_same_examples(pairs: Mapping[str, Path], kind: str) -> None:
    source = read_source(pairs[kind])
    assert facts(source.examples) == [("ab\ncd", "x", "", None), ("é \n e", "yy", "rot", None)]
    assert len(source.sha256) == 64


def test_columns_stand_in_any_order_and_ratings_are_read(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", f"rating,output,input\n7,x,a\n{10**9 - 1},y,b\n")
    assert facts(read_source(path).examples) == [("a", "x", "", 7), ("b", "y", "", 10**9 - 1)]
    path = written(tmp_path, "a.jsonl", '{"input": "a", "output": "x", "rating": 0, "name": null}')
    assert facts(read_source(path).examples) == [("a", "x", "", 0)]


def test_place_of_an_example_is_its_first_line(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", f"input,output\n{ROW}\n{ROW}\n")
    assert [example.place for example in read_source(path).examples] == [f"{path}:2", f"{path}:4"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "a.csv:1: no header; expected input,output and, where there are any, name and rating"),
        ("question,answer\na,b", "a.csv:1: columns 'question,answer'; expected input and output"),
        ("input,output,raiting\na,b,1", "a.csv:1: columns 'input,output,raiting'; expected"),
        ("input;output\na;b", "a.csv:1: columns 'input;output'; expected"),
        (
            "input,output,input\na,b,c",
            "a.csv:1: column 'input' stands 2 times in the header; expected it once",
        ),
        ("input,output\n", "a.csv holds no example; expected an input and an output each"),
        ("input,output\na", "a.csv:2: 1 columns in 'a'; expected input,output"),
        (f"input,output\n{ROW}\na,b,c", "a.csv:4: 3 columns in 'a,b,c'; expected input,output"),
        (
            'input,output\n"ab\nc",x',
            "a.csv:2: the input is no grid: row 2 has 1 characters, row 1 has 2; expected rows of one length",
        ),
        ('input,output\na,"x\n\ny"', "a.csv:2: the output is no grid: row 2 has 0 characters"),
        ("input,output\na,", "a.csv:2: the output is no grid: there is no first row"),
        (
            "input,output\na\tb,x",
            "a.csv:2: the input is no grid: '\\t' at row 1, column 2; expected visible characters or blanks",
        ),
        ("input,output\na,x\x00", "a.csv:2: the output is no grid: '\\x00' at row 1, column 2"),
        ("input,output\na\u00a0b,x", "a.csv:2: the input is no grid: '\\xa0'"),
        (
            'input,output\na,"x',
            "a.csv:2: not CSV (unexpected end of data); expected input,output, grids in quotes",
        ),
        ('input,output\na,"x"y', "a.csv:2: not CSV ("),
        (
            "input,output\n" + "a" * 200_000 + ",x",
            "a.csv:2: not CSV (field larger than field limit",
        ),
        (
            "input,output,name\na,b, c",
            "a.csv:2: the name is '\" c\"'; expected visible characters, without blanks at the ends",
        ),
        ("input,output,name\na,b,<blank>", "a.csv:2: the name is '\"<blank>\"'"),
        (
            "input,output,rating\na,b,-1",
            "a.csv:2: the rating is '-1'; expected a whole number from 0 to 999999999",
        ),
        ("input,output,rating\na,b,²", "a.csv:2: the rating is '²'"),
        ("input,output,rating\na,b,1234567890", "a.csv:2: the rating is '1234567890'"),
        (
            "input,output,rating\na,b,1\nc,d,",
            "a.csv:3: no rating, others have one; rate every example or none",
        ),
        (b"input,output\na,\xe9", "a.csv is not UTF-8: byte 0xe9 at 15; save it as UTF-8"),
        ("input,output\na,b".encode("utf-16"), "a.csv is not UTF-8: byte 0xff at 0"),
    ],
)
def test_bad_csv_is_refused_with_its_line(
    tmp_path: Path, content: str | bytes, message: str
) -> None:
    assert refusal(written(tmp_path, "a.csv", content)).startswith(message)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "a.jsonl:2 is not JSON ("),
        ("[" * 100_000, "a.jsonl:2 is not JSON ("),
        ("[1]", "a.jsonl:2: '[1]' is no object; expected one with input and output"),
        ('{"input": "a"}', "a.jsonl:2: keys 'input'; expected input and output"),
        ('{"input": "a", "output": "b", "typo": 1}', "a.jsonl:2: keys 'input,output,typo'"),
        (
            '{"input": "a", "output": "b", "input": "c"}',
            "a.jsonl:2: the key 'input' stands twice in one object; take one of them out",
        ),
        (
            '{"input": 5, "output": "b"}',
            "a.jsonl:2: the input is '5'; expected a string with line feeds or a list of strings, a row each",
        ),
        ('{"input": [["a"]], "output": "b"}', "a.jsonl:2: the input is '[[\"a\"]]'; expected"),
        ('{"input": [], "output": "b"}', "a.jsonl:2: the input is no grid: there is no first row"),
        (
            '{"input": ["a\\n"], "output": "b"}',
            "a.jsonl:2: the input is no grid: '\\n' at row 1, column 2",
        ),
        (
            '{"input": "\\ud800", "output": "b"}',
            "a.jsonl:2: the input is no grid: '\\ud800' at row 1",
        ),
        ('{"input": "a", "output": "b", "name": 3}', "a.jsonl:2: the name is '3'"),
        ('{"input": "a", "output": "b", "rating": "3"}', "a.jsonl:2: the rating is '\"3\"'"),
        ('{"input": "a", "output": "b", "rating": true}', "a.jsonl:2: the rating is 'true'"),
        ('{"input": "a", "output": "b", "rating": 1.5}', "a.jsonl:2: the rating is '1.5'"),
        ('{"input": "a", "output": "b", "rating": 1}', "a.jsonl:1: no rating, others have one"),
    ],
)
def test_bad_json_lines_are_refused_with_their_line(
    tmp_path: Path, line: str, message: str
) -> None:
    assert refusal(
        written(tmp_path, "a.jsonl", '{"input": "a", "output": "b"}\n' + line)
    ).startswith(message)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "f holds no example; expected an input and an output each"),
        (["a.input.txt"], "f/a.input.txt has no .output.txt beside it; expected both"),
        (["p/a.output.txt"], "f/p/a.output.txt has no .input.txt beside it; expected both"),
        (
            ["a.inputs.txt"],
            "f/a.inputs.txt is no grid; expected files NAME.input.txt and NAME.output.txt",
        ),
        (["p/q/a.input.txt"], "f/p/q lies too deep; expected grids in"),
    ],
)
def test_bad_folder_is_refused_with_the_file(
    tmp_path: Path, names: list[str], message: str
) -> None:
    (tmp_path / "f").mkdir()
    for name in names:
        written(tmp_path / "f", name, "a")
    assert refusal(tmp_path / "f").startswith(message)


def test_what_is_no_file_of_grids_is_refused(tmp_path: Path) -> None:
    assert (
        refusal(tmp_path / "a.csv")
        == "a.csv is not there; expected a .csv file, a .jsonl file or a folder of grids"
    )
    assert refusal(written(tmp_path, "a.txt", "a")).startswith(
        "a.txt is another kind of file; expected a .csv file"
    )
    os.mkfifo(tmp_path / "b.csv")
    assert refusal(tmp_path / "b.csv").startswith("b.csv is another kind of file")
    written(tmp_path, "f/x.output.txt", "a")
    os.mkfifo(tmp_path / "f" / "x.input.txt")
    assert refusal(tmp_path / "f").startswith("f/x.input.txt is no grid")


@FUZZ
@given(
    st.lists(
        st.tuples(
            st.text(max_size=8), st.text(max_size=8), st.text(max_size=4), st.text(max_size=3)
        ),
        max_size=4,
    )
)
def test_any_fields_are_read_or_refused_in_one_line(
    tmp_path: Path, rows: list[tuple[str, str, str, str]]
) -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([("input", "output", "name", "rating"), *rows])
    lines = [json.dumps(dict(zip(("input", "output", "name"), row, strict=False))) for row in rows]
    for name, content in {"a.csv": text.getvalue(), "a.jsonl": "\n".join(lines)}.items():
        _read_or_refuse(written(tmp_path, name, content.encode("utf-8", "surrogatepass")))


@FUZZ
@given(
    st.binary(max_size=60)
    | st.text(st.sampled_from('input,output\n"ab{}[]:1'), max_size=40).map(str.encode)
)
def test_any_bytes_are_read_or_refused_in_one_line(tmp_path: Path, data: bytes) -> None:
    for name, start in {
        "a.csv": b"input,output\n",
        "b.csv": b"",
        "a.jsonl": b"",
        "b.jsonl": b'{"input": ',
    }.items():
        _read_or_refuse(written(tmp_path, name, start + data))
    written(tmp_path, "f/a.input.txt", data)
    written(tmp_path, "f/a.output.txt", "x")
    _read_or_refuse(tmp_path / "f")


def _read_or_refuse(path: Path) -> None:
    try:
        examples = read_source(path).examples
    except DataError as error:
        refused = str(error)
    else:
        assert all(
            map(
                _is_grid, (grid for example in examples for grid in (example.input, example.output))
            )
        )
        return
    assert len(refused.splitlines()) == 1


def _is_grid(text: str) -> bool:
    rows = text.split("\n")
    return {len(row) for row in rows} == {len(rows[0])} != {0} and all(map(str.isprintable, rows))
