"""Generation token by token, with random models on both backends."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from hrm_core.backend import Backend, BackendOptions, Top
from hrm_core.backends import backend_named
from hrm_core.config import ModelConfig
from hrm_core.errors import ConfigError, NotFiniteError, PuzzleError
from hrm_core.inference.generating import (
    Cached,
    Generated,
    Sampling,
    Stateful,
    Uncached,
    continue_tokens,
    next_tokens,
    prefix_in_window,
    require_generative,
)
from hrm_core.parameters import initial_values
from hrm_tasks.sudoku.task import Sudoku
from hrm_tasks.text.task import Text
from hrm_tasks.text.tokenizer import END

ALPHABET = "abcdefghij"
SIZES: dict[str, Any] = {
    "vocab_size": 1 + len(ALPHABET),
    "seq_len": 24,
    "num_puzzle_identifiers": 1,
    "puzzle_emb_ndim": 0,
    "hidden_size": 16,
    "num_heads": 2,
    "H_layers": 1,
    "L_layers": 1,
    "H_cycles": 1,
    "L_cycles": 1,
    "halt_max_steps": 2,
    "halting": "fixed",
    "attention": "causal",
    "loss_type": "softmax_cross_entropy",
    "forward_dtype": "float32",
}
DTYPES: dict[str, Any] = {"mlx": "float32", "torch": "float64"}
ATOL = 1e-4  # log probabilities, of float32
PROMPT = "badcafe"
Make = Callable[..., Backend]


@pytest.fixture(params=["mlx", "torch"])
def make(request: pytest.FixtureRequest) -> Make:
    """Make a backend whose random model prefers no token for long."""
    pytest.importorskip(
        "torch" if request.param == "torch" else "mlx",
        reason=f"{request.param} is missing: generation with it is not tested",
    )

    def backend(**settings: object) -> Backend:
        config = ModelConfig.model_validate({**SIZES, **settings})
        options = BackendOptions(device="cpu", dtype=DTYPES[request.param])
        made = backend_named(request.param)(config, options)
        weights = dict(initial_values(config, seed=3))
        weights["lm_head.weight"] = 6 * weights["lm_head.weight"]
        made.load_weights(weights)
        return made

    return backend


def task_of(backend: Backend, end: bool = False) -> Text:
    alphabet = ALPHABET[:-1] + END if end else ALPHABET
    return Text(backend.config.vocab_size, backend.config.seq_len, {"alphabet": alphabet})


def generated(
    backend: Backend, count: int, prompt: str = PROMPT, predictor: Any = None, **sampling: Any
) -> list[Generated]:
    task = task_of(backend)
    tokens = task.encode(prompt)
    made = predictor(backend, len(tokens)) if predictor else None
    return list(continue_tokens(backend, task, tokens, count, Sampling(**sampling), made))


def text_of(found: Sequence[Generated]) -> str:
    return "".join(each.text for each in found)


def log_probabilities(found: Sequence[Generated]) -> list[float]:
    return [each.log_probability for each in found]


class TestCache:
    def test_greedy_text_is_that_of_whole_forwards(self, make: Make) -> None:
        """500 tokens: 17 within the window, the others with one that moves."""
        backend = make()
        cached = generated(backend, 500, predictor=Cached)
        whole = generated(backend, 500, predictor=Uncached)
        assert text_of(cached) == text_of(whole)
        np.testing.assert_allclose(log_probabilities(cached), log_probabilities(whole), atol=ATOL)
        assert len(cached) == 500
        assert len(set(text_of(cached))) > 3  # no single letter over and over

    @pytest.mark.parametrize("attention", ["causal", "prefix"])
    @pytest.mark.parametrize("pos_encodings", ["rope", "learned"])
    @pytest.mark.parametrize("num_prompt", [1, 7, 23, 24, 30])
    def test_it_is_exact_for_prompts_of_any_length(
        self, make: Make, attention: str, pos_encodings: str, num_prompt: int
    ) -> None:
        backend = make(attention=attention, pos_encodings=pos_encodings)
        prompt = (ALPHABET * 3)[:num_prompt]
        cached, whole = (
            generated(backend, 30, prompt, predictor, temperature=1.0, seed=5)
            for predictor in (Cached, Uncached)
        )
        assert text_of(cached) == text_of(whole)
        np.testing.assert_allclose(log_probabilities(cached), log_probabilities(whole), atol=ATOL)

    def test_every_position_of_a_prompt_sees_all_of_it_with_prefix_attention(
        self, make: Make
    ) -> None:
        """The control: without its prefix length a prompt gives other probabilities."""
        backend = make(attention="prefix")
        tokens = task_of(backend).encode(PROMPT)
        answers, position = Cached(backend, len(tokens)).answers(tokens)
        blind, _ = Cached(backend, 0).answers(tokens)
        found, other = (each.top(position, 11).log_probabilities for each in (answers, blind))
        assert not np.allclose(np.sort(found), np.sort(other), atol=100 * ATOL)

    def test_stateful_generation_is_another_way(self, make: Make) -> None:
        backend = make()
        stateful = generated(backend, 40, predictor=Stateful)
        assert stateful[0].token == generated(backend, 1)[0].token
        assert text_of(stateful) != text_of(generated(backend, 40))

    def test_stateful_takes_one_step_a_token(self, make: Make) -> None:
        backend = make()
        tokens = task_of(backend).encode(PROMPT + "a")
        way = Stateful(backend, len(PROMPT))
        way.answers(tokens[:-1])
        answers, position = way.answers(tokens)
        before = backend.begin_sequences(np.zeros(1, np.int32))
        before, _ = backend.extend(before, tokens[None, :-1])
        after = backend.begin_sequences(np.zeros(1, np.int32), 0, before, 1)
        _, expected = backend.extend(after, tokens[None])
        np.testing.assert_allclose(answers.logits, expected.logits, atol=ATOL)
        assert position == len(PROMPT)


@pytest.mark.parametrize(
    ("num_prompt", "length", "expected"),
    [(5, 5, 5), (5, 24, 5), (5, 26, 3), (5, 40, 0), (30, 30, 24)],
)
def test_a_prompt_leaves_the_window_token_by_token(
    num_prompt: int, length: int, expected: int
) -> None:
    prefix = ModelConfig.model_validate({**SIZES, "attention": "prefix"})
    assert prefix_in_window(prefix, num_prompt, length) == expected
    assert prefix_in_window(ModelConfig.model_validate(SIZES), num_prompt, length) == 0


def ranked(*probabilities: float) -> Top:
    logs = np.log(np.array([probabilities], np.float64))
    return Top(np.arange(10, 10 + len(probabilities), dtype=np.int32)[None], logs)


DRAWS = 4_000


def shares(sampling: Sampling, top: Top) -> list[float]:
    rng = np.random.default_rng(0)
    counts = np.zeros(top.tokens.shape[1])
    for _ in range(DRAWS):
        counts[sampling.choose(top, rng)[0] - 10] += 1
    return (counts / DRAWS).tolist()


class TestSampling:
    TOP = ranked(0.5, 0.25, 0.15, 0.1)

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({}, [1, 0, 0, 0]),
            ({"temperature": 1.0}, [0.5, 0.25, 0.15, 0.1]),
            # squares: 0.25, 0.0625, 0.0225, 0.01 of 0.345
            ({"temperature": 0.5}, [0.725, 0.181, 0.065, 0.029]),
            ({"temperature": 1.0, "top_k": 2}, [2 / 3, 1 / 3, 0, 0]),
            ({"temperature": 1.0, "top_k": 9}, [0.5, 0.25, 0.15, 0.1]),
            ({"temperature": 1.0, "top_p": 0.5}, [1, 0, 0, 0]),
            ({"temperature": 1.0, "top_p": 0.6}, [2 / 3, 1 / 3, 0, 0]),
            ({"temperature": 1.0, "top_p": 1e-9}, [1, 0, 0, 0]),
            ({"temperature": 1.0, "min_p": 0.3}, [0.556, 0.278, 0.167, 0]),
            ({"temperature": 1.0, "min_p": 1.0}, [1, 0, 0, 0]),
            ({"temperature": 1.0, "top_p": 0.9, "min_p": 0.4, "top_k": 3}, [2 / 3, 1 / 3, 0, 0]),
            # options leave tokens out at temperature 1, the draw comes after: squares of 2 of them
            ({"temperature": 0.5, "top_p": 0.6}, [0.8, 0.2, 0, 0]),
            ({"temperature": 1e-320}, [1, 0, 0, 0]),
            ({"temperature": 1e300}, [0.25] * 4),
        ],
    )
    def test_shares_are_those_computed_by_hand(
        self, options: dict[str, Any], expected: list[float]
    ) -> None:
        found = shares(Sampling(**options), self.TOP)
        np.testing.assert_allclose(found, expected, atol=4 * math.sqrt(0.25 / DRAWS))
        assert (np.array(found) > 0).tolist() == (np.array(expected) > 0).tolist()

    def test_the_log_probability_is_that_of_the_model(self) -> None:
        sampling = Sampling(temperature=0.1, top_k=1)
        token, log = sampling.choose(self.TOP, np.random.default_rng(0))
        assert (token, log) == (10, pytest.approx(math.log(0.5)))

    def test_tokens_without_probability_are_never_drawn(self) -> None:
        with np.errstate(divide="ignore"):
            top = ranked(0.6, 0.4, 0.0)
        assert shares(Sampling(temperature=50.0), top)[2] == 0

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({"temperature": -1.0}, "temperature=-1.0 is out of range; give 0 or a positive"),
            ({"temperature": math.nan}, "temperature=nan"),
            ({"temperature": math.inf}, "temperature=inf"),
            ({"top_p": 0.0}, "top_p=0.0 is out of range; give a number above 0, at most 1"),
            ({"top_p": math.nan}, "top_p=nan"),
            ({"min_p": 1.5}, "min_p=1.5"),
            ({"top_k": -1}, "top_k=-1"),
        ],
    )
    def test_numbers_out_of_range_are_refused(self, options: dict[str, Any], expected: str) -> None:
        with pytest.raises(ConfigError) as refused:
            Sampling(**options)
        assert str(refused.value).startswith(expected)

    def test_a_model_without_probabilities_is_refused(self) -> None:
        top = Top(np.zeros((1, 2), np.int32), np.full((1, 2), np.nan))
        with pytest.raises(NotFiniteError, match="probabilities are not finite"):
            Sampling().choose(top, np.random.default_rng(0))


class TestEnds:
    def test_seeds_repeat_and_differ(self, make: Make) -> None:
        backend = make()
        first, again, other = (
            text_of(generated(backend, 40, temperature=1.0, seed=seed)) for seed in (1, 1, 2)
        )
        assert first == again != other

    def test_the_end_of_a_text_ends_it(self, make: Make) -> None:
        backend = make()
        weights = {name: weight.copy() for name, weight in backend.weights().items()}
        weights["lm_head.weight"][10] = 0
        backend.load_weights(weights)
        task = task_of(backend, end=True)
        assert task.stop_token == 10
        prompt = task.encode("abc")
        sampling = Sampling(temperature=2.0, seed=3)
        found = list(continue_tokens(backend, task, prompt, 500, sampling))
        assert len(found) < 500
        assert [each.is_last for each in found] == [False] * (len(found) - 1) + [True]
        assert (found[-1].token, found[-1].text) == (10, "")
        assert END not in text_of(found)

    def test_padding_is_never_generated(self, make: Make) -> None:
        backend = make()
        weights = {name: weight.copy() for name, weight in backend.weights().items()}
        weights["lm_head.weight"][0] = 9 * weights["lm_head.weight"][1:].mean(axis=0)
        backend.load_weights(weights)
        task = task_of(backend)
        prompt = task.encode(PROMPT)
        answers, position = Uncached(backend, len(prompt)).answers(prompt)
        ranks = answers.top(position, 11)
        assert 0 in ranks.tokens
        found = generated(backend, 60, temperature=3.0)
        assert 0 not in [each.token for each in found]
        assert 0 not in next_tokens(backend, task, prompt, 11).tokens

    def test_next_tokens_are_the_likeliest_of_the_whole_forward(self, make: Make) -> None:
        backend = make()
        task = task_of(backend)
        prompt = task.encode(PROMPT)
        top = next_tokens(backend, task, prompt, 3)
        answers, position = Uncached(backend, len(prompt)).answers(prompt)
        expected = answers.top(position, 11)
        kept = expected.tokens[0] != 0
        np.testing.assert_array_equal(top.tokens[0], expected.tokens[0][kept][:3])
        np.testing.assert_allclose(
            top.log_probabilities[0], expected.log_probabilities[0][kept][:3], atol=ATOL
        )

    def test_an_empty_prompt_is_refused(self, make: Make) -> None:
        with pytest.raises(PuzzleError, match="the prompt is empty; give at least one character"):
            generated(make(), 1, "")


def test_other_tasks_and_models_that_look_ahead_are_refused() -> None:
    config = ModelConfig.model_validate(SIZES)
    with pytest.raises(PuzzleError, match="sudoku is no task of text"):
        require_generative(Sudoku(4), config)
    task = Text(11, 24, {"alphabet": ALPHABET})
    assert require_generative(task, config) is task
    for changed in ({"attention": "full"}, {"num_chunks": 2}):
        other = ModelConfig.model_validate({**SIZES, **changed})
        with pytest.raises(ConfigError, match="text is generated with causal or prefix"):
            require_generative(task, other)
