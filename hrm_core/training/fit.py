"""The training loop: updates, reports, evaluations and checkpoints, for any backend.

A run that is killed and resumed makes the same updates on the same batches with the same draws as one that is not:
what a checkpoint does not hold is drawn again from the seed and the number of the update.
"""

import math
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, Protocol

import numpy as np

from hrm_core.backend import Backend, PendingMetrics
from hrm_core.config import ModelConfig, RunConfig
from hrm_core.data.batches import TrainingOrder
from hrm_core.data.store import Dataset, Split
from hrm_core.draws import Purpose, draw_min_steps, stream
from hrm_core.errors import NotFiniteError
from hrm_core.inference.evaluation import evaluate
from hrm_core.inference.metrics import all_finite, is_finite, reduced
from hrm_core.runs.checkpoint import checkpoint_name, newest_first
from hrm_core.runs.run import Restored, Run
from hrm_core.schedule import rates
from hrm_core.tasks.cells import UNKNOWN
from hrm_core.tasks.contract import Measures, Task
from hrm_core.tasks.predictions import joined
from hrm_core.tasks.registry import label_of

Record = Mapping[str, Any]


class Reporter(Protocol):
    """Who watches a run."""

    def trained(self, record: Record, total: int) -> None:
        """A report of training metrics."""
        ...

    def evaluated(self, record: Record) -> None:
        """A report of an evaluation."""
        ...

    def saved(self, checkpoint: Path) -> None:
        """A checkpoint is complete."""
        ...

    def warn(self, message: str) -> None:
        """Something the user should know."""
        ...


class Interrupted(Exception):  # noqa: N818 - no error
    """The user asked to stop; what was done is saved."""


@dataclass
class Position:
    """Where a run stands. Everything but the weights, the optimizers, the carry and the place in the data."""

    update: int = 0
    seconds: float = 0.0  # of training, evaluation and saving
    window_began: float = (
        0.0  # at which second; evaluations move it on, so that they do not count in examples/s
    )
    window: dict[str, float] = field(default_factory=dict)  # sums of metrics since the last report
    evaluated: int = 0  # the last update that was evaluated
    best: dict[str, Any] = field(default_factory=dict)  # checkpoint, exact_accuracy, accuracy
    last_metrics: dict[str, float] = field(default_factory=dict)


class Assignment(NamedTuple):
    """What is to be trained on what."""

    config: RunConfig
    model: ModelConfig
    data: Dataset
    task: Task | None  # None: a data set of a kind that is not known here
    train: Split
    test: Split | None
    total_updates: int

    @property
    def measures(self) -> Measures:
        """How answers are measured."""
        return self.task or UNKNOWN


class Trainer:
    """One run in progress. Several replicas go through the same loop, each with its slots; the first one writes."""

    def __init__(
        self, assignment: Assignment, backend: Backend, run: Run, reporter: Reporter
    ) -> None:
        """Make ready for the first update; the backend has its initial weights already."""
        self._job, self._backend, self._run, self._reporter = assignment, backend, run, reporter
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
        self._eval_every = max(
            1, assignment.total_updates * self._settings.eval_interval // self._settings.epochs
        )
        self._saved_at = 0, 0  # update, last update that was evaluated
        self._interrupt = False
        backend.begin_training(assignment.config.optim, self._settings.global_batch_size)

    def restore(self, restored: Restored) -> None:
        """Continue after a checkpoint whose weights the backend has; what was logged after it is dropped."""
        self._backend.load_state(restored.train_state)
        self._order.restore(restored.state["order"])
        self._position = Position(**restored.state["position"])
        self._saved_at = self._position.update, self._position.evaluated
        self._run.cut_log(*self._saved_at)
        keep = self._settings.keep_checkpoints
        self._run.tidy(restored.folder, self._position.best, keep)

    def train(self) -> Position:
        """Make all updates that are left.

        Raises: NotFiniteError if a metric is NaN or infinite; Interrupted after Ctrl-C, saved.
        """
        self._started = time.monotonic() - self._position.seconds
        self._saved = time.monotonic()
        with self._catching_interrupts():
            try:
                self._evaluate_if_due()  # the checkpoint was written while its evaluation was not done
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

    def _update(self) -> None:
        update = self._position.update + 1
        settings, config = self._settings, self._job.config
        rng = stream(settings.seed, Purpose.EXPLORATION, update)
        min_steps = np.split(
            draw_min_steps(rng, settings.global_batch_size, self._job.model),
            self._replica.num_replicas,
        )[self._replica.rank]
        batch = next(self._order)
        self._pending.append(
            self._backend.update(
                batch, min_steps, rates(update, self._job.total_updates, config.optim)
            )
        )
        self._position.update = update

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
        if all_finite(metrics):
            return
        good = next(iter(newest_first(self._run.checkpoints)), None)
        broken = ", ".join(
            f"{name}={value}" for name, value in metrics.items() if not all_finite({name: value})
        )
        raise NotFiniteError(
            f"training diverged, noticed after update {self._position.update}: {broken}; last good checkpoint: {good or 'none yet'}; "
            "try a lower optim.lr, a longer optim.lr_warmup_steps or --dtype float32"
        )

    def _report_if_due(self) -> None:
        update = self._position.update
        if update % self._settings.report_every and update != self._job.total_updates:
            return
        self._read_metrics()
        window_updates = (update - 1) % self._settings.report_every + 1
        slots = self._settings.global_batch_size
        metrics = reduced(self._position.window, window_updates * slots)
        seconds = time.monotonic() - self._started
        record = {
            "kind": "train",
            "update": update,
            "examples": update * slots,
            "seconds": round(seconds, 3),
            **metrics,
            "lr": rates(update, self._job.total_updates, self._job.config.optim).lr,
            "examples_per_second": round(
                window_updates * slots / max(seconds - self._position.window_began, 1e-9), 1
            ),
            "memory_gib": round(self._backend.peak_memory() / 2**30, 3),
        }
        self._position.seconds = self._position.window_began = seconds
        self._position.window = {}
        self._position.last_metrics = metrics
        self._run.log(record)
        self._reporter.trained(record, self._job.total_updates)

    def _evaluate_if_due(self) -> bool:
        """Evaluate at the end of each interval. Returns: True if this is the best model so far."""
        position, test = self._position, self._job.test
        due = position.update % self._eval_every == 0 or position.update == self._job.total_updates
        if test is None or not due or position.update == position.evaluated:
            return False
        self._read_metrics()  # stops here if training has diverged
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
        slots = min(
            self._settings.global_batch_size,
            self._settings.slots_at_once * self._replica.num_replicas,
        )
        predictions, _ = evaluate(
            self._backend,
            test,
            self._job.task,
            slots,
            self._settings.eval_examples,
            lambda _: self._stop_if_alone(),
        )
        return self._job.measures.measure(joined(self._backend.gather(predictions)))

    def _is_best(self, metrics: Mapping[str, float]) -> bool:
        """Note the checkpoint to come if its headline, or else its next metric, is the best."""
        measures, best = self._job.measures, self._position.best
        deciding = (measures.headline, *measures.metrics[:1])
        if best and [m.rank(metrics) for m in deciding] <= [m.rank(best) for m in deciding]:
            return False
        checkpoint = checkpoint_name(self._position.update)
        values = {metric.key: metrics[metric.key] for metric in deciding}
        self._position.best = {"checkpoint": checkpoint, **values}
        return True

    def _save_if_due(self, is_best: bool) -> None:
        update = self._position.update
        minutes = (time.monotonic() - self._saved) / 60
        at_interval = (
            update % self._settings.save_every_updates == 0 or update == self._job.total_updates
        )
        if is_best or at_interval or self._agreed(minutes > self._settings.save_every_minutes):
            self._save()

    def _save(self) -> None:
        """Write a checkpoint of where the run stands, unless there is one. Nothing is written of a run that has diverged."""
        saved_at = self._position.update, self._position.evaluated
        if self._saved_at == saved_at:
            return
        self._read_metrics()
        weights = {
            name: weight.astype(np.float32, copy=False)
            for name, weight in self._backend.weights().items()
        }
        if not all(
            map(is_finite, weights.values())
        ):  # the metrics tell only of the weights before the last update
            self._check_finite({"weights": math.nan})
        state = {
            "update": self._position.update,
            "position": vars(self._position),
            "best": self._position.best,
            "order": self._order.state(),
            "environment": self._backend.describe(),
        }
        folder = self._run.save(
            self._job.model,
            label_of(self._job.task),
            weights,
            self._backend.state(),
            state,
            self._settings.keep_checkpoints,
        )
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
        """Whether any replica has this wish; they tell each other only when they report, and their clocks differ."""
        if self._replica.num_replicas == 1:
            return wish
        return self._position.update % self._settings.report_every == 0 and any(
            self._backend.gather(wish)
        )

    @contextmanager
    def _catching_interrupts(self) -> Iterator[None]:
        """Let the first Ctrl-C finish the update; a second one stops at once, unless it is torchrun that passes on the first."""

        def remember(number: int, frame: FrameType | None) -> None:
            if self._interrupt and self._replica.num_replicas == 1:
                raise KeyboardInterrupt
            self._interrupt = True

        before = signal.signal(signal.SIGINT, remember)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
