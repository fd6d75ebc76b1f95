"""Compare a network with simpler models on the same balls: prior, table and logistic regression.

Shapes: N innings, Q places of a ball in each, B balls, K outcomes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from hrm_core.data.store import Dataset, ExampleSet, Split
from hrm_core.errors import BackendError, DataError
from hrm_core.pictures.charts import Reliability, reliability
from hrm_core.tasks.capabilities import Table
from hrm_core.tasks.predictions import Predictions
from hrm_tasks.cricket import baselines, fits, scores
from hrm_tasks.cricket.ballfile import FILE as BALLS_FILE
from hrm_tasks.cricket.ballfile import BallRows, read_balls
from hrm_tasks.cricket.read import OUTCOMES
from hrm_tasks.cricket.scoreboard import FloatArray, IntArray

NETWORK, PRIOR, TABLE, LOGISTIC = "network", "prior", "table", "logistic regression"


class Gain(NamedTuple):
    """By how much the network's log loss is lower, in nats a ball, with its 95 % interval."""

    mean: float
    low: float
    high: float

    def text(self) -> str:
        """Write the gain for a person."""
        return f"{self.mean:+.4f} ({self.low:+.4f} to {self.high:+.4f})"


class PhaseRow(NamedTuple):
    """Results of one phase of an innings."""

    phase: str  # overs, as people count them
    balls: int
    network: float
    table: float
    gain: Gain


@dataclass(frozen=True)
class Comparison:
    """Log losses of the network and of simpler models on the same balls."""

    losses: Mapping[str, float]  # by model, nats a ball
    gains: Mapping[str, Gain]  # of the network over each other model
    phases: Sequence[PhaseRow]
    balls: int
    matches: int
    note: str  # why a model is missing, or ""
    reliability: Mapping[str, Reliability]  # of the network, by outcome

    def record(self) -> Mapping[str, Any]:
        """Return the results as JSON can hold them."""
        return {
            "balls": self.balls,
            "matches": self.matches,
            "log_loss": dict(self.losses),
            "gain_over": {name: gain._asdict() for name, gain in self.gains.items()},
            "phases": [{**row._asdict(), "gain": row.gain._asdict()} for row in self.phases],
            "believe": self.best,
        }

    def pages(self) -> Sequence[str | Table]:
        """Return the results as tables and one sentence on which model to believe."""
        rows = []
        for name, loss in self.losses.items():
            gain = self.gains[name].text() if name in self.gains else ""
            rows.append((name, f"{loss:.4f}", gain))
        title = f"log loss, {self.balls:,} balls of {self.matches:,} matches; bootstrap by match"
        models = Table(title, ("model", "nats/ball", "gain of the network (95 %)"), rows)
        return [models, self._phases(), self._advice()]

    @property
    def best(self) -> str:
        """Return the model to believe: the one of lowest loss."""
        return min(self.losses, key=lambda name: self.losses[name])

    def _phases(self) -> Table:
        """Return the results by phase as a table."""
        rows = []
        for row in self.phases:
            losses = f"{row.network:.4f}", f"{row.table:.4f}"
            rows.append((row.phase, f"{row.balls:,}", *losses, row.gain.text()))
        columns = "overs", "balls", "network", "table", "gain over the table (95 %)"
        return Table("by phase", columns, rows)

    def _advice(self) -> str:
        """Say which model to believe, and whether these balls can tell it from the network."""
        text = f"Lowest log loss on these balls: {self.best}."
        gain = self.gains.get(self.best)
        if gain is not None and gain.high >= 0:
            text += " The interval of its lead over the network includes 0."
        if self.best == NETWORK and any(other.low <= 0 for other in self.gains.values()):
            text += " The interval of its lead over another model includes 0."
        return f"{text} {self.note}".strip()


def compare(data: Dataset, split: Split, predictions: Predictions) -> Comparison:
    """Compare predictions (N, ...) for the first innings of a split, or the first copy of each.

    Raises: DataError if there is no ball that was predicted, or a file of the data set is damaged.
    """
    assert predictions.probabilities is not None
    assert predictions.targets is not None
    balls = data.text_of(BALLS_FILE)
    (examples,) = split.sets.values()
    rows = _first_copies(examples, len(predictions))
    is_ball = predictions.targets[rows] >= 0
    test = read_balls(balls, split.folder.name).first(int(is_ball.sum()))
    if not is_ball.any() or not np.array_equal(predictions.targets[rows][is_ball], test.outcome):
        raise DataError(
            f"{data.directory}: {BALLS_FILE} holds other balls; build the data set again"
        )
    train = read_balls(balls, "train")
    probabilities, note = _baselines(train, test)
    probabilities[NETWORK] = predictions.probabilities[rows][is_ball]
    losses = {name: scores.ball_losses(each, test.outcome) for name, each in probabilities.items()}
    network = losses[NETWORK]
    gains = {
        name: Gain(*scores.paired_interval(each - network, test.match))
        for name, each in losses.items()
        if name != NETWORK
    }
    order = [NETWORK, *gains]
    trusted = {
        name: reliability(probabilities[NETWORK][:, outcome], test.outcome == outcome)
        for outcome, name in enumerate(OUTCOMES)
    }
    return Comparison(
        {name: float(losses[name].mean()) for name in order},
        gains,
        _by_phase(test, network, losses[TABLE]),
        len(test.outcome),
        len(np.unique(test.match)),
        note,
        trusted,
    )


def _first_copies(examples: ExampleSet, count: int) -> IntArray:
    """Return the first example of each group among the first examples of a set."""
    first: IntArray = examples.puzzle_indices[examples.group_indices[:-1]]
    return first[first < count]


def _baselines(train: BallRows, test: BallRows) -> tuple[dict[str, FloatArray], str]:
    """Return the probabilities (B, K) of simpler models, and why one is missing."""
    counts = fits.table_counts(baselines.table_cells(train.state), train.outcome)
    shares = np.tile(fits.prior(counts), (len(test.outcome), 1))
    found = {PRIOR: shares, TABLE: fits.table(counts)[baselines.table_cells(test.state)]}
    try:
        found[LOGISTIC] = baselines.logistic(train, test)
    except BackendError as error:
        return found, f"Logistic regression is left out: {error}."
    return found, ""


def _by_phase(test: BallRows, network: FloatArray, table: FloatArray) -> list[PhaseRow]:
    """Compare network and table in each phase that has balls. Shapes: (B,) each."""
    phases = fits.phase_of(test.state.over)
    rows = []
    for number, name in enumerate(fits.PHASES):
        own = phases == number
        if not own.any():
            continue
        gain = Gain(*scores.paired_interval((table - network)[own], test.match[own]))
        means = float(network[own].mean()), float(table[own].mean())
        rows.append(PhaseRow(name, int(own.sum()), *means, gain))
    return rows
