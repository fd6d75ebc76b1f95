"""Halting: how well q_halt tells right answers from wrong ones, and when puzzles halt.

Shapes: N puzzles, A ACT steps, n pairs of a value and a verdict.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hrm_analysis.parts import PUZZLES, Picture, table
from hrm_analysis.study import LeftOutError, Study
from hrm_core.data.summary import band_names
from hrm_core.pictures.charts import GREY, Reliability, empty_panels, reliability
from hrm_core.pictures.curves import RUN_COLOURS
from hrm_core.tasks.confidence import sigmoid

FloatArray = npt.NDArray[np.floating]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.integer]

SIZE = 13.0, 4.6  # inches
NAMES = {"halt": "at the step it halts", "all": "after every ACT step"}


class Roc(NamedTuple):
    """Shares of right and wrong answers above each threshold of q_halt, and the area below."""

    false_positive: FloatArray  # of wrong answers
    true_positive: FloatArray  # of right answers
    area: float  # NaN if all are right or all are wrong


class BandSteps(NamedTuple):
    """Puzzles of one band of ratings."""

    name: str
    num_puzzles: int
    steps: float  # mean number of ACT steps until they halt
    right: float  # share that is right then


@dataclass(frozen=True, eq=False)
class Halting:
    """q_halt against correctness, at the halting step and after every step."""

    reliabilities: Mapping[str, Reliability]
    rocs: Mapping[str, Roc]
    counts: Mapping[str, tuple[int, int]]  # right and wrong answers
    bands: Sequence[BandSteps]  # the last is of all puzzles
    step_counts: IntArray  # (A,) puzzles that halt after each ACT step
    things: str = PUZZLES

    title = "Halting"

    @property
    def definition(self) -> str:
        """Return what is measured and drawn."""
        return (
            "A puzzle halts after the first ACT step with q_halt > q_continue, or after the last. Reliability: "
            "sigmoid(q_halt) in bins of equally many answers, against the share of them that is right. ROC: the "
            "share of right answers against that of wrong ones above every threshold of q_halt; an area of 0.5 is "
            "chance. Steps of one puzzle are not independent samples. Ratings are those of the data set."
        )

    def numbers(self) -> Mapping[str, Any]:
        """Return all data of the picture."""
        found: dict[str, Any] = {}
        for name, curve in self.reliabilities.items():
            right, wrong = self.counts[name]
            found[name] = {
                "num_right": right,
                "num_wrong": wrong,
                "reliability": curve._asdict(),
                "roc": self.rocs[name]._asdict(),
            }
        found["bands"] = [band._asdict() for band in self.bands]
        found["step_counts"] = self.step_counts
        return found

    def findings(self) -> Sequence[str]:
        """Return areas, and steps by rating."""
        rows = []
        for name, roc in self.rocs.items():
            right, wrong = self.counts[name]
            area = "none: all alike" if np.isnan(roc.area) else f"{roc.area:.4f}"
            rows.append([NAMES[name], f"{right:,}", f"{wrong:,}", area])
        lines = table(["answers", "right", "wrong", "area below the ROC curve"], rows)
        rows = []
        for band in self.bands:
            rows.append(
                [band.name, str(band.num_puzzles), f"{band.steps:.2f}", f"{band.right:.1%}"]
            )
        columns = ["rating", "puzzles", "ACT steps until it halts", "right then"]
        lines += ["", *table(columns, rows)]
        if len(self.bands) == 1:
            lines += ["", "These puzzles are not rated."]
        return lines

    def pictures(self) -> Mapping[str, Picture]:
        """Draw reliability, ROC, and steps by rating; without ratings, puzzles by steps."""
        figure, panels = empty_panels(1, 3, SIZE)
        for colour, name in enumerate(self.rocs):
            style: Mapping[str, Any] = {"color": RUN_COLOURS[colour], "label": NAMES[name]}
            curve, roc = self.reliabilities[name], self.rocs[name]
            panels[0].plot(curve.predicted, curve.observed, marker="o", **style)
            panels[1].plot(roc.false_positive, roc.true_positive, **style)
        for axes in panels[:2]:
            axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1)
            axes.legend(frameon=False, fontsize="small")
        names = [band.name for band in self.bands]
        heights: Sequence[float] = [band.steps for band in self.bands]
        third = "Steps", "rating", "mean ACT steps until it halts"
        if len(self.bands) == 1:
            names = [str(step) for step in range(1, len(self.step_counts) + 1)]
            heights = self.step_counts.tolist()
            third = "Steps", "ACT steps until it halts", self.things
        panels[2].bar(names, heights, color=RUN_COLOURS[2])
        labels = [
            ("Reliability", "sigmoid(q_halt)", "share that is right"),
            ("ROC", "share of wrong answers", "share of right answers"),
            third,
        ]
        for axes, (title, x, y) in zip(panels, labels, strict=True):
            axes.set_title(title, loc="left", fontweight="bold")
            axes.set_xlabel(x)
            axes.set_ylabel(y)
        return {"halting": figure}


def measure_halting(study: Study) -> Halting:
    """Compare q_halt with verdicts. Raises: LeftOutError."""
    if not study.config.learns_to_halt:
        raise LeftOutError(
            "The model takes a fixed number of ACT steps; its Q head is not trained."
        )
    right, q = study.right, study.recording.q_halt_logits
    at_halt = study.halting_step, np.arange(right.shape[1])
    pairs = {"halt": (q[at_halt], right[at_halt]), "all": (q.ravel(), right.ravel())}
    counts = {name: (int(r.sum()), int((~r).sum())) for name, (_, r) in pairs.items()}
    return Halting(
        {name: reliability(sigmoid(values), r) for name, (values, r) in pairs.items()},
        {name: roc_of(values, r) for name, (values, r) in pairs.items()},
        counts,
        _bands(study, study.halting_step + 1, right[at_halt]),
        np.bincount(study.halting_step, minlength=len(right)),
        study.things,
    )


def roc_of(values: FloatArray, right: BoolArray) -> Roc:
    """ROC of values (n,) against verdicts (n,); equal values share a threshold."""
    order = np.argsort(-values, kind="stable")
    is_last = np.append(np.diff(values[order]) != 0, True)
    hits = np.append(0, np.cumsum(right[order])[is_last])
    misses = np.append(0, np.cumsum(~right[order])[is_last])
    if not hits[-1] or not misses[-1]:
        return Roc(misses / max(misses[-1], 1), hits / max(hits[-1], 1), float("nan"))
    false_positive, true_positive = misses / misses[-1], hits / hits[-1]
    area = float(np.trapezoid(true_positive, false_positive))
    return Roc(false_positive, true_positive, area)


def _bands(study: Study, steps: IntArray, right: BoolArray) -> list[BandSteps]:
    """Mean steps of each band of ratings, and of all puzzles."""
    found = []
    bounds = study.rating_bands
    if bounds is not None:
        place = np.searchsorted(bounds, study.questions.ratings, side="right") - 1
        for number, name in enumerate(band_names(bounds.tolist())):
            rows = place == number
            if rows.any():
                mean = float(steps[rows].mean()), float(right[rows].mean())
                found.append(BandSteps(name, int(rows.sum()), *mean))
    return [*found, BandSteps("all", len(steps), float(steps.mean()), float(right.mean()))]
