import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hrm_core.data.store import Dataset
from hrm_core.errors import DataError
from hrm_core.tasks.capabilities import Compared, Equipped, Generative, Table, Variable
from hrm_core.tasks.contract import Task
from hrm_core.tasks.predictions import Predictions
from hrm_tasks.text.build import Options, build
from hrm_tasks.text.task import Text
from hrm_tasks.text.tokenizer import END, BytePairs, train_tokenizer

CHARACTERS = {"alphabet": "abc"}
BYTES = {"tokenizer": "0" * 64, "bytes_per_token": 4.0}


def predictions(sums: list[float], labels: list[int], **more: Any) -> Predictions:
    """Predictions of windows with these sums of losses and numbers of labels."""
    counts = np.array(labels)
    zeros = np.zeros(len(counts), np.int64)
    return Predictions(
        num_right=counts // 2,
        num_labelled=counts,
        num_right_blank=zeros,
        num_blank=zeros,
        lm_loss=np.array(sums) / np.maximum(counts, 1),
        q_halt_logits=zeros.astype(np.float32),
        steps=zeros + 1,
        settled_step=zeros + 1,
        ratings=zeros - 1,
        **more,
    )


@pytest.fixture(scope="module")
def learned() -> BytePairs:
    pytest.importorskip("tokenizers", reason="tokenizers is missing: byte pairs are not tested")
    return train_tokenizer(["the cat sat on the mat"] * 9, 280)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("text")
    (folder / "a.txt").write_text("to be or not to be " * 9)
    build(folder / "out", Options(sources=(folder / "a.txt",), seq_len=8))
    return Dataset(folder / "out")


def with_tokenizer(tokenizer: BytePairs, vocab_size: int | None = None) -> Text:
    sha256 = hashlib.sha256(tokenizer.to_text().encode()).hexdigest()
    settings = {**BYTES, "tokenizer": sha256}
    return Text(vocab_size or tokenizer.vocab_size, 8, settings)


class TestMeasure:
    def test_every_token_weighs_alike(self) -> None:
        found = Text(4, 8, CHARACTERS).measure(predictions([8.0, 1.0, 0.0], [2, 8, 0]))
        assert found["nats"] == pytest.approx(0.9)
        assert found["bits"] == pytest.approx(0.9 / math.log(2))
        assert found["perplexity"] == pytest.approx(math.exp(0.9))
        assert (found["tokens"], found["count"]) == (10, 2)
        assert found["accuracy"] == 0.5

    def test_bits_of_byte_pairs_are_divided_by_their_bytes(self) -> None:
        found = Text(300, 8, BYTES).measure(predictions([8.0, 1.0], [2, 8]))
        assert found["bits"] == pytest.approx(0.9 / math.log(2) / 4)
        assert found["perplexity"] == pytest.approx(math.exp(0.9))

    def test_the_standard_error_is_that_of_a_bootstrap_over_windows(self) -> None:
        rng = np.random.default_rng(0)
        labels = rng.integers(1, 30, 200)
        sums = labels * rng.gamma(4, 0.5, 200)  # tokens of a window are alike
        found = Text(4, 30, CHARACTERS).measure(predictions(sums.tolist(), labels.tolist()))
        drawn = rng.integers(0, 200, (2000, 200))
        means = sums[drawn].sum(axis=1) / labels[drawn].sum(axis=1)
        assert found["nats_error"] == pytest.approx(means.std(), rel=0.1)
        width = (found["bits_high"] - found["bits_low"]) * math.log(2)
        assert width == pytest.approx(2 * 1.96 * means.std(), rel=0.1)
        assert found["perplexity_error"] == pytest.approx(np.exp(means).std(), rel=0.1)

    def test_a_loss_of_any_size_has_a_perplexity(self) -> None:
        found = Text(4, 8, CHARACTERS).measure(predictions([1e6], [1]))
        assert math.isfinite(found["perplexity"])

    def test_nothing_scored_is_no_error(self) -> None:
        assert Text(4, 8, CHARACTERS).measure(predictions([0.0], [0]))["tokens"] == 0


class TestCompare:
    def test_the_n_gram_and_the_steps_stand_beside_a_model(self, data: Dataset) -> None:
        task = Text(8, 8, {"alphabet": data.build["task_settings"]["alphabet"]})
        found = predictions([8.0, 2.0], [2, 8], step_losses=np.array([[9.0, 8.0], [6.0, 2.0]]))
        report = task.compare(data, data.split("test"), found)
        bits = data.build["baselines"]["kneser_ney_5"] / math.log(2)
        record = report.record()
        assert record["kneser_ney_5"] == pytest.approx(bits)
        assert record["bits_by_step"] == pytest.approx([1.5 / math.log(2), 1 / math.log(2)])
        beside, steps = report.pages()
        assert isinstance(beside, Table)
        assert isinstance(steps, Table)
        assert beside.rows[1][1] == f"{bits:.3f}"
        assert [row[0] for row in steps.rows] == ["1", "2"]
        json.dumps(record)

    def test_the_n_gram_is_of_the_test_alone(self, data: Dataset) -> None:
        task = Text(8, 8, {"alphabet": data.build["task_settings"]["alphabet"]})
        report = task.compare(data, data.split("train"), predictions([1.0], [1]))
        assert report.record() == {"kneser_ney_5": None, "bits_by_step": []}
        assert len(report.pages()) == 1


class TestShape:
    def test_it_is_a_task_with_its_capabilities(self) -> None:
        task = Text(4, 8, CHARACTERS)
        for capability in (Task, Generative, Compared, Equipped, Variable):
            assert isinstance(task, capability)

    @pytest.mark.parametrize(
        ("vocab_size", "settings"),
        [
            (5, CHARACTERS),
            (4, {}),
            (4, {"alphabet": 5}),
            (300, {"tokenizer": "x"}),
            (300, {**BYTES, "bytes_per_token": 0}),
            (300, {**BYTES, "bytes_per_token": "4"}),
            (300, {**BYTES, "tokenizer": None}),
        ],
    )
    def test_other_sizes_and_settings_are_not_its_own(
        self, vocab_size: int, settings: dict[str, Any]
    ) -> None:
        assert Text.for_shape(vocab_size, 8, settings) is None

    def test_its_unit_is_that_of_its_tokens(self) -> None:
        one, other = Text.for_shape(4, 8, CHARACTERS), Text.for_shape(300, 8, BYTES)
        assert one is not None
        assert other is not None
        assert (one.unit, one.headline.title) == ("character", "bits per character")
        assert (other.unit, other.headline.heading) == ("byte", "bits/byte")
        assert (list(one.file_names), list(other.file_names)) == ([], ["tokenizer.json"])


class TestTokenizer:
    def test_characters_need_no_file(self) -> None:
        task = Text(5, 8, {"alphabet": "abc" + END})
        assert task.with_files({}) is task
        assert (task.stop_token, list(task.banned_tokens)) == (4, [0])
        assert Text(4, 8, CHARACTERS).stop_token is None
        assert task.encode("cab").tolist() == [3, 1, 2]
        assert task.decode(np.array([3, 1, 0, 4])) == "ca"

    def test_byte_pairs_come_with_their_file(self, learned: BytePairs) -> None:
        task = with_tokenizer(learned).with_files({"tokenizer.json": learned.to_text()})
        assert (task.stop_token, list(task.banned_tokens)) == (2, [1])
        assert task.encode("the cat")[0] == 0
        assert task.decode(task.encode("the cat")) == "the cat"

    def test_without_its_file_it_is_measured_and_not_read(self, learned: BytePairs) -> None:
        task = with_tokenizer(learned).with_files({})
        assert task.measure(predictions([1.0], [2]))["nats"] == 0.5
        with pytest.raises(DataError, match=r"tokenizer\.json is not with this model"):
            task.encode("a")

    def test_another_tokenizer_is_refused(self, learned: BytePairs) -> None:
        other = train_tokenizer(["dog"], 262)
        with pytest.raises(DataError, match="is not the tokenizer of this model; use the one it"):
            with_tokenizer(learned).with_files({"tokenizer.json": other.to_text()})

    def test_a_tokenizer_of_another_size_is_refused(self, learned: BytePairs) -> None:
        task = with_tokenizer(learned, vocab_size=999)
        with pytest.raises(DataError, match=r"has 2\d\d tokens, the model 999; use the tokenizer"):
            task.with_files({"tokenizer.json": learned.to_text()})

    def test_a_damaged_file_is_refused(self, learned: BytePairs, tmp_path: Path) -> None:
        settings = {**BYTES, "tokenizer": hashlib.sha256(b"{}").hexdigest()}
        pytest.importorskip("tokenizers", reason="tokenizers is missing: byte pairs are not tested")
        with pytest.raises(DataError, match=r"tokenizer\.json is no tokenizer"):
            Text(300, 8, settings).with_files({"tokenizer.json": "{}"})
