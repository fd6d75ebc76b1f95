"""Everything that is checked on one machine: recorded cases, and the comparison with PyTorch on models of every size."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from hrm_parity.checks import Dtype, Report, check_case, check_initial
from hrm_parity.compare import Row
from hrm_parity.configurations import CONFIGURATIONS, Configuration
from hrm_parity.golden import carried_cases, find_cases, load_case
from hrm_parity.limits import Verdict
from hrm_parity.pairs import Machine, hold, prepare

Say = Callable[[str], None]


class Compared(NamedTuple):
    """One comparison with PyTorch."""

    configuration: Configuration
    check: str
    report: Report


@dataclass(frozen=True)
class Certificate:
    """All rows of all checks."""

    recorded: list[Report]
    compared: list[Compared]

    @property
    def reports(self) -> list[Report]:
        """Every report, the recorded cases first."""
        return [*self.recorded, *(compared.report for compared in self.compared)]

    @property
    def broken(self) -> bool:
        """True if a limit is broken."""
        return any(report.broken for report in self.reports)

    def summary(self) -> Iterator[Report]:
        """The recorded cases as they are; of the comparisons one report a check and size, each quantity where it is worst."""
        yield from self.recorded
        groups: dict[str, list[Compared]] = {}
        for compared in self.compared:
            size = (
                "the paper's configuration"
                if compared.configuration.is_paper
                else "small and medium models"
            )
            groups.setdefault(f"{compared.check}, {size}", []).append(compared)
        for title, group in groups.items():
            yield worst_of(title, group)


def certify(
    machine: Machine, golden: Path | None, dtype: Dtype, with_torch: bool, say: Say
) -> Certificate:
    """Replay the recorded cases; without `golden` those that come with the package, and compare with PyTorch where it is there.

    Raises: CaseError where a case is damaged or contradicts itself.
    """
    if golden is not None:
        return Certificate(
            [check_case(load_case(folder), machine.make, dtype) for folder in find_cases(golden)],
            [],
        )
    recorded = [
        check_initial(machine.make),
        *(check_case(load_case(folder), machine.make, dtype) for folder in carried_cases()),
    ]
    compared: list[Compared] = []
    for configuration in CONFIGURATIONS if with_torch else ():
        say(f"comparing with PyTorch: {configuration.name} ({configuration.about})")
        compared += (
            Compared(configuration, check.check, hold(machine, check))
            for check in prepare(configuration)
        )
    return Certificate(recorded, compared)


def worst_of(title: str, group: Sequence[Compared]) -> Report:
    """One report of several: of each quantity the row that is closest to its limit, or furthest beyond it."""
    worst: dict[str, Row] = {}
    for configuration, _, report in group:
        for row in report.rows:
            known = worst.get(row.quantity)
            if known is None or _badness(row) > _badness(known):
                worst[row.quantity] = (
                    replace(row, where=f"{row.where} in {configuration.name}")
                    if row.where and len(group) > 1
                    else row
                )
    return Report(title, group[0].report.backend, list(worst.values()))


def _badness(row: Row) -> tuple[bool, float]:
    return row.verdict is Verdict.BROKEN, row.excess
