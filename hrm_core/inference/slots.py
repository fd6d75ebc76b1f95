"""Puzzles on their way through a model: each takes a slot, thinks ACT step by ACT step, and makes room when it halts.

Shapes: B slots, N puzzles, S cells (those of all chunks, but for `answers`), T positions, D hidden.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from hrm_core.backend import IGNORE_LABEL_ID, Answers, Backend, Batch, Carry
from hrm_core.config import ArchConfig, ModelConfig
from hrm_core.draws import Purpose, stream
from hrm_core.errors import ConfigError
from hrm_core.messages import warn

IntArray = npt.NDArray[np.integer]
BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float32]

Halt = Literal["fixed", "q"]  # after all steps, as published; or as soon as q_halt > q_continue

MAX_STEPS = 2**20  # as `model.halt_max_steps` in a config


@dataclass(frozen=True, eq=False)
class Questions:
    """Puzzles with what belongs to them. Nothing in this file looks at labels and ratings: they go along for whoever scores."""

    number: IntArray  # (N,) of each puzzle; its noise is drawn by it
    inputs: IntArray  # (N, S)
    puzzle_identifiers: IntArray  # (N,)
    labels: IntArray  # (N, S)
    ratings: IntArray  # (N,)
    prefix_len: IntArray  # (N,) 0 where there is none
    images: npt.NDArray[np.uint8]  # (N, H, W) or (N, C, H, W); (N, 0) where there are none

    @classmethod
    def unlabelled(
        cls,
        inputs: IntArray,
        puzzle_identifiers: IntArray,
        prefix_len: IntArray | None = None,
        images: npt.NDArray[np.uint8] | None = None,
    ) -> Self:
        """Puzzles of which nothing else is known. Shapes: (N, S), (N,), (N,), (N, ...)."""
        count = len(inputs)
        return cls(
            np.arange(count),
            inputs,
            puzzle_identifiers,
            np.full(inputs.shape, IGNORE_LABEL_ID),
            np.full(count, -1),
            np.zeros(count, np.int32) if prefix_len is None else prefix_len,
            no_images(count) if images is None else images,
        )

    def __len__(self) -> int:
        return len(self.number)

    def select(self, rows: slice | IntArray | BoolArray) -> Self:
        """Some of them."""
        return type(self)(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def join(self, others: Self) -> Self:
        """These, then others."""
        return type(self)(
            **{
                field.name: np.concatenate([getattr(self, field.name), getattr(others, field.name)])
                for field in fields(self)
            }
        )


def no_images(count: int) -> npt.NDArray[np.uint8]:
    """The images of questions that have none. Shapes: (N, 0)."""
    return np.empty((count, 0), np.uint8)


NO_QUESTIONS = Questions.unlabelled(np.empty((0, 0), np.int32), np.empty(0, np.int32))


@dataclass(frozen=True)
class Noise:
    """Gaussian noise on z_H and z_L at every ACT step, the same for a puzzle whatever slot it has."""

    sigma: float
    seed: int = 0
    rollout: int = 0

    def draw(
        self, number: IntArray, steps: IntArray, shape: tuple[int, int]
    ) -> tuple[FloatArray, FloatArray]:
        """Draw for the next ACT step of each slot. Shapes: (B,), (B,) steps taken, (T, D) -> (B, T, D) for H and for L."""
        draws = np.empty((len(number), 2, *shape), np.float32)
        for slot, (puzzle, step) in enumerate(zip(number.tolist(), steps.tolist(), strict=True)):
            stream(self.seed, Purpose.NOISE, self.rollout, puzzle, step).standard_normal(
                out=draws[slot], dtype=np.float32
            )
        draws *= np.float32(self.sigma)
        return draws[:, 0], draws[:, 1]


@dataclass(frozen=True, eq=False)
class StepResult:
    """All slots after one ACT step."""

    questions: Questions  # (B,) what each works on
    answers: Answers  # of the chunk that each works on
    chunk: IntArray  # (B,) which one that is
    tokens: IntArray  # (B, S) the answer so far; of chunks not worked on yet, the question
    steps: IntArray  # (B,) ACT steps taken
    settled_step: IntArray  # (B,) the step after which the answer on this chunk has not changed
    busy: BoolArray  # (B,) who is still thinking; the others idle
    ends: BoolArray  # (B,) whose answer on this chunk is final now
    halts: BoolArray  # (B,) whose answer is final now
    q_steps: IntArray  # (B,) ACT steps until q_halt > q_continue, or all so far


def check_halt(halt: Halt | Literal["both"], config: ArchConfig) -> None:
    """Refuse to ask a model when to halt that has not learned it. Raises: ConfigError."""
    if halt != "fixed" and not config.learns_to_halt:
        raise ConfigError(
            f"--halt {halt} is for a model that learned when to halt; this one has model.halting="
            f"{config.halting}: use --halt fixed"
        )


def most_steps(halt: Halt, config: ModelConfig) -> int:
    """Return the ACT steps that a puzzle may take where nobody says how many.

    Those of training; twice as many where the model halts itself.
    """
    return config.halt_max_steps * (2 if halt == "q" else 1)


def fewest_steps(config: ModelConfig) -> int:
    """Return the ACT steps until a puzzle may halt."""
    return config.num_chunks * config.steps_per_chunk


def check_steps(max_steps: int | None, config: ModelConfig) -> None:
    """Refuse a number of ACT steps that a model cannot take; warn of one that makes it worse.

    None stands for its `halt_max_steps`.

    Raises: ConfigError.
    """
    if max_steps is None:
        return
    fewest = fewest_steps(config)
    if not fewest <= max_steps <= MAX_STEPS:
        raise ConfigError(
            f"{max_steps} ACT steps are asked for; this model takes {fewest} to {MAX_STEPS:,}"
        )
    if config.halting == "fixed" and max_steps > config.halt_max_steps:
        warn(
            f"{max_steps} ACT steps are asked for, but the model was trained to take exactly "
            f"{config.halt_max_steps}: its answers get worse after them"
        )


def think(
    backend: Backend,
    waiting: Iterator[Questions],
    batch_size: int,
    halt: Halt = "fixed",
    noise: Noise | None = None,
    max_steps: int | None = None,
    budget: int | None = None,
) -> Iterator[StepResult]:
    """Let a model think about puzzles, `batch_size` at once. A slot whose puzzle halts takes the next one that waits.

    A puzzle takes `max_steps` ACT steps at most, `halt_max_steps` if that is not set. With a
    `budget` all puzzles together take at most so many, and none of them may wait for a slot: they
    share it step by step, and what is left for less than one more step each goes to those whose Q
    is nearest to halting.

    Every puzzle halts in exactly one result. When none waits any more, slots whose puzzle has halted are given up; those of
    a compiled model down to a power of two, so that it meets few batch sizes, and until then they idle and do not halt
    again.

    Raises: ConfigError if it shall halt by Q and has not learned it.
    """
    config = backend.config
    check_halt(halt, config)
    last_step = max_steps or config.halt_max_steps
    left = budget
    queue = _Queue(waiting)
    questions = queue.take(batch_size)
    if not len(questions):
        return
    assert left is None or left >= len(questions), "check_budget refuses less"
    slots = _Slots.of(backend, questions)
    while True:
        if noise is not None:
            slots.carry = backend.perturb(
                slots.carry,
                *noise.draw(
                    slots.questions.number, slots.steps, (config.total_len, config.hidden_size)
                ),
            )
        slots.carry, answers = backend.step(slots.carry)
        slots.count_step(answers.tokens)
        wants_halt = slots.note_halt(answers.q_halt_logits > answers.q_continue_logits)
        done = slots.steps >= last_step
        if halt == "q":
            done |= wants_halt
        done &= slots.busy
        if left is not None:
            left -= int(slots.busy.sum())
            margins = answers.q_halt_logits - answers.q_continue_logits
            done |= _without_a_step(slots.busy & ~done, margins, left)
        is_early = slots.steps <= config.steps_before_last_chunk
        ends = done | (slots.busy & is_early & (slots.steps % config.steps_per_chunk == 0))
        yield StepResult(
            slots.questions,
            answers,
            slots.chunk,
            slots.tokens,
            slots.steps,
            slots.settled_step,
            slots.busy,
            ends,
            done,
            slots.q_steps,
        )
        slots.busy = slots.busy & ~done
        more = queue.take(batch_size - int(slots.busy.sum()))
        if not (len(more) or slots.busy.any()):
            return
        slots = slots.refilled(backend, more)


def _without_a_step(thinking: BoolArray, margins: FloatArray, left: int) -> BoolArray:
    """Mark those of the slots (B,) that think for which no ACT step is left.

    The highest margins of Q (B,) come first, of equals the first slots.
    """
    order = np.flatnonzero(thinking)
    order = order[np.argsort(-margins[order], kind="stable")]
    without = np.zeros_like(thinking)
    without[order[left:]] = True
    return without


def _power_of_two(least: int) -> int:
    """Return the lowest power of two that is not below `least`, at least 1."""
    return 1 << (least - 1).bit_length()


def batch_of(questions: Questions, config: ModelConfig) -> Batch:
    """Return questions as a backend takes them, without their labels.

    Raises: ConfigError without the images that the model looks at.
    """
    if config.patch_size and questions.images.shape[1:] != config.image_size:
        raise ConfigError(
            f"this model looks at images of size {config.image_size}, "
            f"the questions have {questions.images.shape[1:]}; give each its image"
        )
    inputs = np.ascontiguousarray(questions.inputs, np.int32)
    return Batch(
        inputs,
        np.full_like(inputs, IGNORE_LABEL_ID),
        np.ascontiguousarray(questions.puzzle_identifiers, np.int32),
        np.ascontiguousarray(questions.prefix_len, np.int32),
        np.ascontiguousarray(questions.images) if config.patch_size else None,
    )


@dataclass(eq=False)
class _Slots:
    """The puzzles that the model works on now."""

    config: ModelConfig
    questions: Questions
    carry: Carry
    chunk: IntArray
    steps: IntArray
    settled_step: IntArray
    tokens: IntArray
    busy: BoolArray
    q_step: IntArray  # after which q_halt > q_continue for the first time, 0 before

    @classmethod
    def of(cls, backend: Backend, questions: Questions) -> Self:
        """Fresh slots. Raises: ConfigError without the images that the model looks at."""
        batch = batch_of(questions, backend.config)
        zeros, busy = np.zeros(len(questions), np.int32), np.ones(len(questions), np.bool_)
        carry = backend.begin(batch)
        return cls(backend.config, questions, carry, zeros, zeros, zeros, batch.inputs, busy, zeros)

    def count_step(self, tokens: IntArray) -> None:
        """Note what the model says of a chunk (B, S) after one more step."""
        config, rows = self.config, np.arange(len(tokens))
        self.chunk = np.minimum(self.steps // config.steps_per_chunk, config.num_chunks - 1)
        is_first = self.steps == self.chunk * config.steps_per_chunk
        answers = self.tokens.reshape(len(rows), config.num_chunks, -1).copy()
        changed = (tokens != answers[rows, self.chunk]).any(axis=1)
        answers[rows, self.chunk] = tokens
        self.steps = self.steps + 1
        self.settled_step = np.where(is_first | changed, self.steps, self.settled_step)
        self.tokens = answers.reshape(self.tokens.shape)

    def note_halt(self, prefers_halt: BoolArray) -> BoolArray:
        """Return True (B,) where Q prefers to halt and may, and note the first such step."""
        wants_halt: BoolArray = prefers_halt & (self.steps > self.config.steps_before_last_chunk)
        self.q_step = np.where(wants_halt, self.q_steps, self.q_step)
        return wants_halt

    @property
    def q_steps(self) -> IntArray:
        """Return the steps (B,) after which Q first preferred to halt, or all so far."""
        return np.where(self.q_step, self.q_step, self.steps)

    def refilled(self, backend: Backend, questions: Questions) -> Self:
        """The busy slots, fresh ones, and so many that idle as a compiled model asks for."""
        num_busy = int(self.busy.sum()) + len(questions)
        num_slots = num_busy
        if backend.is_compiled:
            num_slots = min(len(self.busy), _power_of_two(num_busy))
        if not len(questions) and num_slots == len(self.busy):
            return self
        idle = np.flatnonzero(~self.busy)[: max(0, num_slots - num_busy)]
        rows = np.sort(np.concatenate([np.flatnonzero(self.busy), idle])).astype(np.int32)
        if not len(rows):
            return self.of(backend, questions)
        kept = type(self)(
            self.config,
            self.questions.select(rows),
            backend.take(self.carry, rows),
            self.chunk[rows],
            self.steps[rows],
            self.settled_step[rows],
            self.tokens[rows],
            self.busy[rows],
            self.q_step[rows],
        )
        return kept.join(backend, self.of(backend, questions)) if len(questions) else kept

    def join(self, backend: Backend, others: Self) -> Self:
        """These slots, then others."""
        arrays = ("chunk", "steps", "settled_step", "tokens", "busy", "q_step")
        joined = {
            name: np.concatenate([getattr(self, name), getattr(others, name)]) for name in arrays
        }
        questions = self.questions.join(others.questions)
        carry = backend.join(self.carry, others.carry)
        return type(self)(self.config, questions, carry, **joined)


class _Queue:
    """Gives out puzzles in any number from an iterator that brings them in batches."""

    def __init__(self, waiting: Iterator[Questions]) -> None:
        self._waiting = waiting
        self._rest: Questions | None = None

    def take(self, count: int) -> Questions:
        """The next `count` puzzles; fewer when all are given out. A count of 0 gives none."""
        taken = self._next(count)
        while len(taken) < count and len(more := self._next(count - len(taken))):
            taken = taken.join(more)
        return taken

    def _next(self, count: int) -> Questions:
        while self._rest is None or not len(self._rest):
            following = next(self._waiting, None)
            if following is None:
                return NO_QUESTIONS
            self._rest = following
        taken, self._rest = self._rest.select(slice(count)), self._rest.select(slice(count, None))
        return taken
