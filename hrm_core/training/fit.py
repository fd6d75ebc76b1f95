"""The training loop: updates, reports, evaluations and checkpoints, for any backend.

A run that is killed and resumed makes the same updates on the same batches with the same draws as
an uninterrupted one: everything that is not in a checkpoint is drawn again from the seed and the
number of the update.
"""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from hrm_core.backend import Backend, Batch, PendingMetrics
from hrm_core.config import ModelConfig, RunConfig
from hrm_core.data.batches import TrainingOrder
from hrm_core.data.store import Dataset, Split
from hrm_core.draws import Purpose, draw_min_steps, stream
from hrm_core.errors import NotFiniteError
from hrm_core.inference.evaluation import evaluate
from hrm_core.inference.metrics import is_finite, reduced
from hrm_core.process import give_back_freed_memory
from hrm_core.runs.checkpoint import checkpoint_name, newest_first
from hrm_core.runs.run import Restored, Run
from hrm_core.runs.settings import SETTINGS
from hrm_core.schedule import rates
from hrm_core.tasks.capabilities import Hinted
from hrm_core.tasks.cells import UNKNOWN
from hrm_core.tasks.contract import Measures, Task
from hrm_core.tasks.predictions import joined
from hrm_core.tasks.registry import label_of
from hrm_core.training.hints import with_hints

Record = Mapping[str, Any]
OF_Q = "q_halt_accuracy"  # the metric that a model with fixed halting does not have


class Reporter(Protocol):
    """Receives the reports of a run."""

    def trained(self, record: Record, total: int) -> None:
        """Report training metrics."""
        ...

    def evaluated(self, record: Record) -> None:
        """Report the result of an evaluation."""
        ...

    def saved(self, checkpoint: Path) -> None:
        """Report that a checkpoint is complete."""
        ...

    def warn(self, message: str) -> None:
        """Show a warning to the user."""
        ...


class Interrupted(Exception):  # noqa: N818 - no error
    """Raised when the user has asked to stop and the run is saved."""


@dataclass
class Position:
    """The state of a run, besides weights, optimizers, carry and the place in the data."""

    update: int = 0
    seconds: float = 0.0  # of training, evaluation and saving
    window_began: float = 0.0  # second; later by each evaluation, which examples/s leaves out
    window: dict[str, float] = field(default_factory=dict)  # sums of metrics since the last report
    evaluated: int = 0  # the last update that was evaluated
    best: dict[str, Any] = field(default_factory=dict)  # checkpoint, exact_accuracy, accuracy
    last_metrics: dict[str, float] = field(default_factory=dict)


class Assignment(NamedTuple):
    """Everything that defines a run: config, model, data and task."""

    config: RunConfig
    model: ModelConfig
    data: Dataset
    task: Task | None  # None if the task of the data set is not known
    train: Split
    test: Split | None
    total_updates: int
    files: Mapping[str, str]  # contents of those that the task needs, by name

    @property
    def measures(self) -> Measures:
        """Return the measures of the task; cell by cell if it is not known."""
        return self.task or UNKNOWN

    @property
    def updates_between_evaluations(self) -> int:
        """Return after how many updates an evaluation follows; one follows the last update, too."""
        train = self.config.train
        by_epochs = self.total_updates * train.eval_interval // train.epochs
        return train.eval_every_updates or max(1, by_epochs)

    @property
    def num_evaluations(self) -> int:
        """Return the number of evaluations of the whole run."""
        if self.test is None:
            return 0
        return math.ceil(self.total_updates / self.updates_between_evaluations)


class Trainer:
    """One run in progress. Every replica runs the same loop on its slots; the first one writes."""

    def __init__(
        self, assignment: Assignment, backend: Backend, run: Run, reporter: Reporter
    ) -> None:
        """Prepare the first update; the backend has its initial weights already."""
        self._job = assignment
        self._backend = backend
        self._run = run
        self._reporter = reporter
        self._settings = assignment.config.train
        self._replica = backend.replica
        self._order = TrainingOrder(
            assignment.train,
            self._settings.global_batch_size,
            seed=self._settings.seed,
            epochs_per_iter=self._settings.eval_interval,
            rank=self._replica.rank,
            num_replicas=self._replica.num_replicas,
        )
        self._pending: list[PendingMetrics] = []
        self._position = Position()
        self._eval_every = assignment.updates_between_evaluations
        self._saved_at = 0, 0  # update, last update that was evaluated
        self._interrupt = False
        backend.begin_training(assignment.config.optim, self._settings.global_batch_size)

    def restore(self, restored: Restored) -> None:
        """Continue after a checkpoint whose weights the backend has; drop what was logged after it."""
        self._backend.load_state(restored.train_state)
        self._order.restore(restored.state["order"])
        self._position = Position(**restored.state["position"])
        self._saved_at = self._position.update, self._position.evaluated
        self._run.cut_log(self._reporter.warn, *self._saved_at)
        keep = self._settings.keep_checkpoints
        self._run.tidy(restored.folder, self._position.best, keep)

    def train(self) -> Position:
        """Make all updates that are left.

        Raises: NotFiniteError if a metric is NaN or infinite; Interrupted after Ctrl-C,
        SIGTERM or SIGHUP, saved.
        """
        self._started = time.monotonic() - self._position.seconds
        self._saved = time.monotonic()
        with self._catching_interrupts():
            try:
                self._evaluate_if_due()  # a checkpoint may lack its evaluation
                self._save()
                while self._position.update < self._job.total_updates:
                    self._update()
                    self._report_if_due()
                    is_best = self._evaluate_if_due()
                    self._save_if_due(is_best)
                    self._stop_if_asked()
            except Interrupted:
                self._save()
                raise
        return self._position

    def check_order(self) -> None:
        """Refuse data that fill no batch. Raises: DataError."""
        self._order.check()

    @property
    def is_finished(self) -> bool:
        """Return True if all updates are made."""
        return self._position.update >= self._job.total_updates

    def _update(self) -> None:
        update = self._position.update + 1
        optim, ema = self._job.config.optim, self._settings.ema
        scalars = rates(update, self._job.total_updates, optim, ema)
        min_steps = self._min_steps(update)
        batch = self._hinted(next(self._order), update)
        self._pending.append(self._backend.update(batch, min_steps, scalars))
        self._position.update = update

    def _hinted(self, batch: Batch, update: int) -> Batch:
        """Fill in hints, if the run gives any."""
        settings, task = self._settings, self._job.task
        if not settings.hints or not isinstance(task, Hinted):
            return batch
        rng = stream(settings.seed, Purpose.HINTS, update)
        num_rows, rank = len(batch.inputs), self._replica.rank
        rows = slice(rank * num_rows, (rank + 1) * num_rows)
        return with_hints(batch, task, rng, settings.hints, rows, settings.global_batch_size)

    def _min_steps(self, update: int) -> npt.NDArray[np.int32]:
        """Draw the minimum steps of all slots and return those of this replica."""
        settings = self._settings
        rng = stream(settings.seed, Purpose.EXPLORATION, update)
        of_all = draw_min_steps(rng, settings.global_batch_size, self._job.model)
        of_replicas = np.split(of_all, self._replica.num_replicas)
        return of_replicas[self._replica.rank]

    def _read_metrics(self) -> None:
        """Wait for the updates since the last report and add up their metrics."""
        window = self._position.window
        for pending in self._pending:
            for name, value in pending.read().items():
                window[name] = window.get(name, 0.0) + value
        self._pending.clear()
        self._check_finite(window)

    def _check_finite(self, metrics: Mapping[str, float]) -> None:
        """Stop a run that has diverged. Raises: NotFiniteError."""
        broken = [f"{name}={value}" for name, value in metrics.items() if not math.isfinite(value)]
        if not broken:
            return
        good = next(iter(newest_first(self._run.checkpoints)), "none yet")
        raise NotFiniteError(
            f"training diverged, noticed after update {self._position.update}: "
            f"{', '.join(broken)}; last good checkpoint: {good}; "
            "try a lower optim.lr, a longer optim.lr_warmup_steps or --dtype float32"
        )

    def _report_if_due(self) -> None:
        position, settings = self._position, self._settings
        update, total = position.update, self._job.total_updates
        if update % settings.report_every and update != total:
            return
        self._read_metrics()
        window_updates = (update - 1) % settings.report_every + 1
        window_examples = window_updates * settings.global_batch_size
        metrics = reduced(position.window, window_examples)
        seconds = time.monotonic() - self._started
        window_seconds = max(seconds - position.window_began, 1e-9)
        record = {
            "kind": "train",
            "update": update,
            "examples": update * settings.global_batch_size,
            "seconds": round(seconds, 3),
            **metrics,
            "lr": rates(update, total, self._job.config.optim).lr,
            "examples_per_second": round(window_examples / window_seconds, 1),
            "memory_gib": round(self._backend.peak_memory() / 2**30, 3),
        }
        position.seconds = position.window_began = seconds
        position.window = {}
        position.last_metrics = metrics
        self._run.log(record)
        self._reporter.trained(record, total)

    def _evaluate_if_due(self) -> bool:
        """Evaluate at the end of each interval. Returns: True if this is the best model so far."""
        position, test = self._position, self._job.test
        is_last = position.update == self._job.total_updates
        is_due = is_last or position.update % self._eval_every == 0
        if test is None or not is_due or position.update == position.evaluated:
            return False
        self._read_metrics()  # stop here if training has diverged
        began = time.monotonic()
        metrics = self._evaluated(test)
        self._check_finite(metrics)
        position.evaluated = position.update
        position.seconds = time.monotonic() - self._started
        position.window_began += time.monotonic() - began
        record = {
            "kind": "eval",
            "update": position.update,
            "seconds": round(position.seconds, 3),
            "split": "test",
            **metrics,
        }
        self._run.log(record)
        self._reporter.evaluated(record)
        return self._is_best(metrics)

    def _evaluated(self, test: Split) -> Mapping[str, float]:
        """Answer the test split with all replicas and measure the answers."""
        settings = self._settings
        slots = settings.slots_at_once * self._replica.num_replicas
        predictions, _ = evaluate(
            self._backend,
            test,
            self._job.task,
            min(settings.global_batch_size, slots),
            settings.eval_examples,
            lambda _: self._stop_if_alone(),
        )
        of_all = joined(self._backend.gather(predictions))
        measured = dict(self._job.measures.measure(of_all))
        if not self._job.model.learns_to_halt:
            measured.pop(OF_Q, None)
        return measured

    def _is_best(self, metrics: Mapping[str, float]) -> bool:
        """Record the next checkpoint as the best if its headline, or else its next metric, is."""
        measures, best = self._job.measures, self._position.best
        deciding = (measures.headline, *measures.metrics[:1])
        if best:
            rank = [metric.rank(metrics) for metric in deciding]
            best_rank = [metric.rank(best) for metric in deciding]
            if rank <= best_rank:
                return False
        checkpoint = checkpoint_name(self._position.update)
        values = {metric.key: metrics[metric.key] for metric in deciding}
        self._position.best = {"checkpoint": checkpoint, **values}
        return True

    def _save_if_due(self, is_best: bool) -> None:
        update, settings = self._position.update, self._settings
        minutes = (time.monotonic() - self._saved) / 60
        is_last = update == self._job.total_updates
        at_interval = is_last or update % settings.save_every_updates == 0
        if is_best or at_interval or self._agreed(minutes > settings.save_every_minutes):
            self._save()

    def _save(self) -> None:
        """Write a checkpoint of the current state, unless there is one.

        Raises: NotFiniteError if training has diverged; then nothing is written.
        """
        saved_at = self._position.update, self._position.evaluated
        if self._saved_at == saved_at:
            return
        self._read_metrics()
        weights = {
            name: weight.astype(np.float32, copy=False)
            for name, weight in self._backend.averaged_weights().items()
        }
        held = list(weights.values())
        if self._settings.ema is not None:
            held += self._backend.weights().values()
        # the metrics cover only the weights before the last update
        if not all(map(is_finite, held)):
            self._check_finite({"weights": math.nan})
        self._position.seconds = time.monotonic() - self._started
        state = {
            "update": self._position.update,
            "position": vars(self._position),
            "best": self._position.best,
            "order": self._order.state(),
            "environment": self._backend.describe(),
            SETTINGS: self._run.settings,
        }
        folder = self._run.save(
            self._job.model,
            label_of(self._job.task),
            weights,
            self._backend.state(),
            state,
            self._settings.keep_checkpoints,
            self._job.files,
        )
        give_back_freed_memory()  # the copies that were written leave holes in the heap
        self._saved, self._saved_at = time.monotonic(), saved_at
        self._reporter.saved(folder)

    def _stop_if_asked(self) -> None:
        if self._agreed(self._interrupt):
            raise Interrupted

    def _stop_if_alone(self) -> None:
        """Stop in the middle of an evaluation, unless other replicas would wait for this one."""
        if self._interrupt and self._replica.num_replicas == 1:
            raise Interrupted

    def _agreed(self, wish: bool) -> bool:
        """Return True if any replica has this wish.

        Clocks of replicas differ, so they exchange wishes, and only at reports.
        """
        if self._replica.num_replicas == 1:
            return wish
        if self._position.update % self._settings.report_every:
            return False
        return any(self._backend.gather(wish))

    @contextmanager
    def _catching_interrupts(self) -> Iterator[None]:
        """Let the first Ctrl-C, SIGTERM or SIGHUP finish the update; a second Ctrl-C stops at once.

        Schedulers and terminals repeat their signals, so those do not stop a run that saves. Under
        torchrun the second Ctrl-C may be the first one passed on, so it does not either. Outside
        the main thread nothing is caught.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        stop_at_once = _handler(signal.SIGINT)

        def remember(number: int, frame: FrameType | None) -> None:
            is_alone = self._replica.num_replicas == 1
            if self._interrupt and number == signal.SIGINT and is_alone:
                stop_at_once(number, frame)
            self._interrupt = True

        others = [signal.SIGTERM, signal.SIGHUP]
        heard = [number for number in others if signal.getsignal(number) != signal.SIG_IGN]  # nohup
        before = {number: signal.signal(number, remember) for number in (signal.SIGINT, *heard)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _handler(number: signal.Signals) -> Callable[[int, FrameType | None], Any]:
    """Return the function that Python calls on a signal; that of Ctrl-C if there is none."""
    handler = signal.getsignal(number)
    return handler if callable(handler) else signal.default_int_handler
