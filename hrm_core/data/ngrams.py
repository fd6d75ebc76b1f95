"""N-grams with modified Kneser-Ney smoothing: the baseline of every task of sequences.

A model of order n predicts a token from the n - 1 tokens before it in its document. Before each
document stands a start token, which is part of contexts and is never predicted.

Shapes: T tokens of all documents and their starts, G different n-grams of one order, C different
contexts, which are the n-grams of the order below.
Source: Chen & Goodman 1998, An Empirical Study of Smoothing Techniques for Language Modeling, 3 and 4.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.integer]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

NO_NGRAM = -1  # reads the last entry of `Level.discounted`
FEW_COUNTS = (0.5, 1.0, 1.5)  # discounts where there are too few n-grams to estimate them


@dataclass(frozen=True, eq=False)
class Level:
    """All n-grams of one order. The number of an n-gram is its place in `codes`."""

    codes: IntArray  # (G,) ascending: number of the context · (vocab_size + 1) + last token
    discounted: FloatArray  # (G + 1,) discounted share of its context; 0 at the end, for `NO_NGRAM`
    back_off: FloatArray  # (C,) share of the order below; 1 for a context that was never continued

    def find(self, codes: IntArray) -> IntArray:
        """Look up n-grams (T,). Returns: (T,) their numbers, -1 for those that never occurred."""
        if not len(self.codes):
            return np.full(len(codes), NO_NGRAM)
        places = np.searchsorted(self.codes, codes)
        places = np.minimum(places, len(self.codes) - 1)
        return np.where(self.codes[places] == codes, places, NO_NGRAM)


@dataclass(frozen=True, eq=False)
class NGrams:
    """An interpolated n-gram model of modified Kneser-Ney smoothing."""

    vocab_size: int
    uniform: FloatArray  # (vocab_size + 1,) 1 / number of outcomes, 0 for what is never predicted
    levels: tuple[Level, ...]  # of order 1, 2, ...

    @property
    def order(self) -> int:
        """Return n: a token is predicted from the n - 1 tokens before it."""
        return len(self.levels)

    def losses(self, document: IntArray) -> FloatArray:
        """Compute the losses in nats of all tokens but the first, each from those before it.

        Shapes: (L,) -> (L - 1,). The loss of a token that is no outcome is infinite.
        """
        return self.losses_of_all([document])

    def losses_of_all(self, documents: Sequence[IntArray]) -> FloatArray:
        """Compute the losses of several documents, one after the other."""
        stream = _stream(documents, self.vocab_size)
        probabilities = self._probabilities(stream)
        is_start = stream == self.vocab_size
        is_predicted = ~is_start
        is_predicted[1:] &= ~is_start[:-1]
        with np.errstate(divide="ignore"):
            losses: FloatArray = -np.log(probabilities[is_predicted])
        return losses

    def _probabilities(self, stream: IntArray) -> FloatArray:
        """Compute the probability of each token of a stream. Shapes: (T,) -> (T,)."""
        probabilities = self.uniform[stream]
        contexts: IntArray = np.zeros(len(stream), np.int64)
        for level in self.levels:
            is_known = contexts != NO_NGRAM
            known, tokens = contexts[is_known], stream[is_known]
            found = level.find(known * (self.vocab_size + 1) + tokens)
            below = level.back_off[known] * probabilities[is_known]
            probabilities[is_known] = level.discounted[found] + below
            contexts[is_known] = found
            contexts = _contexts_behind(contexts)
        return probabilities


def fit(
    documents: Sequence[IntArray],
    vocab_size: int,
    order: int = 5,
    outcomes: IntArray | None = None,
) -> NGrams:
    """Fit a model of n-grams to documents of tokens; documents do not run into each other.

    `outcomes` names the tokens that can be predicted, if the others are known context.
    """
    stream = _stream(documents, vocab_size)
    is_outcome = np.ones(vocab_size + 1, bool)
    if outcomes is not None:
        is_outcome[:] = False
        is_outcome[outcomes] = True
    is_outcome[vocab_size] = False
    counted = _count_all(stream, vocab_size, order)
    levels = [_level(one, is_outcome) for one in counted]
    return NGrams(vocab_size, is_outcome / is_outcome.sum(), tuple(levels))


@dataclass(eq=False)
class _Counted:
    """The n-grams of one order and how often each occurs."""

    codes: IntArray  # (G,) as in `Level`
    counts: IntArray  # (G,) occurrences; of all orders but the highest, different tokens before it
    begins_document: BoolArray  # (G,) nothing can stand before it
    num_contexts: int


def _count_all(stream: IntArray, vocab_size: int, order: int) -> list[_Counted]:
    """Count the n-grams of orders 1 to `order`; those below the highest by the tokens before them."""
    counted: list[_Counted] = []
    contexts: IntArray = np.zeros(len(stream), np.int64)  # the number of each token's context
    shorter = contexts  # the number of the n-gram that ends at each token, of the order below
    begins_document = np.zeros(1, bool)
    for length in range(1, order + 1):
        is_one = contexts != NO_NGRAM
        if length > 1:
            is_one &= stream != vocab_size
        packed = contexts[is_one] * (vocab_size + 1) + stream[is_one]
        codes, first, numbers, counts = np.unique(
            packed, return_index=True, return_inverse=True, return_counts=True
        )
        if counted:
            _count_continuations(counted[-1], shorter[is_one][first])
        num_contexts = len(begins_document)
        begins_document = begins_document[codes // (vocab_size + 1)]
        if length == 1:
            begins_document = codes == vocab_size
        counted.append(_Counted(codes, counts, begins_document, num_contexts))
        shorter = np.full(len(stream), NO_NGRAM)
        shorter[is_one] = numbers
        contexts = _contexts_behind(shorter)
    return counted


def _count_continuations(below: _Counted, shortened: IntArray) -> None:
    """Replace the counts of an order by the number of different tokens before each n-gram.

    `shortened` holds the number of each n-gram of the order above without its first token. What
    begins a document keeps its occurrences.
    """
    continuations = np.bincount(shortened, minlength=len(below.codes))
    below.counts = np.where(below.begins_document, below.counts, continuations)


def _level(counted: _Counted, is_outcome: BoolArray) -> Level:
    """Discount the counts of one order."""
    contexts, tokens = np.divmod(counted.codes, len(is_outcome))
    counts = np.where(is_outcome[tokens], counted.counts, 0)
    size = counted.num_contexts
    discounts = np.concatenate([[0.0], _discounts(counts)])
    discount = discounts[np.minimum(counts, len(FEW_COUNTS))]
    totals = np.bincount(contexts, weights=counts, minlength=size)
    freed = np.bincount(contexts, weights=discount, minlength=size)
    is_continued = totals > 0
    divisors = np.where(is_continued, totals, 1.0)
    discounted = (counts - discount) / divisors[contexts]
    return Level(
        codes=counted.codes,
        discounted=np.append(discounted, 0.0),
        back_off=np.where(is_continued, freed / divisors, 1.0),
    )


def _discounts(counts: IntArray) -> FloatArray:
    """Estimate what to subtract from a count of 1, of 2, and of 3 or more. Returns: (3,).

    Source: Chen & Goodman 1998, equation 26.
    """
    n_1, n_2, n_3, n_4 = (int((counts == number).sum()) for number in range(1, 5))
    if 0 in (n_1, n_2, n_3):
        return np.array(FEW_COUNTS)
    y = n_1 / (n_1 + 2 * n_2)
    estimates = np.array([1 - 2 * y * n_2 / n_1, 2 - 3 * y * n_3 / n_2, 3 - 4 * y * n_4 / n_3])
    return np.where(estimates > 0, estimates, FEW_COUNTS)


def _stream(documents: Sequence[IntArray], vocab_size: int) -> IntArray:
    """Join documents, a start before each. Returns: (T,) int64."""
    parts: list[IntArray] = []
    for document in documents:
        parts += [np.array([vocab_size]), document]
    stream: IntArray = np.concatenate([np.empty(0, np.int64), *parts]).astype(np.int64)
    assert ((stream >= 0) & (stream <= vocab_size)).all(), "a token outside the vocabulary"
    return stream


def _contexts_behind(numbers: IntArray) -> IntArray:
    """Return the n-gram that ends before each token, for the one that ends at it. (T,) -> (T,)."""
    contexts = np.roll(numbers, 1)
    contexts[:1] = NO_NGRAM
    return contexts
