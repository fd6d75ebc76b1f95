"""The chance to win by over: from rollouts of the network, and by logistic regression."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hrm_core.draws import Purpose, stream
from hrm_core.errors import DataError
from hrm_core.tasks.capabilities import Ask, Table
from hrm_tasks.cricket import charts
from hrm_tasks.cricket.alphabet import Edges
from hrm_tasks.cricket.knowledge import Knowledge
from hrm_tasks.cricket.read import Innings, Match
from hrm_tasks.cricket.rollouts import ModelChances, simulate
from hrm_tasks.cricket.scoreboard import FloatArray
from hrm_tasks.cricket.situation import Moment, situation_at

ROLLOUTS = 200  # of each point
NUM_SWINGS = 5


class Point(NamedTuple):
    """The chance of one side to win at the start of an over."""

    innings: int  # from 1
    over: int  # overs bowled in it
    score: str  # of the side that bats, "87/3"
    network: float  # chance of the side that bats second
    logistic: float | None  # only in the second innings
    wickets: int  # that fell in the over that follows

    @property
    def place(self) -> str:
        """Return the innings and the overs bowled."""
        return f"{self.innings}:{self.over}"


@dataclass(frozen=True)
class Worm:
    """The chance of the side that bats second, over by over."""

    chasing: str
    points: Sequence[Point]

    @property
    def swings(self) -> list[tuple[Point, Point]]:
        """Return the overs that changed the chance most, the largest first."""
        pairs = list(zip(self.points, self.points[1:], strict=False))
        in_order = sorted(pairs, key=lambda pair: -abs(pair[1].network - pair[0].network))
        return in_order[:NUM_SWINGS]

    def record(self) -> Mapping[str, Any]:
        """Return the worm as JSON can hold it."""
        return {"side": self.chasing, "points": [point._asdict() for point in self.points]}

    def pages(self) -> list[str | Table]:
        """Return the largest swings as a table."""
        rows = []
        for before, after in self.swings:
            change = after.network - before.network
            chances = f"{before.network:.0%} to {after.network:.0%}"
            scores = f"{before.score} to {after.score}"
            rows.append((f"{before.place} to {after.place}", scores, chances, f"{change:+.0%}"))
        title = f"largest swings of the chance that {self.chasing} win"
        return [Table(title, ("overs", "score", "chance", "change"), rows)]


def draw_worm(
    out: Path, match: Match, knowledge: Knowledge, edges: Edges, ask: Ask, seed: int
) -> Worm:
    """Compute the chance to win at the start of every over, and draw it.

    Raises: DataError if no over has begun; HRMError if the picture cannot be written.
    """
    points = []
    for number, innings in enumerate(match.innings, start=1):
        for over in innings.overs:
            if over.deliveries:
                moment = Moment(number, over.number, 0)
                fallen = sum(ball.wickets for ball in over.deliveries)
                points.append(_point(match, moment, fallen, knowledge, edges, ask, seed))
    if not points:
        raise DataError(f"match {match.name}: no over to draw; give a match that has begun")
    batting = match.innings[0].team
    chasing = next(team for team in match.teams if team != batting)
    if match.is_over and len(match.innings) == 2:
        points.append(_end(match, chasing))
    worm = Worm(chasing, points)
    charts.draw_worm(out, worm.chasing, points)
    return worm


def _point(
    match: Match,
    moment: Moment,
    fallen: int,
    knowledge: Knowledge,
    edges: Edges,
    ask: Ask,
    seed: int,
) -> Point:
    """Return the chance at the start of an over."""
    situation = situation_at(match, moment, knowledge, edges)
    innings, state = situation.innings, situation.state
    chances = ModelChances(ask, edges, situation, ROLLOUTS)
    rng = stream(seed, Purpose.PUZZLES, 100 * moment.innings + moment.overs)
    simulated = simulate(situation, chances, knowledge.details, ROLLOUTS, rng)
    score = f"{innings.runs}/{innings.wickets}"
    if innings.target is not None:
        share = float(simulated.won(innings.target).mean())
        logistic = float(knowledge.curves.win_chance(state)[0])
        return Point(moment.innings, moment.overs, score, share, logistic, fallen)
    share = float(chase_chances(simulated.score + 1, innings, knowledge).mean())
    return Point(moment.innings, moment.overs, score, share, None, fallen)


def chase_chances(targets: Any, innings: Innings, knowledge: Knowledge) -> FloatArray:
    """Return the chances that targets (R,) are reached, by logistic regression at the break."""
    return knowledge.curves.chances_at_break(np.asarray(targets), innings.max_balls)


def _end(match: Match, chasing: str) -> Point:
    """Return the last point: who won."""
    second = match.innings[1]
    over = second.overs[-1].number + 1 if second.overs else 0
    share = 0.5 if match.winner is None else float(match.winner == chasing)
    return Point(2, over, f"{second.runs}/{second.wickets}", share, share, 0)
