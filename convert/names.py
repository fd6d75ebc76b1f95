"""Map published tensor names to ours, which follow a mix of prefixes, one for each outer module.

Source: sapientinc/HRM models/losses.py (model.), models/hrm/hrm_act_v1.py (inner.), torch.compile
(_orig_mod.), DistributedDataParallel (module.).
"""

import re
from collections.abc import Iterable

from .tensors import ConversionError

PREFIXES = ("_orig_mod.", "module.", "model.", "inner.")
PUBLISHED_PREFIX = "_orig_mod.model.inner."  # of published runs; their evaluation drops _orig_mod.
# Tensors of some versions that follow from the config or are overwritten before they are read
DERIVED = re.compile(
    r"(rotary_emb\.(cos_cached|sin_cached|inv_freq)|puzzle_emb\.local_(weights|ids))"
)


def canonical_name(stored: str) -> str:
    """Return the name in the weight table of a stored tensor."""
    while stored.startswith(PREFIXES):
        for prefix in PREFIXES:
            stored = stored.removeprefix(prefix)
    return stored


def published_name(canonical: str) -> str:
    """Return the name of a tensor in published code."""
    return PUBLISHED_PREFIX + canonical


def by_canonical_name(stored: Iterable[str], source: str) -> dict[str, str]:
    """Return the stored name of each tensor by its canonical name.

    Raises: ConversionError listing stored names that mean the same tensor.
    """
    names: dict[str, list[str]] = {}
    for name in stored:
        names.setdefault(canonical_name(name), []).append(name)
    twice = []
    for name, group in sorted(names.items()):
        if len(group) > 1:
            twice.append(f"{name} as {' and '.join(group)}")
    if twice:
        raise ConversionError(
            f"{source} holds tensors twice: {'; '.join(twice)}; remove one of each"
        )
    return {name: group[0] for name, group in names.items()}
