"""The events of docs/own-puzzles.md: its program and its commands run, and its figures are right."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hrm_core.data.store import load_split

PAGE = Path(__file__).parent.parent / "docs" / "own-puzzles.md"
SECTION = PAGE.read_text(encoding="utf-8").partition("\n## Your own events\n")[2]
SECTION = SECTION.partition("\n## ")[0]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
BLOCKS = [(language, text) for language, text in BLOCK.findall(SECTION)]
ROWS = dict(re.findall(r"^\| \**([^|*]+?)\** \| \**([\d.]+)", SECTION, re.MULTILINE))
CALL = re.compile(r"call (\d)")


def commands() -> list[list[str]]:
    """The commands of the section, each once."""
    lines = [line for _, text in BLOCKS for line in text.splitlines() if line.startswith("hrm ")]
    return [shlex.split(line)[1:] for line in dict.fromkeys(lines)]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, hrm: Callable[..., Any]) -> Path:
    """The folder in which program and commands have run, the training with few updates."""
    folder = tmp_path_factory.mktemp("events")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (program,) = (text for language, text in BLOCKS if language == "python")
        exec(program, {})
        for words in commands():
            few = ["--max-updates", "4", "--device", "cpu"] if words[0] == "train" else []
            outcome = hrm(*words, *few)
            assert outcome.status == 0, outcome.err
            (folder / f"{words[0]}.txt").write_text(outcome.out)
    return folder


def test_every_command_of_the_section_runs(work: Path) -> None:
    assert [words[0] for words in commands()] == ["data", "train", "eval", "data"]
    assert "this model" in (work / "eval.txt").read_text()


def test_the_file_begins_as_the_page_shows(work: Path) -> None:
    (shown,) = (text for _, text in BLOCKS if text.startswith("id,token\n"))
    assert [line.count(",") for line in shown.splitlines()] == [1] * 4
    assert (work / "lift.csv").read_text().startswith(shown)


def test_n_grams_have_the_losses_of_the_page(work: Path) -> None:
    build = json.loads((work / "data" / "lift" / "build.json").read_text())
    found = [f"{loss:.4f}" for loss in build["baselines"].values()]
    assert found == list(ROWS.values())[:4]
    assert found[0] > found[1] > found[2] > found[3] > ROWS["this model"]


def test_who_knows_the_rule_has_the_loss_of_the_page(work: Path) -> None:
    build = json.loads((work / "data" / "lift" / "build.json").read_text())
    labels = np.asarray(load_split(work / "data" / "lift", "test").sets["all"].labels)
    events = build["task_settings"]["events"]
    calls = [1 + place for place, event in enumerate(events) if CALL.fullmatch(event)]
    assert len(calls) == 8
    least = np.isin(labels, calls).sum() * np.log(7) / build["scored_events"]
    assert f"{least:.3f}" == ROWS["if one knew the rule"]
    assert float(ROWS["this model"]) - least < 0.005


def test_the_rule_is_what_the_page_says(work: Path) -> None:
    days: dict[str, list[str]] = {}
    for line in (work / "lift.csv").read_text().splitlines()[1:]:
        day, event = line.split(",")
        days.setdefault(day, []).append(event)
    assert len(days) == 2000
    for events in days.values():
        floor = goal = 0
        for event in events:
            call = CALL.fullmatch(event)
            if call:
                assert floor == goal != int(call[1])
                goal = int(call[1])
            elif event == "open":
                assert floor == goal
            else:
                assert event == ("up" if goal > floor else "down")
                floor += 1 if event == "up" else -1
