"""The file of a data set that holds the state before each ball as numbers.

The network reads tokens; regressions, which are compared with it, read these numbers. The file has a
line for each ball, in the order of the examples of its split.

Shapes: B balls.
"""

from typing import NamedTuple

import numpy as np

from hrm_core.errors import DataError
from hrm_tasks.cricket.context import Played
from hrm_tasks.cricket.history import NUM_GROUPS
from hrm_tasks.cricket.read import OUTCOMES
from hrm_tasks.cricket.scoreboard import NUM_RECENT, IntArray, State

FILE = "balls.csv"
SPLITS = ("train", "test")
HISTORIES = ("striker_history", "partner_history", "bowler_history")
NUMBERS = tuple(name for name in State._fields if name not in (*HISTORIES, "recent"))
RECENT = tuple(f"recent_{place}" for place in range(1, NUM_RECENT + 1))
COLUMNS = ("split", "match", "outcome", *NUMBERS, *RECENT)


class BallRows(NamedTuple):
    """Balls of one split; the histories of their players are left out."""

    match: IntArray  # (B,) numbers in order of the matches
    outcome: IntArray  # (B,)
    state: State  # (B,)

    def first(self, count: int) -> "BallRows":
        """Return the first balls."""
        kept = [field[:count] for field in self.state]
        return BallRows(self.match[:count], self.outcome[:count], State(*kept))  # type: ignore[arg-type]


def ball_rows(played: Played) -> BallRows:
    """Return all balls of some innings."""
    balls, state = played.flat()
    return BallRows(played.match_of_balls(), balls.outcome, state)


def write_balls(parts: dict[str, BallRows]) -> str:
    """Write the balls of each split as CSV."""
    lines = [",".join(COLUMNS)]
    for split, rows in parts.items():
        state = rows.state
        columns = [np.full(len(rows.match), SPLITS.index(split)), rows.match, rows.outcome]
        columns += [np.asarray(getattr(state, name), np.int64) for name in NUMBERS]
        table = np.column_stack([*columns, state.recent])
        lines += [",".join(map(str, row)) for row in table.tolist()]
    return "\n".join(lines) + "\n"


def read_balls(text: str, split: str) -> BallRows:
    """Read the balls of one split. Raises: DataError if the text is not of this format."""
    header, _, body = text.partition("\n")
    try:
        numbers = np.array(body.replace("\n", ",").rstrip(",").split(","), np.int64)
        table = numbers.reshape(-1, len(COLUMNS))
    except ValueError:
        table = np.empty((0, 0), np.int64)
    if header != ",".join(COLUMNS) or not table.size or not _are_sound(table):
        raise DataError(f"{FILE} is damaged; build or copy the data set again")
    table = table[table[:, 0] == SPLITS.index(split)]
    columns = dict(zip(COLUMNS, table.T, strict=True))
    fields = {name: columns[name] for name in NUMBERS}
    for name in ("is_international", "free_hit"):
        fields[name] = fields[name] > 0
    unknown = np.full((len(table), NUM_GROUPS), np.nan)
    state = State(
        **fields,
        recent=table[:, -NUM_RECENT:],
        **dict.fromkeys(HISTORIES, unknown),
    )
    return BallRows(columns["match"], columns["outcome"], state)


def _are_sound(table: IntArray) -> bool:
    """Return True if the outcomes and all other numbers are in their ranges."""
    outcome = table[:, COLUMNS.index("outcome")]
    is_outcome = (outcome >= 0) & (outcome < len(OUTCOMES))
    recent = table[:, -NUM_RECENT:]
    are_recent = (recent >= -1) & (recent < len(OUTCOMES))
    return bool(is_outcome.all() and are_recent.all() and table.min() >= -1)
