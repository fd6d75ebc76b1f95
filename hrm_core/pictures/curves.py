"""Draw training runs as curves, several over each other."""

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
RUN_COLOURS = (  # Okabe and Ito's, which colour-blind people can tell apart
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#333333",
)
LINES: tuple[Literal["-", "--", ":"], ...] = ("-", "--", ":")
RUN_STYLES = tuple(product(LINES, RUN_COLOURS))  # distinct for up to 21 runs
KEY_COLOUR = "#666a73"
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
    from_zero: bool = True  # the scale begins at zero
    of_evaluations: str = ""  # the key of evaluations that have it
    of_halted: bool = True  # a mean over the slots that halted, undefined if none did


LOSS = Panel("lm_loss", "loss per example", of_halted=False)
STEPS = Panel("steps", "mean ACT steps", of_evaluations="q_steps")
ACCURACIES = (  # of tasks that are measured cell by cell
    Panel("exact_accuracy", "exact accuracy", is_share=True),
    Panel("accuracy", "cell accuracy", is_share=True),
)
KEYS = ("lm_loss", "exact_accuracy", "accuracy", "steps")
MAX_UPDATE = 2**53  # a float holds every integer up to this one


def read_log(path: Path, keys: Sequence[str] = KEYS) -> list[Record]:
    """Read the "train" and "eval" reports of a run's log.jsonl; `keys` are the metrics needed.

    A last line that was cut short by a kill is left out.

    Raises: RunError if there is nothing to read; DataError naming the line that is damaged.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise RunError(
            f"cannot read {path}: {error.strerror or error}; "
            "give a run directory, its log comes with the first report"
        ) from error
    if lines and _record(lines[-1], keys) is None:
        lines.pop()
    reports = []
    for number, line in enumerate(lines, start=1):
        record = _record(line, keys)
        if record is None:
            raise DataError(
                f"{path}:{number}: not a JSON object as training writes it; "
                "take the line out or restore the file"
            )
        if record.get("kind") in ("train", "eval"):
            reports.append(record)
    if not reports:
        raise RunError(f"{path} holds no report yet; wait for the run's first one")
    return reports


def _record(line: bytes, keys: Sequence[str]) -> Record | None:
    """Read one line of a log, its numbers as floats.

    None if it is not a JSON object, or a field that is drawn has a wrong type.
    """
    try:
        record = json.loads(line, parse_int=float)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not _is_sound(record, keys):
        return None
    return record


def _is_sound(record: Record, keys: Sequence[str]) -> bool:
    """Return True if those of the drawn fields that are there have their types."""
    update = record.get("update", 0.0)
    numbers = [update, *(record.get(key, 0.0) for key in ("count", *keys))]
    are_numbers = all(isinstance(number, float) for number in numbers)
    is_named = isinstance(record.get("split", ""), str)
    return is_named and are_numbers and 0 <= update <= MAX_UPDATE


def plot_runs(runs: Sequence[Path], out: Path, accuracies: Sequence[Panel] = ACCURACIES) -> None:
    """Write one PNG with a panel for each quantity and a colour for each run.

    Lines are training, markers are evaluations. `runs` are run directories. The panels are the
    loss, `accuracies` and ACT steps.

    Raises: RunError or DataError for a log that cannot be read, BackendError without matplotlib,
    HRMError if the picture cannot be written.
    """
    panels = [LOSS, *accuracies, STEPS]
    keys = [panel.key for panel in panels] + [STEPS.of_evaluations]
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
    """Name each run by its directory, or by the whole path if two directories have one name."""
    folders = [run.resolve().name for run in runs]
    names = []
    for run, folder in zip(runs, folders, strict=True):
        is_unique = folders.count(folder) == 1
        names.append(folder if is_unique else str(run))
    return names


def _empty_figure(num_rows: int) -> "Figure":
    """Make a figure without pyplot: no window, no global state.

    It has `SIZE` pixels for two rows of panels, and is higher for more.

    Raises: BackendError if matplotlib is not installed.
    """
    with needs_package("matplotlib", "matplotlib is not installed", "plot"):
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    width, height = SIZE
    return Figure(
        figsize=(width / DPI, height / DPI * num_rows / 2),
        layout=ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.12),
    )


def _draw_panel(axes: "Axes", panel: Panel, logs: Mapping[str, Sequence[Record]]) -> None:
    """Draw one quantity of all runs."""
    markers = _split_markers(logs)
    for records, (line, colour) in zip(logs.values(), cycle(RUN_STYLES)):
        updates, values = _series(records, panel, "train")
        dot = "." if len(updates) == 1 else ""
        axes.plot(updates, values, color=colour, linestyle=line, linewidth=1.2, marker=dot)
        for split, marker in markers.items():
            updates, values = _series(records, panel, "eval", split)
            axes.plot(updates, values, color=colour, marker=marker, **MARKER_STYLE)
    by_q = any(panel.of_evaluations in record for log in logs.values() for record in log)
    _set_scales(axes, panel, ", halting by q" if by_q else "")


def _series(
    records: Sequence[Record], panel: Panel, kind: str, split: str | None = None
) -> tuple[list[float], list[float]]:
    """Return the updates and values of a quantity, where it was reported and is defined."""
    is_mean_of_counted = panel.of_halted or kind == "eval"
    updates, values = [], []
    for record in records:
        if record["kind"] != kind or record.get("split") != split:
            continue
        if is_mean_of_counted and record.get("count") == 0:
            continue
        key = panel.key
        if kind == "eval" and panel.of_evaluations in record:
            key = panel.of_evaluations
        if {"update", key} <= record.keys():
            updates.append(record["update"])
            values.append(record[key])
    return updates, values


def _split_markers(logs: Mapping[str, Sequence[Record]]) -> dict[str, str]:
    """Choose a marker for each data split that was evaluated."""
    splits: set[str] = set()
    for records in logs.values():
        splits |= {record["split"] for record in records if "split" in record}
    return dict(zip(sorted(splits), cycle(SPLIT_MARKERS)))


def _set_scales(axes: "Axes", panel: Panel, note: str) -> None:
    """Set title, scales and grid of one panel; `note` follows the title."""
    axes.set_title(panel.title + note, loc="left", fontweight="bold")
    axes.set_xlabel("updates")
    axes.set_xlim(left=0)
    axes.grid(color="#e4e6ea")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if panel.is_share:
        axes.set_ylim(-0.02, 1.02)
        axes.yaxis.set_major_formatter("{x:.0%}")
    elif panel.from_zero:
        axes.set_ylim(0, 1.05 * axes.get_ylim()[1])  # room for a marker at the top


def _draw_key(figure: "Figure", logs: Mapping[str, Sequence[Record]]) -> None:
    """Explain below the panels the colour of each run and the marker of each split."""
    from matplotlib.lines import Line2D

    handles = []
    for name, (line, colour) in zip(logs, cycle(RUN_STYLES)):
        label = _printable(name)
        handles.append(Line2D([], [], color=colour, linestyle=line, linewidth=3, label=label))
    handles.append(Line2D([], [], color=KEY_COLOUR, linewidth=1.2, label="training"))
    for split, marker in _split_markers(logs).items():
        label = f"evaluation, {_printable(split)}"
        handles.append(Line2D([], [], color=KEY_COLOUR, marker=marker, label=label, **MARKER_STYLE))
    key = figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False)
    for text in key.get_texts():
        text.set_parse_math(False)  # a folder's name may hold dollar signs


def _printable(name: str) -> str:
    """Replace what is no Unicode by `?`, as bytes in a folder's name may be: a font cannot draw it."""
    return name.encode(errors="replace").decode()
