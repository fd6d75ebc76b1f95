"""Charts of a match: the fan of a forecast, and the worm of the chance to win."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from hrm_core.pictures.charts import empty_chart, plain, save_chart
from hrm_tasks.cricket.knowledge import Knowledge
from hrm_tasks.cricket.read import MAX_OVERS, Innings, Match
from hrm_tasks.cricket.rollouts import Simulated
from hrm_tasks.cricket.situation import Situation

BLUE, RED, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#666a73"
BANDS = ((0.1, 0.9, 0.2), (0.25, 0.75, 0.35))  # quantiles, and how opaque


class PointLike(Protocol):
    """A point of the worm, see worm.Point."""

    @property
    def innings(self) -> int: ...  # noqa: D102
    @property
    def over(self) -> int: ...  # noqa: D102
    @property
    def network(self) -> float: ...  # noqa: D102
    @property
    def logistic(self) -> float | None: ...  # noqa: D102
    @property
    def wickets(self) -> int: ...  # noqa: D102


def draw_fan(out: Path, situation: Situation, simulated: Simulated, knowledge: Knowledge) -> None:
    """Draw the rollouts as a fan around the score, with run rate, regression and what happened.

    Raises: BackendError without matplotlib, HRMError if the picture cannot be written.
    """
    figure, axes = empty_chart()
    played = _score_by_over(situation.match.innings[situation.moment.innings - 1])
    state = situation.state
    begin, score = int(state.balls[0]) / 6, int(state.score[0])
    limit = int(state.max_balls[0]) / 6
    overs = np.arange(1, MAX_OVERS + 1)
    ahead = (overs > begin) & (overs <= np.ceil(limit))
    times = np.concatenate([[begin], np.minimum(overs[ahead], limit)])
    for low, high, opacity in BANDS:
        edges = np.quantile(simulated.after_over[:, ahead], (low, high), axis=0)
        bounds = np.column_stack([[score, score], edges])
        label = f"{high - low:.0%} of rollouts"
        axes.fill_between(times, *bounds, color=BLUE, alpha=opacity, linewidth=0, label=label)
    middle = np.median(simulated.after_over[:, ahead], axis=0)
    axes.plot(times, [score, *middle], color=BLUE, linewidth=2, label="median of rollouts")
    rate = score / max(begin, 1 / 6)
    axes.plot([begin, limit], [score, rate * limit], "--", color=GREY, label="run rate")
    if situation.innings.target is None:
        final = knowledge.curves.final_scores(int(begin), score, int(state.wickets[0]))
        axes.plot(limit, np.median(final), "D", color=GREEN, label="regression")
    else:
        axes.axhline(situation.innings.target, color=GREEN, label="target")
    axes.plot(*played, color="#222222", linewidth=1.6, label="what happened")
    axes.set_title(plain(situation.text().partition(";")[0]), loc="left", fontweight="bold")
    axes.set_xlabel("overs")
    axes.set_ylabel("runs")
    axes.set_xlim(0, max(limit, 1))
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper left", frameon=False)
    save_chart(figure, out)


def draw_worm(out: Path, side: str, points: Sequence[PointLike]) -> None:
    """Draw the chance of the side that bats second, with a dot for each wicket.

    Raises: BackendError without matplotlib, HRMError if the picture cannot be written.
    """
    figure, axes = empty_chart()
    first = max((point.over + 1 for point in points if point.innings == 1), default=0)
    times = [point.over + (first if point.innings == 2 else 0) for point in points]
    axes.plot(times, [point.network for point in points], color=BLUE, linewidth=2, label="network")
    with_logistic = [
        (time, point.logistic)
        for time, point in zip(times, points, strict=True)
        if point.logistic is not None
    ]
    if with_logistic:
        x, y = zip(*with_logistic, strict=True)
        axes.plot(x, y, "--", color=GREY, label="logistic regression")
    fallen = [(time, point) for time, point in zip(times, points, strict=True) if point.wickets]
    x_wickets = [time + 0.5 for time, _ in fallen]
    y_wickets = [np.interp(time + 0.5, times, [p.network for p in points]) for time, _ in fallen]
    sizes = [40 * point.wickets for _, point in fallen]
    axes.scatter(x_wickets, y_wickets, s=sizes, color=RED, zorder=3, label="wickets in the over")
    axes.axvline(first, color=GREY, linewidth=0.8)
    axes.set_title(plain(f"chance that {side} win"), loc="left", fontweight="bold")
    axes.set_xlabel("overs bowled, both innings")
    axes.set_xlim(0, max(times[-1], 1))
    axes.set_ylim(-0.02, 1.02)
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.legend(loc="best", frameon=False)
    save_chart(figure, out)


def draw_manhattan(out: Path, match: Match) -> None:
    """Draw the runs of each over of both innings as bars, with a dot for each wicket.

    Raises: BackendError without matplotlib, HRMError if the picture cannot be written.
    """
    figure, axes = empty_chart()
    tallest = 1
    for innings, colour, shift in zip(match.innings, (BLUE, GREEN), (-0.2, 0.2), strict=False):
        runs, wickets = _runs_by_over(innings)
        overs = np.arange(1, len(runs) + 1) + shift
        axes.bar(overs, runs, width=0.4, color=colour, label=innings.team)
        for over, height, fallen in zip(overs, runs, wickets, strict=True):
            axes.plot([over] * fallen, height + 0.8 * np.arange(1, fallen + 1), "o", color=RED)
        tallest = max([tallest, *runs])
    axes.plot([], [], "o", color=RED, label="wicket")
    axes.set_title(
        plain(f"{match.date}, {match.teams[0]} and {match.teams[1]}: runs of each over"),
        loc="left",
        fontweight="bold",
    )
    axes.set_xlabel("over")
    axes.set_ylabel("runs")
    axes.set_xticks(range(1, MAX_OVERS + 1))
    axes.set_ylim(0, 1.25 * tallest)
    axes.legend(loc="upper left", frameon=False, ncols=3)
    save_chart(figure, out)


def _runs_by_over(innings: Innings) -> tuple[list[int], list[int]]:
    """Return runs and wickets of each over that has a ball."""
    runs, wickets = [], []
    for over in innings.overs:
        runs.append(sum(ball.total for ball in over.deliveries))
        wickets.append(sum(ball.wickets for ball in over.deliveries))
    return runs, wickets


def _score_by_over(innings: Any) -> tuple[list[float], list[int]]:
    """Return legal overs and score after each ball of an innings."""
    overs, scores = [0.0], [innings.before]
    for ball in innings.deliveries:
        overs.append(overs[-1] + ball.legal / 6)
        scores.append(scores[-1] + ball.total)
    return overs, scores
