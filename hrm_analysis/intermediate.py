"""Intermediate answers: what a trial pass of H says after every cycle of L.

Shapes: N puzzles, c cycles, S cells of a chunk.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from hrm_analysis.parts import Picture, count_cycles, table
from hrm_analysis.strips import boards, explained, film_strip
from hrm_analysis.study import LeftOutError, Study
from hrm_core.pictures.charts import empty_panels
from hrm_core.pictures.curves import RUN_COLOURS
from hrm_core.tasks.capabilities import Checked, Drawable, Judged, given_cells

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.integer]

NUM_FRAMES = 14  # of a film strip
COLUMNS = 5
SIZE = 9.0, 7.0  # inches
NAMES = {
    "accuracy": "open cells that are right",
    "exact": "answers that are right",
    "refused": "answers that the rules refuse",
    "changed": "cells that changed",
    "conflicts": "cells in conflict with the rules",
}
SHARES = ("accuracy", "exact", "refused")


@dataclass(frozen=True, eq=False)
class IntermediateAnswers:
    """Answers of a trial pass after every cycle of L."""

    curves: Mapping[str, FloatArray]  # (c,) of each name, a mean over puzzles
    num_puzzles: int
    cycles_per_step: int
    strip: Image.Image | None
    missing: Sequence[str]  # sentences about what this task does not have

    title = "Intermediate answers"

    @property
    def definition(self) -> str:
        """Return what is measured and drawn."""
        return (
            "After every cycle of L an answer is decoded by a trial pass of H, lm_head(H(z_H, z_L)), which is then "
            "thrown away; after the last cycle before H passes, it is the pass itself. Open cells are those that the "
            "question does not give. Means over puzzles. On boards a wrong cell is red, changed or not."
        )

    def numbers(self) -> Mapping[str, Any]:
        """Return all data of the picture."""
        count = len(next(iter(self.curves.values())))
        curves = dict(self.curves)
        return {"num_puzzles": self.num_puzzles, "cycle": np.arange(1, count + 1), **curves}

    @property
    def _known(self) -> dict[str, FloatArray]:
        return {name: values for name, values in self.curves.items() if np.isfinite(values).any()}

    def findings(self) -> Sequence[str]:
        """Return the values after some cycles, and what is missing."""
        count = len(next(iter(self.curves.values())))
        chosen = sorted({0, 1, self.cycles_per_step - 1, count // 4 - 1, count // 2 - 1, count - 1})
        chosen = [cycle for cycle in chosen if 0 <= cycle < count]
        rows = []
        for name, values in self._known.items():
            shown = [_written(name, values[cycle]) for cycle in chosen]
            rows.append([NAMES[name], *shown])
        columns = [f"mean of {self.num_puzzles} puzzles, after cycle"]
        lines = table(columns + [str(cycle + 1) for cycle in chosen], rows)
        for sentence in self.missing:
            lines += ["", sentence]
        return lines

    def pictures(self) -> Mapping[str, Picture]:
        """Draw shares above, numbers of cells below; then one puzzle as a film strip."""
        drawn: dict[str, Picture] = {}
        shown = self._known
        has_counts = any(name not in SHARES for name in shown)
        figure, panels = empty_panels(1 + has_counts, 1, SIZE)
        for number, (name, values) in enumerate(shown.items()):
            axes = panels[0 if name in SHARES else 1]
            cycles = np.arange(1, len(values) + 1)
            axes.plot(cycles, values, marker=".", color=RUN_COLOURS[number], label=NAMES[name])
        panels[0].set_ylim(-0.02, 1.02)
        panels[0].yaxis.set_major_formatter("{x:.0%}")
        if has_counts:
            panels[1].sharex(panels[0])
            panels[1].set_ylim(bottom=0)
            panels[1].set_ylabel("cells")
        panels[-1].set_xlabel("cycles of L")
        count_cycles(panels)
        for axes in panels:
            if axes.get_lines():
                axes.legend(frameon=False)
        drawn["answers"] = figure
        if self.strip is not None:
            drawn["answers-strip"] = self.strip
        return drawn


def measure_answers(study: Study) -> IntermediateAnswers:
    """Decode and measure an answer after every cycle of L."""
    trials, missing = study.recording.trials, []
    curves: dict[str, FloatArray] = {}
    try:
        if study.truth == "solutions":
            curves["accuracy"] = _accuracy(study, trials)
        curves["exact"] = _exact(study, trials)
    except LeftOutError as reason:
        missing.append(str(reason))
    is_whole = study.config.num_chunks == 1
    if is_whole and isinstance(study.task, Judged):
        accepted = [study.task.accepts_all(study.questions.inputs, tokens) for tokens in trials]
        curves["refused"] = 1 - np.mean(accepted, axis=1)
    else:
        missing.append("No rules judge these answers.")
    curves["changed"] = _num_changed(study, trials)
    if np.isnan(curves["changed"]).all():
        missing.append("One cycle on a question: no answer stands before it that it could change.")
    if is_whole and isinstance(study.task, Checked):
        inputs = study.questions.inputs
        broken = [study.task.conflicts(inputs, tokens).sum(axis=1) for tokens in trials]
        curves["conflicts"] = np.mean(broken, axis=1)
    strip = None
    if is_whole and isinstance(study.task, Drawable):
        strip = _strip(study, trials)
    else:
        missing.append("No film strip: the answers of this task are not drawn as one board.")
    return IntermediateAnswers(curves, trials.shape[1], study.cycles_per_step, strip, missing)


def _exact(study: Study, trials: IntArray) -> FloatArray:
    """Share of answers that are right after each cycle (c,). Raises: LeftOutError."""
    study.require_exact()
    right = [study.is_right(tokens, 0).mean() for tokens in trials]
    return np.array(right, np.float64)


def _accuracy(study: Study, trials: IntArray) -> FloatArray:
    """Share of open cells that are right after each cycle (c,)."""
    found = []
    for cycle, tokens in enumerate(trials):
        step = cycle // study.cycles_per_step
        labels = study.labels_at(step)
        is_open = (labels >= 0) & ~given_cells(study.task, study.inputs_at(step))
        num_right = ((tokens == labels) & is_open).sum()
        found.append(num_right / max(is_open.sum(), 1))
    return np.array(found, np.float64)


def _num_changed(study: Study, trials: IntArray) -> FloatArray:
    """Cells with a solution that changed since the cycle before (c,); NaN at the first cycle on a chunk."""
    found = np.full(len(trials), np.nan)
    for cycle in range(1, len(trials)):
        steps = (cycle - 1) // study.cycles_per_step, cycle // study.cycles_per_step
        if study.chunk_at(steps[0]) == study.chunk_at(steps[1]):
            is_changed = (trials[cycle] != trials[cycle - 1]) & study.scored_at(steps[1])
            found[cycle] = is_changed.sum(axis=1).mean()
    return found


def _strip(study: Study, trials: IntArray) -> Image.Image:
    """Draw the puzzle that is solved latest, or the first if none is."""
    row = 0
    try:
        right = study.right
    except LeftOutError:
        right = np.zeros((1, trials.shape[1]), bool)
    first = np.where(right[-1], right.argmax(axis=0), -1)
    if (first >= 0).any():
        row = int(first.argmax())
    places = np.linspace(0, len(trials) - 1, min(NUM_FRAMES, len(trials))).astype(int)
    images = boards(study, row, trials[places, row])
    captions = ["question", *(f"cycle {place + 1}" for place in places.tolist())]
    return film_strip(images, captions, COLUMNS, explained(study))


def _written(name: str, value: float) -> str:
    if np.isnan(value):
        return ""
    return f"{value:.1%}" if name in SHARES else f"{value:.1f}"
