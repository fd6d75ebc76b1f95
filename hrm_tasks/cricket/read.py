"""Read Cricsheet's JSON: one match as typed innings, overs and deliveries.

A delivery has one of ten outcomes. Beside it stands its detail, which the score is computed from:
runs, whether it was legal, who is out.

Source: cricsheet.org/format/json, versions 1.0.0 and 1.1.0.
"""

import hashlib
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from hrm_core.data.sources import ZIP, escaped, hashed_entry, read_json, refusing_damage
from hrm_core.errors import DataError
from hrm_core.messages import quoted, shortened

OUTCOMES = ("0", "1", "2", "3", "4", "6", "W", "wd", "nb", "b")
BAT_OUTCOMES = {0: "0", 1: "1", 2: "2", 3: "3", 4: "4", 5: "3", 6: "6", 7: "3", 8: "6"}
EXTRAS = ("wides", "noballs", "byes", "legbyes", "penalty")
DISMISSALS = (
    "bowled",
    "caught",
    "caught and bowled",
    "lbw",
    "run out",
    "stumped",
    "hit wicket",
    "hit the ball twice",
    "handled the ball",
    "obstructing the field",
    "timed out",
    "retired out",
)
NOT_THE_BOWLERS = (
    "run out",
    "hit the ball twice",
    "handled the ball",
    "obstructing the field",
    "timed out",
    "retired out",
)
NO_DISMISSALS = ("retired hurt", "retired not out")
FORMATS = ("T20", "IT20")
MAX_OVERS = 20
MAX_FILE_BYTES = 1 << 26  # of one match; real ones have some 100 kB
MAX_MATCHES = 100_000
EXPECTED = "a match as Cricsheet publishes it"
DATE = re.compile(r"\d{4}-\d{2}-\d{2}")

Json = Mapping[str, Any]


class UnsuitableError(DataError):
    """A sound file of a match that is not for this task: abandoned, cut by rain, another format."""


class Delivery(NamedTuple):
    """One delivery: its outcome, and the detail that the score is computed from."""

    outcome: int  # index in OUTCOMES
    total: int  # runs added to the score
    bat: int  # runs off the bat
    ran: int  # runs that change the strike: off the bat, byes, and wides and no-balls beyond the first
    charged: int  # runs counted against the bowler
    legal: bool
    no_ball: bool
    wickets: int  # dismissals
    bowlers_wicket: bool
    players_out: tuple[str, ...]  # of dismissals
    retired: tuple[str, ...]  # left without being out
    batter: str
    partner: str
    bowler: str


class Over(NamedTuple):
    """One over; its number counts from 0, as in the files."""

    number: int
    deliveries: tuple[Delivery, ...]


@dataclass(frozen=True)
class Innings:
    """One innings, finished or not."""

    team: str
    overs: tuple[Over, ...]
    max_balls: int  # legal balls it may have
    target: int | None  # runs needed to win; None in the first innings
    before: int = 0  # penalty runs that the side had before its first ball
    after: int = 0  # penalty runs given to the side after its last ball

    @property
    def deliveries(self) -> list[Delivery]:
        """Return all deliveries in order."""
        return [delivery for over in self.overs for delivery in over.deliveries]

    @property
    def runs(self) -> int:
        """Return the runs scored so far."""
        return self.before + self.after + sum(ball.total for ball in self.deliveries)

    @property
    def wickets(self) -> int:
        """Return the wickets lost so far."""
        return sum(ball.wickets for ball in self.deliveries)


@dataclass(frozen=True)
class Match:
    """One match."""

    name: str  # of its file, without the ending
    date: str  # of its first day, YYYY-MM-DD
    teams: tuple[str, str]
    is_international: bool
    innings: tuple[Innings, ...]  # without super overs
    winner: str | None  # None: a tie, or not over yet
    is_over: bool
    people: Mapping[str, str]  # Cricsheet's identifier of each player by name

    def identifier(self, player: str) -> str:
        """Return Cricsheet's identifier of a player; the name if there is none."""
        return self.people.get(player, player)


class Source(NamedTuple):
    """Matches of a file, a folder or a ZIP file."""

    path: Path
    sha256: str  # of a file; of names and contents for a folder
    matches: list[Match]  # by date, then by name
    skipped: dict[str, str]  # why each unsuitable match was left out


def read_source(path: Path) -> Source:
    """Read all matches of a ZIP file, a folder or one JSON file; unsuitable ones are left out.

    Raises: DataError naming the file, or match, over and ball, if one is damaged or unknown.
    """
    digest = hashlib.sha256()
    matches: dict[str, Match] = {}
    skipped: dict[str, str] = {}
    for name, data in _files(path):
        digest.update(hashed_entry(data, name))
        match_name = Path(name).stem
        if match_name in matches or match_name in skipped:
            raise DataError(f"{path}: two files are called {match_name}.json; take one of them out")
        try:
            matches[match_name] = parse_match(data, match_name)
        except UnsuitableError as error:
            skipped[match_name] = str(error).removeprefix(f"match {match_name}: ")
    in_order = sorted(matches.values(), key=lambda match: (match.date, match.name))
    return Source(path, digest.hexdigest(), in_order, skipped)


def read_match(path: Path) -> Match:
    """Read one match, finished or not. Raises: DataError as `read_source`, UnsuitableError."""
    return parse_match(_read(path), path.stem)


def parse_match(data: bytes, name: str) -> Match:
    """Read the JSON of one match.

    Raises: DataError naming match, over and ball; UnsuitableError for what is not a whole T20 match.
    """
    place = f"match {shortened(name)}"
    record = _mapping(read_json(_text(data, place), place, EXPECTED), place)
    for key in ("info", "innings"):
        if key not in record and not (key == "innings" and "info" in record):
            raise DataError(f"{place} is JSON but has no {key!r}; expected {EXPECTED}")
    info = _mapping(record["info"], f"{place}: info")
    _check_format(info, place)
    outcome = _mapping(info.get("outcome", {}), f"{place}: outcome")
    _check_outcome(outcome, place)
    teams = _teams(info, place)
    innings = _all_innings(record.get("innings", []), info, place)
    is_over = bool(outcome)
    if is_over and not any(each.deliveries for each in innings):
        raise UnsuitableError(f"{place}: no ball was bowled; choose another match")
    return Match(
        name,
        _date(info, place),
        teams,
        info.get("team_type", "international") == "international",
        innings,
        _winner(outcome, teams, place),
        is_over,
        _people(info),
    )


def _files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each JSON file, by name."""
    if path.is_dir():
        found = sorted(path.glob("*.json"))
        _check_count(path, len(found))
        for file in found:
            yield escaped(file.name), _read(file)
    elif path.suffix.lower() == ".zip":
        yield from _zip_files(path)
    elif path.suffix.lower() == ".json":
        yield escaped(path.name), _read(path)
    else:
        found_kind = "another kind of file" if path.exists() else "not there"
        raise DataError(
            f"{path} is {found_kind}; expected a ZIP file, a folder or a .json file of matches"
        )


def _zip_files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the JSON files in a ZIP file, whatever folders they are in."""
    with refusing_damage(path, *ZIP), zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if name.lower().endswith(".json"))
        _check_count(path, len(names))
        for name in names:
            if archive.getinfo(name).file_size > MAX_FILE_BYTES:
                raise DataError(f"{path}: {quoted(name)} is too large for {EXPECTED}")
            yield name, archive.read(name)


def _check_count(path: Path, count: int) -> None:
    if not 0 < count <= MAX_MATCHES:
        raise DataError(
            f"{path} holds {count:,} .json files; expected 1 to {MAX_MATCHES:,} matches"
        )


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise DataError(f"{path} is too large for {EXPECTED}")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def _text(data: bytes, place: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{place} is not UTF-8 at byte {error.start:,}; expected {EXPECTED}"
        ) from error


def _mapping(value: object, place: str) -> Json:
    if not isinstance(value, dict):
        raise DataError(f"{place} is {_kind(value)}, expected a JSON object of {EXPECTED}")
    return value


def _list(value: object, place: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise DataError(f"{place} is {_kind(value)}, expected a list")
    return value


def _whole(value: object, place: str, most: int = 10_000) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise DataError(f"{place} is {shortened(repr(value), 40)}, expected 0 to {most:,}")
    return value


def _name(value: object, place: str) -> str:
    if not isinstance(value, str) or not value:
        raise DataError(f"{place} is {shortened(repr(value), 40)}, expected a name")
    return value


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


def _check_format(info: Json, place: str) -> None:
    """Refuse every other format than Twenty20."""
    kind = info.get("match_type")
    if kind not in FORMATS:
        raise UnsuitableError(
            f"{place}: match_type is {shortened(repr(kind), 40)}; expected T20, for other formats "
            "there is no model"
        )
    overs = _whole(info.get("overs", MAX_OVERS), f"{place}: overs", 1000)
    balls = info.get("balls_per_over", 6)
    if not 1 <= overs <= MAX_OVERS or balls != 6:
        raise UnsuitableError(
            f"{place}: {overs} overs of {shortened(repr(balls), 40)} balls; "
            f"expected at most {MAX_OVERS} of 6"
        )


def _check_outcome(outcome: Json, place: str) -> None:
    """Refuse matches without a result of their own."""
    method = outcome.get("method")
    if method is not None:
        raise UnsuitableError(
            f"{place}: decided by {shortened(str(method), 40)}; expected a match without "
            "Duckworth-Lewis or another adjusted target"
        )
    if outcome.get("result") == "no result":
        raise UnsuitableError(f"{place}: abandoned, no result; choose another match")


def _teams(info: Json, place: str) -> tuple[str, str]:
    teams = _list(info.get("teams"), f"{place}: teams")
    if len(teams) != 2:
        raise DataError(f"{place}: {len(teams)} teams, expected 2")
    first, second = (_name(team, f"{place}: a team") for team in teams)
    return first, second


def _date(info: Json, place: str) -> str:
    dates = _list(info.get("dates"), f"{place}: dates")
    if not dates or not isinstance(dates[0], str) or not DATE.fullmatch(dates[0]):
        raise DataError(f"{place}: dates begins with no YYYY-MM-DD; expected {EXPECTED}")
    return dates[0]


def _winner(outcome: Json, teams: tuple[str, str], place: str) -> str | None:
    winner = outcome.get("winner")
    if winner is not None and winner not in teams:
        raise DataError(
            f"{place}: the winner {shortened(repr(winner), 40)} is neither {teams[0]} nor {teams[1]}"
        )
    return winner


def _people(info: Json) -> dict[str, str]:
    registry = info.get("registry")
    people = registry.get("people") if isinstance(registry, dict) else None
    if not isinstance(people, dict):
        return {}
    return {name: key for name, key in people.items() if isinstance(key, str) and key}


def _all_innings(value: object, info: Json, place: str) -> tuple[Innings, ...]:
    """Read the innings without super overs: at most two."""
    found: list[Innings] = []
    for record in _list(value, f"{place}: innings"):
        where = f"{place}, innings {len(found) + 1}"
        own = _mapping(record, where)
        if own.get("super_over"):
            continue
        if len(found) == 2:
            raise DataError(f"{place} has more than 2 innings; expected {EXPECTED}")
        found.append(_innings(own, found, info, where))
    return tuple(found)


def _innings(record: Json, before: Sequence[Innings], info: Json, place: str) -> Innings:
    """Read one innings; a target that is not there is the first score and one more."""
    overs: list[Over] = []
    for each in _list(record.get("overs", []), f"{place}: overs"):
        overs.append(_over(each, overs, place))
    max_overs: Any = info.get("overs", MAX_OVERS)
    target = None
    if before:
        own = _mapping(record.get("target", {}), f"{place}: target")
        runs = own.get("runs", before[0].runs + 1)
        target = _whole(runs, f"{place}: target.runs")
        max_overs = own.get("overs", max_overs)
    penalties = _mapping(record.get("penalty_runs", {}), f"{place}: penalty_runs")
    return Innings(
        _name(record.get("team"), f"{place}: team"),
        tuple(overs),
        _balls(max_overs, f"{place}: overs"),
        target,
        _whole(penalties.get("pre", 0), f"{place}: penalty_runs.pre", 1000),
        _whole(penalties.get("post", 0), f"{place}: penalty_runs.post", 1000),
    )


def _balls(overs: object, place: str) -> int:
    """Return the balls of a number of overs; 13.4 is 13 overs and 4 balls."""
    if not isinstance(overs, int | float) or not 1 <= overs <= MAX_OVERS:
        raise DataError(f"{place} is {shortened(repr(overs), 40)}, expected 1 to {MAX_OVERS}")
    whole = int(overs)
    return 6 * whole + round(10 * (overs - whole))


def _over(value: object, before: Sequence[Over], innings: str) -> Over:
    """Read one over."""
    record = _mapping(value, f"{innings}: an over")
    number = _whole(record.get("over"), f"{innings}: number of an over", 99)
    place = f"{innings}, over {number + 1}"
    if before and number <= before[-1].number:
        raise DataError(
            f"{place} stands behind over {before[-1].number + 1}; expected overs in order"
        )
    balls = _list(record.get("deliveries", []), f"{place}: deliveries")
    deliveries = []
    for count, ball in enumerate(balls, start=1):
        deliveries.append(read_delivery(ball, f"{place}, ball {count}"))
    return Over(number, tuple(deliveries))


def read_delivery(value: object, place: str) -> Delivery:
    """Read one delivery. Raises: DataError beginning with `place`."""
    record = _mapping(value, place)
    runs = _mapping(record.get("runs"), f"{place}: runs")
    bat = _whole(runs.get("batter"), f"{place}: runs.batter", 100)
    total = _whole(runs.get("total"), f"{place}: runs.total", 100)
    extras = _extras(record.get("extras", {}), place)
    if bat + sum(extras.values()) != total:
        raise DataError(
            f"{place}: runs.total is {total}, but {bat} off the bat and extras of "
            f"{sum(extras.values())} are {bat + sum(extras.values())}; correct the file"
        )
    out, retired, is_bowlers = _wickets(record.get("wickets", []), place)
    if bat not in BAT_OUTCOMES:
        raise DataError(f"{place}: {bat} runs off the bat; expected 0 to {max(BAT_OUTCOMES)}")
    wides, noballs = extras.get("wides", 0), extras.get("noballs", 0)
    byes = extras.get("byes", 0) + extras.get("legbyes", 0)
    return Delivery(
        _outcome(bat, extras, bool(out)),
        total,
        bat,
        bat + byes + max(0, wides - 1) + max(0, noballs - 1),
        bat + wides + noballs,
        not (wides or noballs),
        bool(noballs),
        len(out),
        is_bowlers,
        tuple(out),
        tuple(retired),
        _name(record.get("batter", record.get("batsman")), f"{place}: batter"),
        _name(record.get("non_striker"), f"{place}: non_striker"),
        _name(record.get("bowler"), f"{place}: bowler"),
    )


def _outcome(bat: int, extras: Mapping[str, int], is_out: bool) -> int:
    """Return the outcome: the first that matches of W, nb, wd, b and the runs off the bat."""
    if is_out:
        name = "W"
    elif extras.get("noballs"):
        name = "nb"
    elif extras.get("wides"):
        name = "wd"
    elif extras.get("byes") or extras.get("legbyes"):
        name = "b"
    else:
        name = BAT_OUTCOMES[bat]
    return OUTCOMES.index(name)


def _extras(value: object, place: str) -> dict[str, int]:
    """Read the extras of a delivery by their kinds."""
    extras = {}
    for kind, runs in _mapping(value, f"{place}: extras").items():
        if kind not in EXTRAS:
            raise DataError(
                f"{place}: unknown kind of extras {quoted(kind)}; expected {', '.join(EXTRAS)}"
            )
        extras[kind] = _whole(runs, f"{place}: {kind}", 100)
    return extras


def _wickets(value: object, place: str) -> tuple[list[str], list[str], bool]:
    """Read who is out, who retired, and whether a wicket is the bowler's."""
    out, retired = [], []
    is_bowlers = False
    for wicket in _list(value, f"{place}: wickets"):
        record = _mapping(wicket, f"{place}: a wicket")
        kind = record.get("kind")
        player = _name(record.get("player_out"), f"{place}: player_out")
        if kind in NO_DISMISSALS:
            retired.append(player)
        elif kind in DISMISSALS:
            out.append(player)
            is_bowlers = is_bowlers or kind not in NOT_THE_BOWLERS
        else:
            raise DataError(
                f"{place}: unknown kind of wicket {shortened(repr(kind), 40)}; "
                f"expected {', '.join((*DISMISSALS, *NO_DISMISSALS))}"
            )
    return out, retired, is_bowlers
