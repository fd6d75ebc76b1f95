"""Logistic regression beside a network: `hrm eval`."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made import SIDE, Drawn, drawn, task_of, write_pictures
from PIL import Image

from hrm_core.data.store import Dataset
from hrm_core.errors import DataError
from hrm_core.tasks import picture_scores as scores
from hrm_core.tasks.capabilities import Charted, Table
from hrm_core.tasks.picture_baselines import MAX_FEATURES, features, training_rows
from hrm_core.tasks.picture_comparison import (
    LOGISTIC,
    NETWORK,
    Comparison,
    compare,
    draw,
    legend_title,
)
from hrm_core.tasks.picture_listing import listing
from hrm_core.tasks.picture_scores import Judgement
from hrm_core.tasks.pictures import PictureTask
from hrm_core.tasks.predictions import NO_PREDICTIONS, REQUIRED, Predictions

sklearn_metrics = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn")


def guessed(task: PictureTask, targets: Any, seed: int = 0) -> Predictions:
    """Return predictions that know a little of the truth (N, F)."""
    rng = np.random.default_rng(seed)
    count = len(targets)
    if task.preparation.exclusive:
        shares = rng.dirichlet(np.ones(targets.shape[1]), count) + 0.3 * targets
        probabilities = (shares / shares.sum(axis=1, keepdims=True))[:, None]
        named = targets.argmax(axis=1)[:, None]
    else:
        present = np.clip(rng.normal(0.4, 0.2, targets.shape) + 0.2 * (targets == 1), 0.01, 0.99)
        probabilities, named = np.stack([1 - present, present], axis=2), targets
    fields = {name: np.zeros(count) for name in vars(NO_PREDICTIONS) if name in REQUIRED}
    fields["num_labelled"] = (named >= 0).sum(axis=1)
    return Predictions(**fields, probabilities=probabilities, targets=named)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[PictureTask, Path, dict[str, Drawn]]:
    """A data set whose training pictures stand there three times."""
    out = tmp_path_factory.mktemp("pictures") / "data"
    task = task_of(labels=("Edema", "Mass", "Hernia"))
    return task, out, write_pictures(out, task, num_train=60, num_test=50, copies=3)


def compared(written: Any, split: str, predictions: Predictions) -> Comparison:
    task, out, _ = written
    data = Dataset(out)
    found = task.compare(data, data.split(split), predictions)
    assert isinstance(task, Charted)
    return found


def test_each_label_stands_beside_logistic_regression(written: Any) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    task, _, made = written
    test = made["test"].targets
    predictions = guessed(task, test)
    found = compared(written, "test", predictions)
    record = json.loads(json.dumps(found.record()))
    judged = task.judged(predictions)
    train = (made["train"].pictures.reshape(60, -1) / 255 - 0.5) / 0.25
    pixels = (made["test"].pictures.reshape(50, -1) / 255 - 0.5) / 0.25
    each = []
    for label, name in enumerate(task.labels):
        known, learned = test[:, label] >= 0, made["train"].targets[:, label] >= 0
        model = linear_model.LogisticRegression(C=0.1, class_weight="balanced", max_iter=300)
        model.fit(train[learned], made["train"].targets[learned, label])
        said = {
            NETWORK: judged.odds[known, label],
            LOGISTIC: model.decision_function(pixels[known]),
        }
        for model_name, odds in said.items():
            auroc = sklearn_metrics.roc_auc_score(test[known, label], odds)
            value = record["labels"][name]["auroc"][model_name]
            assert value["value"] == pytest.approx(auroc, abs=2e-3)
            assert value["low"] <= value["value"] <= value["high"]
        each.append(record["labels"][name]["gain"]["value"])
        assert record["labels"][name]["present"] == (test[:, label] == 1).sum()
    assert record["macro"]["gain"]["value"] == pytest.approx(np.mean(each))
    assert record["macro"]["gain"]["high"] < 0  # a linear model knows such squares
    measured = task.measure(predictions)
    assert record["macro"]["auroc"][NETWORK]["value"] == pytest.approx(measured["auroc"])
    assert record["at_half"][NETWORK]["ece"] == measured["ece"]
    assert "50 images of 25 patients" in found.things


def test_intervals_of_gains_are_paired(written: Any) -> None:
    """A model beside itself gains nothing in any resample."""
    task, _, made = written
    judged = task.judged(guessed(task, made["test"].targets))
    patients = np.arange(50) // 2
    drawn_twice = [scores.resampled(judged, patients)["auroc"] for _ in range(2)]
    np.testing.assert_array_equal(*drawn_twice)
    other = scores.resampled(judged, np.arange(50))["auroc"]
    assert not np.array_equal(other, drawn_twice[0])


def test_labels_of_few_pictures_are_named(written: Any) -> None:
    task, _, made = written
    targets = made["test"].targets.copy()
    targets[:, 1] = 0
    targets[:9, 1] = 1
    found = compared(written, "test", guessed(task, targets))
    assert found.notes[0] == "Too few to trust the intervals, below 10 of a class: Mass."
    targets[9, 1] = 1
    assert compared(written, "test", guessed(task, targets)).notes == []


def test_of_many_labels_of_few_pictures_twenty_are_named() -> None:
    rng = np.random.default_rng(3)
    truth = np.tile([0, 1], 6)[:, None].repeat(30, axis=1)
    odds = rng.normal(size=truth.shape)
    judged = Judgement(1 / (1 + np.exp(-odds)), truth, odds, False)
    names = [f"L{label}" for label in range(30)]
    found = compare(names, "label", "12 images", "image", np.arange(12), {NETWORK: judged}, [], "")
    assert found.notes[0].endswith(f"of a class: {', '.join(names[:20])}, ….")


def test_copies_of_a_picture_count_once(written: Any) -> None:
    task, out, made = written
    targets = np.repeat(made["train"].targets, 3, axis=0)
    found = compared(written, "train", guessed(task, targets))
    assert found.things == "60 images of 30 patients"
    assert found.rows[0].present == (made["train"].targets[:, 0] == 1).sum()
    first = compared(written, "train", guessed(task, targets[:30]))  # --limit 30
    assert first.things == "10 images of 5 patients"
    rows = listing(Dataset(out), Dataset(out).split("train")).rows
    assert rows.tolist() == list(range(0, 180, 3))


def test_without_a_list_each_group_is_a_picture(tmp_path: Path) -> None:
    task = task_of()
    write_pictures(tmp_path / "data", task, num_train=20, num_test=10, copies=4, is_listed=False)
    data = Dataset(tmp_path / "data")
    listed = listing(data, data.split("train"))
    assert listed.rows.tolist() == list(range(0, 80, 4))
    assert listed.files[:2] == ["train 0", "train 4"]
    assert not listed.knows_patients
    assert listed.patients.tolist() == list(range(20))
    targets = np.zeros((10, 2), np.int64)
    found = task.compare(data, data.split("test"), guessed(task, targets))
    assert "bootstrap by image), 10 images" in str(found.pages()[0])


def test_a_label_without_both_classes_is_undefined(written: Any) -> None:
    task, _, made = written
    targets = made["test"].targets.copy()
    targets[:, 1] = 0
    found = compared(written, "test", guessed(task, targets))
    ranks = found.pages()[0]
    assert isinstance(ranks, Table)
    assert ranks.rows[1][:4] == ["Mass", "0", "50", "undefined"]
    record = json.loads(json.dumps(found.record()))
    assert record["labels"]["Mass"]["auroc"][NETWORK] == {"value": None, "low": None, "high": None}
    rest = [record["labels"][name]["auroc"][NETWORK]["value"] for name in ("Edema", "Hernia")]
    assert record["macro"]["auroc"][NETWORK]["value"] == pytest.approx(np.mean(rest))
    targets[:] = 0
    found = compared(written, "test", guessed(task, targets))
    assert "No finding has both classes here" in str(found.pages()[3])
    answers = found.pages()[2]
    assert isinstance(answers, Table)
    assert [answers.rows[0][place] for place in (3, 5)] == ["undefined", "undefined"]
    at_half = json.loads(json.dumps(found.record()))["at_half"][NETWORK]
    assert (at_half["balanced_accuracy"], at_half["balanced_ece"]) == (None, None)
    assert at_half["accuracy"] == pytest.approx(
        float(answers.rows[0][1].strip("%")) / 100, abs=1e-3
    )


@pytest.mark.parametrize("settings", [{"exclusive": True}, {"pixels": True}, {"frames": 2}])
def test_every_kind_of_picture_is_compared(settings: dict[str, Any], tmp_path: Path) -> None:
    task = task_of("images", labels=("a", "b", "c"), **settings)
    made = write_pictures(tmp_path / "data", task, num_train=80, num_test=40)
    data = Dataset(tmp_path / "data")
    targets = made["test"].targets
    found = task.compare(data, data.split("test"), guessed(task, targets))
    record = found.record()
    assert record["macro"]["auroc"][LOGISTIC]["value"] > 0.9
    assert [row.name for row in found.rows] == ["a", "b", "c", "macro"]
    assert not found.note
    np.testing.assert_array_equal(task.targets(task.answers(targets)), targets)
    examples = data.split("test").sets["all"]
    shown = task.pictures(examples, np.arange(40))
    assert np.abs(shown.astype(int) - made["test"].pictures).max() <= (
        1 if task.preparation.pixels else 0
    )


class NoScikitLearn:
    """A finder that says what Python says where scikit-learn is not installed."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name == "sklearn":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_without_scikit_learn_the_network_is_measured(
    written: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [NoScikitLearn(), *sys.meta_path])
    task, _, made = written
    found = compared(written, "test", guessed(task, made["test"].targets))
    assert list(found.judgements) == [NETWORK]
    assert "scikit-learn is not installed" in str(found.pages()[-2])
    assert found.pages()[-1] == "For research, not for diagnosis."


def test_without_training_pictures_the_network_is_measured(tmp_path: Path) -> None:
    task = task_of()
    made = write_pictures(tmp_path / "data", task, splits=["test"])
    data = Dataset(tmp_path / "data")
    found = task.compare(data, data.split("test"), guessed(task, made["test"].targets))
    assert list(found.judgements) == [NETWORK]
    assert "has no train split" in found.notes[0]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("test,400,x.png,p", "line 142: '400' is no example of the 50 of test"),
        ("test,-1,x.png,p", "line 142: '-1' is no example"),
        ("test,", "line 142: '' is no example"),
    ],
)
def test_a_list_that_does_not_fit_is_refused(
    line: str, message: str, written: Any, tmp_path: Path
) -> None:
    task, _, _ = written
    write_pictures(tmp_path / "data", task, num_train=90, num_test=50)
    path = tmp_path / "data" / "images.csv"
    path.write_text(path.read_text() + line + "\n")
    data = Dataset(tmp_path / "data")
    with pytest.raises(DataError, match=message):
        listing(data, data.split("test"))
    path.write_text("file,patient\n")
    with pytest.raises(DataError, match="has the columns file,patient, expected split,example"):
        listing(data, data.split("test"))


def test_pictures_are_read_in_blocks(written: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    task, _, made = written
    predictions = guessed(task, made["test"].targets)
    whole = compared(written, "test", predictions).judgements[LOGISTIC]
    sizes = []

    def counted(images: Any) -> Any:
        sizes.append(len(images))
        return features(images)

    monkeypatch.setattr("hrm_core.tasks.pictures.BLOCK", 7)
    monkeypatch.setattr("hrm_core.tasks.picture_baselines.features", counted)
    parts = compared(written, "test", predictions).judgements[LOGISTIC]
    np.testing.assert_allclose(parts.odds, whole.odds, atol=1e-5)
    assert (max(sizes), sum(sizes)) == (7, 110)


def test_features_are_means_of_blocks() -> None:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (3, 151, 130)).astype(np.uint8)
    found = features(pictures)
    assert found.shape == (3, 51 * 44)  # blocks of 3; those of 2 are 76 x 65, too many
    assert found.shape[1] <= MAX_FEATURES
    mean = pictures[1, 3:6, 9:12].mean()
    assert found[1].reshape(51, 44)[1, 3] == pytest.approx((mean / 255 - 0.5) / 0.25, abs=1e-5)
    edge = pictures[2, 150:, 129:].mean()
    assert found[2, -1] == pytest.approx((edge / 255 - 0.5) / 0.25, abs=1e-5)
    small = rng.integers(0, 256, (2, 5, SIDE, SIDE)).astype(np.uint8)
    np.testing.assert_allclose(
        features(small), (small.reshape(2, -1) / 255 - 0.5) / 0.25, atol=1e-5
    )


def test_regression_sees_at_most_five_thousand_pictures() -> None:
    rows = training_rows(np.arange(0, 60_000, 3))
    assert len(np.unique(rows)) == 5000
    assert (rows[0], rows[-1]) == (0, 59_997)
    assert training_rows(np.arange(7)).tolist() == list(range(7))


def test_eval_prints_and_draws_the_comparison(
    trained: Any, hrm: Callable[..., Any], tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    status, out, err = hrm("eval", trained.run, "--chart", tmp_path / "chart.png")
    assert status == 0, err
    assert "40 images of 20 patients" in out
    assert out.endswith("For research, not for diagnosis.\n")
    with Image.open(tmp_path / "chart.png") as chart:
        colours = {colour for _, colour in chart.convert("RGB").getcolors(1 << 20) or []}
    assert {(0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)} <= colours  # one for each finding
    status, out, _ = hrm("eval", trained.run, "--json")
    found = json.loads(out)
    assert found["auroc"] == pytest.approx(found["macro"]["auroc"]["network"]["value"])
    assert found["auroc"] > 0.8
    best = json.loads((max((trained.run / "checkpoints").glob("*/state.json"))).read_text())["best"]
    records = [json.loads(line) for line in (trained.run / "log.jsonl").read_text().splitlines()]
    measured = {r["update"]: r["auroc"] for r in records if r["kind"] == "eval"}
    assert best["auroc"] == max(measured.values())
    assert measured[int(best["checkpoint"].removeprefix("update_"))] == best["auroc"]


def test_drawn_pictures_are_of_known_labels() -> None:
    made = drawn(task_of().preparation, 200, seed=1)
    assert (made.targets >= 0).any(axis=1).all()
    assert (made.targets < 0).any()


def test_a_chart_of_many_labels_says_how_many_it_draws(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, (60, 11))
    odds = rng.normal(size=(60, 11))
    judged = Judgement(1 / (1 + np.exp(-odds)), truth, odds, exclusive=False)
    labels = [f"label {number}" for number in range(11)]
    comparison = compare(
        labels, "label", "60 images", "image", np.arange(60), {NETWORK: judged}, [], ""
    )
    draw(comparison, tmp_path / "chart.png")
    assert (tmp_path / "chart.png").stat().st_size > 10_000
    assert legend_title(7, 11) == "AUROC of the 7 most frequent of 11 that have both classes"
    assert legend_title(3, 3) == "AUROC"
