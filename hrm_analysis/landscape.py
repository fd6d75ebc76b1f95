"""Landscape: what answers the states around the end of one path of thought would give.

Shapes: G grid points a side, c cycles of H, S cells, T positions, D hidden.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hrm_analysis.parts import Picture
from hrm_analysis.study import LeftOutError, Study
from hrm_analysis.trajectories import Plane, first_states, principal_plane
from hrm_core.inference.slots import batch_of
from hrm_core.pictures.charts import empty_panels
from hrm_core.tasks.capabilities import Checked

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.integer]

GRID = 25  # points a side
FEWEST_CYCLES = 4  # of H, that a path must have to span a plane of its own
MARGIN = 0.3  # of the size of the path, on each side
LEAST_LOSS = 1e-4  # drawn; smaller ones are drawn as this
NUM_LEVELS = 16
SIZE = 8.0, 6.4  # inches


@dataclass(frozen=True, eq=False)
class Landscape:
    """A value on a plane through the end state of one puzzle."""

    value: str  # "loss" or "conflicts"
    row: int  # the puzzle
    is_right: bool | None  # its last answer
    across: FloatArray  # (G,)
    down: FloatArray  # (G,)
    values: FloatArray  # (G, G) of a place down and across
    end_value: float  # at the end state itself
    path: FloatArray  # (c, 2) after each cycle of H; the end is (0, 0)
    shares: FloatArray  # (2,) of the variance of what the plane is of
    plane_of: str

    title = "Landscape"

    @property
    def definition(self) -> str:
        """Return what is measured and drawn."""
        what = "mean loss of the cells with a solution"
        if self.value == "conflicts":
            what = "number of cells that break a rule"
        return (
            f"The {what} if z_H of one puzzle were elsewhere: on the plane of the two principal components of "
            f"{self.plane_of}, through its end state (the cross). At each point the answer is decoded by a pass of H with z_L of "
            "the end, lm_head(H(z_H, z_L)). The line is the path of z_H, projected on the plane, from cycle to cycle "
            "of H; the values are those on the plane, not on the path."
        )

    def numbers(self) -> Mapping[str, Any]:
        """Return all data of the picture."""
        return {
            "value": self.value,
            "puzzle": self.row,
            "is_right": self.is_right,
            "across": self.across,
            "down": self.down,
            "values": self.values,
            "end_value": self.end_value,
            "path": self.path,
            "plane_of": self.plane_of,
            "shares": self.shares,
        }

    def findings(self) -> Sequence[str]:
        """Return the values at the end and on the plane."""
        what = {"loss": "loss", "conflicts": "number of conflicts"}[self.value]
        verdict = {True: ", solved", False: ", not solved", None: ""}[self.is_right]
        shares = self.shares.sum()
        return [
            f"Puzzle {self.row}{verdict}: the {what} is {self.end_value:.3g} at the end state, "
            f"{self.values.min():.3g} to {self.values.max():.3g} on the plane, which holds {shares:.0%} of the "
            f"variance of {self.plane_of}."
        ]

    def pictures(self) -> Mapping[str, Picture]:
        """Draw the values as colours, with the path."""
        from matplotlib.colors import LogNorm, Normalize

        figure, (axes,) = empty_panels(1, 1, SIZE)
        values, norm = self.values, Normalize()
        if self.value == "loss":
            values, norm = np.maximum(values, LEAST_LOSS), LogNorm()
        drawn = axes.pcolormesh(
            self.across, self.down, values, norm=norm, cmap="viridis", shading="gouraud"
        )
        figure.colorbar(drawn, ax=axes, label=self.value)
        axes.plot(*self.path.T, color="white", marker=".", linewidth=1)
        axes.plot(0, 0, "X", color="#d55e00", markersize=10)
        axes.set_xlabel(f"PC 1 of {self.plane_of}, {self.shares[0]:.0%}")
        axes.set_ylabel(f"PC 2, {self.shares[1]:.0%}")
        axes.grid(visible=False)
        return {"landscape": figure}


def measure_landscape(study: Study) -> Landscape:
    """Measure the landscape around the first puzzle that is solved. Raises: LeftOutError."""
    if study.control == "shuffled":
        raise LeftOutError("It is of one puzzle, so there is nothing to exchange.")
    row, is_right = _chosen(study)
    value = "loss"
    if not (study.questions.labels[row] >= 0).any():
        if not isinstance(study.task, Checked) or study.config.num_chunks > 1:
            raise LeftOutError("Neither the solution nor the cells that break a rule are known.")
        value = "conflicts"
    step = _last_step(study, row)
    paths = study.paths(np.array([row]))
    states = paths.z_H[: (step + 1) * study.config.H_cycles]
    states = states.reshape(len(states), -1)
    plane_of, samples = "its own path", states
    if len(states) < FEWEST_CYCLES:
        plane_of, samples = (
            f"the states of all {study.things}",
            first_states(study.recording.ends_H),
        )
    plane = principal_plane(samples)._replace(mean=states[-1])
    path = plane.place(states)
    shown = np.concatenate([path, plane.place(samples)])
    across, down = _axis(shown[:, 0]), _axis(shown[:, 1])
    points = np.stack(np.meshgrid(across, down), axis=-1).reshape(-1, 2)
    z_L = paths.z_L[(step + 1) * study.cycles_per_step - 1, 0]
    found = _values(study, row, step, value, plane, points, z_L)
    end = _values(study, row, step, value, plane, np.zeros((1, 2)), z_L)[0]
    values = found.reshape(GRID, GRID)
    return Landscape(
        value, row, is_right, across, down, values, float(end), path, plane.shares, plane_of
    )


def _chosen(study: Study) -> tuple[int, bool | None]:
    """Choose the first puzzle that is solved, else the first."""
    try:
        solved = study.right[-1]
    except LeftOutError:
        return 0, None
    row = int(solved.argmax())
    return row, bool(solved[row])


def _last_step(study: Study, row: int) -> int:
    """Return the last ACT step on a part of an example that has a solution, else the last of all."""
    steps = range(study.num_steps)
    known = [step for step in steps if (study.labels_at(step)[row] >= 0).any()]
    return known[-1] if known else study.num_steps - 1


def _axis(places: FloatArray) -> FloatArray:
    """Return G places that reach over the given ones and over the end at 0."""
    low, high = min(places.min(), 0.0), max(places.max(), 0.0)
    room = MARGIN * max(high - low, 1e-6)
    return np.linspace(low - room, high + room, GRID)


def _values(
    study: Study,
    row: int,
    step: int,
    value: str,
    plane: Plane,
    points: FloatArray,
    z_L: FloatArray,
) -> FloatArray:
    """Decode the states at points (n, 2) of a plane. Returns: (n,)."""
    shape = z_L.shape
    found = []
    for start in range(0, len(points), study.batch_size):
        block = points[start : start + study.batch_size].astype(np.float32)
        same = study.questions.select(np.full(len(block), row))
        z_H = (plane.mean + block @ plane.directions).reshape(-1, *shape).astype(np.float32)
        carry = study.backend.begin(batch_of(same, study.config))
        answers = study.backend.decode(carry, z_H, np.repeat(z_L[None], len(block), axis=0))
        if value == "loss":
            labels = study.labels_at(step)[[row] * len(block)].astype(np.int32)
            losses = answers.label_losses(np.ascontiguousarray(labels))
            num_labelled = np.maximum((labels >= 0).sum(axis=1), 1)
            found.append(losses.sum(axis=1, dtype=np.float64) / num_labelled)
        else:
            assert isinstance(study.task, Checked)
            found.append(study.task.conflicts(same.inputs, answers.tokens).sum(axis=1))
    return np.concatenate(found)
