"""Residuals: how far each cycle moves the states.

Shapes: N puzzles, c cycles.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hrm_analysis.parts import Picture, band, count_cycles, table
from hrm_analysis.states import changes
from hrm_analysis.study import Study
from hrm_core.inference.slots import batch_of
from hrm_core.pictures.charts import empty_panels
from hrm_core.pictures.curves import RUN_COLOURS

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.integer]

SIZE = 9.0, 7.0  # inches
FROZEN_BYTES = 128 * 2**20  # of states of the one-level control
MODEL = ("H", "L")  # curves that are no controls
NAMES = {
    "H": "H",
    "L": "L",
    "L alone": "L alone, H frozen",
    "untrained H": "H, untrained",
    "untrained L": "L, untrained",
}


@dataclass(frozen=True, eq=False)
class Residuals:
    """Residuals of both levels, and those of controls."""

    curves: Mapping[str, FloatArray]  # (c, N) of each name
    places: Mapping[str, IntArray]  # (c,) cycles of L that have passed at each of its cycles
    H_cycles: int
    L_cycles: int

    title = "Residuals"

    @property
    def definition(self) -> str:
        """Return what is measured and drawn."""
        return (
            "The residual of a cycle is the root mean square, over positions and hidden units, of the change "
            "that it makes to a state. Every state has a root mean square of 1, so the residual is relative; 0 is "
            "a fixed point, and two states that have nothing in common differ by 1.41. Lines are means over "
            "puzzles, bands reach from the 10th to the 90th percentile. L alone: level L by itself, "
            "as a plain recurrent network, with z_H frozen at its initial value. Untrained: the same network with "
            "initial weights."
        )

    @property
    def after_H(self) -> FloatArray:
        """Return the mean residual of L at each of its cycles between two of H (L_cycles,), the first H left out."""
        mean = self.curves["L"].mean(axis=1)
        found: FloatArray = mean.reshape(-1, self.L_cycles)[1:].mean(axis=0)
        return found

    def numbers(self) -> Mapping[str, Any]:
        """Return all data of the picture."""
        curves = {}
        for name, values in self.curves.items():
            curves[name] = {
                "cycle": self.places[name],
                **band(values),
                "num_puzzles": values.shape[1],
            }
        found: dict[str, Any] = {"curves": curves}
        if self._has_rounds:
            found["L_after_H"] = self.after_H
        return found

    @property
    def _has_rounds(self) -> bool:
        return len(self.curves["L"]) > self.L_cycles

    def findings(self) -> Sequence[str]:
        """Return the residuals at the beginning, in the middle and at the end."""
        rows = []
        for name, values in self.curves.items():
            mean = values.mean(axis=1)
            shown = mean[0], mean[len(mean) // 2], mean[-1]
            words = [f"{value:.3f}" for value in shown]
            rows.append([NAMES[name], str(values.shape[1]), str(len(mean)), *words])
        columns = ["level", "puzzles", "cycles", "first", "middle", "last"]
        lines = table(columns, rows)
        if self._has_rounds:
            means = ", ".join(f"{value:.3f}" for value in self.after_H)
            lines += ["", f"Mean residual of L at its 1st, 2nd, … cycle after one of H: {means}."]
        return lines

    def pictures(self) -> Mapping[str, Picture]:
        """Draw the model above, controls below."""
        figure, panels = empty_panels(2, 1, SIZE)
        colours = dict(zip(self.curves, RUN_COLOURS, strict=False))
        for name, values in self.curves.items():
            axes = panels[0] if name in MODEL else panels[1]
            drawn, place, colour = band(values), self.places[name], colours[name]
            axes.plot(place, drawn["mean"], color=colour, marker=".", label=NAMES[name])
            axes.fill_between(place, drawn["low"], drawn["high"], color=colour, alpha=0.2, lw=0)
        for axes in panels:
            axes.set_ylim(bottom=0)
            axes.set_ylabel("residual")
            axes.legend(frameon=False, ncols=3)
        panels[0].set_title("This model", loc="left", fontweight="bold")
        panels[1].set_title("Controls", loc="left", fontweight="bold")
        panels[1].set_xlabel("cycles of L")
        count_cycles(panels)
        return {"residuals": figure}


def measure_residuals(study: Study) -> Residuals:
    """Measure the residuals of a model and of its controls."""
    found, untrained = study.recording, study.untrained
    curves = {
        "H": found.residuals_H,
        "L": found.residuals_L,
        "L alone": _frozen(study),
        "untrained H": untrained.residuals_H,
        "untrained L": untrained.residuals_L,
    }
    every = study.config.L_cycles
    places: dict[str, IntArray] = {}
    for name, values in curves.items():
        pace = every if name.endswith("H") else 1
        places[name] = pace * np.arange(1, len(values) + 1)
    return Residuals(curves, places, study.config.H_cycles, every)


def _frozen(study: Study) -> FloatArray:
    """Residuals (A l, n) of L alone: a model whose first ACT step has all cycles of L before H passes once."""
    num_cycles = study.num_steps * study.cycles_per_step
    changed = {"H_cycles": 1, "L_cycles": num_cycles}
    config = study.config.model_copy(update=changed)
    backend = study.loaded(config, study.measured_weights)
    one = 4 * num_cycles * config.total_len * config.hidden_size
    size = max(1, min(study.batch_size, FROZEN_BYTES // one))
    batch = batch_of(study.questions.select(slice(size)), config)
    carry = backend.begin(batch)
    before = backend.carry_arrays(carry)["z_L"][None].copy()
    _, _, cycles = backend.trace(carry)
    return changes(before, cycles.z_L)
