"""The vocabulary: outcomes, what is known before a ball, and buckets of the state at an over's start.

Every field has token ids of its own. The edges of its buckets come from training matches.

Shapes: N overs or balls, G groups of a history.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hrm_tasks.cricket.fits import PHASE_STARTS
from hrm_tasks.cricket.history import GROUPS
from hrm_tasks.cricket.read import MAX_OVERS, OUTCOMES
from hrm_tasks.cricket.scoreboard import BoolArray, FloatArray, IntArray, State

PAD, START = 0, 1  # START: there was no earlier ball
FIRST_OUTCOME = 2
NUM_OUTCOMES = len(OUTCOMES)
FIRST_BEFORE = FIRST_OUTCOME + NUM_OUTCOMES

# What is known before a ball: who is on strike, and how many balls he has faced; or a free hit.
STRIKERS = 3  # the one at the over's start, his partner then, another
FACED = (0.5, 3.5, 9.5, 19.5, 34.5)
NUM_FACED = len(FACED) + 1
NUM_FACED_NEW = 3  # buckets of another batter: he came in during the over
FIRST_NEW = 2 * NUM_FACED
FIRST_FREE_HIT = FIRST_NEW + NUM_FACED_NEW
NUM_BEFORE = FIRST_FREE_HIT + STRIKERS
FIRST_FIELD = FIRST_BEFORE + NUM_BEFORE

EXACT_NEEDED = 12  # runs needed are told exactly below here
Edges = Mapping[str, list[float]]
Value = Callable[[State], npt.NDArray[Any]]


class Field(NamedTuple):
    """One field of a prefix: its value, and how it is cut into buckets."""

    name: str
    value: Value  # NaN: the bucket of its own, the first one
    edges: tuple[float, ...] = ()  # of fixed buckets; those of other fields come from the data
    num_quantiles: int = 0  # buckets of equal size, for a field whose edges come from the data
    has_none: bool = False

    @property
    def size(self) -> int:
        """Return the number of its tokens."""
        buckets = self.num_quantiles or len(self.edges) + 1
        return buckets + self.has_none


def _steps(last: int) -> tuple[float, ...]:
    """Return the edges that give 0 to `last` a bucket each."""
    return tuple(number + 0.5 for number in range(last))


def _per(runs: IntArray, balls: IntArray) -> FloatArray:
    """Return runs a ball; NaN where there was no ball."""
    values = runs / np.maximum(balls, 1)
    return np.where(balls > 0, values, np.nan)


def _chased(state: State, values: IntArray | FloatArray) -> FloatArray:
    """Return values that only a chasing side has; NaN in the first innings."""
    return np.where(state.target > 0, values, np.nan).astype(np.float64)


def _history(who: str, group: int) -> Value:
    """Return the value of one group of a player's history."""

    def value(state: State) -> FloatArray:
        histories: FloatArray = getattr(state, f"{who}_history")
        return histories[..., group]

    return value


def _histories(who: str) -> list[Field]:
    """Return the fields of a player's history, a bucket of each for an unknown player."""
    fields = []
    for group, name in enumerate(GROUPS):
        value = _history(who, group)
        fields.append(Field(f"{who}_{name}", value, num_quantiles=3, has_none=True))
    return fields


FIELDS = (
    Field("innings", lambda state: state.innings, _steps(1)),
    Field("competition", lambda state: state.is_international, _steps(1)),
    Field("limit", lambda state: state.max_balls, (6 * MAX_OVERS - 0.5,)),
    Field("over", lambda state: state.over, _steps(MAX_OVERS - 1)),
    Field("phase", lambda state: state.over, tuple(start - 0.5 for start in PHASE_STARTS)),
    Field("wickets", lambda state: state.wickets, _steps(9)),
    Field("score", lambda state: state.score, num_quantiles=4),
    Field("run_rate", lambda state: _per(state.score, state.balls), num_quantiles=4, has_none=True),
    Field("target", lambda state: _chased(state, state.target), num_quantiles=3, has_none=True),
    Field(
        "required",
        lambda state: _chased(state, state.needed / state.balls_left),
        num_quantiles=6,
        has_none=True,
    ),
    Field(
        "needed",
        lambda state: _chased(state, state.needed),
        (*(number + 0.5 for number in range(1, EXACT_NEEDED)), 17.5, 29.5, 59.5, 99.5),
        has_none=True,
    ),
    Field("partnership", lambda state: state.partnership_balls, (0.5, 9.5, 24.5)),
    Field("bowler_overs", lambda state: state.bowler_balls, (0.5, 6.5, 12.5)),
    Field(
        "bowler_economy",
        lambda state: _per(state.bowler_runs, state.bowler_balls),
        num_quantiles=4,
        has_none=True,
    ),
    Field("bowler_wickets", lambda state: state.bowler_wickets, _steps(2)),
    *_histories("bowler"),
    Field("striker_faced", lambda state: state.striker_faced, FACED),
    Field(
        "striker_rate",
        lambda state: _per(state.striker_runs, state.striker_faced),
        num_quantiles=4,
        has_none=True,
    ),
    *_histories("striker"),
    Field("partner_faced", lambda state: state.partner_faced, FACED[1::2]),
    Field(
        "partner_rate",
        lambda state: _per(state.partner_runs, state.partner_faced),
        num_quantiles=3,
        has_none=True,
    ),
    *_histories("partner"),
)
SIZES = [field.size for field in FIELDS]
FIRST_TOKENS = FIRST_FIELD + np.cumsum([0, *SIZES[:-1]])
VOCAB_SIZE = FIRST_FIELD + sum(SIZES)


def find_edges(state: State) -> dict[str, list[float]]:
    """Find the edges of the buckets that come from the data. Shapes: fields (N,) of training overs."""
    edges: dict[str, list[float]] = {}
    for field in FIELDS:
        if not field.num_quantiles:
            continue
        values = np.asarray(field.value(state), np.float64)
        values = values[~np.isnan(values)]
        if not values.size:
            edges[field.name] = []
            continue
        shares = np.arange(1, field.num_quantiles) / field.num_quantiles
        found = np.unique(np.quantile(values, shares).round(4))
        edges[field.name] = found.tolist()
    return edges


def are_edges(edges: object) -> bool:
    """Return True if these are edges that `find_edges` may have found."""
    if not isinstance(edges, dict):
        return False
    for field in FIELDS:
        if not field.num_quantiles:
            continue
        own = edges.get(field.name)
        if not isinstance(own, list) or len(own) >= field.num_quantiles:
            return False
        if not all(type(edge) in (int, float) for edge in own) or own != sorted(set(own)):
            return False
    return len(edges) == sum(field.num_quantiles > 0 for field in FIELDS)


def prefix_tokens(state: State, edges: Edges) -> IntArray:
    """Write the state at the start of N overs as tokens. Returns: (N, fields)."""
    columns = []
    for field, first in zip(FIELDS, FIRST_TOKENS, strict=True):
        values = np.asarray(field.value(state), np.float64)
        cuts = np.array(edges.get(field.name, field.edges), np.float64)
        buckets = np.searchsorted(cuts, values, side="right")
        if field.has_none:
            buckets = np.where(np.isnan(values), 0, buckets + 1)
        columns.append(first + buckets)
    return np.stack(columns, axis=-1)


def before_tokens(state: State, striker: IntArray, partner: IntArray) -> IntArray:
    """Write what is known before N balls as tokens; the players are those of their over's start.

    Shapes: fields (N,), (N,), (N,) -> (N,).
    """
    others = np.where(state.striker == partner, 1, STRIKERS - 1)
    who = np.where(state.striker == striker, 0, others)
    faced = np.searchsorted(FACED, state.striker_faced)
    known = who * NUM_FACED + faced
    new = FIRST_NEW + np.minimum(faced, NUM_FACED_NEW - 1)
    place = np.where(who == STRIKERS - 1, new, known)
    tokens: IntArray = FIRST_BEFORE + np.where(state.free_hit, FIRST_FREE_HIT + who, place)
    return tokens


def forget_players(state: State, forgotten: BoolArray, forgotten_bowler: BoolArray) -> State:
    """Make the histories of some players unknown.

    Shapes: fields (N,), (N, P) batters that are forgotten in each row, (N, P) bowlers.
    """
    rows = np.arange(len(state.striker))
    hidden = {}
    for who, mask in (
        ("striker", forgotten),
        ("partner", forgotten),
        ("bowler", forgotten_bowler),
    ):
        is_hidden = mask[rows, getattr(state, who)]
        history = getattr(state, f"{who}_history")
        hidden[f"{who}_history"] = np.where(is_hidden[:, None], np.nan, history)
    return state._replace(**hidden)
