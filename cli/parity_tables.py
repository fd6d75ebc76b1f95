"""What `hrm parity` prints: tables of gaps and limits."""

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
STYLES = {
    Verdict.OK: "green",
    Verdict.BROKEN: "bold red",
    Verdict.UNCERTIFIED: "yellow",
    Verdict.UNKNOWN: "yellow",
}


def show(found: Certificate | TrainingReport | SelfTest) -> None:
    """Print what a check found."""
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
    described = ", ".join(
        report.backend[key] for key in ("backend", "device", "dtype") if key in report.backend
    )
    is_compared = any(row.noise is not None for row in report.rows)
    gaps = (
        ["from float64", "from torch f32", "torch f32 itself"]
        if is_compared
        else ["worst difference"]
    )
    table = _table(
        f"{report.case}: {described}" if described else report.case,
        "quantity",
        *gaps,
        "limit",
        "where",
        "verdict",
    )
    for row in report.rows:
        found = [row.gap, row.to_torch, row.noise] if is_compared else [row.gap]
        numbers = [_number(gap) for gap in (*found, row.limit)]
        table.add_row(
            row.quantity, *numbers, row.where, row.verdict.value, style=STYLES[row.verdict]
        )
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
        numbers = [_number(gap) for gap in (row.loss, row.logits, row.weights, row.weights_rms)]
        shares = [f"{row.exact[name]:.1%}" if row.exact else "" for name in names]
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
        verdict = (
            ("noticed" if outcome.is_noticed else "UNNOTICED")
            if outcome.is_tested
            else "not tested: its case is not at hand"
        )
        style = ("green" if outcome.is_noticed else "bold red") if outcome.is_tested else "yellow"
        table.add_row(
            outcome.name,
            _notice(outcome, "recorded"),
            _notice(outcome, "compared"),
            verdict,
            style=style,
        )
    _print(table)
    tested = [outcome for outcome in found.outcomes if outcome.is_tested]
    noticed = sum(outcome.is_noticed for outcome in tested)
    click.echo(f"without a mistake {conclusion(found.clean)}")
    click.echo(f"{noticed} of {len(tested)} mistakes noticed")


def _notice(outcome: "Outcome", check: str) -> str:
    if check not in outcome.asked:
        return ""
    notice: Notice | None = getattr(outcome, check)
    if notice is None:
        return "no"
    return f"{notice.row.quantity} {_number(notice.row.gap)}, limit {_number(notice.row.limit)} ({notice.case})"


def _update(update: int | None) -> str:
    return f"update {update}" if update else "none"


def _number(gap: float | None) -> str:
    if gap is None:
        return ""
    return f"{gap:.0f}" if float(gap).is_integer() else f"{gap:.1e}"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        is_text = column in ("quantity", "where", "verdict", "mistake") or column.startswith(
            "noticed"
        )
        table.add_column(column, justify="left" if is_text else "right", overflow="fold")
    return table


def _print(table: Table) -> None:
    Console(width=None if sys.stdout.isatty() else FILE_WIDTH, highlight=False).print(table)
