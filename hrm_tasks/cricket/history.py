"""What is known of a player from earlier matches: shrunken log-ratios of a few groups of outcomes.

A log-ratio of 0 is an average player. Few balls are shrunk towards it by a prior of average balls.

Shapes: N balls, K outcomes, G groups of outcomes, M innings, P players of a side.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
import numpy.typing as npt

from hrm_tasks.cricket.read import OUTCOMES, Innings, Match
from hrm_tasks.cricket.scoreboard import MAX_PLAYERS

FloatArray = npt.NDArray[np.floating]

GROUPS: Mapping[str, tuple[str, ...]] = {
    "dot": ("0",),
    "boundary": ("4", "6"),
    "wicket": ("W",),
}
BATTER_PRIOR = 60.0  # balls of an average player
BOWLER_PRIOR = 120.0
NUM_GROUPS = len(GROUPS)

MEMBERS = np.array([[name in group for group in GROUPS.values()] for name in OUTCOMES])  # (K, G)
Counts = defaultdict[str, FloatArray]  # by player: balls in each outcome (K,)


def _no_counts() -> Counts:
    return defaultdict(lambda: np.zeros(len(OUTCOMES)))


@dataclass
class Record:
    """Outcomes of every player's balls so far."""

    batters: Counts = field(default_factory=_no_counts)
    bowlers: Counts = field(default_factory=_no_counts)

    def add(self, match: Match) -> None:
        """Add the balls of a match."""
        for innings in match.innings:
            for ball in innings.deliveries:
                self.batters[match.identifier(ball.batter)][ball.outcome] += 1
                self.bowlers[match.identifier(ball.bowler)][ball.outcome] += 1


def log_ratios(counts: FloatArray, shares: FloatArray, prior: float) -> FloatArray:
    """Compute the shrunken log-ratios of one player. Shapes: (K,), (K,) -> (G,); NaN without balls."""
    num_balls = counts.sum()
    if not num_balls:
        return np.full(NUM_GROUPS, np.nan)
    expected = shares @ MEMBERS
    found = (counts @ MEMBERS + prior * expected) / (num_balls + prior)
    ratios: FloatArray = np.log(found / expected)
    return ratios


def order_of_players(innings: Innings) -> tuple[list[str], list[str]]:
    """Return batters and bowlers of an innings in order of appearance."""
    batters: dict[str, None] = {}
    bowlers: dict[str, None] = {}
    for ball in innings.deliveries:
        batters[ball.batter] = batters[ball.partner] = None
        bowlers[ball.bowler] = None
    return list(batters), list(bowlers)


def innings_histories(
    match: Match, innings: Innings, record: Record, shares: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return what a record knows of batters and bowlers of an innings. Shapes: (P, G) each."""
    batters, bowlers = order_of_players(innings)
    known = np.full((2, MAX_PLAYERS, NUM_GROUPS), np.nan)
    for number, name in enumerate(batters):
        counts = record.batters.get(match.identifier(name))
        if counts is not None:
            known[0, number] = log_ratios(counts, shares, BATTER_PRIOR)
    for number, name in enumerate(bowlers):
        counts = record.bowlers.get(match.identifier(name))
        if counts is not None:
            known[1, number] = log_ratios(counts, shares, BOWLER_PRIOR)
    return known[0], known[1]


def histories(matches: Sequence[Match], shares: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return what was known of the players of each innings from strictly earlier days.

    `matches` are in order of their dates; `shares` (K,) are those of an average player.
    Returns: batters and bowlers, (M, P, G) each.
    """
    record = Record()
    batters: list[FloatArray] = []
    bowlers: list[FloatArray] = []
    for _, group in groupby(matches, key=lambda match: match.date):
        same_day = list(group)
        for match in same_day:
            for innings in match.innings:
                of_batters, of_bowlers = innings_histories(match, innings, record, shares)
                batters.append(of_batters)
                bowlers.append(of_bowlers)
        for match in same_day:
            record.add(match)
    return np.array(batters), np.array(bowlers)
