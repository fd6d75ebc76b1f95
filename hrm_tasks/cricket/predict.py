"""Predict the next ball of a match, its final score and who wins: `hrm predict MODEL match.json`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from hrm_core.draws import Purpose, stream
from hrm_core.errors import DataError
from hrm_core.tasks import building
from hrm_core.tasks.building import Flag, Seed
from hrm_core.tasks.capabilities import Ask, Table
from hrm_tasks.cricket import charts, fits
from hrm_tasks.cricket.forecasts import QUANTILES
from hrm_tasks.cricket.knowledge import Knowledge
from hrm_tasks.cricket.layout import NUM_SLOTS, PREFIX_LEN
from hrm_tasks.cricket.read import OUTCOMES, Match, read_match
from hrm_tasks.cricket.rollouts import ModelChances, Simulated, simulate
from hrm_tasks.cricket.scoreboard import FloatArray
from hrm_tasks.cricket.scores import BOUNDARY, WICKET
from hrm_tasks.cricket.situation import (
    Moment,
    Situation,
    last_open_moment,
    read_at,
    situation_at,
)
from hrm_tasks.cricket.task import Cricket
from hrm_tasks.cricket.worm import Worm, draw_worm

ROLLOUTS = 400  # of a forecast that is only drawn


class Options(building.Options):
    """The moment that is asked about, and what is forecast from there."""

    things = "balls"

    at: Annotated[
        str | None,
        Flag(
            "The moment: innings, overs and balls as people write them, 2:14.3. "
            "The end of the file if not set, or the last ball of an innings that is over.",
            metavar="INNINGS:OVERS",
        ),
    ] = None
    forecast: Annotated[
        int | None,
        Field(ge=1, le=100_000),
        Flag("Play the innings on N times and print the final score.", metavar="N"),
    ] = None
    fan: Annotated[
        Path | None,
        Flag("Draw the forecast as a fan chart (PNG).", metavar="FILE", is_file=True),
    ] = None
    worm: Annotated[
        Path | None,
        Flag(
            "Draw the chance to win by over (PNG), and list the largest swings.",
            metavar="FILE",
            is_file=True,
        ),
    ] = None
    manhattan: Annotated[
        Path | None,
        Flag(
            "Draw the runs of each over, as far as the match has come (PNG).",
            metavar="FILE",
            is_file=True,
        ),
    ] = None
    seed: Seed = 0


@dataclass(frozen=True)
class Forecast:
    """The final score of an innings: of the network's rollouts, and of two simple rules."""

    count: int
    quantiles: Sequence[float]  # P10, P50, P90
    run_rate: float
    regression: float | None  # only in the first innings
    win: float | None  # chance of the side that bats, in the second innings

    def record(self) -> dict[str, Any]:
        """Return the forecast as JSON can hold it."""
        names = [f"p{round(100 * level)}" for level in QUANTILES]
        return {
            "rollouts": self.count,
            **dict(zip(names, self.quantiles, strict=True)),
            "run_rate": self.run_rate,
            "regression": self.regression,
            "win": self.win,
        }

    def text(self) -> str:
        """Write the forecast as one line."""
        low, middle, high = self.quantiles
        line = f"final score: P10 {low:.0f}, P50 {middle:.0f}, P90 {high:.0f} ({self.count:,} rollouts)"
        line += f"; run rate {self.run_rate:.0f}"
        if self.regression is not None:
            line += f"; regression {self.regression:.0f}"
        if self.win is not None:
            line += f"; the side that bats wins {self.win:.0%}"
        return line


@dataclass(frozen=True)
class Prediction:
    """Everything that was predicted of one match."""

    situation: Situation
    network: FloatArray  # (K,)
    table: FloatArray  # (K,)
    runs: float  # expected of the ball
    forecast: Forecast | None
    worm: Worm | None

    def record(self) -> Mapping[str, Any]:
        """Return the prediction as JSON can hold it."""
        situation = self.situation
        return {
            "match": situation.match.name,
            "at": str(situation.moment),
            "situation": situation.text(),
            "striker": situation.striker,
            "bowler": situation.bowler,
            "probabilities": _by_outcome(self.network),
            "table": _by_outcome(self.table),
            "boundary": float(self.network[BOUNDARY].sum()),
            "wicket": float(self.network[WICKET].sum()),
            "expected_runs": self.runs,
            "forecast": self.forecast and self.forecast.record(),
            "worm": self.worm and self.worm.record(),
        }

    def pages(self) -> Sequence[str | Table]:
        """Return the prediction as lines and tables for a person."""
        rows = [
            (name, f"{network:.1%}", f"{table:.1%}")
            for name, network, table in zip(OUTCOMES, self.network, self.table, strict=True)
        ]
        chances = (
            f"4 or 6: {self.network[BOUNDARY].sum():.1%} (table {self.table[BOUNDARY].sum():.1%}); "
            f"wicket: {self.network[WICKET].sum():.1%} (table {self.table[WICKET].sum():.1%}); "
            f"expected runs: {self.runs:.2f}"
        )
        pages: list[str | Table] = [
            self.situation.text(),
            Table("next ball", ("outcome", "network", "table"), rows),
            chances,
        ]
        if self.forecast is not None:
            pages.append(self.forecast.text())
        if self.worm is not None:
            pages += self.worm.pages()
        return pages


def predict(task: Cricket, files: Sequence[Path], options: Options, ask: Ask) -> Prediction:
    """Predict the next ball of a match in Cricsheet's JSON, finished or not, beside the table.

    \b
    Examples:
        hrm predict runs/cricket match.json --at 2:14.3
        hrm predict runs/cricket match.json --at 1:10 --forecast 1000 --fan fan.png
        hrm predict runs/cricket match.json --worm worm.png
    """
    if len(files) != 1:
        raise DataError(f"{len(files)} files; give one match at a time")
    match = read_match(files[0])
    knowledge = task.knowledge
    moment = _moment(match, options.at)
    situation = situation_at(match, moment, knowledge, task.edges)
    network, table = next_ball(ask, situation, knowledge)
    forecast = None
    if options.forecast or options.fan:
        count = options.forecast or ROLLOUTS
        chances = ModelChances(ask, task.edges, situation, count)
        rng = stream(options.seed, Purpose.PUZZLES)
        simulated = simulate(situation, chances, knowledge.details, count, rng)
        forecast = forecast_of(situation, simulated, knowledge)
        if options.fan:
            charts.draw_fan(options.fan, situation, simulated, knowledge)
    if options.manhattan:
        charts.draw_manhattan(options.manhattan, match)
    worm = None
    if options.worm:
        worm = draw_worm(options.worm, match, knowledge, task.edges, ask, options.seed)
    return Prediction(situation, network, table, expected_runs(network, knowledge), forecast, worm)


def next_ball(
    ask: Ask, situation: Situation, knowledge: Knowledge
) -> tuple[FloatArray, FloatArray]:
    """Return the probabilities (K,) of the next ball, of the network and of the table."""
    prefix_len = np.array([PREFIX_LEN], np.int32)
    probabilities = ask.probabilities(situation.inputs, prefix_len)
    place = situation.chunk * NUM_SLOTS + situation.slot
    state = situation.state
    cell = fits.cell_of(state.over, state.wickets, state.innings)
    return probabilities[0, place].astype(np.float64), knowledge.table[cell[0]]


def expected_runs(probabilities: FloatArray, knowledge: Knowledge) -> float:
    """Return the runs that a ball adds to the score on average. Shapes: (K,)."""
    means = [float(rows[:, 0] @ shares) for rows, shares in knowledge.details]
    return float(probabilities @ np.array(means))


def forecast_of(situation: Situation, simulated: Simulated, knowledge: Knowledge) -> Forecast:
    """Summarise rollouts, and put the simple rules beside them."""
    state = situation.state
    score, balls = int(state.score[0]), int(state.balls[0])
    target = situation.innings.target
    low, middle, high = np.quantile(simulated.score, QUANTILES).tolist()
    regression = None
    if target is None:
        final = knowledge.curves.final_scores(balls // 6, score, int(state.wickets[0]))
        regression = float(np.median(final))
    return Forecast(
        len(simulated.score),
        (low, middle, high),
        score / max(balls, 1) * int(state.max_balls[0]),
        regression,
        None if target is None else float(simulated.won(target).mean()),
    )


def _moment(match: Match, at: str | None) -> Moment:
    """Return the moment that is asked about: that of `--at`, or the last one with a ball to come."""
    if at is not None:
        return read_at(at)
    return last_open_moment(match)


def _by_outcome(probabilities: FloatArray) -> dict[str, float]:
    return dict(zip(OUTCOMES, probabilities.tolist(), strict=True))
