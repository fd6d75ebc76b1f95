"""Logistic regression on pixels, fitted to the same pictures as a network.

Shapes: N pictures, F labels, D block means of a picture.
"""

import math
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from hrm_core.errors import needs_package
from hrm_core.tasks.contract import BoolArray, IntArray
from hrm_core.tasks.picture_scores import FloatArray, Judgement, log_odds

Features = npt.NDArray[np.float32]  # (N, D)
Say = Callable[[Features], FloatArray]  # what a fitted model says of some pictures

MAX_FEATURES = 64 * 64
MAX_PICTURES = 5000
PENALTY = 0.1  # C of scikit-learn: the inverse of the strength of the penalty
MAX_ITERATIONS = 300
CERTAIN = 10.0  # odds where training has one class only


def features(pictures: npt.NDArray[np.uint8]) -> Features:
    """Return the means of square blocks, the smallest that leave few enough. (N, ..., H, W) -> (N, D)."""
    height, width = pictures.shape[-2:]
    frames = math.prod(pictures.shape[1:-2])
    side = 1
    while frames * math.ceil(height / side) * math.ceil(width / side) > MAX_FEATURES:
        side += 1
    tops, lefts = np.arange(0, height, side), np.arange(0, width, side)
    columns = np.add.reduceat(pictures, lefts, axis=-1, dtype=np.float32)
    sums = np.add.reduceat(columns, tops, axis=-2)
    areas = np.outer(np.diff(tops, append=height), np.diff(lefts, append=width))
    means: Features = ((sums / areas / 255 - 0.5) / 0.25).astype(np.float32)
    return means.reshape(len(pictures), -1)


def training_rows(rows: IntArray) -> IntArray:
    """Choose at most 5,000 pictures, evenly spread over all. Shapes: (N,)."""
    places = np.linspace(0, len(rows) - 1, min(len(rows), MAX_PICTURES))
    return rows[places.astype(np.intp)]


def logistic(
    train: Features, truth: IntArray, test: Iterable[Features], judged: Judgement
) -> Judgement:
    """Fit logistic regression with balanced class weights, and judge the test pictures.

    `truth` (N, F) is that of training; `test` gives the features of some pictures at a time. Of
    `judged` only the truth of the test pictures is used.

    Raises: BackendError if scikit-learn is not installed.
    """
    if judged.exclusive:
        say = _multinomial(train, truth.argmax(axis=1), truth.shape[1])
        chances = np.concatenate([say(block) for block in test])
        others = chances @ (1 - np.eye(truth.shape[1]))
        return judged._replace(chances=chances, odds=log_odds(chances, others))
    each = []
    for column in truth.T:
        known = column >= 0
        each.append(_binary(train[known], column[known] == 1))
    parts = [np.stack([say(block) for say in each], axis=1) for block in test]
    odds = np.concatenate(parts).astype(np.float64)
    return judged._replace(chances=1 / (1 + np.exp(-odds)), odds=odds)


def _binary(train: Features, present: BoolArray) -> Say:
    """Fit the odds (N,) of a label; those of what training always says if it has one class."""
    if present.all() or not present.any():
        odds = CERTAIN if present.any() else -CERTAIN
        return lambda block: np.full(len(block), odds)
    model = _fitted(train, present)
    return lambda block: model.decision_function(block)


def _multinomial(train: Features, named: IntArray, num_labels: int) -> Say:
    """Fit the chances (N, F) of labels that exclude each other."""
    classes = np.unique(named)
    model = _fitted(train, named) if len(classes) > 1 else None

    def say(block: Features) -> FloatArray:
        chances = np.zeros((len(block), num_labels))
        chances[:, classes] = model.predict_proba(block) if model is not None else 1.0
        return chances

    return say


def _fitted(train: Features, classes: npt.NDArray[Any]) -> Any:
    """Fit one regression."""
    with needs_package("sklearn", "scikit-learn is not installed", "bench"):
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
    model = LogisticRegression(C=PENALTY, max_iter=MAX_ITERATIONS, class_weight="balanced")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # good enough for a baseline
        return model.fit(train, classes)
