"""Find text of a test that stands in the training text, by runs of tokens.

Shapes: N documents, n tokens of one.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hrm_core.tasks.contract import TokenArray

LENGTH = 50  # tokens of a run; a shorter text is one run
FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, so that products are one to one modulo 2^64

HashArray = npt.NDArray[np.uint64]


def share_in_training(
    test: Sequence[TokenArray], train: Sequence[TokenArray], length: int = LENGTH
) -> npt.NDArray[np.float64]:
    """Compute the share of the runs of each test document that stand in the training text, (N,)."""
    shortest = min(map(len, test), default=length)
    length = max(1, min(length, shortest))
    hashes = [run_hashes(document, length) for document in test]
    wanted = np.unique(np.concatenate(hashes))
    found = np.zeros(len(wanted), bool)
    for document in train:  # one at a time: memory stays that of the longest
        candidates = run_hashes(document, length)
        places = np.minimum(np.searchsorted(wanted, candidates), len(wanted) - 1)
        found[places[wanted[places] == candidates]] = True
    shares = [found[np.searchsorted(wanted, each)].mean() for each in hashes]
    return np.array(shares)


def run_hashes(tokens: TokenArray, length: int) -> HashArray:
    """Hash every run of `length` tokens. Shapes: (n,) -> (n - length + 1,), none of a shorter text.

    A polynomial modulo 2^64, of sums that run on: h(i) = sum over j of token(i + j) · factor^(length - 1 - j).
    """
    count = len(tokens) - length + 1
    if count < 1:
        return np.empty(0, np.uint64)
    hashes = np.zeros(count, np.uint64)
    values = tokens.astype(np.uint64) + np.uint64(1)
    for place in range(length):
        hashes = hashes * FACTOR + values[place : place + count]
    return hashes
