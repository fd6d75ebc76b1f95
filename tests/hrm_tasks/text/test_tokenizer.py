import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrm_core.errors import BackendError, DataError, PuzzleError
from hrm_tasks.text import tokenizer as tokenizer_module
from hrm_tasks.text.tokenizer import (
    BYTES,
    END,
    BytePairs,
    Characters,
    Growing,
    cut_text,
    read_tokenizer,
    train_tokenizer,
)

FUZZ = settings(deadline=None, derandomize=True, max_examples=200)
CORPUS = ["the cat sat on the mat\n", "the dog sat on the log\n", "Grüße — 日本語 🙂\n"]
CASES = [  # the numbers of encode_cases.json, to name each in a report
    pytest.param(number, id=f"case {number}") for number in range(40)
]

any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@pytest.fixture(scope="module")
def learned() -> BytePairs:
    """Byte pairs of three sentences."""
    pytest.importorskip("tokenizers", reason="tokenizers is missing: byte pairs are not tested")
    return train_tokenizer(CORPUS * 5, 300)


@pytest.fixture(scope="module")
def roberta(data_dir: Path) -> BytePairs:
    return published(data_dir, "roberta")


def published(data_dir: Path, name: str) -> BytePairs:
    pytest.importorskip("tokenizers", reason="tokenizers is missing: byte pairs are not tested")
    folder = data_dir / "text" / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is missing: its tokenizer is not tested")
    return read_tokenizer(folder)


def grown(tokenizer: Characters | BytePairs, tokens: Any) -> str:
    """Text of tokens that come one after the other."""
    text = Growing(tokenizer)
    return "".join(text.add(token) for token in tokens)


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as refused:
        read_tokenizer(path)
    message = str(refused.value)
    assert "\n" not in message
    return message.replace(f"{path}", "PATH")


class TestCharacters:
    def test_tokens_count_from_1_in_the_order_of_the_alphabet(self) -> None:
        tokenizer = Characters("ab\n")
        assert (tokenizer.vocab_size, tokenizer.pad, tokenizer.begin, tokenizer.end) == (
            4,
            0,
            (),
            [],
        )
        tokens = tokenizer.encode("b\na")
        assert (tokens.tolist(), tokens.dtype) == ([2, 3, 1], np.int32)
        assert tokenizer.decode(tokens) == "b\na"

    def test_an_empty_text_has_no_token(self) -> None:
        assert Characters("ab").encode("").tolist() == []
        assert Characters("ab").decode(np.empty(0, np.int32)) == ""

    @FUZZ
    @given(any_text)
    def test_every_text_comes_back(self, text: str) -> None:
        tokenizer = Characters("".join(sorted(set(text))))
        tokens = tokenizer.encode(text)
        assert tokens.tolist() == [1 + tokenizer.alphabet.index(character) for character in text]
        if END not in text:
            assert tokenizer.decode(tokens) == grown(tokenizer, tokens) == text

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("ab\nac", "line 2: the character 'c' (U+0063) is not among the 3 that were trained"),
            ("é", "line 1: the character 'é' (U+00E9)"),
            ("a\U0001f642", "line 1: the character '🙂' (U+1F642)"),
            ("a\udcff", r"line 1: the character '\udcff' (U+DCFF)"),
            ("a\0", r"line 1: the character '\x00' (U+0000)"),
        ],
    )
    def test_an_unknown_character_is_named(self, text: str, expected: str) -> None:
        with pytest.raises(PuzzleError) as refused:
            Characters("ab\n").encode(text)
        assert str(refused.value).startswith(expected)

    def test_an_alphabet_without_characters_knows_none(self) -> None:
        with pytest.raises(PuzzleError, match="among the 0 that were trained"):
            Characters("").encode("a")

    def test_the_end_of_a_response_is_the_last_token_and_no_text(self) -> None:
        tokenizer = Characters("ab" + END)
        assert tokenizer.end == [3]
        assert tokenizer.decode(np.array([1, 2, 3, 0])) == "ab"
        assert grown(tokenizer, [1, 3, 0]) == "a"

    def test_bytes_are_those_of_utf_8(self) -> None:
        assert Characters("aé日🙂").num_bytes().tolist() == [0, 1, 2, 3, 4]


def test_a_long_text_is_encoded_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer, text = Characters("ab\n"), "ab\n" * 20
    expected = tokenizer.encode(text)
    monkeypatch.setattr(tokenizer_module, "BLOCK", 7)
    np.testing.assert_array_equal(tokenizer.encode(text), expected)
    with pytest.raises(PuzzleError, match=r"^line 21: the character 'c'"):
        tokenizer.encode(text + "c")


class TestRoberta:
    def test_sizes_and_special_tokens_are_the_published_ones(self, roberta: BytePairs) -> None:
        assert (roberta.vocab_size, roberta.pad) == (50265, 1)
        assert (roberta.begin, roberta.end) == ([0], [2])

    @pytest.mark.parametrize("number", CASES)
    def test_published_cases_go_both_ways(
        self, roberta: BytePairs, data_dir: Path, number: int
    ) -> None:
        path = data_dir / "text" / "roberta" / "encode_cases.json"
        case = json.loads(path.read_text(encoding="utf-8"))[number]
        tokens = [*roberta.begin, *roberta.encode(case["text"]).tolist(), *roberta.end]
        assert tokens == case["ids"]
        assert roberta.decode(np.array(tokens)) == case["text"]
        assert grown(roberta, tokens) == case["text"]

    def test_there_are_forty_cases(self, roberta: BytePairs, data_dir: Path) -> None:
        path = data_dir / "text" / "roberta" / "encode_cases.json"
        assert len(json.loads(path.read_text(encoding="utf-8"))) == len(CASES)

    def test_a_space_in_front_is_noticed(self, data_dir: Path, roberta: BytePairs) -> None:
        """The control: with add_prefix_space most cases are others."""
        from tokenizers import ByteLevelBPETokenizer

        folder = data_dir / "text" / "roberta"
        files = str(folder / "vocab.json"), str(folder / "merges.txt")
        wrong = BytePairs(ByteLevelBPETokenizer(*files, add_prefix_space=True).to_str())
        cases = json.loads((folder / "encode_cases.json").read_text(encoding="utf-8"))
        found = [[0, *wrong.encode(case["text"]).tolist(), 2] == case["ids"] for case in cases]
        assert sum(found) == 3

    def test_its_file_says_the_same(self, roberta: BytePairs) -> None:
        again = BytePairs(roberta.to_text())
        assert again.to_text() == roberta.to_text()
        assert again.encode("Grüße 🙂").tolist() == roberta.encode("Grüße 🙂").tolist()

    def test_bytes_of_tokens_are_those_of_the_text(self, roberta: BytePairs) -> None:
        text = " Grüße — 日本語 🙂 don't"
        tokens = roberta.encode(text)
        assert roberta.num_bytes()[tokens].sum() == len(text.encode())
        assert b"".join(map(roberta.bytes_of, tokens.tolist())) == text.encode()
        assert roberta.num_bytes()[[0, 1, 2, 3, 50264]].tolist() == [0] * 5


def test_special_tokens_stand_behind_the_vocabulary_of_gpt_2(data_dir: Path) -> None:
    tokenizer = published(data_dir, "gpt2")
    assert tokenizer.vocab_size == 50257 + 5
    assert (tokenizer.begin, tokenizer.pad, tokenizer.end) == ([50257], 50258, [50259])
    assert tokenizer.encode("Hello world").tolist() == [15496, 995]


class TestBytePairs:
    def test_special_tokens_come_first_where_they_are_learned(self, learned: BytePairs) -> None:
        assert (learned.begin, learned.pad, learned.end) == ([0], 1, [2])
        assert learned.vocab_size <= 300

    def test_what_is_learned_is_shorter_than_bytes(self, learned: BytePairs) -> None:
        assert len(learned.encode(CORPUS[0])) < len(CORPUS[0]) / 2

    @FUZZ
    @given(text=any_text)
    def test_every_text_comes_back(self, learned: BytePairs, text: str) -> None:
        tokens = learned.encode(text)
        assert tokens.dtype == np.int32
        assert learned.decode(tokens) == grown(learned, tokens.tolist()) == text
        assert learned.num_bytes()[tokens].sum() == len(text.encode())

    @pytest.mark.parametrize("text", ["<pad>", "a <s>b</s>", "<mask><unk>", "<|endoftext|>"])
    def test_a_text_cannot_name_special_tokens(self, learned: BytePairs, text: str) -> None:
        tokens = learned.encode(text)
        assert not np.isin(tokens, [0, 1, 2, 3, 4]).any()
        assert learned.decode(tokens) == text

    def test_half_a_character_is_kept_until_it_is_whole(self, learned: BytePairs) -> None:
        text = Growing(learned)
        pieces = [text.add(token) for token in learned.encode("é🙃").tolist()]
        assert set(pieces) - {""} == {"é", "🙃"}
        assert len(pieces) > 2

    def test_bytes_that_are_no_character_are_marked(self, learned: BytePairs) -> None:
        text = Growing(learned)
        (lead,) = (
            token for token in range(learned.vocab_size) if learned.bytes_of(token) == b"\xf0"
        )
        (a,) = (token for token in range(learned.vocab_size) if learned.bytes_of(token) == b"a")
        assert [text.add(lead), text.add(a)] == ["", "�a"]

    def test_bytes_that_are_not_utf_8_are_refused(self, learned: BytePairs) -> None:
        with pytest.raises(PuzzleError, match=r"^line 2: '\\udcff' is no character"):
            learned.encode("a\n\udcff")

    @FUZZ
    @given(text=st.text(st.sampled_from("aB1. \n\t'é\u2003日"), max_size=60), data=st.data())
    def test_pieces_have_the_tokens_of_the_whole(
        self, roberta: BytePairs, text: str, data: st.DataObject
    ) -> None:
        size = data.draw(st.integers(1, 8))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tokenizer_module, "PIECE", size)
            assert "".join(cut_text(text)) == text
            found = roberta.encode(text)
        np.testing.assert_array_equal(found, roberta.encode(text))

    def test_a_long_text_is_cut(self) -> None:
        assert next(cut_text("ab " * 40_000)) == "ab " * 10_922 + "ab"
        assert len(list(cut_text("日" * 100_000))) == 1

    def test_training_twice_gives_the_same(self, learned: BytePairs) -> None:
        assert train_tokenizer(CORPUS * 5, 300).to_text() == learned.to_text()


def test_all_bytes_have_a_character() -> None:
    assert sorted(BYTES.values()) == list(range(256))
    assert (BYTES["a"], BYTES["Ġ"], BYTES["Ċ"]) == (97, 32, 10)


class TestFiles:
    @pytest.fixture
    def folder(self, learned: BytePairs, tmp_path: Path) -> Path:
        """vocab.json and merges.txt of byte pairs."""
        model = json.loads(learned.to_text())["model"]
        (tmp_path / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
        merges = [" ".join(pair) for pair in model["merges"]]
        (tmp_path / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]), "utf-8")
        return tmp_path

    def test_a_folder_its_vocabulary_and_tokenizer_json_say_the_same(
        self, learned: BytePairs, folder: Path
    ) -> None:
        expected = learned.encode(CORPUS[2]).tolist()
        assert read_tokenizer(folder).encode(CORPUS[2]).tolist() == expected
        assert read_tokenizer(folder / "vocab.json").encode(CORPUS[2]).tolist() == expected
        whole = folder / "other name.json"
        whole.write_text(learned.to_text(), encoding="utf-8")
        assert read_tokenizer(whole).to_text() == learned.to_text()
        whole.rename(folder / "tokenizer.json")
        assert read_tokenizer(folder).to_text() == learned.to_text()

    @pytest.mark.parametrize(
        ("name", "content", "expected"),
        [
            ("vocab.json", b"{", "PATH/vocab.json is no vocabulary (Expecting property name"),
            ("vocab.json", b"[]", "PATH/vocab.json is no vocabulary ("),
            ("vocab.json", b"[" * 100_000, "PATH/vocab.json is no vocabulary ("),
            ("vocab.json", b'{"a": 1}', "PATH/vocab.json: ids are not 0 to 0"),
            ("vocab.json", b'{"a": 0, "b": 0}', "PATH/vocab.json: ids are not 0 to 1"),
            ("vocab.json", b'{"a": 0, "b": "c"}', "PATH/vocab.json is no vocabulary ("),
            ("vocab.json", b'{"a": 0.5}', "PATH/vocab.json: ids are not 0 to 0"),
            ("vocab.json", b'{"a": 0}', "PATH/vocab.json and merges.txt are no tokenizer ("),
            ("vocab.json", b"\xff", "PATH/vocab.json is not UTF-8; expected a folder with"),
            ("vocab.json", None, "PATH/vocab.json cannot be read (No such file or directory)"),
            ("merges.txt", None, "PATH/merges.txt cannot be read (No such file or directory)"),
            ("merges.txt", b"\xff", "PATH/merges.txt is not UTF-8"),
            ("merges.txt", b"one", "PATH/vocab.json and merges.txt are no tokenizer ("),
            ("merges.txt", b"not there", "PATH/vocab.json and merges.txt are no tokenizer ("),
            ("tokenizer.json", b"{}", "PATH/tokenizer.json is no tokenizer ("),
            ("tokenizer.json", b"\xff", "PATH/tokenizer.json is not UTF-8"),
        ],
    )
    def test_damaged_files_are_named(
        self, folder: Path, name: str, content: bytes | None, expected: str
    ) -> None:
        (folder / name).unlink(missing_ok=True)
        if content is not None:
            (folder / name).write_bytes(content)
        assert refusal(folder).startswith(expected)

    def test_a_path_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        pytest.importorskip("tokenizers", reason="tokenizers is missing: byte pairs are not tested")
        message = refusal(tmp_path / "none")
        assert message.startswith("PATH cannot be read (No such file or directory); expected a")

    def test_a_tokenizer_of_words_is_refused(self, tmp_path: Path, learned: BytePairs) -> None:
        from tokenizers import Tokenizer, models

        path = tmp_path / "tokenizer.json"
        path.write_text(Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).to_str())
        assert refusal(path) == (
            "PATH is no tokenizer of byte pairs: 255 of 256 bytes have no token, its decoder is "
            "None, expected 0 and ByteLevel; use one like GPT-2's"
        )


def test_without_the_package_the_way_to_get_it_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    (tmp_path / "tokenizer.json").write_text("{}")
    for ask in (lambda: read_tokenizer(tmp_path), lambda: train_tokenizer(["a"], 300)):
        with pytest.raises(
            BackendError, match=r"^byte-pair tokens need .* pip install 'tokenizers>="
        ):
            ask()
