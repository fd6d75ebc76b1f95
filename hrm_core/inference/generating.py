"""Continue a sequence token by token: `hrm generate`.

Stateless, as trained: a token is predicted by a fresh carry and the ACT steps of the model, from the
last `seq_len` tokens. Positions see none behind them, so keys and values of those that stand are kept
until the window is full; from then on it moves, and is computed again for every token.

Stateful, an experiment: the carry is kept while the text grows, and every token adds one ACT step.

Shapes: S = `seq_len`, V tokens.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from hrm_core.backend import Answers, Backend, Batch, Sequences, Top
from hrm_core.config import ModelConfig
from hrm_core.errors import ConfigError, NotFiniteError, PuzzleError
from hrm_core.tasks.capabilities import Generative
from hrm_core.tasks.contract import Task, TokenArray

BLANK = np.zeros(1, np.int32)  # the puzzle identifier of every text


@dataclass(frozen=True)
class Sampling:
    """Choice of the next token: the most likely one, or one drawn at random.

    Tokens are left out by `top_p`, `min_p` and `top_k` at temperature 1; one of the others is drawn
    at this temperature. Names and order are those of mlx-lm.
    """

    temperature: float = 0.0  # 0: always the most likely token
    top_p: float = 1.0  # least total probability of the likeliest tokens that are kept
    min_p: float = 0.0  # of the likeliest token's probability
    top_k: int = 0  # 0: all
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises: ConfigError naming a number that is out of range."""
        ranges = {
            "temperature": (0 <= self.temperature < math.inf, "0 or a positive number"),
            "top_p": (0 < self.top_p <= 1, "a number above 0, at most 1"),
            "min_p": (0 <= self.min_p <= 1, "a number from 0 to 1"),
            "top_k": (self.top_k >= 0, "0 or a positive whole number"),
        }
        for name, (is_inside, expected) in ranges.items():
            if not is_inside:
                raise ConfigError(f"{name}={getattr(self, name)} is out of range; give {expected}")

    def choose(self, top: Top, rng: np.random.Generator) -> tuple[int, float]:
        """Choose one of the tokens (1, V), the likeliest first. Returns: the token and its log probability.

        Raises: NotFiniteError if the model gives no probabilities.
        """
        tokens, logs = top.tokens[0], top.log_probabilities[0].astype(np.float64)
        if np.isnan(logs).any():
            raise NotFiniteError(
                "the model's probabilities are not finite; choose another checkpoint or "
                "--dtype float32"
            )
        if self.temperature == 0:
            return int(tokens[0]), float(logs[0])
        kept = logs[: self._num_kept(np.exp(logs))]
        with np.errstate(over="ignore"):  # of a tiny temperature: the likeliest alone is left
            shares = np.exp((kept - kept[0]) / self.temperature)
        place = int(rng.choice(len(kept), p=shares / shares.sum()))
        return int(tokens[place]), float(logs[place])

    def _num_kept(self, probabilities: npt.NDArray[np.float64]) -> int:
        """Count the likeliest tokens that may be drawn."""
        before = np.cumsum(probabilities) - probabilities
        kept = before < self.top_p * probabilities.sum()
        kept &= probabilities >= self.min_p * probabilities[0]
        if self.top_k:
            kept[self.top_k :] = False
        return max(1, int(kept.sum()))


class Generated(NamedTuple):
    """One token of a text."""

    token: int
    text: str  # the characters that it completes; "" within one
    log_probability: float  # nats
    is_last: bool  # it ends the text
    top: Top  # (1, V) all tokens that were allowed in its place, the likeliest first


class Predictor(Protocol):
    """Predicts the token behind some tokens."""

    def answers(self, tokens: TokenArray) -> tuple[Answers, int]:
        """Return answers and the position in them that predicts the token behind `tokens` (n,)."""
        ...


class Cached:
    """Predicts with kept keys and values until the window is full."""

    def __init__(self, backend: Backend, num_prompt: int) -> None:
        self._backend = backend
        self._num_prompt = num_prompt
        self._sequences: Sequences | None = None
        self._length = 0  # tokens that the sequences hold

    def answers(self, tokens: TokenArray) -> tuple[Answers, int]:
        """Compute only the tokens that are new, or the whole window once it moves."""
        seq_len = self._backend.config.seq_len
        if len(tokens) > seq_len:
            self._sequences, self._length = None, 0
        window = tokens[-seq_len:].astype(np.int32, copy=False)
        if self._sequences is None:
            prefix_len = prefix_in_window(self._backend.config, self._num_prompt, len(tokens))
            self._sequences = self._backend.begin_sequences(BLANK, prefix_len)
        new = window[None, self._length :]
        self._sequences, answers = self._backend.extend(self._sequences, new)
        self._length = len(window)
        return answers, new.shape[1] - 1


class Uncached:
    """Predicts with a forward of the whole window for each token."""

    def __init__(self, backend: Backend, num_prompt: int) -> None:
        self._backend = backend
        self._num_prompt = num_prompt

    def answers(self, tokens: TokenArray) -> tuple[Answers, int]:
        """Compute the whole window, padded to the end."""
        config = self._backend.config
        window = tokens[-config.seq_len :]
        inputs = np.zeros((1, config.seq_len), np.int32)
        inputs[0, : len(window)] = window
        prefix_len = prefix_in_window(config, self._num_prompt, len(tokens))
        batch = Batch(inputs, np.full_like(inputs, -100), BLANK, np.array([prefix_len], np.int32))
        carry = self._backend.begin(batch)
        for _ in range(config.halt_max_steps):
            carry, answers = self._backend.step(carry)
        return answers, len(window) - 1


class Stateful:
    """Predicts with a carry that is kept: every token adds one ACT step for all positions.

    A window that moves begins with a fresh carry.
    """

    def __init__(self, backend: Backend, num_prompt: int) -> None:
        self._backend = backend
        self._num_prompt = num_prompt
        self._before: Sequences | None = None

    def answers(self, tokens: TokenArray) -> tuple[Answers, int]:
        """Think once more about all tokens of the window."""
        config = self._backend.config
        window = tokens[-config.seq_len :].astype(np.int32, copy=False)
        prefix_len = prefix_in_window(config, self._num_prompt, len(tokens))
        before = None if len(tokens) > config.seq_len else self._before
        steps = None if before is None else 1
        begun = self._backend.begin_sequences(BLANK, prefix_len, before, steps)
        self._before, answers = self._backend.extend(begun, window[None])
        return answers, len(window) - 1


def prefix_in_window(config: ModelConfig, num_prompt: int, length: int) -> int:
    """Count the tokens of the prompt in the last window of a sequence, which all its positions see."""
    if config.attention != "prefix":
        return 0
    return max(0, num_prompt - max(0, length - config.seq_len))


def require_generative(task: Task, config: ModelConfig) -> Generative:
    """Return a task that continues sequences.

    Raises: PuzzleError if it does not; ConfigError if the model sees later positions.
    """
    if not isinstance(task, Generative):
        raise PuzzleError(f"{task.name} is no task of text; hrm generate goes on with texts")
    if config.attention == "full" or config.num_chunks > 1:
        raise ConfigError(
            f"this model has attention={config.attention}, num_chunks={config.num_chunks}; "
            "text is generated with causal or prefix attention and one chunk"
        )
    return task


def continue_tokens(
    backend: Backend,
    task: Generative,
    prompt: TokenArray,
    max_tokens: int,
    sampling: Sampling,
    predictor: Predictor | None = None,
) -> Iterator[Generated]:
    """Generate the tokens behind a prompt (n,), at most `max_tokens`, up to one that ends the text.

    Raises: PuzzleError if the prompt is empty.
    """
    check_prompt(prompt)
    predictor = predictor or Cached(backend, len(prompt))
    text, rng = task.continuation(), np.random.default_rng(sampling.seed)
    tokens = prompt.astype(np.int32)
    for _ in range(max_tokens):
        answers, position = predictor.answers(tokens)
        top = allowed(answers.top(position, backend.config.vocab_size), task.banned_tokens)
        token, log_probability = sampling.choose(top, rng)
        if token == task.stop_token:
            yield Generated(token, "", log_probability, is_last=True, top=top)
            return
        yield Generated(token, text.add(token), log_probability, is_last=False, top=top)
        tokens = np.append(tokens, np.int32(token))


def next_tokens(backend: Backend, task: Generative, prompt: TokenArray, count: int) -> Top:
    """Return the `count` most likely tokens behind a prompt (n,): (1, count)."""
    check_prompt(prompt)
    answers, position = Cached(backend, len(prompt)).answers(prompt)
    top = allowed(answers.top(position, backend.config.vocab_size), task.banned_tokens)
    return Top(top.tokens[:, :count], top.log_probabilities[:, :count])


def check_prompt(prompt: TokenArray) -> None:
    """Refuse a prompt without a token. Raises: PuzzleError."""
    if not len(prompt):
        raise PuzzleError("the prompt is empty; give at least one character to go on from")


def allowed(top: Top, banned: Sequence[int]) -> Top:
    """Leave banned tokens out of the ranked tokens of one slot. Shapes: (1, V) -> (1, V - b)."""
    kept = ~np.isin(top.tokens[0], banned)
    return Top(top.tokens[:, kept], top.log_probabilities[:, kept])
