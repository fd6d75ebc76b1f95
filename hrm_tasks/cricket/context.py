"""Recorded innings as arrays, and the state of play before each of their balls.

Shapes: M innings, T balls of the longest one, P players of a side, G groups of a history.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hrm_core.errors import DataError
from hrm_tasks.cricket.history import order_of_players
from hrm_tasks.cricket.read import Innings, Match
from hrm_tasks.cricket.scoreboard import (
    MAX_PLAYERS,
    NOTHING,
    Balls,
    BoolArray,
    FloatArray,
    IntArray,
    Scoreboard,
    State,
    taken,
)

FIELDS = len(Balls._fields)


@dataclass(frozen=True, eq=False)
class Played:
    """Recorded innings: their balls, and the state before each of them."""

    balls: Balls  # (M, T)
    state: State  # (M, T)
    match: IntArray  # (M,) number of the match that an innings belongs to

    @property
    def bowled(self) -> BoolArray:
        """Mark the balls that were bowled (M, T)."""
        bowled: BoolArray = self.balls.outcome != NOTHING
        return bowled

    def flat(self) -> tuple[Balls, State]:
        """Return all balls that were bowled, one after the other. Shapes: (N,)."""
        bowled = self.bowled
        return taken(self.balls, bowled), taken(self.state, bowled)

    def match_of_balls(self) -> IntArray:
        """Return the number of the match of each ball that was bowled. Shapes: (N,)."""
        bowled = self.bowled
        of_all: IntArray = np.broadcast_to(self.match[:, None], bowled.shape)[bowled]
        return of_all

    def select(self, chosen: BoolArray | IntArray) -> "Played":
        """Select innings by a mask or their numbers."""
        return Played(taken(self.balls, chosen), taken(self.state, chosen), self.match[chosen])


@dataclass(frozen=True, eq=False)
class _Sheet:
    """Balls of M innings, and who met in them. Shapes: (M, T)."""

    balls: Balls
    over: IntArray
    begins: BoolArray  # first ball of an over
    striker: IntArray
    partner: IntArray
    bowler: IntArray


def play(
    matches: Sequence[Match],
    batter_history: FloatArray,
    bowler_history: FloatArray,
) -> Played:
    """Go through all innings of some matches. Shapes: histories (M, P, G)."""
    return play_on(matches, batter_history, bowler_history)[0]


def play_on(
    matches: Sequence[Match],
    batter_history: FloatArray,
    bowler_history: FloatArray,
) -> tuple[Played, Scoreboard]:
    """Go through all innings, and return the scoreboard after the last ball of each, too."""
    pairs = [(number, each) for number, match in enumerate(matches) for each in match.innings]
    all_innings = [innings for _, innings in pairs]
    sheet = _sheet(all_innings, [matches[number].name for number, _ in pairs])
    is_second = [innings.target is not None for innings in all_innings]
    board = Scoreboard(
        np.array(is_second, np.int64),
        np.array([matches[number].is_international for number, _ in pairs]),
        np.array([innings.max_balls for innings in all_innings]),
        np.array([innings.target or 0 for innings in all_innings]),
        np.array([innings.before for innings in all_innings]),
        batter_history,
        bowler_history,
    )
    states = []
    for ball in range(sheet.over.shape[1]):
        board.begin_over(sheet.begins[:, ball])
        who = sheet.striker[:, ball], sheet.partner[:, ball], sheet.bowler[:, ball]
        states.append(board.state(sheet.over[:, ball], *who))
        board.play(taken(sheet.balls, (slice(None), ball)), who[0], who[2])
    stacked: list[Any] = [np.stack(values, axis=1) for values in zip(*states, strict=True)]
    together = State(*stacked)
    return Played(sheet.balls, together, np.array([number for number, _ in pairs])), board


def _sheet(all_innings: Sequence[Innings], names: Sequence[str]) -> _Sheet:
    """Write innings (M,) into arrays; `names` (M,) are those of their matches."""
    length = max(1, *(len(innings.deliveries) for innings in all_innings))
    shape = len(all_innings), length
    fields = np.zeros((FIELDS, *shape), np.int64)
    fields[0] = NOTHING
    who = np.zeros((4, *shape), np.int64)  # over, striker, partner, bowler
    begins = np.zeros(shape, bool)
    for row, innings in enumerate(all_innings):
        batters, bowlers = order_of_players(innings)
        if max(len(batters), len(bowlers)) > MAX_PLAYERS:
            raise DataError(
                f"match {names[row]}: {max(len(batters), len(bowlers))} players bat or bowl in one "
                f"innings, expected at most {MAX_PLAYERS}"
            )
        ball = 0
        for over in innings.overs:
            for place, each in enumerate(over.deliveries):
                fields[:, row, ball] = each[:FIELDS]
                striker, partner = batters.index(each.batter), batters.index(each.partner)
                who[:, row, ball] = over.number, striker, partner, bowlers.index(each.bowler)
                begins[row, ball] = place == 0
                ball += 1
    return _Sheet(_typed(fields), who[0], begins, who[1], who[2], who[3])


def _typed(fields: npt.NDArray[np.int64]) -> Balls:
    """Return the fields of balls (9, M, T) with their types."""
    balls = Balls(*fields)
    return balls._replace(
        legal=balls.legal > 0,
        no_ball=balls.no_ball > 0,
        bowlers_wicket=balls.bowlers_wicket > 0,
    )
