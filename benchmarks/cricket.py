"""Forecasts of cricket models beside simple rules: final scores, chases, coverage; and ablations of what they read.

python -m benchmarks.cricket forecasts MATCHES.zip --from 2021-01-01 runs/cricket-0 runs/cricket-1 runs/cricket-2
python -m benchmarks.cricket losses data/t20 runs/cricket-0 runs/cricket-1 runs/cricket-2
python -m benchmarks.cricket losses data/t20 runs/one-step --against runs/two-steps
python -m benchmarks.cricket losses data/t20 runs/cricket-0 --cut carry

Scores: CRPS in runs after 10 overs of the first innings, of the network's rollouts, the table's, a linear
regression with its training residuals, and the run rate. Chases: log loss of who wins, of rollouts and of
logistic regression. Intervals are 95 %, paired, by a bootstrap over matches; coverage has Wilson's.
Losses: nats a ball, the mean over runs, with the paired gain over the table and logistic regression.
`--cut carry` begins every over with fresh states; `--cut previous` hides the over before.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hrm_core.backend import BackendOptions
from hrm_core.backends import backend_named
from hrm_core.data.store import Dataset
from hrm_core.inference.loading import task_of
from hrm_core.inference.predicting import ModelAsk
from hrm_core.runs.checkpoint import open_model
from hrm_core.tasks.cells import wilson_interval
from hrm_tasks.cricket import baselines, fits, scores
from hrm_tasks.cricket.alphabet import START
from hrm_tasks.cricket.ballfile import FILE as BALLS_FILE
from hrm_tasks.cricket.ballfile import read_balls
from hrm_tasks.cricket.layout import (
    NUM_CHUNKS,
    NUM_FIELDS,
    OUTCOME_POSITIONS,
    PREFIX_LEN,
    SEQ_LEN,
)
from hrm_tasks.cricket.read import Match, read_source
from hrm_tasks.cricket.rollouts import Chances, ModelChances, TableChances, simulate
from hrm_tasks.cricket.scoreboard import FloatArray
from hrm_tasks.cricket.situation import Moment, Situation, situation_at
from hrm_tasks.cricket.task import Cricket

SCORE_OVERS = 10  # of the first innings, before the final score is forecast
NUM_RESAMPLES = 2000


def opened(run: Path, backend: str) -> ModelAsk:
    """Open a model to be asked."""
    model = open_model(run)
    made = backend_named(backend)(model.config, BackendOptions())
    made.load_weights(model.weights)
    task: Any = task_of(model)
    return ModelAsk(made, task)


def crps(samples: FloatArray, happened: float) -> float:
    """Compute the continuous ranked probability score of samples (R,)."""
    ordered = np.sort(samples.astype(np.float64))
    count = len(ordered)
    ranks = 2 * np.arange(1, count + 1) - count - 1
    spread = (ranks * ordered).sum() / count**2  # half the mean distance of two samples
    return float(np.abs(ordered - happened).mean() - spread)


def interval(differences: Sequence[float]) -> list[float]:
    """Return mean, low and high of paired differences, one a match."""
    values = np.array(differences)
    return [round(each, 4) for each in scores.paired_interval(values, np.arange(len(values)))]


def win_loss(chance: float, happened: bool, rollouts: int) -> float:
    """Compute the log loss of a share of rollouts, half a rollout added to both sides."""
    share = (chance * rollouts + 0.5) / (rollouts + 1)
    return float(-np.log(share if happened else 1 - share))


class Forecaster:
    """Rollouts of one model, of the table beside them, and the simple rules."""

    def __init__(self, ask: ModelAsk, rollouts: int) -> None:
        assert isinstance(ask.task, Cricket)
        self.ask, self.task, self.rollouts = ask, ask.task, rollouts
        self.knowledge = self.task.knowledge

    def situation(self, match: Match, innings: int, overs: int) -> Situation:
        """Return the situation at the start of an over."""
        return situation_at(match, Moment(innings, overs, 0), self.knowledge, self.task.edges)

    def play(self, situation: Situation, chances: Chances, seed: int) -> Any:
        """Play an innings on."""
        rng = np.random.default_rng(seed)
        return simulate(situation, chances, self.knowledge.details, self.rollouts, rng)

    def network(self, situation: Situation, seed: int) -> Any:
        """Play an innings on with the network."""
        chances = ModelChances(self.ask, self.task.edges, situation, self.rollouts)
        return self.play(situation, chances, seed)

    def final_scores(self, matches: Sequence[Match]) -> dict[str, Any]:
        """Measure forecasts of the final score of the first innings."""
        names = ("network", "table", "regression", "run rate")
        found: dict[str, list[float]] = {name: [] for name in names}
        covered = {6: [0, 0], SCORE_OVERS: [0, 0], 15: [0, 0]}
        for number, match in enumerate(matches):
            happened = match.innings[0].runs
            for overs, count in covered.items():
                if match.innings[0].overs[-1].number < overs:
                    continue
                situation = self.situation(match, 1, overs)
                simulated = self.network(situation, number)
                low, high = np.quantile(simulated.score, (0.1, 0.9))
                count[0] += int(low <= happened <= high)
                count[1] += 1
                if overs != SCORE_OVERS:
                    continue
                found["network"].append(crps(simulated.score, happened))
                table = self.play(situation, TableChances(self.knowledge), number)
                found["table"].append(crps(table.score, happened))
                state = situation.state
                score, wickets = int(state.score[0]), int(state.wickets[0])
                expected = self.knowledge.curves.final_scores(overs, score, wickets)
                found["regression"].append(crps(expected, happened))
                rate = score / int(state.balls[0]) * int(state.max_balls[0])
                found["run rate"].append(abs(rate - happened))
        against = {
            name: interval(np.subtract(found["network"], found[name]).tolist())
            for name in names[1:]
        }
        return {
            "crps": {name: round(float(np.mean(found[name])), 3) for name in names},
            "network minus": against,
            "covered by 80 %": {
                overs: [*count, *(round(each, 3) for each in wilson_interval(*count))]
                for overs, count in covered.items()
            },
        }

    def chases(self, matches: Sequence[Match], every: int) -> dict[str, Any]:
        """Measure the chance of the chasing side: at the break, after 10 overs, at over starts."""
        found: dict[str, list[tuple[float, float, int]]] = {"break": [], "10 overs": [], "all": []}
        for number, match in enumerate(matches):
            chase = match.innings[1]
            target = chase.target
            happened = match.winner == chase.team
            for over in chase.overs:
                if over.number % every and over.number != 10:
                    continue
                situation = self.situation(match, 2, over.number)
                assert target is not None
                share = float(self.network(situation, number).won(target).mean())
                own = win_loss(share, happened, self.rollouts)
                logistic = float(self.knowledge.curves.win_chance(situation.state)[0])
                other = float(-np.log(logistic if happened else 1 - logistic))
                pair = own, other, number
                found["all"].append(pair)
                if over.number == 0:
                    found["break"].append(pair)
                if over.number == 10:
                    found["10 overs"].append(pair)
        results = {}
        for name, pairs in found.items():
            own, other, match_number = np.array(pairs).T
            gap = scores.paired_interval(own - other, match_number.astype(int))
            results[name] = {
                "network": round(float(own.mean()), 4),
                "logistic": round(float(other.mean()), 4),
                "network minus logistic": [round(each, 4) for each in gap],
                "count": len(own),
            }
        return results


def cut_rows(inputs: np.ndarray[Any, Any], cut: str) -> np.ndarray[Any, Any]:
    """Hide the over before from every chunk."""
    rows = np.array(inputs, np.int32).reshape(-1, NUM_CHUNKS, SEQ_LEN)
    if cut == "previous":
        previous = rows[:, :, NUM_FIELDS:PREFIX_LEN]
        previous[previous > 0] = START
    return rows.reshape(len(inputs), -1)


def without_carry(ask: ModelAsk, inputs: np.ndarray[Any, Any]) -> FloatArray:
    """Ask each chunk by itself. Returns: (N, Q, K)."""
    chunks = inputs.reshape(-1, NUM_CHUNKS, SEQ_LEN)
    parts = []
    for chunk in range(NUM_CHUNKS):
        state = ask.begin(len(chunks), PREFIX_LEN)
        _, found = ask.extend(state, chunks[:, chunk])
        parts.append(found[:, list(OUTCOME_POSITIONS)])
    together: FloatArray = np.concatenate(parts, axis=1)
    return together


def losses(data: Path, runs: Sequence[Path], backend: str, cut: str) -> list[FloatArray]:
    """Return the loss of each ball of the test (B,), of each run."""
    examples = Dataset(data).split("test").sets["all"]
    labels = np.array(examples.labels).reshape(-1, NUM_CHUNKS, SEQ_LEN)[:, :, OUTCOME_POSITIONS]
    labels = labels.reshape(len(labels), -1)
    inputs = cut_rows(examples.inputs, cut)
    prefix_len = np.full(len(inputs), PREFIX_LEN, np.int32)
    found = []
    for run in runs:
        ask = opened(run, backend)
        is_carried = cut != "carry"
        probabilities = (
            ask.probabilities(inputs, prefix_len) if is_carried else without_carry(ask, inputs)
        )
        first = min(ask.task.outcome_tokens)
        is_ball = labels > 0
        found.append(scores.ball_losses(probabilities[is_ball], labels[is_ball] - first))
    return found


def loss_report(options: argparse.Namespace) -> dict[str, Any]:
    """Compare the mean loss of some runs with table, regression, and other runs."""
    text = Dataset(options.data).text_of(BALLS_FILE)
    train, test = read_balls(text, "train"), read_balls(text, "test")
    own = losses(options.data, options.runs, options.backend, options.cut)
    mean = np.mean(own, axis=0)
    counts = fits.table_counts(baselines.table_cells(train.state), train.outcome)
    table = fits.table(counts)[baselines.table_cells(test.state)]
    others = {"table": scores.ball_losses(table, test.outcome)}
    others["logistic"] = scores.ball_losses(baselines.logistic(train, test), test.outcome)
    if options.cut != "nothing":
        whole = losses(options.data, options.runs, options.backend, "nothing")
        others["the same, nothing cut"] = np.mean(whole, axis=0)
    if options.against:
        others["against"] = np.mean(
            losses(options.data, options.against, options.backend, "nothing"), axis=0
        )
    return {
        "balls": len(mean),
        "each": [round(float(each.mean()), 4) for each in own],
        "mean": round(float(mean.mean()), 4),
        "others": {name: round(float(each.mean()), 4) for name, each in others.items()},
        "gain over": {
            name: [round(value, 4) for value in scores.paired_interval(each - mean, test.match)]
            for name, each in others.items()
        },
    }


def forecast_report(options: argparse.Namespace) -> dict[str, Any]:
    """Measure the forecasts of each run."""
    source = read_source(options.matches)
    matches = [match for match in source.matches if match.is_over and match.date >= options.day]
    report: dict[str, Any] = {"matches": len(matches), "rollouts": options.rollouts}
    for run in options.runs:
        forecaster = Forecaster(opened(run, options.backend), options.rollouts)
        report[str(run)] = {
            "final score": forecaster.final_scores(matches),
            "chase": forecaster.chases(matches, options.every),
        }
    return report


def main() -> None:
    """Print a report as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    kinds = parser.add_subparsers(required=True)
    forecasts = kinds.add_parser("forecasts")
    forecasts.add_argument("matches", type=Path)
    forecasts.add_argument("runs", type=Path, nargs="+")
    forecasts.add_argument("--from", dest="day", default="2021-01-01")
    forecasts.add_argument("--rollouts", type=int, default=200)
    forecasts.add_argument("--every", type=int, default=1, help="overs between chances of a chase")
    of_losses = kinds.add_parser("losses")
    of_losses.add_argument("data", type=Path)
    of_losses.add_argument("runs", type=Path, nargs="+")
    of_losses.add_argument("--against", type=Path, nargs="+")
    of_losses.add_argument("--cut", choices=("nothing", "carry", "previous"), default="nothing")
    report: Callable[[argparse.Namespace], dict[str, Any]]
    for kind, report in ((forecasts, forecast_report), (of_losses, loss_report)):
        kind.add_argument("--backend", default="torch")
        kind.set_defaults(report=report)
    options = parser.parse_args()
    print(json.dumps(options.report(options), indent=2))


if __name__ == "__main__":
    main()
