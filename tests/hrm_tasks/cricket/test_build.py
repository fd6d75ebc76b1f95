import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from hrm_core.data.store import Dataset, check, load_split
from hrm_core.errors import DataError
from hrm_core.tasks.building import Built
from hrm_core.tasks.registry import task_of_shape
from hrm_tasks.cricket.alphabet import FIELDS, FIRST_TOKENS, PAD, VOCAB_SIZE
from hrm_tasks.cricket.ballfile import FILE as BALLS_FILE
from hrm_tasks.cricket.ballfile import read_balls
from hrm_tasks.cricket.build import build
from hrm_tasks.cricket.knowledge import FILE, Knowledge
from hrm_tasks.cricket.layout import NUM_CELLS, NUM_CHUNKS, PREFIX_LEN, SEQ_LEN
from hrm_tasks.cricket.options import Options
from hrm_tasks.cricket.read import OUTCOMES
from hrm_tasks.cricket.task import Cricket

DAY = "2020-01-09"


def built(out: Path, source: Path, **options: Any) -> Built:
    return build(out, Options(matches=source, **options))


def refusal(out: Path, source: Path, **options: Any) -> str:
    with pytest.raises(DataError) as refused:
        built(out, source, **options)
    assert not out.exists()
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_matches_are_split_by_their_day(matches: Path, tmp_path: Path) -> None:
    record = built(tmp_path / "out", matches, validate_from=DAY, copies=3).record
    assert (record["train_matches"], record["test_matches"]) == (8, 4)
    assert (record["train_innings"], record["test_innings"]) == (16, 8)
    assert sum(record["outcomes"].values()) == record["train_balls"] + record["test_balls"]
    for split, count in (("train", 48), ("test", 8)):
        loaded = load_split(tmp_path / "out", split)
        check(loaded)
        examples = loaded.sets["all"]
        assert (loaded.metadata.seq_len, loaded.metadata.num_chunks) == (SEQ_LEN, NUM_CHUNKS)
        assert examples.inputs.shape == (count, NUM_CELLS)
        assert examples.prefix_len is not None
        assert (examples.prefix_len == PREFIX_LEN).all()
        assert (examples.labels != PAD).sum() == record[f"{split}_balls"] * (
            3 if count == 48 else 1
        )
    assert loaded.metadata.total_groups == 8


def test_the_same_command_writes_the_same_bytes(matches: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        built(tmp_path / name, matches, validate_from=DAY, copies=2)
    first = sorted(path for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert len(first) > 10
    for path in first:
        other = tmp_path / "two" / path.relative_to(tmp_path / "one")
        assert path.read_bytes() == other.read_bytes(), path


def test_copies_differ_in_the_histories_of_players_alone(matches: Path, tmp_path: Path) -> None:
    built(tmp_path / "out", matches, copies=4, forget=0.5, blank=0)
    examples = load_split(tmp_path / "out", "train").sets["all"]
    assert (np.diff(examples.group_indices) == 4).all()
    inputs = np.array(examples.inputs).reshape(-1, 4, NUM_CHUNKS, SEQ_LEN)
    changed = (inputs[:, 1:] != inputs[:, :1]).any(axis=(0, 1, 2))
    names = {FIELDS[place].name for place in np.flatnonzero(changed)}
    assert names
    assert all(name.endswith(("_dot", "_boundary", "_wicket")) for name in names)
    places = np.flatnonzero(changed)
    unknown = inputs[:, 1:, :, places] == FIRST_TOKENS[places]
    same = inputs[:, 1:, :, places] == inputs[:, :1, :, places]
    assert (unknown | same).all()


def test_the_test_set_depends_on_earlier_days_alone(matches: Path, tmp_path: Path) -> None:
    built(tmp_path / "all", matches, validate_from=DAY)
    fewer = tmp_path / "fewer"
    fewer.mkdir()
    for path in sorted(matches.iterdir())[:9]:
        (fewer / path.name).write_bytes(path.read_bytes())
    built(tmp_path / "some", fewer, validate_from=DAY)
    first, second = (load_split(tmp_path / name, "test").sets["all"] for name in ("all", "some"))
    np.testing.assert_array_equal(first.inputs[:2], second.inputs[:2])
    names = FILE, "train/all__inputs.npy"
    for name in names:  # edges and table come from training matches
        assert (tmp_path / "all" / name).read_bytes() == (tmp_path / "some" / name).read_bytes()


def test_what_evaluation_needs_is_in_the_data_set(matches: Path, tmp_path: Path) -> None:
    record = built(tmp_path / "out", matches, validate_from=DAY, copies=1).record
    data = Dataset(tmp_path / "out")
    task = task_of_shape(VOCAB_SIZE, SEQ_LEN, data.label or "", NUM_CHUNKS)
    assert isinstance(task, Cricket)
    knowledge = task.with_files({FILE: data.text_of(FILE)}).knowledge
    assert knowledge.counts.sum() == record["train_balls"]
    assert knowledge.last_day < DAY
    for split in ("train", "test"):
        balls = read_balls(data.text_of(BALLS_FILE), split)
        labels = load_split(tmp_path / "out", split).sets["all"].labels
        np.testing.assert_array_equal(balls.outcome + 2, labels[labels != PAD])
        assert len(np.unique(balls.match)) == record[f"{split}_matches"]


def test_knowledge_of_other_matches_is_refused(matches: Path, tmp_path: Path) -> None:
    built(tmp_path / "out", matches, copies=1)
    data = Dataset(tmp_path / "out")
    task = task_of_shape(VOCAB_SIZE, SEQ_LEN, data.label or "", NUM_CHUNKS)
    assert isinstance(task, Cricket)
    text = data.text_of(FILE)
    with pytest.raises(DataError, match="other training matches"):
        task.with_files({FILE: text.replace('"last_day":"2020', '"last_day":"2019')})
    with pytest.raises(DataError, match="damaged"):
        task.with_files({FILE: text[:100]})
    with pytest.raises(DataError, match="is not with this model"):
        _ = task.with_files({}).knowledge
    content = json.loads(text)
    for key in content:
        assert not Knowledge({**content, key: [[1]]}).is_sound() or key == "last_day"


def test_what_was_skipped_is_said_with_the_reason(
    making: Any, matches: Path, tmp_path: Path
) -> None:
    folder = making.write_matches(tmp_path / "some", 3, overs=4)
    rain = making.match_of([[making.ball()]], outcome={"winner": "Reds", "method": "D/L"})
    (folder / "rain.json").write_text(json.dumps(rain))
    live = making.match_of([[making.ball()]])
    del live["info"]["outcome"]
    (folder / "live.json").write_text(json.dumps(live))
    result = built(tmp_path / "out", folder)
    assert set(result.record["skipped"]) == {"rain", "live"}
    assert "skipped: 2" in result.summary
    assert any("decided by D/L" in warning for warning in result.warnings)
    assert any("not over yet" in warning for warning in result.warnings)
    for name in OUTCOMES:
        assert f" {name} " in result.summary


def test_what_cannot_be_split_is_refused(making: Any, matches: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "no match is before 2019-01-01" in refusal(out, matches, validate_from="2019-01-01")
    assert "no match is from 2021-01-01" in refusal(out, matches, validate_from="2021-01-01")
    only = tmp_path / "rain.json"
    only.write_text(json.dumps(making.match_of([[making.ball()]], match_type="Test")))
    assert "no match to learn from; match rain: match_type is 'Test'" in refusal(out, only)
    with pytest.raises(ValidationError, match="is no day"):
        Options(matches=matches, validate_from="yesterday")


def test_a_damaged_match_stops_the_build(making: Any, tmp_path: Path) -> None:
    folder = making.write_matches(tmp_path / "some", 2, overs=2)
    (folder / "bad.json").write_text("{}")
    assert "match bad is JSON but has no 'info'" in refusal(tmp_path / "out", folder)
