"""The task of cricket: which of ten outcomes does the next ball have?

Shapes: N innings, Q = 252 places of a ball in each (21 chunks of 12), K = 10 outcomes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from hrm_core.data.store import Dataset, Split
from hrm_core.errors import DataError
from hrm_core.pictures.charts import draw_reliability
from hrm_core.tasks.contract import Metric
from hrm_core.tasks.predictions import Predictions
from hrm_tasks.cricket import scores
from hrm_tasks.cricket.alphabet import FIRST_OUTCOME, NUM_OUTCOMES, VOCAB_SIZE, Edges, are_edges
from hrm_tasks.cricket.comparison import Comparison, compare
from hrm_tasks.cricket.knowledge import FILE, Knowledge
from hrm_tasks.cricket.layout import NUM_CHUNKS, OUTCOME_POSITIONS, SEQ_LEN
from hrm_tasks.cricket.read import OUTCOMES

LOG_LOSS = Metric("log_loss", "log loss per ball", "nats/ball", ".4f", higher_is_better=False)
BRIER = Metric("brier", "Brier score", "Brier", ".4f", higher_is_better=False)
ECE = Metric("ece", "expected calibration error", "ECE", ".4f", higher_is_better=False)
WICKET = Metric("wicket_loss", "log loss of wickets", "wicket", ".4f", higher_is_better=False)
BOUNDARY = Metric(
    "boundary_loss", "log loss of boundaries", "4 or 6", ".4f", higher_is_better=False
)


class Cricket:
    """Twenty20 cricket ball by ball.

    `edges` are those of the buckets; `learned` is the hash of the file that holds what else was
    learned from the training matches.
    """

    name = "cricket"
    things = "innings"
    headline = LOG_LOSS
    metrics = (BRIER, ECE, WICKET, BOUNDARY)
    vocab_size = VOCAB_SIZE
    seq_len = SEQ_LEN
    num_chunks = NUM_CHUNKS
    outcomes: Sequence[str] = OUTCOMES
    outcome_tokens: Sequence[int] = range(FIRST_OUTCOME, FIRST_OUTCOME + NUM_OUTCOMES)
    outcome_positions: Sequence[int] = OUTCOME_POSITIONS
    file_names: Sequence[str] = (FILE,)

    def __init__(self, edges: Edges, learned: str, knowledge: Knowledge | None = None) -> None:
        self.edges = edges
        self._knowledge = knowledge
        self.settings: Mapping[str, Any] = {"edges": dict(edges), "learned": learned}

    @classmethod
    def for_shape(cls, vocab_size: int, seq_len: int, settings: Mapping[str, Any]) -> Self | None:
        """Return the task with these settings; None if they are incomplete or not of this shape."""
        if settings.keys() != {"edges", "learned"}:
            return None
        has_shape = (vocab_size, seq_len) == (cls.vocab_size, cls.seq_len)
        has_hash = isinstance(settings["learned"], str)
        if not has_shape or not has_hash or not are_edges(settings["edges"]):
            return None
        return cls(settings["edges"], settings["learned"])

    def with_files(self, files: Mapping[str, str]) -> Self:
        """Return the same task with what was learned. Raises: DataError if it is of other matches."""
        text = files.get(FILE)
        if text is None:
            return self
        knowledge = Knowledge.of_text(text)
        if knowledge.sha256 != self.settings["learned"]:
            raise DataError(f"{FILE} is of other training matches; use the file of this model")
        return type(self)(self.edges, self.settings["learned"], knowledge)

    @property
    def knowledge(self) -> Knowledge:
        """Return what was learned. Raises: DataError if the model has none with it."""
        if self._knowledge is None:
            raise DataError(f"{FILE} is not with this model; use a model that was trained by hrm")
        return self._knowledge

    def measure(self, predictions: Predictions) -> dict[str, float]:
        """Compute all numbers of a report; `count` is that of innings."""
        assert predictions.probabilities is not None
        assert predictions.targets is not None
        is_ball = predictions.targets >= 0
        measured = scores.measure(predictions.probabilities[is_ball], predictions.targets[is_ball])
        counted = predictions.is_counted
        return {
            **measured,
            "lm_loss": float(np.mean(predictions.lm_loss[counted])) if counted.any() else 0.0,
            "steps": float(np.mean(predictions.steps)) if len(predictions) else 0.0,
            "count": int(counted.sum()),
        }

    def compare(self, data: Dataset, split: Split, predictions: Predictions) -> Comparison:
        """Put simpler models beside the network: prior, table, logistic regression."""
        return compare(data, split, predictions)

    def draw(self, comparison: Comparison, out: Path) -> None:
        """Draw how often each outcome happened of how often it was predicted.

        Raises: HRMError, BackendError without matplotlib.
        """
        title = f"the network's probabilities on {comparison.balls:,} balls"
        draw_reliability(out, title, comparison.reliability)


TASK = Cricket
