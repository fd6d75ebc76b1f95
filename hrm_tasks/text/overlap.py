"""Find text of a test that stands in the training text, by runs of tokens.

Shapes: N documents, n tokens of one.
"""

from collections.abc import Collection, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from hrm_core.tasks.contract import BoolArray, TokenArray

LENGTH = 50  # tokens of a run; a shorter document is one run
MOST_RUNS = 200_000  # of the test that are looked for; of more every second, third … one
BLOCK = 1 << 20  # tokens that are hashed at once
FACTOR = 0x9E3779B97F4A7C15  # odd, so that products are one to one modulo 2^64
MODULUS = 1 << 64
FILTER_BITS = 22  # of a hash that a first look compares

HashArray = npt.NDArray[np.uint64]


class Wanted:
    """Hashes of runs of one length that are looked for."""

    def __init__(self, hashes: HashArray) -> None:
        self._hashes = np.unique(hashes)
        self._found = np.zeros(len(self._hashes), bool)
        self._may_be = np.zeros(1 << FILTER_BITS, bool)
        self._may_be[_first_bits(self._hashes)] = True

    def look_in(self, candidates: HashArray) -> None:
        """Mark those that are among some hashes."""
        likely = candidates[self._may_be[_first_bits(candidates)]]
        places = np.minimum(np.searchsorted(self._hashes, likely), len(self._hashes) - 1)
        self._found[places[self._hashes[places] == likely]] = True

    def are_found(self, hashes: HashArray) -> BoolArray:
        """Mark hashes that are wanted and were found."""
        marks: BoolArray = self._found[np.searchsorted(self._hashes, hashes)]
        return marks


def share_in_training(
    test: Sequence[TokenArray], train: Sequence[TokenArray], length: int = LENGTH
) -> npt.NDArray[np.float64]:
    """Compute the share of the runs of each test document that stand in the training text, (N,).

    A document that is shorter than a run is found or not as a whole.
    """
    lengths = [min(length, len(document)) for document in test]
    stride = 1 + sum(map(len, test)) // MOST_RUNS
    hashes = [
        run_hashes(document, own)[::stride] for document, own in zip(test, lengths, strict=True)
    ]
    wanted = {}
    for own in set(lengths):
        of_length = [each for each, other in zip(hashes, lengths, strict=True) if other == own]
        wanted[own] = Wanted(np.concatenate(of_length))
    for block in _blocks(train, length):
        for own, candidates in _hashes_of_lengths(block, wanted):
            wanted[own].look_in(candidates)
    shares = [wanted[own].are_found(each).mean() for each, own in zip(hashes, lengths, strict=True)]
    return np.array(shares)


def run_hashes(tokens: TokenArray, length: int) -> HashArray:
    """Hash every run of `length` tokens. Shapes: (n,) -> (n - length + 1,), none of a shorter text.

    A polynomial modulo 2^64: h(i) = sum over j of (token(i + j) + 1) · factor^(length - 1 - j).
    """
    ((_, hashes),) = _hashes_of_lengths(tokens, {length})
    return hashes


def _hashes_of_lengths(
    tokens: TokenArray, lengths: Collection[int]
) -> Iterator[tuple[int, HashArray]]:
    """Yield the hashes of all runs of each length, put together from runs of 1, 2, 4 … tokens."""
    of_powers = [tokens.astype(np.uint64) + np.uint64(1)]
    size = 1
    while 2 * size <= max(lengths):
        half = of_powers[-1]
        of_powers.append(_joined(half[: max(len(half) - size, 0)], half[size:], size))
        size *= 2
    for length in lengths:
        count = max(len(tokens) - length + 1, 0)
        hashes, covered = np.zeros(count, np.uint64), 0
        for exponent, power in enumerate(of_powers):
            if length >> exponent & 1:
                hashes = _joined(hashes, power[covered : covered + count], 1 << exponent)
                covered += 1 << exponent
        yield length, hashes


def _joined(first: HashArray, second: HashArray, length: int) -> HashArray:
    """Hash runs of which the second parts have `length` tokens."""
    return first * np.uint64(pow(FACTOR, length, MODULUS)) + second


def _first_bits(hashes: HashArray) -> npt.NDArray[np.intp]:
    return (hashes >> np.uint64(64 - FILTER_BITS)).astype(np.intp)


def _blocks(documents: Sequence[TokenArray], length: int) -> Iterator[TokenArray]:
    """Cut documents into parts that hold every run of `length` tokens: memory stays that of one."""
    for document in documents:
        for start in range(0, len(document), BLOCK):
            yield document[start : start + BLOCK + length - 1]
