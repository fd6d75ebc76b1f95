import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrm_core.tasks.contract import Task
from hrm_core.tasks.predictions import NO_PREDICTIONS, Predictions
from hrm_core.tasks.registry import label_of, task_of_shape
from hrm_tasks.sequences.alphabet import Alphabet, Column, Encoder, UnknownValueError
from hrm_tasks.sequences.baselines import BASELINES, SCORED_EVENTS, Comparison
from hrm_tasks.sequences.read import Event
from hrm_tasks.sequences.task import Sequences

FUZZ = settings(deadline=None, derandomize=True, max_examples=200)
ALPHABET = Alphabet(("a", "b"), (Column("sky", ("", "rain", "sun")), Column("day", ("a", "fri"))))
BUILD = {BASELINES: {"prior": 2.0, "bigram": 1.5}, SCORED_EVENTS: 6}


def predictions(losses: list[float], num_labelled: list[int], num_right: list[int]) -> Predictions:
    """Predictions of windows: mean loss and number of labels of each."""
    count = len(losses)
    return Predictions(
        num_right=np.array(num_right),
        num_labelled=np.array(num_labelled),
        num_right_blank=np.array(num_right),
        num_blank=np.array(num_labelled),
        lm_loss=np.array(losses),
        q_halt_logits=np.zeros(count),
        steps=np.ones(count, int),
        settled_step=np.ones(count, int),
        ratings=np.full(count, -1),
    )


def test_the_label_of_a_data_set_leads_to_its_task() -> None:
    task: Task = Sequences(ALPHABET, 9)
    found = task_of_shape(8, 9, label_of(task))
    assert isinstance(found, Sequences)
    assert (found.alphabet, found.seq_len, found.vocab_size) == (ALPHABET, 9, 8)
    assert task_of_shape(9, 9, label_of(task)) is None
    assert task_of_shape(8, 9, label_of(task), num_chunks=2) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@FUZZ
@given(json_values, json_values, st.integers(0, 9))
def test_settings_of_any_shape_are_a_task_or_none(events: Any, contexts: Any, size: int) -> None:
    task = Sequences.for_shape(size, 4, {"events": events, "contexts": contexts})
    if task is not None:
        settings = json.loads(json.dumps(dict(task.settings)))
        assert settings == {"events": events, "contexts": contexts}
        assert task.vocab_size == size


def test_settings_of_another_task_are_none() -> None:
    assert Sequences.for_shape(3, 4, {"events": ["a", "b"]}) is None
    assert Sequences.for_shape(3, 4, {"events": ["a", "a"], "contexts": []}) is None
    assert Sequences.for_shape(3, 4, {"events": ["a", "b"], "contexts": []}) is not None


def test_events_are_written_behind_their_context() -> None:
    sequence = [Event(2, "b", ("sun", "a")), Event(3, "a", ("", "fri"))]
    tokens = Encoder(ALPHABET, with_unknown=False).encode(sequence)
    assert tokens.tolist() == [5, 6, 2, 3, 7, 1]
    assert ALPHABET.event_tokens.tolist() == [1, 2]


def test_unknown_values_are_named_or_written_as_one() -> None:
    sequence = [Event(2, "b", ("sun", "a")), Event(3, "a", ("snow", "fri"))]
    with pytest.raises(UnknownValueError) as refused:
        Encoder(ALPHABET, with_unknown=True).encode(sequence)
    assert (refused.value.line, refused.value.column, refused.value.value) == (3, "sky", "snow")
    knows = Alphabet(("<unknown>", "b"), (Column("sky", ("<unknown>", "sun")),))
    sequence = [Event(2, "b", ("snow",)), Event(3, "c", ("sun",))]
    assert Encoder(knows, with_unknown=True).encode(sequence).tolist() == [3, 2, 4, 1]
    with pytest.raises(UnknownValueError):
        Encoder(knows, with_unknown=False).encode(sequence)


def test_every_event_weighs_alike() -> None:
    values = Sequences(ALPHABET, 4).measure(predictions([1.0, 2.0, 9.0], [1, 3, 0], [1, 0, 0]))
    assert values["nats"] == pytest.approx(7 / 4)
    assert values["perplexity"] == pytest.approx(math.exp(7 / 4))
    assert values["accuracy"] == 1 / 4
    assert (values["events"], values["count"]) == (4, 2)
    # residuals of the two windows are -0.75 and 0.75
    error = math.sqrt(2 * 2 * 0.75**2) / 4
    assert values["nats_high"] - values["nats"] == pytest.approx(1.959963984540054 * error)
    assert values["nats"] - values["nats_low"] == pytest.approx(1.959963984540054 * error)


def test_nothing_and_diverged_models_are_measured_without_a_crash() -> None:
    task = Sequences(ALPHABET, 4)
    assert task.measure(NO_PREDICTIONS)["count"] == 0
    assert math.isfinite(task.measure(predictions([1e6], [3], [0]))["perplexity"])


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    task = Sequences(ALPHABET, 4)
    num_covered = 0
    for _ in range(400):
        sizes = rng.integers(1, 60, size=80)
        means = 1 + 0.2 * rng.standard_normal(80)  # windows differ
        found = task.measure(predictions(means.tolist(), sizes.tolist(), sizes.tolist()))
        num_covered += found["nats_low"] < 1 < found["nats_high"]
    assert 0.9 < num_covered / 400 < 0.98


def test_a_model_stands_beside_the_baselines() -> None:
    found = Comparison.of(BUILD, "test", 1.2, 6)
    record = found.record()
    assert record["baselines"] == {"prior": 2.0, "bigram": 1.5}
    assert record["gains"] == pytest.approx({"prior": 0.8, "bigram": 0.3})
    (table,) = found.pages()
    assert not isinstance(table, str)
    assert [row[0] for row in table.rows] == ["frequency of each event", "bigram", "this model"]
    assert table.rows[1] == ["bigram", "1.5000", "4.482", "+0.3000"]


@pytest.mark.parametrize(
    ("build", "split", "num_events", "remark"),
    [
        (BUILD, "train", 6, "whole test"),
        (BUILD, "test", 5, "whole test"),
        ({}, "test", 6, "no baselines"),
        ({BASELINES: {"prior": "low"}}, "test", 6, "no baselines"),
        ({BASELINES: {"other": 1.0}}, "test", 6, "no baselines"),
    ],
)
def test_baselines_of_other_events_are_not_shown(
    build: dict[str, Any], split: str, num_events: int, remark: str
) -> None:
    found = Comparison.of(build, split, 1.2, num_events)
    assert found.record() == {"baselines": {}, "gains": {}}
    (page,) = found.pages()
    assert isinstance(page, str)
    assert remark in page
