import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import hrm_mlx  # noqa: F401 - before mlx is imported: it brings the fast BLAS
from hrm_core.backends import backend_named
from hrm_core.config import ModelConfig
from hrm_core.data.store import Dataset
from hrm_core.errors import DataError, PuzzleError
from hrm_core.inference.predicting import ModelAsk
from hrm_core.inference.solving import Solver
from hrm_core.parameters import initial_values
from hrm_core.tasks.registry import task_of_shape
from hrm_tasks.cricket.alphabet import PAD, VOCAB_SIZE
from hrm_tasks.cricket.build import build
from hrm_tasks.cricket.knowledge import FILE
from hrm_tasks.cricket.layout import NUM_CHUNKS, NUM_SLOTS, PREFIX_LEN, SEQ_LEN
from hrm_tasks.cricket.options import Options as BuildOptions
from hrm_tasks.cricket.predict import Options, Prediction, predict
from hrm_tasks.cricket.read import OUTCOMES, Match, parse_match
from hrm_tasks.cricket.rollouts import ModelChances, TableChances, simulate
from hrm_tasks.cricket.scoreboard import NOTHING
from hrm_tasks.cricket.situation import Moment, Situation, last_moment, read_at, situation_at
from hrm_tasks.cricket.task import Cricket

CONFIG = ModelConfig(
    vocab_size=VOCAB_SIZE,
    seq_len=SEQ_LEN,
    num_puzzle_identifiers=1,
    puzzle_emb_ndim=0,
    H_cycles=1,
    L_cycles=1,
    H_layers=1,
    L_layers=1,
    hidden_size=16,
    num_heads=2,
    pos_encodings="learned",
    halt_max_steps=NUM_CHUNKS,
    loss_type="softmax_cross_entropy",
    attention="prefix",
    halting="fixed",
    num_chunks=NUM_CHUNKS,
    forward_dtype="float32",
)


@pytest.fixture(scope="module")
def task(matches: Path, tmp_path_factory: pytest.TempPathFactory) -> Cricket:
    out = tmp_path_factory.mktemp("cricket") / "out"
    build(out, BuildOptions(matches=matches, copies=1))
    data = Dataset(out)
    found = task_of_shape(VOCAB_SIZE, SEQ_LEN, data.label or "", NUM_CHUNKS)
    assert isinstance(found, Cricket)
    return found.with_files({FILE: data.text_of(FILE)})


@pytest.fixture(scope="module", params=["torch", "mlx"])
def ask(request: pytest.FixtureRequest, task: Cricket) -> ModelAsk:
    backend = backend_named(request.param)(CONFIG)
    backend.load_weights(initial_values(CONFIG, seed=1))
    return ModelAsk(backend, task)


@pytest.fixture(scope="module")
def record(making: Any) -> Any:
    return making.random_match(77, 6, dates=["2021-06-01"])


@pytest.fixture
def file(record: Any, tmp_path: Path) -> Path:
    path = tmp_path / "77.json"
    path.write_text(json.dumps(record))
    return path


def read(record: Any) -> Match:
    return parse_match(json.dumps(record).encode(), "77")


def situation(task: Cricket, record: Any, at: str) -> Situation:
    return situation_at(read(record), read_at(at), task.knowledge, task.edges)


@pytest.mark.parametrize(
    ("text", "moment"),
    [("2:14.3", (2, 14, 3)), ("1:0.0", (1, 0, 0)), ("1:10", (1, 10, 0)), ("1:5.6", (1, 6, 0))],
)
def test_moments_are_read_as_people_write_them(text: str, moment: tuple[int, int, int]) -> None:
    assert read_at(text) == Moment(*moment)


@pytest.mark.parametrize("text", ["", "14.3", "3:1.0", "2:14.7", "1:1.1.1", "x"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="expected INNINGS:OVERS"):
        read_at(text)


@pytest.mark.parametrize("at", ["1:9.0", "2:7.1", "1:6.0"])
def test_a_moment_that_never_came_is_refused(task: Cricket, record: Any, at: str) -> None:
    with pytest.raises(DataError, match="no ball follows") as refused:
        situation(task, record, at)
    assert "\n" not in str(refused.value)


def test_the_situation_is_that_before_the_ball(task: Cricket, record: Any) -> None:
    found = situation(task, record, "1:2.3")
    legal = 0
    for ball in record["innings"][0]["overs"][2]["deliveries"]:
        if legal == 3:
            break
        legal += not {"wides", "noballs"} & ball.get("extras", {}).keys()
    assert (found.striker, found.bowler) == (ball["batter"], ball["bowler"])
    assert (found.chunk, int(found.state.over[0]), int(found.state.over_balls[0])) == (2, 2, 3)
    assert int(found.board.score[0]) == found.innings.runs
    assert f"{found.innings.runs}/{found.innings.wickets} after 2.3 overs" in found.text()


def test_nothing_after_the_moment_is_known(task: Cricket, record: Any) -> None:
    whole = situation(task, record, "1:2.3")
    cut = json.loads(json.dumps(record))
    deliveries = cut["innings"][0]["overs"][2]["deliveries"]
    place = whole.slot
    del deliveries[place + 1 :], cut["innings"][0]["overs"][3:], cut["innings"][1:]
    deliveries[place]["runs"] = {"batter": 6, "extras": 0, "total": 6}
    deliveries[place].pop("extras", None)
    deliveries[place].pop("wickets", None)
    del cut["info"]["outcome"]
    other = situation(task, cut, "1:2.3")
    np.testing.assert_array_equal(whole.inputs, other.inputs)


def test_the_ball_after_the_end_of_the_file_has_the_players_of_the_rules(
    making: Any, task: Cricket
) -> None:
    live = making.match_of([[making.ball(bat=1), making.ball("A2", "A1", wicket=("bowled", "A2"))]])
    del live["info"]["outcome"]
    assert last_moment(read(live)) == Moment(1, 0, 2)
    found = situation(task, live, "1:0.2")
    assert (found.striker, found.partner, found.bowler) == ("the next batter", "A1", "B1")
    over = [making.ball(bat=1)] + [making.ball("A2", "A1")] * 5
    live = making.match_of([over])
    del live["info"]["outcome"]
    found = situation(task, live, "1:1.0")
    assert (found.striker, found.partner) == ("A1", "A2")
    assert (found.bowler, found.chunk, found.slot) == ("the next bowler", 1, 0)


def test_records_of_later_matches_are_not_used(task: Cricket, making: Any) -> None:
    early = making.random_match(77, 6, dates=["2019-06-01"])
    assert np.isnan(situation(task, early, "1:1.0").state.striker_history).all()


def test_the_network_reads_ball_by_ball_what_it_reads_at_once(
    task: Cricket, ask: ModelAsk, record: Any
) -> None:
    match = read(record)
    start = situation(task, record, "1:1.2")
    balls = [ball for over in match.innings[0].overs[1:4] for ball in over.deliveries]
    last = situation_at(match, Moment(1, 3, 5), task.knowledge, task.edges)
    whole = ask.probabilities(last.inputs, np.array([PREFIX_LEN], np.int32))[0]
    chances = ModelChances(ask, task.edges, start, 2)
    live = np.ones(2, bool)
    states = _states(task, record, "1:1.2", len(balls) - start.slot)
    for state, outcome, is_first, place in states:
        both = type(state)(*(np.repeat(field, 2, axis=0) for field in state))
        if is_first:
            chances.begin_chunk(both, live)
        found = chances.chances(both, live)
        np.testing.assert_allclose(found, whole[[place, place]], atol=2e-5)
        if place == last.chunk * NUM_SLOTS + last.slot:
            break
        chances.observe(np.full(2, outcome))


def _states(task: Cricket, record: Any, at: str, count: int) -> list[tuple[Any, int, bool, int]]:
    """Return state, outcome, whether a chunk begins, and the place of each ball from a moment on."""
    match = read(record)
    start = situation(task, record, at)
    found = []
    number, slot = start.chunk, start.slot
    for over in match.innings[0].overs[number:]:
        for place, ball in enumerate(over.deliveries):
            if over.number == number and place < slot:
                continue
            legal = sum(each.legal for each in over.deliveries[:place])
            is_free = legal == sum(each.legal for each in over.deliveries[: max(place - 1, 0)])
            if place and is_free:  # after a wide the moment is told by an earlier ball: stop here
                return found
            now = situation_at(match, Moment(1, over.number, legal), task.knowledge, task.edges)
            index = now.chunk * NUM_SLOTS + now.slot
            found.append((now.state, ball.outcome, bool(found) and place == 0, index))
    return found[:count]


def test_rollouts_keep_the_rules(task: Cricket, record: Any) -> None:
    rng = np.random.default_rng(0)
    details = task.knowledge.details
    first = situation(task, record, "1:2.0")
    table = TableChances(task.knowledge)
    found = simulate(first, table, details, 300, rng)
    assert (found.score >= first.innings.runs).all()
    assert (found.wickets <= 10).all()
    assert (np.diff(found.after_over, axis=1) >= 0).all()
    np.testing.assert_array_equal(found.after_over[:, -1], found.score)
    second = situation(task, record, "2:2.0")
    target = second.innings.target
    assert target is not None
    found = simulate(second, table, details, 300, rng)
    assert (found.score < target + 7).all()
    assert 0 <= found.won(target).mean() <= 1


class Always:
    """Chances of one outcome alone."""

    def __init__(self, name: str) -> None:
        self._outcome = OUTCOMES.index(name)
        self.outcomes: list[Any] = []

    def begin_chunk(self, state: Any, live: Any) -> None:
        self.outcomes.append("over")

    def chances(self, state: Any, live: Any) -> Any:
        return np.eye(len(OUTCOMES))[np.full(len(live), self._outcome)]

    def observe(self, outcome: Any) -> None:
        self.outcomes.append(outcome[0])


@pytest.mark.parametrize(
    ("name", "score", "wickets"), [("4", 36 * 4, 0), ("0", 0, 0), ("W", 0, 10), ("1", 36, 0)]
)
def test_an_innings_ends_by_its_limit_or_all_out(
    making: Any, task: Cricket, name: str, score: int, wickets: int
) -> None:
    live = making.match_of([[making.ball()]], overs=6)
    start = situation(task, live, "1:0.0")
    details = [list(each) for each in task.knowledge.details]
    plain = np.array([[0, 0, 0, 0, 1, 0, 1, 1, 0]])
    details[OUTCOMES.index("W")] = [plain, np.ones(1)]
    found = simulate(start, Always(name), details, 3, np.random.default_rng(0))  # type: ignore[arg-type]
    assert found.score.tolist() == [score] * 3
    assert found.wickets.tolist() == [wickets] * 3


def test_an_over_of_wides_goes_on_in_another_chunk(making: Any, task: Cricket) -> None:
    first = [[making.ball(bat=6)] * 6] * 6
    live = making.match_of(first, [[making.ball("B1", "B2", "A1")]])
    chances = Always("wd")
    start = situation(task, live, "2:0.0")
    simulate(start, chances, task.knowledge.details, 1, np.random.default_rng(0))
    places = [place for place, each in enumerate(chances.outcomes) if isinstance(each, str)]
    assert places[0] == NUM_SLOTS
    assert NOTHING not in chances.outcomes


def asked(task: Cricket, ask: ModelAsk, file: Path, **options: Any) -> Prediction:
    return predict(task, [file], Options(**options), ask)


def test_a_prediction_is_printed_and_recorded(task: Cricket, ask: ModelAsk, file: Path) -> None:
    found = asked(task, ask, file, at="2:1.2", forecast=20)
    record = json.loads(json.dumps(found.record()))
    assert sum(record["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert sum(record["table"].values()) == pytest.approx(1)
    assert record["at"] == "2:1.2"
    assert 0 <= record["forecast"]["win"] <= 1
    assert record["forecast"]["p10"] <= record["forecast"]["p50"] <= record["forecast"]["p90"]
    situation_line, table, chances, forecast = found.pages()
    assert "needed off" in str(situation_line)
    assert len(table.rows) == len(OUTCOMES)  # type: ignore[union-attr]
    assert "expected runs" in str(chances)
    assert "P10" in str(forecast)
    again = asked(task, ask, file, at="2:1.2", forecast=20).record()
    assert again == found.record()


def test_charts_are_written(
    task: Cricket, ask: ModelAsk, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    monkeypatch.setattr("hrm_tasks.cricket.worm.ROLLOUTS", 4)
    fan, worm = tmp_path / "fan.png", tmp_path / "worm.png"
    found = asked(task, ask, file, at="1:3.0", forecast=10, fan=fan, worm=worm)
    for path in (fan, worm):
        with Image.open(path) as image:
            assert min(image.size) > 400
    record: Any = json.loads(json.dumps(found.record()))
    assert len(record["worm"]["points"]) > 6
    assert all(0 <= point["network"] <= 1 for point in record["worm"]["points"])
    assert any("swings" in page.title for page in found.pages() if not isinstance(page, str))


def test_one_match_at_a_time(task: Cricket, ask: ModelAsk, file: Path) -> None:
    with pytest.raises(DataError, match="one match at a time"):
        predict(task, [file, file], Options(), ask)


def test_the_padding_of_a_row_is_last(task: Cricket, record: Any) -> None:
    found = situation(task, record, "1:2.3")
    row = found.inputs[0].reshape(NUM_CHUNKS, SEQ_LEN)
    end = PREFIX_LEN + 2 * found.slot + 2
    assert (row[found.chunk, :end] != PAD).all()
    assert (row[found.chunk, end:] == PAD).all()
    assert (row[found.chunk + 1 :] == PAD).all()


def test_a_folder_or_a_picture_is_no_match(task: Cricket, ask: ModelAsk, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        predict(task, [tmp_path], Options(), ask)
    with pytest.raises(
        PuzzleError, match="cricket predicts from files, not from ndarray; give paths"
    ):
        Solver(ask.backend, task).predict(np.zeros((4, 4), np.uint8))
