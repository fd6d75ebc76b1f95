from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrm_core.data.ngrams import fit

FUZZ = settings(deadline=None, derandomize=True, max_examples=100)
START = -1
FEW_COUNTS = (0.5, 1.0, 1.5)
SHAKESPEARE = {4: 2.480, 5: 2.252, 6: 2.197, 7: 2.188}  # bits per character of the test

documents_of_three = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=20), max_size=6)


def arrays(documents: list[list[int]]) -> list[np.ndarray]:
    return [np.array(document, np.uint8) for document in documents]


class SlowNGrams:
    """The textbook's formulas, one n-gram after the other."""

    def __init__(self, documents: list[list[int]], vocab_size: int, order: int) -> None:
        self.vocab_size = vocab_size
        self.order = order
        self.counts = [Counter[tuple[int, ...]]() for _ in range(order + 1)]
        streams = [[START, *document] for document in documents]
        for length in range(1, order + 1):
            for stream in streams:
                for end in range(1, len(stream)):
                    if end + 1 >= length:
                        self.counts[length][tuple(stream[end + 1 - length : end + 1])] += 1
        for length in range(1, order):
            before = defaultdict(set)
            for longer in self.counts[length + 1]:
                before[longer[1:]].add(longer[0])
            for ngram, tokens in before.items():
                self.counts[length][ngram] = len(tokens)
        self.discounts = [self.discount(counts) for counts in self.counts]

    def discount(self, counts: Counter[tuple[int, ...]]) -> tuple[float, ...]:
        one, two, three, four = (
            sum(count == number for count in counts.values()) for number in range(1, 5)
        )
        if not (one and two and three):
            return FEW_COUNTS
        y = one / (one + 2 * two)
        found = 1 - 2 * y * two / one, 2 - 3 * y * three / two, 3 - 4 * y * four / three
        return tuple(
            value if value > 0 else few for value, few in zip(found, FEW_COUNTS, strict=True)
        )

    def probability(self, context: tuple[int, ...], token: int) -> float:
        length = len(context) + 1
        below = 1 / self.vocab_size if length == 1 else self.probability(context[1:], token)
        counts = self.counts[length]
        followers = [ngram for ngram in counts if ngram[:-1] == context]
        total = sum(counts[ngram] for ngram in followers)
        if not total:
            return below
        discounts = self.discounts[length]
        freed = sum(discounts[min(counts[ngram], 3) - 1] for ngram in followers)
        count = counts[(*context, token)]
        kept = count - discounts[min(count, 3) - 1] if count else 0.0
        return (kept + freed * below) / total

    def losses(self, document: list[int]) -> list[float]:
        stream = [START, *document]
        losses = []
        for end in range(2, len(stream)):
            context = tuple(stream[max(0, end + 1 - self.order) : end])
            losses.append(-np.log(self.probability(context, stream[end])))
        return losses


def distribution(model, context: list[int], vocab_size: int) -> np.ndarray:
    """The probabilities of all tokens behind a context."""
    losses = [model.losses(np.array([*context, token]))[-1] for token in range(vocab_size)]
    return np.exp(-np.array(losses))


@FUZZ
@given(documents_of_three, st.integers(1, 5), st.lists(st.integers(0, 4), min_size=1, max_size=6))
def test_probabilities_sum_to_one_in_every_context(
    documents: list[list[int]], order: int, context: list[int]
) -> None:
    model = fit(arrays(documents), 5, order)
    probabilities = distribution(model, context, 5)
    assert (probabilities > 0).all()
    assert probabilities.sum() == pytest.approx(1, abs=1e-12)


@FUZZ
@given(documents_of_three, st.integers(1, 5), st.lists(st.integers(0, 4), min_size=1, max_size=20))
def test_losses_are_those_of_the_textbook(
    documents: list[list[int]], order: int, document: list[int]
) -> None:
    losses = fit(arrays(documents), 5, order).losses(np.array(document))
    expected = SlowNGrams(documents, 5, order).losses(document)
    np.testing.assert_allclose(losses, expected, rtol=1e-12)


def test_a_case_by_hand() -> None:
    # a b a b a c, all discounts those of few counts: 0.5, 1, 1.5
    model = fit([np.array([0, 1, 0, 1, 0, 2])], 3, 2)
    # different tokens before a: start and b; before b: a; before c: a
    below = [(2 - 1) / 4 + 2 / 4 / 3, (1 - 0.5) / 4 + 2 / 4 / 3, (1 - 0.5) / 4 + 2 / 4 / 3]
    # a is followed by b twice and by c once: (2 - 1) + (1 - 0.5) of 3 are kept
    behind_a = [1.5 / 3 * below[0], 1 / 3 + 1.5 / 3 * below[1], 0.5 / 3 + 1.5 / 3 * below[2]]
    np.testing.assert_allclose(distribution(model, [0], 3), behind_a, rtol=1e-12)
    np.testing.assert_allclose(distribution(model, [2], 3), below, rtol=1e-12)


def test_documents_do_not_run_into_each_other() -> None:
    apart = fit([np.array([0, 1]), np.array([2, 3])], 4, 2)
    joined = fit([np.array([0, 1, 2, 3])], 4, 2)
    assert distribution(joined, [1], 4).argmax() == 2
    assert np.ptp(distribution(apart, [1], 4)) < 1e-12
    assert apart.losses_of_all([np.array([0, 1]), np.array([2, 3])]).shape == (2,)


def test_losses_of_several_documents_are_those_of_each() -> None:
    rng = np.random.default_rng(0)
    documents = [rng.integers(6, size=length) for length in (40, 1, 2, 300)]
    model = fit(documents, 6, 4)
    together = model.losses_of_all(documents)
    np.testing.assert_array_equal(together, np.concatenate([*map(model.losses, documents)]))


def test_context_tokens_are_never_predicted() -> None:
    rng = np.random.default_rng(0)
    weather, event = rng.integers(2, size=500), rng.integers(2, 5, size=500)
    document = np.stack([weather, event], axis=1).reshape(-1)
    model = fit([document], 5, 4, outcomes=np.arange(2, 5))
    for context in ([0], [4, 1], [2, 0, 3, 1], [1, 1]):
        probabilities = distribution(model, context, 5)
        assert probabilities[2:].sum() == pytest.approx(1, abs=1e-12)
        assert not probabilities[:2].any()
    assert fit([document], 5, 1, outcomes=np.arange(2, 5)).losses(document)[0] < 1.2


def test_bits_per_character_of_tinyshakespeare(data_dir: Path) -> None:
    folder = data_dir / "text"
    if not folder.is_dir():
        pytest.skip(f"{folder} is missing")
    train, test = (
        np.frombuffer((folder / f"tinyshakespeare_{split}.txt").read_bytes(), np.uint8)
        for split in ("train", "test")
    )
    alphabet, tokens = np.unique(train, return_inverse=True)
    losses = {}
    for order in SHAKESPEARE:
        model = fit([tokens + 1], len(alphabet) + 1, order)
        losses[order] = model.losses(np.searchsorted(alphabet, test) + 1).mean() / np.log(2)
    assert losses == pytest.approx(SHAKESPEARE, abs=0.001)


def test_large_vocabularies_fit_into_the_codes() -> None:
    rng = np.random.default_rng(0)
    document = rng.zipf(1.3, size=200_000) % 50_265
    losses = fit([document], 50_265, 5).losses(document[:1000])
    assert np.isfinite(losses).all()
    assert np.isfinite(fit([document], 50_265, 5).losses(np.array([0, 50_264]))).all()
