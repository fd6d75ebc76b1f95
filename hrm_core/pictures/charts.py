"""Draw results of an evaluation: values after each ACT step, and how far probabilities can be trusted."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hrm_core.errors import needs_package
from hrm_core.files import replaced_whole
from hrm_core.pictures.curves import RUN_COLOURS, RUN_STYLES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = 9.0, 5.4  # inches
DPI = 125
GREY = "#666a73"
BASELINE_STYLES = ("--", ":", "-.")
NUM_BINS = 10


class Reliability(NamedTuple):
    """Predicted probabilities of one outcome in bins, beside how often it happened."""

    predicted: npt.NDArray[np.floating]  # (b,) mean of each bin
    observed: npt.NDArray[np.floating]  # (b,) share that happened
    counts: npt.NDArray[np.integer]  # (b,)


def reliability(
    probabilities: npt.NDArray[np.floating], happened: npt.NDArray[np.bool_]
) -> Reliability:
    """Compare probabilities (N,) with what happened (N,), in bins of equally many."""
    order = np.argsort(probabilities, kind="stable")
    parts = [part for part in np.array_split(order, NUM_BINS) if len(part)]
    return Reliability(
        np.array([probabilities[part].mean() for part in parts]),
        np.array([happened[part].mean() for part in parts]),
        np.array([len(part) for part in parts]),
    )


def draw_steps(
    out: Path, title: str, values: Sequence[float], baselines: Mapping[str, float]
) -> None:
    """Draw a value after each ACT step, and those of baselines as lines across.

    Raises: BackendError without matplotlib, HRMError if the picture cannot be written.
    """
    figure, axes = empty_chart()
    steps = np.arange(1, len(values) + 1)
    axes.plot(steps, values, color=RUN_COLOURS[0], marker="o", linewidth=2, label="this model")
    for (name, value), style in zip(baselines.items(), BASELINE_STYLES, strict=False):
        axes.axhline(value, color=GREY, linestyle=style, label=name)
    axes.set_title(title, loc="left", fontweight="bold")
    axes.set_xlabel("ACT step")
    axes.set_xticks(steps)
    axes.margins(y=0.2)
    axes.legend(loc="best", frameon=False)
    save_chart(figure, out)


def draw_reliability(out: Path, title: str, curves: Mapping[str, Reliability]) -> None:
    """Draw predicted against observed shares of several outcomes, on logarithmic axes.

    Raises: BackendError without matplotlib, HRMError if the picture cannot be written.
    """
    figure, axes = empty_chart()
    lowest = 1.0
    for (name, curve), (line, colour) in zip(curves.items(), RUN_STYLES, strict=False):
        is_seen = curve.observed > 0
        shown = curve.predicted[is_seen], curve.observed[is_seen]
        style: Mapping[str, Any] = {
            "color": colour,
            "linestyle": line,
            "marker": "o",
            "markersize": 4,
        }
        axes.plot(*shown, linewidth=1.2, label=name, **style)
        lowest = min([lowest, *shown[0].tolist(), *shown[1].tolist()])
    axes.plot([lowest, 1], [lowest, 1], color=GREY, linestyle="--", label="as predicted")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_title(title, loc="left", fontweight="bold")
    axes.set_xlabel("predicted probability, tenths of equally many")
    axes.set_ylabel("share that happened")
    axes.legend(loc="upper left", frameon=False, ncols=2)
    save_chart(figure, out)


def empty_chart() -> tuple["Figure", "Axes"]:
    """Make a figure with one panel. Raises: BackendError if matplotlib is not installed."""
    figure, panels = empty_panels()
    return figure, panels[0]


def empty_panels(
    rows: int = 1, columns: int = 1, size: tuple[float, float] = SIZE
) -> tuple["Figure", list["Axes"]]:
    """Make a figure with panels, row by row, without pyplot: no window, no global state.

    Raises: BackendError if matplotlib is not installed.
    """
    with needs_package("matplotlib", "matplotlib is not installed", "plot"):
        from matplotlib.figure import Figure
    figure = Figure(figsize=size, layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in panels:
        axes.grid(color="#e4e6ea")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels


def save_chart(figure: "Figure", out: Path) -> None:
    """Write a figure in the format of the name, PNG or SVG, whole or not at all. Raises: HRMError."""
    with replaced_whole(out) as draft:
        figure.savefig(draft, format=out.suffix[1:].lower(), dpi=DPI)


def plain(text: str) -> str:
    """Return a text that matplotlib does not take for mathematics."""
    return text.replace("$", r"\$")
