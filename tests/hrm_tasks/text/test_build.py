import json
import math
from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrm_core.data import ngrams
from hrm_core.data.store import Dataset
from hrm_core.errors import DataError
from hrm_core.tasks.building import Built
from hrm_core.tasks.registry import task_of_shape
from hrm_tasks.text import build as build_module
from hrm_tasks.text import overlap
from hrm_tasks.text.build import Options, build
from hrm_tasks.text.overlap import LENGTH, run_hashes, share_in_training
from hrm_tasks.text.task import Text
from hrm_tasks.text.tokenizer import END

FUZZ = settings(deadline=None, derandomize=True, max_examples=200)
VERSE = "To be, or not to be: that is the question.\n"
needs_tokenizers = pytest.mark.skipif(
    find_spec("tokenizers") is None,
    reason="tokenizers is missing: byte pairs are not tested",
)
Make = Callable[..., "Opened"]


class Opened:
    """A data set that was built."""

    def __init__(self, directory: Path, built: Built) -> None:
        self.directory, self.built, self.data = directory, built, Dataset(directory)

    @property
    def task(self) -> Text:
        sizes = self.data.metadata.sizes
        task = task_of_shape(sizes.vocab_size, sizes.seq_len, self.data.label or "")
        assert isinstance(task, Text)
        files = {name: self.data.text_of(name) for name in task.file_names}
        return task.with_files(files)

    def rows(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and labels of a split, as they are in the files."""
        examples = self.data.split(split).sets["all"]
        return np.array(examples.inputs, np.int64), np.array(examples.labels, np.int64)

    def scored(self, split: str) -> list[int]:
        """Labels that count, in order."""
        _, labels = self.rows(split)
        return labels[labels != self.task.tokenizer.pad].tolist()


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Build a data set of texts: a str is a .txt file, a list of dicts a .jsonl file."""
    made: list[Opened] = []

    def file(content: str | list[Any], name: str) -> Path:
        if isinstance(content, str):
            path = tmp_path / f"{name}.txt"
            path.write_bytes(content.encode())
            return path
        path = tmp_path / f"{name}.jsonl"
        path.write_text("\n".join(map(json.dumps, content)))
        return path

    def built(
        train: str | list[Any], test: str | list[Any] | None = None, **options: Any
    ) -> Opened:
        number = len(made)
        if test is not None:
            options["test"] = (file(test, f"test{number}"),)
        sources = (file(train, f"train{number}"),)
        out = tmp_path / f"out{number}"
        opened = Opened(out, build(out, Options(sources=sources, **options)))
        made.append(opened)
        return opened

    return built


def refused(make: Make, *arguments: Any, **options: Any) -> str:
    with pytest.raises(DataError) as refusal:
        make(*arguments, **options)
    message = str(refusal.value)
    assert "\n" not in message
    return message.partition("/pytest-")[0] + message.rpartition("/")[2]


class TestCharacters:
    def test_alphabet_is_that_of_the_training_text_sorted_from_1(self, make: Make) -> None:
        opened = make("cab\nbé", "abc", seq_len=4)
        assert opened.task.settings == {"alphabet": "\nabcé"}
        assert opened.data.metadata.vocab_size == 6
        metadata = opened.data.metadata
        assert (metadata.pad_id, metadata.ignore_label_id) == (0, 0)
        inputs, labels = opened.rows("train")
        np.testing.assert_array_equal(inputs, [[4, 2, 3, 1], [2, 3, 1, 3]])
        np.testing.assert_array_equal(labels, [[2, 3, 1, 3], [3, 1, 3, 5]])
        assert opened.data.split("train").sets["all"].inputs.dtype == np.uint8

    def test_an_unknown_character_is_named_with_its_place(self, make: Make) -> None:
        message = refused(make, "abc\n", "ab\nxé", seq_len=4)
        assert message.endswith(
            "test0.txt, line 2: the character 'x' (U+0078) is not among the 4 that were trained; "
            "leave it out"
        )

    def test_the_end_of_responses_is_no_character_of_a_text(self, make: Make) -> None:
        message = refused(make, f"ab{END}c", "ab", seq_len=4)
        assert r"line 1: the character '\x03' (U+0003)" in message

    def test_padding_is_no_token_of_a_text(self, make: Make) -> None:
        opened = make("abc", "ab", seq_len=5)
        inputs, labels = opened.rows("test")
        np.testing.assert_array_equal(inputs, [[1, 2, 0, 0, 0]])
        np.testing.assert_array_equal(labels, [[2, 0, 0, 0, 0]])


class TestSplits:
    @pytest.mark.parametrize("seq_len", [2, 3, 8, 50])
    def test_every_token_but_the_first_counts_once(self, make: Make, seq_len: int) -> None:
        text = VERSE * 3
        opened = make(text, "".join(reversed(text)), seq_len=seq_len)
        expected = opened.task.tokenizer.encode("".join(reversed(text)))[1:].tolist()
        assert Counter(opened.scored("test")) == Counter(expected)
        assert opened.built.record["scored_tokens"] == len(expected)

    def test_windows_do_not_cross_documents(self, make: Make) -> None:
        separated = "aaaa\n<|endoftext|>\nbbbb\n<|endoftext|>\ncccccccc"
        opened = make(separated, separated, seq_len=5)
        letters = opened.task.settings["alphabet"]
        for split in ("train", "test"):
            inputs, labels = opened.rows(split)
            for row in np.concatenate([inputs, labels], axis=1):
                seen = {letters[token - 1] for token in row if token} - {"\n"}
                assert len(seen) == 1
        assert opened.built.record["documents"] == {"train": 3, "test": 3}

    def test_the_end_of_one_document_is_kept_for_the_test(self, make: Make) -> None:
        opened = make("abcdefghij" * 10, test_share=0.2, seq_len=10)
        assert opened.built.record["tokens"] == {"train": 80, "test": 20}
        assert opened.task.tokenizer.decode(opened.rows("test")[0][0]) == "abcdefghij"
        assert opened.built.record["test_share"] == 0.2

    def test_whole_documents_of_several_are_kept_for_the_test(self, make: Make) -> None:
        lines = [{"text": letter * 9} for letter in "abcdefghij"]
        opened = make([*lines, {"text": "abcdefghij"}], test_share=0.3, seq_len=4)
        assert opened.built.record["documents"] == {"train": 8, "test": 3}
        others = make([*lines, {"text": "abcdefghij"}], test_share=0.3, seq_len=4, seed=1)
        assert opened.scored("test") != others.scored("test")

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            ("a", "is too short to take a test from it; name --test"),
            ([{"prompt": "a", "response": "b"}], ":1 is the only prompt; give more, or name"),
            ("jjjjjjjjjj", "no document has two tokens, one to learn from and one to predict"),
        ],
    )
    def test_too_little_text_is_refused(
        self, make: Make, content: str | list[Any], expected: str
    ) -> None:
        assert expected in refused(make, content, seq_len=4)

    def test_texts_and_prompts_are_no_training_and_test(self, make: Make) -> None:
        message = refused(make, "abc", [{"prompt": "a", "response": "b"}], seq_len=4)
        assert message.endswith("do not go together: one is a text, one a prompt with a response")


class TestRemarks:
    def test_repeated_documents_are_counted(self, make: Make) -> None:
        lines = [{"text": text} for text in ("abcd", "abcd", "dcba", "abcd")]
        opened = make(lines, "bbb", seq_len=4)
        assert opened.built.record["repeated_documents"] == 2
        assert opened.built.warnings[0].startswith(
            "training documents that stand there more than once: 2;"
        )

    def test_a_test_document_that_stands_in_training_is_named(self, make: Make) -> None:
        lines = [
            {"text": VERSE},
            {"text": "not the question, but the other question\n"},
            {"text": "oh"},
        ]
        opened = make("Whether " + VERSE + VERSE, lines, seq_len=8)
        assert opened.built.record["test_documents_in_training"] == 1
        record = opened.data.build["test_documents_in_training"]
        assert [place.rpartition("/")[2] for place in record] == ["test0.jsonl:1"]
        (warning,) = opened.built.warnings
        assert warning.startswith("test documents that stand in the training text: 1 (")
        assert warning.endswith("test0.jsonl:1); a loss on them is no loss on new text")

    def test_short_and_empty_documents_are_counted(self, make: Make) -> None:
        lines = [{"text": text} for text in ("abcd", "a", "", "b")]
        opened = make(lines, "dc", seq_len=4)
        assert opened.built.record["documents"]["train"] == 1
        assert opened.built.record["empty_documents"] == 1
        assert opened.built.record["short_documents"] == 2
        assert opened.built.warnings == (
            "empty documents, skipped: 1",
            "documents shorter than two tokens, skipped: 2",
        )

    def test_a_clean_text_has_no_remark(self, make: Make) -> None:
        opened = make(VERSE, "that question\n", seq_len=8)
        assert opened.built.warnings == ()
        assert opened.built.record["test_documents_in_training"] == 0

    def test_summary_names_windows_tokens_and_the_n_gram(self, make: Make) -> None:
        opened = make(VERSE * 4, VERSE, seq_len=8)
        assert opened.built.summary.startswith("train: 42 windows, 172 tokens of 1 documents; ")
        assert " bits per character on the test" in opened.built.summary


class TestNGram:
    def test_it_is_fitted_to_training_and_measured_where_the_test_scores(self, make: Make) -> None:
        lines = [{"text": "to be or not to be"}, {"text": "not to be or to be"}]
        opened = make(VERSE * 2, lines, seq_len=6)
        tokenizer = opened.task.tokenizer
        size = tokenizer.vocab_size
        model = ngrams.fit([tokenizer.encode(VERSE * 2)], size, 5, np.arange(1, size))
        losses = [model.losses(tokenizer.encode(line["text"])) for line in lines]
        expected = np.concatenate(losses).mean()
        assert opened.built.record["baselines"]["kneser_ney_5"] == pytest.approx(expected)

    def test_of_prompts_it_is_measured_on_responses(self, make: Make) -> None:
        lines = [{"prompt": "2+3=", "response": "5"}, {"prompt": "4+", "response": "23=27"}]
        opened = make(lines * 5, lines, seq_len=6)
        tokenizer = opened.task.tokenizer
        size = tokenizer.vocab_size
        documents = [line["prompt"] + line["response"] + END for line in lines]
        train = [tokenizer.encode(document) for document in documents * 5]
        model = ngrams.fit(train, size, 5, np.arange(1, size))
        first = model.losses(tokenizer.encode(documents[0]))[3:]
        second = model.losses(tokenizer.encode(documents[1])[:7])[1:]
        expected = np.concatenate([first, second]).mean()
        assert opened.built.record["scored_tokens"] == len(first) + len(second)
        assert opened.built.record["baselines"]["kneser_ney_5"] == pytest.approx(expected)

    def test_of_a_long_text_it_is_fitted_to_the_beginning(
        self, make: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(build_module, "NGRAM_TOKENS", 50)
        lines = [{"text": VERSE}, {"text": "that is the question"}]
        opened = make(lines, VERSE, seq_len=8)
        tokenizer = opened.task.tokenizer
        documents = [tokenizer.encode(VERSE), tokenizer.encode("that is")]
        size = tokenizer.vocab_size
        model = ngrams.fit(documents, size, 5, np.arange(1, size))
        expected = model.losses(tokenizer.encode(VERSE)).mean()
        assert opened.built.record["baselines"]["kneser_ney_5"] == pytest.approx(expected)
        assert opened.built.record["baseline_tokens"] == 50
        assert "of the first 50 training tokens has" in opened.built.summary


class TestPrompts:
    LINES = [  # noqa: RUF012
        {"prompt": "ab=", "response": "ba"},
        {"prompt": "abcabc=", "response": "c"},
        {"prompt": "c=", "response": "cccccccc"},
        {"prompt": "", "response": "ab"},
    ]

    def test_the_loss_is_on_responses_and_their_end(self, make: Make) -> None:
        opened = make(self.LINES, self.LINES, seq_len=6)
        letters = opened.task.settings["alphabet"]
        assert letters == "=abc" + END
        end = len(letters)
        for split in ("train", "test"):
            inputs, labels = opened.rows(split)
            examples = opened.data.split(split).sets["all"]
            assert examples.prefix_len is not None
            assert examples.prefix_len.tolist() == [3, 2, 0]
            np.testing.assert_array_equal(
                inputs, [[2, 3, 1, 3, 2, end], [4, 1, 4, 4, 4, 4], [2, 3, end, 0, 0, 0]]
            )
            np.testing.assert_array_equal(
                labels, [[0, 0, 3, 2, end, 0], [0, 4, 4, 4, 4, 4], [3, end, 0, 0, 0, 0]]
            )

    def test_what_does_not_fit_is_cut_and_counted(self, make: Make) -> None:
        opened = make(self.LINES, self.LINES, seq_len=6)
        record = opened.built.record
        assert record["prompts_left_out"] == 2
        assert (record["responses_cut"], record["tokens_cut"]) == (2, 8)
        warnings = opened.built.warnings
        assert any("no room for a response, left out: 2;" in warning for warning in warnings)
        assert any("responses cut: 2, by 8 tokens in all;" in warning for warning in warnings)

    def test_prompts_that_never_fit_are_refused(self, make: Make) -> None:
        message = refused(make, [{"prompt": "abcd", "response": "a"}] * 3, seq_len=3)
        assert (
            "no response fits behind its prompt into 3 tokens; give a larger --seq-len" in message
        )


def test_the_same_options_give_the_same_bytes(make: Make) -> None:
    first, second = make(VERSE * 5, VERSE, seq_len=8), make(VERSE * 5, VERSE, seq_len=8)
    files = [path.relative_to(first.directory) for path in first.directory.rglob("*.*")]
    assert len(files) > 10
    for name in files:
        found, other = ((each.directory / name).read_bytes() for each in (first, second))
        if name.name == "build.json":
            other = other.replace(b"train1", b"train0").replace(b"test1", b"test0")
        assert found == other


@needs_tokenizers
class TestBytePairs:
    def test_learned_tokens_are_int32_with_pad_1(self, make: Make) -> None:
        opened = make(VERSE * 5, VERSE, seq_len=16, train_bpe=300)
        metadata = opened.data.metadata
        assert (metadata.pad_id, metadata.ignore_label_id) == (1, 1)
        assert metadata.vocab_size == opened.task.tokenizer.vocab_size > 256
        inputs, _ = opened.rows("test")
        assert opened.data.split("test").sets["all"].inputs.dtype == np.int32
        assert (inputs[0, 0], opened.task.tokenizer.decode(inputs[0])) == (0, VERSE)
        assert opened.scored("test")[-1] == 2

    def test_bits_are_of_the_bytes_that_are_scored(self, make: Make) -> None:
        opened = make(VERSE * 5, VERSE, seq_len=16, train_bpe=300)
        record, task = opened.built.record, opened.task
        scored = opened.scored("test")
        assert len(scored) == record["scored_tokens"]
        expected = len(VERSE.encode()) / len(scored)
        assert task.settings["bytes_per_token"] == pytest.approx(expected)
        assert task.bits(math.log(2)) == pytest.approx(1 / expected)

    def test_special_tokens_in_a_text_are_its_characters(self, make: Make) -> None:
        opened = make("a<pad>b</s>c<s>" * 9, "<pad></s>", seq_len=16, train_bpe=300)
        inputs, _ = opened.rows("test")
        assert opened.task.tokenizer.decode(inputs[0]) == "<pad></s>"
        assert math.isfinite(opened.built.record["baselines"]["kneser_ney_5"])

    def test_a_tokenizer_of_the_data_set_reads_as_one(self, make: Make) -> None:
        first = make(VERSE * 5, VERSE, seq_len=16, train_bpe=300)
        second = make(VERSE * 5, VERSE, seq_len=16, tokenizer=str(first.directory))
        assert second.scored("test") == first.scored("test")
        assert second.task.settings == first.task.settings
        assert second.data.build["tokenizer"] == "out0"

    def test_an_empty_document_of_byte_pairs_is_skipped(self, make: Make) -> None:
        opened = make([{"text": ""}, {"text": "ab"}, {"text": "ba"}], "b", seq_len=4, train_bpe=262)
        assert opened.built.record["documents"] == {"train": 2, "test": 1}


class TestOverlap:
    documents = st.lists(
        st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=1, max_size=4
    )

    @FUZZ
    @given(documents, documents, st.integers(1, 6))
    def test_shares_are_those_of_all_runs(
        self, test: list[list[int]], train: list[list[int]], length: int
    ) -> None:
        expected = []
        for document in test:
            own = min(length, len(document))
            known = {run for other in train for run in runs(other, own)}
            found = [run in known for run in runs(document, own)]
            expected.append(sum(found) / len(found))
        arrays = [[np.array(tokens, np.int32) for tokens in part] for part in (test, train)]
        np.testing.assert_allclose(share_in_training(*arrays, length), expected)

    def test_long_texts_are_hashed_in_blocks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        train = np.random.default_rng(0).integers(0, 9, 1000, np.int32)
        test = [train[start : start + 60] for start in range(0, 940, 7)]
        monkeypatch.setattr(overlap, "BLOCK", 64)
        np.testing.assert_array_equal(share_in_training(test, [train]), np.ones(len(test)))

    def test_of_a_long_test_some_runs_are_looked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        train = np.random.default_rng(0).integers(0, 99, 4000, np.int32)
        half_known = np.concatenate([train[500:1500], train[500:1500] + 100])
        monkeypatch.setattr(overlap, "MOST_RUNS", 200)
        (share,) = share_in_training([half_known], [train])
        assert share == pytest.approx(951 / 1951, abs=0.01)

    def test_one_short_document_does_not_make_others_look_known(self) -> None:
        rng = np.random.default_rng(0)
        train = rng.integers(0, 5, 2000, np.int32)
        test = [rng.integers(0, 5, 300, np.int32), train[10:12]]
        assert share_in_training(test, [train]).tolist() == [0, 1]

    def test_runs_differ_in_their_hashes(self) -> None:
        rng = np.random.default_rng(0)
        tokens = rng.integers(0, 50265, 20_000, np.int32)
        assert len(np.unique(run_hashes(tokens, LENGTH))) == len(tokens) - LENGTH + 1

    def test_a_run_that_is_moved_by_one_token_is_another(self) -> None:
        padded = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]], np.int32)
        assert len({int(run_hashes(row, 3)[0]) for row in padded}) == 3


def runs(tokens: list[int], length: int) -> list[tuple[int, ...]]:
    return [tuple(tokens[i : i + length]) for i in range(len(tokens) - length + 1)]


def test_published_shakespeare_has_the_known_five_gram(data_dir: Path, tmp_path: Path) -> None:
    train, test = (data_dir / "text" / f"tinyshakespeare_{name}.txt" for name in ("train", "test"))
    if not train.is_file():
        pytest.skip(f"{train} is missing: the published text is not tested")
    built = build(tmp_path / "out", Options(sources=(train,), test=(test,)))
    bits = built.record["baselines"]["kneser_ney_5"] / math.log(2)
    assert bits == pytest.approx(2.252, abs=0.001)
    assert built.record["scored_tokens"] == 111_539
    assert built.warnings == ()
