import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hrm_mlx  # noqa: F401 - before mlx is imported: it brings the fast BLAS
from hrm_core.backend import Backend
from hrm_core.backends import backend_named
from hrm_core.config import ModelConfig, load_config
from hrm_core.data.store import Dataset
from hrm_core.inference.evaluation import evaluate
from hrm_core.inference.predicting import ModelAsk
from hrm_core.parameters import initial_values
from hrm_core.tasks.capabilities import Compared, Equipped, Outcomes, Table
from hrm_core.tasks.predictions import NO_PREDICTIONS, Predictions
from hrm_core.tasks.registry import task_of_shape
from hrm_tasks.cricket import scores
from hrm_tasks.cricket.alphabet import NUM_OUTCOMES, PAD, START, VOCAB_SIZE
from hrm_tasks.cricket.build import build
from hrm_tasks.cricket.comparison import Comparison
from hrm_tasks.cricket.layout import (
    NUM_CHUNKS,
    NUM_FIELDS,
    NUM_PLACES,
    NUM_SLOTS,
    PREFIX_LEN,
    SEQ_LEN,
)
from hrm_tasks.cricket.options import Options
from hrm_tasks.cricket.scoreboard import FloatArray, IntArray
from hrm_tasks.cricket.task import Cricket

DAY = "2020-01-09"
CONFIG = ModelConfig(
    vocab_size=VOCAB_SIZE,
    seq_len=SEQ_LEN,
    num_puzzle_identifiers=1,
    puzzle_emb_ndim=0,
    H_cycles=1,
    L_cycles=1,
    H_layers=1,
    L_layers=1,
    hidden_size=16,
    num_heads=2,
    pos_encodings="learned",
    halt_max_steps=NUM_CHUNKS,
    loss_type="softmax_cross_entropy",
    attention="prefix",
    halting="fixed",
    loss_average="token",
    num_chunks=NUM_CHUNKS,
    forward_dtype="float32",
)


@pytest.fixture(scope="module")
def data(matches: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    out = tmp_path_factory.mktemp("cricket") / "out"
    build(out, Options(matches=matches, validate_from=DAY, copies=2))
    return Dataset(out)


@pytest.fixture(scope="module")
def task(data: Dataset) -> Cricket:
    found = task_of_shape(VOCAB_SIZE, SEQ_LEN, data.label or "", NUM_CHUNKS)
    assert isinstance(found, Cricket)
    return found


def untrained(name: str) -> Backend:
    """Make a tiny model with its initial weights."""
    backend = backend_named(name)(CONFIG)
    backend.load_weights(initial_values(CONFIG, seed=1))
    return backend


def predicted(probabilities: FloatArray, targets: IntArray) -> Predictions:
    """Return predictions with these probabilities, all else zero."""
    count = len(targets)
    zeros = np.zeros(count, np.int64)
    fields = {name: zeros for name in vars(NO_PREDICTIONS) if name not in OPTIONAL}
    fields["num_labelled"] = (targets >= 0).sum(axis=1)
    return Predictions(**fields, probabilities=probabilities, targets=targets)  # type: ignore[arg-type]


OPTIONAL = ("probabilities", "targets", "step_losses")


def test_the_task_has_its_capabilities(task: Cricket) -> None:
    assert isinstance(task, Outcomes)
    assert isinstance(task, Compared)
    assert isinstance(task, Equipped)
    assert len(task.outcomes) == len(task.outcome_tokens) == NUM_OUTCOMES
    assert len(task.outcome_positions) * task.num_chunks == NUM_PLACES
    assert not task.headline.higher_is_better


def test_other_shapes_and_settings_are_not_of_this_task(task: Cricket) -> None:
    assert Cricket.for_shape(VOCAB_SIZE, SEQ_LEN, task.settings) is not None
    assert Cricket.for_shape(VOCAB_SIZE + 1, SEQ_LEN, task.settings) is None
    for settings in ({}, {**task.settings, "more": 1}, {**task.settings, "edges": {}}):
        assert Cricket.for_shape(VOCAB_SIZE, SEQ_LEN, settings) is None
    assert Cricket.for_shape(VOCAB_SIZE, SEQ_LEN, {**task.settings, "learned": 1}) is None


def test_scores_of_balls_are_what_they_are_called(task: Cricket) -> None:
    targets = np.full((2, NUM_PLACES), -1)
    targets[0, :4] = [0, 1, 4, 6]
    even = np.full((2, NUM_PLACES, NUM_OUTCOMES), 1 / NUM_OUTCOMES)
    measured = task.measure(predicted(even, targets))
    assert measured["log_loss"] == pytest.approx(np.log(NUM_OUTCOMES))
    assert measured["brier"] == pytest.approx(0.9)
    assert measured["ece"] == pytest.approx(0.0)
    assert measured["wicket_loss"] == pytest.approx(-(np.log(0.1) + 3 * np.log(0.9)) / 4)
    assert measured["boundary_loss"] == pytest.approx(-(np.log(0.2) + 3 * np.log(0.8)) / 4)
    assert (measured["balls"], measured["count"]) == (4, 1)
    sure = np.zeros_like(even)
    sure[0, np.arange(4), targets[0, :4]] = 1
    assert task.measure(predicted(sure, targets))["log_loss"] == 0
    assert task.measure(predicted(even[:0], targets[:0]))["balls"] == 0


def test_a_bootstrap_draws_whole_matches() -> None:
    rng = np.random.default_rng(0)
    match = np.repeat(np.arange(40), 50)
    of_match = rng.normal(0.0, 1.0, 40)[match]
    mean, low, high = scores.paired_interval(of_match, match)
    assert low < mean < high
    assert high - low == pytest.approx(2 * 1.96 * of_match.std() / np.sqrt(40), rel=0.2)


@pytest.fixture(scope="module", params=["mlx", "torch"])
def ask(request: pytest.FixtureRequest) -> Callable[[IntArray], FloatArray]:
    backend = untrained(request.param)

    def probabilities(inputs: IntArray) -> FloatArray:
        prefix_len = np.full(len(inputs), PREFIX_LEN, np.int32)
        return ModelAsk(backend, Cricket({}, "")).probabilities(inputs, prefix_len)

    return probabilities


def test_a_prediction_does_not_depend_on_the_ball_or_what_follows(
    ask: Callable[[IntArray], FloatArray], data: Dataset
) -> None:
    whole = np.array(data.split("test").sets["all"].inputs[0], np.int32)
    rng = np.random.default_rng(2)
    changed = []
    places = [(0, 0), (1, 3), (4, 5)]
    for chunk, slot in places:
        cells = whole.reshape(NUM_CHUNKS, SEQ_LEN).copy()
        first = PREFIX_LEN + 2 * slot + 1  # O of this ball
        tail = cells[chunk, first:]
        tail[:] = rng.integers(2, VOCAB_SIZE, tail.shape)
        cells[chunk + 1 :] = rng.integers(2, VOCAB_SIZE, cells[chunk + 1 :].shape)
        shorter = whole.reshape(NUM_CHUNKS, SEQ_LEN).copy()
        shorter[chunk, first:] = PAD  # the over, and the innings, end here
        shorter[chunk + 1 :] = PAD
        changed += [cells.reshape(-1), shorter.reshape(-1)]
    original, *others = ask(np.array([whole, *changed]))
    for number, found in enumerate(others):
        chunk, slot = places[number // 2]
        end = chunk * NUM_SLOTS + slot + 1
        np.testing.assert_array_equal(original[:end], found[:end])
        assert not np.array_equal(original[end:], found[end:])


def test_the_previous_over_and_the_prefix_are_seen(
    ask: Callable[[IntArray], FloatArray], data: Dataset
) -> None:
    whole = np.array(data.split("test").sets["all"].inputs[0], np.int32)
    cells = np.tile(whole.reshape(NUM_CHUNKS, SEQ_LEN), (3, 1, 1))
    cells[1, 2, NUM_FIELDS:PREFIX_LEN] = START
    cells[2, 2, 5] += 1
    original, *others = ask(cells.reshape(3, -1))
    for found in others:
        np.testing.assert_array_equal(original[:24], found[:24])
        assert (original[24:30] != found[24:30]).any()


def compared(task: Cricket, data: Dataset, count: int) -> tuple[Comparison, Predictions]:
    split = data.split("test")
    backend = untrained("torch")
    predictions, _ = evaluate(backend, split, task, 8, limit=count)
    return task.compare(data, split, predictions), predictions


def test_a_model_is_compared_with_prior_and_table(task: Cricket, data: Dataset) -> None:
    pytest.importorskip("sklearn", reason="needs scikit-learn")
    report, predictions = compared(task, data, 8)
    record = json.loads(json.dumps(report.record()))
    measured = task.measure(predictions)
    assert record["log_loss"]["network"] == pytest.approx(measured["log_loss"], abs=1e-6)
    assert list(record["log_loss"]) == ["network", "prior", "table", "logistic regression"]
    assert (record["matches"], record["balls"]) == (4, measured["balls"])
    assert record["believe"] in record["log_loss"]
    assert record["gain_over"]["prior"]["high"] < 0  # it is untrained
    assert sum(row["balls"] for row in record["phases"]) == record["balls"]
    models, phases, advice = report.pages()
    assert isinstance(models, Table)
    assert isinstance(phases, Table)
    assert "Lowest log loss" in str(advice)


class NoScikitLearn:
    """A finder that says what Python says where scikit-learn is not installed."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name == "sklearn":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_without_scikit_learn_the_rest_is_compared(
    task: Cricket, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [NoScikitLearn(), *sys.meta_path])
    report, _ = compared(task, data, 3)
    assert "logistic regression" not in report.losses
    assert "scikit-learn is not installed" in str(report.pages()[-1])
    assert report.matches == 2


def test_the_preset_is_of_this_shape(data: Dataset) -> None:
    config: Any = load_config("cricket-t20")
    model = config.model.sized(data.split("train").sizes)
    assert model.halt_max_steps == NUM_CHUNKS * model.steps_per_chunk
    assert (model.attention, model.halting, model.loss_average) == ("prefix", "fixed", "token")
