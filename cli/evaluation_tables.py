"""Print results of `hrm eval`: tables for people, a record for scripts."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from hrm_core.inference.answering import Outcome
from hrm_core.inference.metrics import by_band, calibration, measured, step_counts
from hrm_core.tasks.capabilities import Table
from hrm_core.tasks.contract import Measures, Metric
from hrm_core.tasks.predictions import Predictions

from .tables import print_table

OF_Q = ("q_halt_accuracy", "calibration")  # what a model that does not learn when to halt has not
LIMITS = {"max_steps": "at most {:,} ACT steps", "budget": "at most {:,} ACT steps for each batch"}
BAR_WIDTH = 40  # characters of the longest bar

Values = Mapping[str, float]


def print_outcomes(
    sources: Sequence[str],
    outcomes: Mapping[str, Outcome],
    bands: Sequence[int],
    measures: Measures,
    limits: Mapping[str, int],
) -> None:
    """Print metrics, steps and calibration of each way to halt, then compare the costs of two.

    `limits` are those of ACT steps that were asked for: `max_steps` of a puzzle, `budget` of a batch.
    """
    limit = "".join(f", {LIMITS[name].format(number)}" for name, number in limits.items())
    for halt, outcome in outcomes.items():
        name = f"{', '.join(sources)}: halting {halt}{limit}, {_answers(outcome)}"
        if not outcome.predictions.is_counted.any():
            click.echo(f"{name}: no solution is known, so nothing is scored\n")
            continue
        _print_metrics(name, outcome.predictions, bands, measures)
        if len(outcome.each) > 1:
            _print_choice(outcome, measures)
        _print_steps(outcome)
        if outcome.learns_to_halt:
            _print_calibration(outcome, measures)
    are_scored = [outcome.predictions.is_counted.any() for outcome in outcomes.values()]
    if len(outcomes) > 1 and all(are_scored):
        _print_costs(outcomes, measures)


def print_pages(pages: Sequence[str | Table], title: str = "") -> None:
    """Print the pages of a poll."""
    if title:
        click.echo(f"{title}\n")
    for page in pages:
        if isinstance(page, str):
            click.echo(page)
        else:
            print_table(*page)


def record(
    sources: Sequence[str],
    split: str,
    outcomes: Mapping[str, Outcome],
    bands: Sequence[int],
    measures: Measures,
    more: Mapping[str, Mapping[str, Any]],
    limits: Mapping[str, int],
) -> dict[str, Any]:
    """Return the results for scripts; `more` holds what a task adds for each way to halt.

    The numbers of the first way stand at the top. `limits` are there where they were asked for.
    """
    records = {}
    for halt, outcome in outcomes.items():
        own = _record(outcome, bands, measures)
        records[halt] = {**own, **more.get(halt, {})}
    model = sources[0] if len(sources) == 1 else list(sources)
    first = next(iter(records.values()))
    return {"model": model, "split": split, **limits, **first, "halt": records}


def _record(outcome: Outcome, bands: Sequence[int], measures: Measures) -> dict[str, Any]:
    values: dict[str, Any] = measured(outcome.predictions, measures)
    is_scored = bool(values["count"])
    several: dict[str, Any] = {}
    if len(outcome.each) > 1:
        several = _several(outcome, measures)
    if not is_scored:  # null where nothing is known
        values = {**dict.fromkeys(values), "count": 0}
        several = dict.fromkeys(several)
    record = {
        **values,
        **several,
        "module_calls": outcome.mean_module_calls if is_scored else None,
        "seconds": round(outcome.seconds, 3),
        "step_counts": step_counts(outcome.predictions),
        "calibration": calibration(outcome.predictions),
        "bands": by_band(outcome.predictions, bands, measures),
    }
    left_out = () if outcome.learns_to_halt else OF_Q
    return {name: value for name, value in record.items() if name not in left_out}


def _several(outcome: Outcome, measures: Measures) -> dict[str, Any]:
    """Return what is known of several answers; asked in turn, only the first is one to all puzzles."""
    headlines = _headlines(outcome, measures)
    if outcome.in_turn:
        return {"oracle": outcome.oracle, "first": headlines[0], "asked": outcome.mean_answers}
    return {"oracle": outcome.oracle, "each": headlines}


def _headlines(outcome: Outcome, measures: Measures) -> list[float]:
    """Measure the headline of each answer alone; asked in turn, of the first, which all have."""
    key = measures.headline.key
    alone = outcome.each[:1] if outcome.in_turn else outcome.each
    return [measured(predictions, measures)[key] for predictions in alone]


def _answers(outcome: Outcome) -> str:
    if len(outcome.each) == 1:
        return "one answer"
    if outcome.in_turn:
        return f"the first of {len(outcome.each)} answers that the rules accept"
    return f"the one chosen of {len(outcome.each)} answers"


def _print_metrics(
    name: str, predictions: Predictions, bands: Sequence[int], measures: Measures
) -> None:
    headline = measures.headline
    columns = ["", headline.heading]
    if headline.interval:
        columns.append("95 % interval")
    columns += [metric.heading for metric in measures.metrics]
    columns += ["ACT steps", "settled", measures.things]
    rows = [_row("all", measured(predictions, measures), measures)]
    for band, values in by_band(predictions, bands, measures).items():
        rows.append(_row(f"rating {band}", values, measures))
    print_table(name, columns, rows)


def _row(name: str, values: Values, measures: Measures) -> list[str]:
    headline = measures.headline
    row = [name, headline.shown(values)]
    if headline.interval:
        row.append(_interval(headline, [values[key] for key in headline.interval]))
    row += [metric.shown(values) for metric in measures.metrics]
    counts = [f"{values['steps']:.2f}", f"{values['settled_step']:.2f}", f"{values['count']:,.0f}"]
    return [*row, *counts]


def _interval(metric: Metric, ends: Sequence[float]) -> str:
    """Format a confidence interval; shares need one digit less than the metric itself."""
    texts = [f"{end:.1%}" if metric.is_share else metric.text(end) for end in ends]
    return " – ".join(texts)


def _print_choice(outcome: Outcome, measures: Measures) -> None:
    headline = measures.headline
    single = _headlines(outcome, measures)
    chosen = measured(outcome.predictions, measures)[headline.key]
    rows = [
        ["chosen, without looking at a label", headline.text(chosen)],
        ["first answer alone", headline.text(single[0])],
    ]
    if outcome.in_turn:
        rows.append(["answers asked for, on average", f"{outcome.mean_answers:.2f}"])
    else:
        mean = sum(single) / len(single)
        best = f"any of {len(single)}: what a choice that knew the solution would reach"
        rows.append(["a single answer, on average", headline.text(mean)])
        rows.append([best, f"{outcome.oracle:.2%}"])
    print_table(headline.heading.capitalize(), ["", ""], rows)


def _print_steps(outcome: Outcome) -> None:
    counts = step_counts(outcome.predictions)
    if len(counts) < 2:
        return
    longest = max(counts.values())
    click.echo("puzzles by ACT steps taken")
    for steps, count in counts.items():
        width = round(BAR_WIDTH * count / longest)
        bar = "█" * max(1, width)
        click.echo(f"  {steps:>4} {bar} {count:,}")
    click.echo()


def _print_calibration(outcome: Outcome, measures: Measures) -> None:
    rows = []
    for row in calibration(outcome.predictions):
        bounds = f"{row['from']:.1f} – {row['from'] + 0.1:.1f}"
        shares = [f"{row['confidence']:.1%}", f"{row['exact']:.1%}"]
        rows.append([bounds, *shares, f"{row['count']:,}"])
    right = measured(outcome.predictions, measures)["q_halt_accuracy"]
    title = f"Halting: q_halt ≥ 0 tells exact from wrong in {right:.2%}"
    print_table(title, ["sigmoid(q_halt)", "mean", "exact", "puzzles"], rows)


def _print_costs(outcomes: Mapping[str, Outcome], measures: Measures) -> None:
    headline = measures.headline
    rows = []
    for halt, outcome in outcomes.items():
        values = measured(outcome.predictions, measures)
        score = headline.text(values[headline.key])
        calls, seconds = f"{outcome.mean_module_calls:.1f}", f"{outcome.seconds:.1f} s"
        rows.append([halt, score, f"{values['steps']:.2f}", calls, seconds])
    columns = ["", headline.heading, "ACT steps", "module calls a puzzle", "wall time"]
    print_table("Ways to halt", columns, rows)
