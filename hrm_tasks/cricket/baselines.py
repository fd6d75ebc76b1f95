"""Models that are fitted to the same balls as the network: the prior, the table, logistic regression.

Shapes: B balls, K outcomes, F features.
"""

import numpy as np

from hrm_core.errors import needs_package
from hrm_tasks.cricket import fits
from hrm_tasks.cricket.ballfile import BallRows
from hrm_tasks.cricket.read import MAX_OVERS, OUTCOMES
from hrm_tasks.cricket.scoreboard import NUM_RECENT, BoolArray, FloatArray, IntArray, State

PENALTY = 0.01  # C of scikit-learn: the inverse of the strength of the penalty
MAX_ITERATIONS = 300

# edges of the buckets of numbers that act in no straight line
RUN_RATE = (0.8, 1.0, 1.15, 1.3, 1.5, 1.75, 2.0)
REQUIRED = (0.6, 0.9, 1.1, 1.25, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0, 4.0)
NEEDED = (1.5, 2.5, 3.5, 4.5, 6.5, 9.5, 14.5, 24.5, 50.0, 100.0)
FACED = (0.5, 1.5, 3.5, 6.5, 10.5, 15.5, 22.5, 30.5, 45.5)
PARTNER_FACED = (0.5, 3.5, 10.5, 22.5, 40.0)
STRIKE_RATE = (0.6, 0.9, 1.1, 1.3, 1.5, 1.8)
ECONOMY = (0.7, 1.0, 1.2, 1.5, 1.9)
PARTNERSHIP = (0.5, 3.5, 9.5, 24.5, 50.0)


def table_cells(state: State) -> IntArray:
    """Return the cell of the table of each ball (B,)."""
    return fits.cell_of(state.over, state.wickets, state.innings)


def features(state: State, *, in_match: bool = True, history: bool = False) -> FloatArray:
    """Return what logistic regression sees of each ball, (B, F).

    With `in_match` also the last outcomes and the figures of the players in this match, with
    `history` their log-ratios from earlier matches.
    """
    columns = _of_state(state)
    if in_match:
        columns += _of_match(state)
    if history:
        columns += _of_history(state)
    return np.hstack(columns).astype(np.float64)


def logistic(
    train: BallRows, test: BallRows, *, in_match: bool = True, history: bool = False
) -> FloatArray:
    """Fit multinomial logistic regression and predict. Returns: (B, K) of the test balls.

    Raises: BackendError if scikit-learn is not installed.
    """
    with needs_package("sklearn", "scikit-learn is not installed", "bench"):
        from sklearn.linear_model import LogisticRegression
    model = LogisticRegression(C=PENALTY, max_iter=MAX_ITERATIONS)
    model.fit(features(train.state, in_match=in_match, history=history), train.outcome)
    found = model.predict_proba(features(test.state, in_match=in_match, history=history))
    probabilities = np.zeros((len(found), len(OUTCOMES)))
    probabilities[:, model.classes_] = found
    return probabilities


def _of_state(state: State) -> list[FloatArray]:
    """Return the features of the state of play."""
    is_chase = state.target > 0
    phase = fits.phase_of(state.over)
    lost = np.searchsorted(fits.WICKET_STARTS, state.wickets, side="right")
    required = np.where(is_chase, state.needed / state.balls_left, np.nan)
    num_phases = len(fits.PHASES)
    num_ranges = len(fits.WICKET_STARTS) + 1
    return [
        _one_hot(state.over, MAX_OVERS),
        _one_hot(state.wickets, 10),
        _one_hot(state.over_balls, 7),
        _one_hot(is_chase, 2),
        _one_hot(state.is_international, 2),
        _one_hot(state.free_hit, 2),
        _buckets(_per(state.score, state.balls), RUN_RATE),
        _buckets(required, REQUIRED),
        _buckets(np.where(is_chase, state.needed, np.nan), NEEDED),
        _one_hot(phase * 2 + is_chase, num_phases * 2),
        _one_hot(phase * num_ranges + lost, num_phases * num_ranges),
    ]


def _of_match(state: State) -> list[FloatArray]:
    """Return the features of the last balls and of the players' figures in this match."""
    columns = [_one_hot(state.recent[:, place] + 1, 11) for place in range(NUM_RECENT)]
    return [
        *columns,
        _buckets(state.striker_faced, FACED),
        _buckets(state.partner_faced, PARTNER_FACED),
        _buckets(_per(state.striker_runs, state.striker_faced), STRIKE_RATE),
        _buckets(_per(state.bowler_runs, state.bowler_balls), ECONOMY),
        _one_hot(state.bowler_balls // 6, 4),
        _one_hot(state.bowler_wickets, 4),
        _buckets(state.partnership_balls, PARTNERSHIP),
        np.log1p(state.striker_faced)[:, None],
        np.log1p(state.striker_runs)[:, None],
    ]


def _of_history(state: State) -> list[FloatArray]:
    """Return the features of what players did in earlier matches."""
    columns = []
    for ratios in (state.striker_history, state.partner_history, state.bowler_history):
        columns += [3 * np.nan_to_num(ratios), np.isnan(ratios[:, :1]).astype(np.float64)]
    return columns


def _per(runs: IntArray, balls: IntArray) -> FloatArray:
    """Return runs a ball; NaN where there was no ball."""
    return np.where(balls > 0, runs / np.maximum(balls, 1), np.nan)


def _one_hot(numbers: IntArray | BoolArray, size: int) -> FloatArray:
    hot: FloatArray = np.eye(size)[np.clip(numbers.astype(np.int64), 0, size - 1)]
    return hot


def _buckets(values: IntArray | FloatArray, edges: tuple[float, ...]) -> FloatArray:
    """Return values as buckets between edges, one hot; the first one is NaN's."""
    known = 1 + np.searchsorted(edges, values)
    return _one_hot(np.where(np.isnan(values), 0, known), len(edges) + 2)
