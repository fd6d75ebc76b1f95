"""Find text of a test that stands in the training text, by runs of tokens.

Shapes: N documents, n tokens of one.
"""

from collections.abc import Collection, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from hrm_core.tasks.contract import BoolArray, TokenArray

LENGTH = 50  # tokens of a run; a shorter document is one run
BLOCK = 1 << 20  # tokens that are hashed at once
FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, so that products are one to one modulo 2^64

HashArray = npt.NDArray[np.uint64]


def share_in_training(
    test: Sequence[TokenArray], train: Sequence[TokenArray], length: int = LENGTH
) -> npt.NDArray[np.float64]:
    """Compute the share of the runs of each test document that stand in the training text, (N,).

    A document that is shorter than a run is found or not as a whole.
    """
    lengths = [min(length, len(document)) for document in test]
    hashes = [run_hashes(document, own) for document, own in zip(test, lengths, strict=True)]
    wanted: dict[int, HashArray] = {}
    for own in set(lengths):
        of_length = [each for each, other in zip(hashes, lengths, strict=True) if other == own]
        wanted[own] = np.unique(np.concatenate(of_length))
    found = {own: np.zeros(len(each), bool) for own, each in wanted.items()}
    for block in _blocks(train, length):
        for own, candidates in _growing_hashes(block, wanted):
            _mark(found[own], wanted[own], candidates)
    shares = []
    for each, own in zip(hashes, lengths, strict=True):
        places = np.searchsorted(wanted[own], each)
        shares.append(found[own][places].mean())
    return np.array(shares)


def run_hashes(tokens: TokenArray, length: int) -> HashArray:
    """Hash every run of `length` tokens. Shapes: (n,) -> (n - length + 1,), none of a shorter text.

    A polynomial modulo 2^64, of sums that run on: h(i) = sum over j of token(i + j) · factor^(length - 1 - j).
    """
    ((_, hashes),) = _growing_hashes(tokens, {length})
    return hashes


def _growing_hashes(
    tokens: TokenArray, lengths: Collection[int]
) -> Iterator[tuple[int, HashArray]]:
    """Yield the hashes of the runs of each length, the shortest first."""
    values = tokens.astype(np.uint64) + np.uint64(1)
    hashes = np.zeros(len(tokens), np.uint64)
    for place in range(max(lengths)):
        hashes = hashes[: max(len(tokens) - place, 0)]
        hashes *= FACTOR
        hashes += values[place:]
        if place + 1 in lengths:
            yield place + 1, hashes.copy()


def _blocks(documents: Sequence[TokenArray], length: int) -> Iterator[TokenArray]:
    """Cut documents into parts that hold every run of `length` tokens: memory stays that of one."""
    for document in documents:
        for start in range(0, len(document), BLOCK):
            yield document[start : start + BLOCK + length - 1]


def _mark(found: BoolArray, wanted: HashArray, candidates: HashArray) -> None:
    """Mark those of the ascending hashes that are wanted which are among the candidates."""
    places = np.minimum(np.searchsorted(wanted, candidates), len(wanted) - 1)
    found[places[wanted[places] == candidates]] = True
