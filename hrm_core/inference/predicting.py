"""Ask a model for the outcomes of its task: `hrm predict`.

Shapes: N examples of C chunks of S tokens, B sequences, P places of an outcome in a chunk, K outcomes.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hrm_core.backend import Backend, Sequences
from hrm_core.inference.slots import Questions, think
from hrm_core.tasks.capabilities import Outcomes
from hrm_core.tasks.contract import IntArray

FloatArray = npt.NDArray[np.float32]

BATCH_SIZE = 256


@dataclass(frozen=True, eq=False)
class ModelAsk:
    """Asks a model. It is what `predict` of a task is given; see `hrm_core.tasks.capabilities.Ask`."""

    backend: Backend
    task: Outcomes

    def probabilities(
        self,
        inputs: IntArray,
        prefix_len: IntArray | None = None,
        images: npt.NDArray[np.uint8] | None = None,
    ) -> FloatArray:
        """Answer whole examples, after the last step on each chunk.

        Shapes: (N, C S), (N,), (N, ...) -> (N, C P, K).
        """
        positions, tokens = self._places
        config, count = self.backend.config, len(inputs)
        found = np.zeros((count, config.num_chunks, len(positions), len(tokens)), np.float32)
        identifiers = np.zeros(count, np.int32)
        questions = Questions.unlabelled(inputs, identifiers, prefix_len, images)
        for result in think(self.backend, iter([questions]), BATCH_SIZE):
            if not result.ends.any():
                continue
            shares = result.answers.probabilities(positions, tokens)
            rows = result.questions.number[result.ends], result.chunk[result.ends]
            found[rows] = shares[result.ends]
        return found.reshape(count, -1, len(tokens))

    def begin(self, count: int, prefix_len: int, after: Sequences | None = None) -> Sequences:
        """Return `count` chunks without a token; `after` are those before, whole."""
        return self.backend.begin_sequences(np.zeros(count, np.int32), prefix_len, after)

    def extend(self, state: Sequences, tokens: IntArray) -> tuple[Sequences, FloatArray]:
        """Add tokens (B, n). Returns: the new sequences, and probabilities (B, n, K)."""
        new = np.ascontiguousarray(tokens, np.int32)
        sequences, answers = self.backend.extend(state, new)
        places = np.arange(new.shape[1], dtype=np.int32)
        return sequences, answers.probabilities(places, self._places[1])

    def take(self, state: Sequences, rows: IntArray) -> Sequences:
        """Return some sequences, each as often as it is named."""
        return self.backend.take_sequences(state, np.asarray(rows, np.int32))

    @property
    def _places(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        positions = np.asarray(self.task.outcome_positions, np.int32)
        return positions, np.asarray(self.task.outcome_tokens, np.int32)
