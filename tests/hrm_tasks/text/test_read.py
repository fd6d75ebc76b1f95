import gzip
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hrm_core.errors import DataError
from hrm_tasks.text.read import Document, read_sources

FUZZ = settings(
    deadline=None,
    derandomize=True,
    max_examples=200,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def texts(*paths: Path) -> list[str]:
    return [document.text for document in read_sources(paths).documents]


def refusal(*paths: Path) -> str:
    with pytest.raises(DataError) as refused:
        read_sources(paths)
    message = str(refused.value)
    assert "\n" not in message
    return message.replace(f"{paths[0].parent}/", "")


class TestTextFiles:
    def test_a_file_is_one_document(self, tmp_path: Path) -> None:
        path = written(tmp_path, "a.txt", "one\n\ntwo é\n")
        source = read_sources([path])
        assert source.documents == [Document("one\n\ntwo é\n", str(path))]
        assert source.files == [
            {"name": "a.txt", "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        ]
        assert (source.empty, source.has_prompts) == (0, False)

    @pytest.mark.parametrize("name", ["a.TXT", "a.txt.gz", "a.Txt.GZ"])
    def test_capitals_and_gzip_make_no_difference(self, tmp_path: Path, name: str) -> None:
        is_zipped = name.lower().endswith(".gz")
        content = gzip.compress(b"one") if is_zipped else b"one"
        assert texts(written(tmp_path, name, content)) == ["one"]

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            ("a\r\nb\rc\n", "a\nb\nc\n"),
            ("\ufeffa\ufeff", "a\ufeff"),
            (" \ta\x0b\u2028b\x85", " \ta\x0b\u2028b\x85"),
        ],
    )
    def test_only_line_ends_and_the_byte_order_mark_change(
        self, tmp_path: Path, content: str, expected: str
    ) -> None:
        assert texts(written(tmp_path, "a.txt", content)) == [expected]

    def test_lines_that_say_so_part_documents(self, tmp_path: Path) -> None:
        content = "one\ntwo\n<|endoftext|>\n<|endoftext|>\n  <|endoftext|> \nthree <|endoftext|>"
        path = written(tmp_path, "a.txt", content)
        source = read_sources([path])
        assert [document.text for document in source.documents] == [
            "one\ntwo\n",
            "three <|endoftext|>",
        ]
        assert [document.place for document in source.documents] == [
            f"{path}, document 1",
            f"{path}, document 4",
        ]
        assert source.empty == 2

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            (b"abc\xff", "a.txt is not UTF-8: byte 0xff at 3; save it as UTF-8"),
            (b"\xef\xbb\xbfabc\xff", "a.txt is not UTF-8: byte 0xff at 6;"),
            (b"a" * 1500 + b"\xe9t\xe9", "a.txt is not UTF-8: byte 0xe9 at 1,500;"),
            ("ab".encode("utf-16"), "a.txt is not UTF-8: byte 0xff at 0;"),
            (b"\xed\xa0\x80", "a.txt is not UTF-8: byte 0xed at 0;"),
            (b"ab\xe2\x82", "a.txt is not UTF-8: byte 0xe2 at 2;"),
        ],
    )
    def test_what_is_not_utf_8_is_named_with_its_byte(
        self, tmp_path: Path, content: bytes, expected: str
    ) -> None:
        assert refusal(written(tmp_path, "a.txt", content)).startswith(expected)

    @pytest.mark.parametrize("content", ["", "\ufeff", "<|endoftext|>\n<|endoftext|>"])
    def test_an_empty_corpus_is_refused(self, tmp_path: Path, content: str) -> None:
        found = refusal(written(tmp_path, "a.txt", content))
        assert found == (
            "a.txt: no text is there; expected a .txt or .jsonl file, gzipped or not, or a folder "
            "of them"
        )

    def test_gzip_that_is_cut_or_none_is_named(self, tmp_path: Path) -> None:
        whole = gzip.compress(b"one" * 1000)
        for content in (b"one", whole[:-9], whole[:20] + b"\0\0\0" + whole[23:], b""):
            path = written(tmp_path, "a.txt.gz", content)
            if content:
                assert refusal(path).startswith("a.txt.gz cannot be unpacked (")
        assert refusal(path).startswith("a.txt.gz: no text is there")

    def test_other_endings_are_refused(self, tmp_path: Path) -> None:
        for name in ("a.pdf", "a", "a.gz", ".txt"):
            assert refusal(written(tmp_path, name, "one")).startswith(
                f"{name} ends in neither .txt nor .jsonl; expected a .txt or"
            )

    def test_what_is_not_there_or_closed_is_named(self, tmp_path: Path) -> None:
        assert refusal(tmp_path / "a.txt").startswith(
            "a.txt cannot be read: No such file or directory"
        )


class TestFolders:
    def test_files_come_by_name_from_all_folders(self, tmp_path: Path) -> None:
        written(tmp_path, "b.txt", "b")
        written(tmp_path, "a/z.txt", "z")
        written(tmp_path, "c.jsonl", '{"text": "c"}')
        written(tmp_path, "README.md", "mine")
        written(tmp_path, ".DS_Store", b"\xff")
        source = read_sources([tmp_path])
        assert [document.text for document in source.documents] == ["z", "b", "c"]
        assert [file["name"] for file in source.files] == ["z.txt", "b.txt", "c.jsonl"]

    def test_files_and_folders_stay_in_their_order(self, tmp_path: Path) -> None:
        first, second = written(tmp_path, "z.txt", "z"), written(tmp_path, "f/a.txt", "a")
        assert texts(first, second.parent) == ["z", "a"]
        assert texts(second.parent, first) == ["a", "z"]

    def test_an_empty_file_is_skipped_and_counted(self, tmp_path: Path) -> None:
        written(tmp_path, "a.txt", "")
        written(tmp_path, "b.txt", "b")
        source = read_sources([tmp_path])
        assert (len(source.documents), source.empty, len(source.files)) == (1, 1, 2)

    def test_a_folder_without_texts_is_refused(self, tmp_path: Path) -> None:
        written(tmp_path, "f/README.md", "mine")
        assert refusal(tmp_path / "f") == (
            "f holds no file that ends in .txt or .jsonl; name others"
        )

    def test_a_name_that_is_not_utf_8_is_kept_readable(self, tmp_path: Path) -> None:
        try:
            path = written(tmp_path, os.fsdecode(b"\xff.txt"), "one")
        except OSError:
            pytest.skip("this file system takes names in UTF-8 only")
        assert read_sources([path]).files[0]["name"] == "\\xff.txt"


class TestJsonLines:
    def test_lines_are_documents(self, tmp_path: Path) -> None:
        content = '{"text": "one\\ntwo"}\n\n  \r\n{"text": "é", "id": 3}'
        path = written(tmp_path, "a.jsonl", "\ufeff" + content)
        assert read_sources([path]).documents == [
            Document("one\ntwo", f"{path}:1"),
            Document("é", f"{path}:4"),
        ]

    def test_prompts_have_responses(self, tmp_path: Path) -> None:
        path = written(tmp_path, "a.jsonl", '{"response": "4", "prompt": "2+2=", "text": "x"}')
        path = written(tmp_path, "a.jsonl", '{"response": "4", "prompt": "2+2="}')
        source = read_sources([path])
        assert source.documents == [Document("4", f"{path}:1", "2+2=")]
        assert source.has_prompts

    def test_an_empty_prompt_is_one_and_an_empty_response_is_skipped(self, tmp_path: Path) -> None:
        content = '{"prompt": "", "response": "a"}\n{"prompt": "b", "response": ""}'
        source = read_sources([written(tmp_path, "a.jsonl", content)])
        assert [document[0::2] for document in source.documents] == [("a", "")]
        assert (source.empty, source.has_prompts) == (1, True)

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("{", "a.jsonl:2 is not JSON ("),
            ("[" * 100_000, "a.jsonl:2 is not JSON ("),
            ('"text"', 'a.jsonl:2 holds \'"text"\', expected an object with "text", or with'),
            ("[]", "a.jsonl:2 holds '[]'"),
            ("{}", "a.jsonl:2 holds '{}'"),
            ('{"prompt": "a"}', 'a.jsonl:2 holds \'{"prompt": "a"}\''),
            ('{"text": 5}', "a.jsonl:2: text is no text; expected an object"),
            ('{"prompt": "a", "response": null}', "a.jsonl:2: response is no text"),
            ('{"text": "a", "text": "b"}', "a.jsonl:2: the key 'text' stands twice"),
            ('{"text": "a\\ud800"}', "a.jsonl:2: text holds '\\ud800', half a character"),
            ('{"prompt": "\\udfff", "response": "a"}', "a.jsonl:2: prompt holds '\\udfff'"),
            ('{"prompt": "a", "response": "b"}', "a.jsonl:1 and a.jsonl:2 do not go together"),
        ],
    )
    def test_lines_that_are_no_documents_are_named(
        self, tmp_path: Path, line: str, expected: str
    ) -> None:
        path = written(tmp_path, "a.jsonl", f'{{"text": "a"}}\n{line}\n')
        assert refusal(path).replace(f"{tmp_path}/", "").startswith(expected)

    def test_texts_and_prompts_of_two_files_do_not_go_together(self, tmp_path: Path) -> None:
        prompts = written(tmp_path, "a.jsonl", '{"prompt": "a", "response": "b"}')
        assert refusal(prompts, written(tmp_path, "b.txt", "b")) == (
            "a.jsonl:1 and b.txt do not go together: one is a text, one a prompt with a "
            "response; build a data set of each"
        )


@pytest.fixture
def read_or_refused(tmp_path: Path) -> Callable[[str, bytes], None]:
    """Read a file of these bytes: documents, or an error of one line that names the file."""

    def read_it(name: str, content: bytes) -> None:
        path = written(tmp_path, name, content)
        documents, message = None, ""
        try:
            documents = read_sources([path]).documents
        except DataError as error:
            message = str(error)
        if documents is None:
            assert message.startswith(str(path))
            assert "\n" not in message
            return
        assert documents
        for document in documents:
            assert document.text
            assert document.place.startswith(str(path))
            document.text.encode()
            (document.prompt or "").encode()

    return read_it


@FUZZ
@given(name=st.sampled_from(["a.txt", "a.jsonl", "a.txt.gz"]), content=st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(
    read_or_refused: Callable[[str, bytes], None], name: str, content: bytes
) -> None:
    read_or_refused(name, content)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["text", "prompt", "response", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@FUZZ
@given(lines=st.lists(json_values, max_size=4), ascii_only=st.booleans())
def test_any_json_lines_are_read_or_refused(
    read_or_refused: Callable[[str, bytes], None], lines: list[object], ascii_only: bool
) -> None:
    content = "\n".join(json.dumps(line, ensure_ascii=ascii_only) for line in lines)
    read_or_refused("a.jsonl", content.encode(errors="surrogatepass"))


@FUZZ
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), max_size=5))
def test_documents_come_back_whatever_is_in_them(tmp_path: Path, contents: list[str]) -> None:
    lines = [json.dumps({"text": content}) for content in contents]
    path = written(tmp_path, "a.jsonl", "\n".join(lines))
    kept = [content for content in contents if content]
    if kept:
        assert texts(path) == kept
    else:
        assert "no text is there" in refusal(path)
