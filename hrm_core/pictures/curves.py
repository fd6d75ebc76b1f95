"""Training runs as curves, several over each other."""

import json
from collections.abc import Mapping, Sequence
from itertools import cycle, product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from hrm_core.errors import DataError, RunError, needs_package
from hrm_core.files import replaced_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Record = dict[str, Any]

LOG_NAME = "log.jsonl"
SIZE = (1600, 1100)  # pixels
DPI = 125
RUN_COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#333333",
)  # Okabe and Ito's, fit for the colour-blind
LINES: tuple[Literal["-", "--", ":"], ...] = ("-", "--", ":")
RUN_STYLES = tuple(product(LINES, RUN_COLOURS))  # of each run; no two are alike up to 21 runs
SPLIT_MARKERS = ("o", "s", "D", "^", "v")
MARKER_STYLE: Mapping[str, Any] = {
    "linestyle": "none",
    "markersize": 8,
    "markeredgecolor": "white",
    "zorder": 3,
}


class Panel(NamedTuple):
    """One quantity of a log."""

    key: str
    title: str
    is_share: bool = False  # between 0 and 1, shown in per cent
    of_halted: bool = True  # a mean over the slots that halted: of none it says nothing


LOSS = Panel("lm_loss", "loss per example", of_halted=False)
STEPS = Panel("steps", "mean ACT steps")
ACCURACIES = (  # of tasks that are measured cell by cell
    Panel("exact_accuracy", "exact accuracy", is_share=True),
    Panel("accuracy", "cell accuracy", is_share=True),
)
KEYS = ("lm_loss", "exact_accuracy", "accuracy", "steps")
MAX_UPDATE = 2**53  # up to here a float counts exactly


def read_log(path: Path, keys: Sequence[str] = KEYS) -> list[Record]:
    """Read the "train" and "eval" reports of a run's log.jsonl; `keys` are the numbers wanted.

    A last line that a kill cut short is left out.

    Raises: RunError when there is nothing to read; DataError naming the line that is damaged.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise RunError(
            f"cannot read {path}: {error.strerror or error}; give a run directory, its log comes with the first report"
        ) from error
    if lines and _record(lines[-1], keys) is None:
        lines.pop()
    records = [
        _checked(_record(line, keys), f"{path}:{number}")
        for number, line in enumerate(lines, start=1)
    ]
    reports = [record for record in records if record.get("kind") in ("train", "eval")]
    if not reports:
        raise RunError(f"{path} holds no report yet; wait for the run's first one")
    return reports


def _record(line: bytes, keys: Sequence[str]) -> Record | None:
    """Read one line of a log, its numbers as floats.

    None where it is no JSON object, or a field that is drawn is not what it should be.
    """
    try:
        record = json.loads(line, parse_int=float)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and _is_sound(record, keys) else None


def _is_sound(record: Record, keys: Sequence[str]) -> bool:
    """Whether the fields that are drawn have their types, as far as they are there."""
    update, split = record.get("update", 0.0), record.get("split", "")
    metrics = [record.get(key, 0.0) for key in ("count", *keys)]
    return (
        isinstance(split, str)
        and all(isinstance(number, float) for number in [update, *metrics])
        and 0 <= update <= MAX_UPDATE
    )


def _checked(record: Record | None, place: str) -> Record:
    """The record, which must be one. Raises: DataError."""
    if record is None:
        raise DataError(
            f"{place}: not a JSON object as training writes it; take the line out or restore the file"
        )
    return record


def plot_runs(runs: Sequence[Path], out: Path, accuracies: Sequence[Panel] = ACCURACIES) -> None:
    """Write one PNG: a panel a quantity, a colour a run, a line for training, markers for evaluations.

    `runs` are run directories. The panels are the loss, `accuracies` and ACT steps.

    Raises: RunError or DataError for a log that cannot be read, BackendError without matplotlib,
    HRMError when the picture cannot be written.
    """
    panels = [LOSS, *accuracies, STEPS]
    keys = [panel.key for panel in panels]
    names = _names(runs)
    logs = {name: read_log(run / LOG_NAME, keys) for name, run in zip(names, runs, strict=True)}
    num_rows = -(-len(panels) // 2)
    figure = _empty_figure(num_rows)
    places = list(figure.subplots(num_rows, 2, squeeze=False).flat)
    for panel, axes in zip(panels, places, strict=False):
        _draw_panel(axes, panel, logs)
    for axes in places[len(panels) :]:
        axes.set_axis_off()
    _draw_key(figure, logs)
    with replaced_whole(out) as draft:
        figure.savefig(draft, format="png", dpi=DPI)


def _names(runs: Sequence[Path]) -> list[str]:
    """What to call each run: its directory's name, or the whole path where two have the same name."""
    names = [run.resolve().name for run in runs]
    return [
        name if names.count(name) == 1 else str(run) for name, run in zip(names, runs, strict=True)
    ]


def _empty_figure(num_rows: int) -> "Figure":
    """A figure of its own, apart from pyplot: no window, no global state.

    It is of `SIZE` pixels, and higher for more than two rows of panels.

    Raises: BackendError when matplotlib is not installed.
    """
    missing = "matplotlib is not installed; pip install 'hrm-mlx[plot]'"
    with needs_package("matplotlib", missing):
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    return Figure(
        figsize=(SIZE[0] / DPI, SIZE[1] / DPI * num_rows / 2),
        layout=ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.12),
    )


def _draw_panel(axes: "Axes", panel: Panel, logs: Mapping[str, Sequence[Record]]) -> None:
    """Draw one quantity of all runs."""
    markers = _split_markers(logs)
    for records, (line, colour) in zip(logs.values(), cycle(RUN_STYLES)):
        training = _series(records, panel, "train")
        axes.plot(
            *training,
            color=colour,
            linestyle=line,
            linewidth=1.2,
            marker="." if len(training[0]) == 1 else "",
        )
        for split, marker in markers.items():
            axes.plot(
                *_series(records, panel, "eval", split), color=colour, marker=marker, **MARKER_STYLE
            )
    _dress(axes, panel)


def _series(
    records: Sequence[Record], panel: Panel, kind: str, split: str | None = None
) -> tuple[list[float], list[float]]:
    """The updates and values of a quantity, where it was reported and says something."""
    reported = (
        record
        for record in records
        if record["kind"] == kind and {"update", panel.key} <= record.keys()
    )
    of_counted = panel.of_halted or kind == "eval"  # a mean over those that `count` counts
    chosen = [
        record
        for record in reported
        if record.get("split") == split and not (of_counted and record.get("count") == 0)
    ]
    return [record["update"] for record in chosen], [record[panel.key] for record in chosen]


def _split_markers(logs: Mapping[str, Sequence[Record]]) -> dict[str, str]:
    """A marker for each data split that was evaluated."""
    splits = {
        record["split"] for records in logs.values() for record in records if "split" in record
    }
    return dict(zip(sorted(splits), cycle(SPLIT_MARKERS)))


def _dress(axes: "Axes", panel: Panel) -> None:
    """Set title, scales and grid of one panel."""
    axes.set_title(panel.title, loc="left", fontweight="bold")
    axes.set_xlabel("updates")
    axes.set_xlim(left=0)
    axes.grid(color="#e4e6ea")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if panel.is_share:
        axes.set_ylim(-0.02, 1.02)
        axes.yaxis.set_major_formatter("{x:.0%}")
    else:
        axes.set_ylim(0, 1.05 * axes.get_ylim()[1])  # room for a marker at the top


def _draw_key(figure: "Figure", logs: Mapping[str, Sequence[Record]]) -> None:
    """Say below the panels which colour is which run and which marker which split."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colour, linestyle=line, linewidth=3, label=_printable(name))
        for name, (line, colour) in zip(logs, cycle(RUN_STYLES))
    ]
    handles += [Line2D([], [], color="#666a73", linewidth=1.2, label="training")]
    handles += [
        Line2D(
            [],
            [],
            color="#666a73",
            marker=marker,
            label=f"evaluation, {_printable(split)}",
            **MARKER_STYLE,
        )
        for split, marker in _split_markers(logs).items()
    ]
    key = figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False)
    for text in key.get_texts():
        text.set_parse_math(False)  # a folder's name may hold dollar signs


def _printable(name: str) -> str:
    """A name that a font can set: `?` for what is no Unicode, as bytes in a folder's name may be."""
    return name.encode(errors="replace").decode()
