"""One moment of a match: the ball that comes next, and everything that is known before it.

Overs are written as people write them: 14.3 is 14 overs and 3 balls.
"""

import re
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from hrm_core.errors import DataError
from hrm_core.messages import shortened
from hrm_tasks.cricket.alphabet import Edges
from hrm_tasks.cricket.context import Played, play_on
from hrm_tasks.cricket.history import Record, innings_histories
from hrm_tasks.cricket.knowledge import Knowledge
from hrm_tasks.cricket.layout import place_balls, write_rows
from hrm_tasks.cricket.read import Delivery, Innings, Match, Over
from hrm_tasks.cricket.scoreboard import IntArray, Scoreboard, State, taken

AT = re.compile(r"([12]):(\d{1,2})(?:\.([0-6]))?")
NEXT_BATTER = "the next batter"
NEXT_BOWLER = "the next bowler"


class Moment(NamedTuple):
    """A place in a match: innings from 1, whole overs, and legal balls of the next one."""

    innings: int
    overs: int
    balls: int

    def __str__(self) -> str:
        return f"{self.innings}:{self.overs}.{self.balls}"


@dataclass(frozen=True, eq=False)
class Situation:
    """One moment of a match, as the network and the simulation need it."""

    match: Match
    moment: Moment
    innings: Innings  # up to the moment
    striker: str
    partner: str
    bowler: str
    state: State  # before the ball, (1,)
    board: Scoreboard  # before the ball, one row
    inputs: IntArray  # (1, C * S), the ball itself included, its outcome not known
    chunk: int
    slot: int
    num_batters: int  # that have appeared
    num_bowlers: int

    def text(self) -> str:
        """Describe the situation in one line."""
        innings = self.innings
        overs = f"{self.moment.overs}.{self.moment.balls}"
        score = f"{innings.team} {innings.runs}/{innings.wickets} after {overs} overs"
        if innings.target is not None:
            left = innings.max_balls - int(self.state.balls[0])
            needed = innings.target - innings.runs
            score += f", {needed} needed off {left} balls"
        faced = f"{int(self.state.striker_runs[0])} off {int(self.state.striker_faced[0])}"
        free_hit = ", free hit" if self.state.free_hit[0] else ""
        return f"{score}; {self.striker} ({faced}) faces {self.bowler}{free_hit}"


def read_at(text: str) -> Moment:
    """Read a moment such as 2:14.3. Raises: DataError."""
    found = AT.fullmatch(text)
    if not found:
        raise DataError(
            f"--at {shortened(text, 40)}: expected INNINGS:OVERS.BALLS, e.g. 2:14.3 for the second "
            "innings after 14 overs and 3 balls"
        )
    innings, overs, balls = int(found[1]), int(found[2]), int(found[3] or 0)
    return Moment(innings, overs + (balls == 6), balls % 6)


def last_moment(match: Match) -> Moment:
    """Return the moment at the end of what is recorded."""
    number = max(1, len(match.innings))
    overs = match.innings[-1].overs if match.innings else ()
    if not overs:
        return Moment(number, 0, 0)
    legal = sum(ball.legal for ball in overs[-1].deliveries)
    last = overs[-1].number
    return Moment(number, last + 1, 0) if legal >= 6 else Moment(number, last, legal)


def last_open_moment(match: Match) -> Moment:
    """Return the end of what is recorded; of an innings that is over, the moment before its last ball."""
    end = last_moment(match)
    if not match.innings or not _is_finished(match.innings[-1]):
        return end
    over = match.innings[-1].overs[-1]
    legal = sum(ball.legal for ball in over.deliveries[:-1])
    return Moment(end.innings, over.number, legal)


def situation_at(match: Match, moment: Moment, knowledge: Knowledge, edges: Edges) -> Situation:
    """Return what was known at a moment. Raises: DataError if it never came."""
    innings, following = _cut(match, moment)
    following = following or _following(innings)
    ball = _no_outcome(following)
    overs = list(innings.overs)
    if overs and overs[-1].number == moment.overs:
        overs[-1] = overs[-1]._replace(deliveries=(*overs[-1].deliveries, ball))
    else:
        overs.append(Over(moment.overs, (ball,)))
    with_ball = replace(innings, overs=tuple(overs))
    record = knowledge.record() if match.date > knowledge.last_day else Record()
    known = innings_histories(match, with_ball, record, knowledge.shares)
    arrays = known[0][None], known[1][None]
    played, _ = play_on([replace(match, innings=(with_ball,))], *arrays)
    row, place = np.nonzero(played.bowled)
    places = place_balls(played, [match.name])
    inputs, _ = write_rows(played, places, edges)
    last = row[-1], place[-1]
    state = taken(played.state, (row[-1:], place[-1:]))
    return Situation(
        match,
        moment,
        innings,
        ball.batter,
        ball.partner,
        ball.bowler,
        state,
        _board(match, innings, arrays, state),
        inputs,
        int(places.chunk[last]),
        int(places.slot[last]),
        int(_latest(played, "striker", "partner")) + 1,
        int(_latest(played, "bowler")) + 1,
    )


def _latest(played: Played, *names: str) -> int:
    """Return the highest number of a player that has appeared."""
    return max(int(getattr(played.state, name)[played.bowled].max()) for name in names)


def _board(
    match: Match, innings: Innings, histories: tuple[np.ndarray, np.ndarray], state: State
) -> Scoreboard:
    """Return the scoreboard before the ball."""
    _, board = play_on([replace(match, innings=(innings,))], *histories)
    board.over_balls = state.over_balls.astype(np.int64)
    return board


def _cut(match: Match, moment: Moment) -> tuple[Innings, Delivery | None]:
    """Return the innings up to a moment, and the ball that followed if it was bowled."""
    if moment.innings > len(match.innings):
        raise _never(match, moment)
    innings = match.innings[moment.innings - 1]
    before: list[Over] = []
    for over in innings.overs:
        if over.number > moment.overs or (over.number == moment.overs and not moment.balls):
            first = next(iter(over.deliveries), None)
            return _upto(innings, before, moment), first
        if over.number == moment.overs:
            legal = 0
            for place, ball in enumerate(over.deliveries):
                if legal == moment.balls:
                    kept = over._replace(deliveries=over.deliveries[:place])
                    return _upto(innings, [*before, kept], moment), ball
                legal += ball.legal
        before.append(over)
    end = last_moment(replace(match, innings=match.innings[: moment.innings]))
    if moment != end or _is_finished(innings):
        raise _never(match, moment)
    return _upto(innings, before, moment), None


def _upto(innings: Innings, overs: list[Over], moment: Moment) -> Innings:
    """Return an innings that ends here."""
    return replace(innings, overs=tuple(overs), after=0)


def _is_finished(innings: Innings) -> bool:
    """Return True if no ball can follow."""
    legal = sum(ball.legal for ball in innings.deliveries)
    is_won = innings.target is not None and innings.runs >= innings.target
    return is_won or innings.wickets >= 10 or legal >= innings.max_balls


def _never(match: Match, moment: Moment) -> DataError:
    end = last_moment(match)
    return DataError(
        f"match {match.name}: no ball follows {moment}; what is recorded ends at {end}"
    )


def _following(innings: Innings) -> Delivery:
    """Return the ball that would follow, with the players as the rules place them."""
    if not innings.deliveries:
        return _ball("the first batter", "the second batter", NEXT_BOWLER)
    last = innings.deliveries[-1]
    striker, partner = last.batter, last.partner
    if last.ran % 2:
        striker, partner = partner, striker
    gone = {*last.players_out, *last.retired}
    striker = NEXT_BATTER if striker in gone else striker
    partner = NEXT_BATTER if partner in gone else partner
    legal = sum(ball.legal for ball in innings.overs[-1].deliveries)
    if legal >= 6:
        return _ball(partner, striker, NEXT_BOWLER)
    return _ball(striker, partner, last.bowler)


def _ball(batter: str, partner: str, bowler: str) -> Delivery:
    """Return a ball without an outcome."""
    return Delivery(0, 0, 0, 0, 0, True, False, 0, False, (), (), batter, partner, bowler)


def _no_outcome(ball: Delivery) -> Delivery:
    """Return a ball that is still to be bowled."""
    return _ball(ball.batter, ball.partner, ball.bowler)
