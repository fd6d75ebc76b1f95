"""Trajectories: paths of single puzzles in the two directions in which states differ most.

Shapes: A ACT steps, M puzzles, K of them that are drawn, c cycles, T positions, D hidden.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hrm_analysis.parts import Picture, table
from hrm_analysis.states import num_paths
from hrm_analysis.study import LeftOutError, Study
from hrm_core.pictures.charts import GREY, empty_panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.integer]

NUM_DRAWN = 4  # solved puzzles, and as many unsolved ones
MOST_SAMPLES = 800  # states that the directions are found from
NUM_DIRECTIONS = 2
SIZE = 11.0, 8.5  # inches
FAINT = 80.0  # grey points that are drawn with full strength; more of them are fainter


class Plane(NamedTuple):
    """Directions of largest variance."""

    mean: FloatArray  # (d,)
    directions: FloatArray  # (2, d), of length 1
    shares: FloatArray  # (2,) of the variance

    def place(self, states: FloatArray) -> FloatArray:
        """Project states (..., d). Returns: (..., 2)."""
        found: FloatArray = (states - self.mean) @ self.directions.T
        return found


def principal_plane(samples: FloatArray) -> Plane:
    """Find the two directions of largest variance of samples (n, d), n far below d, by their Gram matrix."""
    mean = samples.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred = samples - mean
    gram = (centred @ centred.T).astype(np.float64)
    values, vectors = np.linalg.eigh(gram)
    largest = vectors[:, ::-1][:, :NUM_DIRECTIONS]
    directions = largest.T.astype(np.float32) @ centred
    lengths = np.linalg.norm(directions, axis=1, keepdims=True)
    directions = directions / np.maximum(lengths, 1e-12)
    shares = values[::-1][:NUM_DIRECTIONS] / max(np.trace(gram), 1e-12)
    return Plane(mean, directions, shares)


def first_states(ends: FloatArray) -> FloatArray:
    """States (n, d) of the first puzzles after each ACT step, of (A, M, T, D)."""
    num_steps, num_puzzles = ends.shape[:2]
    count = max(1, min(num_puzzles, MOST_SAMPLES // num_steps))
    return ends[:, :count].reshape(num_steps * count, -1)


class Walk(NamedTuple):
    """Paths of one level."""

    background: FloatArray  # (n, 2) states of all puzzles after each ACT step
    paths: FloatArray  # (K, c, 2) of the puzzles that are drawn, after each cycle
    shares: FloatArray  # (2,) of the variance
    lengths: FloatArray  # (K,) of each path, over its straight distance from begin to end


@dataclass(frozen=True, eq=False)
class Trajectories:
    """Paths of both levels."""

    walks: Mapping[str, Walk]  # of "H" and "L"
    rows: IntArray  # (K,) puzzles that are drawn
    groups: Mapping[str, IntArray]  # places in `rows` of solved and unsolved puzzles, or of all
    num_steps: int

    title = "Trajectories"

    @property
    def definition(self) -> str:
        """Return what is measured and drawn."""
        return (
            "Whole states, all positions together, projected on the two principal components of the states of all "
            "puzzles after each ACT step (grey points). A line is one puzzle after each cycle, from dark at its "
            "first to light at its last; a circle marks the beginning, a cross the end. Solved: right after the "
            "last ACT step. A plane shows only its share of the variance."
        )

    def numbers(self) -> Mapping[str, Any]:
        """Return all data of the picture."""
        walks = {level: walk._asdict() for level, walk in self.walks.items()}
        return {"puzzles": self.rows, "groups": self.groups, "levels": walks}

    def findings(self) -> Sequence[str]:
        """Return the shares of the variance, and how straight the paths are."""
        rows = []
        for level, walk in self.walks.items():
            shares = [f"{share:.1%}" for share in walk.shares]
            for name, places in self.groups.items():
                bends = "none"
                if len(places) and len(walk.paths[0]) > 1:
                    bends = f"{walk.lengths[places].mean():.2f}"
                rows.append([f"z_{level}", *shares, name, str(len(places)), bends])
        columns = [
            "state",
            "variance in PC 1",
            "in PC 2",
            "puzzles",
            "drawn",
            "length over distance",
        ]
        return [
            *table(columns, rows),
            "",
            "Length over distance: the way in all dimensions from cycle to cycle over the straight distance from the "
            "first to the last cycle; 1 is a straight line. A single cycle has none.",
        ]

    def pictures(self) -> Mapping[str, Picture]:
        """Draw a row for each level, a column for each group."""
        figure, panels = empty_panels(2, len(self.groups), SIZE)
        rows = [panels[: len(self.groups)], panels[len(self.groups) :]]
        for (level, walk), row in zip(self.walks.items(), rows, strict=True):
            for axes, (name, places) in zip(row, self.groups.items(), strict=True):
                axes.set_title(f"z_{level}, {name}", loc="left", fontweight="bold")
                axes.set_xlabel(f"PC 1, {walk.shares[0]:.0%} of the variance")
                axes.set_ylabel(f"PC 2, {walk.shares[1]:.0%}")
                alpha = max(0.15, min(0.6, FAINT / len(walk.background)))
                axes.plot(*walk.background.T, ".", color=GREY, alpha=alpha, markersize=3, zorder=0)
                for path in walk.paths[places]:
                    _draw_path(axes, path)
            for axes in row[1:]:
                axes.sharex(row[0])
                axes.sharey(row[0])
        return {"trajectories": figure}


def _draw_path(axes: "Axes", path: FloatArray) -> None:
    """Draw one path (c, 2), a colour for each cycle."""
    from matplotlib.collections import LineCollection

    pieces = np.stack([path[:-1], path[1:]], axis=1)
    drawn = LineCollection(list(pieces), cmap="viridis", linewidth=1.6)
    drawn.set_array(np.linspace(0, 1, len(pieces)))
    axes.add_collection(drawn)
    axes.plot(*path[0], "o", color="#440154", markersize=5)
    axes.plot(*path[-1], "X", color="#b5890a", markersize=7)


def measure_trajectories(study: Study) -> Trajectories:
    """Project the paths of some solved and unsolved puzzles."""
    groups, rows = chosen_puzzles(study)
    states = study.paths(rows)
    ends = {"H": study.recording.ends_H, "L": study.recording.ends_L}
    paths = {"H": states.z_H, "L": states.z_L}
    walks = {level: _walk(ends[level], paths[level]) for level in ends}
    return Trajectories(walks, rows, groups, study.num_steps)


def chosen_puzzles(study: Study) -> tuple[dict[str, IntArray], IntArray]:
    """Choose the first solved and unsolved puzzles; the first of all where nobody can tell.

    Returns: places of each group in the second, the numbers of the puzzles.
    """
    try:
        solved = study.right[-1]
        found = {"solved": np.flatnonzero(solved), "unsolved": np.flatnonzero(~solved)}
    except LeftOutError:
        found = {"all": np.arange(len(study.questions))}
    most = max(1, num_paths(study.config, study.num_steps) // len(found))
    groups: dict[str, IntArray] = {}
    rows: list[int] = []
    for name, numbers in found.items():
        chosen = numbers[: min(NUM_DRAWN, most)].tolist()
        groups[name] = np.arange(len(rows), len(rows) + len(chosen))
        rows += chosen
    return groups, np.array(rows, np.int64)


def _walk(ends: FloatArray, states: FloatArray) -> Walk:
    """Project paths (c, K, T, D) on the plane of states (A, M, T, D)."""
    samples = first_states(ends)
    plane = principal_plane(samples)
    whole = states.swapaxes(0, 1).reshape(states.shape[1], len(states), -1)  # (K, c, T D)
    way = np.linalg.norm(np.diff(whole, axis=1), axis=2).sum(axis=1)
    distance = np.linalg.norm(whole[:, -1] - whole[:, 0], axis=1)
    lengths = way / np.maximum(distance, 1e-12)
    return Walk(plane.place(samples), plane.place(whole), plane.shares, lengths)
