"""Every deliberate mistake, and what notices it: the recorded numbers, and the comparison with PyTorch.

Recorded numbers notice by the quantity that must notice; of the comparison the first one is told, the closest to the cause.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from hrm_parity import controls
from hrm_parity.checks import Report, check_case, check_initial
from hrm_parity.compare import Row
from hrm_parity.configurations import BEYOND, CONFIGURATIONS
from hrm_parity.controls import INITIAL, Break
from hrm_parity.golden import Case
from hrm_parity.limits import Verdict
from hrm_parity.pairs import Machine, Prepared, hold, prepare

NUM_CONFIGURATIONS = 2  # the first, small ones: RoPE with stablemax, learned positions with softmax

Say = Callable[[str], None]


class Notice(NamedTuple):
    """The quantity that gave a mistake away."""

    case: str
    row: Row


@dataclass(frozen=True)
class Outcome:
    """Result of one deliberate mistake, for each check that can see it."""

    name: str
    recorded: Notice | None
    compared: Notice | None
    asked: frozenset[str]  # which of the two checks were made

    @property
    def is_tested(self) -> bool:
        """True if a check was made; some recorded cases do not come with the package."""
        return bool(self.asked)

    @property
    def is_noticed(self) -> bool:
        """True if a check noticed. On a device with wider limits one may be blind to what the other sees."""
        return self.recorded is not None or self.compared is not None


@dataclass(frozen=True)
class SelfTest:
    """The mistakes, and the same checks without any."""

    outcomes: list[Outcome]
    clean: list[Report]

    @property
    def broken(self) -> bool:
        """True if a mistake went unnoticed, or one was reported where there is none."""
        unnoticed = any(outcome.is_tested and not outcome.is_noticed for outcome in self.outcomes)
        return unnoticed or any(report.broken for report in self.clean)


def self_test(machine: Machine, cases: Mapping[str, Case], with_torch: bool, say: Say) -> SelfTest:
    """Make every mistake of `controls` in MLX, one at a time. `cases` are the recorded ones at hand."""
    prepared = (
        [
            check
            for configuration in (*CONFIGURATIONS[:NUM_CONFIGURATIONS], *BEYOND)
            for check in prepare(configuration)
        ]
        if with_torch
        else []
    )
    say("checking without a mistake")
    clean = [
        check_initial(machine.make),
        *(check_case(case, machine.make) for case in cases.values()),
    ]
    clean += [hold(machine, check) for check in prepared]
    outcomes = []
    for number, broken in enumerate(controls.BREAKS, start=1):
        say(f"mistake {number} of {len(controls.BREAKS)}: {broken.name}")
        with broken.apply():
            outcomes.append(_outcome(broken, machine, cases, prepared))
    return SelfTest(outcomes, clean)


def _outcome(
    broken: Break, machine: Machine, cases: Mapping[str, Case], prepared: list[Prepared]
) -> Outcome:
    asked, recorded, compared = set(), None, None
    if broken.case == INITIAL or broken.case in cases:
        asked.add("recorded")
        report = (
            check_initial(machine.make)
            if broken.case == INITIAL
            else check_case(cases[broken.case], machine.make)
        )
        recorded = _noticed(report, (row for row in report.rows if row.quantity == broken.quantity))
    if prepared and not broken.is_shared:
        asked.add("compared")
        shown_by = [check for check in prepared if _shows(check, broken)]
        reports = (hold(machine, check) for check in shown_by)
        compared = next(filter(None, (_noticed(report, report.rows) for report in reports)), None)
    return Outcome(broken.name, recorded, compared, frozenset(asked))


def _shows(check: Prepared, broken: Break) -> bool:
    """Return True if a check is of a model that a mistake is tried on."""
    is_beyond = check.configuration in BEYOND
    return check.configuration.name == broken.configuration or not (
        is_beyond or broken.configuration
    )


def _noticed(report: Report, rows: Iterable[Row]) -> Notice | None:
    """The first row whose limit is broken: quantities stand in the order in which they are computed."""
    broken = next((row for row in rows if row.verdict is Verdict.BROKEN), None)
    return Notice(report.case, broken) if broken else None
