"""Hints: blank cells of some questions, filled in from their answers, so that a model also sees easier ones.

Shapes: B slots of all replicas, S cells.
"""

from dataclasses import replace

import numpy as np

from hrm_core.backend import Batch
from hrm_core.tasks.capabilities import Hinted


def with_hints(
    batch: Batch, task: Hinted, rng: np.random.Generator, prob: float, rows: slice, batch_size: int
) -> Batch:
    """Return a batch in which some rows have hints; labels are as they were.

    `rows` are those of this replica among `batch_size` of all: every replica draws for all, so a
    run does not depend on their number. Each row gets, with probability `prob`, n of its blank
    cells filled in, n uniform in 1..blanks - 1. Blank cells without a label stay blank.
    Source: SPEC.md, 13.7.
    """
    explained, share = rng.random((2, batch_size))[:, rows]
    place = rng.random((batch_size, batch.inputs.shape[1]), np.float32)[rows]
    blank = task.blanks(batch.inputs) & (batch.labels >= 0)
    num_blanks = blank.sum(axis=1)
    num_hints = 1 + np.floor(share * (num_blanks - 1)).astype(np.int64)
    num_hints[(explained >= prob) | (num_blanks < 2)] = 0
    order = np.argsort(np.where(blank, place, np.inf), axis=1, kind="stable")
    is_hint = np.zeros_like(blank)
    numbers = np.arange(blank.shape[1])
    np.put_along_axis(is_hint, order, numbers < num_hints[:, None], axis=1)
    return replace(batch, inputs=np.where(is_hint, batch.labels, batch.inputs))
