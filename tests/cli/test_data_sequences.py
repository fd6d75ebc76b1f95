import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Hrm = Callable[..., Any]
Refusal = Callable[..., str]


@pytest.fixture(scope="module")
def visits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 sequences: "in", steps, and an "out" that tells the weather of the first step."""
    rng = np.random.default_rng(0)
    lines = ["id,token,sky"]
    for number in range(60):
        sky = ["sun", "rain"][rng.integers(2)]
        steps = rng.choice(list("abc"), size=rng.integers(8, 12)).tolist()
        lines.append(f"{number},in,{sky}")
        lines += [f"{number},{step}," for step in steps]
        lines.append(f"{number},out {sky},")
    path = tmp_path_factory.mktemp("visits") / "visits.csv"
    path.write_text("\n".join(lines))
    return path


@pytest.fixture(scope="module")
def run(visits: Path, hrm: Hrm) -> Path:
    """A finished run of a few updates, on the CPU."""
    data, run = visits.parent / "data", visits.parent / "run"
    outcome = hrm("data", "sequences", data, visits, "--test-share", 0.25)
    assert outcome.status == 0, outcome.err
    settings = ("train.epochs=40", "train.eval_interval=20", "optim.lr_warmup_steps=5")
    sets = [word for setting in settings for word in ("--set", setting)]
    words = ("--data", data, "--run", run, "--max-updates", 20, "--device", "cpu", *sets)
    outcome = hrm("train", "sequences-small", *words)
    assert outcome.status == 0, outcome.err
    return run


def test_data_sequences_says_what_it_built(hrm: Hrm, visits: Path, tmp_path: Path) -> None:
    outcome = hrm("data", "sequences", tmp_path / "out", visits, "--test-share", 0.25)
    assert "45 training sequences (" in outcome.out
    assert "6 kinds of events, context sky (3); windows of 25 tokens" in outcome.out


def test_evaluation_puts_n_grams_beside_the_model(hrm: Hrm, run: Path) -> None:
    shown = hrm("eval", run).out
    for text in ("nats per event", "perplexity", "windows", "5-gram, Kneser-Ney", "this model"):
        assert text in shown
    record = json.loads(hrm("eval", run, "--json").out)
    assert record["perplexity"] == pytest.approx(math.exp(record["nats"]))
    assert record["nats_low"] < record["nats"] < record["nats_high"]
    gain = record["baselines"]["prior"] - record["nats"]
    assert record["gains"]["prior"] == pytest.approx(gain)
    assert gain > 0
    assert record["nats"] < math.log(6)


def test_part_of_the_test_is_not_compared(hrm: Hrm, run: Path) -> None:
    assert "none is shown here" in hrm("eval", run, "--limit", 3).out
    assert json.loads(hrm("eval", run, "--limit", 3, "--json").out)["baselines"] == {}
    assert "none is shown here" in hrm("eval", run, "--split", "train").out


def test_training_keeps_the_checkpoint_of_the_lowest_loss(run: Path) -> None:
    records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    losses = {record["update"]: record["nats"] for record in records if record["kind"] == "eval"}
    (state,) = (run / "checkpoints" / f"update_{max(losses):08}").glob("state.json")
    best = json.loads(state.read_text())["best"]
    assert best["nats"] == min(losses.values())


def test_a_test_share_and_a_test_file_clash(refusal: Refusal, visits: Path, tmp_path: Path) -> None:
    more = ("--test", visits, "--test-share", 0.5)
    message = refusal("data", "sequences", tmp_path / "out", visits, *more)
    assert "give either --test or --test-share" in message
    assert "x>=2" in refusal("data", "sequences", tmp_path / "out", visits, "--unknown", 1)
    assert "is another kind of file" in refusal("data", "sequences", tmp_path / "out", tmp_path)
