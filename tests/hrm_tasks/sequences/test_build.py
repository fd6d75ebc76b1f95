import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hrm_core.data.store import ExampleSet, check, load_split
from hrm_core.errors import DataError
from hrm_tasks.sequences import build as sequences_build
from hrm_tasks.sequences.alphabet import Alphabet, Column
from hrm_tasks.sequences.baselines import measure_baselines
from hrm_tasks.sequences.options import Options

Rows = Sequence[Sequence[object]]


def written(path: Path, rows: Rows, columns: Sequence[str] = ("id", "token")) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def spelled(**words: str) -> list[tuple[str, str]]:
    """Rows of words, a letter each; the name of a word is its id."""
    return [(name, letter) for name, word in words.items() for letter in word]


def built(out: Path, source: Path, **options: Any) -> Mapping[str, Any]:
    return sequences_build.build(out, Options(source=source, **options)).record


def read(out: Path, split: str) -> ExampleSet:
    loaded = load_split(out, split)
    check(loaded)
    return loaded.sets["all"]


def refusal(out: Path, *arguments: Any, **options: Any) -> str:
    with pytest.raises(DataError) as refused:
        built(out, *arguments, **options)
    assert not out.exists()
    message = str(refused.value)
    assert "\n" not in message
    return message.removeprefix(f"{out.parent}/")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_events_are_inputs_and_the_next_events_labels(tmp_path: Path, out: Path) -> None:
    source = written(tmp_path / "a.csv", spelled(x="abcab", y="ba"))
    record = built(out, source, test_share=0.0)
    train = read(out, "train")
    assert train.inputs.tolist() == [[1, 2, 3, 1], [2, 1, 0, 0]]
    assert train.labels.tolist() == [[2, 3, 1, 2], [1, 0, 0, 0]]
    assert train.group_indices.tolist() == train.puzzle_indices.tolist() == [0, 1, 2]
    assert train.puzzle_identifiers.tolist() == [0, 0]
    assert record["task_settings"] == {"events": ["a", "b", "c"], "contexts": []}
    assert record["seq_len"] == 4
    assert not (out / "test").exists()


def test_context_stands_before_its_event_and_is_not_predicted(tmp_path: Path, out: Path) -> None:
    rows = [("x", "a", "sun"), ("x", "b", "rain"), ("x", "a", "sun")]
    built(out, written(tmp_path / "a.csv", rows, ("id", "token", "sky")), test_share=0.0)
    train = read(out, "train")
    assert train.inputs.tolist() == [[4, 1, 3, 2, 4]]
    assert train.labels.tolist() == [[1, 0, 2, 0, 1]]


def test_whole_ids_are_drawn_for_the_test(tmp_path: Path, out: Path) -> None:
    words = {f"x{number}": "ab"[number % 2] * 2 + "abab" for number in range(20)}
    source = written(tmp_path / "a.csv", spelled(**words))
    record = built(out, source, test_share=0.25)
    assert (record["train_sequences"], record["test_sequences"]) == (15, 5)
    assert (record["train_events"], record["test_events"]) == (90, 30)
    assert record["scored_events"] == 25
    assert len(read(out, "test").inputs) == 5
    again = built(tmp_path / "again", source, test_share=0.25)
    other = built(tmp_path / "other", source, test_share=0.25, seed=1)
    assert again == record
    files = [Path(folder, "test", "all__inputs.npy") for folder in (out, tmp_path / "again")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert other["baselines"] != record["baselines"]


def test_long_sequences_are_cut_and_every_event_is_scored_once(tmp_path: Path, out: Path) -> None:
    rows = [(1, f"e{place % 7}", f"c{place % 3}") for place in range(200)]
    rows += [(2, f"e{place % 5}", f"c{place % 3}") for place in range(41)]
    source = written(tmp_path / "a.csv", rows, ("id", "token", "phase"))
    record = built(out, source, test=source)
    assert record["seq_len"] == 128
    assert record["scored_events"] == 241
    assert (read(out, "test").labels != 0).sum() == 241
    assert (read(out, "train").labels != 0).sum() > 241
    assert built(tmp_path / "short", source, test=source, seq_len=9)["seq_len"] == 9
    assert (read(tmp_path / "short", "test").labels != 0).sum() == 241


def test_doubtful_sequences_are_told_in_a_line_each(tmp_path: Path, out: Path) -> None:
    train = written(tmp_path / "a.csv", spelled(x="abab", y="a", z="abb"))
    test = written(tmp_path / "b.csv", spelled(u="abb", v="b", w="ba"))
    found = sequences_build.build(out, Options(source=train, test=test))
    assert found.warnings == (
        "2 sequences are left out: they have one event, nothing to predict",
        "1 of 2 test sequences are also trained on; the loss on them is no loss on new sequences",
    )
    assert found.summary == (
        "2 training sequences (8 events), 2 test sequences (6 events); 2 kinds of events; "
        "windows of 3 tokens"
    )


def test_unknown_values_name_file_and_line(tmp_path: Path, out: Path) -> None:
    train = written(tmp_path / "a.csv", [("x", "a", "sun")] * 3, ("id", "token", "sky"))
    test = written(
        tmp_path / "b.csv", [("x", "a", "sun"), ("x", "c", "sun")], ("id", "token", "sky")
    )
    way_out = "give --unknown 2 to turn rare values into one"
    message = "b.csv:3: the token 'c' does not occur in training; expected 'a'"
    assert refusal(out, train, test=test) == f"{message}; {way_out}"
    written(test, [("x", "a", "sun"), ("x", "a", "")], ("id", "token", "sky"))
    message = "b.csv:3: the sky '' does not occur in training; expected 'sun'"
    assert refusal(out, train, test=test) == f"{message}; {way_out}"


def test_rare_and_unknown_values_become_one_token(tmp_path: Path, out: Path) -> None:
    train = written(tmp_path / "a.csv", spelled(x="aabbcd"))
    test = written(tmp_path / "b.csv", spelled(x="aebc"))
    record = built(out, train, test=test, unknown=2)
    assert record["task_settings"]["events"] == ["<unknown>", "a", "b"]
    assert read(out, "train").inputs.tolist() == [[2, 2, 3, 3, 1]]
    assert read(out, "test").labels.tolist() == [[1, 3, 1, 0, 0]]


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (spelled(x="ab"), {}, "a.csv: 1 sequences, too few to test with 1; give --test FILE or"),
        (spelled(x="a", y="b"), {"test_share": 0.0}, "a.csv: no sequence has two events; expected"),
        (
            [("x", f"t{number}") for number in range(1 << 16)],
            {"test_share": 0.0},
            "a.csv: 65,537 different values (token 65,536); expected at most 65,536, so leave",
        ),
    ],
)
def test_what_makes_no_data_set_is_refused(
    tmp_path: Path, out: Path, rows: Rows, options: dict[str, Any], message: str
) -> None:
    assert refusal(out, written(tmp_path / "a.csv", rows), **options).startswith(message)


def test_windows_without_room_for_an_event_are_refused(tmp_path: Path, out: Path) -> None:
    source = written(tmp_path / "a.csv", [("x", "a", "sun")] * 5, ("id", "token", "sky"))
    assert refusal(out, source, test_share=0.0, seq_len=3) == (
        "--seq-len 3 holds less than two events of 2 tokens, context included; use 4 or more"
    )


def test_a_test_of_other_columns_is_refused(tmp_path: Path, out: Path) -> None:
    train = written(tmp_path / "a.csv", [("x", "a", "sun")] * 2, ("id", "token", "sky"))
    test = written(tmp_path / "b.csv", spelled(x="aa"))
    message = refusal(out, train, test=test)
    assert message == f"b.csv: columns of context ''; expected 'sky' as in {train}"


def test_options_that_clash_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="give either --test or --test-share"):
        Options(source=tmp_path, test=tmp_path, test_share=0.5)
    with pytest.raises(ValueError, match="nan is no share"):
        Options(source=tmp_path, test_share=float("nan"))


def test_baselines_see_what_they_say() -> None:
    rng = np.random.default_rng(0)
    chain = [0, 0]
    for _ in range(6000):  # each event follows from the one two before it, mostly
        chain.append(chain[-2] if rng.random() < 0.9 else int(rng.integers(4)))
    tokens = np.array(chain, np.int32) + 1
    losses = measure_baselines(Alphabet(tuple("abcd")), [tokens[:5000]], [tokens[5000:]])
    entropy = -(0.925 * np.log(0.925) + 3 * 0.025 * np.log(0.025))
    assert list(losses) == ["prior", "bigram", "kneser_ney_3", "kneser_ney_5"]
    assert losses["prior"] == pytest.approx(np.log(4), abs=0.05)
    assert losses["bigram"] == pytest.approx(np.log(4), abs=0.05)
    assert losses["kneser_ney_3"] == pytest.approx(entropy, abs=0.08)
    assert losses["kneser_ney_5"] < losses["bigram"] - 0.5


def test_baselines_see_the_context_of_an_event() -> None:
    rng = np.random.default_rng(0)
    sky = rng.integers(2, size=4000)
    wind = rng.integers(3, size=4000)
    event = np.where(rng.random(4000) < 0.9, sky, 1 - sky)
    rows = np.stack([3 + sky, 5 + wind, 1 + event], axis=1).astype(np.int32)
    columns = Column("sky", ("0", "1")), Column("wind", ("0", "1", "2"))
    alphabet = Alphabet(("a", "b"), columns)
    losses = measure_baselines(alphabet, [rows[:3000].reshape(-1)], [rows[3000:].reshape(-1)])
    entropy = -(0.9 * np.log(0.9) + 0.1 * np.log(0.1))
    assert list(losses) == ["prior", "context", "bigram", "kneser_ney_3", "kneser_ney_5"]
    assert losses["prior"] == pytest.approx(np.log(2), abs=0.01)
    assert losses["context"] == pytest.approx(entropy, abs=0.05)
    assert losses["bigram"] < 0.5


@settings(
    deadline=None,
    derandomize=True,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(
        st.tuples(st.sampled_from("xyz"), st.sampled_from("ab☃"), st.sampled_from(["", "sun"])),
        max_size=12,
    ),
    st.booleans(),
    st.floats(0, 0.99),
    st.sampled_from([None, 2, 3]),
    st.sampled_from([None, 2, 4, 5]),
)
def test_whatever_is_read_is_built_or_refused_whole(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str, str]],
    has_context: bool,
    share: float,
    unknown: int | None,
    seq_len: int | None,
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    width = 3 if has_context else 2
    columns = ("id", "token", "sky")[:width]
    source = written(folder / "mine.csv", [row[:width] for row in rows], columns)
    try:
        record = built(folder / "out", source, test_share=share, unknown=unknown, seq_len=seq_len)
    except DataError as error:
        refused = str(error)
    else:
        _check(folder / "out", record, has_context)
        return
    assert len(refused.splitlines()) == 1
    assert [path.name for path in folder.iterdir()] == ["mine.csv"]


def _check(out: Path, record: Mapping[str, Any], has_context: bool) -> None:
    assert read(out, "train").labels.any(axis=1).all()
    if "test" not in record["sources"]:
        return
    is_scored = read(out, "test").labels != 0
    assert is_scored.sum() == record["scored_events"]
    num_first = 0 if has_context else record["test_sequences"]
    num_left_out = record["test_sequences_too_short"]
    assert record["scored_events"] == record["test_events"] - num_first - num_left_out
    assert all(0 <= loss < 20 for loss in record["baselines"].values())
