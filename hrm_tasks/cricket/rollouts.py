"""Play an innings on at random, many times side by side, by the rules of the game.

    outcome -> detail -> rules (strike, over, target, all out, limit) -> what is known before the next

Players who have not appeared yet are unknown. The bowler of an over is drawn among those who may bowl.

Shapes: R rollouts, K outcomes, P players of a side.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from hrm_core.tasks.capabilities import Ask
from hrm_tasks.cricket import fits
from hrm_tasks.cricket.alphabet import (
    FIRST_OUTCOME,
    PAD,
    START,
    Edges,
    before_tokens,
    prefix_tokens,
)
from hrm_tasks.cricket.knowledge import Knowledge
from hrm_tasks.cricket.layout import NUM_SLOTS, PREFIX_LEN, SEQ_LEN
from hrm_tasks.cricket.read import MAX_OVERS
from hrm_tasks.cricket.scoreboard import (
    MAX_PLAYERS,
    NOTHING,
    Balls,
    BoolArray,
    FloatArray,
    IntArray,
    State,
)
from hrm_tasks.cricket.situation import Situation

USUAL_BOWLERS = 6  # a side that has used as many seldom takes another
ANOTHER_BOWLER = 0.2  # weight of one more then; that of each of the others is 1


class Chances(Protocol):
    """Gives the probabilities of the outcomes of a ball in R innings that are played on."""

    def begin_chunk(self, state: State, live: BoolArray) -> None:
        """Begin an over in the innings that are live (R,)."""
        ...

    def chances(self, state: State, live: BoolArray) -> FloatArray:
        """Return the probabilities (R, K) of the next ball of the innings that are live."""
        ...

    def observe(self, outcome: IntArray) -> None:
        """Take note of the outcomes (R,) that were drawn; NOTHING where no ball was bowled."""
        ...


class Simulated(NamedTuple):
    """Results of R rollouts."""

    score: IntArray  # (R,) at the end
    wickets: IntArray  # (R,)
    after_over: IntArray  # (R, 20) score after each over; the last one where no more is bowled

    def won(self, target: int) -> FloatArray:
        """Return 1 where the target was reached, 1/2 for a tie, 0 else. Returns: (R,)."""
        shares: FloatArray = (self.score >= target) + 0.5 * (self.score == target - 1)
        return shares


class TableChances:
    """The probabilities of the table."""

    def __init__(self, knowledge: Knowledge) -> None:
        self._table = knowledge.table

    def begin_chunk(self, state: State, live: BoolArray) -> None:
        """Do nothing: a table knows no overs."""

    def chances(self, state: State, live: BoolArray) -> FloatArray:
        """Return the probabilities of the table's cell of each innings."""
        cells = fits.cell_of(np.minimum(state.over, MAX_OVERS - 1), state.wickets, state.innings)
        probabilities: FloatArray = self._table[cells]
        return probabilities

    def observe(self, outcome: IntArray) -> None:
        """Do nothing."""


class ModelChances:
    """The probabilities of a network, which reads one over after the other."""

    def __init__(self, ask: Ask, edges: Edges, situation: Situation, count: int) -> None:
        """Read what was played up to the situation, once for all `count` rollouts."""
        self._ask = ask
        self._edges = edges
        chunks = situation.inputs.reshape(-1, SEQ_LEN)
        state: Any = None
        for chunk in chunks[: situation.chunk]:
            state = ask.begin(1, PREFIX_LEN, state)
            state, _ = ask.extend(state, chunk[None])
        state = ask.begin(1, PREFIX_LEN, state)
        played = PREFIX_LEN + 2 * situation.slot
        state, _ = ask.extend(state, chunks[situation.chunk][None, :played])
        self._state = ask.take(state, np.zeros(count, np.int64))
        self._length = played  # tokens of this chunk so far
        own = chunks[situation.chunk][PREFIX_LEN + 1 : played : 2]
        self._outcomes = [np.full(count, token) for token in own]  # tokens of this chunk's balls
        self._waiting = np.empty((count, 0), np.int64)  # tokens that the network has not read
        first = situation.state
        self._pair = np.repeat(first.striker, count), np.repeat(first.partner, count)
        if situation.slot:
            self._pair = _pair_at_start(situation, count)

    def begin_chunk(self, state: State, live: BoolArray) -> None:
        """Fill the chunk with padding, then read the prefix of the next one."""
        count = len(live)
        padding = np.full((count, SEQ_LEN - self._length - self._waiting.shape[1]), PAD)
        whole, _ = self._ask.extend(self._state, np.hstack([self._waiting, padding]))
        prefix = np.hstack([prefix_tokens(state, self._edges), self._previous(count)])
        prefix[~live] = PAD
        self._state, _ = self._ask.extend(self._ask.begin(count, PREFIX_LEN, whole), prefix)
        self._length = PREFIX_LEN
        self._waiting = np.empty((count, 0), np.int64)
        self._outcomes = []
        self._pair = state.striker, state.partner

    def chances(self, state: State, live: BoolArray) -> FloatArray:
        """Read the last outcome and what is known before the ball: two positions."""
        before = np.where(live, before_tokens(state, *self._pair), PAD)
        tokens = np.hstack([self._waiting, before[:, None]])
        self._state, probabilities = self._ask.extend(self._state, tokens)
        self._length += tokens.shape[1]
        return probabilities[:, -1].astype(np.float64)

    def observe(self, outcome: IntArray) -> None:
        """Keep the outcomes: they are read with the next ball."""
        tokens = np.where(outcome == NOTHING, PAD, FIRST_OUTCOME + outcome)
        self._waiting = tokens[:, None]
        self._outcomes.append(tokens)

    def _previous(self, count: int) -> IntArray:
        """Return the outcomes of the chunk before, padded on the left. Returns: (R, 12)."""
        previous = np.full((count, NUM_SLOTS), START)
        if not self._outcomes:
            return previous
        found = np.stack(self._outcomes, axis=1)
        num_balls = (found != PAD).sum(axis=1)
        slots = np.arange(found.shape[1])
        rows, places = np.nonzero(slots < num_balls[:, None])
        previous[rows, NUM_SLOTS - num_balls[rows] + places] = found[rows, places]
        return previous


def _pair_at_start(situation: Situation, count: int) -> tuple[IntArray, IntArray]:
    """Return the numbers of striker and partner at the start of the chunk, for R rollouts."""
    innings = situation.innings
    balls = innings.overs[-1].deliveries
    first = balls[len(balls) - situation.slot]
    names: dict[str, None] = {}
    for ball in innings.deliveries:
        names[ball.batter] = names[ball.partner] = None
    order = list(names)
    pair = order.index(first.batter), order.index(first.partner)
    return np.full(count, pair[0]), np.full(count, pair[1])


def simulate(
    situation: Situation,
    chances: Chances,
    details: Sequence[tuple[IntArray, FloatArray]],
    count: int,
    rng: np.random.Generator,
) -> Simulated:
    """Play an innings on `count` times."""
    return _Simulation(situation, chances, details, count, rng).run()


class _Simulation:
    """R innings in progress."""

    def __init__(
        self,
        situation: Situation,
        chances: Chances,
        details: Sequence[tuple[IntArray, FloatArray]],
        count: int,
        rng: np.random.Generator,
    ) -> None:
        self._chances = chances
        self._details = details
        self._rng = rng
        self._rows = np.arange(count)
        self.board = situation.board.repeated(count)
        state = situation.state
        self.over = np.repeat(state.over, count)
        self.striker = np.repeat(state.striker, count)
        self.partner = np.repeat(state.partner, count)
        self.bowler = np.repeat(state.bowler, count)
        self.next_batter = np.full(count, situation.num_batters)
        self.num_bowlers = np.full(count, situation.num_bowlers)
        self.slot = situation.slot
        self.max_spell = -(-int(state.max_balls[0]) // 30) * 6  # balls a bowler may bowl
        self.after_over = np.tile(self.board.score[:, None], (1, MAX_OVERS))

    def run(self) -> Simulated:
        """Play until every innings is over."""
        live = self._unfinished()
        over_goes_on = live.copy()
        while live.any():
            while over_goes_on.any() and self.slot < NUM_SLOTS:
                self._ball(over_goes_on)
                self.slot += 1
                live = self._unfinished()
                over_goes_on &= live & (self.board.over_balls < 6)
            ended = live & ~over_goes_on
            self._note_score()
            self._end_over(ended)
            if live.any():
                self._chances.begin_chunk(self._state(), live)
            over_goes_on = live.copy()
            self.slot = 0
        return Simulated(self.board.score, self.board.wickets, self.after_over)

    def _unfinished(self) -> BoolArray:
        board = self.board
        is_won = (board.target > 0) & (board.score >= board.target)
        unfinished: BoolArray = (board.wickets < 10) & (board.balls < board.max_balls) & ~is_won
        return unfinished

    def _state(self) -> State:
        over = np.minimum(self.over, MAX_OVERS - 1)
        return self.board.state(over, self.striker, self.partner, self.bowler)

    def _ball(self, live: BoolArray) -> None:
        """Bowl a ball in the innings that are live."""
        shares = self._chances.chances(self._state(), live)
        drawn = _draw(shares, self._rng)
        outcome = np.where(live, drawn, NOTHING)
        detail = self._detail(outcome)
        ball = Balls(
            outcome,
            total=detail[:, 0],
            bat=detail[:, 1],
            ran=detail[:, 2],
            charged=detail[:, 3],
            legal=detail[:, 4] > 0,
            no_ball=detail[:, 5] > 0,
            wickets=detail[:, 6],
            bowlers_wicket=detail[:, 7] > 0,
        )
        self.board.play(ball, self.striker, self.bowler)
        self._chances.observe(outcome)
        self._change_players(ball, detail[:, 8] > 0)

    def _detail(self, outcome: IntArray) -> IntArray:
        """Draw the detail of each outcome. Returns: (R, 9); zeros where no ball was bowled."""
        found = np.zeros((len(outcome), 9), np.int64)
        for number, (rows, shares) in enumerate(self._details):
            own = np.flatnonzero(outcome == number)
            found[own] = rows[self._rng.choice(len(rows), len(own), p=shares)]
        return found

    def _change_players(self, ball: Balls, partner_out: BoolArray) -> None:
        """Send in new batters and change the strike."""
        is_out = ball.wickets > 0
        new = np.minimum(self.next_batter, MAX_PLAYERS - 1)
        self.striker = np.where(is_out & ~partner_out, new, self.striker)
        self.partner = np.where(is_out & partner_out, new, self.partner)
        self.next_batter = self.next_batter + is_out
        crossed = ball.ran % 2 > 0
        self._cross(crossed)

    def _cross(self, crossed: BoolArray) -> None:
        striker = np.where(crossed, self.partner, self.striker)
        self.partner = np.where(crossed, self.striker, self.partner)
        self.striker = striker

    def _note_score(self) -> None:
        """Note the score after this over, and for the overs to come."""
        overs = np.arange(MAX_OVERS)
        later = overs >= self.over[:, None]
        self.after_over = np.where(later, self.board.score[:, None], self.after_over)

    def _end_over(self, ended: BoolArray) -> None:
        """Change ends and choose the next bowlers."""
        self.board.begin_over(ended)
        self._cross(ended)
        self.over = self.over + ended
        bowler = self._next_bowlers()
        is_new = ended & (bowler >= self.num_bowlers)
        self.bowler = np.where(ended, bowler, self.bowler)
        self.num_bowlers = self.num_bowlers + is_new

    def _next_bowlers(self) -> IntArray:
        """Draw a bowler for each innings: not the last one, nobody beyond his share of overs."""
        players = np.arange(MAX_PLAYERS)
        is_known = players < self.num_bowlers[:, None]
        may_bowl = is_known & (self.board.bowled + 6 <= self.max_spell)
        may_bowl &= players != self.bowler[:, None]
        weights = may_bowl.astype(np.float64)
        another = np.minimum(self.num_bowlers, MAX_PLAYERS - 1)
        is_usual = self.num_bowlers < USUAL_BOWLERS
        weights[self._rows, another] += np.where(is_usual, 1.0, ANOTHER_BOWLER)
        return _draw(weights / weights.sum(axis=1, keepdims=True), self._rng)


def _draw(shares: FloatArray, rng: np.random.Generator) -> IntArray:
    """Draw one of K for each row. Shapes: (R, K) -> (R,)."""
    sums = np.cumsum(shares, axis=1)
    points = rng.random(len(shares)) * sums[:, -1]
    drawn = (sums <= points[:, None]).sum(axis=1)
    chosen: IntArray = np.minimum(drawn, shares.shape[1] - 1)
    return chosen
