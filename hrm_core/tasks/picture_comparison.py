"""Put logistic regression on pixels beside a network, with intervals by a bootstrap over patients.

Shapes: N pictures, F labels, R resamples.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hrm_core.messages import first_few
from hrm_core.pictures.charts import GREY, empty_panels, plain, reliability, save_chart
from hrm_core.pictures.curves import RUN_COLOURS
from hrm_core.tasks import picture_scores as scores
from hrm_core.tasks.capabilities import Table
from hrm_core.tasks.contract import IntArray
from hrm_core.tasks.picture_scores import FloatArray, Judgement

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NETWORK, LOGISTIC = "network", "logistic regression"
MACRO = "macro"  # the row of the mean over all labels that are defined
UNDEFINED = "undefined"
FEW = 10  # pictures of a class; an interval from fewer says too little
MOST_PAIRS = 3  # labels of which a chart has the curves of both models
BALANCED = ("balanced_accuracy", "balanced_ece")  # not defined where a class is missing
MOST_NAMES = 20  # labels in a sentence


class Estimate(NamedTuple):
    """A score and its 95 % interval; NaN where it is not defined."""

    value: float
    low: float
    high: float

    def text(self, form: str = ".3f") -> str:
        """Write it for a person."""
        if math.isnan(self.value):
            return UNDEFINED
        return f"{self.value:{form}} ({self.low:{form}} to {self.high:{form}})"

    def record(self) -> dict[str, float | None]:
        """Return it as JSON can hold it."""
        return {name: _finite(value) for name, value in self._asdict().items()}


class Row(NamedTuple):
    """Scores of one label, or of all of them."""

    name: str
    present: int
    absent: int
    scores: Mapping[str, Mapping[str, Estimate]]  # by score, then by model
    gain: Estimate | None  # of the network's AUROC over logistic regression

    def record(self) -> dict[str, Any]:
        """Return the scores as JSON can hold them."""
        found: dict[str, Any] = {"present": self.present, "absent": self.absent}
        for key, models in self.scores.items():
            found[key] = {name: each.record() for name, each in models.items()}
        return {**found, "gain": self.gain and self.gain.record()}


@dataclass(frozen=True)
class Comparison:
    """Scores of the network and of logistic regression on the same pictures."""

    word: str  # for a label
    labels: Sequence[str]
    things: str  # "624 images of 600 patients"
    unit: str  # of resamples: "patient"
    rows: Sequence[Row]  # a label each, then the mean over them
    at_half: Mapping[str, Mapping[str, float]]  # by model
    judgements: Mapping[str, Judgement]  # by model
    notes: Sequence[str]
    note: str  # of the task

    def record(self) -> Mapping[str, Any]:
        """Return the results as JSON can hold them."""
        *labels, mean = self.rows
        return {
            "labels": {row.name: row.record() for row in labels},
            MACRO: mean.record(),
            "at_half": {name: _finite_of(values) for name, values in self.at_half.items()},
            "notes": list(self.notes),
            "note": self.note,
        }

    def pages(self) -> Sequence[str | Table]:
        """Return the results as tables and sentences."""
        tables = [self._ranks(), self._precisions(), self._at_half()]
        note = [f"{self.note.capitalize()}."] if self.note else []
        return [*tables, *self._advice(), *self.notes, *note]

    def _ranks(self) -> Table:
        columns = [self.word, "present", "absent", *self._models, "gain of the network"]
        rows = []
        for row in self._shown:
            models = [each.text() for each in row.scores["auroc"].values()]
            gain = [row.gain.text("+.3f")] if row.gain else []
            rows.append([row.name, f"{row.present:,}", f"{row.absent:,}", *models, *gain])
        title = f"AUROC (95 %, bootstrap by {self.unit}), {self.things}"
        return Table(title, columns[: len(rows[0])], rows)

    def _precisions(self) -> Table:
        rows = []
        for row in self._shown:
            share = row.present / max(row.present + row.absent, 1)
            models = [each.text() for each in row.scores["average_precision"].values()]
            rows.append([row.name, f"{share:.1%}", *models])
        return Table("average precision (95 %)", [self.word, "prevalence", *self._models], rows)

    def _at_half(self) -> Table:
        columns = ["", "accuracy", "base rate", "balanced accuracy", "ECE", "ECE, balanced"]
        rows = []
        for name, values in self.at_half.items():
            shares = ("accuracy", "base_rate", "balanced_accuracy")
            texts = [_text(values[key], ".1%") for key in shares]
            texts += [_text(values[key], ".3f") for key in ("ece", "balanced_ece")]
            rows.append([name, *texts])
        return Table(
            "answers at 0.5; balanced: as if all classes were equally frequent", columns, rows
        )

    @property
    def _shown(self) -> Sequence[Row]:
        """Return the rows of a table: the mean over one label says nothing more."""
        return self.rows if len(self.labels) > 1 else self.rows[:1]

    @property
    def _models(self) -> list[str]:
        return list(self.judgements)

    def _advice(self) -> list[str]:
        """Say which model ranks better, and whether these pictures can tell."""
        gain = self.rows[-1].gain
        if gain is None:
            return []
        if math.isnan(gain.value):
            return [f"No {self.word} has both classes here, so AUROC is {UNDEFINED}."]
        if gain.value == 0:
            return ["Both models rank these pictures alike."]
        best = NETWORK if gain.value > 0 else LOGISTIC
        doubt = " The interval of its lead includes 0." if gain.low <= 0 <= gain.high else ""
        return [f"Higher AUROC on these pictures: {best}.{doubt}"]


def compare(
    labels: Sequence[str],
    word: str,
    things: str,
    unit: str,
    patients: IntArray,
    judgements: Mapping[str, Judgement],
    notes: Sequence[str],
    note: str,
) -> Comparison:
    """Compare what models say of the same pictures, the network first.

    Resamples are of patients, whose numbers are (N,), and the same for all models.
    """
    network = judgements[NETWORK]
    points, drawn = {}, {}  # by score and model
    for name, judged in judgements.items():
        resamples = scores.resampled(judged, patients)
        for key, values in scores.on_all(judged).items():
            points[key, name], drawn[key, name] = values, resamples[key]
    rows = []
    for label, name in enumerate(labels):
        truth = network.truth[:, label]
        counts = int((truth == 1).sum()), int((truth == 0).sum())
        own = {key: values[:, [label]] for key, values in drawn.items()}
        rows.append(_row(name, counts, {key: each[[label]] for key, each in points.items()}, own))
    totals = sum(row.present for row in rows), sum(row.absent for row in rows)
    rows.append(_row(MACRO, totals, points, drawn))
    at_half = {name: _measured(judged) for name, judged in judgements.items()}
    few = [row.name for row in rows[:-1] if 0 < min(row.present, row.absent) < FEW]
    if few:
        too_few = (
            f"Too few to trust the intervals, below {FEW} of a class: {first_few(few, MOST_NAMES)}."
        )
        notes = [too_few, *notes]
    return Comparison(word, labels, things, unit, rows, at_half, judgements, notes, note)


def draw(comparison: Comparison, out: Path) -> None:
    """Draw ROC curves beside the reliability of the network's chances.

    Only the most frequent labels that have both classes are drawn, as many as there are colours.

    Raises: BackendError without matplotlib, HRMError if the picture cannot be written.
    """
    figure, (ranks, trust) = empty_panels(1, 2)
    for axes in (ranks, trust):
        axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1)
        axes.set_aspect("equal")
    defined = _defined_labels(comparison)
    drawn = defined[: len(RUN_COLOURS)]
    models = [NETWORK] if len(drawn) > MOST_PAIRS else list(comparison.judgements)
    for label, colour in zip(drawn, RUN_COLOURS, strict=False):
        for name in models:
            _draw_roc(ranks, comparison, name, label, colour)
        judged = comparison.judgements[NETWORK]
        known = judged.truth[:, label] >= 0
        curve = reliability(judged.chances[known, label], judged.truth[known, label] == 1)
        trust.plot(curve.predicted, curve.observed, color=colour, marker="o", markersize=4)
    if LOGISTIC in models:
        ranks.plot([], [], color=GREY, linestyle="--", linewidth=1, label=LOGISTIC)
    ranks.set_title(f"ROC, {comparison.things}", loc="left", fontweight="bold")
    ranks.set_xlabel("false positive rate")
    ranks.set_ylabel("true positive rate")
    if drawn:
        title = legend_title(len(drawn), len(defined))
        figure.legend(loc="outside lower center", ncols=4, frameon=False, title=title)
    trust.set_title("the network's chances", loc="left", fontweight="bold")
    trust.set_xlabel("predicted, tenths of equally many")
    trust.set_ylabel(f"share with the {comparison.word}")
    if comparison.note:
        figure.suptitle(plain(comparison.note), fontsize="small", color=GREY)
    save_chart(figure, out)


def legend_title(num_drawn: int, num_defined: int) -> str:
    """Say what the numbers of the legend are, and how many labels have no curve."""
    if num_drawn == num_defined:
        return "AUROC"
    return f"AUROC of the {num_drawn} most frequent of {num_defined} that have both classes"


def _draw_roc(axes: "Axes", comparison: Comparison, name: str, label: int, colour: str) -> None:
    """Draw the curve of a model, that of the network as a full line with its AUROC."""
    row, judged = comparison.rows[label], comparison.judgements[name]
    known = judged.truth[:, label] >= 0
    curve = scores.roc_curve(judged.odds[known, label], judged.truth[known, label] == 1)
    if name == NETWORK:
        text = plain(f"{row.name}: {row.scores['auroc'][name].value:.3f}")
        axes.plot(*curve, color=colour, linewidth=1.8, label=text)
    else:
        axes.plot(*curve, color=colour, linewidth=1, linestyle="--")


def _defined_labels(comparison: Comparison) -> list[int]:
    """Return the labels that have both classes, the most frequent first."""
    rows = comparison.rows[:-1]
    defined = [number for number, row in enumerate(rows) if row.present and row.absent]
    return sorted(defined, key=lambda number: rows[number].present, reverse=True)


def _row(
    name: str,
    counts: tuple[int, int],
    points: Mapping[tuple[str, str], FloatArray],
    drawn: Mapping[tuple[str, str], FloatArray],
) -> Row:
    """Summarise scores (F,) and their resamples (R, F) over these labels."""
    means = {key: float(scores.macro(values[None])[0]) for key, values in points.items()}
    resamples = {key: scores.macro(values) for key, values in drawn.items()}
    found: dict[str, dict[str, Estimate]] = {key: {} for key in scores.SCORES}
    for key, model in means:
        ends = scores.interval(resamples[key, model])
        found[key][model] = Estimate(means[key, model], *ends)
    gain = None
    if LOGISTIC in found["auroc"]:
        network, other = ("auroc", NETWORK), ("auroc", LOGISTIC)
        ends = scores.interval(resamples[network] - resamples[other])
        gain = Estimate(means[network] - means[other], *ends)
    return Row(name, *counts, found, gain)


def _measured(judged: Judgement) -> dict[str, float]:
    """Compute all scores; NaN for the balanced ones if no label has both classes."""
    values = scores.measure(judged)
    if not scores.answers_of(judged).balance.any():
        values |= dict.fromkeys(BALANCED, math.nan)
    return values


def _text(value: float, form: str) -> str:
    """Write a score for a person."""
    return UNDEFINED if math.isnan(value) else f"{value:{form}}"


def _finite_of(values: Mapping[str, float]) -> dict[str, float | None]:
    return {key: _finite(value) for key, value in values.items()}


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else value
