"""Report a run: one live line on a terminal, one line a report elsewhere.

TensorBoard and Weights & Biases get the numbers on request.
"""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from hrm_core.errors import BackendError, needs_package
from hrm_core.messages import reason
from hrm_core.tasks.cells import UNKNOWN
from hrm_core.tasks.contract import Measures
from hrm_core.training.fit import Record, Reporter


class ConsoleReporter:
    """Reports on stderr, so that stdout is free for results.

    A terminal that was closed stops no run: it is saved first.
    """

    def __init__(self, measures: Measures = UNKNOWN) -> None:
        self._measures = measures
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._live: Live | None = None
        if sys.stderr.isatty():
            self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *raised: object) -> None:
        if self._live:
            with suppress(OSError, SystemExit):  # rich raises the latter if nobody reads
                self._live.stop()

    def trained(self, record: Record, total: int) -> None:
        """Show the metrics of the last updates."""
        line = training_line(record, total, self._measures)
        if self._live:
            with suppress(OSError, SystemExit):  # rich raises the latter if nobody reads
                self._live.update(Text(line), refresh=True)
        else:
            self._print(line)

    def evaluated(self, record: Record) -> None:
        """Show the result of an evaluation; it stays on the screen."""
        self._print(evaluation_line(record, self._measures))

    def saved(self, checkpoint: Path) -> None:
        """Do nothing: a checkpoint is not worth a line."""

    def warn(self, message: str) -> None:
        """Show a warning; it stays on the screen."""
        self._print(f"warning: {message}")

    def _print(self, line: str) -> None:
        with suppress(OSError, SystemExit):  # rich raises the latter if nobody reads
            self._console.print(line, markup=False)


class NumbersReporter:
    """Passes on every number of a report, and leaves warnings to the console."""

    def trained(self, record: Record, total: int) -> None:
        """Pass on the metrics of the last updates."""
        self._send(record["update"], _numbers("train", record))

    def evaluated(self, record: Record) -> None:
        """Pass on the result of an evaluation."""
        self._send(record["update"], _numbers("eval", record))

    def saved(self, checkpoint: Path) -> None:
        """Do nothing: checkpoints stay in the run."""

    def warn(self, message: str) -> None:
        """Do nothing: warnings are for the console."""

    def _send(self, update: int, numbers: Mapping[str, float]) -> None:
        """Pass on the numbers of an update, by name; each kind of reporter has its own way."""
        raise NotImplementedError


class TensorBoardReporter(NumbersReporter):
    """Writes every number of a report as a scalar."""

    def __init__(self, directory: Path) -> None:
        """Write events into a directory. Raises: BackendError if tensorboardX is not installed."""
        with needs_package("tensorboardX", "--tensorboard needs tensorboardX", "tensorboard"):
            from tensorboardX import SummaryWriter
        self._make_writer = partial(SummaryWriter, str(directory))

    @cached_property
    def _writer(self) -> Any:
        return self._make_writer()  # made at the first report: the run may never begin

    def saved(self, checkpoint: Path) -> None:
        """Flush what was added to disk."""
        self._writer.flush()

    def _send(self, update: int, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, update)


class WandbReporter(NumbersReporter):
    """Sends every number of a report to Weights & Biases.

    The variables WANDB_MODE, WANDB_PROJECT and so on are those of the package wandb; with
    WANDB_MODE=offline the numbers stay in the run, for `wandb sync`.
    """

    def __init__(self, directory: Path, config: Mapping[str, Any]) -> None:
        """Prepare to report a run of these settings.

        Raises: BackendError if wandb is not installed, or nobody is logged in.
        """
        with needs_package("wandb", "--wandb needs wandb", "wandb"):
            import wandb
        self._package = wandb
        self._directory, self._config = directory, config
        with self._errors_explained():
            if wandb.setup().settings.mode == "online":
                wandb.login()

    def __enter__(self) -> Self:
        """Begin, or continue what the run reported before. Raises: BackendError."""
        ids = [path.name.rpartition("-")[2] for path in self._directory.glob("wandb/*run-*-*")]
        with self._errors_explained():
            self._run = self._package.init(
                dir=self._directory,
                project=os.environ.get("WANDB_PROJECT", "hrm"),
                name=os.environ.get("WANDB_NAME", self._directory.resolve().name),
                id=os.environ.get("WANDB_RUN_ID", next(iter(ids), None)),
                resume="allow",
                config=dict(self._config),
                settings=self._package.Settings(console="off"),  # the live line is no log
            )
        for kind in ("train", "eval"):  # a run that is resumed reports some updates again
            self._run.define_metric(f"{kind}/*", step_metric="update")
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._run.finish(exit_code=int(kind is not None))

    def _send(self, update: int, numbers: Mapping[str, float]) -> None:
        self._run.log({"update": update, **numbers})

    @contextmanager
    def _errors_explained(self) -> Iterator[None]:
        try:
            yield
        except self._package.Error as error:
            found = reason(error).rstrip(".")
            raise BackendError(
                f"--wandb: {found}; log in with `wandb login`, or set WANDB_MODE=offline"
            ) from error


def _numbers(kind: str, record: Record) -> dict[str, float]:
    """Return the numbers of a report but its update, each as `kind/name`."""
    numbers = {}
    for name, value in record.items():
        if isinstance(value, float | int) and name != "update":
            numbers[f"{kind}/{name}"] = value
    return numbers


class Reporters:
    """Several reporters as one."""

    def __init__(self, reporters: Sequence[Reporter]) -> None:
        self._reporters = reporters

    def trained(self, record: Record, total: int) -> None:
        """Pass on to all reporters."""
        for reporter in self._reporters:
            reporter.trained(record, total)

    def evaluated(self, record: Record) -> None:
        """Pass on to all reporters."""
        for reporter in self._reporters:
            reporter.evaluated(record)

    def saved(self, checkpoint: Path) -> None:
        """Pass on to all reporters."""
        for reporter in self._reporters:
            reporter.saved(checkpoint)

    def warn(self, message: str) -> None:
        """Pass on to all reporters."""
        for reporter in self._reporters:
            reporter.warn(message)


def training_line(record: Mapping[str, Any], total: int, measures: Measures = UNKNOWN) -> str:
    """Format one report as one line; accuracies are those of the slots that halted."""
    examples_per_update = record["examples"] / record["update"]
    examples_left = (total - record["update"]) * examples_per_update
    seconds_left = examples_left / max(record["examples_per_second"], 1e-9)
    of_halted = []
    for metric in (measures.headline, *measures.metrics):
        if metric.key in record:
            name = metric.short or metric.heading
            shown = f"{record[metric.key]:.1%}" if record["count"] > 0 else "–"
            of_halted.append(f"{name} {shown}")
    of_halted.append(f"steps {record['steps']:.1f}" if record["count"] > 0 else "steps –")
    parts = [
        f"update {record['update']}/{total}",
        f"loss {record['lm_loss']:.3f}",
        *of_halted,
        f"{record['examples_per_second']:.0f} examples/s",
        f"lr {record['lr']:.1e}",
        f"{record['memory_gib']:.2f} GiB",
        f"{duration(seconds_left)} left",
    ]
    return "  ".join(parts)


def evaluation_line(record: Mapping[str, Any], measures: Measures = UNKNOWN) -> str:
    """Format one evaluation as one line, the headline first."""
    start = f"evaluation after update {record['update']}: "
    if not record["count"]:
        return f"{start}no solution is known, so nothing is scored"
    values = []
    for metric in (measures.headline, *measures.metrics):
        name = metric.short or metric.heading
        values.append(f"{name} {metric.shown(record)}")
    return f"{start}{'  '.join(values)}  of {record['count']} {measures.things}"


def duration(seconds: float) -> str:
    """Format a duration: "2h05m", or "5m07s" below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s"
