"""Sequences that grow token by token give what a forward of the whole chunk gives, on both backends."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from hrm_core.backend import Backend, BackendOptions, Batch
from hrm_core.backends import backend_named
from hrm_core.config import ModelConfig
from hrm_core.parameters import initial_values

pytest.importorskip("torch", reason="torch is missing: the PyTorch reference is not tested")

ATOL = 1e-4  # logits, largest gap measured: MLX 8e-6, float64 below 1e-12
DTYPES: dict[str, Any] = {"mlx": "float32", "torch": "float64"}
SIZES = {
    "vocab_size": 11,
    "seq_len": 12,
    "num_puzzle_identifiers": 2,
    "hidden_size": 16,
    "num_heads": 2,
    "H_layers": 1,
    "L_layers": 1,
    "H_cycles": 1,
    "loss_type": "softmax_cross_entropy",
    "halting": "fixed",
}
Make = Callable[..., Backend]


@pytest.fixture(params=["mlx", "torch"])
def make(request: pytest.FixtureRequest) -> Make:
    def backend(**settings: object) -> Backend:
        config = ModelConfig.model_validate({**SIZES, "puzzle_emb_ndim": 0, **settings})
        dtype = DTYPES[request.param]
        made = backend_named(request.param)(config, BackendOptions(device="cpu", dtype=dtype))
        made.load_weights(initial_values(config, seed=3))
        return made

    return backend


def chunks_of(backend: Backend, batch: Batch) -> Iterator[np.ndarray]:
    """Logits (B, S, V) after the last ACT step on each chunk."""
    config, carry = backend.config, backend.begin(batch)
    for chunk in range(config.num_chunks):
        for _ in range(config.steps_on(chunk)):
            carry, answers = backend.step(carry)
        yield answers.logits


def random_batch(config: ModelConfig, prefix_len: int = 0) -> Batch:
    rng = np.random.default_rng(5)
    tokens = rng.integers(0, config.vocab_size, (3, config.num_cells), np.int32)
    ids = np.array([0, 1, 1], np.int32)
    return Batch(tokens, np.full_like(tokens, -100), ids, np.full(3, prefix_len, np.int32))


PARTS = ([1] * 12, [5, 1, 1, 1, 1, 3], [12], [4, 8])


@pytest.mark.parametrize("parts", PARTS, ids=lambda parts: "+".join(map(str, parts)))
@pytest.mark.parametrize("puzzle_emb_ndim", [0, 20])
@pytest.mark.parametrize("pos_encodings", ["rope", "learned"])
def test_growing_equals_whole(
    make: Make, parts: list[int], puzzle_emb_ndim: int, pos_encodings: str
) -> None:
    backend = make(
        attention="causal",
        halt_max_steps=3,
        puzzle_emb_ndim=puzzle_emb_ndim,
        pos_encodings=pos_encodings,
    )
    batch = random_batch(backend.config)
    (whole,) = chunks_of(backend, batch)
    sequences, start = backend.begin_sequences(batch.puzzle_identifiers), 0
    for count in parts:
        tokens = batch.inputs[:, start : start + count]
        sequences, answers = backend.extend(sequences, tokens)
        np.testing.assert_allclose(answers.logits, whole[:, start : start + count], atol=ATOL)
        start += count


@pytest.mark.parametrize("parts", [[4, 1, 1, 6], [7, 5]])
def test_chunks_with_a_prefix_go_on_from_the_states_before(make: Make, parts: list[int]) -> None:
    backend = make(
        attention="prefix", num_chunks=3, steps_per_chunk=2, halt_max_steps=7, puzzle_emb_ndim=16
    )
    config, batch = backend.config, random_batch(make().config, prefix_len=4)
    batch = random_batch(config, prefix_len=4)
    before = None
    for chunk, whole in enumerate(chunks_of(backend, batch)):
        sequences = backend.begin_sequences(batch.puzzle_identifiers, 4, before)
        start = chunk * config.seq_len
        for count in parts:
            tokens = batch.inputs[:, start : start + count]
            sequences, answers = backend.extend(sequences, tokens)
            place = start - chunk * config.seq_len
            np.testing.assert_allclose(answers.logits, whole[:, place : place + count], atol=ATOL)
            start += count
        before = sequences


def test_a_sequence_that_is_extended_stays_as_it_was(make: Make) -> None:
    backend = make(attention="causal", halt_max_steps=2)
    batch = random_batch(backend.config)
    begun = backend.begin_sequences(batch.puzzle_identifiers)
    stem, _ = backend.extend(begun, batch.inputs[:, :4])
    _, first = backend.extend(stem, batch.inputs[:, 4:6])
    _, other = backend.extend(stem, batch.inputs[:, 6:8])
    _, again = backend.extend(stem, batch.inputs[:, 4:6])
    np.testing.assert_array_equal(first.logits, again.logits)
    assert not np.allclose(first.logits, other.logits, atol=ATOL)


def test_rows_are_taken_as_often_as_they_are_named(make: Make) -> None:
    backend = make(attention="causal", halt_max_steps=2, puzzle_emb_ndim=16)
    batch = random_batch(backend.config)
    stem, _ = backend.extend(backend.begin_sequences(batch.puzzle_identifiers), batch.inputs[:, :4])
    rows = np.array([2, 0, 2], np.int32)
    _, expected = backend.extend(stem, batch.inputs[:, 4:6])
    _, found = backend.extend(backend.take_sequences(stem, rows), batch.inputs[rows, 4:6])
    np.testing.assert_allclose(found.logits, expected.logits[rows], atol=ATOL)


def test_full_attention_is_noticed(make: Make) -> None:
    """The control: where positions see later ones, a sequence that grows says something else."""
    backend = make(attention="full", halt_max_steps=2)
    batch = random_batch(backend.config)
    (whole,) = chunks_of(backend, batch)
    sequences = backend.begin_sequences(batch.puzzle_identifiers)
    for place in range(backend.config.seq_len - 1):
        sequences, answers = backend.extend(sequences, batch.inputs[:, place : place + 1])
    assert not np.allclose(answers.logits[:, 0], whole[:, -2], atol=100 * ATOL)


def test_a_large_vocabulary_is_answered_too(make: Make) -> None:
    backend = make(attention="causal", halt_max_steps=2, vocab_size=300)
    batch = random_batch(backend.config)
    (whole,) = chunks_of(backend, batch)
    sequences, _ = backend.extend(
        backend.begin_sequences(batch.puzzle_identifiers), batch.inputs[:, :7]
    )
    _, answers = backend.extend(sequences, batch.inputs[:, 7:8])
    tokens, log_probabilities = answers.top(0, 300)
    expected = np.take_along_axis(whole[:, 7], tokens, axis=-1)
    expected = expected - np.log(np.exp(whole[:, 7]).sum(axis=-1, keepdims=True))
    np.testing.assert_allclose(log_probabilities, expected, atol=ATOL)
