"""The state of play before each ball, of many innings at once.

The same rules keep the score of recorded matches and of simulated ones.

Shapes: R innings side by side, P players of a side in order of appearance, G groups of outcomes
that a player's history is told in.
"""

from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.integer]
FloatArray = npt.NDArray[np.floating]
BoolArray = npt.NDArray[np.bool_]

MAX_PLAYERS = 16  # of a side that may bat or bowl in an innings, substitutes included
NUM_RECENT = 6  # outcomes that `State.recent` keeps
NOTHING = -1


class Balls(NamedTuple):
    """One delivery in each of R innings, or (R, T) of them: what read.Delivery holds, as arrays."""

    outcome: IntArray  # NOTHING where no ball was bowled
    total: IntArray
    bat: IntArray
    ran: IntArray
    charged: IntArray
    legal: BoolArray
    no_ball: BoolArray
    wickets: IntArray
    bowlers_wicket: BoolArray


class State(NamedTuple):
    """What is known before a ball. Shapes: (R,), or (R, T) of all balls; recent (..., 6)."""

    innings: IntArray  # 0 or 1
    is_international: BoolArray
    max_balls: IntArray
    target: IntArray  # 0 in the first innings
    over: IntArray  # from 0
    balls: IntArray  # legal ones bowled
    over_balls: IntArray  # legal ones bowled in this over
    score: IntArray
    wickets: IntArray
    free_hit: BoolArray
    striker: IntArray  # number of the player in the innings
    partner: IntArray
    bowler: IntArray
    striker_faced: IntArray
    striker_runs: IntArray
    partner_faced: IntArray
    partner_runs: IntArray
    bowler_balls: IntArray
    bowler_runs: IntArray
    bowler_wickets: IntArray
    partnership_balls: IntArray
    recent: IntArray  # last outcomes, the latest first; NOTHING before the first
    striker_history: FloatArray  # (..., G); NaN: unknown
    partner_history: FloatArray
    bowler_history: FloatArray

    @property
    def balls_left(self) -> IntArray:
        """Return the legal balls left, at least 1 before a ball."""
        left: IntArray = np.maximum(self.max_balls - self.balls, 1)
        return left

    @property
    def needed(self) -> IntArray:
        """Return the runs needed to win; 0 in the first innings."""
        return np.where(self.target > 0, np.maximum(self.target - self.score, 0), 0)


Fields = TypeVar("Fields", Balls, State)


def taken(fields: Fields, where: Any) -> Fields:
    """Take the same part of every array: `where` is a mask or an index."""
    kind: Any = type(fields)
    part: Fields = kind(*(array[where] for array in fields))
    return part


KEPT = (  # what changes from ball to ball, beside the score
    "balls",
    "over_balls",
    "wickets",
    "free_hit",
    "partnership_balls",
    "faced",
    "scored",
    "bowled",
    "conceded",
    "taken",
    "recent",
)


class Scoreboard:
    """Keeps the score of R innings side by side, ball by ball."""

    def __init__(
        self,
        innings: IntArray,
        is_international: BoolArray,
        max_balls: IntArray,
        target: IntArray,
        score: IntArray,
        batter_history: FloatArray,
        bowler_history: FloatArray,
    ) -> None:
        """Begin R innings. Shapes: (R,), histories (R, P, G)."""
        count = len(innings)
        self._rows = np.arange(count)
        self._fixed = innings, is_international, max_balls, target
        self._batter_history = batter_history
        self._bowler_history = bowler_history
        self.max_balls = max_balls
        self.target = target
        self.score = score.astype(np.int64)
        self.balls = np.zeros(count, np.int64)
        self.over_balls = np.zeros(count, np.int64)
        self.wickets = np.zeros(count, np.int64)
        self.free_hit = np.zeros(count, bool)
        self.partnership_balls = np.zeros(count, np.int64)
        self.faced = np.zeros((count, MAX_PLAYERS), np.int64)
        self.scored = np.zeros((count, MAX_PLAYERS), np.int64)
        self.bowled = np.zeros((count, MAX_PLAYERS), np.int64)
        self.conceded = np.zeros((count, MAX_PLAYERS), np.int64)
        self.taken = np.zeros((count, MAX_PLAYERS), np.int64)
        self.recent = np.full((count, NUM_RECENT), NOTHING, np.int64)

    def repeated(self, count: int) -> "Scoreboard":
        """Return `count` boards like the only row of this one."""
        rows = np.zeros(count, np.int64)
        innings, is_international, max_balls, target = self._fixed
        board = Scoreboard(
            innings[rows],
            is_international[rows],
            max_balls[rows],
            target[rows],
            self.score[rows],
            self._batter_history[rows],
            self._bowler_history[rows],
        )
        for name in KEPT:
            setattr(board, name, getattr(self, name)[rows])
        return board

    def begin_over(self, rows: BoolArray) -> None:
        """Begin an over in some innings (R,)."""
        self.over_balls[rows] = 0

    def state(
        self, over: IntArray, striker: IntArray, partner: IntArray, bowler: IntArray
    ) -> State:
        """Return what is known before the ball that these players meet in. Shapes: (R,)."""
        rows = self._rows
        return State(
            *self._fixed,
            over=over,
            balls=self.balls.copy(),
            over_balls=self.over_balls.copy(),
            score=self.score.copy(),
            wickets=self.wickets.copy(),
            free_hit=self.free_hit.copy(),
            striker=striker,
            partner=partner,
            bowler=bowler,
            striker_faced=self.faced[rows, striker],
            striker_runs=self.scored[rows, striker],
            partner_faced=self.faced[rows, partner],
            partner_runs=self.scored[rows, partner],
            bowler_balls=self.bowled[rows, bowler],
            bowler_runs=self.conceded[rows, bowler],
            bowler_wickets=self.taken[rows, bowler],
            partnership_balls=self.partnership_balls.copy(),
            recent=self.recent.copy(),
            striker_history=self._batter_history[rows, striker],
            partner_history=self._batter_history[rows, partner],
            bowler_history=self._bowler_history[rows, bowler],
        )

    def play(self, ball: Balls, striker: IntArray, bowler: IntArray) -> None:
        """Count one ball in each innings; nothing changes where its outcome is NOTHING."""
        rows = np.flatnonzero(ball.outcome != NOTHING)
        ball = taken(ball, rows)
        striker, bowler = striker[rows], bowler[rows]
        self.score[rows] += ball.total
        self.balls[rows] += ball.legal
        self.over_balls[rows] += ball.legal
        self.wickets[rows] += ball.wickets
        self.partnership_balls[rows] += ball.legal
        self.partnership_balls[rows[ball.wickets > 0]] = 0
        self.faced[rows, striker] += ball.legal | ball.no_ball  # all but wides
        self.scored[rows, striker] += ball.bat
        self.bowled[rows, bowler] += ball.legal
        self.conceded[rows, bowler] += ball.charged
        self.taken[rows, bowler] += ball.bowlers_wicket
        # a free hit follows a no-ball, and stays through wides
        self.free_hit[rows] = ball.no_ball | (self.free_hit[rows] & ~ball.legal)
        self.recent[rows, 1:] = self.recent[rows, :-1]
        self.recent[rows, 0] = ball.outcome
