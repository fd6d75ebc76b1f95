import copy
import csv
import json
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hrm_core.errors import DataError
from hrm_tasks.cricket.read import (
    OUTCOMES,
    Delivery,
    Match,
    UnsuitableError,
    parse_match,
    read_delivery,
    read_match,
    read_source,
)

REAL = Path(__file__).parents[4] / "shared" / "data" / "cricket"


def parsed(record: Any, name: str = "1") -> Match:
    return parse_match(json.dumps(record).encode(), name)


def refusal(data: Any, name: str = "1") -> str:
    with pytest.raises(DataError) as refused:
        parse_match(data if isinstance(data, bytes) else json.dumps(data).encode(), name)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def delivery(record: Any) -> Delivery:
    return read_delivery(record, "match 1, innings 1, over 1, ball 1")


@pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/data/cricket")
def test_every_innings_of_the_real_matches_has_the_totals_of_the_index() -> None:
    source = read_source(REAL / "t20_matches.zip")
    with (REAL / "t20_matches_index.csv").open() as file:
        index = {row["match_id"]: row for row in csv.DictReader(file)}
    counts: Counter[str] = Counter()
    for match in source.matches:
        row = index.pop(match.name)
        assert (match.date, match.winner) == (row["date"], row["winner"])
        for number, innings in enumerate(match.innings, start=1):
            balls = innings.deliveries
            found = innings.team, innings.runs, innings.wickets, len(balls)
            texts = [row[f"{key}{number}"] for key in ("team", "runs", "wickets", "deliveries")]
            assert list(map(str, found)) == texts
            counts.update(OUTCOMES[each.outcome] for each in balls)
    assert not index
    assert not source.skipped
    assert [counts[name] for name in OUTCOMES] == [
        *(13_801, 17_777, 3_088, 172, 5_201, 2_405),
        *(2_398, 1_470, 160, 821),
    ]
    assert counts.total() == 47_293


@pytest.mark.parametrize(
    ("more", "outcome", "legal", "charged", "ran"),
    [
        ({"bat": 0}, "0", True, 0, 0),
        ({"bat": 5}, "3", True, 5, 5),
        ({"bat": 6}, "6", True, 6, 6),
        ({"wides": 1}, "wd", False, 1, 0),
        ({"wides": 5}, "wd", False, 5, 4),
        ({"noballs": 1, "bat": 4}, "nb", False, 5, 4),
        ({"noballs": 1, "byes": 2}, "nb", False, 1, 2),
        ({"legbyes": 4}, "b", True, 0, 4),
        ({"byes": 1, "penalty": 5}, "b", True, 0, 1),
        ({"penalty": 5}, "0", True, 0, 0),
        ({"wides": 1, "wicket": ("stumped", "A1")}, "W", False, 1, 0),
        ({"noballs": 1, "wicket": ("run out", "A2")}, "W", False, 1, 0),
        ({"bat": 1, "wicket": ("run out", "A2")}, "W", True, 1, 1),
        ({"wicket": ("retired out", "A1")}, "W", True, 0, 0),
        ({"bat": 2, "wicket": ("retired hurt", "A1")}, "2", True, 2, 2),
        ({"wicket": ("retired not out", "A1")}, "0", True, 0, 0),
    ],
)
def test_the_first_outcome_that_matches_is_taken(
    making: Any, more: dict[str, Any], outcome: str, legal: bool, charged: int, ran: int
) -> None:
    found = delivery(making.ball(**more))
    assert OUTCOMES[found.outcome] == outcome
    assert (found.legal, found.charged, found.ran) == (legal, charged, ran)
    assert found.no_ball == ("noballs" in more)


def test_the_detail_says_who_is_out_and_whose_wicket_it_is(making: Any) -> None:
    run_out = delivery(making.ball(bat=1, wicket=("run out", "A2")))
    assert (run_out.players_out, run_out.wickets, run_out.bowlers_wicket) == (("A2",), 1, False)
    bowled = delivery(making.ball(wicket=("bowled", "A1")))
    assert (bowled.players_out, bowled.bowlers_wicket) == (("A1",), True)
    hurt = delivery(making.ball(wicket=("retired hurt", "A1")))
    assert (hurt.players_out, hurt.retired, hurt.wickets) == ((), ("A1",), 0)


def test_penalty_runs_count_for_the_total_only(making: Any) -> None:
    record = making.match_of([[making.ball(bat=1, penalty=5)]])
    record["innings"][0]["penalty_runs"] = {"pre": 5, "post": 10}
    assert parsed(record).innings[0].runs == 21


def test_a_target_that_is_not_there_is_one_more_than_the_first_score(making: Any) -> None:
    record = making.match_of([[making.ball(bat=4)]], [[making.ball("B1", "B2", "A1")]])
    first, second = parsed(record).innings
    assert (first.target, second.target, second.max_balls) == (None, 5, 120)


def test_the_limit_of_balls_follows_the_target(making: Any) -> None:
    record = making.match_of([[making.ball()]], [[making.ball()]], overs=19)
    record["innings"][1]["target"] = {"runs": 90, "overs": 13.4}
    first, second = parsed(record).innings
    assert (first.max_balls, second.max_balls, second.target) == (114, 82, 90)


def test_a_super_over_is_passed_over(making: Any) -> None:
    record = making.match_of([[making.ball()]], [[making.ball()]], [[making.ball()]])
    record["innings"][2]["super_over"] = True
    assert len(parsed(record).innings) == 2


def test_a_match_that_is_not_over_is_read(making: Any, tmp_path: Path) -> None:
    record = making.match_of([[making.ball(bat=1), making.ball("A2", "A1")]])
    del record["info"]["outcome"]
    path = tmp_path / "live.json"
    path.write_text(json.dumps(record))
    match = read_match(path)
    assert not match.is_over
    assert (match.name, len(match.innings), match.innings[0].runs) == ("live", 1, 1)


def test_an_over_without_a_legal_ball_and_a_second_bowler_are_valid(making: Any) -> None:
    over = [making.ball(wides=1), making.ball(bowler="B2", wides=1)]
    (innings,) = parsed(making.match_of([over])).innings
    assert [each.bowler for each in innings.deliveries] == ["B1", "B2"]
    assert not any(each.legal for each in innings.deliveries)


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({"match_type": "Test"}, "match_type is 'Test'"),
        ({"match_type": "ODI", "overs": 50}, "match_type is 'ODI'"),
        ({"match_type": "T20", "overs": 50}, "50 overs of 6 balls"),
        ({"balls_per_over": 5}, "20 overs of 5 balls"),
        ({"outcome": {"result": "no result"}}, "abandoned"),
        ({"outcome": {"winner": "Reds", "method": "D/L"}}, "decided by D/L"),
        ({"outcome": {"winner": "Reds", "method": "VJD"}}, "decided by VJD"),
    ],
)
def test_other_matches_are_refused_in_one_line(
    making: Any, info: dict[str, Any], expected: str
) -> None:
    record = making.match_of([[making.ball()]], **info)
    message = refusal(record, "77")
    assert message.startswith("match 77: ")
    assert expected in message
    with pytest.raises(UnsuitableError):
        parsed(record)


def test_an_unknown_kind_names_match_over_and_ball(making: Any) -> None:
    over = [making.ball(), making.ball(wicket=("mankad", "A2"))]
    message = refusal(making.match_of([[making.ball()], over]))
    assert message.startswith("match 1, innings 1, over 2, ball 2: unknown kind of wicket 'mankad'")
    message = refusal(making.match_of([[making.ball(leftbyes=1)]]))
    assert message.startswith(
        "match 1, innings 1, over 1, ball 1: unknown kind of extras 'leftbyes'"
    )


def test_sums_that_disagree_are_refused(making: Any) -> None:
    wrong = making.ball(bat=1)
    wrong["runs"]["total"] = 2
    assert "runs.total is 2, but 1 off the bat" in refusal(making.match_of([[wrong]]))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"{", "is not JSON"),
        (b"[]", "is a list, expected a JSON object"),
        (b"{}", "has no 'info'"),
        (b'{"info": 1}', "info is a int"),
        (b'{"info": {}, "info": {}}', "stands twice"),
        (b'{"info": {"city": "\xff"}}', "is not UTF-8 at byte 19"),
        (b'{"a": 1}', "has no 'info'"),
    ],
)
def test_what_is_no_match_is_refused(data: bytes, expected: str) -> None:
    assert expected in refusal(data)


def test_unsuitable_matches_of_a_collection_are_skipped(making: Any, tmp_path: Path) -> None:
    good = making.random_match(1, 2)
    rain = making.match_of([[making.ball()]], outcome={"result": "no result"})
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("README.txt", "no match")
        archive.writestr("t20/1.json", json.dumps(good))
        archive.writestr("t20/2.json", json.dumps(rain))
    source = read_source(path)
    assert [match.name for match in source.matches] == ["1"]
    assert source.skipped == {"2": "abandoned, no result; choose another match"}


def test_a_folder_is_read_in_order_of_the_days(making: Any, tmp_path: Path) -> None:
    for name, day in (("1", "2020-02-01"), ("2", "2020-01-01")):
        record = making.random_match(int(name), 2, dates=[day])
        (tmp_path / f"{name}.json").write_text(json.dumps(record))
    assert [match.name for match in read_source(tmp_path).matches] == ["2", "1"]


@pytest.mark.parametrize("name", ["gone", "gone.zip", "gone.json", "notes.txt"])
def test_a_source_that_is_not_there_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match=name) as refused:
        read_source(tmp_path / name)
    assert "\n" not in str(refused.value)


def test_a_damaged_archive_is_one_line(making: Any, tmp_path: Path) -> None:
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("1.json", json.dumps(making.random_match(1, 2)))
    data = bytearray(path.read_bytes())
    data[60:80] = bytes(20)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"all\.zip"):
        read_source(path)
    path.write_bytes(data[:50])
    with pytest.raises(DataError, match="cannot be read as a ZIP file"):
        read_source(path)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path to every value inside a JSON value."""
    found = [path] if path else []
    pairs = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list):
        pairs = enumerate(value)
    for key, inner in pairs:
        found += _places(inner, (*path, key))
    return found


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 200),
    st.floats(allow_nan=True),
    st.text(max_size=4),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.sampled_from(["over", "kind", "runs", "x"]), st.integers(), max_size=2),
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_changed_match_is_read_or_refused_in_one_line(making: Any, data: st.DataObject) -> None:
    record = copy.deepcopy(making.random_match(5, 3))
    for _ in range(data.draw(st.integers(1, 3))):
        *above, key = data.draw(st.sampled_from(_places(record)))
        inner = record
        for step in above:
            inner = inner[step]
        if data.draw(st.booleans()):
            inner[key] = data.draw(VALUES)
        else:
            del inner[key]
        if not _places(record):
            break
    message, match = outcome_of(record)
    if match is None:
        assert "\n" not in message
        assert message.startswith("match 1")
    else:
        assert all(innings.runs >= 0 for innings in match.innings)


def outcome_of(record: Any) -> tuple[str, Match | None]:
    """Return the message of a refusal, or the match."""
    try:
        return "", parsed(record)
    except DataError as error:
        return str(error), None


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with pytest.raises(DataError):
        parse_match(data, "1")
