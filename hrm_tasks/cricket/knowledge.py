"""What was learned from the training matches beside the network: it travels with the model.

The table, the players' records up to the last training match, and how outcomes turn into runs are
kept in one JSON file, which `hrm eval` and `hrm predict` read.

Shapes: K outcomes; counts of the table (cells, K).
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hrm_core.errors import DataError
from hrm_tasks.cricket import fits
from hrm_tasks.cricket.context import Played
from hrm_tasks.cricket.forecasts import Curves, fit_curves
from hrm_tasks.cricket.history import Record
from hrm_tasks.cricket.read import OUTCOMES, Match
from hrm_tasks.cricket.scoreboard import FloatArray, IntArray

FILE = "training.json"
DAMAGED = f"{FILE} is damaged; build the data set again, or use a model that was trained by hrm"
KEYS = {"last_day", "table", "details", "curves", "batters", "bowlers"}

# of a simulated ball: total, bat, ran, charged, legal, no_ball, wickets, bowlers_wicket, partner_out
DETAIL_SIZE = 9
Details = list[list[list[int]]]  # of each outcome, what it was in training, and how often


@dataclass(frozen=True, eq=False)
class Knowledge:
    """What was learned from the training matches."""

    content: Mapping[str, Any]

    @classmethod
    def of_text(cls, text: str) -> "Knowledge":
        """Read the file. Raises: DataError if it is not one that `to_text` wrote."""
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(DAMAGED) from error
        if not isinstance(content, dict) or content.keys() != KEYS:
            raise DataError(DAMAGED)
        known = cls(content)
        if not known.is_sound():
            raise DataError(DAMAGED)
        return known

    def to_text(self) -> str:
        """Write the file."""
        return json.dumps(self.content, separators=(",", ":"), ensure_ascii=False)

    @property
    def sha256(self) -> str:
        """Return the hash by which the settings of the task name this file."""
        return hashlib.sha256(self.to_text().encode()).hexdigest()

    @property
    def last_day(self) -> str:
        """Return the day of the last training match."""
        return str(self.content["last_day"])

    @cached_property
    def counts(self) -> IntArray:
        """Return the counts of the table (cells, K)."""
        return np.array(self.content["table"], np.int64)

    @cached_property
    def table(self) -> FloatArray:
        """Return the probabilities of the table (cells, K)."""
        return fits.table(self.counts)

    @cached_property
    def shares(self) -> FloatArray:
        """Return the share of each outcome (K,), that of an average player."""
        return fits.prior(self.counts)

    @cached_property
    def details(self) -> list[tuple[IntArray, FloatArray]]:
        """Return what each outcome may be: details (n, 9) and their shares (n,)."""
        found: list[tuple[IntArray, FloatArray]] = []
        for rows in self.content["details"]:
            numbers = np.array(rows, np.int64)
            found.append((numbers[:, :DETAIL_SIZE], numbers[:, -1] / numbers[:, -1].sum()))
        return found

    @cached_property
    def curves(self) -> Curves:
        """Return the regressions that forecasts are compared with."""
        return Curves.of_json(self.content["curves"])

    def record(self) -> Record:
        """Return the players' records up to the last training match."""
        record = Record()
        for name, counts in self.content["batters"].items():
            record.batters[name] = np.array(counts, np.float64)
        for name, counts in self.content["bowlers"].items():
            record.bowlers[name] = np.array(counts, np.float64)
        return record

    def is_sound(self) -> bool:
        """Return True if all parts have their shapes and types."""
        try:
            details = self.details
            shapes = self.counts.shape, len(details)
            players = [*self.content["batters"].values(), *self.content["bowlers"].values()]
            are_counts = np.array(players or np.zeros((1, len(OUTCOMES)))).shape[1:]
            has_curves = self.curves is not None
        except (ValueError, TypeError, KeyError, IndexError, AttributeError):
            return False
        is_table = shapes == ((fits.NUM_CELLS, len(OUTCOMES)), len(OUTCOMES))
        return is_table and are_counts == (len(OUTCOMES),) and has_curves


def learn(matches: Sequence[Match], played: Played) -> Knowledge:
    """Learn everything from the training matches; `played` are their innings."""
    balls, state = played.flat()
    record = Record()
    for match in matches:
        record.add(match)
    cells = fits.cell_of(state.over, state.wickets, state.innings)
    return Knowledge(
        {
            "last_day": matches[-1].date,
            "table": fits.table_counts(cells, balls.outcome).tolist(),
            "details": count_details(matches),
            "curves": fit_curves(matches, played).to_json(),
            "batters": _counts(record.batters),
            "bowlers": _counts(record.bowlers),
        }
    )


def count_details(matches: Sequence[Match]) -> Details:
    """Count what each outcome was: rows of 9 numbers and how often they came, most often first."""
    counts: list[dict[tuple[int, ...], int]] = [{} for _ in OUTCOMES]
    for match in matches:
        for innings in match.innings:
            for ball in innings.deliveries:
                partner_out = ball.partner in ball.players_out
                detail = (*map(int, ball[1:9]), int(partner_out))
                own = counts[ball.outcome]
                own[detail] = own.get(detail, 0) + 1
    rows = []
    for number, own in enumerate(counts):
        in_order = sorted(own.items(), key=lambda item: (-item[1], item[0]))
        found = [[*detail, count] for detail, count in in_order]
        rows.append(found or [[*_plain(number), 1]])
    return rows


def _plain(outcome: int) -> tuple[int, ...]:
    """Return the detail of an outcome that training has not."""
    name = OUTCOMES[outcome]
    bat = int(name) if name.isdigit() else 0
    is_extra = name in ("wd", "nb")
    total = 1 if is_extra or name == "b" else bat
    ran = 1 if name == "b" else bat
    charged = 0 if name == "b" else total
    is_wicket = int(name == "W")
    return total, bat, ran, charged, int(not is_extra), int(name == "nb"), is_wicket, is_wicket, 0


def _counts(players: Mapping[str, FloatArray]) -> dict[str, list[int]]:
    return {name: counts.astype(int).tolist() for name, counts in sorted(players.items())}
