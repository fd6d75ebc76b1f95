"""Tokens and places of tasks of pictures."""

import json
from typing import Any

import numpy as np
import pytest

from hrm_core.config import ConfigError
from hrm_core.tasks.contract import Task
from hrm_core.tasks.pictures import AUROC, GREY, PictureSettings, PictureTask
from hrm_core.tasks.predictions import NO_PREDICTIONS, REQUIRED, Predictions
from hrm_core.tasks.registry import label_of


class Photos(PictureTask):
    """A task of pictures without a folder."""

    name = "photos"


def photos(**settings: Any) -> Photos:
    """Return a task of 4 x 8 pixels in patches of 2."""
    defaults: dict[str, Any] = {"labels": ("a", "b", "c"), "size": (4, 8), "patch": 2}
    return Photos(PictureSettings(**{**defaults, **settings}))


def test_a_row_is_patches_then_a_slot_for_each_label() -> None:
    task = photos()
    tokens, images = task.questions(np.zeros((2, 4, 8), np.uint8))
    assert tokens.tolist() == [[1] * 8 + [4, 5, 6]] * 2
    assert images is not None
    labels = task.answers(np.array([[1, 0, -1], [0, 0, 1]]))
    assert labels.tolist() == [[0] * 8 + [3, 2, 0], [0] * 8 + [2, 2, 3]]
    assert (task.vocab_size, task.seq_len, task.num_chunks) == (7, 11, 1)


def test_only_the_last_chunk_has_targets() -> None:
    task = photos(strips=2)
    assert task.answers(np.array([[1, 0, -1]])).tolist() == [[0] * 7 + [0] * 4 + [3, 2, 0]]
    assert task.num_chunks == 2
    assert photos(strips=2, overview=True).num_chunks == 3
    assert photos(frames=5).num_chunks == 5


def test_labels_that_exclude_each_other_share_a_slot() -> None:
    task = photos(exclusive=True)
    tokens, _ = task.questions(np.zeros((1, 4, 8), np.uint8))
    assert tokens.tolist() == [[1] * 8 + [2]]
    assert task.answers(np.array([[0, 0, 1]])).tolist() == [[0] * 8 + [5]]
    assert task.vocab_size == 6


def test_pixels_keep_seven_bits() -> None:
    task = photos(pixels=True)
    image = np.arange(32, dtype=np.uint8).reshape(1, 4, 8)
    tokens, images = task.questions(image)
    assert images is None
    assert tokens[0, :32].tolist() == [GREY + value // 2 for value in range(32)]
    assert tokens[0, 32:].tolist() == [4, 5, 6]
    assert task.vocab_size == 256


@pytest.mark.parametrize("exclusive", [False, True])
def test_a_label_of_the_task_brings_it_back(exclusive: bool) -> None:
    task = photos(exclusive=exclusive, strips=2)
    settings = json.loads(label_of(task).partition(" ")[2])
    again = Photos.for_shape(task.vocab_size, task.seq_len, settings)
    assert again is not None
    assert again.preparation == task.preparation
    assert Photos.for_shape(task.vocab_size, task.seq_len + 1, settings) is None
    assert Photos.for_shape(task.vocab_size, task.seq_len, {}) is None


def test_judgement_reads_the_last_chunk() -> None:
    task = photos(strips=2)
    probabilities = np.zeros((1, 6, 2))
    probabilities[0, 3:, 1] = 0.1, 0.7, 0.9
    found = task.judgement(probabilities, np.array([[-1, -1, -1, 1, 0, -1]]))
    assert found.chances.tolist() == [[0.1, 0.7, 0.9]]
    assert found.truth.tolist() == [[1, 0, -1]]


def test_judgement_of_one_slot_is_one_against_the_rest() -> None:
    task = photos(exclusive=True)
    found = task.judgement(np.array([[[0.2, 0.3, 0.5]]]), np.array([[2]]))
    assert found.chances.tolist() == [[0.2, 0.3, 0.5]]
    assert found.truth.tolist() == [[0, 0, 1]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patch": 3}, "patches of 3 do not divide"),
        ({"strips": 3}, "3 strips do not divide"),
        ({"overview": True}, "at least 2 strips"),
        ({"frames": 2, "strips": 2}, "frames are whole chunks"),
        ({"pixels": True, "strips": 2}, "one chunk"),
        ({"exclusive": True, "labels": ("a",)}, "the one label a"),
    ],
)
def test_settings_that_clash_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, ConfigError), match=message):
        photos(**settings)


def predictions_of(probabilities: Any, targets: Any) -> Predictions:
    """Return predictions of N pictures, of which only what labels use matters."""
    count = len(targets)
    zeros = np.zeros(count)
    fields = {name: zeros for name in vars(NO_PREDICTIONS) if name in REQUIRED}
    fields["num_labelled"] = (np.asarray(targets) >= 0).sum(axis=1)
    fields["steps"] = np.full(count, 2)
    fields["lm_loss"] = np.arange(count, dtype=np.float64)
    given = {"probabilities": np.array(probabilities), "targets": np.array(targets)}
    return Predictions(**fields, **given)  # type: ignore[arg-type]


def test_measures_are_of_pictures_with_a_known_label() -> None:
    task = photos(labels=("a", "b"))
    assert isinstance(task, Task)
    present = np.array([[0.9, 0.2], [0.4, 0.3], [0.6, 0.8], [0.5, 0.5]])
    probabilities = np.stack([1 - present, present], axis=2)
    targets = [[1, 0], [1, 0], [0, -1], [-1, -1]]
    values = task.measure(predictions_of(probabilities, targets))
    assert values["auroc"] == 0.5  # of two pairs of a, one is in order; b has no present one
    assert values["accuracy"] == pytest.approx(3 / 5)
    assert values["base_rate"] == pytest.approx(4 / 5)
    assert (values["count"], values["steps"], values["lm_loss"]) == (3, 2, 1)
    assert AUROC.shown(values) == "0.5000"


def test_undefined_auroc_is_said_and_still_a_number() -> None:
    task = photos(labels=("a", "b"))
    values = task.measure(NO_PREDICTIONS)
    assert (values["auroc"], values["count"]) == (0.5, 0)
    assert AUROC.shown(values) == "undefined"
    exclusive = photos(exclusive=True)
    assert exclusive.measure(NO_PREDICTIONS).keys() == values.keys()


def test_exclusive_labels_are_ranked_one_against_the_rest() -> None:
    task = photos(exclusive=True)
    probabilities = [[[0.5, 0.3, 0.2]], [[0.2, 0.6, 0.2]], [[0.1, 0.8, 0.1]]]
    values = task.measure(predictions_of(probabilities, [[0], [1], [0]]))
    assert values["auroc"] == pytest.approx(0.5)  # of a and of b one pair of two; c is absent
    assert values["accuracy"] == pytest.approx(2 / 3)
    assert values["defined_labels"] == 2
