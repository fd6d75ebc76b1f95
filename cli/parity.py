"""hrm parity: does this machine compute what the published code computes?"""

import dataclasses
import json
import math
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from cli.options import json_option
from hrm_parity.checks import Dtype, Report, backend_named, check_case, check_initial
from hrm_parity.golden import carried_cases, find_cases, load_case
from hrm_parity.limits import Verdict

FILE_WIDTH = 160  # columns of a table that goes into a file or a pipe
STYLES = {Verdict.OK: "green", Verdict.BROKEN: "bold red", Verdict.UNCERTIFIED: "yellow", Verdict.UNKNOWN: "yellow"}


@click.command()
@click.option("--golden", type=click.Path(exists=True, file_okay=False, path_type=Path), help="A recorded case, or a folder of them.")
@click.option("--backend", type=click.Choice(["mlx", "torch"]), default="mlx", show_default=True, help="Framework that computes.")
@click.option(
    "--dtype", type=click.Choice(["auto", "float32", "bfloat16", "float64"]), default="auto", show_default=True, help="auto: as recorded."
)
@json_option
def parity(golden: Path | None, backend: str, dtype: Dtype, as_json: bool) -> int:
    """Replay recorded runs of the published code and compare every number; without --golden the one that comes with hrm.

    Exit status 1 says that a limit is broken.

    \b
    Example:
        hrm parity
    """
    make = backend_named(backend)
    reports = [] if golden else [check_initial(make)]
    reports += [check_case(load_case(folder), make, dtype) for folder in (find_cases(golden) if golden else carried_cases())]
    if as_json:
        click.echo(json.dumps(_plain(reports), indent=2))
    else:
        for report in reports:
            _print_table(report)
        click.echo(_conclusion(reports))
    return int(any(report.broken for report in reports))


def _print_table(report: Report) -> None:
    described = ", ".join(report.backend[key] for key in ("backend", "device", "dtype") if key in report.backend)
    table = Table(title=f"{report.case}: {described}" if described else report.case, title_justify="left")
    table.add_column("quantity")
    table.add_column("worst difference", justify="right")
    table.add_column("where", overflow="fold")
    table.add_column("limit", justify="right")
    table.add_column("verdict")
    for row in report.rows:
        table.add_row(row.quantity, _number(row.gap), row.where, _number(row.limit), row.verdict.value, style=STYLES[row.verdict])
    Console(width=None if sys.stdout.isatty() else FILE_WIDTH).print(table)


def _number(gap: float) -> str:
    return f"{gap:.0f}" if float(gap).is_integer() else f"{gap:.1e}"


def _conclusion(reports: list[Report]) -> str:
    rows = [row for report in reports for row in report.rows]
    within = sum(row.verdict in (Verdict.OK, Verdict.UNCERTIFIED) for row in rows)
    uncertified = any(row.verdict is Verdict.UNCERTIFIED for row in rows)
    return f"{within} of {len(rows)} quantities within limits" + (" of a device not certified before" if uncertified else "")


def _plain(reports: list[Report]) -> dict[str, object]:
    cases = [
        {
            "case": report.case,
            "backend": report.backend,
            "broken": report.broken,
            "rows": [{**dataclasses.asdict(row), "gap": _finite(row.gap), "verdict": row.verdict.value} for row in report.rows],
        }
        for report in reports
    ]
    return {"cases": cases, "conclusion": _conclusion(reports)}


def _finite(gap: float) -> float | None:
    """JSON has no NaN and no infinity."""
    return gap if math.isfinite(gap) else None
