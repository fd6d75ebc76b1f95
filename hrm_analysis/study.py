"""A model, the puzzles it is asked, and what all figures share: recordings and verdicts.

Shapes: N puzzles, A ACT steps, S tokens of a chunk.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from hrm_analysis.states import Advance, Paths, Recording, record, record_paths
from hrm_core.backend import Arrays, Backend
from hrm_core.config import ModelConfig
from hrm_core.draws import Purpose, stream
from hrm_core.inference.slots import Questions
from hrm_core.parameters import initial_values
from hrm_core.tasks.capabilities import Judged, Rated
from hrm_core.tasks.contract import Task

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.integer]

Control = Literal["untrained", "shuffled"]
Truth = Literal["solutions", "rules"]

DRAWN, MIXED, SHUFFLED, ORDERED = 0, 1, 2, 3  # index of each stream of random numbers


class LeftOutError(Exception):
    """A figure that this model, task or data cannot have. The message is a whole sentence."""


@dataclass(frozen=True, eq=False)
class Study:
    """A trained model and the puzzles that it is studied on."""

    make_backend: Callable[[ModelConfig], Backend]
    config: ModelConfig
    weights: Arrays
    task: Task | None
    questions: Questions
    num_steps: int
    control: Control | None = None
    seed: int = 0
    batch_size: int = 32
    advance: Advance = field(default=lambda num_steps: None)

    @cached_property
    def backend(self) -> Backend:
        """Return the model that is measured: the trained one, or the untrained control."""
        return self.loaded(self.config, self.measured_weights)

    @property
    def measured_weights(self) -> Arrays:
        """Return the weights of the model that is measured."""
        return self.untrained_weights if self.control == "untrained" else self.weights

    @property
    def untrained_weights(self) -> Mapping[str, Any]:
        """Return the weights that a training of this seed starts from."""
        return initial_values(self.config, self.seed)

    def loaded(self, config: ModelConfig, weights: Arrays) -> Backend:
        """Return a backend with these weights."""
        backend = self.make_backend(config)
        backend.load_weights(weights)
        return backend

    @cached_property
    def recording(self) -> Recording:
        """Return the recording of the model that is measured."""
        return record(
            self.backend,
            self.questions,
            self.num_steps,
            self.batch_size,
            mixing=self._mixing,
            advance=self.advance,
        )

    @cached_property
    def untrained(self) -> Recording:
        """Return the recording of the same network before training, of as many puzzles, not decoded."""
        backend = self.loaded(self.config, self.untrained_weights)
        return record(
            backend,
            self.questions,
            self.num_steps,
            self.batch_size,
            decodes=False,
            advance=self.advance,
        )

    def paths(self, rows: IntArray) -> Paths:
        """Return the states of some puzzles after every cycle."""
        return record_paths(self.backend, self.questions.select(rows), self.num_steps, self._mixing)

    def rng(self, index: int) -> np.random.Generator:
        """Return a stream of random numbers."""
        return stream(self.seed, Purpose.ANALYSIS, index)

    @property
    def things(self) -> str:
        """Return the word for examples: "puzzles", "images"."""
        return "examples" if self.task is None else self.task.things

    @property
    def _mixing(self) -> np.random.Generator | None:
        return self.rng(MIXED) if self.control == "shuffled" else None

    @property
    def cycles_per_step(self) -> int:
        """Return the number of cycles of L in an ACT step."""
        return self.config.H_cycles * self.config.L_cycles

    def chunk_at(self, step: int) -> int:
        """Return the chunk that an ACT step, counted from 0, works on."""
        return min(step // self.config.steps_per_chunk, self.config.num_chunks - 1)

    def inputs_at(self, step: int) -> IntArray:
        """Return the question (N, S) that an ACT step works on."""
        return self._chunk(self.questions.inputs, step)

    def labels_at(self, step: int) -> IntArray:
        """Return the solution (N, S) of what an ACT step works on, below zero where there is none."""
        return self._chunk(self.questions.labels, step)

    def scored_at(self, step: int) -> BoolArray:
        """Mark the cells (N, S) with a solution, of puzzles without any all cells."""
        is_known = self.labels_at(step) >= 0
        return is_known | ~is_known.any(axis=1, keepdims=True)

    def _chunk(self, rows: IntArray, step: int) -> IntArray:
        shape = len(rows), self.config.num_chunks, self.config.seq_len
        chunk: IntArray = rows.reshape(shape)[:, self.chunk_at(step)]
        return chunk

    @cached_property
    def truth(self) -> Truth:
        """Return what tells a right answer: the solutions, else the rules.

        Raises: LeftOutError if there is neither.
        """
        if (self.questions.labels >= 0).any():
            return "solutions"
        if isinstance(self.task, Judged) and self.config.num_chunks == 1:
            return "rules"
        raise LeftOutError("The solutions of these puzzles are not known, and there are no rules.")

    def is_right(self, tokens: IntArray, step: int, rows: Any = slice(None)) -> BoolArray:
        """Judge answers (n, S) to some puzzles after an ACT step. Returns: (n,)."""
        if self.truth == "rules":
            assert isinstance(self.task, Judged)
            return self.task.accepts_all(self.inputs_at(step)[rows], tokens)
        labels = self.labels_at(step)[rows]
        right: BoolArray = ((tokens == labels) | (labels < 0)).all(axis=1)
        return right

    @cached_property
    def right(self) -> BoolArray:
        """Mark right answers after each ACT step (A, N).

        Raises: LeftOutError if nobody can tell, or whole answers are not what counts.
        """
        self.require_exact()
        tokens = self.recording.tokens
        return np.array([self.is_right(tokens[step], step) for step in range(len(tokens))])

    @cached_property
    def halting_step(self) -> IntArray:
        """Return the ACT step (N,), from 0, after which each puzzle halts: by Q, or after all steps."""
        found = self.recording
        wants = found.q_halt_logits > found.q_continue_logits
        if not self.config.learns_to_halt:
            wants = np.zeros_like(wants)
        wants[: self.config.steps_before_last_chunk] = False
        wants[-1] = True
        first: IntArray = wants.argmax(axis=0)
        return first

    def require_exact(self) -> None:
        """Refuse to count whole answers as right or wrong where the task does not. Raises: LeftOutError."""
        if self.config.num_chunks > 1:
            raise LeftOutError(
                "An example is worked on in chunks; no answer stands from step to step."
            )
        if self.task is not None and self.task.headline.key != "exact_accuracy":
            raise LeftOutError(
                f"The task is measured by {self.task.headline.title}, not by whole answers."
            )

    @property
    def rating_bands(self) -> IntArray | None:
        """Return the lower bounds of the bands of ratings; None where puzzles are not rated."""
        if not isinstance(self.task, Rated) or (self.questions.ratings < 0).all():
            return None
        return np.asarray(self.task.rating_bands)
