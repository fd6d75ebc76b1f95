"""Results of a check of this machine as plain data: to be printed for scripts, written to a file and sent in."""

import dataclasses
import json
import math
import os
import platform
import shlex
from collections.abc import Mapping, Sequence
from enum import Enum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hrm_core.files import replaced_whole
from hrm_parity.certify import Certificate
from hrm_parity.checks import Report
from hrm_parity.limits import Verdict
from hrm_parity.selftest import SelfTest
from hrm_parity.training import TrainingReport

PACKAGES = ("hrm-mlx", "numpy", "ml_dtypes", "mlx", "mlx-metal", "torch")

Document = dict[str, Any]


def environment() -> dict[str, str]:
    """Return what numbers may depend on besides the backend."""
    return {
        "platform": platform.platform(),
        "machine": platform.machine(),
        "processor": platform.processor(),
        "cpus": str(os.cpu_count()),
        "python": platform.python_version(),
        **{package: _version(package) for package in PACKAGES},
    }


def document(arguments: Sequence[str], found: Certificate | TrainingReport | SelfTest) -> Document:
    """Everything that was found, with the command and the machine that found it."""
    if isinstance(found, Certificate):
        content = _of_cases(found.reports)
    else:
        content = _of_training(found) if isinstance(found, TrainingReport) else _of_self_test(found)
    about = {
        "command": shlex.join(["hrm", "parity", *arguments]),
        "environment": environment(),
        "broken": found.broken,
    }
    plain: Document = _plain({**about, **content})
    return plain


def conclusion(reports: Sequence[Report]) -> str:
    """Say how many quantities are within their limits."""
    rows = [row for report in reports for row in report.rows]
    within = sum(row.verdict in (Verdict.OK, Verdict.UNCERTIFIED) for row in rows)
    uncertified = any(row.verdict is Verdict.UNCERTIFIED for row in rows)
    return f"{within} of {len(rows)} quantities within limits" + (
        " of a device not certified before" if uncertified else ""
    )


def write(path: Path, content: Document) -> None:
    """Write a document as JSON, at once or not at all. Raises: HRMError if it cannot be written."""
    with replaced_whole(path) as partial:
        partial.write_text(json.dumps(content, indent=1) + "\n")


def _of_cases(reports: Sequence[Report]) -> Document:
    """All rows of all reports."""
    cases = [{**vars(report), "broken": report.broken} for report in reports]
    return {"cases": cases, "conclusion": conclusion(reports)}


def _of_training(report: TrainingReport) -> Document:
    """Every figure of two backends trained side by side."""
    return {"training": {**vars(report), "rules": report.rules}}


def _of_self_test(found: SelfTest) -> Document:
    """Every mistake, and by what it was noticed."""
    mistakes = [
        {
            "mistake": outcome.name,
            "noticed": outcome.is_noticed if outcome.is_tested else None,
            "checks": sorted(outcome.asked),
            "recorded": outcome.recorded and outcome.recorded._asdict(),
            "compared": outcome.compared and outcome.compared._asdict(),
        }
        for outcome in found.outcomes
    ]
    return {"mistakes": mistakes, "without_mistake": conclusion(found.clean)}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _plain(value: Any) -> Any:
    """The same as JSON can hold it: no NaN, no infinity, names instead of verdicts."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value):
        return _plain(vars(value))
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
