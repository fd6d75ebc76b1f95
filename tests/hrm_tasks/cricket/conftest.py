"""Matches made by the tests: they look like Cricsheet's files and hold no real data."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Json = dict[str, Any]
TEAMS = ("Reds", "Blues")


def ball(
    batter: str = "A1", partner: str = "A2", bowler: str = "B1", bat: int = 0, **more: Any
) -> Json:
    """Make one delivery; `more` are extras by kind, and `wicket` as (kind, player)."""
    wicket = more.pop("wicket", None)
    extras = sum(more.values())
    record: Json = {
        "batter": batter,
        "bowler": bowler,
        "non_striker": partner,
        "runs": {"batter": bat, "extras": extras, "total": bat + extras},
    }
    if more:
        record["extras"] = more
    if wicket:
        record["wickets"] = [{"kind": wicket[0], "player_out": wicket[1]}]
    return record


def match_of(*innings: Sequence[Sequence[Json]], **info: Any) -> Json:
    """Make a match of innings, each a list of overs of deliveries."""
    records = []
    for number, overs in enumerate(innings):
        records.append(
            {
                "team": TEAMS[number % 2],
                "overs": [{"over": n, "deliveries": list(each)} for n, each in enumerate(overs)],
            }
        )
    about = {
        "balls_per_over": 6,
        "dates": ["2020-05-01"],
        "match_type": "T20",
        "outcome": {"winner": "Reds", "by": {"runs": 1}},
        "overs": 20,
        "team_type": "club",
        "teams": list(TEAMS),
        **info,
    }
    return {"meta": {"data_version": "1.1.0"}, "info": about, "innings": records}


def _random_over(rng: np.random.Generator, side: Json, bowler: str) -> list[Json]:
    """Bowl an over at random; `side` is changed: who bats, who comes next."""
    balls: list[Json] = []
    legal = 0
    while legal < 6 and side["next"] <= 11:
        striker, partner = side["in"]
        kind = rng.choice(["run", "wd", "nb", "lb", "W"], p=[0.86, 0.03, 0.01, 0.03, 0.07])
        bat, more = 0, {}
        if kind == "run":
            bat = int(rng.choice([0, 1, 2, 3, 4, 6], p=[0.36, 0.4, 0.07, 0.01, 0.11, 0.05]))
        elif kind == "wd":
            more["wides"] = int(rng.choice([1, 2, 5]))
        elif kind == "nb":
            more["noballs"] = 1
            bat = int(rng.choice([0, 1, 4]))
        elif kind == "lb":
            more["legbyes"] = 1
        else:
            more["wicket"] = ("bowled", striker)
        balls.append(ball(striker, partner, bowler, bat, **more))
        legal += kind not in ("wd", "nb")
        if (bat + more.get("legbyes", 0)) % 2:
            side["in"] = [partner, striker]
        if kind == "W":
            side["next"] += 1
            side["in"] = [f"{side['name']}{side['next']}", partner]
    side["in"] = side["in"][::-1]
    return balls


def random_match(seed: int, overs: int = 20, **info: Any) -> Json:
    """Make a match with two innings at random."""
    rng = np.random.default_rng(seed)
    innings = []
    for name, other in (("A", "B"), ("B", "A")):
        side: Json = {"name": name, "in": [f"{name}1", f"{name}2"], "next": 2}
        bowlers = [f"{other}{7 + number % 5}" for number in range(overs)]
        played = [_random_over(rng, side, bowler) for bowler in bowlers]
        innings.append([over for over in played if over])
    return match_of(*innings, **{"overs": overs, **info})


def write_matches(folder: Path, count: int, overs: int = 20, year: int = 2020) -> Path:
    """Write matches at random, one a day."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        day = f"{year}-{1 + number // 28:02d}-{1 + number % 28:02d}"
        record = random_match(1000 * year + number, overs, dates=[day])
        (folder / f"{year}{number:03d}.json").write_text(json.dumps(record))
    return folder


class Making:
    """The functions of this file, for tests."""

    ball = staticmethod(ball)
    match_of = staticmethod(match_of)
    random_match = staticmethod(random_match)
    write_matches = staticmethod(write_matches)


@pytest.fixture(scope="session")
def making() -> type[Making]:
    """Return the functions that make matches."""
    return Making


@pytest.fixture(scope="session")
def matches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of twelve short matches, one a day from 2020-01-01 on."""
    return write_matches(tmp_path_factory.mktemp("matches") / "all", 12, overs=6)
