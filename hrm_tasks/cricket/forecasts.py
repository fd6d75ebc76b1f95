"""Simple forecasts of a match: the final score by regression, the chase by logistic regression.

Shapes: N situations, each at the start of an over.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hrm_tasks.cricket.context import Played
from hrm_tasks.cricket.read import MAX_OVERS, Match
from hrm_tasks.cricket.scoreboard import BoolArray, FloatArray, IntArray, State, taken

NUM_TERMS = 3  # of a regression of the final score: 1, score, wickets
NUM_WIN_TERMS = 6
RIDGE = 1e-2  # penalty of the logistic regression's weights but the first
ITERATIONS = 50
QUANTILES = (0.1, 0.5, 0.9)


@dataclass(frozen=True, eq=False)
class Curves:
    """Regressions of the final score of the first innings, and of the chase."""

    score: FloatArray  # (overs, 3) weights after each number of overs, 0 to 19
    residuals: Sequence[FloatArray]  # of training, after each number of overs
    win: FloatArray  # (6,) weights of the logistic regression of the chase
    wins: float  # share of chases that were won

    def to_json(self) -> dict[str, Any]:
        """Return the curves as JSON can hold them."""
        return {
            "score": self.score.round(5).tolist(),
            "residuals": [np.sort(each).round(1).tolist() for each in self.residuals],
            "win": self.win.round(5).tolist(),
            "wins": round(self.wins, 5),
        }

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> "Curves":
        """Read the curves. Raises: ValueError, KeyError, TypeError."""
        score = np.array(content["score"], np.float64)
        residuals = [np.array(each, np.float64) for each in content["residuals"]]
        win = np.array(content["win"], np.float64)
        if score.shape != (MAX_OVERS, NUM_TERMS) or win.shape != (NUM_WIN_TERMS,):
            raise ValueError("shapes of other curves")
        if len(residuals) != MAX_OVERS or any(each.ndim != 1 for each in residuals):
            raise ValueError("residuals of other curves")
        return cls(score, residuals, win, float(content["wins"]))

    def final_scores(self, overs: int, score: int, wickets: int) -> FloatArray:
        """Return the final scores that the regression expects: one for each residual of training."""
        expected = np.array([1.0, score, wickets]) @ self.score[min(overs, MAX_OVERS - 1)]
        residuals = self.residuals[min(overs, MAX_OVERS - 1)]
        if not residuals.size:
            residuals = np.zeros(1)
        final: FloatArray = np.maximum(expected + residuals, score)
        return final

    def win_chance(self, state: State) -> FloatArray:
        """Return the probability that the chasing side wins. Shapes: fields (N,) -> (N,)."""
        return self._chance(state.needed, state.balls_left, state.wickets)

    def chances_at_break(self, targets: IntArray, max_balls: int) -> FloatArray:
        """Return the probability that each target (N,) is reached, before the chase begins."""
        nothing = np.zeros(len(targets), np.int64)
        return self._chance(targets, nothing + max_balls, nothing)

    def _chance(self, needed: IntArray, balls_left: IntArray, wickets: IntArray) -> FloatArray:
        logits = win_terms(needed, balls_left, wickets) @ self.win
        chances: FloatArray = 0.5 + 0.5 * np.tanh(logits / 2)
        return chances


def over_starts(played: Played) -> tuple[State, IntArray]:
    """Return the state at the first ball of each over, and the innings it belongs to."""
    over = played.state.over
    is_first = np.ones(over.shape, bool)
    is_first[:, 1:] = over[:, 1:] != over[:, :-1]
    chosen: BoolArray = is_first & played.bowled
    return taken(played.state, chosen), np.nonzero(chosen)[0]


def fit_curves(matches: Sequence[Match], played: Played) -> Curves:
    """Fit both regressions to the whole innings of training matches."""
    state, row = over_starts(played)
    last = np.array([innings.runs for match in matches for innings in match.innings])
    winners = np.array(
        [match.winner == innings.team for match in matches for innings in match.innings], bool
    )
    is_first = state.innings == 0
    weights = np.zeros((MAX_OVERS, NUM_TERMS))
    residuals: list[FloatArray] = []
    for overs in range(MAX_OVERS):
        own = is_first & (state.over == overs)
        terms = score_terms(taken(state, own))
        final = last[row[own]].astype(np.float64)
        if own.any():
            weights[overs] = np.linalg.lstsq(terms, final, rcond=None)[0]
        residuals.append(final - terms @ weights[overs])
    chase = ~is_first
    won = winners[row[chase]]
    share = float(won.mean()) if won.size else 0.5
    own = taken(state, chase)
    terms = win_terms(own.needed, own.balls_left, own.wickets)
    return Curves(weights, residuals, fit_logistic(terms, won), share)


def score_terms(state: State) -> FloatArray:
    """Return what the final score is regressed on. Shapes: (N, 3)."""
    return np.column_stack([np.ones(len(state.score)), state.score, state.wickets])


def win_terms(needed: IntArray, balls_left: IntArray, wickets: IntArray) -> FloatArray:
    """Return what the chase is regressed on. Shapes: (N,) each -> (N, 6)."""
    rate = needed / balls_left - 1.4
    in_hand = (10 - wickets) / 10 - 0.6
    # the less is left of a chase, the more surely its rate decides it
    weight = np.sqrt(20 / (balls_left / 6 + 1))
    columns = [np.ones(len(rate)), rate, in_hand, rate * weight, in_hand * weight, needed / 100]
    return np.column_stack(columns)


def fit_logistic(terms: FloatArray, happened: BoolArray) -> FloatArray:
    """Fit a logistic regression by Newton's method. Shapes: (N, F), (N,) -> (F,)."""
    weights = np.zeros(terms.shape[1])
    penalty = np.diag([1e-6, *[RIDGE] * (terms.shape[1] - 1)]) * max(1, len(terms))
    for _ in range(ITERATIONS):
        chance = 0.5 + 0.5 * np.tanh(terms @ weights / 2)
        slope = terms.T @ (chance - happened) + penalty @ weights
        curvature = (terms * (chance * (1 - chance))[:, None]).T @ terms + penalty
        weights = weights - np.linalg.solve(curvature, slope)
    return weights
