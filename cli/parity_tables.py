"""Print results of `hrm parity`: tables of gaps and limits."""

import sys
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from hrm_parity.certify import Certificate
from hrm_parity.checks import Report
from hrm_parity.limits import Verdict
from hrm_parity.report import conclusion
from hrm_parity.selftest import SelfTest
from hrm_parity.training import LOSS_GAPS, TrainingReport

if TYPE_CHECKING:
    from hrm_parity.selftest import Notice, Outcome

FILE_WIDTH = 180  # columns of a table that goes into a file or a pipe
TEXT_COLUMNS = ("quantity", "where", "verdict", "mistake")
STYLES = {
    Verdict.OK: "green",
    Verdict.BROKEN: "bold red",
    Verdict.UNCERTIFIED: "yellow",
    Verdict.UNKNOWN: "yellow",
}


def show(found: Certificate | TrainingReport | SelfTest) -> None:
    """Print the result of a check."""
    if isinstance(found, Certificate):
        _show_certificate(found)
    elif isinstance(found, TrainingReport):
        _show_training(found)
    else:
        _show_self_test(found)


def _show_certificate(found: Certificate) -> None:
    for report in found.summary():
        _show_rows(report)
    click.echo(conclusion(found.reports))


def _show_rows(report: Report) -> None:
    facts = [report.backend.get(key) for key in ("backend", "device", "dtype")]
    described = ", ".join(fact for fact in facts if fact is not None)
    is_compared = any(row.noise is not None for row in report.rows)
    gaps = ["worst difference"]
    if is_compared:
        gaps = ["from float64", "from torch f32", "torch f32 itself"]
    title = f"{report.case}: {described}" if described else report.case
    table = _table(title, "quantity", *gaps, "limit", "where", "verdict")
    for row in report.rows:
        found = [row.gap, row.to_torch, row.noise] if is_compared else [row.gap]
        numbers = [_number(gap) for gap in (*found, row.limit)]
        style = STYLES[row.verdict]
        table.add_row(row.quantity, *numbers, row.where, row.verdict.value, style=style)
    _print(table)


def _show_training(found: TrainingReport) -> None:
    names = list(found.backends)
    exact = [f"{name} exact" for name in names]
    table = _table(
        f"{' and '.join(names)} from seed {found.seed}",
        "update",
        "loss, relative",
        "logits",
        "weights",
        "rms",
        "slots apart",
        *exact,
    )
    for row in found.rows:
        numbers = map(_number, (row.loss, row.logits, row.weights, row.weights_rms))
        shares = [""] * len(names)
        if row.exact:
            shares = [f"{row.exact[name]:.1%}" for name in names]
        table.add_row(str(row.update), *numbers, str(row.elsewhere), *shares)
    _print(table)
    click.echo(f"first other halting decision: {_update(found.decisions)}")
    for gap in LOSS_GAPS:
        click.echo(f"loss further apart than {gap:g}: {_update(found.losses[gap])}")
    click.echo(f"untrained weights solve {found.untrained:.1%}")
    for rule, verdict in found.rules.items():
        click.echo(f"{verdict.value}: {rule}")


def _show_self_test(found: SelfTest) -> None:
    table = _table(
        "Mistakes made on purpose in MLX",
        "mistake",
        "noticed by recorded numbers",
        "noticed by comparison with PyTorch",
        "verdict",
    )
    for outcome in found.outcomes:
        verdict, style = _verdict(outcome)
        notices = _notice(outcome, "recorded"), _notice(outcome, "compared")
        table.add_row(outcome.name, *notices, verdict, style=style)
    _print(table)
    tested = [outcome for outcome in found.outcomes if outcome.is_tested]
    noticed = sum(outcome.is_noticed for outcome in tested)
    click.echo(f"without a mistake {conclusion(found.clean)}")
    click.echo(f"{noticed} of {len(tested)} mistakes noticed")


def _verdict(outcome: "Outcome") -> tuple[str, str]:
    """Return whether a mistake was noticed, and the style to print that in."""
    if not outcome.is_tested:
        return "not tested: its case is not at hand", "yellow"
    if outcome.is_noticed:
        return "noticed", "green"
    return "UNNOTICED", "bold red"


def _notice(outcome: "Outcome", check: str) -> str:
    """Describe the first number by which a check noticed a mistake."""
    if check not in outcome.asked:
        return ""
    notice: Notice | None = getattr(outcome, check)
    if notice is None:
        return "no"
    gap, limit = _number(notice.row.gap), _number(notice.row.limit)
    return f"{notice.row.quantity} {gap}, limit {limit} ({notice.case})"


def _update(update: int | None) -> str:
    return f"update {update}" if update else "none"


def _number(gap: float | None) -> str:
    if gap is None:
        return ""
    if float(gap).is_integer():
        return f"{gap:.0f}"
    return f"{gap:.1e}"


def _table(title: str, *columns: str) -> Table:
    """Make a table whose columns of text are flush left, all others flush right."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        is_text = column in TEXT_COLUMNS or column.startswith("noticed")
        table.add_column(column, justify="left" if is_text else "right", overflow="fold")
    return table


def _print(table: Table) -> None:
    width = None if sys.stdout.isatty() else FILE_WIDTH
    Console(width=width, highlight=False).print(table)
