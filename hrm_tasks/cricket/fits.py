"""What simpler models learn from the training matches: prior and table.

Shapes: N balls, K outcomes; the table has 6 phases, 4 ranges of wickets and 2 innings.
"""

import numpy as np
import numpy.typing as npt

from hrm_tasks.cricket.read import OUTCOMES
from hrm_tasks.cricket.scoreboard import IntArray

FloatArray = npt.NDArray[np.floating]

PHASES = ("1-2", "3-6", "7-11", "12-16", "17-18", "19-20")  # overs, as people count them
PHASE_STARTS = (2, 6, 11, 16, 18)  # first over of the second phase and the later ones, from 0
WICKET_STARTS = (2, 4, 7)
TABLE_SHAPE = len(PHASES), len(WICKET_STARTS) + 1, 2
NUM_CELLS = len(PHASES) * (len(WICKET_STARTS) + 1) * 2
TABLE_PRIOR = 50.0  # balls of the prior in each cell


def phase_of(over: IntArray) -> IntArray:
    """Return the phase of an over, counted from 0."""
    return np.searchsorted(PHASE_STARTS, over, side="right")


def cell_of(over: IntArray, wickets: IntArray, innings: IntArray) -> IntArray:
    """Return the cell of the table for N balls. Shapes: (N,) each -> (N,)."""
    lost = np.searchsorted(WICKET_STARTS, wickets, side="right")
    return np.ravel_multi_index((phase_of(over), lost, innings), TABLE_SHAPE)


def table_counts(cells: IntArray, outcomes: IntArray) -> IntArray:
    """Count the outcomes in each cell. Shapes: (N,), (N,) -> (cells, K)."""
    counts = np.zeros((NUM_CELLS, len(OUTCOMES)), np.int64)
    np.add.at(counts, (cells, outcomes), 1)
    return counts


def prior(counts: IntArray) -> FloatArray:
    """Return the share of each outcome, one ball of each added. Shapes: (cells, K) -> (K,)."""
    totals = counts.sum(axis=0) + 1.0
    shares: FloatArray = totals / totals.sum()
    return shares


def table(counts: IntArray) -> FloatArray:
    """Return the outcomes' probabilities in each cell, smoothed by the prior. Shapes: (cells, K)."""
    smoothed = counts + TABLE_PRIOR * prior(counts)
    probabilities: FloatArray = smoothed / smoothed.sum(axis=1, keepdims=True)
    return probabilities
