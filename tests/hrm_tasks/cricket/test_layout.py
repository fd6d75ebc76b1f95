import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from hrm_core.errors import DataError
from hrm_tasks.cricket.alphabet import (
    FIELDS,
    FIRST_BEFORE,
    FIRST_FREE_HIT,
    FIRST_NEW,
    FIRST_OUTCOME,
    FIRST_TOKENS,
    NUM_FACED,
    PAD,
    SIZES,
    START,
    VOCAB_SIZE,
    are_edges,
    find_edges,
)
from hrm_tasks.cricket.context import play
from hrm_tasks.cricket.history import histories
from hrm_tasks.cricket.layout import (
    NUM_CHUNKS,
    NUM_FIELDS,
    NUM_SLOTS,
    OUTCOME_POSITIONS,
    PREFIX_LEN,
    SEQ_LEN,
    place_balls,
    write_rows,
)
from hrm_tasks.cricket.read import OUTCOMES, Match, parse_match
from hrm_tasks.cricket.scoreboard import MAX_PLAYERS, IntArray

SHARES = np.full(len(OUTCOMES), 1 / len(OUTCOMES))


def read(record: Any, name: str = "1") -> Match:
    return parse_match(json.dumps(record).encode(), name)


def rows_of(*matches: Match, forgotten: Any = None) -> tuple[IntArray, IntArray]:
    """Write matches as rows of chunks, (M, C, S) inputs and labels."""
    played = play(matches, *histories(matches, SHARES))
    _, state = played.flat()
    places = place_balls(played, [match.name for match in matches])
    inputs, labels = write_rows(played, places, find_edges(state), forgotten)
    shape = -1, NUM_CHUNKS, SEQ_LEN
    return inputs.reshape(shape), labels.reshape(shape)


def outcomes_at(chunk: IntArray) -> list[str]:
    return [OUTCOMES[token - FIRST_OUTCOME] for token in chunk if token != PAD]


def test_the_vocabulary_has_150_to_200_tokens_and_every_field_its_own() -> None:
    assert 150 <= VOCAB_SIZE <= 200
    assert FIRST_TOKENS[-1] + SIZES[-1] == VOCAB_SIZE
    assert (np.diff(FIRST_TOKENS) == SIZES[:-1]).all()
    assert len({field.name for field in FIELDS}) == NUM_FIELDS


def test_labels_stand_at_the_slots_before_each_ball(making: Any) -> None:
    over = [making.ball(bat=4), making.ball(wides=2), making.ball(bat=1)]
    inputs, labels = rows_of(read(making.match_of([over])))
    first = inputs[0, 0]
    assert outcomes_at(first[PREFIX_LEN + 1 : PREFIX_LEN + 6 : 2]) == ["4", "wd", "1"]
    assert outcomes_at(labels[0, 0, list(OUTCOME_POSITIONS)]) == ["4", "wd", "1"]
    others = np.setdiff1d(np.arange(SEQ_LEN), OUTCOME_POSITIONS)
    assert (labels[:, :, others] == PAD).all()
    assert (first[PREFIX_LEN + 6 :] == PAD).all()  # padding comes last
    assert (inputs[0, 1:] == PAD).all()
    assert (first[NUM_FIELDS:PREFIX_LEN] == START).all()


def test_the_previous_over_is_padded_on_the_left(making: Any) -> None:
    overs = [[making.ball(bat=4), making.ball(bat=6)], [making.ball()]]
    inputs, _ = rows_of(read(making.match_of(overs)))
    before = inputs[0, 1, NUM_FIELDS:PREFIX_LEN]
    assert (before[:-2] == START).all()
    assert outcomes_at(before[-2:]) == ["4", "6"]


def test_a_long_over_goes_on_in_another_chunk(making: Any) -> None:
    over = [making.ball(wides=1)] * 8 + [making.ball(bat=2)] * 6
    inputs, labels = rows_of(read(making.match_of([over, [making.ball()]])))
    counts = [len(outcomes_at(chunk[list(OUTCOME_POSITIONS)])) for chunk in labels[0, :3]]
    assert counts == [NUM_SLOTS, 2, 1]
    assert outcomes_at(inputs[0, 1, NUM_FIELDS:PREFIX_LEN]) == ["wd"] * 8 + ["2"] * 4
    field = [each.name for each in FIELDS].index("over")
    assert (np.diff(inputs[0, :3, field]) == [0, 1]).all()


def test_an_innings_of_too_many_chunks_is_refused(making: Any) -> None:
    overs = [[making.ball(wides=1)] * 13] * 11
    with pytest.raises(DataError, match="match 7, innings 1: 22 overs or parts"):
        rows_of(read(making.match_of(overs), "7"))


def test_the_second_innings_gets_the_target(making: Any) -> None:
    inputs, _ = rows_of(*(read(making.random_match(seed), str(seed)) for seed in range(4)))
    names = [field.name for field in FIELDS]
    for name in ("target", "required", "needed"):
        place = names.index(name)
        buckets = inputs[:, 0, place] - FIRST_TOKENS[place]
        assert (buckets[::2] == 0).all()
        assert (buckets[1::2] > 0).all()


def test_forgotten_players_have_the_bucket_of_unknown_ones(making: Any) -> None:
    days = ["2020-01-01", "2020-01-02"]
    pair = [read(making.random_match(1, 4, dates=[day]), day) for day in days]
    none = np.zeros((4, MAX_PLAYERS), bool)
    known, _ = rows_of(*pair, forgotten=(none, none))
    forgotten, _ = rows_of(*pair, forgotten=(~none, ~none))
    places = [n for n, field in enumerate(FIELDS) if field.name.endswith(("_dot", "_wicket"))]
    is_used = known[:, :, 0] != PAD
    first = FIRST_TOKENS[places]
    assert (known[2:][is_used[2:]][:, places] > first).any()
    assert (forgotten[is_used][:, places] == first).all()
    others = np.setdiff1d(np.arange(SEQ_LEN), [n for n in range(NUM_FIELDS) if FIELDS[n].has_none])
    np.testing.assert_array_equal(known[:, :, others], forgotten[:, :, others])


def changed_from(record: Any, over: int, place: int, tail: Sequence[Any]) -> Any:
    """Return a match whose first innings goes on differently from one ball on."""
    first = record["innings"][0]
    overs = first["overs"][: over + 1]
    kept = overs[over]["deliveries"][:place]
    overs[over] = {"over": over, "deliveries": [*kept, *tail]}
    return {**record, "innings": [{**first, "overs": overs}]}


@pytest.mark.parametrize(("over", "place"), [(0, 0), (1, 2), (4, 5), (7, 1)])
def test_what_stands_before_a_ball_does_not_depend_on_what_follows(
    making: Any, over: int, place: int
) -> None:
    record = making.random_match(11, 10)
    whole, _ = rows_of(read(record))
    ball = record["innings"][0]["overs"][over]["deliveries"][place]
    names = ball["batter"], ball["non_striker"], ball["bowler"]
    for tail in ([making.ball(*names, bat=6)], [making.ball(*names, wides=1)] * 4):
        other, _ = rows_of(read(changed_from(record, over, place, tail)))
        end = PREFIX_LEN + 2 * place + 1
        names_of_edges = {field.name for field in FIELDS if field.num_quantiles}
        free = [n for n in range(NUM_FIELDS) if FIELDS[n].name not in names_of_edges]
        same = [*free, *range(NUM_FIELDS, end)]  # edges come from all balls
        np.testing.assert_array_equal(whole[0, over, same], other[0, over, same])


def test_what_is_known_before_a_ball_has_tokens_of_its_own(making: Any) -> None:
    over = [
        making.ball(noballs=1),
        making.ball(bat=1),
        making.ball("A2", "A1", bat=2),
        making.ball("A2", "A1", wicket=("bowled", "A2")),
        making.ball("A3", "A1"),
        making.ball("A3", "A1"),
    ]
    inputs, _ = rows_of(read(making.match_of([over])))
    found = inputs[0, 0, list(OUTCOME_POSITIONS[:6])] - FIRST_BEFORE
    # striker; free hit; partner, no ball faced and one; a new batter, no ball faced and one
    assert found.tolist() == [0, FIRST_FREE_HIT, NUM_FACED, NUM_FACED + 1, FIRST_NEW, FIRST_NEW + 1]


def test_edges_are_recognised(making: Any) -> None:
    match = read(making.random_match(2))
    played = play([match], *histories([match], SHARES))
    edges = find_edges(played.flat()[1])
    assert are_edges(edges)
    assert not are_edges({**edges, "score": [3.0, 1.0]})
    assert not are_edges({**edges, "more": []})
    assert not are_edges([])
