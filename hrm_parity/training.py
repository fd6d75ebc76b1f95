"""Two backends trained side by side from one seed, on the same batches with the same draws: where and how they part.

Rounding differs, and a halting decision turns it into another example for a slot: from then on the two see different data. What must
agree at the end is how well they solve puzzles.
Shapes: B slots, S tokens.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from hrm_core.backend import Arrays, Backend, BackendOptions
from hrm_core.config import load_config
from hrm_core.data.batches import TrainingOrder
from hrm_core.draws import Purpose, draw_min_steps, stream
from hrm_core.inference.evaluation import evaluate
from hrm_core.parameters import initial_values
from hrm_core.schedule import rates
from hrm_core.tasks.registry import builder
from hrm_core.training.fit import Assignment
from hrm_core.training.session import assign
from hrm_parity.checks import Factory
from hrm_parity.limits import APART, SAME_DECISIONS, TRAINED, UNTRAINED_APART, Verdict

TASK, PRESET = "sudoku", "sudoku-4x4"
HALT_MAX_STEPS = 4  # half the preset's, which halves the evaluations; docs/parity.md has the figures of such a run
NUM_TRAIN, NUM_TEST, GIVENS, AUGMENT = (
    2000,
    2000,
    (4, 8),
    31,
)  # those of `hrm demo`, with more puzzles to test with
EVALUATION_BATCH = 250
FIRST_ROWS = (1, 2, 5, 10, 20, 30, 50)  # updates that get a row; then every 100th and the last
ROWS_EVERY = 100
LOSS_GAPS = (1e-4, 1e-2)  # relative

Say = Callable[[str], None]
Exact = Mapping[str, float]  # backend -> exact accuracy on the test puzzles


@dataclass(frozen=True)
class Apart:
    """Gaps between two backends after an update."""

    update: int
    loss: float  # relative
    logits: float  # largest; means something while no slot is elsewhere
    weights: float  # largest
    weights_rms: float
    elsewhere: int  # slots at another ACT step, or at another example
    exact: Exact  # empty where it was not measured


@dataclass(frozen=True)
class TrainingReport:
    """Result of training two backends side by side."""

    seed: int
    updates: int
    backends: dict[str, dict[str, str]]
    decisions: int | None  # the first update in which a halting decision differs
    losses: dict[
        float, int | None
    ]  # relative gap -> the first update in which the loss is further apart
    rows: list[Apart]
    untrained: float  # exact accuracy of the weights that both started from

    @property
    def rules(self) -> dict[str, Verdict]:
        """Verdict on each rule; rules that need a longer run are left out."""
        said = {}
        if self.updates >= SAME_DECISIONS or self.decisions is not None:
            said[f"same halting decisions in the first {SAME_DECISIONS} updates"] = (
                self.decisions or self.updates + 1
            ) > SAME_DECISIONS
        exact = self.rows[-1].exact.values()
        if max(exact) > TRAINED:
            said[f"exact accuracy at most {APART:.0%} apart"] = max(exact) - min(exact) <= APART
            said[f"untrained weights at least {UNTRAINED_APART:.0%} below"] = (
                min(exact) - self.untrained >= UNTRAINED_APART
            )
        return {rule: Verdict.OK if kept else Verdict.BROKEN for rule, kept in said.items()}

    @property
    def broken(self) -> bool:
        """True if the two parted too early or ended too far apart."""
        return Verdict.BROKEN in self.rules.values()


def train_together(
    makes: Mapping[str, Factory], updates: int, seed: int, say: Say
) -> TrainingReport:
    """Train two backends on 4x4 Sudoku with the settings of `hrm demo`; the schedule ends after `updates`.

    Accuracies are compared at its end: at a full learning rate they jump by tens of points from one update to the next.
    """
    with TemporaryDirectory(prefix="hrm-parity-") as folder:
        say(f"generating {NUM_TRAIN:,} puzzles to train on and {NUM_TEST:,} to test with")
        data = Path(folder) / "data"
        task = builder(TASK)
        options = task.Options(
            generate=NUM_TRAIN, size=4, test=NUM_TEST, givens=GIVENS, augment=AUGMENT, seed=seed
        )
        task.build(data, options)
        job = assign(
            load_config(PRESET, [f"train.seed={seed}", f"model.halt_max_steps={HALT_MAX_STEPS}"]),
            data,
        )
        weights = initial_values(job.model, seed)
        backends = {
            name: make(job.model, BackendOptions(dtype="float32")) for name, make in makes.items()
        }
        for backend in backends.values():
            backend.load_weights(weights)
        untrained = _exact(next(iter(backends.values())), job)
        for backend in backends.values():
            backend.begin_training(job.config.optim, job.config.train.global_batch_size)
        return _report(list(_compared(backends, job, updates, say)), backends, job, untrained)


def _report(
    rows: list[Apart], backends: Mapping[str, Backend], job: Assignment, untrained: float
) -> TrainingReport:
    return TrainingReport(
        seed=job.config.train.seed,
        updates=rows[-1].update,
        backends={name: backend.describe() for name, backend in backends.items()},
        decisions=next((row.update for row in rows if row.elsewhere), None),
        losses={
            gap: next((row.update for row in rows if row.loss > gap), None) for gap in LOSS_GAPS
        },
        rows=[row for row in rows if _has_row(row.update, rows[-1].update)],
        untrained=untrained,
    )


def _compared(
    backends: Mapping[str, Backend], job: Assignment, updates: int, say: Say
) -> Iterator[Apart]:
    """Make the same updates on every backend, and compare after each."""
    settings = job.config.train
    order = TrainingOrder(
        job.train,
        settings.global_batch_size,
        seed=settings.seed,
        epochs_per_iter=settings.eval_interval,
    )
    for update in range(1, updates + 1):
        min_steps = draw_min_steps(
            stream(settings.seed, Purpose.EXPLORATION, update),
            settings.global_batch_size,
            job.model,
        )
        batch, scalars = next(order), rates(update, updates, job.config.optim)
        traces = [backend.trace_update(batch, min_steps, scalars) for backend in backends.values()]
        exact = {}
        if _has_row(update, updates):
            exact = (
                {name: _exact(backend, job) for name, backend in backends.items()}
                if update >= ROWS_EVERY or update == updates
                else {}
            )
            say(
                f"update {update} of {updates}"
                + "".join(f", {name} {share:.1%} exact" for name, share in exact.items())
            )
        yield _apart(update, traces, [backend.weights() for backend in backends.values()], exact)


def _apart(update: int, traces: Sequence[Arrays], weights: Sequence[Arrays], exact: Exact) -> Apart:
    one, other = traces
    gaps = np.concatenate([(weights[0][name] - weights[1][name]).ravel() for name in weights[0]])
    elsewhere = (one["current/inputs"] != other["current/inputs"]).any(axis=1)
    for name in ("steps", "halted"):
        elsewhere |= one[name] != other[name]
    return Apart(
        update=update,
        loss=float(abs(one["loss"] - other["loss"]) / abs(other["loss"])),
        logits=float(np.abs(one["logits"] - other["logits"]).max()),
        weights=float(np.abs(gaps).max()),
        weights_rms=float(np.sqrt(np.square(gaps, dtype=np.float64).mean())),
        elsewhere=int(elsewhere.sum()),
        exact=exact,
    )


def _has_row(update: int, last: int) -> bool:
    return update in FIRST_ROWS or update % ROWS_EVERY == 0 or update == last


def _exact(backend: Backend, job: Assignment) -> float:
    """The share of test puzzles that are solved exactly."""
    assert job.test is not None
    predictions, _ = evaluate(backend, job.test, job.task, EVALUATION_BATCH)
    return job.measures.measure(predictions)["exact_accuracy"]
