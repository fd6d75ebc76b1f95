"""What `hrm eval` shows: tables for people, a record for scripts."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from hrm_core.inference.answering import Outcome
from hrm_core.inference.metrics import by_band, calibration, step_counts, summary

from .tables import print_table

BAR_WIDTH = 40  # characters of the longest bar


def print_outcomes(
    sources: Sequence[str], outcomes: Mapping[str, Outcome], bands: Sequence[int]
) -> None:
    """Print the accuracies first, then steps and calibration; of two ways to halt, both beside each other."""
    for halt, outcome in outcomes.items():
        name = f"{', '.join(sources)}: halting {halt}, {_answers(outcome)}"
        if not summary(outcome.scores)["count"]:
            click.echo(f"{name}: no solution is known, so nothing is scored\n")
            continue
        values = [
            ("all", summary(outcome.scores)),
            *((f"rating {band}", v) for band, v in by_band(outcome.scores, bands).items()),
        ]
        print_table(
            name,
            [
                "",
                "exact",
                "95 % interval",
                "all cells",
                "blank cells",
                "ACT steps",
                "settled",
                "puzzles",
            ],
            list(map(_row, values)),
        )
        if len(outcome.each) > 1:
            _print_choice(outcome)
        _print_steps(outcome)
        _print_calibration(outcome)
    if len(outcomes) > 1 and all(summary(outcome.scores)["count"] for outcome in outcomes.values()):
        _print_costs(outcomes)


def record(
    sources: Sequence[str],
    split: str,
    outcomes: Mapping[str, Outcome],
    bands: Sequence[int],
    more: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """The same for scripts, with what a task adds for each way to halt; the numbers of the first way stand at the top."""
    records = {
        halt: {**_record(outcome, bands), **more.get(halt, {})}
        for halt, outcome in outcomes.items()
    }
    first = next(iter(records.values()))
    return {
        "model": sources[0] if len(sources) == 1 else list(sources),
        "split": split,
        **first,
        "halt": records,
    }


def module_calls(outcome: Outcome) -> float:
    """Calls of level H and L that a puzzle took on average, over all its answers."""
    counted = outcome.module_calls[outcome.scores.num_labelled > 0]
    return float(counted.mean()) if len(counted) else 0.0


def _record(outcome: Outcome, bands: Sequence[int]) -> dict[str, Any]:
    measured = summary(outcome.scores)
    known = (
        measured if measured["count"] else {**dict.fromkeys(measured), "count": 0}
    )  # null where nothing is scored
    several = (
        {}
        if len(outcome.each) == 1
        else {
            "oracle": outcome.oracle,
            "each": [summary(s)["exact_accuracy"] for s in outcome.each],
        }
    )
    several = several if measured["count"] else dict.fromkeys(several)
    return {
        **known,
        **several,
        "module_calls": module_calls(outcome) if measured["count"] else None,
        "seconds": round(outcome.seconds, 3),
        "step_counts": step_counts(outcome.scores),
        "calibration": calibration(outcome.scores),
        "bands": by_band(outcome.scores, bands),
    }


def _answers(outcome: Outcome) -> str:
    return (
        "one answer" if len(outcome.each) == 1 else f"the one chosen of {len(outcome.each)} answers"
    )


def _row(named: tuple[str, Mapping[str, float]]) -> list[str]:
    name, values = named
    return [
        name,
        f"{values['exact_accuracy']:.2%}",
        f"{values['exact_low']:.1%} – {values['exact_high']:.1%}",
        f"{values['accuracy']:.2%}",
        f"{values['blank_accuracy']:.2%}",
        f"{values['steps']:.2f}",
        f"{values['settled_step']:.2f}",
        f"{values['count']:,.0f}",
    ]


def _print_choice(outcome: Outcome) -> None:
    single = [summary(scores)["exact_accuracy"] for scores in outcome.each]
    rows = [
        ["chosen, without looking at a label", f"{summary(outcome.scores)['exact_accuracy']:.2%}"],
        ["first answer alone", f"{single[0]:.2%}"],
        ["a single answer, on average", f"{sum(single) / len(single):.2%}"],
        [
            f"any of {len(single)}: what a choice that knew the solution would reach",
            f"{outcome.oracle:.2%}",
        ],
    ]
    print_table("Exact", ["", ""], rows)


def _print_steps(outcome: Outcome) -> None:
    counts = step_counts(outcome.scores)
    if len(counts) > 1:
        longest = max(counts.values())
        click.echo("puzzles by ACT steps taken")
        for steps, count in counts.items():
            click.echo(f"  {steps:>4} {'█' * max(1, round(BAR_WIDTH * count / longest))} {count:,}")
        click.echo()


def _print_calibration(outcome: Outcome) -> None:
    rows = [
        [
            f"{row['from']:.1f} – {row['from'] + 0.1:.1f}",
            f"{row['confidence']:.1%}",
            f"{row['exact']:.1%}",
            f"{row['count']:,}",
        ]
        for row in calibration(outcome.scores)
    ]
    right = summary(outcome.scores)["q_halt_accuracy"]
    print_table(
        f"Halting: q_halt ≥ 0 tells exact from wrong in {right:.2%}",
        ["sigmoid(q_halt)", "mean", "exact", "puzzles"],
        rows,
    )


def _print_costs(outcomes: Mapping[str, Outcome]) -> None:
    rows = [
        [
            halt,
            f"{summary(outcome.scores)['exact_accuracy']:.2%}",
            f"{summary(outcome.scores)['steps']:.2f}",
            f"{module_calls(outcome):.1f}",
            f"{outcome.seconds:.1f} s",
        ]
        for halt, outcome in outcomes.items()
    ]
    print_table(
        "Ways to halt", ["", "exact", "ACT steps", "module calls a puzzle", "wall time"], rows
    )
