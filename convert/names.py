"""Published tensor names and ours. A published name is ours behind a mix of prefixes, one for each module around the network.

Source: sapientinc/HRM models/losses.py (model.), models/hrm/hrm_act_v1.py (inner.), torch.compile (_orig_mod.).
"""

import re
from collections.abc import Iterable

from .tensors import ConversionError

PREFIXES = ("_orig_mod.", "model.", "inner.")
PUBLISHED_PREFIX = "_orig_mod.model.inner."  # as published runs write it; their evaluation takes the first part off where it must
DERIVED = re.compile(  # what some versions store besides: all of it follows from the config or is overwritten before it is read
    r"(rotary_emb\.(cos_cached|sin_cached|inv_freq)|puzzle_emb\.local_(weights|ids))"
)


def canonical_name(stored: str) -> str:
    """The name in the weight table that a stored name stands for."""
    while prefix := next((prefix for prefix in PREFIXES if stored.startswith(prefix)), None):
        stored = stored.removeprefix(prefix)
    return stored


def published_name(canonical: str) -> str:
    """The name under which published code stores a tensor."""
    return PUBLISHED_PREFIX + canonical


def by_canonical_name(stored: Iterable[str], source: str) -> dict[str, str]:
    """Canonical name -> stored name.

    Raises: ConversionError listing the names that stand for one tensor.
    """
    names: dict[str, list[str]] = {}
    for name in stored:
        names.setdefault(canonical_name(name), []).append(name)
    twice = [
        f"{name} as {' and '.join(group)}"
        for name, group in sorted(names.items())
        if len(group) > 1
    ]
    if twice:
        raise ConversionError(
            f"{source} holds tensors twice: {'; '.join(twice)}; remove one of each"
        )
    return {name: group[0] for name, group in names.items()}
