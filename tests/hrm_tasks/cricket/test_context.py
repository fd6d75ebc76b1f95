import json
from typing import Any

import numpy as np
import pytest

from hrm_tasks.cricket.context import Played, play
from hrm_tasks.cricket.history import (
    BATTER_PRIOR,
    GROUPS,
    NUM_GROUPS,
    histories,
    log_ratios,
)
from hrm_tasks.cricket.read import OUTCOMES, Match, parse_match
from hrm_tasks.cricket.scoreboard import MAX_PLAYERS

SHARES = np.full(len(OUTCOMES), 1 / len(OUTCOMES))


def read(record: Any, name: str = "1") -> Match:
    return parse_match(json.dumps(record).encode(), name)


def played(*matches: Match) -> Played:
    return play(matches, *histories(matches, SHARES))


def test_the_score_before_each_ball_adds_up(making: Any) -> None:
    match = read(making.random_match(3))
    found = played(match)
    for row, innings in enumerate(match.innings):
        balls = innings.deliveries
        totals = np.cumsum([0, *(each.total for each in balls[:-1])])
        lost = np.cumsum([0, *(each.wickets for each in balls[:-1])])
        legal = np.cumsum([0, *(each.legal for each in balls[:-1])])
        state = found.state
        np.testing.assert_array_equal(state.score[row, : len(balls)], totals)
        np.testing.assert_array_equal(state.wickets[row, : len(balls)], lost)
        np.testing.assert_array_equal(state.balls[row, : len(balls)], legal)


def test_batters_and_bowlers_have_their_figures_in_this_match(making: Any) -> None:
    over = [
        making.ball(bat=4),
        making.ball(wides=1),
        making.ball(bat=1),
        making.ball("A2", "A1", wicket=("bowled", "A2")),
        making.ball("A3", "A1"),
    ]
    state = played(read(making.match_of([over]))).state
    assert state.striker_faced[0].tolist() == [0, 1, 1, 0, 0]
    assert state.striker_runs[0].tolist() == [0, 4, 4, 0, 0]
    assert state.partner_runs[0].tolist() == [0, 0, 0, 5, 5]
    assert state.bowler_balls[0].tolist() == [0, 1, 1, 2, 3]
    assert state.bowler_runs[0].tolist() == [0, 4, 5, 6, 6]
    assert state.bowler_wickets[0].tolist() == [0, 0, 0, 0, 1]
    assert state.partnership_balls[0].tolist() == [0, 1, 1, 2, 0]
    assert state.recent[0, -1, :3].tolist() == [OUTCOMES.index(name) for name in ("W", "1", "wd")]


def test_a_free_hit_follows_a_no_ball_and_stays_through_wides(making: Any) -> None:
    over = [
        making.ball(noballs=1, wicket=("run out", "A2")),
        making.ball("A1", "A3", wides=1),
        making.ball("A1", "A3"),
        making.ball("A1", "A3"),
    ]
    state = played(read(making.match_of([over]))).state
    assert state.free_hit[0].tolist() == [False, True, True, False]


def test_runs_needed_count_down_in_the_second_innings_only(making: Any) -> None:
    first = [[making.ball(bat=6)]]
    second = [[making.ball("B1", "B2", "A1", bat=4), making.ball("B1", "B2", "A1", bat=4)]]
    state = played(read(making.match_of(first, second))).state
    assert state.needed[0].tolist() == [0, 0]
    assert state.needed[1].tolist() == [7, 3]


def test_history_comes_from_strictly_earlier_days(making: Any) -> None:
    days = ["2020-01-01", "2020-01-02", "2020-01-02", "2020-01-03"]
    over = [[making.ball(bat=4)] * 3]
    matches = [
        read(making.match_of(over, dates=[day]), str(number)) for number, day in enumerate(days)
    ]
    batters, bowlers = histories(matches, SHARES)
    assert np.isnan(batters[0]).all()
    assert batters.shape == bowlers.shape == (4, MAX_PLAYERS, NUM_GROUPS)
    np.testing.assert_array_equal(batters[1], batters[2])  # of one day
    boundary = list(GROUPS).index("boundary")
    assert 0 < batters[1, 0, boundary] < batters[3, 0, boundary]
    assert bowlers[1, 0, boundary] < batters[1, 0, boundary]  # a larger prior
    assert np.isnan(batters[3, 1]).all()  # the partner has faced no ball


def test_log_ratios_shrink_to_zero() -> None:
    counts = np.zeros(len(OUTCOMES))
    assert np.isnan(log_ratios(counts, SHARES, BATTER_PRIOR)).all()
    counts[OUTCOMES.index("W")] = 60
    found = dict(zip(GROUPS, log_ratios(counts, SHARES, BATTER_PRIOR), strict=True))
    assert found["wicket"] == pytest.approx(np.log((60 + 6) / 120 / 0.1))
    assert found["dot"] == pytest.approx(np.log(6 / 120 / 0.1))
