"""Match the tokens of two vocabularies by the text that they stand for.

Shapes: V tokens of the destination.
"""

from collections.abc import Sequence

import numpy as np

from hrm_core.tasks.capabilities import Spelled
from hrm_core.tasks.contract import Task

from .reshape import NEW, IntArray


def match_tokens(before: Task | None, after: Task | None) -> IntArray | None:
    """Find each token of a task among those of another by its text.

    Returns: (V,) tokens of the first task, `NEW` where there is none; None if tokens are kept by
    number, because a task has no texts, or the same numbers have the same texts.
    """
    if not isinstance(before, Spelled) or not isinstance(after, Spelled):
        return None
    old, new = before.token_texts, after.token_texts
    if _are_alike(old, new):
        return None
    tokens: dict[str, int] = {}
    for token, text in enumerate(old):
        tokens.setdefault(text, token)
    tokens.pop("", None)
    # a row goes to one token alone: the first one of its text
    return np.array([tokens.pop(text, NEW) for text in new], np.int64)


def _are_alike(old: Sequence[str], new: Sequence[str]) -> bool:
    """Return True if the numbers that both vocabularies have stand for the same texts."""
    shared = min(len(old), len(new))
    return list(old[:shared]) == list(new[:shared])
